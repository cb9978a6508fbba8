//! Cases at the sizes of real models: too long for every test run, made one at a time because one alone may take
//! hundreds of megabytes.
//!
//! Widths are those of Llama 3.2 1B and 3B, Llama 3.1 8B and Qwen2.5 0.5B; tokens are one that decodes, a ragged
//! few, and more than one tile. What a product has of a model is the length of its sums, whole; of its outputs it has a
//! part, since further ones are more blocks of the same. Every output that there is is compared. Vocabularies are Llama
//! 2's and Llama 3's over narrow rows: what is long there is the row of logits.

use crate::case::Mix;
use crate::ops::head_policy::policy;
use crate::ops::head_policy_backward::backward;
use crate::ops::head_sample::{POLICIES, sampling};
use crate::ops::{attention, attention_backward};
use crate::*;

/// A case that has not been made yet.
pub struct GridCase {
    /// As a case's, with its op: `op/dtype/shape`.
    pub name: String,
    make: Box<dyn Fn(CaseBuilder) -> Case + Send + Sync>,
}

impl GridCase {
    /// Makes its operands.
    pub fn make(&self) -> Case {
        (self.make)(CaseBuilder::new())
    }

    /// The op it will be, whose operands take no memory yet.
    pub fn op(&self) -> Op {
        (self.make)(CaseBuilder::of_shapes()).op
    }
}

/// hidden_size, intermediate_size, query heads, key-value heads, head_dim.
const MODELS: [(&str, [u32; 5]); 4] = [
    ("qwen2.5-0.5b", [896, 4864, 14, 2, 64]),
    ("llama3.2-1b", [2048, 8192, 32, 8, 64]),
    ("llama3.2-3b", [3072, 8192, 24, 8, 128]),
    ("llama3.1-8b", [4096, 14336, 32, 8, 128]),
];
const VOCABULARIES: [u32; 2] = [32_000, 128_256];

/// All of them, those of an op together.
pub fn grid() -> Vec<GridCase> {
    let mut all = Vec::new();
    products(&mut all);
    heads(&mut all);
    policies(&mut all);
    attention_cases(&mut all);
    rows(&mut all);
    all.sort_by(|a, b| a.name.split('/').next().cmp(&b.name.split('/').next()));
    all
}

fn add<O: Into<Op>>(
    all: &mut Vec<GridCase>,
    op: &'static str,
    name: String,
    make: impl Fn(&mut CaseBuilder) -> O + Send + Sync + 'static,
) {
    let of = name.clone();
    let make = move |mut c: CaseBuilder| {
        let op = make(&mut c);
        c.finish(of.clone(), op)
    };
    all.push(GridCase { name: format!("{op}/{name}"), make: Box::new(make) });
}

/// Types and tokens: every device has its own dtype, and the wider the model the fewer rows.
fn batches(hidden: u32) -> Vec<(DType, u32)> {
    let tokens: &[u32] = if hidden < 2048 { &[1, 17, 70] } else { &[1, 17] };
    [DType::F32, DType::Bf16].into_iter().flat_map(|d| tokens.iter().map(move |&t| (d, t))).collect()
}

fn products(all: &mut Vec<GridCase>) {
    for (model, [hidden, ffn, heads, kv_heads, head_dim]) in MODELS {
        for (dtype, tokens) in batches(hidden) {
            let name = |what: &str| format!("{dtype}/{model}-{what}x{tokens}");
            for (what, k, n) in [("o", heads * head_dim, hidden / 4), ("down", ffn, hidden / 8)] {
                // A small weight keeps sums of thousands of terms at the size of the residual.
                add(all, LinearResidual::NAME, name(what), move |c| LinearResidual {
                    x: c.hard(dtype, &[tokens, k]),
                    weight: c.normal(dtype, &[n, k], 0.02),
                    residual: c.normal(dtype, &[tokens, n], 1.0),
                    out: c.output(dtype, &[tokens, n]),
                });
            }
            let product = ffn / 16;
            add(all, GateUpSwiglu::NAME, name("gate_up"), move |c| GateUpSwiglu {
                x: c.normal(dtype, &[tokens, hidden], 1.0),
                weight: c.normal(dtype, &[2 * product, hidden], 0.02),
                product: c.output(dtype, &[tokens, product]),
                gate_up: Some(c.output(dtype, &[tokens, 2 * product])),
            });
            // A key-value head with its query heads, twice.
            let (heads, kv_heads) = (2 * heads / kv_heads, 2);
            add(all, QkvRope::NAME, name("qkv"), move |c| {
                let rows = (heads + 2 * kv_heads) * head_dim;
                let turn = |i: u32| f64::from(i / head_dim) * 0.3 + f64::from(i % (head_dim / 2));
                let rope = (0..100 * head_dim)
                    .map(|i| if i % head_dim < head_dim / 2 { turn(i).cos() } else { turn(i).sin() });
                QkvRope {
                    x: c.normal(dtype, &[tokens, hidden], 1.0),
                    weight: c.normal(dtype, &[rows, hidden], 0.02),
                    bias: model.starts_with("qwen").then(|| c.normal(dtype, &[rows], 0.5)),
                    rope: c.values(DType::F32, &[100, head_dim], rope),
                    positions: c.below(DType::U32, &[tokens], 100),
                    slots: None,
                    q: c.output(dtype, &[tokens, heads * head_dim]),
                    k: c.output(dtype, &[tokens, kv_heads * head_dim]),
                    v: c.output(dtype, &[tokens, kv_heads * head_dim]),
                }
            });
            add(all, LinearBackwardInput::NAME, name("down"), move |c| LinearBackwardInput {
                dy: c.hard(dtype, &[tokens, hidden]),
                weight: c.normal(dtype, &[hidden, ffn / 16], 0.02),
                dx: c.output(dtype, &[tokens, ffn / 16]),
            });
            let long = 8 * tokens;
            add(all, LinearBackwardWeight::NAME, name("o"), move |c| LinearBackwardWeight {
                dy: c.normal(dtype, &[long, hidden / 8], 1.0),
                x: c.hard(dtype, &[long, hidden / 4]),
                dweight: c.normal(DType::F32, &[hidden / 8, hidden / 4], 1.0),
                accumulate: tokens == 17,
            });
        }
    }
}

fn heads(all: &mut Vec<GridCase>) {
    const HIDDEN: u32 = 32;
    for vocab in VOCABULARIES {
        for (dtype, tokens) in [(DType::F32, 9), (DType::Bf16, 1), (DType::Bf16, 9)] {
            let name = format!("{dtype}/{tokens}x{vocab}");
            let labels = move |c: &mut CaseBuilder| {
                c.values(
                    DType::I32,
                    &[tokens],
                    (0..tokens).map(move |t| f64::from((t * 7919) % vocab) - f64::from(t % 4 / 3)),
                )
            };
            add(all, HeadLogprob::NAME, name.clone(), move |c| HeadLogprob {
                hidden: c.normal(dtype, &[tokens, HIDDEN], 1.0),
                weight: c.normal(dtype, &[vocab, HIDDEN], 0.3),
                labels: labels(c),
                logprob: c.output(DType::F32, &[tokens]),
            });
            add(all, HeadLoss::NAME, name, move |c| HeadLoss {
                hidden: c.normal(dtype, &[tokens, HIDDEN], 1.0),
                weight: c.normal(dtype, &[vocab, HIDDEN], 0.3),
                labels: labels(c),
                step_block: c.step_block([0.0, 0.0, 0.0, 0.0, 1.0 / f64::from(tokens)], 0),
                loss: c.output(DType::F32, &[tokens]),
                dhidden: c.output(dtype, &[tokens, HIDDEN]),
                dweight: c.normal(DType::F32, &[vocab, HIDDEN], 0.1),
                accumulate: true,
            });
        }
    }
}

/// Draws, and what policy losses read and give back, over whole vocabularies and parts of them.
fn policies(all: &mut Vec<GridCase>) {
    const HIDDEN: u32 = 32;
    for vocab in VOCABULARIES {
        for (mix, rows) in [(Mix::F32[0], 3), (Mix::BF16, 1), (Mix::BF16, 3)] {
            // Each way to draw once: a row's vocabulary is gone through many times.
            let once = |greedy: bool, long: bool| greedy == (rows == 1) && (long || vocab < 100_000);
            let kinds = POLICIES.into_iter().filter(|(_, row)| once(row.temperature == 0.0, row.top_k > 0));
            for (how, row) in kinds {
                let name = format!("{mix}/{rows}x{vocab}-{how}");
                add(all, HeadSample::NAME, name, move |c| {
                    sampling(c, mix, [rows, vocab, HIDDEN], row, row.top_k > 0)
                });
            }
            let cut = rows > 1;
            let name = format!("{mix}/{rows}x{vocab}{}", if cut { "-support" } else { "" });
            let shape = [rows, vocab, HIDDEN];
            let label = move |t: u32| (t * 7919 + 3) % (vocab + 1);
            add(all, HeadPolicy::NAME, name.clone(), move |c| policy(c, mix, shape, cut, label));
            add(all, HeadPolicyBackward::NAME, name, move |c| {
                let forward = policy(c, mix, shape, cut, label);
                backward(c, forward)
            });
        }
    }
}

fn attention_cases(all: &mut Vec<GridCase>) {
    // Ends one before, at and after a block of keys and a segment; documents that begin anywhere.
    let layouts: [&'static [u32]; 3] = [&[0, 127, 255, 384], &[0, 1023, 1030], &[0, 3, 1027, 2052]];
    for dtype in [DType::F32, DType::Bf16] {
        for bounds in layouts {
            for heads in [[4, 1, 64], [2, 1, 128]] {
                let name = format!("{dtype}/{}rows-hd{}", bounds[bounds.len() - 1], heads[2]);
                let make = move |c| attention::packed_case(c, dtype, bounds, heads);
                all.push(GridCase { name: format!("{}/{name}", Attention::NAME), make: Box::new(make) });
                if bounds[bounds.len() - 1] > 1500 {
                    continue;
                }
                let make = move |c| attention_backward::case(c, dtype, bounds, heads);
                all.push(GridCase {
                    name: format!("{}/{name}", AttentionBackward::NAME),
                    make: Box::new(make),
                });
            }
        }
        for last in [126, 127, 128, 1022, 1023, 1024, 2046, 2047, 2048, 8191] {
            for head_dim in [64, 128] {
                let name = format!("{}/{dtype}/paged-{last}-hd{head_dim}", Attention::NAME);
                let make = move |c| attention::paged_case(c, dtype, head_dim, last);
                all.push(GridCase { name, make: Box::new(make) });
            }
        }
    }
}

/// Ops that go through rows or flat arenas.
fn rows(all: &mut Vec<GridCase>) {
    for (model, [hidden, ffn, heads, kv_heads, head_dim]) in MODELS {
        // Rows of more than one part of what is summed over rows, in the narrowest.
        let many = if hidden < 2048 { 1030 } else { 130 };
        for (dtype, tokens) in [(DType::F32, 70), (DType::Bf16, 70), (DType::Bf16, many)] {
            let name = format!("{dtype}/{model}x{tokens}");
            let shape = [tokens, hidden];
            add(all, RmsNorm::NAME, name.clone(), move |c| RmsNorm {
                x: c.hard(dtype, &shape),
                residual: None,
                weight: c.normal(dtype, &[hidden], 1.0),
                y: c.output(dtype, &shape),
                sum: None,
                rstd: c.output(DType::F32, &[tokens]),
                eps: 1e-5,
            });
            add(all, RmsNormBackward::NAME, name.clone(), move |c| RmsNormBackward {
                dy: c.normal(dtype, &shape, 1.0),
                x: c.normal(dtype, &shape, 1.0),
                weight: c.normal(dtype, &[hidden], 1.0),
                rstd: c.values(DType::F32, &[tokens], (0..tokens).map(|t| 0.5 + f64::from(t % 5))),
                dx: c.normal(dtype, &shape, 1.0),
                dweight: c.normal(DType::F32, &[hidden], 1.0),
                accumulate_dx: true,
                accumulate: true,
            });
            if tokens > 70 {
                continue;
            }
            add(all, SwigluBackward::NAME, name.clone(), move |c| SwigluBackward {
                dproduct: c.normal(dtype, &[tokens, ffn], 1.0),
                gate_up: c.normal(dtype, &[tokens, 2 * ffn], 3.0),
            });
            add(all, Swiglu::NAME, name.clone(), move |c| Swiglu {
                gate_up: c.normal(dtype, &[tokens, 2 * ffn], 3.0),
                product: c.output(dtype, &[tokens, ffn]),
            });
            let (turned, columns) = ((heads + kv_heads) * head_dim, (heads + 2 * kv_heads) * head_dim);
            add(all, RopeBackward::NAME, name.clone(), move |c| RopeBackward {
                rope: c.normal(DType::F32, &[100, head_dim], 0.7),
                positions: c.below(DType::U32, &[tokens], 100),
                dqk: c.normal(dtype, &[tokens, columns], 1.0).slice_columns(0, turned),
            });
            add(all, BiasBackward::NAME, name.clone(), move |c| BiasBackward {
                dy: c.hard(dtype, &[8 * tokens, columns]),
                dbias: c.normal(DType::F32, &[columns], 1.0),
                accumulate: true,
            });
            add(all, Embed::NAME, name.clone(), move |c| Embed {
                ids: c.below(DType::U32, &[tokens], 300),
                weight: c.normal(dtype, &[300, hidden], 1.0),
                out: c.output(dtype, &shape),
            });
            add(all, EmbedBackward::NAME, name, move |c| EmbedBackward {
                ids: c.below(DType::U32, &[tokens], 300),
                dx: c.hard(dtype, &shape),
                dweight: c.normal(DType::F32, &[300, hidden], 1.0),
                accumulate: true,
            });
        }
    }
    const ELEMENTS: u32 = (1 << 18) + 3;
    let types = [DType::F32, DType::Bf16];
    for (dtype, moments) in types.into_iter().flat_map(|w| types.map(|m| (w, m))) {
        let held = if moments == DType::Bf16 { "-moments_bf16" } else { "" };
        add(all, AdamW::NAME, format!("{dtype}{held}/{ELEMENTS}"), move |c| AdamW {
            weight: c.normal(dtype, &[ELEMENTS], 1.0),
            remainder: (dtype == DType::Bf16).then(|| c.below(DType::I16, &[ELEMENTS], 1 << 15)),
            grad: c.hard(DType::F32, &[ELEMENTS]),
            m: c.normal(moments, &[ELEMENTS], 0.1),
            v: c.values(moments, &[ELEMENTS], (0..ELEMENTS).map(|i| f64::from(i % 9) * 0.01)),
            step_block: c.step_block([0.01, 0.19, 0.0975, 1.0, 0.0], 1),
            result: c.values(DType::F32, &[StepResult::WORDS], [1.0, 2.0, 0.5, 0.0]),
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            rounding: (moments == DType::Bf16).then_some(Rounding { seed: 5, first: 4096 }),
        });
    }
    // Pages of the cache of the 1B model, four layers of it, and ids for a crowd.
    for dtype in [DType::F32, DType::Bf16] {
        add(all, CopyPages::NAME, format!("{dtype}/3of4x20"), move |c| CopyPages {
            from: c.values(DType::U32, &[3], [19.0, 0.0, 7.0]),
            to: c.values(DType::U32, &[3], [1.0, 18.0, 8.0]),
            pages: c.normal(dtype, &[4, 20, 2 * 8 * PAGE_TOKENS * 64], 1.0),
        });
        add(all, RandomFill::NAME, format!("{dtype}/{ELEMENTS}"), move |c| RandomFill {
            out: c.output(dtype, &[ELEMENTS]),
            seed: 1 << 40,
            stream: 3,
            scale: 0.02,
        });
    }
    add(all, FeedTokens::NAME, "256to512".into(), |c| FeedTokens {
        tokens: c.below(DType::U32, &[256], 128_256),
        source: c.values(
            DType::U32,
            &[512],
            (0..512).map(|r| f64::from(if r % 3 == 1 { FeedTokens::KEEP } else { r / 2 })),
        ),
        ids: c.below(DType::U32, &[512], 128_256),
    });
    add(all, LossSum::NAME, "f32/8192".into(), |c| LossSum {
        loss: c.normal(DType::F32, &[8192], 3.0),
        result: c.normal(DType::F32, &[StepResult::WORDS], 1.0),
        accumulate: true,
    });
    add(all, GradNorm::NAME, format!("f32/{ELEMENTS}"), |c| GradNorm {
        grad: c.hard(DType::F32, &[ELEMENTS]),
        step_block: c.step_block([0.0, 0.0, 0.0, 1.0, 0.0], 0),
        result: c.values(DType::F32, &[StepResult::WORDS], [2.5, 0.0, 0.0, 0.0]),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_op_has_cases_and_names_tell_them_apart() {
        let names: Vec<String> = grid().into_iter().map(|case| case.name).collect();
        let of = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
        let found: BTreeSet<String> = names.iter().map(of).collect();
        let all: BTreeSet<String> = Op::all_cases().iter().map(|case| case.op.name().to_owned()).collect();
        assert_eq!(found, all);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn a_case_is_the_op_that_was_announced() {
        // Those that build one op upon another, at their smallest.
        for case in grid().into_iter().filter(|case| case.name.contains("/1x32000")) {
            assert_eq!(format!("{:?}", case.make().op), format!("{:?}", case.op()), "{}", case.name);
        }
    }
}

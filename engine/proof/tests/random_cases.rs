//! Random shapes, types and places of operands on the simulated GPU: an op is refused as unsupported, or it runs
//! without a fault and gives what the reference says, gaps between rows untouched.
#![allow(clippy::expect_used)]

use octo_ops::*;
use octo_proof::{Failure, check};
use octo_queue::{DeviceKind, OpenError, Queue, QueueError, open};
use proptest::prelude::*;

/// Where an operand lies: elements before it, and elements between its rows.
#[derive(Clone, Copy, Debug)]
struct Place {
    before: u32,
    gap: u32,
}

#[derive(Clone, Debug)]
struct Choice {
    dtypes: Vec<DType>,
    places: Vec<Place>,
    extents: [u32; 3],
    flag: bool,
}

fn place() -> impl Strategy<Value = Place> {
    let odd = || prop_oneof![6 => Just(0u32), 2 => Just(8), 1 => 1..20u32];
    (odd(), odd()).prop_map(|(before, gap)| Place { before, gap })
}

fn choice() -> impl Strategy<Value = Choice> {
    let dtype = prop_oneof![5 => Just(DType::Bf16), 1 => Just(DType::F32)];
    let extent = || prop_oneof![3 => (1..20u32).prop_map(|n| 8 * n), 2 => 1..100u32];
    (
        prop::collection::vec(dtype, 6),
        prop::collection::vec(place(), 6),
        [extent(), extent(), extent()],
        any::<bool>(),
    )
        .prop_map(|(dtypes, places, extents, flag)| Choice { dtypes, places, extents, flag })
}

/// Hands out operands as a choice places them.
struct Operands {
    builder: CaseBuilder,
    choice: Choice,
    used: usize,
    scale: f64,
}

impl Operands {
    fn of(choice: &Choice) -> Operands {
        Operands { builder: CaseBuilder::new(), choice: choice.clone(), used: 0, scale: 1.0 }
    }

    /// A matrix of the next type; or of the first, as most activations of an op are.
    fn matrix(&mut self, dtype: DType, rows: u32, columns: u32) -> View {
        let Place { before, gap } = self.choice.places[self.used % 6];
        self.used += 1;
        let stride = columns + gap;
        let all = self.builder.normal(dtype, &[before + rows * stride], self.scale);
        View::new(all.buffer, u64::from(before) * dtype.bytes(), dtype, &[rows, columns])
            .with_row_stride(stride)
    }

    fn vector(&mut self, dtype: DType, elements: u32) -> View {
        let Place { before, .. } = self.choice.places[self.used % 6];
        self.used += 1;
        let all = self.builder.normal(dtype, &[before + elements], 1.0);
        View::new(all.buffer, u64::from(before) * dtype.bytes(), dtype, &[elements])
    }

    fn case(self, op: impl Into<Op>) -> Case {
        self.builder.finish("random", op)
    }
}

fn case(kind: u32, choice: &Choice) -> Case {
    let mut o = Operands::of(choice);
    let (act, weight) = (choice.dtypes[0], choice.dtypes[1]);
    let [m, n, k] = choice.extents;
    match kind {
        0 => {
            let fused = choice.flag;
            let op = RmsNorm {
                x: o.matrix(act, m, n),
                residual: fused.then(|| o.matrix(act, m, n)),
                weight: o.vector(weight, n),
                y: o.matrix(act, m, n),
                sum: fused.then(|| o.matrix(act, m, n)),
                rstd: o.vector(DType::F32, m),
                eps: 1e-5,
            };
            o.case(op)
        }
        1 => {
            let op = SwigluBackward { dproduct: o.matrix(act, m, n), gate_up: o.matrix(act, m, 2 * n) };
            o.case(op)
        }
        2 => {
            let op = GateUpSwiglu {
                x: o.matrix(act, m, k),
                weight: o.matrix(weight, 2 * n, k),
                product: o.matrix(act, m, n),
                gate_up: choice.flag.then(|| o.matrix(act, m, 2 * n)),
            };
            o.case(op)
        }
        3 => {
            let op = LinearResidual {
                x: o.matrix(act, m, k),
                weight: o.matrix(weight, n, k),
                residual: o.matrix(act, m, n),
                out: o.matrix(act, m, n),
            };
            o.case(op)
        }
        4 => {
            let op = LinearBackwardInput {
                dy: o.matrix(act, m, n),
                weight: o.matrix(weight, n, k),
                dx: o.matrix(act, m, k),
            };
            o.case(op)
        }
        5 => {
            let op = LinearBackwardWeight {
                dy: o.matrix(act, m, n),
                x: o.matrix(act, m, k),
                dweight: o.matrix(DType::F32, n, k),
                accumulate: choice.flag,
            };
            o.case(op)
        }
        6 => {
            let elements = m * n;
            let moments = if choice.flag { DType::Bf16 } else { DType::F32 };
            let op = AdamW {
                weight: o.vector(weight, elements),
                remainder: (weight == DType::Bf16).then(|| {
                    let values = (0..elements).map(|i| f64::from(i % 65536) - 32768.0);
                    o.builder.values(DType::I16, &[elements], values)
                }),
                grad: o.vector(DType::F32, elements),
                m: o.vector(moments, elements),
                v: o.builder.values(moments, &[elements], (0..elements).map(|i| f64::from(i % 9) * 0.01)),
                step_block: o.builder.step_block([0.01, 0.19, 0.0975, 1.0, 0.0], m),
                result: o.builder.values(DType::F32, &[StepResult::WORDS], [1.0, 2.0, 0.5, 0.0]),
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.1,
                rounding: choice
                    .flag
                    .then_some(Rounding { seed: k.into(), first: u64::from(n) << 32 | u64::from(k) }),
            };
            o.case(op)
        }
        7 => {
            let op = Embed {
                ids: o.builder.below(DType::U32, &[m], n.into()),
                weight: o.matrix(weight, n, k),
                out: o.matrix(act, m, k),
            };
            o.case(op)
        }
        8 => {
            let op = EmbedBackward {
                ids: o.builder.below(DType::U32, &[m], n.into()),
                dx: o.matrix(act, m, k),
                dweight: o.matrix(DType::F32, n, k),
                accumulate: choice.flag,
            };
            o.case(op)
        }
        9 => {
            let op = RmsNormBackward {
                dy: o.matrix(act, m, n),
                x: o.matrix(act, m, n),
                weight: o.vector(weight, n),
                rstd: o.vector(DType::F32, m),
                dx: o.matrix(act, m, n),
                dweight: o.vector(DType::F32, n),
                accumulate_dx: choice.flag,
                accumulate: k % 2 == 0,
            };
            o.case(op)
        }
        10 => {
            let op = BiasBackward {
                dy: o.matrix(act, m, n),
                dbias: o.vector(DType::F32, n),
                accumulate: choice.flag,
            };
            o.case(op)
        }
        11 => {
            let head_dim = if choice.flag { 16 } else { 2 * (k % 20 + 1) };
            let op = RopeBackward {
                rope: o.matrix(DType::F32, n, head_dim),
                positions: o.builder.below(DType::U32, &[m], n.into()),
                dqk: o.matrix(act, m, 3 * head_dim),
            };
            o.case(op)
        }
        12 => {
            let op = LossSum {
                loss: o.vector(DType::F32, m * n),
                result: o.vector(DType::F32, StepResult::WORDS),
                accumulate: choice.flag,
            };
            o.case(op)
        }
        13 => {
            let op = GradNorm {
                grad: o.vector(DType::F32, m * n),
                step_block: o.builder.step_block([0.0, 0.0, 0.0, 1.0, 0.0], 0),
                result: o.vector(DType::F32, StepResult::WORDS),
            };
            o.case(op)
        }
        14 => attention(o, [m, n, k]),
        15 => qkv_rope(o, [m, n, k]),
        16 => {
            o.scale = HEAD_SCALE;
            let m = m + LEAST;
            let op = HeadLogprob {
                hidden: o.matrix(act, m, k),
                weight: o.matrix(weight, n, k),
                labels: labels(&mut o, m, n),
                logprob: o.vector(DType::F32, m),
            };
            o.case(op)
        }
        17 => {
            o.scale = HEAD_SCALE;
            let m = m + LEAST;
            let op = HeadLoss {
                hidden: o.matrix(act, m, k),
                weight: o.matrix(weight, n, k),
                labels: labels(&mut o, m, n),
                step_block: o.builder.step_block([0.0, 0.0, 0.0, 1.0, 0.25], 0),
                loss: o.vector(DType::F32, m),
                dhidden: o.matrix(act, m, k),
                dweight: o.matrix(DType::F32, n, k),
                accumulate: choice.flag,
            };
            o.case(op)
        }
        18 => head_sample(o, [m, n, k]),
        19 => attention_backward(o, [m, n, k]),
        20 => {
            let op = Swiglu { gate_up: o.matrix(act, m, 2 * n), product: o.matrix(act, m, n) };
            o.case(op)
        }
        21 => {
            let op = head_policy(&mut o, [m, n, k]);
            o.case(op)
        }
        22 => head_policy_backward(o, [m, n, k]),
        23 => {
            let (layers, copies) = (m % 3 + 1, k % 50);
            let pages = 2 * copies + n % 9 + 1;
            let elements = PAGE_TOKENS * (m % 5 + 1);
            let all = o.vector(act, layers * pages * elements);
            let op = CopyPages {
                from: o.builder.values(DType::U32, &[copies], (0..copies).map(f64::from)),
                to: o.builder.values(DType::U32, &[copies], (0..copies).map(|page| f64::from(page + copies))),
                pages: View::new(all.buffer, all.offset, act, &[layers, pages, elements]),
            };
            o.case(op)
        }
        24 => {
            let source = (0..n).map(|row| if row % 3 == 1 { FeedTokens::KEEP } else { (7 * row + k) % m });
            let op = FeedTokens {
                tokens: o.builder.below(DType::U32, &[m], 1000),
                source: o.builder.values(DType::U32, &[n], source.map(f64::from)),
                ids: o.builder.below(DType::U32, &[n], 1000),
            };
            o.case(op)
        }
        _ => {
            let op = RandomFill { out: o.vector(act, m * n), seed: 5, stream: u64::from(k), scale: 0.5 };
            o.case(op)
        }
    }
}

/// Rows of a head at least: what a few log-probabilities err in f32 says little about what they may err in.
const LEAST: u32 = 16;

/// Of rows and weights of a head: logits no larger than their log-probabilities, by which errors are measured.
const HEAD_SCALE: f64 = 0.3;

/// Every label of a vocabulary in turn, and none.
fn labels(o: &mut Operands, tokens: u32, vocab: u32) -> View {
    let values = (0..tokens).map(|t| f64::from(t * 3 % (vocab + 1)) - 1.0);
    o.builder.values(DType::I32, &[tokens], values)
}

/// Rows, or pages whose slots go round.
fn qkv_rope(mut o: Operands, [m, n, k]: [u32; 3]) -> Case {
    let (act, weight) = (o.choice.dtypes[0], o.choice.dtypes[1]);
    let (head_dim, heads, kv_heads) = (2 * (n % 40 + 1), n % 3 + 1, m % 2 + 1);
    let (paged, pages, narrow) = (o.choice.flag, m / PAGE_TOKENS + 2, kv_heads * head_dim);
    let kv = |o: &mut Operands| match paged {
        true => {
            let all = o.matrix(act, pages * kv_heads * PAGE_TOKENS, head_dim);
            View::new(all.buffer, all.offset, act, &[pages, kv_heads, PAGE_TOKENS, head_dim])
        }
        false => o.matrix(act, m, narrow),
    };
    let columns = (heads + 2 * kv_heads) * head_dim;
    let op = QkvRope {
        x: o.matrix(act, m, k),
        weight: o.matrix(weight, columns, k),
        bias: (k % 2 == 0).then(|| o.vector(weight, columns)),
        rope: o.matrix(DType::F32, n, head_dim),
        positions: o.builder.below(DType::U32, &[m], n.into()),
        slots: paged.then(|| o.builder.values(DType::U32, &[m], (0..m).map(|t| f64::from(t + 9)))),
        q: o.matrix(act, m, heads * head_dim),
        k: kv(&mut o),
        v: kv(&mut o),
    };
    o.case(op)
}

fn head_sample(mut o: Operands, [m, n, k]: [u32; 3]) -> Case {
    let (act, weight) = (o.choice.dtypes[0], o.choice.dtypes[1]);
    o.scale = HEAD_SCALE;
    let rows = m % 8 + LEAST;
    let words: Vec<f64> = (0..rows)
        .flat_map(|r| {
            // The words of a SamplingRow.
            let temperature = [1.0f32, 0.0, 2.5][r as usize % 3];
            let (top_p, min_p) = ([1.0f32, 0.8][(r + n) as usize % 2], [0.0f32, 0.01][(r + k) as usize % 2]);
            [temperature.to_bits(), (r + m) % 4 * 5, top_p.to_bits(), min_p.to_bits(), n, k, r, 0]
        })
        .map(f64::from)
        .collect();
    let op = HeadSample {
        hidden: o.matrix(act, rows, k),
        weight: o.matrix(weight, n, k),
        sampling: o.builder.values(DType::U32, &[rows, SamplingRow::WORDS], words),
        tokens: o.builder.output(DType::U32, &[rows]),
        logprob_raw: o.vector(DType::F32, rows),
        logprob_sampled: o.vector(DType::F32, rows),
        support: o.choice.flag.then(|| o.builder.output(DType::U32, &[rows, support::words(n)])),
    };
    o.case(op)
}

/// Rows at several temperatures, some cut down to half of the tokens and their own.
fn head_policy(o: &mut Operands, [m, n, k]: [u32; 3]) -> HeadPolicy {
    let (act, weight) = (o.choice.dtypes[0], o.choice.dtypes[1]);
    o.scale = HEAD_SCALE;
    let (m, words) = (m + LEAST, support::words(n));
    let set = (0..m * words).map(|at| {
        let (t, word) = (at / words, at % words);
        // As `labels` gives them, where there is one.
        let label = (t * 3 % (n + 1)).checked_sub(1);
        let own = label.filter(|label| label / 32 == word).map_or(0, |label| 1 << (label % 32));
        f64::from(0x5555_5555u32.rotate_left(t) | own)
    });
    HeadPolicy {
        hidden: o.matrix(act, m, k),
        weight: o.matrix(weight, n, k),
        labels: labels(o, m, n),
        inv_temperature: o.builder.values(DType::F32, &[m], (0..m).map(|t| [1.0, 0.4, 1.6][t as usize % 3])),
        support: o.choice.flag.then(|| o.builder.values(DType::U32, &[m, words], set)),
        logprob: o.vector(DType::F32, m),
        lse: o.vector(DType::F32, m),
        entropy: o.vector(DType::F32, m),
    }
}

/// Random log-sum-exps make probabilities of more than 1 too.
fn head_policy_backward(mut o: Operands, [m, n, k]: [u32; 3]) -> Case {
    let HeadPolicy { hidden, weight, labels, inv_temperature, support, lse, entropy, .. } =
        head_policy(&mut o, [m, n, k]);
    let rows = m + LEAST;
    let op = HeadPolicyBackward {
        hidden,
        weight,
        labels,
        inv_temperature,
        support,
        lse,
        entropy,
        coefficient: o.vector(DType::F32, rows),
        entropy_coefficient: o.vector(DType::F32, rows),
        dhidden: o.matrix(hidden.dtype, rows, k),
        dweight: o.matrix(DType::F32, n, k),
        accumulate: k % 2 == 0,
    };
    o.case(op)
}

/// Two documents and an empty one between, packed; or one token of each of as many documents, in pages that they share.
fn attention(mut o: Operands, [m, n, k]: [u32; 3]) -> Case {
    let act = o.choice.dtypes[0];
    let (head_dim, kv_heads, group) = (8 * (k % 32 + 1), n % 3 + 1, n % 4 + 1);
    let (wide, narrow) = (kv_heads * group * head_dim, kv_heads * head_dim);
    let paged = o.choice.flag;
    let tokens = if paged { m % 5 + 1 } else { m };
    let integers = |o: &mut Operands, shape: &[u32], values: Vec<u32>| {
        o.builder.values(DType::U32, shape, values.into_iter().map(f64::from))
    };
    let last = 2 * m;
    let (pages, width) = (last / PAGE_TOKENS + 2, last / PAGE_TOKENS + 1);
    let kv = |o: &mut Operands| match paged {
        true => o.matrix(act, pages * kv_heads * PAGE_TOKENS, head_dim),
        false => o.matrix(act, tokens, narrow),
    };
    let (q, k, v) = (o.matrix(act, tokens, wide), kv(&mut o), kv(&mut o));
    // Pages are whole however the rows of a matrix lie.
    let whole = |view: View| match paged {
        true => View::new(view.buffer, view.offset, act, &[pages, kv_heads, PAGE_TOKENS, head_dim]),
        false => view,
    };
    let (cut, all) = (n % (tokens + 1), tokens);
    let bounds = if paged { (0..=tokens).collect() } else { vec![0, cut, cut, all] };
    let op = Attention {
        q,
        k: whole(k),
        v: whole(v),
        cu_seqlens: integers(&mut o, &[bounds.len() as u32], bounds),
        positions: paged.then(|| integers(&mut o, &[tokens], (0..tokens).map(|t| last >> t).collect())),
        page_table: paged.then(|| {
            integers(&mut o, &[tokens, width], (0..tokens * width).map(|i| pages - 1 - i % width).collect())
        }),
        out: o.matrix(act, tokens, wide),
        lse: o.vector(DType::F32, tokens * kv_heads * group),
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    let lse = View::new(op.lse.buffer, op.lse.offset, DType::F32, &[tokens, kv_heads * group]);
    o.case(Attention { lse, ..op })
}

/// Two documents and an empty one between. Random log-sum-exps make probabilities of more than 1 too.
fn attention_backward(mut o: Operands, [m, n, k]: [u32; 3]) -> Case {
    let act = o.choice.dtypes[0];
    let (head_dim, kv_heads, group) = (8 * (k % 32 + 1), n % 3 + 1, n % 4 + 1);
    let (wide, narrow) = (kv_heads * group * head_dim, kv_heads * head_dim);
    let cut = n % (m + 1);
    let lse = o.vector(DType::F32, m * kv_heads * group);
    let op = AttentionBackward {
        q: o.matrix(act, m, wide),
        k: o.matrix(act, m, narrow),
        v: o.matrix(act, m, narrow),
        out: o.matrix(act, m, wide),
        lse: View::new(lse.buffer, lse.offset, DType::F32, &[m, kv_heads * group]),
        dout: o.matrix(act, m, wide),
        cu_seqlens: o.builder.values(DType::U32, &[4], [0, cut, cut, m].map(f64::from)),
        dq: o.matrix(act, m, wide),
        dk: o.matrix(act, m, narrow),
        dv: o.matrix(act, m, narrow),
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    o.case(op)
}

fn sim() -> Result<Queue, OpenError> {
    open(DeviceKind::Sim, Some(1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn an_op_is_refused_or_right(kind in 0..26u32, choice in choice()) {
        let case = case(kind, &choice);
        // What breaks the op's own contract never reaches a backend.
        prop_assume!(case.op.check().is_ok());
        let supported = sim().expect("the simulated GPU opens").supports(&case.op);
        match check(&case, sim) {
            Ok(()) => prop_assert!(supported, "{:?} ran although it is said to be unsupported", case.op),
            Err(Failure::Queue(QueueError::Backend(BackendError::Unsupported { .. }))) => {
                prop_assert!(!supported, "{:?} was refused although it is said to be supported", case.op);
            }
            Err(error) => prop_assert!(false, "{:?}: {error}", case.op),
        }
    }
}

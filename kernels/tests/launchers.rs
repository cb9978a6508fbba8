//! Launchers at the edges: whatever shapes, types, strides and places an op comes with, the answer is launches or a
//! refusal in words. That accepted ops then run clean and right is `random_cases.rs` of `octo-proof`, and that none is run
//! whose operands leave their buffers or overlap, its `wrong_operands.rs`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_kernels::CudaBackend;
use octo_kernels::driver::{SimConfig, SimDriver};
use octo_ops::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes that an operand may span: more than any device has.
const MOST: u64 = 1 << 46;

/// Random axes, types and places for one op after the other.
#[derive(Clone, Debug)]
struct Draw {
    axes: Vec<u32>,
    dtypes: Vec<DType>,
    places: Vec<(u64, u32)>,
    flags: [bool; 2],
}

fn draw() -> impl Strategy<Value = Draw> {
    let axis = prop_oneof![
        2 => Just(0u32),
        2 => Just(1),
        6 => 1..300u32,
        4 => (0..64u32).prop_map(|n| 8 * n),
        3 => (0..32u32).prop_map(|bit| 1 << bit),
        2 => (0..32u32).prop_map(|bit| u32::MAX >> bit),
        1 => any::<u32>(),
    ];
    let dtype = prop_oneof![6 => Just(DType::Bf16), 2 => Just(DType::F32)];
    let place = (prop_oneof![4 => Just(0u64), 1 => 0..64u64], prop_oneof![4 => Just(0u32), 1 => 0..40u32]);
    (
        prop::collection::vec(axis, 5),
        prop::collection::vec(dtype, 2),
        prop::collection::vec(place, 12),
        any::<[bool; 2]>(),
    )
        .prop_map(|(axes, dtypes, places, flags)| Draw { axes, dtypes, places, flags })
}

/// Hands out operands, each in a buffer of its own; `None` where an axis would not fit a view.
struct Operands<'a> {
    draw: &'a Draw,
    made: u32,
}

impl Operands<'_> {
    fn view(&mut self, dtype: DType, shape: &[Option<u32>]) -> Option<View> {
        let shape: Vec<u32> = shape.iter().copied().collect::<Option<_>>()?;
        let row = shape[1..].iter().try_fold(1u32, |row, &axis| row.checked_mul(axis))?;
        let (before, gap) = self.draw.places[self.made as usize % 12];
        self.made += 1;
        let view = View::new(BufferId(self.made), before * dtype.bytes(), dtype, &shape);
        let view = if shape.len() == 2 { view.with_row_stride(row.checked_add(gap)?) } else { view };
        let rows = u128::from(shape[0]) * u128::from(view.row_stride() as u64);
        (rows * u128::from(dtype.bytes()) < u128::from(MOST)).then_some(view)
    }

    fn flat(&mut self, dtype: DType, elements: u32) -> Option<View> {
        self.view(dtype, &[Some(elements)])
    }

    fn matrix(&mut self, dtype: DType, rows: u32, columns: impl Into<Option<u32>>) -> Option<View> {
        self.view(dtype, &[Some(rows), columns.into()])
    }

    fn block(&mut self) -> Option<View> {
        self.flat(DType::F32, StepBlock::WORDS)
    }

    fn result(&mut self) -> Option<View> {
        self.flat(DType::F32, StepResult::WORDS)
    }
}

#[allow(clippy::too_many_lines, reason = "one arm an op")]
fn op(kind: u32, draw: &Draw) -> Option<Op> {
    let o = &mut Operands { draw, made: 0 };
    let [m, n, k, heads, head_dim] = [0, 1, 2, 3, 4].map(|i: usize| draw.axes[i]);
    let (act, weight, [flag, other]) = (draw.dtypes[0], draw.dtypes[1], draw.flags);
    let kv_heads = if flag { heads } else { 1 };
    let (wide, narrow) = (heads.checked_mul(head_dim), kv_heads.checked_mul(head_dim));
    let (f32, u32) = (DType::F32, DType::U32);
    // The head cuts rows into launches: of 2³¹ rows there are millions.
    let rows = m.min(1 << 16);
    Some(match kind {
        0 => Op::Embed(Embed {
            ids: o.flat(u32, m)?,
            weight: o.matrix(weight, n, k)?,
            out: o.matrix(act, m, k)?,
        }),
        1 => Op::RmsNorm(RmsNorm {
            x: o.matrix(act, m, n)?,
            residual: if flag { Some(o.matrix(act, m, n)?) } else { None },
            weight: o.flat(weight, n)?,
            y: o.matrix(act, m, n)?,
            sum: if flag { Some(o.matrix(act, m, n)?) } else { None },
            rstd: o.flat(f32, m)?,
            eps: 1e-5,
        }),
        2 => {
            let columns = heads.checked_add(kv_heads.checked_mul(2)?)?.checked_mul(head_dim);
            let pages = [Some(n), Some(kv_heads), Some(PAGE_TOKENS), Some(head_dim)];
            Op::QkvRope(QkvRope {
                x: o.matrix(act, m, k)?,
                weight: o.matrix(weight, columns?, k)?,
                bias: if flag { Some(o.flat(weight, columns?)?) } else { None },
                rope: o.matrix(f32, n, head_dim)?,
                positions: o.flat(u32, m)?,
                slots: if other { Some(o.flat(u32, m)?) } else { None },
                q: o.matrix(act, m, wide)?,
                k: if other { o.view(act, &pages)? } else { o.matrix(act, m, narrow)? },
                v: if other { o.view(act, &pages)? } else { o.matrix(act, m, narrow)? },
            })
        }
        3 => {
            let pages = [Some(n), Some(kv_heads), Some(PAGE_TOKENS), Some(head_dim)];
            Op::Attention(Attention {
                q: o.matrix(act, m, wide)?,
                k: if other { o.view(act, &pages)? } else { o.matrix(act, m, narrow)? },
                v: if other { o.view(act, &pages)? } else { o.matrix(act, m, narrow)? },
                cu_seqlens: o.flat(u32, k.checked_add(1)?)?,
                positions: if other { Some(o.flat(u32, m)?) } else { None },
                page_table: if other { Some(o.matrix(u32, k, n)?) } else { None },
                out: o.matrix(act, m, wide)?,
                lse: o.matrix(f32, m, heads)?,
                head_dim,
                scale: 0.1,
            })
        }
        4 => Op::LinearResidual(LinearResidual {
            x: o.matrix(act, m, k)?,
            weight: o.matrix(weight, n, k)?,
            residual: o.matrix(act, m, n)?,
            out: o.matrix(act, m, n)?,
        }),
        5 => Op::GateUpSwiglu(GateUpSwiglu {
            x: o.matrix(act, m, k)?,
            weight: o.matrix(weight, n.checked_mul(2)?, k)?,
            product: o.matrix(act, m, n)?,
            gate_up: if flag { Some(o.matrix(act, m, n.checked_mul(2))?) } else { None },
        }),
        6 => Op::HeadLoss(HeadLoss {
            hidden: o.matrix(act, rows, k)?,
            weight: o.matrix(weight, n, k)?,
            labels: o.flat(DType::I32, rows)?,
            step_block: o.block()?,
            loss: o.flat(f32, rows)?,
            dhidden: o.matrix(act, rows, k)?,
            dweight: o.matrix(f32, n, k)?,
            accumulate: flag,
        }),
        7 => Op::HeadLogprob(HeadLogprob {
            hidden: o.matrix(act, rows, k)?,
            weight: o.matrix(weight, n, k)?,
            labels: o.flat(DType::I32, rows)?,
            logprob: o.flat(f32, rows)?,
        }),
        8 => Op::HeadSample(HeadSample {
            hidden: o.matrix(act, rows, k)?,
            weight: o.matrix(weight, n, k)?,
            sampling: o.matrix(u32, rows, SamplingRow::WORDS)?,
            tokens: o.flat(u32, rows)?,
            logprob_raw: o.flat(f32, rows)?,
            logprob_sampled: o.flat(f32, rows)?,
            support: if flag { Some(o.matrix(u32, rows, n.div_ceil(32))?) } else { None },
        }),
        9 => Op::LinearBackwardInput(LinearBackwardInput {
            dy: o.matrix(act, m, n)?,
            weight: o.matrix(weight, n, k)?,
            dx: o.matrix(act, m, k)?,
        }),
        10 => Op::LinearBackwardWeight(LinearBackwardWeight {
            dy: o.matrix(act, m, n)?,
            x: o.matrix(act, m, k)?,
            dweight: o.matrix(f32, n, k)?,
            accumulate: flag,
        }),
        11 => Op::BiasBackward(BiasBackward {
            dy: o.matrix(act, m, n)?,
            dbias: o.flat(f32, n)?,
            accumulate: flag,
        }),
        12 => Op::SwigluBackward(SwigluBackward {
            dproduct: o.matrix(act, m, n)?,
            gate_up: o.matrix(act, m, n.checked_mul(2))?,
        }),
        13 => Op::AttentionBackward(AttentionBackward {
            q: o.matrix(act, m, wide)?,
            k: o.matrix(act, m, narrow)?,
            v: o.matrix(act, m, narrow)?,
            out: o.matrix(act, m, wide)?,
            lse: o.matrix(f32, m, heads)?,
            dout: o.matrix(act, m, wide)?,
            cu_seqlens: o.flat(u32, k.checked_add(1)?)?,
            dq: o.matrix(act, m, wide)?,
            dk: o.matrix(act, m, narrow)?,
            dv: o.matrix(act, m, narrow)?,
            head_dim,
            scale: 0.1,
        }),
        14 => Op::RopeBackward(RopeBackward {
            rope: o.matrix(f32, n, head_dim)?,
            positions: o.flat(u32, m)?,
            dqk: o.matrix(act, m, wide)?,
        }),
        15 => Op::RmsNormBackward(RmsNormBackward {
            dy: o.matrix(act, m, n)?,
            x: o.matrix(act, m, n)?,
            weight: o.flat(weight, n)?,
            rstd: o.flat(f32, m)?,
            dx: o.matrix(act, m, n)?,
            dweight: o.flat(f32, n)?,
            accumulate_dx: flag,
            accumulate: other,
        }),
        16 => Op::EmbedBackward(EmbedBackward {
            ids: o.flat(u32, m)?,
            dx: o.matrix(act, m, k)?,
            dweight: o.matrix(f32, n, k)?,
            accumulate: flag,
        }),
        17 => Op::LossSum(LossSum { loss: o.flat(f32, m)?, result: o.result()?, accumulate: flag }),
        18 => Op::GradNorm(GradNorm { grad: o.flat(f32, m)?, step_block: o.block()?, result: o.result()? }),
        19 => Op::AdamW(AdamW {
            weight: o.flat(weight, m)?,
            remainder: if weight == DType::Bf16 { Some(o.flat(DType::I16, m)?) } else { None },
            grad: o.flat(f32, m)?,
            m: o.flat(if flag { DType::Bf16 } else { f32 }, m)?,
            v: o.flat(if flag { DType::Bf16 } else { f32 }, m)?,
            step_block: o.block()?,
            result: o.result()?,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            rounding: flag.then_some(Rounding { seed: 1, first: n.into() }),
        }),
        20 => {
            Op::Swiglu(Swiglu { gate_up: o.matrix(act, m, n.checked_mul(2))?, product: o.matrix(act, m, n)? })
        }
        21 => Op::HeadPolicy(HeadPolicy {
            hidden: o.matrix(act, rows, k)?,
            weight: o.matrix(weight, n, k)?,
            labels: o.flat(DType::I32, rows)?,
            inv_temperature: o.flat(f32, rows)?,
            support: if flag { Some(o.matrix(u32, rows, support::words(n))?) } else { None },
            logprob: o.flat(f32, rows)?,
            lse: o.flat(f32, rows)?,
            entropy: o.flat(f32, rows)?,
        }),
        22 => Op::HeadPolicyBackward(HeadPolicyBackward {
            hidden: o.matrix(act, rows, k)?,
            weight: o.matrix(weight, n, k)?,
            labels: o.flat(DType::I32, rows)?,
            inv_temperature: o.flat(f32, rows)?,
            support: if flag { Some(o.matrix(u32, rows, support::words(n))?) } else { None },
            lse: o.flat(f32, rows)?,
            entropy: o.flat(f32, rows)?,
            coefficient: o.flat(f32, rows)?,
            entropy_coefficient: o.flat(f32, rows)?,
            dhidden: o.matrix(act, rows, k)?,
            dweight: o.matrix(f32, n, k)?,
            accumulate: other,
        }),
        23 => Op::CopyPages(CopyPages {
            from: o.flat(u32, m)?,
            to: o.flat(u32, m)?,
            pages: o.view(act, &[Some(n), Some(k), kv_heads.checked_mul(PAGE_TOKENS)])?,
        }),
        24 => Op::FeedTokens(FeedTokens {
            tokens: o.flat(u32, n)?,
            source: o.flat(u32, m)?,
            ids: o.flat(u32, m)?,
        }),
        _ => Op::RandomFill(RandomFill { out: o.flat(act, m)?, seed: 5, stream: k.into(), scale: 0.5 }),
    })
}

/// Kinds of ops, by [`op`]'s numbers.
const KINDS: u32 = 26;

fn backend() -> CudaBackend {
    CudaBackend::new("sim", Box::new(SimDriver::new(SimConfig::new(Some(1))))).unwrap()
}

/// Whether the backend would launch an op; an answer there is.
fn answer(backend: &CudaBackend, op: &Op) -> bool {
    catch_unwind(AssertUnwindSafe(|| backend.supports(op))).unwrap_or_else(|_| panic!("no answer to {op:?}"))
}

#[test]
fn the_edges_of_ops_are_launched_or_refused() {
    let backend = backend();
    let (mut launched, mut refused) = ([0u32; KINDS as usize], [0u32; KINDS as usize]);
    let mut names = BTreeSet::new();
    let mut draws = TestRunner::deterministic();
    let drawn = (0..KINDS, draw());
    for _ in 0..20_000 {
        let (kind, draw) = drawn.new_tree(&mut draws).unwrap().current();
        let Some(op) = op(kind, &draw).filter(|op| op.check().is_ok()) else { continue };
        names.insert(op.name());
        match answer(&backend, &op) {
            true => launched[kind as usize] += 1,
            false => refused[kind as usize] += 1,
        }
    }
    // Both answers are given, or the draws say little; and no op of the table is left out.
    assert!(launched.iter().all(|&count| count > 0), "{launched:?}");
    assert!(refused.iter().filter(|&&count| count > 0).count() > 10, "{refused:?}");
    let table: BTreeSet<&str> = Op::all_cases().iter().map(|case| case.op.name()).collect();
    assert_eq!(table.difference(&names).collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// A view of any shape, type, stride and place.
fn any_view() -> impl Strategy<Value = View> {
    let axis = || {
        prop_oneof![0..70u32, (0..32u32).prop_map(|bit| 1 << bit), (0..32u32).prop_map(|bit| u32::MAX >> bit)]
    };
    let dtype =
        prop::sample::select(vec![DType::F32, DType::Bf16, DType::I16, DType::I32, DType::U32, DType::U64]);
    let offset = prop_oneof![0..64u64, (0..64u32).prop_map(|bit| u64::MAX >> bit)];
    (offset, dtype, prop::collection::vec(axis(), 1..=4), prop::option::of(axis())).prop_map(
        |(offset, dtype, shape, stride)| {
            let view = View::new(BufferId(0), offset, dtype, &shape);
            stride.map_or(view, |stride| view.with_row_stride(stride))
        },
    )
}

#[test]
fn what_breaks_an_ops_contract_is_never_launched() {
    let backend = backend();
    let ops: Vec<Op> = Op::all_cases().iter().map(|case| case.op).filter(|op| answer(&backend, op)).collect();
    let mut draws = TestRunner::deterministic();
    let drawn = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any_view());
    let (mut broken, mut kept) = (BTreeSet::new(), 0);
    for _ in 0..10_000 {
        let (which, operand, mut view) = drawn.new_tree(&mut draws).unwrap().current();
        let mut op = *which.get(&ops);
        let mut views = op.views_mut();
        let index = operand.index(views.len());
        let place = &mut views[index];
        view.buffer = place.buffer;
        **place = view;
        let launched = answer(&backend, &op);
        match op.check() {
            Ok(()) => kept += 1,
            Err(error) => {
                broken.insert(op.name());
                assert!(!launched, "launched although {error}: {op:?}");
            }
        }
    }
    assert!(broken.len() > 20 && kept > 10, "{broken:?}, {kept}");
}

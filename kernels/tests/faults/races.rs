//! Two threads at one place: of a warp, of a block, of two blocks.

use crate::on::{NARROW, adamw, fill, norm, product, swiglu_backward};
use crate::plant::*;
use octo_ops::DType;
use octo_ptx::check::{Hazard, Missing};
use octo_ptx::sim::Fault;
use octo_ptx::{Binary, Operand, Operation, Rounding, Space, Special, Type};

/// A race in that space, for want of that, between two sites that both are named.
fn race(fault: &Fault, wanted: Space, want: Missing) -> bool {
    let Fault::Race { hazard, first, second, .. } = fault else { return false };
    let apart = first.block != second.block || first.thread != second.thread;
    matches!(**hazard, Hazard::Race { space, missing, .. } if space == wanted && missing == want) && apart
}

fn special(which: Special) -> impl Fn(&Operation) -> bool {
    move |line| matches!(line, Operation::Move { a, .. } if **a == [Operand::Special(which)])
}

#[test]
fn threads_at_one_place_are_a_race_with_both_named() {
    let planted = |name, on, plant, is| Planted { name, on, plant, at: "", is, or: NOTHING_ELSE };
    all_are_reported(&[
        planted(
            "norm: every warp's sum in one place of shared memory",
            |device| norm(device, 1, 2048, 2048, false),
            |kernel| constant(kernel, 0, Binary::MulWide, 4, 0),
            |fault| race(fault, Space::Shared, Missing::Barrier),
        ),
        planted(
            "norm: two blocks work on the first row",
            |device| norm(device, 2, 2048, 2048, false),
            |kernel| {
                let at = find(kernel, 0, 0, |line| {
                    matches!(line, Operation::Convert { to: Type::U64, from: Type::U32, .. })
                });
                let Operation::Convert { a, .. } = &mut kernel.body[at].operation else { unreachable!() };
                *a = Operand::Immediate(0);
            },
            |fault| race(fault, Space::Global, Missing::BlockOrder),
        ),
        planted(
            "product: two blocks make one tile",
            |device| product(device, NARROW, 32, 64, 64),
            |kernel| {
                let at = find(kernel, 0, 0, special(Special::Ctaid(0)));
                let Operation::Move { a, .. } = &mut kernel.body[at].operation else { unreachable!() };
                a[0] = Operand::Immediate(0);
            },
            |fault| race(fault, Space::Global, Missing::BlockOrder),
        ),
        planted(
            "AdamW: blocks overlap by half",
            |device| adamw(device, 2048, DType::F32),
            |kernel| constant(kernel, 0, Binary::MulWide, 256, 128),
            |fault| race(fault, Space::Global, Missing::BlockOrder),
        ),
        planted(
            "SwiGLU backward: two warps take one row",
            |device| swiglu_backward(device, 8, 256, 512),
            |kernel| constant(kernel, 0, Binary::Shr, 5, 6),
            |fault| race(fault, Space::Global, Missing::Barrier),
        ),
        planted(
            "AdamW: two lanes take one element",
            |device| adamw(device, 1024, DType::Bf16),
            |kernel| {
                let at = find(kernel, 0, 0, special(Special::Tid(0)));
                let Operation::Move { d, a, .. } = &kernel.body[at].operation else { unreachable!() };
                kernel.body[at].operation = Operation::Arithmetic {
                    op: Binary::Shr,
                    ty: Type::U32,
                    rounding: Rounding::Nearest,
                    flush: false,
                    saturate: false,
                    contractible: false,
                    d: d[0].unwrap(),
                    a: a[0],
                    b: Operand::Immediate(1),
                };
            },
            |fault| race(fault, Space::Global, Missing::WarpBarrier),
        ),
        planted(
            "random fill: the last elements all at the first place",
            |device| fill(device, 3, DType::F32),
            |kernel| {
                let two = Operand::Immediate(2);
                let is_shift = |line: &Operation| matches!(line, Operation::Arithmetic { op: Binary::Shl, b, .. } if *b == two);
                let last = kernel.body.iter().rposition(|line| is_shift(&line.operation)).unwrap();
                let Operation::Arithmetic { a, .. } = &mut kernel.body[last].operation else {
                    unreachable!()
                };
                *a = Operand::Immediate(0);
            },
            |fault| race(fault, Space::Global, Missing::OneWriter),
        ),
    ]);
}

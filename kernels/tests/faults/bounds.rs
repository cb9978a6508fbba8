//! Bounds off by one: each of these reads or writes one row, group or element more than there is.

use crate::on::{NARROW, adamw, fill, norm, product, swiglu_backward};
use crate::plant::*;
use octo_ops::DType;
use octo_ptx::sim::Fault;
use octo_ptx::{Compare, Operand, Operation};

/// Out of bounds, just after the end of that operand.
fn past(fault: &Fault, wanted: &str, operand: &str) -> bool {
    matches!(fault, Fault::OutOfBounds { access, address, near: Some(near), .. }
        if *access == wanted && near.name == operand && *address >= near.base + near.bytes)
}

/// The last wait for copies: the epilogue follows.
fn epilogue(kernel: &octo_ptx::Kernel) -> usize {
    find(kernel, 0, 0, |line| matches!(line, Operation::CopyWait { pending: Some(0) }))
}

#[test]
fn an_off_by_one_bound_names_the_operand_it_runs_over() {
    let planted = |name, on, plant, at, is| Planted { name, on, plant, at, is, or: NOTHING_ELSE };
    all_are_reported(&[
        planted(
            "norm, rows",
            |device| norm(device, 5, 64, 64, false),
            |kernel| one_more(kernel, 0, 0, Compare::Ge),
            "ld.global",
            |fault| past(fault, "load", "x"),
        ),
        planted(
            "norm, columns",
            |device| norm(device, 1, 64, 64, false),
            |kernel| one_more(kernel, 0, 1, Compare::Ge),
            "ld.global",
            |fault| past(fault, "load", "x"),
        ),
        planted(
            "SwiGLU backward, rows",
            |device| swiglu_backward(device, 3, 256, 512),
            |kernel| one_more(kernel, 0, 0, Compare::Ge),
            "ld.global",
            |fault| past(fault, "load", "gate_up"),
        ),
        planted(
            "SwiGLU backward, eights of the product",
            |device| swiglu_backward(device, 1, 40, 80),
            |kernel| one_more(kernel, 0, 3, Compare::Ge),
            "ld.global",
            |fault| past(fault, "load", "dproduct"),
        ),
        planted(
            "AdamW, the grid's stride",
            |device| adamw(device, 1024, DType::F32),
            |kernel| one_more(kernel, 0, 0, Compare::Lt),
            "ld.global",
            |fault| past(fault, "load", "weight"),
        ),
        planted(
            "AdamW, the last elements",
            |device| adamw(device, 5, DType::Bf16),
            |kernel| one_more(kernel, 0, 1, Compare::Ge),
            "ld.global",
            |fault| matches!(fault, Fault::OutOfBounds { access: "load", bytes: 2 | 4, .. }),
        ),
        planted(
            "random fill, groups",
            |device| fill(device, 64, DType::F32),
            |kernel| one_more(kernel, 0, 0, Compare::Ge),
            "st.global",
            |fault| past(fault, "store", "out"),
        ),
        planted(
            "product, rows of an operand",
            |device| product(device, NARROW, 5, 64, 64),
            |kernel| {
                let at = find(kernel, 0, 0, is_copy);
                let Operation::CopyAsync { source_bytes, .. } = &mut kernel.body[at].operation else {
                    unreachable!()
                };
                *source_bytes = Some(Operand::Immediate(16));
            },
            "cp.async",
            |fault| past(fault, "asynchronous copy", "x"),
        ),
        planted(
            "product, terms of a row",
            |device| product(device, NARROW, 1, 64, 24),
            |kernel| {
                // Bytes of a chunk: fewer than 16 at the end of a row.
                let sixteen = Operand::Immediate(16);
                let at =
                    find(kernel, 0, 0, |line| matches!(line, Operation::Select { b, .. } if *b == sixteen));
                let Operation::Select { a, .. } = &mut kernel.body[at].operation else { unreachable!() };
                *a = sixteen;
            },
            "cp.async",
            |fault| matches!(fault, Fault::OutOfBounds { access: "asynchronous copy", .. }),
        ),
        planted(
            "product, rows of the result",
            |device| product(device, NARROW, 5, 64, 64),
            |kernel| one_more(kernel, epilogue(kernel), 0, Compare::Lt),
            "ld.global",
            |fault| past(fault, "load", "residual"),
        ),
        planted(
            "product, columns of the result",
            |device| product(device, NARROW, 1, 48, 64),
            |kernel| one_more(kernel, epilogue(kernel), 1, Compare::Lt),
            "st.global",
            |fault| past(fault, "store", "out"),
        ),
    ]);
}

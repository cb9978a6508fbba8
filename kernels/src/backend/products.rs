//! Which ops are plain matrix products that the library of products may serve.
//!
//! Backward products always may; forward products where the passes may be the fastest instead of the same bits for
//! every batch ([`Forward`]). Our row-by-row d\[m, n\] is the library's column-by-column dᵀ = bᵀ·aᵀ, so operands change sides.

use crate::Addresses;
use crate::driver::{Layout, Product, ProductShape};
use octo_ops::{DType, Forward, Op, View};

/// The op as a product, if the library may serve it.
pub(super) fn product(op: &Op, at: &dyn Addresses, forward: Forward) -> Option<Product> {
    match op {
        Op::LinearResidual(op) if forward == Forward::Fastest => {
            of([(&op.weight, true), (&op.x, false)], &op.residual, &op.out, true, at)
        }
        Op::LinearBackwardInput(op) => of([(&op.weight, false), (&op.dy, false)], &op.dx, &op.dx, false, at),
        Op::LinearBackwardWeight(op) => {
            of([(&op.x, false), (&op.dy, true)], &op.dweight, &op.dweight, op.accumulate, at)
        }
        _ => None,
    }
}

/// Only bf16 factors, and no empty axis: what a sum over nothing is, our kernels say.
fn of(
    factors: [(&View, bool); 2],
    added: &View,
    result: &View,
    adds: bool,
    at: &dyn Addresses,
) -> Option<Product> {
    let [(a, a_transposed), (b, b_transposed)] = factors;
    let layout = |view: &View, transposed| Layout {
        dtype: view.dtype,
        rows: view.row_elements() as u64,
        columns: view.rows() as u64,
        // One row has no stride of its own; the library wants one that holds it.
        stride: if view.rows() > 1 { view.row_stride() as u64 } else { view.row_elements() as u64 },
        transposed,
        alignment: 1 << at.address(view).trailing_zeros().min(8),
    };
    let sound = [a, b].iter().all(|view| view.dtype == DType::Bf16 && view.elements() > 0)
        && added.dtype == result.dtype;
    let shape = ProductShape {
        a: layout(a, a_transposed),
        b: layout(b, b_transposed),
        c: layout(added, false),
        d: layout(result, false),
        adds,
    };
    sound.then(|| Product { shape, at: [a, b, added, result].map(|view| at.address(view)) })
}

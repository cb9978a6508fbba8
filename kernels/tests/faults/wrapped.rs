//! Offsets cut to 32 bits. Rows lie four gigabytes apart and more; only what is written takes memory.

use crate::on::{NARROW, norm, product_apart, swiglu_backward};
use crate::plant::*;
use octo_ptx::sim::Fault;

/// Elements from row to row: the second row's offset still fits in 32 bits, the third's does not.
const APART: u32 = (1 << 31) + 8;

fn reads_nothing(fault: &Fault, operand: &str) -> bool {
    matches!(fault, Fault::Uninitialized { near: Some(near), .. } if near.name == operand)
}

#[test]
fn a_wrapped_offset_reads_what_nothing_wrote() {
    let planted = |name, on, plant, is| Planted { name, on, plant, at: "", is, or: NOTHING_ELSE };
    all_are_reported(&[
        planted(
            "norm, rows of x",
            |device| norm(device, 3, 64, APART, false),
            |kernel| wrap_product(kernel, find(kernel, 0, 0, is_row_offset)),
            |fault| reads_nothing(fault, "x"),
        ),
        planted(
            "SwiGLU backward, rows of gate_up",
            |device| swiglu_backward(device, 3, 64, APART),
            |kernel| wrap_product(kernel, find(kernel, 0, 0, is_row_offset)),
            |fault| reads_nothing(fault, "gate_up"),
        ),
        planted(
            "product, rows of x",
            |device| product_apart(device, NARROW, [3, 16, 64], APART - 64),
            |kernel| wrap_product(kernel, find(kernel, 0, 0, is_row_offset)),
            |fault| reads_nothing(fault, "x"),
        ),
        planted(
            "product, rows of the weight",
            |device| product_apart(device, NARROW, [1, 16, 64], APART - 64),
            |kernel| wrap_product(kernel, find(kernel, 0, 1, is_row_offset)),
            |fault| reads_nothing(fault, "weight"),
        ),
    ]);
}

#[test]
fn a_wrapped_offset_of_a_result_writes_over_another_row() {
    all_are_reported(&[Planted {
        name: "norm, rows of y",
        on: |device| norm(device, 3, 64, APART, false),
        plant: |kernel| wrap_product(kernel, find(kernel, 0, 1, is_row_offset)),
        at: "st.global.v4",
        is: |fault| matches!(fault, Fault::Race { near: Some(near), .. } if near.name == "y"),
        or: NOTHING_ELSE,
    }]);
}

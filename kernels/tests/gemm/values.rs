//! Every row of the table computes the product of its op, for shapes on and off every boundary.

use crate::device::Device;
use crate::problem::{EXACT, Outcome, ROUGH, Shape, Values, bf16, dot, matrix, run, shape};
use octo_kernels::tuning::{Row, Tile, rows};

/// The shape as the op may have it.
fn allowed(row: &Row, mut s: Shape) -> Shape {
    if matches!(row.op, "gate_up_swiglu" | "qkv_rope") {
        s.n = s.n.next_multiple_of(16);
    }
    // Its weight has no gaps, and rows begin at multiples of 16 bytes.
    if row.op == "qkv_rope" {
        s.k = s.k.next_multiple_of(8);
    }
    s
}

fn shapes(tile: Tile) -> Vec<Shape> {
    let Tile { m, n, k, .. } = tile;
    vec![
        shape(1, 1, 1),
        shape(1, 8, 8),
        shape(7, 17, 24),
        shape(16, 16, 16),
        Shape { in_gap: 8, ..shape(17, 129, 40) },
        Shape { out_gap: 3, ..shape(5, 24, 33) },
        Shape { out_gap: 8, ..shape(5, 24, 16) },
        shape(m, n, k),
        shape(m + 1, n + 8, 7 * k + 8),
        Shape { in_gap: 16, out_gap: 1, ..shape(2 * m - 1, 2 * n + 3, 2 * k - 1) },
    ]
}

/// Holds a result to what the op's formula gives.
fn hold(row: &Row, s: Shape, values: &Values, flag: bool, outcome: &Outcome, slack: f64) {
    let near = |got: f32, want: f64, size: f64, i: u32, j: u32| {
        let error = (f64::from(got) - want).abs();
        assert!(error <= size, "{} {s:?} ({i}, {j}): {got}, not {want} within {size}", row.entry);
    };
    // `slack` times the sum of magnitudes for the order of the sum, and half a unit of bf16 (with a little for the
    // error before it).
    let rounded = |want: f64, size: f64| (slack * size) * 1.01 + want.abs() / 256.0;
    let (a, b) = (matrix(values.a, s.m, s.k), matrix(values.b, s.n, s.k));
    let dot = |i: u32, j: u32| dot(&a[i as usize], &b[j as usize]);
    for i in 0..s.m {
        let out = &outcome.out[i as usize];
        for j in 0..s.n {
            let (sum, size) = dot(i, j);
            let extra = f64::from((values.extra)(i, j));
            match row.op {
                "linear_residual" if slack == 0.0 => {
                    assert_eq!(out[j as usize], bf16(sum + extra), "{s:?} ({i}, {j})")
                }
                "linear_residual" => near(out[j as usize], sum + extra, rounded(sum + extra, size), i, j),
                "linear_backward_input" | "qkv_rope" if slack == 0.0 => {
                    assert_eq!(out[j as usize], bf16(sum), "{s:?} ({i}, {j})")
                }
                "head_logits" => near(out[j as usize], sum, slack * size, i, j),
                "linear_backward_input" | "qkv_rope" => near(out[j as usize], sum, rounded(sum, size), i, j),
                "linear_backward_weight" => {
                    let want = if flag { sum + extra } else { sum };
                    near(out[j as usize], want, slack * (size + extra.abs()), i, j);
                }
                _ => {}
            }
        }
        if row.op == "gate_up_swiglu" {
            for j in 0..s.n / 2 {
                let gate_column = j / 8 * 16 + j % 8;
                let [(gate, gate_size), (up, up_size)] =
                    [gate_column, gate_column + 8].map(|column| dot(i, column));
                let (gate, up) = match &outcome.second {
                    Some(second) => {
                        let [g, u] = [gate_column, gate_column + 8].map(|c| second[i as usize][c as usize]);
                        near(g, gate, rounded(gate, gate_size), i, gate_column);
                        near(u, up, rounded(up, up_size), i, gate_column + 8);
                        (f64::from(g), f64::from(u))
                    }
                    None => (f64::from(bf16(gate)), f64::from(bf16(up))),
                };
                let want = gate / (1.0 + (-gate).exp()) * up;
                let size =
                    want.abs() / 200.0 + if outcome.second.is_none() { slack.sqrt() } else { 0.0 } + 1e-30;
                near(out[j as usize], want, size, i, j);
            }
        }
    }
}

fn every(values: &Values, slack: f64, flag: bool, of: fn(&Row) -> bool) {
    for (seed, row) in rows().iter().enumerate().filter(|(_, row)| of(row)) {
        for s in shapes(row.tile) {
            let s = allowed(row, s);
            let outcome = run(&mut Device::new(seed as u64), row, s, values, flag);
            hold(row, s, values, flag, &outcome, slack);
        }
    }
}

#[test]
fn sums_of_integers_are_exact() {
    every(&EXACT, 0.0, false, |_| true);
}

#[test]
fn sums_of_integers_are_exact_with_gate_up_and_accumulation() {
    every(&EXACT, 0.0, true, |row| matches!(row.op, "gate_up_swiglu" | "linear_backward_weight"));
}

#[test]
fn rough_sums_err_no_more_than_their_order_explains() {
    // At most 48 steps of 16 terms, each cut off 2^-24 below the largest of its terms and the sum so far.
    every(&ROUGH, 48.0 * f64::powi(2.0, -23), true, |_| true);
}

/// Rows 2³² bytes apart: row times stride leaves 32 bits.
#[test]
fn rows_further_apart_than_four_gibibytes() {
    for row in rows() {
        let s = Shape { in_gap: (1 << 31) - 64, out_gap: (1 << 31) - 16, ..shape(3, 16, 24) };
        let outcome = run(&mut Device::new(1), row, s, &EXACT, true);
        hold(row, s, &EXACT, true, &outcome, 0.0);
    }
}

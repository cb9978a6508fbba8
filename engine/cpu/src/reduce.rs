//! Sums whose order is fixed by the shape alone: lanes inside a block, blocks in ascending order.

use rayon::prelude::*;

const LANES: usize = 16;

/// Elements a task reduces before partial sums meet.
const BLOCK: usize = 16 * 1024;

/// Rows whose contributions to a column sum are added before partial sums meet.
pub(crate) const ROWS: usize = 64;

/// Rows a task takes when rows do not depend on each other.
pub(crate) const ROW_TASK: usize = 16;

/// Σ f(xᵢ): sixteen interleaved partial sums, then a fixed tree.
pub(crate) fn sum_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += f(v);
    }
    tree(lanes)
}

/// Σ f(xᵢ, yᵢ) in the same order.
pub(crate) fn sum_pairs_by(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += f(x, y);
        }
    }
    tree(lanes)
}

pub(crate) fn tree(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Σ f(xᵢ) over a long slice, block sums added in f64 in ascending order.
pub(crate) fn long_sum_by(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> f64 {
    let partial: Vec<f32> = x.par_chunks(BLOCK).map(|block| sum_by(block, &f)).collect();
    partial.into_iter().map(f64::from).sum()
}

/// `to` (+)= Σ over `rows` rows of what `add` puts into a row of zeros: rows in blocks of [`ROWS`], the block
/// sums in ascending order.
pub(crate) fn column_sums(
    rows: usize,
    to: &mut [f32],
    accumulate: bool,
    add: impl Fn(usize, &mut [f32]) + Sync,
) {
    let width = to.len();
    let blocks = rows.div_ceil(ROWS);
    let mut partial = vec![0.0f32; blocks * width];
    partial.par_chunks_mut(width.max(1)).enumerate().for_each(|(block, partial)| {
        for row in block * ROWS..((block + 1) * ROWS).min(rows) {
            add(row, partial);
        }
    });
    if !accumulate {
        to.fill(0.0);
    }
    for partial in partial.chunks_exact(width.max(1)) {
        to.iter_mut().zip(partial).for_each(|(t, &p)| *t += p);
    }
}

//! Logits in chunks of rows: the whole matrix never exists.

use crate::math;
use crate::matmul::{self, Tile, Weight};
use crate::{Matrix, MatrixMut};

/// Floats of one chunk of logits: large enough to keep the product busy, small beside the weights.
const CHUNK: usize = 4 << 20;

/// Rows of a chunk: a function of the shape alone, so that sums over chunks have one order.
pub(super) fn chunk_rows(vocab: usize) -> usize {
    (CHUNK / vocab.max(1)).clamp(16, 1024)
}

/// logits \[rows, vocab\] = hidden · weightᵀ.
pub(super) fn logits(hidden: Matrix<'_>, weight: Weight<'_>, logits: &mut [f32]) {
    let vocab = weight.outputs();
    let to = MatrixMut::new(logits, hidden.rows(), vocab, vocab);
    matmul::forward(hidden, weight, 1, &|tile: Tile<'_>| {
        for i in 0..tile.rows {
            // SAFETY: tiles share no element.
            let to = unsafe { to.row_segment(tile.row0 + i, tile.col0, tile.cols) };
            to.copy_from_slice(&tile.data[i * tile.stride..][..tile.cols]);
        }
    });
}

/// Σ exp of a row of logits in two parts: the one used by loss, scores and sampling alike.
pub(super) struct SumExp {
    /// The largest logit.
    pub max: f32,
    /// Σ e^(x − max): partial sums over 128 consecutive ids, added in ascending order in f64.
    pub sum: f64,
}

impl SumExp {
    pub fn of(row: &[f32]) -> SumExp {
        let max = math::max(row);
        let sum = row.chunks(128).map(|part| f64::from(math::sum_exp(part, max))).sum();
        SumExp { max, sum }
    }

    /// ln Σ e^x.
    pub fn ln(&self) -> f32 {
        (f64::from(self.max) + self.sum.ln()) as f32
    }
}

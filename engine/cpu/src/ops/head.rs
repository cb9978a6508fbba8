//! Logits in chunks of rows: the whole matrix never exists.

use crate::math;
use crate::matmul::{self, Tile, Weight};
use crate::memory::Memory;
use crate::{Matrix, MatrixMut};
use octo_ops::{View, support};

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

/// Gradients of a chunk's rows and of the weight from those of its logits.
pub(super) fn gradients(
    dlogits: &[f32],
    (hidden, weight): (Matrix<'_>, Weight<'_>),
    dhidden: &mut [f32],
    dweight: &mut MatrixMut<'_>,
    accumulate: bool,
) {
    let (rows, width) = (hidden.rows(), hidden.cols());
    let dlogits = Matrix::new(dlogits, rows, weight.outputs(), weight.outputs());
    matmul::input_gradient(dlogits, weight, &mut MatrixMut::new(dhidden, rows, width, width), false);
    matmul::weight_gradient(dlogits, hidden, dweight, accumulate);
}

/// The rows of a support, where there is one.
pub(super) struct Support<'a> {
    words: Option<(&'a [u32], usize)>,
}

impl<'a> Support<'a> {
    pub fn of(view: Option<&View>, memory: &'a Memory) -> Support<'a> {
        Support { words: view.map(|view| (memory.span(view), view.row_elements())) }
    }

    /// Makes of row `t`'s logits what it is sampled from, in their place: times 1/temperature, −∞ outside the support.
    pub fn temper(&self, t: usize, row: &mut [f32], inv_temperature: f32) {
        row.iter_mut().for_each(|x| *x *= inv_temperature);
        if let Some((words, count)) = self.words {
            support::cut(&words[t * count..][..count], row);
        }
    }
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

    /// −Σ p·ln p of the row whose sum this is: ln Σ e^(x − max) − Σ (x − max)·e^(x − max) / Σ e^(x − max), with partial
    /// sums as those of the exponentials.
    pub fn entropy(&self, row: &[f32]) -> f32 {
        let moment: f64 = row.chunks(128).map(|part| f64::from(math::moment(part, self.max))).sum();
        (self.sum.ln() - moment / self.sum) as f32
    }
}

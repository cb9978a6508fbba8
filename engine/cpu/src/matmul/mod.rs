//! Matrix products of f32 activations with f32 or bf16 weights.
//!
//! **The definition** of a forward product, obeyed by every path and instruction set: an output is a sum over
//! k in blocks of 256; a block is one chain of fused multiply-adds over ascending k that starts from +0; the
//! first block's sum is taken as it is and the others are added to it in ascending order. bf16 is widened
//! exactly. So an output's bits depend on its row of x, its row of w and their length, and on nothing else:
//! not on the other rows, the tiles, the threads, or whether weights were packed ahead or read in place.
//!
//! Gradients use the same kernels with the reduction along other axes; their order is fixed by the shapes.

mod blocking;
mod decode;
mod pack;
mod product;
mod tile;

use crate::{Matrix, MatrixMut};
use half::bf16;
use product::{Operand, Product};

pub(crate) use pack::{PackPanel, PackRows};
pub(crate) use tile::{BlockProduct, Start};

/// A matrix of parameters, row-major without gaps.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// Single precision.
    F32(Matrix<'a>),
    /// The upper half of single precision.
    Bf16(Matrix<'a, bf16>),
}

impl Weight<'_> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Weight::F32(w) => w.rows(),
            Weight::Bf16(w) => w.rows(),
        }
    }

    /// Elements a row.
    pub fn cols(&self) -> usize {
        match self {
            Weight::F32(w) => w.cols(),
            Weight::Bf16(w) => w.cols(),
        }
    }
}

/// A finished part of a product, still in cache.
#[derive(Debug)]
pub struct Tile<'a> {
    /// First row of the product.
    pub row0: usize,
    /// First column of the product.
    pub col0: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// The values, to be used up as the taker likes.
    pub data: &'a mut [f32],
    /// Elements between two rows of `data`.
    pub stride: usize,
}

/// x \[m, k\] · w \[n, k\]ᵀ, handed out in tiles, each output in exactly one. Tiles begin at multiples of
/// `column_multiple` and hold a multiple of it, but for the last.
///
/// # Panics
/// When the rows of `x` and `w` differ in length.
pub fn forward(x: Matrix<'_>, w: Weight<'_>, column_multiple: usize, take: impl Fn(Tile<'_>) + Sync) {
    assert_eq!(x.cols(), w.cols(), "rows of x and w");
    let left = Operand::along_rows(x);
    match w {
        Weight::F32(w) => Product::new(left, Operand::along_rows(w), column_multiple).run(take),
        Weight::Bf16(w) => Product::new(left, Operand::along_rows(w), column_multiple).run(take),
    }
}

/// dx \[m, k\] = dy \[m, n\] · w \[n, k\].
///
/// # Panics
/// When the shapes do not fit together.
pub fn input_gradient(dy: Matrix<'_>, w: Weight<'_>, dx: MatrixMut<'_>) {
    assert_eq!((dy.cols(), dy.rows(), w.cols()), (w.rows(), dx.rows(), dx.cols()), "dy, w, dx");
    let left = Operand::along_rows(dy);
    let take = |tile: Tile<'_>| store(&dx, &tile, false);
    match w {
        Weight::F32(w) => Product::new(left, Operand::along_columns(w), 1).run(take),
        Weight::Bf16(w) => Product::new(left, Operand::along_columns(w), 1).run(take),
    }
}

/// dw \[n, k\] (+)= dy \[m, n\]ᵀ · x \[m, k\].
///
/// # Panics
/// When the shapes do not fit together.
pub fn weight_gradient(dy: Matrix<'_>, x: Matrix<'_>, dw: &mut [f32], accumulate: bool) {
    assert_eq!((dy.rows(), dy.cols() * x.cols()), (x.rows(), dw.len()), "dy, x, dw");
    let dw = MatrixMut::new(dw, dy.cols(), x.cols(), x.cols());
    let product = Product::new(Operand::along_columns(dy), Operand::along_columns(x), 1);
    product.run(|tile| store(&dw, &tile, accumulate));
}

fn store(to: &MatrixMut<'_>, tile: &Tile<'_>, add: bool) {
    for (i, from) in tile.data.chunks(tile.stride.max(1)).take(tile.rows).enumerate() {
        // SAFETY: tiles share no element.
        let to = unsafe { to.row_segment(tile.row0 + i, tile.col0, tile.cols) };
        let from = &from[..tile.cols];
        if add {
            to.iter_mut().zip(from).for_each(|(t, &f)| *t += f);
        } else {
            to.copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests;

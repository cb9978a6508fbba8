//! Products of activations and weights.
//!
//! # The definition
//! An output is the product of two rows of K terms: for each block of 256 terms, one chain of fused
//! multiply-adds, k ascending, from +0; the blocks' sums are added in ascending order in f32, the first taken
//! as it is; with no terms, +0. bf16 is widened to f32, which is exact. Nothing else enters: not the number of
//! rows or columns, not the tiling, the threads, the instruction set or the schedule. Hence a row's outputs
//! are the same bits alone, among others, and in another order, which is what lets a sampler and a trainer
//! agree exactly. (Payloads of NaNs are not covered.)
//!
//! Chains of 256 rather than one of K keep the error low (a third at K = 2048), and are as deep as a packed
//! panel may be for the first-level cache; so the definition costs nothing. A chain an output, not partial
//! sums across lanes, lets lanes be outputs, which is what a product of many rows wants; few rows pay with
//! transposes in registers, which hide behind memory.
//!
//! `tile` is the micro-kernel, `pack` its operands' layout, `product` the cutting into tasks, `decode` the path
//! of a few rows, `blocking` all sizes.

mod blocking;
mod decode;
mod pack;
mod product;
#[cfg(test)]
mod tests;
mod tile;

use crate::matrix::{Matrix, MatrixMut};
use half::bf16;
use product::{Operand, Product};

pub(crate) use blocking::BLOCK;
pub(crate) use pack::{PackPanels, PackRows};
pub(crate) use tile::{BlockProduct, Left, Start};

/// A weight as models keep it, `[outputs, inputs]`.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// Single precision.
    F32(Matrix<'a, f32>),
    /// The upper half of single precision.
    Bf16(Matrix<'a, bf16>),
}

impl Weight<'_> {
    /// Number of outputs, N.
    pub fn outputs(&self) -> usize {
        match self {
            Weight::F32(w) => w.rows(),
            Weight::Bf16(w) => w.rows(),
        }
    }

    /// Number of inputs, K.
    pub fn inputs(&self) -> usize {
        match self {
            Weight::F32(w) => w.cols(),
            Weight::Bf16(w) => w.cols(),
        }
    }
}

/// Finished outputs: `rows × cols` of them beginning at (`row0`, `col0`) of the result. They lie in a buffer
/// that the epilogue may change and that is gone when it returns.
#[derive(Debug)]
pub struct Tile<'a> {
    /// First row.
    pub row0: usize,
    /// First column.
    pub col0: usize,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Output (`r`, `c`) of the tile is `data[r · stride + c]`.
    pub data: &'a mut [f32],
    /// Elements between two rows of `data`.
    pub stride: usize,
}

impl Tile<'_> {
    /// Outputs of the tile's row `row`, which is row `row0 + row` of the result.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        &mut self.data[row * self.stride..][..self.cols]
    }
}

/// `x[M, K] · weight[N, K]ᵀ`, handed to `epilogue` in tiles that cover the result once, from several threads.
///
/// Each tile's `col0` is a multiple of `column_multiple`, and so is its `cols` unless it is the last of its
/// row: with heads or gate pairs as the multiple, no tile cuts one. The epilogue must not itself start
/// parallel work.
///
/// # Panics
/// When K differs between `x` and `weight`, or `column_multiple` is 0.
pub fn forward(x: Matrix, weight: Weight, column_multiple: usize, epilogue: &(dyn Fn(Tile) + Sync)) {
    let left = Operand { matrix: x, along_rows: true };
    match weight {
        Weight::F32(matrix) => {
            Product { left, right: Operand { matrix, along_rows: true }, column_multiple, epilogue }.run();
        }
        Weight::Bf16(matrix) => {
            Product { left, right: Operand { matrix, along_rows: true }, column_multiple, epilogue }.run();
        }
    }
}

/// `dx[M, K] = dy[M, N] · weight[N, K]`, or with `accumulate` added to what `dx` holds.
///
/// # Panics
/// When the shapes do not fit together.
pub fn input_gradient(dy: Matrix, weight: Weight, dx: &mut MatrixMut, accumulate: bool) {
    assert_eq!((dx.rows(), dx.cols()), (dy.rows(), weight.inputs()), "dx is [rows of dy, inputs of weight]");
    let left = Operand { matrix: dy, along_rows: true };
    let epilogue = &|tile: Tile| write(dx, tile, accumulate);
    match weight {
        Weight::F32(matrix) => {
            Product { left, right: Operand { matrix, along_rows: false }, column_multiple: 1, epilogue }
                .run();
        }
        Weight::Bf16(matrix) => {
            Product { left, right: Operand { matrix, along_rows: false }, column_multiple: 1, epilogue }
                .run();
        }
    }
}

/// `dw[N, K] = dy[M, N]ᵀ · x[M, K]`, or with `accumulate` added to what `dw` holds.
///
/// # Panics
/// When the shapes do not fit together.
pub fn weight_gradient(dy: Matrix, x: Matrix, dw: &mut MatrixMut, accumulate: bool) {
    assert_eq!((dw.rows(), dw.cols()), (dy.cols(), x.cols()), "dw is [columns of dy, columns of x]");
    let (left, right) = (Operand { matrix: dy, along_rows: false }, Operand { matrix: x, along_rows: false });
    Product { left, right, column_multiple: 1, epilogue: &|tile: Tile| write(dw, tile, accumulate) }.run();
}

fn write(out: &MatrixMut, mut tile: Tile, accumulate: bool) {
    for row in 0..tile.rows {
        // SAFETY: tiles lie inside the result, whose shape is `out`'s, and do not overlap.
        let to = unsafe { out.row_segment(tile.row0 + row, tile.col0, tile.cols) };
        if accumulate {
            to.iter_mut().zip(tile.row(row)).for_each(|(to, from)| *to += *from);
        } else {
            to.copy_from_slice(tile.row(row));
        }
    }
}

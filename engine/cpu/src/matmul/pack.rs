//! Copies of operands in the order the micro-kernel reads them.

use super::blocking::BLOCK;
use super::tile::panel_width;
use crate::simd::{Kernel, Simd, Transpose};
use half::bf16;

/// An element a product reads, widened exactly to f32.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// Elements in 32 bits.
    const PAIR: usize;
    /// The same number as f32.
    fn widen(self) -> f32;
    /// Column `i` of a transposed block of eight rows and `8 · PAIR` columns.
    ///
    /// # Safety
    /// As for [`Simd`].
    unsafe fn column<T: Transpose>(block: &[T::V; 8], i: usize) -> T::V;
}

impl Element for f32 {
    const PAIR: usize = 1;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    unsafe fn column<T: Transpose>(block: &[T::V; 8], i: usize) -> T::V {
        block[i]
    }
}

impl Element for bf16 {
    const PAIR: usize = 2;
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits((self.to_bits() as u32) << 16)
    }
    #[inline(always)]
    unsafe fn column<T: Transpose>(block: &[T::V; 8], i: usize) -> T::V {
        // Memory order is little-endian: the lower half of a 32-bit lane is the earlier element.
        // SAFETY: passed on.
        unsafe { if i.is_multiple_of(2) { T::widen_low(block[i / 2]) } else { T::widen_high(block[i / 2]) } }
    }
}

/// One panel of the right-hand side: `out[k, j] = from[j, k]` or `from[k, j]`, `depth` rows of
/// [`panel_width`] columns of which `cols` are there and the rest 0.
pub(crate) struct PackPanel<E> {
    /// Its first element.
    pub from: *const E,
    /// Elements between two rows of `from`.
    pub stride: usize,
    /// Whether the reduction runs along the rows of `from` (`from[j, k]`).
    pub along_rows: bool,
    /// Columns there are.
    pub cols: usize,
    /// Terms of the reduction.
    pub depth: usize,
    /// `depth` rows of [`panel_width`] f32.
    pub out: *mut f32,
}

impl<E: Element> Kernel for PackPanel<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = panel_width::<S>();
        // SAFETY: the caller's operand and panel hold these rows and columns.
        unsafe {
            if self.along_rows {
                let whole = self.cols - self.cols % 8;
                for j in (0..whole).step_by(8) {
                    let from = self.from.add(j * self.stride);
                    transpose::<E, S::Eight>(from, self.stride, self.depth, self.out.add(j), width);
                }
                for j in whole..width {
                    for k in 0..self.depth {
                        let there = j < self.cols;
                        *self.out.add(k * width + j) =
                            if there { (*self.from.add(j * self.stride + k)).widen() } else { 0.0 };
                    }
                }
            } else {
                for k in 0..self.depth {
                    let (from, out) = (self.from.add(k * self.stride), self.out.add(k * width));
                    if self.cols == width {
                        for j in 0..width {
                            *out.add(j) = (*from.add(j)).widen();
                        }
                    } else {
                        for j in 0..width {
                            *out.add(j) = if j < self.cols { (*from.add(j)).widen() } else { 0.0 };
                        }
                    }
                }
            }
        }
    }
}

/// `out[k, r] = from[r, k]` for eight rows of `from` and `depth` columns.
#[inline(always)]
unsafe fn transpose<E: Element, T: Transpose>(
    from: *const E,
    stride: usize,
    depth: usize,
    out: *mut f32,
    out_stride: usize,
) {
    let step = 8 * E::PAIR;
    let whole = depth - depth % step;
    // SAFETY: the caller's operand and output hold these rows and columns.
    unsafe {
        for k in (0..whole).step_by(step) {
            let block = T::transposed(from.add(k).cast(), stride * size_of::<E>());
            for i in 0..step {
                T::store(out.add((k + i) * out_stride), E::column::<T>(&block, i));
            }
        }
        for k in whole..depth {
            for r in 0..8 {
                *out.add(k * out_stride + r) = (*from.add(r * stride + k)).widen();
            }
        }
    }
}

/// The left-hand side of one block: `out[r · BLOCK + k] = from[r, k]` or `from[k, r]`.
pub(crate) struct PackRows {
    /// Its first element.
    pub from: *const f32,
    /// Elements between two rows of `from`.
    pub stride: usize,
    /// Whether the reduction runs along the rows of `from` (`from[r, k]`).
    pub along_rows: bool,
    /// Rows of `out`.
    pub rows: usize,
    /// Terms of the reduction.
    pub depth: usize,
    /// `rows` rows of `depth` f32, `BLOCK` apart.
    pub out: *mut f32,
}

impl Kernel for PackRows {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's operand and block hold these rows and columns.
        unsafe {
            if self.along_rows {
                for row in 0..self.rows {
                    let from = self.from.add(row * self.stride);
                    std::ptr::copy_nonoverlapping(from, self.out.add(row * BLOCK), self.depth);
                }
                return;
            }
            // Eight rows of the output at a time: they are 8 KB, and stay in the first-level cache while the
            // terms pass.
            let whole = (self.rows - self.rows % 8, self.depth - self.depth % 8);
            for row in (0..whole.0).step_by(8) {
                for k in (0..whole.1).step_by(8) {
                    let from = self.from.add(k * self.stride + row);
                    transpose::<f32, S::Eight>(from, self.stride, 8, self.out.add(row * BLOCK + k), BLOCK);
                }
            }
            for row in 0..self.rows {
                let first = if row < whole.0 { whole.1 } else { 0 };
                for k in first..self.depth {
                    *self.out.add(row * BLOCK + k) = *self.from.add(k * self.stride + row);
                }
            }
        }
    }
}

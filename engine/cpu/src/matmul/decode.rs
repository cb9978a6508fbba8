//! Products of a few rows: weights are multiplied as they come out of memory.
//!
//! Eight weight rows at a time are transposed in registers, so that lanes are outputs and each output keeps
//! its one ascending chain. The next rows are prefetched while these are used: a row is short, and hardware
//! prefetchers start anew on each.

use super::blocking::BLOCK;
use super::pack::Element;
use crate::simd::{Kernel, Simd, Transpose};

/// `out[m, n] = x[m, :] · w[n, :]` for 1 to 4 rows of `x` and any rows of `w`.
pub(super) struct FewRows<E> {
    /// Rows of `depth` f32.
    pub x: *const f32,
    /// Elements between two rows of `x`.
    pub x_stride: usize,
    /// Rows of `x`.
    pub rows: usize,
    /// Rows of `depth` elements.
    pub w: *const E,
    /// Elements between two rows of `w`.
    pub w_stride: usize,
    /// Rows of `w`.
    pub cols: usize,
    /// Terms of the reduction, at least one.
    pub depth: usize,
    /// The outputs.
    pub out: *mut f32,
    /// Elements between two rows of `out`.
    pub out_stride: usize,
}

impl<E: Element> Kernel for FewRows<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's matrices hold these rows and columns.
        unsafe {
            match self.rows {
                1 => self.strips::<S::Eight, 1, 4>(),
                2 => self.strips::<S::Eight, 2, 2>(),
                3 => self.strips::<S::Eight, 3, 1>(),
                _ => self.strips::<S::Eight, 4, 1>(),
            }
        }
    }
}

impl<E: Element> FewRows<E> {
    #[inline(always)]
    unsafe fn strips<T: Transpose, const M: usize, const G: usize>(&self) {
        // SAFETY: the caller's matrices hold these rows and columns.
        unsafe {
            let mut col = 0;
            while col + 8 * G <= self.cols {
                self.strip::<T, M, G>(col);
                col += 8 * G;
            }
            while col + 8 <= self.cols {
                self.strip::<T, M, 1>(col);
                col += 8;
            }
            for col in col..self.cols {
                for row in 0..M {
                    self.one(row, col);
                }
            }
        }
    }

    /// `G` groups of eight columns.
    #[inline(always)]
    unsafe fn strip<T: Transpose, const M: usize, const G: usize>(&self, col: usize) {
        let step = 8 * E::PAIR;
        // SAFETY: the caller's matrices hold these rows and columns; a prefetch may point anywhere.
        unsafe {
            let w = self.w.add(col * self.w_stride);
            for block in (0..self.depth).step_by(BLOCK) {
                let depth = BLOCK.min(self.depth - block);
                let mut sums = [[T::splat(0.0); M]; G];
                let whole = depth - depth % step;
                for k in (0..whole).step_by(step) {
                    for g in 0..G {
                        let from = w.add(g * 8 * self.w_stride + block + k);
                        if k % 32 == 0 {
                            for r in 0..8 {
                                T::prefetch(from.wrapping_add((8 * G + r) * self.w_stride).cast());
                            }
                        }
                        let weights = T::transposed(from.cast(), self.w_stride * size_of::<E>());
                        for i in 0..step {
                            let weight = E::column::<T>(&weights, i);
                            for m in 0..M {
                                let x = T::splat(*self.x.add(m * self.x_stride + block + k + i));
                                sums[g][m] = T::fma(x, weight, sums[g][m]);
                            }
                        }
                    }
                }
                for k in whole..depth {
                    for g in 0..G {
                        let mut weights = [0.0; 8];
                        for (r, weight) in weights.iter_mut().enumerate() {
                            *weight = (*w.add((g * 8 + r) * self.w_stride + block + k)).widen();
                        }
                        let weight = T::load(weights.as_ptr());
                        for m in 0..M {
                            let x = T::splat(*self.x.add(m * self.x_stride + block + k));
                            sums[g][m] = T::fma(x, weight, sums[g][m]);
                        }
                    }
                }
                for g in 0..G {
                    for m in 0..M {
                        let to = self.out.add(m * self.out_stride + col + g * 8);
                        let sum = sums[g][m];
                        T::store(to, if block == 0 { sum } else { T::add(T::load(to), sum) });
                    }
                }
            }
        }
    }

    /// One output: for the last columns of a weight whose rows are no multiple of eight.
    #[inline(always)]
    unsafe fn one(&self, row: usize, col: usize) {
        // SAFETY: the caller's matrices hold this row and column.
        unsafe {
            let mut total = 0.0;
            for block in (0..self.depth).step_by(BLOCK) {
                let mut sum = 0.0f32;
                for k in block..(block + BLOCK).min(self.depth) {
                    let weight = (*self.w.add(col * self.w_stride + k)).widen();
                    sum = (*self.x.add(row * self.x_stride + k)).mul_add(weight, sum);
                }
                total = if block == 0 { sum } else { total + sum };
            }
            *self.out.add(row * self.out_stride + col) = total;
        }
    }
}

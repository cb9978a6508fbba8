//! Products of a few rows: weights are multiplied as they come out of memory.
//!
//! Eight weight rows at a time are transposed in registers, so that lanes are outputs and each output keeps its
//! ascending chains. A chain waits four cycles for each of its terms, which is slower than memory: so four
//! chains go at once, of as many rows of `x`, or of as many blocks of the reduction, which the definition
//! keeps apart anyway.

use super::blocking::BLOCK;
use super::pack::{Element, prefetch_next};
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
                1 => self.columns::<S::Eight, 1, 4>(),
                2 => self.columns::<S::Eight, 2, 2>(),
                3 => self.columns::<S::Eight, 3, 1>(),
                _ => self.columns::<S::Eight, 4, 1>(),
            }
        }
    }
}

impl<E: Element> FewRows<E> {
    #[inline(always)]
    unsafe fn columns<T: Transpose, const M: usize, const B: usize>(&self) {
        let whole = self.cols - self.cols % 8;
        // SAFETY: the caller's matrices hold these rows and columns.
        unsafe {
            for col in (0..whole).step_by(8) {
                self.eight::<T, M, B>(col);
            }
            for col in whole..self.cols {
                for row in 0..M {
                    self.one(row, col);
                }
            }
        }
    }

    /// Eight columns: `B` blocks of the reduction at once while there are so many, then one, then the rest.
    #[inline(always)]
    unsafe fn eight<T: Transpose, const M: usize, const B: usize>(&self, col: usize) {
        // SAFETY: the caller's matrices hold these rows and columns.
        unsafe {
            let mut block = 0;
            while block + B * BLOCK <= self.depth {
                self.blocks::<T, M, B>(col, block, BLOCK);
                block += B * BLOCK;
            }
            while block < self.depth {
                self.blocks::<T, M, 1>(col, block, BLOCK.min(self.depth - block));
                block += BLOCK;
            }
        }
    }

    /// `B` blocks of `depth` terms from term `first` on.
    #[inline(always)]
    unsafe fn blocks<T: Transpose, const M: usize, const B: usize>(
        &self,
        col: usize,
        first: usize,
        depth: usize,
    ) {
        let step = 4 * E::PAIR;
        let whole = depth - depth % step;
        // SAFETY: the caller's matrices hold these rows and columns.
        unsafe {
            let w = self.w.add(col * self.w_stride);
            let mut sums = [[T::splat(0.0); M]; B];
            for k in (first..first + whole).step_by(step) {
                // Written out: as a loop it is not unrolled, and the sums then live in memory.
                self.step::<T, M>(w, k, &mut sums[0]);
                if B > 1 {
                    self.step::<T, M>(w, k + BLOCK, &mut sums[1 % B]);
                }
                if B > 2 {
                    self.step::<T, M>(w, k + 2 * BLOCK, &mut sums[2 % B]);
                }
                if B > 3 {
                    self.step::<T, M>(w, k + 3 * BLOCK, &mut sums[3 % B]);
                }
            }
            for k in first + whole..first + depth {
                let mut weights = [0.0; 8];
                for (r, weight) in weights.iter_mut().enumerate() {
                    *weight = (*w.add(r * self.w_stride + k)).widen();
                }
                for (m, sum) in sums[0].iter_mut().enumerate() {
                    let x = T::splat(*self.x.add(m * self.x_stride + k));
                    *sum = T::fma(x, T::load(weights.as_ptr()), *sum);
                }
            }
            for (b, sums) in sums.iter().enumerate() {
                for (m, &sum) in sums.iter().enumerate() {
                    let to = self.out.add(m * self.out_stride + col);
                    T::store(to, if first + b == 0 { sum } else { T::add(T::load(to), sum) });
                }
            }
        }
    }

    /// 16 bytes of each of eight weight rows.
    #[inline(always)]
    unsafe fn step<T: Transpose, const M: usize>(&self, w: *const E, k: usize, sums: &mut [T::V; M]) {
        // SAFETY: the caller's matrices hold these rows and columns.
        unsafe {
            prefetch_next::<E, T>(w, self.w_stride, k, self.depth);
            let weights = T::transposed(w.add(k).cast(), self.w_stride * size_of::<E>());
            for i in 0..4 * E::PAIR {
                let weight = E::column::<T>(&weights, i);
                for (m, sum) in sums.iter_mut().enumerate() {
                    let x = T::splat(*self.x.add(m * self.x_stride + k + i));
                    *sum = T::fma(x, weight, *sum);
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

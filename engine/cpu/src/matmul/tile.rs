//! The micro-kernel: a tile of outputs held in registers while the reduction passes.

use super::blocking::BLOCK;
use crate::simd::{Kernel, Simd};

/// What a pass over one block of the reduction does with what is in `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing: the chain starts from +0 and its sum is stored.
    Fresh,
    /// The chain starts from +0 and its sum is added to `out`.
    Add,
    /// The chain starts from `out`.
    Continue,
}

/// How the left-hand rows lie: with strides the kernel can build into its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Term `k` of row `r` is `left[r · BLOCK + k]`.
    Rows,
    /// Term `k` of row `r` is `left[k · stride + r]`.
    Columns {
        /// Elements between two terms.
        stride: usize,
    },
    /// The rows of each tile of the kernel by themselves, see [`Groups`]: term `k` of row `r` of a group of
    /// `n` rows, `first` rows after the block's first, is `left[first · depth + k · n + r]`.
    Groups,
}

/// How the rows of a block are dealt out to tiles: evenly, for of 6 + 2 the second tile would wait for itself.
pub(super) struct Groups {
    /// How many there are.
    pub count: usize,
    /// The first so many have a row more.
    pub larger: usize,
    /// Rows of the others.
    pub rows: usize,
}

impl Groups {
    #[inline(always)]
    pub fn of<S: Simd>(rows: usize) -> Groups {
        let count = rows.div_ceil(S::TILE_ROWS);
        Groups { count, larger: rows % count.max(1), rows: rows / count.max(1) }
    }
}

/// `out[rows, panels · width] = left[rows, depth] · right[depth, panels · width]`, one chain of `depth`
/// fused multiply-adds an output.
pub(crate) struct BlockProduct {
    /// `rows` rows of `depth` terms.
    pub left: *const f32,
    /// How they lie.
    pub layout: Left,
    /// Rows.
    pub rows: usize,
    /// Panels one after the other, each `depth` rows of [`panel_width`] columns.
    pub right: *const f32,
    /// Panels.
    pub panels: usize,
    /// Terms.
    pub depth: usize,
    /// The outputs.
    pub out: *mut f32,
    /// Elements from one row of `out` to the next.
    pub out_stride: usize,
    /// What becomes of the outputs' old values.
    pub start: Start,
}

/// Columns of a panel: two vectors.
pub(crate) const fn panel_width<S: Simd>() -> usize {
    2 * S::LANES
}

impl Kernel for BlockProduct {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        debug_assert!(self.depth <= BLOCK);
        let groups = Groups::of::<S>(self.rows);
        for panel in 0..self.panels {
            let mut row = 0;
            for group in 0..groups.count {
                let count = groups.rows + usize::from(group < groups.larger);
                // SAFETY: the caller's matrices hold these rows and columns.
                unsafe { self.tile::<S>(row, count, panel) };
                row += count;
            }
        }
    }
}

impl BlockProduct {
    #[inline(always)]
    unsafe fn tile<S: Simd>(&self, row: usize, count: usize, panel: usize) {
        // SAFETY: the caller's matrices hold these rows and columns.
        unsafe {
            let right = self.right.add(panel * panel_width::<S>() * self.depth);
            let out = self.out.add(row * self.out_stride + panel * panel_width::<S>());
            macro_rules! by_rows {
                ($($rows:literal)*) => {
                    match count {
                        $($rows if $rows <= S::TILE_ROWS => match self.layout {
                            Left::Rows => {
                                self.chains::<S, $rows>(self.left.add(row * BLOCK), BLOCK, 1, right, out);
                            }
                            Left::Columns { stride } => {
                                self.chains::<S, $rows>(self.left.add(row), 1, stride, right, out);
                            }
                            Left::Groups => {
                                let left = self.left.add(row * self.depth);
                                self.chains::<S, $rows>(left, 1, $rows, right, out);
                            }
                        },)*
                        _ => debug_assert!(false, "a tile of {count} rows"),
                    }
                };
            }
            by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
        }
    }

    /// `ROWS` rows of one panel. `row_step` and `term_step`, of which one is known when this is compiled, lead
    /// from a left-hand element to those of the next row and the next term.
    #[inline(always)]
    unsafe fn chains<S: Simd, const ROWS: usize>(
        &self,
        left: *const f32,
        row_step: usize,
        term_step: usize,
        right: *const f32,
        out: *mut f32,
    ) {
        // SAFETY: the caller's matrices hold these rows and columns.
        unsafe {
            let mut sums = [[S::splat(0.0); 2]; ROWS];
            if self.start == Start::Continue {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (half, sum) in sums.iter_mut().enumerate() {
                        *sum = S::load(out.add(row * self.out_stride + half * S::LANES));
                    }
                }
            }
            for k in 0..self.depth {
                let b0 = S::load(right.add(k * panel_width::<S>()));
                let b1 = S::load(right.add(k * panel_width::<S>() + S::LANES));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let a = S::splat(*left.add(row * row_step + k * term_step));
                    sums[0] = S::fma(a, b0, sums[0]);
                    sums[1] = S::fma(a, b1, sums[1]);
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                for (half, &sum) in sums.iter().enumerate() {
                    let to = out.add(row * self.out_stride + half * S::LANES);
                    S::store(to, if self.start == Start::Add { S::add(S::load(to), sum) } else { sum });
                }
            }
        }
    }
}

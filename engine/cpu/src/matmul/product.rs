//! One product: cut into tiles, operands packed, tiles dealt out to threads.

use super::Tile;
use super::blocking::{BLOCK, IN_PLACE_ROWS, NARROW_TILE_COLS, PACKED, SERIAL, TILE_COLS, TILE_ROWS};
use super::decode::FewRows;
use super::pack::{Element, PackPanel, PackRows};
use super::tile::{BlockProduct, Start};
use crate::Matrix;
use crate::scratch::Scratch;
use crate::simd::{Isa, dispatch};
use rayon::prelude::*;

/// One side of a product and the axis its reduction runs along.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a, E> {
    matrix: Matrix<'a, E>,
    along_rows: bool,
}

impl<'a, E: Copy> Operand<'a, E> {
    /// Outputs are rows of the matrix, terms are its columns.
    pub fn along_rows(matrix: Matrix<'a, E>) -> Self {
        Operand { matrix, along_rows: true }
    }

    /// Outputs are columns of the matrix, terms are its rows.
    pub fn along_columns(matrix: Matrix<'a, E>) -> Self {
        Operand { matrix, along_rows: false }
    }

    fn outputs(&self) -> usize {
        if self.along_rows { self.matrix.rows() } else { self.matrix.cols() }
    }

    fn terms(&self) -> usize {
        if self.along_rows { self.matrix.cols() } else { self.matrix.rows() }
    }

    fn at(&self, output: usize, term: usize) -> *const E {
        if self.along_rows { self.matrix.at(output, term) } else { self.matrix.at(term, output) }
    }
}

/// left · right, `rows` × `cols` outputs of `depth` terms.
pub(super) struct Product<'a, E> {
    left: Operand<'a, f32>,
    right: Operand<'a, E>,
    rows: usize,
    cols: usize,
    depth: usize,
    /// Tiles begin at multiples of this.
    multiple: usize,
    panel: usize,
    isa: Isa,
}

/// A pointer that several threads write through, each its own part.
#[derive(Clone, Copy)]
struct Shared(*mut f32);
// SAFETY: the tasks that get it write disjoint panels, and read only after all are written.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

impl<'a, E: Element> Product<'a, E> {
    pub fn new(left: Operand<'a, f32>, right: Operand<'a, E>, column_multiple: usize) -> Self {
        let isa = Isa::current();
        let panel = isa.panel_width();
        Product {
            rows: left.outputs(),
            cols: right.outputs(),
            depth: left.terms(),
            // A tile holds whole panels, so that packed columns are never split.
            multiple: lcm(column_multiple.max(1), panel),
            left,
            right,
            panel,
            isa,
        }
    }

    pub fn run(&self, take: impl Fn(Tile<'_>) + Sync) {
        if self.rows == 0 || self.cols == 0 {
            return;
        }
        if self.rows <= IN_PLACE_ROWS && self.left.along_rows && self.right.along_rows && self.depth > 0 {
            self.in_place(&take);
        } else if self.rows <= TILE_ROWS {
            self.narrow(&take);
        } else {
            self.wide(&take);
        }
    }

    /// A few rows: weights are read as they lie.
    fn in_place(&self, take: &(impl Fn(Tile<'_>) + Sync)) {
        let width = self.tile_cols(NARROW_TILE_COLS);
        self.for_each(self.cols.div_ceil(width), |task| {
            let col0 = task * width;
            let cols = width.min(self.cols - col0);
            let mut out = Scratch::take(self.rows * width);
            dispatch(
                self.isa,
                FewRows {
                    x: self.left.at(0, 0),
                    x_stride: self.left.matrix.stride(),
                    rows: self.rows,
                    w: self.right.at(col0, 0),
                    w_stride: self.right.matrix.stride(),
                    cols,
                    depth: self.depth,
                    out: out.as_mut_ptr(),
                    out_stride: width,
                },
            );
            let data = out.as_mut_slice();
            take(Tile { row0: 0, col0, rows: self.rows, cols, data, stride: width });
        });
    }

    /// Rows that fit one tile: each task packs the panels it alone uses.
    fn narrow(&self, take: &(impl Fn(Tile<'_>) + Sync)) {
        let width = self.tile_cols(NARROW_TILE_COLS);
        let padded = self.cols.next_multiple_of(self.panel);
        self.for_each(self.cols.div_ceil(width), |task| {
            let col0 = task * width;
            let panels = width.min(padded - col0) / self.panel;
            let mut packed = Scratch::take(BLOCK * panels * self.panel);
            let right = Shared(packed.as_mut_ptr());
            self.tile(0, self.rows, col0, panels, take, |block| {
                let depth = BLOCK.min(self.depth - block);
                for p in 0..panels {
                    self.pack(col0 + p * self.panel, block, depth, right.at(p * self.panel * depth));
                }
                right.at(0)
            });
        });
    }

    /// Many rows: panels are packed once, ahead, in chunks of columns that stay in the last-level cache.
    fn wide(&self, take: &(impl Fn(Tile<'_>) + Sync)) {
        let chunk = (PACKED / self.depth.max(1) / self.multiple * self.multiple).max(self.multiple);
        for first in (0..self.cols).step_by(chunk) {
            let cols = chunk.min(self.cols - first);
            let panels = cols.div_ceil(self.panel);
            let mut packed = Scratch::take(panels * self.panel * self.depth);
            let right = Shared(packed.as_mut_ptr());
            let blocks = self.depth.div_ceil(BLOCK);
            // Block by block, panel by panel: where a panel of a block begins.
            let place = |block: usize, panel: usize| {
                let depth = BLOCK.min(self.depth - block);
                block * panels * self.panel + panel * self.panel * depth
            };
            self.for_each(panels * blocks, |task| {
                let (panel, block) = (task / blocks, task % blocks * BLOCK);
                let depth = BLOCK.min(self.depth - block);
                self.pack(first + panel * self.panel, block, depth, right.at(place(block, panel)));
            });
            let width = self.tile_cols(TILE_COLS).min(panels * self.panel);
            let (row_tiles, col_tiles) = (self.rows.div_ceil(TILE_ROWS), cols.div_ceil(width));
            self.for_each(row_tiles * col_tiles, |task| {
                let (row0, offset) = (task % row_tiles * TILE_ROWS, task / row_tiles * width);
                let rows = TILE_ROWS.min(self.rows - row0);
                let panel0 = offset / self.panel;
                let own = (width / self.panel).min(panels - panel0);
                self.tile(row0, rows, first + offset, own, take, |block| right.at(place(block, panel0)));
            });
        }
    }

    /// One tile over all blocks; `right` gives the packed panels of the block that begins at a term.
    fn tile(
        &self,
        row0: usize,
        rows: usize,
        col0: usize,
        panels: usize,
        take: &impl Fn(Tile<'_>),
        right: impl Fn(usize) -> *mut f32,
    ) {
        let stride = panels * self.panel;
        let mut sums = Scratch::take(rows * stride);
        let mut left = Scratch::take(rows * BLOCK);
        if self.depth == 0 {
            sums.as_mut_slice().fill(0.0);
        }
        for block in (0..self.depth).step_by(BLOCK) {
            let depth = BLOCK.min(self.depth - block);
            dispatch(
                self.isa,
                PackRows {
                    from: self.left.at(row0, block),
                    stride: self.left.matrix.stride(),
                    along_rows: self.left.along_rows,
                    rows,
                    depth,
                    out: left.as_mut_ptr(),
                    out_stride: BLOCK,
                },
            );
            dispatch(
                self.isa,
                BlockProduct {
                    left: left.as_mut_ptr(),
                    left_stride: BLOCK,
                    rows,
                    right: right(block),
                    panels,
                    depth,
                    out: sums.as_mut_ptr(),
                    out_stride: stride,
                    start: if block == 0 { Start::Fresh } else { Start::Add },
                },
            );
        }
        let cols = stride.min(self.cols - col0);
        take(Tile { row0, col0, rows, cols, data: sums.as_mut_slice(), stride });
    }

    fn pack(&self, col0: usize, block: usize, depth: usize, out: *mut f32) {
        dispatch(
            self.isa,
            PackPanel {
                from: self.right.at(col0, block),
                stride: self.right.matrix.stride(),
                along_rows: self.right.along_rows,
                cols: self.panel.min(self.cols - col0),
                depth,
                out,
            },
        );
    }

    /// About `wanted` columns, and a multiple of what tiles must begin at.
    fn tile_cols(&self, wanted: usize) -> usize {
        wanted.next_multiple_of(self.multiple)
    }

    /// Runs the tasks, on this thread alone where that is faster.
    fn for_each(&self, tasks: usize, task: impl Fn(usize) + Send + Sync) {
        if self.rows * self.cols * self.depth <= SERIAL {
            (0..tasks).for_each(task);
        } else {
            (0..tasks).into_par_iter().with_max_len(1).for_each(task);
        }
    }
}

fn lcm(a: usize, b: usize) -> usize {
    let gcd = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    a / gcd(a, b) * b
}

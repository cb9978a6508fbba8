//! Cutting a product into tasks. Three schedules, one for few, some and many rows; since every output is the
//! same chain in each, which of them runs, and on how many threads, changes no bit.

use super::Tile;
use super::blocking::{BLOCK, IN_PLACE_ROWS, NARROW_TILE_COLS, PACKED, SERIAL, TILE_COLS, TILE_ROWS};
use super::decode::FewRows;
use super::pack::{Element, PackGroups, PackPanels, PackRows};
use super::tile::{BlockProduct, Left, Start};
use crate::matrix::Matrix;
use crate::scratch::{Scratch, Shared};
use crate::simd::{Isa, dispatch};
use rayon::prelude::*;

/// A matrix and the axis along which it is reduced.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a, T> {
    pub matrix: Matrix<'a, T>,
    /// `[outputs, terms]` if so, else `[terms, outputs]`.
    pub along_rows: bool,
}

impl<T: Copy> Operand<'_, T> {
    fn outputs(&self) -> usize {
        if self.along_rows { self.matrix.rows() } else { self.matrix.cols() }
    }

    fn terms(&self) -> usize {
        if self.along_rows { self.matrix.cols() } else { self.matrix.rows() }
    }

    fn at(&self, output: usize, term: usize) -> *const T {
        if self.along_rows { self.matrix.at(output, term) } else { self.matrix.at(term, output) }
    }
}

/// `left · right`, handed out tile by tile.
pub(super) struct Product<'a, E> {
    pub left: Operand<'a, f32>,
    pub right: Operand<'a, E>,
    /// Tiles begin at multiples of this column.
    pub column_multiple: usize,
    // Called once a tile, so that a call through a pointer costs nothing, and each product is compiled once.
    pub epilogue: &'a (dyn Fn(Tile) + Sync),
}

/// Runs `task(0 .. count)`, on several threads if `parallel`.
fn for_each(count: usize, parallel: bool, task: impl Fn(usize) + Sync) {
    if parallel && count > 1 {
        (0..count).into_par_iter().with_max_len(1).for_each(&task);
    } else {
        (0..count).for_each(task);
    }
}

impl<E: Element> Product<'_, E> {
    /// Computes all tiles.
    pub(super) fn run(&self) {
        let (rows, cols, terms) = (self.left.outputs(), self.right.outputs(), self.left.terms());
        assert_eq!(terms, self.right.terms(), "both operands are reduced over the same terms");
        assert!(self.column_multiple > 0, "tiles cannot begin at multiples of column 0");
        let work = rows.saturating_mul(cols).saturating_mul(terms);
        let isa = Isa::current();
        if rows <= TILE_ROWS {
            let width = self.tile_cols(NARROW_TILE_COLS);
            for_each(cols.div_ceil(width), work > SERIAL, |tile| {
                let first = tile * width;
                self.narrow_tile(isa, first, width.min(cols - first));
            });
        } else {
            self.wide(isa, work > SERIAL);
        }
    }

    fn tile_cols(&self, at_least: usize) -> usize {
        at_least.next_multiple_of(self.column_multiple).min(self.right.outputs().next_multiple_of(32)).max(1)
    }

    /// All rows of `cols` columns, of a weight used too seldom to be packed ahead.
    fn narrow_tile(&self, isa: Isa, col0: usize, cols: usize) {
        let (rows, terms) = (self.left.outputs(), self.left.terms());
        let stride = cols.next_multiple_of(isa.panel_width());
        let mut sums = Scratch::take(rows * stride);
        if terms == 0 {
            sums.as_mut_slice().fill(0.0);
        } else if rows <= IN_PLACE_ROWS && self.left.along_rows && self.right.along_rows {
            let (x, w) = (&self.left.matrix, &self.right.matrix);
            let (x_stride, w_stride, depth) = (x.stride(), w.stride(), terms);
            let (x, w) = (x.at(0, 0), w.at(col0, 0));
            let (out, out_stride) = (sums.as_mut_ptr(), stride);
            dispatch(isa, FewRows { x, x_stride, rows, w, w_stride, cols, depth, out, out_stride });
        } else {
            let mut left = Scratch::take(rows * BLOCK);
            let mut panel = Scratch::take(BLOCK * isa.panel_width());
            for term in (0..terms).step_by(BLOCK) {
                let depth = BLOCK.min(terms - term);
                self.pack_left(isa, 0, rows, term, depth, left.as_mut_ptr());
                for col in (0..cols).step_by(isa.panel_width()) {
                    let there = isa.panel_width().min(cols - col);
                    self.pack_panels(isa, col0 + col, there, term, depth, panel.as_mut_ptr());
                    let out = sums.as_mut_slice()[col..].as_mut_ptr();
                    let (left, right) = (left.as_mut_ptr(), panel.as_mut_ptr());
                    self.multiply(isa, left, rows, right, 1, depth, out, stride, term);
                }
            }
        }
        self.finish(0, col0, rows, cols, sums.as_mut_slice(), stride);
    }

    /// Many rows: right-hand panels are packed once for all of them, as many columns at a time as the budget
    /// holds.
    fn wide(&self, isa: Isa, parallel: bool) {
        let (rows, cols, terms) = (self.left.outputs(), self.right.outputs(), self.left.terms());
        let width = self.tile_cols(TILE_COLS);
        let padded = width.next_multiple_of(isa.panel_width());
        let at_once = (PACKED / (padded * terms.max(1))).clamp(1, cols.div_ceil(width).max(1));
        let mut packed = Scratch::take(at_once * padded * terms);
        let packed = Shared(packed.as_mut_ptr());
        let blocks = terms.div_ceil(BLOCK);
        let row_tiles = rows.div_ceil(TILE_ROWS);
        for chunk in (0..cols).step_by(at_once * width) {
            let tiles = at_once.min((cols - chunk).div_ceil(width));
            for_each(tiles * blocks, parallel, |task| {
                let (tile, block) = (task / blocks, task % blocks);
                let (first, term) = (chunk + tile * width, block * BLOCK);
                let tile_cols = width.min(cols - first);
                let depth = BLOCK.min(terms - term);
                // SAFETY: inside the buffer; this task alone writes the panels of its tile and block.
                let out = unsafe { packed.get().add(tile * padded * terms + padded * term) };
                self.pack_panels(isa, first, tile_cols, term, depth, out);
            });
            for_each(tiles * row_tiles, parallel, |task| {
                let (tile, row0) = (task / row_tiles, task % row_tiles * TILE_ROWS);
                let (first, tile_rows) = (chunk + tile * width, TILE_ROWS.min(rows - row0));
                let tile_cols = width.min(cols - first);
                let mut sums = Scratch::take(tile_rows * padded);
                let mut left = Scratch::take(tile_rows * BLOCK);
                if terms == 0 {
                    sums.as_mut_slice().fill(0.0);
                }
                for term in (0..terms).step_by(BLOCK) {
                    let depth = BLOCK.min(terms - term);
                    self.pack_left(isa, row0, tile_rows, term, depth, left.as_mut_ptr());
                    // SAFETY: inside the buffer, which the loop above has filled.
                    let right = unsafe { packed.get().add(tile * padded * terms + padded * term) };
                    let panels = tile_cols.div_ceil(isa.panel_width());
                    let (left, out) = (left.as_mut_ptr(), sums.as_mut_ptr());
                    self.multiply(isa, left, tile_rows, right, panels, depth, out, padded, term);
                }
                self.finish(row0, first, tile_rows, tile_cols, sums.as_mut_slice(), padded);
            });
        }
    }

    /// Copies the left-hand side of one block out of its matrix, whose rows may lie so far apart that they
    /// drive each other out of the cache.
    fn pack_left(&self, isa: Isa, row: usize, rows: usize, term: usize, depth: usize, out: *mut f32) {
        let (from, stride) = (self.left.at(row, term), self.left.matrix.stride());
        if self.left.along_rows {
            dispatch(isa, PackRows { from, stride, rows, depth, out });
        } else {
            dispatch(isa, PackGroups { from, stride, rows, depth, out });
        }
    }

    fn pack_panels(&self, isa: Isa, col: usize, cols: usize, term: usize, depth: usize, out: *mut f32) {
        let Operand { matrix, along_rows } = self.right;
        let (from, stride) = (self.right.at(col, term), matrix.stride());
        let panel_stride = isa.panel_width() * depth;
        dispatch(isa, PackPanels { from, stride, along_rows, cols, depth, out, panel_stride });
    }

    /// One block: `left` as [`Product::pack_left`] has laid it out, times packed panels.
    #[allow(clippy::too_many_arguments)] // one line of a loop nest, named for its two callers
    fn multiply(
        &self,
        isa: Isa,
        left: *const f32,
        rows: usize,
        right: *const f32,
        panels: usize,
        depth: usize,
        out: *mut f32,
        out_stride: usize,
        term: usize,
    ) {
        let layout = if self.left.along_rows { Left::Rows } else { Left::Groups };
        let start = if term == 0 { Start::Fresh } else { Start::Add };
        dispatch(isa, BlockProduct { left, layout, rows, right, panels, depth, out, out_stride, start });
    }

    fn finish(&self, row0: usize, col0: usize, rows: usize, cols: usize, sums: &mut [f32], stride: usize) {
        (self.epilogue)(Tile { row0, col0, rows, cols, data: sums, stride });
    }
}

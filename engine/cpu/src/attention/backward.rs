//! The backward pass: probabilities are computed again from q, k and the log-sum-exp, block by block.
//!
//! A task owns one key-value head of one document, so that every sum has one order: dk and dv add up query
//! tiles in ascending order for each head of the group in turn, dq adds key blocks in ascending order.

use super::keys::{KeySource, Place};
use super::rows::{GradientRow, gradient_row};
use super::{Heads, KEYS, ROWS};
use crate::matmul::{BLOCK, BlockProduct, Left, PackPanels, PackRows, Start};
use crate::reduce::sum_pairs_by;
use crate::scratch::Scratch;
use crate::simd::{Isa, dispatch};
use crate::{Matrix, MatrixMut};
use rayon::prelude::*;

/// What the forward pass had and gave, the gradient of its result, and where gradients go.
pub(crate) struct Gradients<'a> {
    pub q: Matrix<'a>,
    pub k: Matrix<'a>,
    pub v: Matrix<'a>,
    pub out: Matrix<'a>,
    pub lse: Matrix<'a>,
    pub dout: Matrix<'a>,
    pub dq: MatrixMut<'a>,
    pub dk: MatrixMut<'a>,
    pub dv: MatrixMut<'a>,
}

/// Overwrites dq, dk and dv.
pub(crate) fn backward(heads: Heads, g: &Gradients<'_>, cu_seqlens: &[u32]) {
    let isa = Isa::current();
    let documents = cu_seqlens.windows(2).enumerate().filter(|(_, bounds)| bounds[0] < bounds[1]);
    let mut tasks: Vec<(Place, usize)> = documents
        .flat_map(|(document, bounds)| {
            let (first_row, rows) = (bounds[0] as usize, (bounds[1] - bounds[0]) as usize);
            (0..heads.kv_heads).map(move |kv_head| (Place { document, first_row, kv_head }, rows))
        })
        .collect();
    // Longest first: work is quadratic in a document's length.
    tasks.sort_by_key(|(place, rows)| (std::cmp::Reverse(*rows), place.first_row, place.kv_head));
    tasks.into_par_iter().with_max_len(1).for_each(|(place, rows)| {
        Task { isa, heads, g, place, rows, width: heads.head_dim.next_multiple_of(isa.panel_width()) }.run();
    });
}

/// One key-value head of one document.
struct Task<'a> {
    isa: Isa,
    heads: Heads,
    g: &'a Gradients<'a>,
    place: Place,
    /// Rows of the document.
    rows: usize,
    /// The head dimension in whole panels.
    width: usize,
}

/// Buffers of a task, reused from tile to tile.
struct Buffers {
    k_columns: Scratch,
    v_columns: Scratch,
    k_rows: Scratch,
    q_rows: Scratch,
    dout_rows: Scratch,
    queries: Scratch,
    douts: Scratch,
    scores: Scratch,
    dscores: Scratch,
    dk: Scratch,
    dv: Scratch,
    /// \[group, rows of the document, width\].
    dq: Scratch,
    /// Σ out·dout, \[group, rows of the document\].
    delta: Vec<f32>,
}

impl Task<'_> {
    fn run(&self) {
        let (d, group) = (self.heads.head_dim, self.heads.group());
        let mut b = Buffers {
            k_columns: Scratch::take(KEYS * d),
            v_columns: Scratch::take(KEYS * d),
            k_rows: Scratch::take(KEYS * self.width),
            q_rows: Scratch::take(ROWS * self.width),
            dout_rows: Scratch::take(ROWS * self.width),
            queries: Scratch::take(ROWS * BLOCK),
            douts: Scratch::take(ROWS * BLOCK),
            scores: Scratch::take(ROWS * BLOCK),
            dscores: Scratch::take(ROWS * BLOCK),
            dk: Scratch::take(KEYS * self.width),
            dv: Scratch::take(KEYS * self.width),
            dq: Scratch::take(group * self.rows * self.width),
            delta: Vec::with_capacity(group * self.rows),
        };
        for head in 0..group {
            for row in 0..self.rows {
                let at = self.column(head)..self.column(head) + d;
                let row = self.place.first_row + row;
                b.delta.push(sum_pairs_by(
                    &self.g.out.row(row)[at.clone()],
                    &self.g.dout.row(row)[at],
                    |o, g| o * g,
                ));
            }
        }
        b.dq.as_mut_slice().fill(0.0);
        let (k, v) = (KeySource::Packed(self.g.k), KeySource::Packed(self.g.v));
        for first in (0..self.rows).step_by(KEYS) {
            let count = KEYS.min(self.rows - first);
            k.pack_columns(self.isa, &self.heads, self.place, first, count, b.k_columns.as_mut_ptr());
            v.pack_columns(self.isa, &self.heads, self.place, first, count, b.v_columns.as_mut_ptr());
            k.pack_rows(self.isa, &self.heads, self.place, first, count, b.k_rows.as_mut_ptr());
            b.dk.as_mut_slice().fill(0.0);
            b.dv.as_mut_slice().fill(0.0);
            for head in 0..group {
                for row0 in (first / ROWS * ROWS..self.rows).step_by(ROWS) {
                    self.tile(head, row0, first, count, &mut b);
                }
            }
            self.store(&self.g.dk, first, count, self.place.kv_head * d, b.dk.as_mut_slice());
            self.store(&self.g.dv, first, count, self.place.kv_head * d, b.dv.as_mut_slice());
        }
        let (dq, length) = (b.dq.as_mut_slice(), self.rows * self.width);
        for head in 0..group {
            self.store(&self.g.dq, 0, self.rows, self.column(head), &dq[head * length..][..length]);
        }
    }

    /// One tile of queries with one block of keys.
    fn tile(&self, head: usize, row0: usize, first: usize, count: usize, b: &mut Buffers) {
        let rows = ROWS.min(self.rows - row0);
        let (row, column, d) = (self.place.first_row + row0, self.column(head), self.heads.head_dim);
        let key_panels = count.div_ceil(self.isa.panel_width());
        for (from, copy, right, out) in [
            (self.g.q, &mut b.queries, &mut b.k_columns, &mut b.scores),
            (self.g.dout, &mut b.douts, &mut b.v_columns, &mut b.dscores),
        ] {
            let (from, stride, left) = (from.at(row, column), from.stride(), copy.as_mut_ptr());
            dispatch(self.isa, PackRows { from, stride, rows, depth: d, out: left });
            let product = BlockProduct {
                left,
                layout: Left::Rows,
                rows,
                right: right.as_mut_ptr(),
                panels: key_panels,
                depth: d,
                out: out.as_mut_ptr(),
                out_stride: BLOCK,
                start: Start::Fresh,
            };
            dispatch(self.isa, product);
        }
        for r in 0..rows {
            let visible = (row0 + r + 1).saturating_sub(first).min(count);
            let q_head = self.place.kv_head * self.heads.group() + head;
            let constants = GradientRow {
                scale: self.heads.scale,
                lse: self.g.lse.row(row + r)[q_head],
                delta: b.delta[head * self.rows + row0 + r],
            };
            let scores = &mut b.scores.as_mut_slice()[r * BLOCK..][..count];
            gradient_row(scores, &mut b.dscores.as_mut_slice()[r * BLOCK..][..count], visible, constants);
        }
        self.pack(self.g.q, row, rows, column, b.q_rows.as_mut_ptr());
        self.pack(self.g.dout, row, rows, column, b.dout_rows.as_mut_ptr());
        self.add_by_key(&mut b.scores, rows, count, &mut b.dout_rows, &mut b.dv);
        self.add_by_key(&mut b.dscores, rows, count, &mut b.q_rows, &mut b.dk);
        let dq = (head * self.rows + row0) * self.width;
        dispatch(
            self.isa,
            BlockProduct {
                left: b.dscores.as_mut_ptr(),
                layout: Left::Rows,
                rows,
                right: b.k_rows.as_mut_ptr(),
                panels: self.width / self.isa.panel_width(),
                depth: count,
                out: b.dq.as_mut_ptr().wrapping_add(dq),
                out_stride: self.width,
                start: Start::Add,
            },
        );
    }

    /// sums \[keys, width\] += leftᵀ \[keys, rows\] · right \[rows, width\].
    fn add_by_key(
        &self,
        left: &mut Scratch,
        rows: usize,
        keys: usize,
        right: &mut Scratch,
        sums: &mut Scratch,
    ) {
        dispatch(
            self.isa,
            BlockProduct {
                left: left.as_mut_ptr(),
                layout: Left::Columns { stride: BLOCK },
                rows: keys,
                right: right.as_mut_ptr(),
                panels: self.width / self.isa.panel_width(),
                depth: rows,
                out: sums.as_mut_ptr(),
                out_stride: self.width,
                start: Start::Add,
            },
        );
    }

    /// One head of some rows as panels whose rows are rows.
    fn pack(&self, from: Matrix<'_>, row: usize, rows: usize, column: usize, out: *mut f32) {
        let (from, stride) = (from.at(row, column), from.stride());
        let (cols, panel_stride) = (self.heads.head_dim, self.isa.panel_width() * rows);
        let pack = PackPanels { from, stride, along_rows: false, cols, depth: rows, out, panel_stride };
        dispatch(self.isa, pack);
    }

    /// First column of a head of the group in q.
    fn column(&self, head: usize) -> usize {
        (self.place.kv_head * self.heads.group() + head) * self.heads.head_dim
    }

    fn store(&self, to: &MatrixMut<'_>, first: usize, count: usize, column: usize, from: &[f32]) {
        for (i, from) in from.chunks_exact(self.width).take(count).enumerate() {
            // SAFETY: this task alone has these rows of these heads.
            let to = unsafe { to.row_segment(self.place.first_row + first + i, column, self.heads.head_dim) };
            to.copy_from_slice(&from[..self.heads.head_dim]);
        }
    }
}

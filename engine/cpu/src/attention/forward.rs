//! The forward pass.

use super::keys::{KeySource, Place};
use super::rows::{State, blend, scale_row, soften};
use super::{Heads, KEYS, ROWS, SEGMENT};
use crate::math::exp;
use crate::matmul::{BLOCK, BlockProduct, Left, PackRows, Start};
use crate::scratch::Scratch;
use crate::simd::{Isa, dispatch};
use crate::{Matrix, MatrixMut};
use rayon::prelude::*;

/// Attention of the rows of q. Documents are rows `cu_seqlens[d] .. cu_seqlens[d + 1]`; row t of a document
/// sits at position t, or at `positions[row]` where keys come from pages.
pub(crate) fn forward(
    heads: Heads,
    q: Matrix<'_>,
    (k, v): (KeySource<'_>, KeySource<'_>),
    cu_seqlens: &[u32],
    positions: Option<&[u32]>,
    out: &MatrixMut<'_>,
    lse: &MatrixMut<'_>,
) {
    let isa = Isa::current();
    let mut tasks = Vec::new();
    for (document, bounds) in cu_seqlens.windows(2).enumerate() {
        let (begin, end) = (bounds[0] as usize, bounds[1] as usize);
        for row0 in (begin..end).step_by(ROWS) {
            for kv_head in 0..heads.kv_heads {
                let place = Place { document, first_row: begin, kv_head };
                tasks.push((place, row0, ROWS.min(end - row0)));
            }
        }
    }
    tasks.into_par_iter().with_max_len(1).for_each(|(place, row0, rows)| {
        let position = |row: usize| positions.map_or(row - place.first_row, |p| p[row] as usize);
        let tile = Tile { isa, heads, place, row0, rows, q, out, lse };
        tile.run(k, v, &position);
    });
}

/// Rows of one document with the heads that share a key-value head.
struct Tile<'a> {
    isa: Isa,
    heads: Heads,
    place: Place,
    row0: usize,
    rows: usize,
    q: Matrix<'a>,
    out: &'a MatrixMut<'a>,
    lse: &'a MatrixMut<'a>,
}

/// Of each head and row of a tile: the segment under way, and those before it merged.
struct States {
    now: Vec<State>,
    before: Vec<State>,
}

impl Tile<'_> {
    fn run(&self, k: KeySource<'_>, v: KeySource<'_>, position: &dyn Fn(usize) -> usize) {
        let (group, panel) = (self.heads.group(), self.isa.panel_width());
        let width = self.heads.head_dim.next_multiple_of(panel);
        let all = group * self.rows;
        let mut packed_k = Scratch::take(KEYS * self.heads.head_dim);
        let mut packed_v = Scratch::take(KEYS * width);
        let mut scores = Scratch::take(self.rows * BLOCK);
        let mut queries = Scratch::take(all * BLOCK);
        for head in 0..group {
            self.copy_queries(head, queries.as_mut_ptr().wrapping_add(head * self.rows * BLOCK));
        }
        let mut now = Scratch::take(all * width);
        let mut before = Scratch::take(all * width);
        now.as_mut_slice().fill(0.0);
        let mut states = States { now: vec![State::EMPTY; all], before: vec![State::EMPTY; all] };
        let keys = (0..self.rows).map(|r| position(self.row0 + r) + 1).max().unwrap_or(0);
        for first in (0..keys).step_by(KEYS) {
            let count = KEYS.min(keys - first);
            k.pack_columns(self.isa, &self.heads, self.place, first, count, packed_k.as_mut_ptr());
            v.pack_rows(self.isa, &self.heads, self.place, first, count, packed_v.as_mut_ptr());
            for head in 0..group {
                let left = queries.as_mut_ptr().wrapping_add(head * self.rows * BLOCK);
                self.scores(left, packed_k.as_mut_ptr(), count, scores.as_mut_ptr());
                let own = head * self.rows..(head + 1) * self.rows;
                let sums = &mut now.as_mut_slice()[own.start * width..own.end * width];
                for (r, state) in states.now[own].iter_mut().enumerate() {
                    let visible = (position(self.row0 + r) + 1).saturating_sub(first).min(count);
                    let row = &mut scores.as_mut_slice()[r * BLOCK..][..count];
                    let rescale = soften(row, visible, self.heads.scale, state);
                    if rescale != 1.0 {
                        scale_row(&mut sums[r * width..][..width], rescale);
                    }
                }
                self.add_values(scores.as_mut_ptr(), count, packed_v.as_mut_ptr(), sums.as_mut_ptr());
            }
            if (first + KEYS).is_multiple_of(SEGMENT) || first + KEYS >= keys {
                merge(&mut states, now.as_mut_slice(), before.as_mut_slice(), width);
            }
        }
        self.store(&states.before, before.as_mut_slice(), width);
    }

    /// The tile's queries of one head, [`BLOCK`] elements from row to row.
    fn copy_queries(&self, head: usize, out: *mut f32) {
        let column = (self.place.kv_head * self.heads.group() + head) * self.heads.head_dim;
        let (from, stride) = (self.q.at(self.row0, column), self.q.stride());
        let depth = self.heads.head_dim;
        dispatch(self.isa, PackRows { from, stride, rows: self.rows, depth, out });
    }

    /// scores \[rows, keys\] = q · kᵀ, not yet scaled, [`BLOCK`] elements from row to row.
    fn scores(&self, left: *const f32, right: *const f32, count: usize, out: *mut f32) {
        dispatch(
            self.isa,
            BlockProduct {
                left,
                layout: Left::Rows,
                rows: self.rows,
                right,
                panels: count.div_ceil(self.isa.panel_width()),
                depth: self.heads.head_dim,
                out,
                out_stride: BLOCK,
                start: Start::Fresh,
            },
        );
    }

    /// sums += p · v, one chain over the block's keys.
    fn add_values(&self, p: *const f32, count: usize, right: *const f32, sums: *mut f32) {
        let panel = self.isa.panel_width();
        let width = self.heads.head_dim.next_multiple_of(panel);
        dispatch(
            self.isa,
            BlockProduct {
                left: p,
                layout: Left::Rows,
                rows: self.rows,
                right,
                panels: width / panel,
                depth: count,
                out: sums,
                out_stride: width,
                start: Start::Continue,
            },
        );
    }

    fn store(&self, states: &[State], sums: &[f32], width: usize) {
        let d = self.heads.head_dim;
        for head in 0..self.heads.group() {
            let q_head = self.place.kv_head * self.heads.group() + head;
            for r in 0..self.rows {
                let i = head * self.rows + r;
                // SAFETY: this tile alone has these rows of these heads.
                let (to, lse) = unsafe {
                    let row = self.row0 + r;
                    (self.out.row_segment(row, q_head * d, d), self.lse.row_segment(row, q_head, 1))
                };
                to.iter_mut().zip(&sums[i * width..]).for_each(|(to, &x)| *to = x / states[i].sum);
                lse[0] = states[i].max + states[i].sum.ln();
            }
        }
    }
}

/// Ends a segment: its states join those before it, and start anew.
fn merge(states: &mut States, now: &mut [f32], before: &mut [f32], width: usize) {
    let rows = now.chunks_exact_mut(width).zip(before.chunks_exact_mut(width));
    for ((now, before), (now_sums, before_sums)) in states.now.iter_mut().zip(&mut states.before).zip(rows) {
        if now.max == f32::NEG_INFINITY {
            continue;
        }
        if before.max == f32::NEG_INFINITY {
            before_sums.copy_from_slice(now_sums);
            *before = *now;
        } else {
            let max = if now.max > before.max { now.max } else { before.max };
            let (keep, take) = (exp(before.max - max), exp(now.max - max));
            blend(before_sums, keep, now_sums, take);
            *before = State { max, sum: before.sum * keep + now.sum * take };
        }
        *now = State::EMPTY;
        now_sums.fill(0.0);
    }
}

//! Where keys and values come from, and their packing into panels.

use super::Heads;
use crate::Matrix;
use crate::matmul::PackPanels;
use crate::simd::{Isa, dispatch};
use octo_ops::PAGE_TOKENS;

const PAGE: usize = PAGE_TOKENS as usize;

/// Keys or values of all documents.
#[derive(Clone, Copy)]
pub(crate) enum KeySource<'a> {
    /// Rows \[tokens, kv_heads·head_dim\]; a document's begin at its first row.
    Packed(Matrix<'a>),
    /// Pages \[pages, kv_heads·64·head_dim\].
    Paged(Matrix<'a>, Paged<'a>),
}

/// Which pages are whose.
#[derive(Clone, Copy)]
pub(crate) struct Paged<'a> {
    /// \[documents, `width`\].
    pub table: &'a [u32],
    /// Pages a document.
    pub width: usize,
}

impl KeySource<'_> {
    /// Address of one head of one key, and the distance to the next key (within its page).
    fn at(
        &self,
        heads: &Heads,
        document: usize,
        first_row: usize,
        kv_head: usize,
        key: usize,
    ) -> (*const f32, usize) {
        match self {
            KeySource::Packed(rows) => (rows.at(first_row + key, kv_head * heads.head_dim), rows.stride()),
            KeySource::Paged(pages, paged) => {
                let page = paged.table[document * paged.width + key / PAGE] as usize;
                (pages.at(page, (kv_head * PAGE + key % PAGE) * heads.head_dim), heads.head_dim)
            }
        }
    }

    /// Packs keys `first .. first + count` as columns (for scores): panels of `head_dim` rows, one column a
    /// key, zero past the last.
    pub fn pack_columns(
        &self,
        isa: Isa,
        heads: &Heads,
        place: Place,
        first: usize,
        count: usize,
        out: *mut f32,
    ) {
        let panel_stride = isa.panel_width() * heads.head_dim;
        // A page is a run of keys; packed rows are one run.
        for run in (0..count).step_by(PAGE) {
            let (from, stride) = self.at(heads, place.document, place.first_row, place.kv_head, first + run);
            let pack = PackPanels {
                from,
                stride,
                along_rows: true,
                cols: PAGE.min(count - run),
                depth: heads.head_dim,
                out: out.wrapping_add(run * heads.head_dim),
                panel_stride,
            };
            dispatch(isa, pack);
        }
    }

    /// Packs keys `first .. first + count` as rows (for sums over keys): panels of `count` rows, one row a
    /// key, columns past the head dimension zero.
    pub fn pack_rows(
        &self,
        isa: Isa,
        heads: &Heads,
        place: Place,
        first: usize,
        count: usize,
        out: *mut f32,
    ) {
        let panel = isa.panel_width();
        for run in (0..count).step_by(PAGE) {
            let (from, stride) = self.at(heads, place.document, place.first_row, place.kv_head, first + run);
            let pack = PackPanels {
                from,
                stride,
                along_rows: false,
                cols: heads.head_dim,
                depth: PAGE.min(count - run),
                out: out.wrapping_add(run * panel),
                panel_stride: panel * count,
            };
            dispatch(isa, pack);
        }
    }
}

/// One key-value head of one document.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub document: usize,
    /// The document's first row; 0 with pages.
    pub first_row: usize,
    pub kv_head: usize,
}

//! The only place where a tile shape stands.
//!
//! A [`Row`] is one compiled variant of a kernel: `cargo xtask ptx` compiles the row's source with its defines into its
//! entry, and [`Tuning::row`] says which row serves an op of which shape on which device. Kernels without variants
//! (one entry a source, no defines) do not stand here.
//!
//! [`Tuning`] chooses; the rows stand in `tuning/table.rs`, what they are made of in `tuning/tile.rs`. Which row is fastest
//! is decided by measuring; no row may decide what is computed, and [`Row::bits`] says which rows give the same bits.

mod cost;
mod table;
mod tile;

pub use table::{attention_backward_rows, attention_rows, attention_segment_rows, head_parts_rows, rows};
pub use tile::{AttentionBackwardTile, AttentionGradient, AttentionSegmentTile, AttentionTile, Tile};

use std::collections::BTreeMap;

/// One compiled variant of a kernel, of a matrix product unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<T = Tile> {
    /// Name of the op it serves, as in `octo_ops`, or of the product that several ops share.
    pub op: &'static str,
    /// PTX target.
    pub arch: &'static str,
    /// Stem of the CUDA source.
    pub source: &'static str,
    /// Name of the PTX entry: `<op>_<arch>_<shape>_<tile>_s<stages>`.
    pub entry: String,
    /// Preprocessor definitions, name and value.
    pub defines: Vec<(&'static str, String)>,
    /// Shape of a block's work.
    pub tile: T,
    /// Order of the sums: rows of an op with equal `bits` give equal results, bit for bit.
    pub bits: &'static str,
    /// Why there is such a row.
    pub reason: &'static str,
}

/// What the choice of a row may depend on besides op and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Compute capability, e.g. (8, 0).
    pub version: (u32, u32),
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Shared memory a block may ask for, in bytes.
    pub shared_bytes: u32,
}

impl Capability {
    /// NVIDIA A100.
    pub const A100: Capability =
        Capability { version: (8, 0), multiprocessors: 108, shared_bytes: 163 * 1024 };
}

/// Why no row serves an op.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TuningError {
    /// No row of the op runs on the device.
    #[error("{op}: no kernel runs on compute capability {}.{}; it needs 8.0 or higher", version.0, version.1)]
    NoRow {
        /// Op name.
        op: String,
        /// Compute capability of the device.
        version: (u32, u32),
    },
    /// An override names a row that does not exist, or serves another op.
    #[error("{op} has no kernel `{entry}`; there are: {}", known.join(", "))]
    UnknownRow {
        /// Op name.
        op: String,
        /// Entry asked for.
        entry: String,
        /// Entries of the op.
        known: Vec<String>,
    },
    /// An override asks for more than the device has.
    #[error("{entry} needs {needed} bytes of shared memory a block, the device has {available}")]
    TooLarge {
        /// Entry asked for.
        entry: String,
        /// Bytes it needs.
        needed: u32,
        /// Bytes there are.
        available: u32,
    },
    /// Heads are wider than a kernel takes.
    #[error("{op}: heads of {head_dim} elements are wider than the kernel takes ({most})")]
    HeadTooWide {
        /// Op name.
        op: &'static str,
        /// Elements of a head.
        head_dim: u32,
        /// Elements there may be.
        most: u32,
    },
}

/// The table and what the user has fixed in it: a pure function from op and shape to a row.
#[derive(Clone, Debug)]
pub struct Tuning {
    capability: Capability,
    fixed: BTreeMap<String, &'static Row>,
    fixed_attention: Option<&'static Row<AttentionTile>>,
    fixed_backward: Vec<&'static Row<AttentionBackwardTile>>,
}

impl Tuning {
    /// Dispatch for a device.
    pub fn new(capability: Capability) -> Tuning {
        Tuning { capability, fixed: BTreeMap::new(), fixed_attention: None, fixed_backward: Vec::new() }
    }

    /// From now on every shape of `op` runs on the row with this entry (`--kernel op=entry`).
    ///
    /// # Errors
    /// [`TuningError::UnknownRow`] and [`TuningError::TooLarge`].
    pub fn fix(&mut self, op: &str, entry: &str) -> Result<(), TuningError> {
        let fits = |entry: &str, needed: u32| match self.capability.shared_bytes {
            available if needed > available => {
                Err(TuningError::TooLarge { entry: entry.into(), needed, available })
            }
            _ => Ok(()),
        };
        if attention_rows().iter().any(|row| row.op == op) {
            let row = named(attention_rows(), op, entry)?;
            fits(entry, row.tile.shared_bytes())?;
            self.fixed_attention = Some(row);
        } else if attention_backward_rows().iter().any(|row| row.op == op) {
            let row = named(attention_backward_rows(), op, entry)?;
            fits(entry, row.tile.shared_bytes())?;
            self.fixed_backward.retain(|other| other.tile.gradient != row.tile.gradient);
            self.fixed_backward.push(row);
        } else {
            let row = named(rows(), op, entry)?;
            fits(entry, row.tile.shared_bytes())?;
            self.fixed.insert(op.into(), row);
        }
        Ok(())
    }

    /// The row for a product of `op` with an `m` × `n` output.
    ///
    /// No tile is taller than the output needs, and tiles under 64 rows serve only outputs that one of them covers
    /// (more would read `b` once each). Among these it is the one that takes least (`tuning/cost.rs`). Where several take as
    /// much, it is the largest whose blocks give every multiprocessor work, since traffic falls with a tile's sides; where
    /// none does, the one with the most blocks.
    ///
    /// # Errors
    /// [`TuningError::NoRow`].
    pub fn row(&self, op: &str, m: u32, n: u32) -> Result<&'static Row, TuningError> {
        if let Some(row) = self.fixed.get(op) {
            return Ok(row);
        }
        let runs: Vec<&Row> = rows()
            .iter()
            .filter(|row| row.op == op && self.capability.version >= (8, 0))
            .filter(|row| row.tile.shared_bytes() <= self.capability.shared_bytes)
            .collect();
        let tallest = runs.iter().map(|row| row.tile.m).filter(|&height| height >= m).min();
        let suits = |row: &&Row| {
            let height = row.tile.m;
            height <= tallest.unwrap_or(u32::MAX) && (height >= m || height >= 64)
        };
        let clocks = |row: &&Row| cost::clocks(&row.tile, m, n, &self.capability);
        let least = runs.iter().copied().filter(suits).map(|row| clocks(&row)).fold(f64::INFINITY, f64::min);
        let area = |row: &&Row| row.tile.m * row.tile.n;
        let fills = |row: &&Row| row.tile.blocks(m, n) >= self.capability.multiprocessors.into();
        let quickest = || runs.iter().copied().filter(suits).filter(|row| clocks(row) <= least);
        quickest()
            .filter(fills)
            .max_by_key(area)
            .or_else(|| quickest().min_by_key(area))
            .ok_or_else(|| self.no_row(op))
    }
}

/// Turns of a device's blocks that dealing out segments aims at: so many that the last turn, in which not all have work,
/// and contexts of unequal length cost little.
const SEGMENT_TURNS: u64 = 4;

/// Slices of a row at most: `cuda/head_sample_slices.cu` has room for their sums.
const HEAD_SLICES: u32 = 256;
/// Parts of a slice at least: one for each of a block's sixteen warps.
const HEAD_SLICE_PARTS: u32 = 16;

impl Tuning {
    /// The row for attention over heads of `head_dim` elements and documents of `rows` rows each, query heads of a
    /// group included: of the narrowest that take the head, the lowest that covers the rows, or the highest.
    ///
    /// # Errors
    /// [`TuningError::NoRow`] and [`TuningError::HeadTooWide`].
    pub fn attention(&self, head_dim: u32, rows: u64) -> Result<&'static Row<AttentionTile>, TuningError> {
        let runs = |row: &&Row<AttentionTile>| {
            self.capability.version >= (8, 0) && row.tile.shared_bytes() <= self.capability.shared_bytes
        };
        let candidates: Vec<_> = match self.fixed_attention {
            Some(row) => vec![row],
            None => attention_rows().iter().filter(runs).collect(),
        };
        let wide = self.width("attention", candidates.iter().map(|row| row.tile.head_dim), head_dim)?;
        let suitable = || candidates.iter().copied().filter(|row| row.tile.head_dim == wide);
        suitable()
            .filter(|row| u64::from(row.tile.rows) >= rows)
            .min_by_key(|row| row.tile.rows)
            .or_else(|| suitable().max_by_key(|row| row.tile.rows))
            .ok_or_else(|| self.no_row("attention"))
    }

    /// The row whose blocks walk segments of the keys by several warps, and the number of blocks that a tile's segments are
    /// dealt out to, where `blocks` of `tile` leave a device with room for more and tables of pages have so many segments.
    /// None where each block should walk all of its keys by one warp: where there are no tables, where so many blocks wait
    /// side by side that none needs to hurry, and where the user has fixed a row that does.
    pub fn attention_segments(
        &self,
        tile: &AttentionTile,
        blocks: u64,
        segments: u32,
    ) -> Option<(&'static Row<AttentionSegmentTile>, u32)> {
        let low = tile.rows == AttentionSegmentTile::ROWS && self.fixed_attention.is_none();
        let fits = |row: &&Row<AttentionSegmentTile>| {
            low && row.tile.head_dim == tile.head_dim
                && row.tile.shared_bytes() <= self.capability.shared_bytes
        };
        let row = attention_segment_rows().iter().find(fits)?;
        let wanted = SEGMENT_TURNS * u64::from(self.capability.multiprocessors * row.tile.resident);
        // A grid has at most 65,535 blocks along its second axis.
        let apart = wanted.div_ceil(blocks.max(1)).min(segments.min(u16::MAX.into()).into()) as u32;
        (blocks < wanted && apart > 0).then_some((row, apart))
    }

    /// The row for a product that leaves sums of parts in place of `m` × `n` logits, with the tile that [`Tuning::row`] chooses
    /// for logits; none where that tile is narrower than a part.
    ///
    /// # Errors
    /// [`TuningError::NoRow`].
    pub fn head_parts(&self, m: u32, n: u32) -> Result<Option<&'static Row>, TuningError> {
        let tile = self.row("head_logits", m, n)?.tile;
        Ok(head_parts_rows().iter().find(|row| row.tile == tile))
    }

    /// How many slices the sampler cuts each of `rows` rows into, and of how many parts of the vocabulary, where rows are so
    /// few that they can share blocks: a block a multiprocessor, since those of a row wait for each other. None where
    /// one block takes a row.
    pub fn head_slices(&self, rows: u32, parts: u32) -> Option<[u32; 2]> {
        let most = self.capability.multiprocessors.checked_div(rows).unwrap_or(0).min(HEAD_SLICES);
        let slice_parts = parts.div_ceil(most.max(1)).max(HEAD_SLICE_PARTS);
        let slices = parts.div_ceil(slice_parts);
        (slices > 1).then_some([slices, slice_parts])
    }

    /// The row for gradients of attention over heads of `head_dim` elements: the narrowest that takes the head.
    ///
    /// # Errors
    /// As [`Tuning::attention`].
    pub fn attention_backward(
        &self,
        gradient: AttentionGradient,
        head_dim: u32,
    ) -> Result<&'static Row<AttentionBackwardTile>, TuningError> {
        let op = "attention_backward";
        let runs = |row: &&Row<AttentionBackwardTile>| {
            self.capability.version >= (8, 0) && row.tile.shared_bytes() <= self.capability.shared_bytes
        };
        let of_gradient = |row: &&'static Row<AttentionBackwardTile>| row.tile.gradient == gradient;
        let candidates: Vec<_> = match self.fixed_backward.iter().copied().find(of_gradient) {
            Some(row) => vec![row],
            None => attention_backward_rows().iter().filter(of_gradient).filter(runs).collect(),
        };
        let wide = self.width(op, candidates.iter().map(|row| row.tile.head_dim), head_dim)?;
        candidates.into_iter().find(|row| row.tile.head_dim == wide).ok_or_else(|| self.no_row(op))
    }

    /// The narrowest of these widths that takes a head.
    fn width(
        &self,
        op: &'static str,
        widths: impl Iterator<Item = u32> + Clone,
        head_dim: u32,
    ) -> Result<u32, TuningError> {
        let most = widths.clone().max().ok_or_else(|| self.no_row(op))?;
        widths.filter(|&width| width >= head_dim).min().ok_or(TuningError::HeadTooWide { op, head_dim, most })
    }

    fn no_row(&self, op: &str) -> TuningError {
        TuningError::NoRow { op: op.into(), version: self.capability.version }
    }
}

/// The row of an op with this entry.
fn named<T>(rows: &'static [Row<T>], op: &str, entry: &str) -> Result<&'static Row<T>, TuningError> {
    let of_op = || rows.iter().filter(|row| row.op == op);
    of_op().find(|row| row.entry == entry).ok_or_else(|| TuningError::UnknownRow {
        op: op.into(),
        entry: entry.into(),
        known: of_op().map(|row| row.entry.clone()).collect(),
    })
}

#[cfg(test)]
mod tests;

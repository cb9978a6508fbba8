//! The only place where a tile shape stands.
//!
//! A [`Row`] is one compiled variant of a kernel: `cargo xtask ptx` compiles the row's source with its defines into its
//! entry, and [`Tuning::row`] says which row serves an op of which shape on which device. Kernels without variants
//! (one entry a source, no defines) do not stand here.
//!
//! [`Tuning`] chooses; the rows stand in `tuning/table.rs`. What a tile means is said in `cuda/include/gemm_tile.cuh`, `attention_tile.cuh` and `attention_backward_tile.cuh`. Which row is fastest is decided by measuring; no row may
//! decide what is computed, and [`Row::bits`] says which rows give the same bits.

mod cost;
mod table;

pub use table::{attention_backward_rows, attention_rows, attention_segment_rows, head_parts_rows, rows};

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

/// A block's tile of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of the output.
    pub m: u32,
    /// Columns of the output.
    pub n: u32,
    /// Terms of the sum that one stage holds.
    pub k: u32,
    /// Stages in shared memory.
    pub stages: u32,
    /// Warps along m and along n.
    pub warps: [u32; 2],
    /// Blocks that share a multiprocessor, for `__launch_bounds__`.
    pub resident: u32,
}

impl Tile {
    /// Threads of a block.
    pub const fn threads(&self) -> u32 {
        32 * self.warps[0] * self.warps[1]
    }

    /// Dynamic shared memory of a block in bytes: every stage holds a bf16 panel of both operands.
    pub const fn shared_bytes(&self) -> u32 {
        2 * (self.m + self.n) * self.k * self.stages
    }

    /// Blocks that cover an `m` × `n` output.
    pub const fn blocks(&self, m: u32, n: u32) -> u64 {
        m.div_ceil(self.m) as u64 * n.div_ceil(self.n) as u64
    }
}

/// A block's tile of attention. A row is a query of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionTile {
    /// Elements of a head as they are computed; a narrower head is filled up with zeros.
    pub head_dim: u32,
    /// Rows, sixteen a warp.
    pub rows: u32,
    /// Keys, or values, of one of the four stages in shared memory.
    pub stage_keys: u32,
    /// Blocks that share a multiprocessor, for `__launch_bounds__`.
    pub resident: u32,
}

impl AttentionTile {
    /// Stages in shared memory.
    const STAGES: u32 = 4;

    /// Threads of a block.
    pub const fn threads(&self) -> u32 {
        2 * self.rows
    }

    /// Dynamic shared memory of a block in bytes: the queries and every stage in bf16.
    pub const fn shared_bytes(&self) -> u32 {
        2 * (self.rows + AttentionTile::STAGES * self.stage_keys) * self.head_dim
    }
}

/// Which gradients of attention a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionGradient {
    /// Those of queries. Its blocks own rows and go through keys; it runs first.
    Queries,
    /// Those of keys and values. Its blocks own keys and go through rows.
    Keys,
}

/// A block's tile of attention's backward pass. A row is a query of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionBackwardTile {
    /// What it computes.
    pub gradient: AttentionGradient,
    /// Elements of a head as they are computed; a narrower head is filled up with zeros.
    pub head_dim: u32,
    /// Rows (or keys) that a block owns.
    pub own: u32,
    /// How many sixteens of them a warp has.
    pub sixteens: u32,
    /// Keys and values (or rows of queries and dout) of a stage.
    pub stage: u32,
    /// Stages in shared memory.
    pub stages: u32,
    /// Columns of the gradients that a block owns.
    pub columns: u32,
    /// Blocks that share a multiprocessor, for `__launch_bounds__`.
    pub resident: u32,
}

impl AttentionBackwardTile {
    /// Threads of a block.
    pub const fn threads(&self) -> u32 {
        2 * self.own / self.sixteens
    }

    /// Blocks that share the columns of a tile.
    pub const fn parts(&self) -> u32 {
        self.head_dim / self.columns
    }

    /// Dynamic shared memory of a block in bytes: what it owns and does not keep in registers, and every stage; beside
    /// rows lies what is known of each.
    pub const fn shared_bytes(&self) -> u32 {
        let (owned, known) = match self.gradient {
            AttentionGradient::Queries if self.head_dim <= 128 => (0, 0),
            AttentionGradient::Queries => (2, 0),
            AttentionGradient::Keys if self.head_dim <= 128 && self.sixteens == 1 => (1, 8),
            AttentionGradient::Keys => (2, 8),
        };
        let row = 2 * self.head_dim;
        owned * self.own * row + self.stages * self.stage * (2 * row + known)
    }
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

    /// The row that walks segments of the keys, and the number of blocks that a tile's segments are dealt out to, where
    /// `blocks` of `tile` leave a device with room for more and tables of pages have so many segments. None where each
    /// block should walk all of its keys, and where the user has fixed a row that does.
    pub fn attention_segments(
        &self,
        tile: &AttentionTile,
        blocks: u64,
        segments: u32,
    ) -> Option<(&'static Row<AttentionTile>, u32)> {
        let row = attention_segment_rows().iter().find(|row| row.tile == *tile)?;
        let wanted = SEGMENT_TURNS * u64::from(self.capability.multiprocessors * tile.resident);
        // A grid has at most 65,535 blocks along its second axis.
        let apart = wanted.div_ceil(blocks.max(1)).min(segments.min(u16::MAX.into()).into()) as u32;
        (apart > 1 && self.fixed_attention.is_none()).then_some((row, apart))
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
mod tests {
    use super::table::{GEMMS, Product};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn entries_are_unique() {
        let products = rows().iter().chain(head_parts_rows()).map(|row| row.entry.as_str());
        let attention = attention_rows().iter().chain(attention_segment_rows());
        let attention = attention.map(|row| row.entry.as_str());
        let backward = attention_backward_rows().iter().map(|row| row.entry.as_str());
        let entries: BTreeSet<&str> = products.chain(attention).chain(backward).collect();
        let attention = attention_rows().len() + attention_segment_rows().len();
        let products = rows().len() + head_parts_rows().len();
        assert_eq!(entries.len(), products + attention + attention_backward_rows().len());
    }

    #[test]
    fn rows_of_an_op_give_the_same_bits() {
        for row in rows() {
            assert!(rows().iter().filter(|other| other.op == row.op).all(|other| other.bits == row.bits));
        }
    }

    #[test]
    fn every_tile_fits_the_smallest_ampere_and_its_promised_neighbours() {
        let attention = attention_rows()
            .iter()
            .map(|Row { entry, tile, .. }| (entry, tile.shared_bytes(), tile.resident, tile.threads()));
        let products = rows()
            .iter()
            .map(|Row { entry, tile, .. }| (entry, tile.shared_bytes(), tile.resident, tile.threads()));
        let backward = attention_backward_rows()
            .iter()
            .map(|Row { entry, tile, .. }| (entry, tile.shared_bytes(), tile.resident, tile.threads()));
        for (entry, bytes, resident, threads) in products.chain(attention).chain(backward) {
            // A block may take 99 KiB on 8.6 and 8.9; a multiprocessor of an A100 has 164 KiB and 64 Ki registers,
            // each block costs 1 KiB of its own.
            assert!(bytes <= 99 * 1024, "{entry}: {bytes}");
            assert!(resident * (bytes + 1024) <= 164 * 1024, "{entry}");
            assert!(resident * threads * 64 <= 65536, "{entry}");
        }
    }

    #[test]
    fn dispatch_chooses_as_the_reasons_say() {
        let tuning = Tuning::new(Capability::A100);
        let tile = |op, m, n| {
            let tile = tuning.row(op, m, n).unwrap().tile;
            (tile.m, tile.n)
        };
        assert_eq!(tile("linear_residual", 1, 2048), (16, 16));
        assert_eq!(tile("linear_residual", 16, 8192), (16, 64));
        assert_eq!(tile("linear_residual", 17, 2048), (32, 32));
        assert_eq!(tile("linear_residual", 32, 8192), (32, 64));
        assert_eq!(tile("linear_residual", 33, 8192), (64, 64));
        assert_eq!(tile("linear_residual", 64, 896), (64, 64));
        assert_eq!(tile("linear_residual", 256, 1024), (64, 64));
        assert_eq!(tile("linear_residual", 256, 2048), (128, 64));
        assert_eq!(tile("linear_residual", 256, 3456), (128, 64));
        assert_eq!(tile("linear_residual", 1024, 3456), (128, 128));
        assert_eq!(tile("linear_residual", 8192, 6912), (128, 256));
        assert_eq!(tile("gate_up_swiglu", 1, 9728), (16, 64));
        assert_eq!(tile("qkv_rope", 1, 3072), (16, 32));
        assert_eq!(tile("head_logits", 1, 128_256), (16, 64));
        assert_eq!(tile("head_logits", 512, 128_256), (128, 256));
        assert_eq!(tile("linear_backward_input", 1, 64), (64, 64));
        assert_eq!(tile("linear_backward_weight", 4096, 14336), (128, 256));
    }

    #[test]
    fn attention_takes_the_narrowest_head_and_covers_the_rows() {
        let mut tuning = Tuning::new(Capability::A100);
        let tile = |tuning: &Tuning, head_dim, rows| {
            let tile = tuning.attention(head_dim, rows).unwrap().tile;
            (tile.head_dim, tile.rows)
        };
        assert_eq!(tile(&tuning, 64, 1), (64, 16));
        assert_eq!(tile(&tuning, 16, 17), (64, 128));
        assert_eq!(tile(&tuning, 80, 16), (128, 16));
        assert_eq!(tile(&tuning, 128, 1 << 40), (128, 128));
        assert_eq!(tile(&tuning, 136, 4096), (256, 64));
        tuning.fix("attention", "attention_sm80_hd128_128x64_s4").unwrap();
        assert_eq!(tile(&tuning, 64, 1), (128, 128));
        let wide = tuning.attention(256, 1).unwrap_err();
        assert_eq!(wide, TuningError::HeadTooWide { op: "attention", head_dim: 256, most: 128 });
        assert!(tuning.fix("attention", "linear_residual_sm80_nt_64x64x64_s4").is_err());
    }

    #[test]
    fn segments_are_dealt_out_where_blocks_are_few() {
        let mut tuning = Tuning::new(Capability::A100);
        let apart = |tuning: &Tuning, rows, blocks, segments| {
            let tile = tuning.attention(128, rows).unwrap().tile;
            tuning.attention_segments(&tile, blocks, segments).map(|(row, apart)| (row.entry.as_str(), apart))
        };
        let entry = "attention_segments_sm80_hd128_16x64_s4";
        // Four turns of 108 multiprocessors with two blocks each.
        assert_eq!(apart(&tuning, 4, 8, 128), Some((entry, 108)));
        assert_eq!(apart(&tuning, 4, 8, 5), Some((entry, 5)));
        assert_eq!(apart(&tuning, 4, 432, 128), Some((entry, 2)));
        assert_eq!(apart(&tuning, 4, 864, 128), None);
        assert_eq!(apart(&tuning, 4, 8, 1), None);
        assert_eq!(apart(&tuning, 4, 8, 0), None);
        // Tall tiles walk all keys, and so does what a user has fixed.
        assert_eq!(apart(&tuning, 17, 8, 128), None);
        tuning.fix("attention", "attention_sm80_hd128_16x64_s4").unwrap();
        assert_eq!(apart(&tuning, 4, 8, 128), None);
    }

    #[test]
    fn few_rows_share_the_multiprocessors_and_many_have_a_block_each() {
        let tuning = Tuning::new(Capability::A100);
        assert_eq!(tuning.head_slices(1, 1002), Some([63, 16]));
        assert_eq!(tuning.head_slices(32, 1002), Some([3, 334]));
        assert_eq!(tuning.head_slices(54, 1002), Some([2, 501]));
        assert_eq!(tuning.head_slices(55, 1002), None);
        assert_eq!(tuning.head_slices(1, 16), None);
        assert_eq!(tuning.head_slices(0, 1002), None);
        let wide = Tuning::new(Capability { multiprocessors: 1000, ..Capability::A100 });
        assert_eq!(wide.head_slices(1, 1 << 20), Some([256, 4096]));
    }

    #[test]
    fn gradients_of_attention_take_the_narrowest_head_and_are_fixed_apart() {
        use AttentionGradient::{Keys, Queries};
        let mut tuning = Tuning::new(Capability::A100);
        let width = |tuning: &Tuning, gradient, head_dim| {
            let row = tuning.attention_backward(gradient, head_dim).unwrap();
            assert_eq!(row.tile.gradient, gradient);
            row.tile.head_dim
        };
        for (head_dim, wide) in [(16, 64), (64, 64), (80, 128), (128, 128), (136, 256)] {
            assert_eq!([Queries, Keys].map(|gradient| width(&tuning, gradient, head_dim)), [wide; 2]);
        }
        for head_dim in [256, 128] {
            let row = Tuning::new(Capability::A100).attention_backward(Keys, head_dim).unwrap();
            tuning.fix("attention_backward", &row.entry).unwrap();
            assert_eq!([Queries, Keys].map(|gradient| width(&tuning, gradient, 8)), [64, head_dim]);
        }
        let wide = tuning.attention_backward(Keys, 136).unwrap_err().to_string();
        assert_eq!(wide, "attention_backward: heads of 136 elements are wider than the kernel takes (128)");
    }

    #[test]
    fn an_override_serves_every_shape_or_is_refused() {
        let mut tuning = Tuning::new(Capability::A100);
        tuning.fix("linear_residual", "linear_residual_sm80_nt_64x64x64_s4").unwrap();
        assert_eq!(tuning.row("linear_residual", 1, 16).unwrap().tile.m, 64);
        let wrong = tuning.fix("gate_up_swiglu", "linear_residual_sm80_nt_64x64x64_s4").unwrap_err();
        assert!(wrong.to_string().contains("gate_up_swiglu_sm80_nt_64x64x64_s4"), "{wrong}");
        let small = Capability { shared_bytes: 48 * 1024, ..Capability::A100 };
        let wrong =
            Tuning::new(small).fix("gate_up_swiglu", "gate_up_swiglu_sm80_nt_128x128x32_s4").unwrap_err();
        assert!(matches!(wrong, TuningError::TooLarge { needed: 65536, .. }), "{wrong}");
    }

    #[test]
    fn a_device_before_ampere_is_refused() {
        let volta = Capability { version: (7, 0), ..Capability::A100 };
        assert!(Tuning::new(volta).row("linear_residual", 1, 1).is_err());
    }

    proptest! {
        #[test]
        fn every_shape_has_a_row_that_is_not_taller_than_it_needs(m in 1u32..100_000, n in 1u32..300_000) {
            for Product { op, .. } in GEMMS {
                let tile = Tuning::new(Capability::A100).row(op, m, n).unwrap().tile;
                prop_assert!(tile.m <= m.next_power_of_two().max(64));
            }
        }
    }
}

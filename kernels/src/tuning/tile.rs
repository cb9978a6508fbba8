//! What a block has of an op's work: shapes of tiles, and what they cost in threads and shared memory. What a tile means to
//! its kernel is said in `cuda/include/gemm_tile.cuh`, `attention_tile.cuh`, `attention_segment.cuh` and
//! `attention_backward_tile.cuh`.

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
    pub(super) const STAGES: u32 = 4;

    /// Threads of a block.
    pub const fn threads(&self) -> u32 {
        2 * self.rows
    }

    /// Dynamic shared memory of a block in bytes: the queries and every stage in bf16.
    pub const fn shared_bytes(&self) -> u32 {
        2 * (self.rows + AttentionTile::STAGES * self.stage_keys) * self.head_dim
    }
}

/// A block's tile of attention over one segment of 1,024 keys: sixteen rows, a warp for each 128 keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionSegmentTile {
    /// Elements of a head as they are computed; a narrower head is filled up with zeros.
    pub head_dim: u32,
    /// Keys of a slot of each warp's ring.
    pub slot_keys: u32,
    /// Slots of the ring.
    pub slots: u32,
    /// Blocks that share a multiprocessor, for `__launch_bounds__`.
    pub resident: u32,
}

impl AttentionSegmentTile {
    /// Rows.
    pub(crate) const ROWS: u32 = 16;

    /// Threads of a block.
    pub const fn threads(&self) -> u32 {
        256
    }

    /// Dynamic shared memory of a block in bytes: two numbers a row and block of keys; probabilities of sixteen rows in bf16
    /// and four stages of 16 KiB of values, where queries and rings of keys lie before.
    pub const fn shared_bytes(&self) -> u32 {
        let (rows, keys) = (AttentionSegmentTile::ROWS, 1024);
        2 * rows * 8 * 4 + rows * keys * 2 + 4 * 16384
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

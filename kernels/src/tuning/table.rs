//! The rows themselves: tiles, and why each is there.

use super::{AttentionBackwardTile, AttentionGradient, AttentionSegmentTile, AttentionTile, Row, Tile};
use std::sync::LazyLock;

/// Every row of a matrix product.
pub fn rows() -> &'static [Row] {
    &TABLE
}

/// Every row of the head's product that leaves sums of parts of 128 ids in place of logits.
pub fn head_parts_rows() -> &'static [Row] {
    &HEAD_PARTS_TABLE
}

/// Every row of attention whose blocks go through all keys of their rows.
pub fn attention_rows() -> &'static [Row<AttentionTile>] {
    &ATTENTION_TABLE
}

/// Every row of attention whose blocks go through segments of the keys, for `attention_merge` to join.
pub fn attention_segment_rows() -> &'static [Row<AttentionSegmentTile>] {
    &ATTENTION_SEGMENT_TABLE
}

/// Every row of attention's backward pass.
pub fn attention_backward_rows() -> &'static [Row<AttentionBackwardTile>] {
    &ATTENTION_BACKWARD_TABLE
}

static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let forward = "one f32 sum an output, steps of 16 terms ascending (mma.sync m16n8k16)";
    let mut table = Vec::new();
    for Product { op, layout, epilogue, tiles } in GEMMS {
        for &(tile, reason) in tiles.iter() {
            let Tile { m, n, k, stages, warps, resident } = tile;
            let entry = format!("{op}_sm80_{}_{m}x{n}x{k}_s{stages}", layout.to_lowercase());
            let mut defines = vec![("ENTRY", entry.clone()), ("LAYOUT", layout.to_string())];
            defines.extend(epilogue.map(|epilogue| ("EPILOGUE", epilogue.to_string())));
            defines.push(("TILE", format!("{m},{n},{k},{stages},{},{},{resident}", warps[0], warps[1])));
            let (arch, bits) = ("sm_80", forward);
            let source = if epilogue.is_some() { "gemm" } else { op };
            table.push(Row { op, arch, source, entry, defines, tile, bits, reason });
        }
    }
    table
});

static HEAD_PARTS_TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let of_logits = TABLE.iter().filter(|row| row.op == "head_logits" && row.tile.n >= 128);
    let row = |logits: &Row| {
        let op = "head_parts";
        let entry = logits.entry.replacen("head_logits", op, 1);
        let mut defines = logits.defines.clone();
        defines.retain(|(name, _)| *name != "EPILOGUE");
        defines[0].1.clone_from(&entry);
        let reason = "log-probabilities of many rows: no logit passes through memory";
        Row { op, source: op, entry, defines, reason, ..logits.clone() }
    };
    of_logits.map(row).collect()
});

/// A tile and why it is in the table.
type Reasoned = (Tile, &'static str);

/// Rows of one op: names of the layout in `gemm_tile.cuh` and of the epilogue in `gemm_epilogue.cuh`; without one the op
/// has a source of its own.
pub(super) struct Product {
    pub(super) op: &'static str,
    layout: &'static str,
    epilogue: Option<&'static str>,
    tiles: &'static [Reasoned],
}

const fn product(
    op: &'static str,
    layout: &'static str,
    epilogue: Option<&'static str>,
    tiles: &'static [Reasoned],
) -> Product {
    Product { op, layout, epilogue, tiles }
}

pub(super) const GEMMS: [Product; 6] = [
    product(
        "linear_residual",
        "NT",
        Some("AddResidual"),
        &[NARROW, DECODE, FEW, LOW, SMALL, TALL, SQUARE, WIDE],
    ),
    product("gate_up_swiglu", "NT", Some("Swiglu"), &[DECODE, LOW, SMALL, TALL, SQUARE, WIDE]),
    product("qkv_rope", "NT", None, &[HEADS, DECODE, FEW, LOW, SMALL, TALL, SQUARE, WIDE]),
    // All three ops of the head take these.
    product("head_logits", "NT", Some("StoreF32"), &[DECODE, LOW, SMALL, SQUARE, WIDE]),
    product("linear_backward_input", "NN", Some("StoreBf16"), &[SMALL, SQUARE, WIDE]),
    product("linear_backward_weight", "TN", Some("StoreF32"), &[SMALL, SQUARE, WIDE]),
];

const NARROW: Reasoned = (
    Tile { m: 16, n: 16, k: 64, stages: 20, warps: [1, 2], resident: 2 },
    "decode into few columns: 128 blocks for 2,048 columns, each with 38 KiB of weights on their way",
);

const HEADS: Reasoned = (
    Tile { m: 16, n: 32, k: 64, stages: 13, warps: [1, 2], resident: 2 },
    "decode into few heads: 96 blocks for 3,072 columns, each with 48 KiB of weights on their way; a warp needs both halves of sixteen columns",
);

const DECODE: Reasoned = (
    Tile { m: 16, n: 64, k: 64, stages: 6, warps: [1, 4], resident: 1 },
    "decode into many columns: rows of x are read a quarter as often, 40 KiB of weights on their way a block",
);

const FEW: Reasoned = (
    Tile { m: 32, n: 32, k: 64, stages: 12, warps: [2, 1], resident: 1 },
    "decode of 17 to 32 rows into few columns: 128 blocks for 4,096 columns, each with 44 KiB of weights on their way",
);

const LOW: Reasoned = (
    Tile { m: 32, n: 64, k: 64, stages: 6, warps: [1, 2], resident: 2 },
    "decode of 17 to 32 rows into many columns: 32 × 32 a warp, seven twelfths of what 64 × 64 asks of shared memory",
);

const SMALL: Reasoned = (
    Tile { m: 64, n: 64, k: 64, stages: 4, warps: [2, 2], resident: 2 },
    "prefill of a few rows, and products too small to fill the device with larger tiles",
);

const TALL: Reasoned = (
    Tile { m: 128, n: 64, k: 64, stages: 4, warps: [2, 2], resident: 1 },
    "decode of hundreds of rows into few columns: a quarter less L2 traffic than 64 × 64 with a block a multiprocessor",
);

const SQUARE: Reasoned = (
    Tile { m: 128, n: 128, k: 32, stages: 4, warps: [2, 2], resident: 2 },
    "training: 64 × 64 a warp halves shared-memory reads against 64 × 32; two blocks hide each other's barriers",
);

const WIDE: Reasoned = (
    Tile { m: 128, n: 256, k: 32, stages: 4, warps: [2, 4], resident: 1 },
    "large training products: a quarter less L2 traffic than 128 × 128; 96 KiB fit every device since 8.0",
);

static ATTENTION_TABLE: LazyLock<Vec<Row<AttentionTile>>> = LazyLock::new(|| {
    let row = |&(tile, reason): &(AttentionTile, &'static str)| {
        let AttentionTile { head_dim, rows, stage_keys, resident } = tile;
        let entry = format!("attention_sm80_hd{head_dim}_{rows}x{stage_keys}_s{}", AttentionTile::STAGES);
        let defines =
            vec![("ENTRY", entry.clone()), ("TILE", format!("{head_dim},{rows},{stage_keys},{resident}"))];
        let (op, arch, source, bits) = ("attention", "sm_80", "attention", ATTENTION_BITS);
        Row { op, arch, source, entry, defines, tile, bits, reason }
    };
    ATTENTIONS.iter().map(row).collect()
});

static ATTENTION_SEGMENT_TABLE: LazyLock<Vec<Row<AttentionSegmentTile>>> = LazyLock::new(|| {
    let row = |&(tile, reason): &(AttentionSegmentTile, &'static str)| {
        let AttentionSegmentTile { head_dim, slot_keys, slots, resident } = tile;
        let rows = AttentionSegmentTile::ROWS;
        let entry = format!("attention_segments_sm80_hd{head_dim}_{rows}x{slot_keys}_s{slots}");
        let defines =
            vec![("ENTRY", entry.clone()), ("TILE", format!("{head_dim},{slot_keys},{slots},{resident}"))];
        let (op, arch, bits) = ("attention_segments", "sm_80", ATTENTION_BITS);
        Row { op, arch, source: op, entry, defines, tile, bits, reason }
    };
    ATTENTION_SEGMENTS.iter().map(row).collect()
});

const ATTENTION_BITS: &str = "keys in blocks of 128 and segments of 1,024, ascending (docs/numerics.md)";

const ATTENTION_SEGMENTS: [(AttentionSegmentTile, &str); 3] = [
    (
        AttentionSegmentTile { head_dim: 64, slot_keys: 16, slots: 5, resident: 1 },
        "decode of contexts that few blocks would walk for long: 80 KiB of keys on their way, then 48 KiB of values",
    ),
    (
        AttentionSegmentTile { head_dim: 128, slot_keys: 16, slots: 2, resident: 1 },
        "the same: 64 KiB of keys; with sixteen a slot two chains of products run side by side",
    ),
    (
        AttentionSegmentTile { head_dim: 256, slot_keys: 8, slots: 2, resident: 1 },
        "the same with wide heads: a slot of eight keys takes 4 KiB of each warp's 8 KiB",
    ),
];

const ATTENTIONS: [(AttentionTile, &str); 6] = [
    (
        AttentionTile { head_dim: 64, rows: 128, stage_keys: 64, resident: 1 },
        "training and prefill: eight warps share each key",
    ),
    (
        AttentionTile { head_dim: 64, rows: 16, stage_keys: 64, resident: 4 },
        "decode: the heads of a group are the rows; 24 KiB of keys and values on their way a block",
    ),
    (
        AttentionTile { head_dim: 128, rows: 128, stage_keys: 64, resident: 1 },
        "training and prefill: eight warps share each key; queries stay in registers",
    ),
    (
        AttentionTile { head_dim: 128, rows: 16, stage_keys: 64, resident: 2 },
        "decode: the heads of a group are the rows; 48 KiB of keys and values on their way a block",
    ),
    (
        AttentionTile { head_dim: 256, rows: 64, stage_keys: 32, resident: 1 },
        "wide heads: sums of the output take half the registers, so queries are read from shared memory again",
    ),
    (AttentionTile { head_dim: 256, rows: 16, stage_keys: 32, resident: 2 }, "decode with wide heads"),
];

static ATTENTION_BACKWARD_TABLE: LazyLock<Vec<Row<AttentionBackwardTile>>> = LazyLock::new(|| {
    let row = |&(tile, reason): &(AttentionBackwardTile, &'static str)| {
        let AttentionBackwardTile { gradient, head_dim, own, sixteens, stage, stages, columns, resident } =
            tile;
        let (name, kernel) = match gradient {
            AttentionGradient::Queries => ("queries", "QueryGradient"),
            AttentionGradient::Keys => ("keys", "KeyGradient"),
        };
        let entry = format!("attention_backward_{name}_sm80_hd{head_dim}_{own}x{stage}_s{stages}");
        let defines = vec![
            ("ENTRY", entry.clone()),
            ("GRADIENT", kernel.to_string()),
            ("TILE", format!("{head_dim},{own},{sixteens},{stage},{stages},{columns},{resident}")),
        ];
        let bits = "steps of 16 keys (or rows), ascending from the document's start";
        let (op, arch, source) = ("attention_backward", "sm_80", "attention_backward");
        Row { op, arch, source, entry, defines, tile, bits, reason }
    };
    ATTENTION_BACKWARDS.iter().map(row).collect()
});

const ATTENTION_BACKWARDS: [(AttentionBackwardTile, &str); 6] = [
    (
        AttentionBackwardTile { head_dim: 64, sixteens: 2, columns: 64, resident: 2, ..QUERIES },
        "32 queries a warp halve shared-memory reads; two blocks hide each other's barriers and short documents",
    ),
    (
        AttentionBackwardTile { head_dim: 64, sixteens: 2, columns: 64, resident: 2, ..KEYS },
        "32 keys a warp halve shared-memory reads of rows; 128 a block keep rows' traffic below what L2 gives",
    ),
    (QUERIES, "queries and dout stay in registers, 64 of each thread's"),
    (KEYS, "sums take half the registers, keys 32; values are read again from shared memory"),
    (
        AttentionBackwardTile { head_dim: 256, own: 64, stage: 16, stages: 2, columns: 256, ..QUERIES },
        "sums take half the registers; what is owned takes two thirds of shared memory",
    ),
    (
        AttentionBackwardTile { head_dim: 256, own: 64, stage: 16, ..KEYS },
        "two blocks share the columns of a tile, for the registers; both compute its scores",
    ),
];

const QUERIES: AttentionBackwardTile = AttentionBackwardTile {
    gradient: AttentionGradient::Queries,
    head_dim: 128,
    own: 128,
    sixteens: 1,
    stage: 64,
    stages: 3,
    columns: 128,
    resident: 1,
};

const KEYS: AttentionBackwardTile =
    AttentionBackwardTile { gradient: AttentionGradient::Keys, stages: 2, ..QUERIES };

//! Launcher of `cuda/attention.cu`, and where rows are few of `attention_segments.cu`, with `attention_merge.cu` where their
//! contexts are long.

use crate::tuning::Tuning;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{Attention, DType, PAGE_TOKENS, View};

arguments! {
    /// `AttentionArguments` of `cuda/include/attention_state.cuh`. Addresses are the device's, strides count elements.
    pub struct AttentionArguments {
        /// Queries.
        pub q: u64,
        /// Keys, as rows or as pages.
        pub k: u64,
        /// Values, as `k`.
        pub v: u64,
        /// Result.
        pub out: u64,
        /// Log-sum-exp of each row.
        pub lse: u64,
        /// First token of each document, and the end.
        pub cu_seqlens: u64,
        /// Position of each token, or 0 without pages.
        pub positions: u64,
        /// Pages of each document, or 0 without pages.
        pub page_table: u64,
        /// Elements between rows of `q`.
        pub q_stride: u64,
        /// Elements between rows, or pages, of `k`.
        pub k_stride: u64,
        /// Elements between rows, or pages, of `v`.
        pub v_stride: u64,
        /// Elements between rows of `out`.
        pub out_stride: u64,
        /// Rows of `q`.
        pub tokens: u32,
        /// Documents.
        pub documents: u32,
        /// Entries of `page_table` a document.
        pub pages_a_document: u32,
        /// Key-value heads.
        pub kv_heads: u32,
        /// Query heads that share a key-value head.
        pub group: u32,
        /// Elements of a head.
        pub head_dim: u32,
        /// Multiplies q·k.
        pub scale: f32,
        /// `scale` · log2 e: what it takes for exponents of two.
        pub scale_log2: f32,
        /// Sums of the output of each segment of each row, in the workspace, or 0 where blocks walk all keys.
        pub sums: u64,
        /// Largest score and sum of the probabilities of each, beside them.
        pub states: u64,
        /// Segments that a document's pages have room for, or 0 where blocks walk all keys.
        pub segments: u32,
        /// Fills the struct.
        pub unused: u32,
    }
}

/// Keys of a segment: the state of a row starts anew at each (`docs/numerics.md`).
const SEGMENT: u32 = 1024;
/// Threads of a block that merges, at most.
const MERGE_THREADS: u32 = 128;

/// out = softmax(scale · q·kᵀ) · v, causal within documents.
///
/// How many tiles the documents make is known on the device alone: there is a block for each tile that there can be, and
/// those past the last end at once. How long contexts are is known there alone too: where tiles are low and few, blocks walk
/// segments of keys with several warps each; where pages have room for several segments, a tile gets several blocks, and a
/// second launch merges what they leave. Bits are the same.
///
/// # Errors
/// [`LaunchError`].
pub fn attention(op: &Attention, at: &dyn Addresses, tuning: &Tuning) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: Attention::NAME, at };
    let aligned = |operand, view: &View| {
        let address = operands.address(operand, view, &[DType::Bf16])?;
        match operands.rows_aligned(view) {
            true => Ok(address),
            false => Err(LaunchError::Unaligned { op: Attention::NAME, operand, view: *view }),
        }
    };
    let indices = |operand, view: &Option<View>| match view {
        Some(view) => operands.dense(operand, view, &[DType::U32]),
        None => Ok(0),
    };
    // The largest score is also the largest once scaled.
    if !(op.scale > 0.0 && op.scale.is_finite()) {
        let (constant, got, want) = ("scale", op.scale, "positive numbers");
        return Err(LaunchError::Constant { op: Attention::NAME, constant, got, want });
    }
    let (heads, kv_heads) = op.heads();
    let (tokens, documents) = (op.q.rows() as u64, op.cu_seqlens.rows().saturating_sub(1) as u64);
    let group = heads.checked_div(kv_heads).unwrap_or(0) as u64;
    let pages = op.page_table.map_or(0, |table| table.row_elements() as u32);
    let mut arguments = AttentionArguments {
        q: aligned("q", &op.q)?,
        k: aligned("k", &op.k)?,
        v: aligned("v", &op.v)?,
        out: aligned("out", &op.out)?,
        lse: operands.dense("lse", &op.lse, &[DType::F32])?,
        cu_seqlens: operands.dense("cu_seqlens", &op.cu_seqlens, &[DType::U32])?,
        positions: indices("positions", &op.positions)?,
        page_table: indices("page_table", &op.page_table)?,
        q_stride: op.q.row_stride() as u64,
        k_stride: op.k.row_stride() as u64,
        v_stride: op.v.row_stride() as u64,
        out_stride: op.out.row_stride() as u64,
        tokens: tokens as u32,
        documents: documents as u32,
        pages_a_document: pages,
        kv_heads: kv_heads as u32,
        group: group as u32,
        head_dim: op.head_dim,
        scale: op.scale,
        scale_log2: op.scale * std::f32::consts::LOG2_E,
        sums: 0,
        states: 0,
        segments: 0,
        unused: 0,
    };
    if op.q.elements() == 0 || documents == 0 {
        return Ok(Vec::new());
    }
    // Documents that have a row.
    let documents = documents.min(tokens);
    let rows = tokens * group;
    operands.at_most(rows * kv_heads as u64, (1 << 31) - 1)?;
    let row = tuning.attention(op.head_dim, rows.div_ceil(documents)).map_err(LaunchError::Tuning)?;
    // Each document ends inside a tile.
    let tiles = rows / u64::from(row.tile.rows) + documents;
    let blocks = tiles * kv_heads as u64;
    let segments = pages.div_ceil(SEGMENT / PAGE_TOKENS);
    let states = rows * kv_heads as u64 * u64::from(segments);
    let sums_bytes = states * u64::from(op.head_dim) * 4;
    // A segment without others is the row, and needs no room.
    let apart = tuning.attention_segments(&row.tile, blocks, segments).and_then(|apart| match segments {
        1 => Some((apart, None)),
        _ => Some((apart, Some(operands.workspace(sums_bytes + states * 8).ok()?))),
    });
    let (entry, threads, shared_bytes, turns) = match apart {
        None => (&row.entry, row.tile.threads(), row.tile.shared_bytes(), 1),
        Some(((row, turns), workspace)) => {
            arguments.segments = segments;
            arguments.sums = workspace.unwrap_or(0);
            arguments.states = workspace.map_or(0, |workspace| workspace + sums_bytes);
            (&row.entry, row.tile.threads(), row.tile.shared_bytes(), turns)
        }
    };
    let mut launches = operands.launch(entry, blocks, threads, &arguments)?;
    for launch in &mut launches {
        launch.grid[1] = turns;
        launch.shared_bytes = shared_bytes;
    }
    if arguments.segments > 1 {
        let threads = op.head_dim / 4;
        let rows_a_block = MERGE_THREADS / threads;
        let blocks = (rows * kv_heads as u64).div_ceil(rows_a_block.into());
        let mut merge = operands.launch("attention_merge", blocks, threads, &arguments)?;
        merge.iter_mut().for_each(|launch| launch.block[1] = rows_a_block);
        launches.extend(merge);
    }
    Ok(launches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, WORKSPACE, arguments_of, only};
    use crate::tuning::Capability;

    fn packed(tokens: u32, documents: u32, [heads, kv_heads, head_dim]: [u32; 3]) -> Attention {
        let view = |buffer, heads| Flat::view(buffer, DType::Bf16, &[tokens, heads * head_dim]);
        Attention {
            q: view(1, heads),
            k: view(2, kv_heads),
            v: view(3, kv_heads),
            cu_seqlens: Flat::view(4, DType::U32, &[documents + 1]),
            positions: None,
            page_table: None,
            out: view(5, heads),
            lse: Flat::view(6, DType::F32, &[tokens, heads]),
            head_dim,
            scale: 0.125,
        }
    }

    fn paged(tokens: u32, [heads, kv_heads, head_dim]: [u32; 3]) -> Attention {
        let pages = |buffer| Flat::view(buffer, DType::Bf16, &[9, kv_heads, PAGE_TOKENS, head_dim]);
        Attention {
            k: pages(2),
            v: pages(3),
            positions: Some(Flat::view(7, DType::U32, &[tokens])),
            page_table: Some(Flat::view(8, DType::U32, &[tokens, 5])),
            ..packed(tokens, tokens, [heads, kv_heads, head_dim])
        }
    }

    fn launch(op: &Attention) -> (Launch, AttentionArguments) {
        only(attention(op, &Flat, &Tuning::new(Capability::A100)))
    }

    fn refused(op: &Attention) -> LaunchError {
        attention(op, &Flat, &Tuning::new(Capability::A100)).unwrap_err()
    }

    #[test]
    fn there_is_a_block_for_every_tile_that_documents_can_make() {
        let (launch, a) = launch(&packed(1000, 3, [32, 8, 128]));
        assert_eq!(launch.entry, "attention_sm80_hd128_128x64_s4");
        // 4,000 rows under each of 8 heads.
        assert_eq!((launch.grid, launch.block), ([(4000 / 128 + 3) * 8, 1, 1], [256, 1, 1]));
        assert_eq!(launch.shared_bytes, (128 + 4 * 64) * 128 * 2);
        assert_eq!([a.tokens, a.documents, a.kv_heads, a.group, a.head_dim], [1000, 3, 8, 4, 128]);
        assert_eq!([a.q, a.k, a.v, a.out, a.lse].map(|address| address >> 40), [1, 2, 3, 5, 6]);
        assert_eq!([a.positions, a.page_table], [0, 0]);
        assert_eq!((a.scale, a.scale_log2), (0.125, 0.125 * std::f32::consts::LOG2_E));
    }

    #[test]
    fn one_query_a_document_takes_the_low_tile_and_the_strides_of_pages() {
        let (launch, a) = launch(&paged(6, [4, 2, 64]));
        assert_eq!(launch.entry, "attention_segments_sm80_hd64_16x16_s5");
        assert_eq!((launch.grid, launch.block), ([6 * 2, 1, 1], [256, 1, 1]));
        assert_eq!((a.segments, a.sums, a.states), (1, 0, 0));
        assert_eq!([a.positions >> 40, a.page_table >> 40], [7, 8]);
        assert_eq!((a.pages_a_document, a.k_stride), (5, 2 * 64 * 64));
    }

    #[test]
    fn few_rows_of_pages_for_long_contexts_walk_segments_apart_and_merge_them() {
        let mut op = paged(6, [4, 2, 80]);
        op.page_table = Some(Flat::view(8, DType::U32, &[6, 40]));
        let launches = attention(&op, &Flat, &Tuning::new(Capability::A100)).unwrap();
        let [walk, merge] = launches.as_slice() else { panic!("{launches:?}") };
        assert_eq!(walk.entry, "attention_segments_sm80_hd128_16x16_s2");
        // 40 pages have room for parts of three segments.
        assert_eq!((walk.grid, walk.block), ([6 * 2, 3, 1], [256, 1, 1]));
        assert_eq!(walk.shared_bytes, 2 * 8 * 16 * 4 + 16 * 1024 * 2 + 4 * 16384);
        let a: AttentionArguments = arguments_of(walk);
        assert_eq!((a.segments, a.sums, a.states), (3, WORKSPACE, WORKSPACE + 6 * 4 * 3 * 80 * 4));
        // Twenty threads a row, six rows a block.
        assert_eq!(
            (merge.entry.as_str(), merge.grid, merge.block),
            ("attention_merge", [4, 1, 1], [20, 6, 1])
        );
        assert_eq!(merge.arguments, walk.arguments);
    }

    #[test]
    fn what_the_workspace_cannot_hold_is_walked_in_one_go() {
        let mut op = paged(8, [64, 8, 256]);
        op.page_table = Some(Flat::view(8, DType::U32, &[8, 20_000]));
        assert_eq!(attention(&op, &Flat, &Tuning::new(Capability::A100)).unwrap().len(), 2);
        op.page_table = Some(Flat::view(8, DType::U32, &[8, 22_500]));
        assert_eq!(launch(&op).0.entry, "attention_sm80_hd256_16x32_s4");
    }

    #[test]
    fn documents_without_rows_cost_no_blocks() {
        let (launch, _) = launch(&packed(2, 1000, [2, 1, 16]));
        assert_eq!(launch.grid, [2, 1, 1]);
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let mut op = packed(3, 1, [2, 1, 64]);
        op.k.offset = 8;
        assert!(matches!(refused(&op), LaunchError::Unaligned { operand: "k", .. }));
        let mut op = packed(3, 1, [2, 1, 64]);
        op.out = op.out.with_row_stride(132);
        assert!(matches!(refused(&op), LaunchError::Unaligned { operand: "out", .. }));
        let mut op = packed(3, 1, [2, 1, 64]);
        op.v.dtype = DType::F32;
        assert!(matches!(refused(&op), LaunchError::DType { operand: "v", .. }));
        let mut op = packed(3, 1, [2, 1, 64]);
        op.scale = -1.0;
        assert_eq!(refused(&op).to_string(), "attention: `scale` is -1, the kernel takes positive numbers");
        let mut op = packed(3, 1, [2, 1, 64]);
        op.lse = op.lse.with_row_stride(3);
        assert!(matches!(refused(&op), LaunchError::Gaps { operand: "lse", .. }));
        assert!(matches!(refused(&packed(1 << 28, 1, [8, 1, 16])), LaunchError::TooLarge { .. }));
    }

    #[test]
    fn no_rows_are_no_launch() {
        let tuning = Tuning::new(Capability::A100);
        assert_eq!(attention(&packed(0, 1, [2, 1, 64]), &Flat, &tuning), Ok(Vec::new()));
    }
}

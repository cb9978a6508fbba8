//! Launcher of `cuda/attention_backward.cu`.

use crate::tuning::{AttentionGradient, Tuning};
use crate::{Addresses, Launch, LaunchError, Operands, WORKSPACE_BYTES, arguments};
use octo_ops::{AttentionBackward, DType, View};

/// Bytes that one kernel leaves of each row for the other.
const ROW_BYTES: u64 = 8;

arguments! {
    /// `AttentionBackwardArguments` of `cuda/include/attention_backward_tile.cuh`. Addresses are the device's, strides count
    /// elements.
    pub struct AttentionBackwardArguments {
        /// Queries.
        pub q: u64,
        /// Keys.
        pub k: u64,
        /// Values.
        pub v: u64,
        /// The forward's result.
        pub out: u64,
        /// Gradient of `out`.
        pub dout: u64,
        /// Log-sum-exp of each row.
        pub lse: u64,
        /// First token of each document, and the end.
        pub cu_seqlens: u64,
        /// Gradient of `q`.
        pub dq: u64,
        /// Gradient of `k`.
        pub dk: u64,
        /// Gradient of `v`.
        pub dv: u64,
        /// Of each row lse · log2 e and Σ dout·out, in the workspace.
        pub rows: u64,
        /// Elements between rows of `q`.
        pub q_stride: u64,
        /// Elements between rows of `k`.
        pub k_stride: u64,
        /// Elements between rows of `v`.
        pub v_stride: u64,
        /// Elements between rows of `out`.
        pub out_stride: u64,
        /// Elements between rows of `dout`.
        pub dout_stride: u64,
        /// Elements between rows of `dq`.
        pub dq_stride: u64,
        /// Elements between rows of `dk`.
        pub dk_stride: u64,
        /// Elements between rows of `dv`.
        pub dv_stride: u64,
        /// Rows of `q`.
        pub tokens: u32,
        /// Documents.
        pub documents: u32,
        /// Query heads, of which a row of `lse` has a number each.
        pub heads: u32,
        /// Key-value heads that this launch computes.
        pub kv_heads: u32,
        /// Query heads that share a key-value head.
        pub group: u32,
        /// Elements of a head.
        pub head_dim: u32,
        /// Multiplies q·k.
        pub scale: f32,
        /// `scale` · log2 e: what it takes for exponents of two.
        pub scale_log2: f32,
    }
}

/// Gradients of q, k and v.
///
/// Two launches, that of dq first: it leaves in the workspace what the other wants to know of each row. Where this is more than
/// the workspace holds, pairs of launches take some key-value heads each, which changes no bit. As in the forward there
/// is a block for each tile that the documents can make.
///
/// # Errors
/// [`LaunchError`].
pub fn attention_backward(
    op: &AttentionBackward,
    at: &dyn Addresses,
    tuning: &Tuning,
) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: AttentionBackward::NAME, at };
    let aligned = |operand, view: &View| {
        let address = operands.address(operand, view, &[DType::Bf16])?;
        match operands.rows_aligned(view) {
            true => Ok(address),
            false => Err(LaunchError::Unaligned { op: AttentionBackward::NAME, operand, view: *view }),
        }
    };
    // A hidden score is minus infinity also once scaled.
    if !(op.scale > 0.0 && op.scale.is_finite()) {
        let (constant, got, want) = ("scale", op.scale, "positive numbers");
        return Err(LaunchError::Constant { op: AttentionBackward::NAME, constant, got, want });
    }
    let (heads, kv_heads) = op.heads();
    let (heads, kv_heads) = (heads as u64, kv_heads as u64);
    let (tokens, documents) = (op.q.rows() as u64, op.cu_seqlens.rows().saturating_sub(1) as u64);
    let rows = tokens * heads.checked_div(kv_heads).unwrap_or(0);
    let all = AttentionBackwardArguments {
        q: aligned("q", &op.q)?,
        k: aligned("k", &op.k)?,
        v: aligned("v", &op.v)?,
        out: aligned("out", &op.out)?,
        dout: aligned("dout", &op.dout)?,
        lse: operands.dense("lse", &op.lse, &[DType::F32])?,
        cu_seqlens: operands.dense("cu_seqlens", &op.cu_seqlens, &[DType::U32])?,
        dq: aligned("dq", &op.dq)?,
        dk: aligned("dk", &op.dk)?,
        dv: aligned("dv", &op.dv)?,
        rows: at.workspace(),
        q_stride: op.q.row_stride() as u64,
        k_stride: op.k.row_stride() as u64,
        v_stride: op.v.row_stride() as u64,
        out_stride: op.out.row_stride() as u64,
        dout_stride: op.dout.row_stride() as u64,
        dq_stride: op.dq.row_stride() as u64,
        dk_stride: op.dk.row_stride() as u64,
        dv_stride: op.dv.row_stride() as u64,
        tokens: tokens as u32,
        documents: documents as u32,
        heads: heads as u32,
        kv_heads: 0,
        group: heads.checked_div(kv_heads).unwrap_or(0) as u32,
        head_dim: op.head_dim,
        scale: op.scale,
        scale_log2: op.scale * std::f32::consts::LOG2_E,
    };
    if op.q.elements() == 0 || documents == 0 {
        return Ok(Vec::new());
    }
    operands.at_most(rows * kv_heads, (1 << 31) - 1)?;
    operands.workspace(rows * ROW_BYTES)?;
    let row = |gradient| tuning.attention_backward(gradient, op.head_dim).map_err(LaunchError::Tuning);
    let kernels = [(row(AttentionGradient::Queries)?, rows), (row(AttentionGradient::Keys)?, tokens)];
    // Documents that have a row.
    let documents = documents.min(tokens);
    let together = (WORKSPACE_BYTES / (rows * ROW_BYTES)).min(kv_heads);
    let mut launches = Vec::new();
    for first in (0..kv_heads).step_by(together as usize) {
        let arguments = all.of_heads(first, together.min(kv_heads - first));
        for (row, owned) in kernels {
            // Each document ends inside a tile.
            let tiles = owned / u64::from(row.tile.own) + documents;
            let blocks = tiles * u64::from(arguments.kv_heads * row.tile.parts());
            let mut of_kernel = operands.launch(&row.entry, blocks, row.tile.threads(), &arguments)?;
            of_kernel.iter_mut().for_each(|launch| launch.shared_bytes = row.tile.shared_bytes());
            launches.extend(of_kernel);
        }
    }
    Ok(launches)
}

impl AttentionBackwardArguments {
    /// The same for some of the key-value heads, which look like the first ones.
    fn of_heads(self, first: u64, kv_heads: u64) -> AttentionBackwardArguments {
        let narrow = 2 * first * u64::from(self.head_dim);
        let wide = narrow * u64::from(self.group);
        AttentionBackwardArguments {
            q: self.q + wide,
            k: self.k + narrow,
            v: self.v + narrow,
            out: self.out + wide,
            dout: self.dout + wide,
            lse: self.lse + 4 * first * u64::from(self.group),
            dq: self.dq + wide,
            dk: self.dk + narrow,
            dv: self.dv + narrow,
            kv_heads: kv_heads as u32,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, WORKSPACE, arguments_of};
    use crate::tuning::Capability;

    fn op(tokens: u32, documents: u32, [heads, kv_heads, head_dim]: [u32; 3]) -> AttentionBackward {
        let view = |buffer, heads| Flat::view(buffer, DType::Bf16, &[tokens, heads * head_dim]);
        let fused = view(8, heads + 2 * kv_heads);
        let (wide, narrow) = (heads * head_dim, kv_heads * head_dim);
        AttentionBackward {
            q: view(1, heads),
            k: view(2, kv_heads),
            v: view(3, kv_heads),
            out: view(4, heads),
            lse: Flat::view(5, DType::F32, &[tokens, heads]),
            dout: view(6, heads),
            cu_seqlens: Flat::view(7, DType::U32, &[documents + 1]),
            dq: fused.slice_columns(0, wide),
            dk: fused.slice_columns(wide, narrow),
            dv: fused.slice_columns(wide + narrow, narrow),
            head_dim,
            scale: 0.125,
        }
    }

    fn launches(op: &AttentionBackward) -> Vec<(Launch, AttentionBackwardArguments)> {
        let launches = attention_backward(op, &Flat, &Tuning::new(Capability::A100)).unwrap();
        launches.into_iter().map(|launch| (launch.clone(), arguments_of(&launch))).collect()
    }

    fn refused(op: &AttentionBackward) -> LaunchError {
        attention_backward(op, &Flat, &Tuning::new(Capability::A100)).unwrap_err()
    }

    #[test]
    fn a_block_for_every_tile_of_queries_and_then_for_every_tile_of_keys() {
        let launches = launches(&op(1000, 3, [32, 8, 128]));
        let [(queries, a), (keys, b)] = launches.as_slice() else { panic!("{launches:?}") };
        assert_eq!(a, b);
        assert_eq!(queries.entry, "attention_backward_queries_sm80_hd128_128x64_s3");
        assert_eq!(keys.entry, "attention_backward_keys_sm80_hd128_128x64_s2");
        // 4,000 rows and 1,000 keys under each of 8 heads.
        assert_eq!((queries.grid, queries.block), ([(4000 / 128 + 3) * 8, 1, 1], [256, 1, 1]));
        assert_eq!((keys.grid, keys.block), ([(1000 / 128 + 3) * 8, 1, 1], [256, 1, 1]));
        assert_eq!(queries.shared_bytes, 3 * 2 * 64 * 256);
        assert_eq!(keys.shared_bytes, 128 * 256 + 2 * 64 * (2 * 256 + 8));
        assert_eq!([a.q, a.k, a.v, a.out, a.lse, a.dout].map(|address| address >> 40), [1, 2, 3, 4, 5, 6]);
        assert_eq!([a.dq, a.dk, a.dv].map(|address| address - (8 << 40)), [0, 2 * 4096, 2 * 5120]);
        assert_eq!([a.dq_stride, a.dk_stride, a.dv_stride], [6144; 3]);
        assert_eq!([a.tokens, a.documents, a.heads, a.kv_heads, a.group], [1000, 3, 32, 8, 4]);
        assert_eq!((a.rows, a.scale, a.scale_log2), (WORKSPACE, 0.125, 0.125 * std::f32::consts::LOG2_E));
    }

    #[test]
    fn blocks_share_the_columns_of_wide_heads() {
        let launches = launches(&op(100, 1, [2, 1, 200]));
        assert_eq!(launches[0].0.grid, [200 / 64 + 1, 1, 1]);
        assert_eq!(launches[1].0.grid, [(100 / 64 + 1) * 2, 1, 1]);
    }

    /// 32 Mi rows of eight bytes fill the workspace: here those of two key-value heads of five.
    #[test]
    fn heads_take_turns_where_the_workspace_does_not_hold_what_is_known_of_all_rows() {
        let launches = launches(&op(20 << 20, 1, [10, 5, 64]));
        let heads: Vec<u32> = launches.iter().map(|(_, a)| a.kv_heads).collect();
        assert_eq!(heads, [2, 2, 2, 2, 1, 1]);
        let (_, a) = &launches[4];
        assert_eq!([a.q, a.out, a.dout].map(|address| address & 0xffff), [2 * 8 * 64; 3]);
        assert_eq!([a.k, a.v].map(|address| address & 0xffff), [2 * 4 * 64; 2]);
        assert_eq!([a.dq, a.dk, a.dv].map(|address| address & 0xffff), [1024, 512 + 1280, 512 + 1920]);
        assert_eq!((a.lse & 0xffff, a.heads, a.rows), (4 * 8, 10, WORKSPACE));
        assert!(matches!(refused(&op((80 << 20) + 1, 1, [1, 1, 64])), LaunchError::Workspace { .. }));
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let changed = |change: fn(&mut AttentionBackward)| {
            let mut op = op(3, 1, [2, 1, 64]);
            change(&mut op);
            refused(&op)
        };
        let error = changed(|op| op.dk.offset += 8);
        assert!(matches!(error, LaunchError::Unaligned { operand: "dk", .. }));
        let error = changed(|op| op.dout = op.dout.with_row_stride(132));
        assert!(matches!(error, LaunchError::Unaligned { operand: "dout", .. }));
        let error = changed(|op| op.out.dtype = DType::F32);
        assert!(matches!(error, LaunchError::DType { operand: "out", .. }));
        let error = changed(|op| op.lse = op.lse.with_row_stride(3));
        assert!(matches!(error, LaunchError::Gaps { operand: "lse", .. }));
        let error = changed(|op| op.scale = 0.0).to_string();
        assert_eq!(error, "attention_backward: `scale` is 0, the kernel takes positive numbers");
        assert!(matches!(refused(&op(1 << 28, 1, [8, 1, 16])), LaunchError::TooLarge { .. }));
    }

    #[test]
    fn no_rows_are_no_launch() {
        let tuning = Tuning::new(Capability::A100);
        assert_eq!(attention_backward(&op(0, 1, [2, 1, 64]), &Flat, &tuning), Ok(Vec::new()));
    }
}

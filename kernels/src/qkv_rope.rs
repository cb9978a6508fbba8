//! Launcher of `cuda/qkv_rope.cu`.

use crate::tuning::Tuning;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, PAGE_TOKENS, QkvRope, View};

arguments! {
    /// `QkvRopeArguments` of `cuda/include/qkv_rope.cuh`. Addresses are the device's, strides count elements.
    pub struct QkvRopeArguments {
        /// Normed rows.
        pub x: u64,
        /// Rows of q, k and v.
        pub weight: u64,
        /// Bias, or 0.
        pub bias: u64,
        /// Cosines and sines.
        pub rope: u64,
        /// Position of each row.
        pub positions: u64,
        /// Slot of each row, or 0 where k and v are rows.
        pub slots: u64,
        /// Queries.
        pub q: u64,
        /// Keys, as rows or as pages.
        pub k: u64,
        /// Values, as `k`.
        pub v: u64,
        /// Elements between rows of `x`.
        pub x_stride: u64,
        /// Elements between rows of `q`.
        pub q_stride: u64,
        /// Elements between rows, or pages, of `k`.
        pub k_stride: u64,
        /// Elements between rows, or pages, of `v`.
        pub v_stride: u64,
        /// Rows of `x`.
        pub tokens: u32,
        /// Its columns.
        pub hidden: u32,
        /// Query heads.
        pub heads: u32,
        /// Key-value heads.
        pub kv_heads: u32,
        /// Half of a head's elements.
        pub half: u32,
        /// Rows of `rope`.
        pub table_rows: u32,
        /// Slots that the pages have.
        pub slot_count: u32,
        /// Which of q (1), k (2) and v (4) are written 16 bytes at a time, and whether the table is read 8 at a time (8).
        pub wide: u32,
    }
}

/// q, k, v = x · weightᵀ + bias; q and k rotated by position.
///
/// # Errors
/// [`LaunchError`].
pub fn qkv_rope(op: &QkvRope, at: &dyn Addresses, tuning: &Tuning) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: QkvRope::NAME, at };
    let copied = |operand, view: &View| {
        let address = operands.address(operand, view, &[DType::Bf16])?;
        match operands.rows_aligned(view) {
            true => Ok(address),
            false => Err(LaunchError::Unaligned { op: QkvRope::NAME, operand, view: *view }),
        }
    };
    let optional = |operand, view: &Option<View>, dtype| match view {
        Some(view) => operands.dense(operand, view, &[dtype]),
        None => Ok(0),
    };
    operands.dense("weight", &op.weight, &[DType::Bf16])?;
    let (heads, kv_heads) = op.heads();
    let half = op.head_dim() / 2;
    let rope = operands.dense("rope", &op.rope, &[DType::F32])?;
    let wide = |view: &View| half.is_multiple_of(8) && operands.rows_aligned(view);
    let flags = [
        wide(&op.q),
        wide(&op.k),
        wide(&op.v),
        half.is_multiple_of(2) && rope.is_multiple_of(8) && op.rope.rows() > 0,
    ];
    let arguments = QkvRopeArguments {
        x: copied("x", &op.x)?,
        weight: copied("weight", &op.weight)?,
        bias: optional("bias", &op.bias, DType::Bf16)?,
        rope,
        positions: operands.dense("positions", &op.positions, &[DType::U32])?,
        slots: optional("slots", &op.slots, DType::U32)?,
        q: operands.address("q", &op.q, &[DType::Bf16])?,
        k: operands.address("k", &op.k, &[DType::Bf16])?,
        v: operands.address("v", &op.v, &[DType::Bf16])?,
        x_stride: op.x.row_stride() as u64,
        q_stride: op.q.row_stride() as u64,
        k_stride: op.k.row_stride() as u64,
        v_stride: op.v.row_stride() as u64,
        tokens: op.x.rows() as u32,
        hidden: op.x.row_elements() as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        half: half as u32,
        table_rows: op.rope.rows() as u32,
        // Of the smaller of the two, should they differ.
        slot_count: (op.k.rows().min(op.v.rows()) as u32).saturating_mul(PAGE_TOKENS),
        wide: flags.iter().enumerate().map(|(bit, &flag)| u32::from(flag) << bit).sum(),
    };
    // A head is padded to whole sixteens of columns.
    let columns = (heads + 2 * kv_heads) as u64 * half.div_ceil(8) as u64 * 16;
    let (tokens, most) = (arguments.tokens, (1 << 31) - 1);
    operands.at_most(columns.max(tokens.into()).max(2 * u64::from(arguments.hidden)), most)?;
    if tokens == 0 || columns == 0 {
        return Ok(Vec::new());
    }
    let row = tuning.row(QkvRope::NAME, tokens, columns as u32).map_err(LaunchError::Tuning)?;
    let blocks = row.tile.blocks(tokens, columns as u32);
    let mut launches = operands.launch(&row.entry, blocks, row.tile.threads(), &arguments)?;
    launches.iter_mut().for_each(|launch| launch.shared_bytes = row.tile.shared_bytes());
    Ok(launches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, only};
    use crate::tuning::Capability;

    fn rows(tokens: u32, [heads, kv_heads, head_dim]: [u32; 3]) -> QkvRope {
        let bf16 = |buffer, shape: &[u32]| Flat::view(buffer, DType::Bf16, shape);
        QkvRope {
            x: bf16(1, &[tokens, 256]),
            weight: bf16(2, &[(heads + 2 * kv_heads) * head_dim, 256]),
            bias: None,
            rope: Flat::view(3, DType::F32, &[100, head_dim]),
            positions: Flat::view(4, DType::U32, &[tokens]),
            slots: None,
            q: bf16(5, &[tokens, heads * head_dim]),
            k: bf16(6, &[tokens, kv_heads * head_dim]),
            v: bf16(7, &[tokens, kv_heads * head_dim]),
        }
    }

    fn paged(tokens: u32, [heads, kv_heads, head_dim]: [u32; 3]) -> QkvRope {
        let pages = |buffer| Flat::view(buffer, DType::Bf16, &[9, kv_heads, PAGE_TOKENS, head_dim]);
        QkvRope {
            slots: Some(Flat::view(8, DType::U32, &[tokens])),
            k: pages(6),
            v: pages(7),
            ..rows(tokens, [heads, kv_heads, head_dim])
        }
    }

    fn launch(op: &QkvRope) -> (Launch, QkvRopeArguments) {
        only(qkv_rope(op, &Flat, &Tuning::new(Capability::A100)))
    }

    #[test]
    fn tiles_cover_the_heads_of_q_k_and_v() {
        let (launch, a) = launch(&rows(300, [8, 2, 64]));
        assert_eq!(launch.entry, "qkv_rope_sm80_nt_64x64x64_s4");
        assert_eq!((launch.grid, launch.block), ([5 * 12, 1, 1], [128, 1, 1]));
        assert_eq!([a.x, a.weight, a.rope, a.positions].map(|address| address >> 40), [1, 2, 3, 4]);
        assert_eq!([a.q, a.k, a.v].map(|address| address >> 40), [5, 6, 7]);
        assert_eq!(
            [a.tokens, a.hidden, a.heads, a.kv_heads, a.half, a.table_rows],
            [300, 256, 8, 2, 32, 100]
        );
        assert_eq!((a.bias, a.slots, a.wide), (0, 0, 15));
    }

    #[test]
    fn heads_are_padded_to_sixteens_and_then_written_by_elements() {
        // Halves of 12 are two eights: 32 columns a head.
        let (launch, a) = launch(&rows(1, [8, 2, 24]));
        assert_eq!((launch.entry.as_str(), launch.grid[0]), ("qkv_rope_sm80_nt_16x32x64_s13", 12));
        assert_eq!((a.half, a.wide), (12, 8));
    }

    #[test]
    fn strides_of_pages_and_gaps_reach_the_kernel() {
        let mut op = paged(6, [4, 2, 64]);
        op.q = op.q.with_row_stride(260);
        op.bias = Some(Flat::view(9, DType::Bf16, &[512]));
        let (_, a) = launch(&op);
        assert_eq!((a.q_stride, a.k_stride, a.slot_count), (260, 2 * 64 * 64, 9 * 64));
        assert_eq!((a.slots >> 40, a.bias >> 40, a.wide), (8, 9, 14));
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let refused = |op: &QkvRope| qkv_rope(op, &Flat, &Tuning::new(Capability::A100)).unwrap_err();
        let mut op = rows(3, [4, 2, 64]);
        op.x.offset = 8;
        assert!(matches!(refused(&op), LaunchError::Unaligned { operand: "x", .. }));
        let mut op = rows(3, [4, 2, 64]);
        op.weight.dtype = DType::F32;
        assert!(matches!(refused(&op), LaunchError::DType { operand: "weight", .. }));
        let mut op = rows(3, [4, 2, 64]);
        op.rope = op.rope.with_row_stride(70);
        assert!(matches!(refused(&op), LaunchError::Gaps { operand: "rope", .. }));
    }

    #[test]
    fn no_rows_are_no_launch() {
        let launches = qkv_rope(&rows(0, [4, 2, 64]), &Flat, &Tuning::new(Capability::A100));
        assert_eq!(launches, Ok(Vec::new()));
    }
}

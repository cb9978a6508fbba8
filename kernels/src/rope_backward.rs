//! Launcher of `cuda/rope_backward.cu`.

use crate::flat::THREADS;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, RopeBackward};

/// Pairs a thread takes where halves are whole groups of 16 bytes.
const EIGHT: u64 = 8;

arguments! {
    /// `RopeBackwardArguments` of `cuda/rope_backward.cu`. Addresses are the device's, strides count elements.
    pub struct RopeBackwardArguments {
        /// Cosines and sines.
        pub rope: u64,
        /// Position of each row.
        pub positions: u64,
        /// Gradients of q and k.
        pub dqk: u64,
        /// Elements between rows of `dqk`.
        pub dqk_stride: u64,
        /// Rows.
        pub tokens: u32,
        /// Heads of a row.
        pub heads: u32,
        /// Half of a head's elements.
        pub half: u32,
        /// Rows of `rope`.
        pub table_rows: u32,
    }
}

/// Rotates back, in place; a row whose position is past the table becomes NaN.
///
/// # Errors
/// [`LaunchError`].
pub fn rope_backward(op: &RopeBackward, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: RopeBackward::NAME, at };
    let half = op.rope.row_elements() as u64 / 2;
    let heads = op.dqk.row_elements() as u64 / (2 * half).max(1);
    let arguments = RopeBackwardArguments {
        rope: operands.dense("rope", &op.rope, &[DType::F32])?,
        positions: operands.dense("positions", &op.positions, &[DType::U32])?,
        dqk: operands.address("dqk", &op.dqk, &[DType::Bf16])?,
        dqk_stride: op.dqk.row_stride() as u64,
        tokens: op.dqk.rows() as u32,
        heads: heads as u32,
        half: half as u32,
        table_rows: op.rope.rows() as u32,
    };
    let aligned =
        half.is_multiple_of(EIGHT) && arguments.rope.is_multiple_of(16) && operands.rows_aligned(&op.dqk);
    let (entry, pairs) = if aligned { ("rope_backward_bf16", EIGHT) } else { ("rope_backward_any", 1) };
    let blocks = (op.dqk.rows() as u64 * heads * (half / pairs)).div_ceil(THREADS.into());
    // The kernel numbers threads in 32 bits.
    operands.at_most(blocks, (1 << 24) - 1)?;
    operands.launch(entry, blocks, THREADS, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, only};

    fn op(tokens: u32, heads: u32, head_dim: u32) -> RopeBackward {
        RopeBackward {
            rope: Flat::view(1, DType::F32, &[50, head_dim]),
            positions: Flat::view(2, DType::U32, &[tokens]),
            dqk: Flat::view(3, DType::Bf16, &[tokens, heads * head_dim]),
        }
    }

    #[test]
    fn a_thread_takes_the_pairs_of_two_eights() {
        let mut op = op(70, 4, 64);
        op.dqk = op.dqk.with_row_stride(384);
        let (launch, a) = only::<RopeBackwardArguments>(rope_backward(&op, &Flat));
        assert_eq!((launch.entry.as_str(), launch.grid), ("rope_backward_bf16", [5, 1, 1]));
        assert_eq!([a.rope, a.positions, a.dqk, a.dqk_stride], [1 << 40, 2 << 40, 3 << 40, 384]);
        assert_eq!([a.tokens, a.heads, a.half, a.table_rows], [70, 4, 32, 50]);
    }

    #[test]
    fn other_heads_and_places_go_pair_by_pair() {
        let mut table = op(70, 4, 64);
        table.rope.offset = 4;
        let mut rows = op(70, 4, 64);
        rows.dqk = rows.dqk.with_row_stride(260);
        for (op, blocks) in [(table, 35), (rows, 35), (op(70, 4, 8), 5)] {
            let (launch, _) = only::<RopeBackwardArguments>(rope_backward(&op, &Flat));
            assert_eq!((launch.entry.as_str(), launch.grid), ("rope_backward_any", [blocks, 1, 1]));
        }
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let mut single = op(7, 4, 64);
        single.dqk.dtype = DType::F32;
        let error = rope_backward(&single, &Flat).unwrap_err().to_string();
        assert_eq!(error, "rope_backward: operand `dqk` is f32, the kernel takes [Bf16]");
        let huge = rope_backward(&op(1 << 30, 4, 64), &Flat);
        assert!(matches!(huge, Err(LaunchError::TooLarge { .. })), "{huge:?}");
        assert_eq!(rope_backward(&op(0, 4, 64), &Flat), Ok(Vec::new()));
    }
}

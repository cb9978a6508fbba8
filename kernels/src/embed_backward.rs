//! Launcher of `cuda/embed_backward.cu`.

use crate::flat::{Flat, THREADS};
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, EmbedBackward};

/// Elements a thread takes at once.
const FOUR: u64 = 4;
/// Positions whose rank a block finds: four for each of its eight warps.
const RANKED: u64 = 32;
/// Columns of a block.
const STRIP: u64 = 1024;

arguments! {
    /// `EmbedBackwardZeroArguments` of `cuda/embed_backward.cu`. Addresses are the device's.
    pub struct EmbedBackwardZeroArguments {
        /// What becomes zero.
        pub dweight: u64,
        /// Elements.
        pub elements: u64,
        /// Leading groups of four that are stored as one.
        pub fours: u64,
    }
}

arguments! {
    /// `EmbedBackwardOrderArguments` of `cuda/embed_backward.cu`.
    pub struct EmbedBackwardOrderArguments {
        /// Token ids.
        pub ids: u64,
        /// Positions by id, then ascending, u32 \[tokens\], in the workspace.
        pub order: u64,
        /// Positions.
        pub tokens: u32,
        /// Fills the struct.
        pub unused: u32,
    }
}

arguments! {
    /// `EmbedBackwardAddArguments` of `cuda/embed_backward.cu`.
    pub struct EmbedBackwardAddArguments {
        /// Token ids.
        pub ids: u64,
        /// What the launch before left.
        pub order: u64,
        /// Gradients of the rows picked.
        pub dx: u64,
        /// Gradient of the matrix.
        pub dweight: u64,
        /// Elements between rows of `dx`.
        pub dx_stride: u64,
        /// Positions.
        pub tokens: u32,
        /// Columns.
        pub hidden: u32,
        /// Rows of `dweight`.
        pub vocab: u32,
        /// Pieces of 1,024 columns.
        pub strips: u32,
    }
}

/// dweight\[ids\[t\]\] += dx\[t\]: zeros where it is overwritten, then an order of the positions, then the sums.
///
/// # Errors
/// [`LaunchError`].
pub fn embed_backward(op: &EmbedBackward, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: EmbedBackward::NAME, at };
    let (tokens, hidden) = (op.dx.rows() as u64, op.dx.row_elements() as u64);
    let ids = operands.dense("ids", &op.ids, &[DType::U32])?;
    let dx = operands.address("dx", &op.dx, &[DType::Bf16, DType::F32])?;
    let dweight = operands.dense("dweight", &op.dweight, &[DType::F32])?;
    let order = operands.workspace(4 * tokens)?;
    let mut launches = Vec::new();
    if !op.accumulate {
        let elements = op.dweight.elements() as u64;
        let flat = Flat::new(elements, FOUR, dweight.is_multiple_of(16));
        let arguments = EmbedBackwardZeroArguments { dweight, elements, fours: flat.groups };
        launches.extend(operands.launch("embed_backward_zero", flat.blocks, THREADS, &arguments)?);
    }
    let strips = hidden.div_ceil(STRIP);
    if tokens * strips == 0 {
        return Ok(launches);
    }
    let (count, dx_stride) = (tokens as u32, op.dx.row_stride() as u64);
    let arguments = EmbedBackwardOrderArguments { ids, order, tokens: count, unused: 0 };
    launches.extend(operands.launch("embed_backward_order", tokens.div_ceil(RANKED), THREADS, &arguments)?);
    let arguments = EmbedBackwardAddArguments {
        ids,
        order,
        dx,
        dweight,
        dx_stride,
        tokens: count,
        hidden: hidden as u32,
        vocab: op.dweight.rows() as u32,
        strips: strips as u32,
    };
    // Four bf16 are eight bytes.
    let aligned = hidden.is_multiple_of(FOUR)
        && (dx | (dx_stride * DType::Bf16.bytes())).is_multiple_of(8)
        && dweight.is_multiple_of(16);
    let entry = match (op.dx.dtype, aligned) {
        (DType::F32, _) => "embed_backward_add_f32",
        (_, true) => "embed_backward_add",
        (_, false) => "embed_backward_add_any",
    };
    launches.extend(operands.launch(entry, tokens * strips, THREADS, &arguments)?);
    Ok(launches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat as Memory, WORKSPACE, arguments_of};

    fn op(tokens: u32, hidden: u32, accumulate: bool) -> EmbedBackward {
        EmbedBackward {
            ids: Memory::view(1, DType::U32, &[tokens]),
            dx: Memory::view(2, DType::Bf16, &[tokens, hidden]),
            dweight: Memory::view(3, DType::F32, &[13, hidden]),
            accumulate,
        }
    }

    fn entries(op: &EmbedBackward) -> Vec<(String, u32)> {
        let launches = embed_backward(op, &Memory).unwrap();
        launches.into_iter().map(|launch| (launch.entry, launch.grid[0])).collect()
    }

    #[test]
    fn zeros_come_first_where_nothing_is_added_to() {
        let (order, add) = (("embed_backward_order".into(), 3), ("embed_backward_add".into(), 140));
        assert_eq!(entries(&op(70, 1028, true)), [order.clone(), add.clone()]);
        assert_eq!(entries(&op(70, 1028, false)), [("embed_backward_zero".into(), 14), order, add]);
        assert_eq!(entries(&op(0, 1028, false)), [("embed_backward_zero".into(), 14)]);
        assert_eq!(entries(&op(0, 1028, true)), []);
    }

    #[test]
    fn operands_reach_the_kernel() {
        let mut op = op(70, 1028, true);
        op.dx = op.dx.with_row_stride(1032);
        let launches = embed_backward(&op, &Memory).unwrap();
        let a: EmbedBackwardOrderArguments = arguments_of(&launches[0]);
        assert_eq!((a.ids, a.order, a.tokens), (1 << 40, WORKSPACE, 70));
        let a: EmbedBackwardAddArguments = arguments_of(&launches[1]);
        assert_eq!(
            [a.ids, a.order, a.dx, a.dweight, a.dx_stride],
            [1 << 40, WORKSPACE, 2 << 40, 3 << 40, 1032]
        );
        assert_eq!([a.tokens, a.hidden, a.vocab, a.strips], [70, 1028, 13, 2]);
    }

    #[test]
    fn rows_off_their_boundary_go_element_by_element() {
        for change in [
            |op: &mut EmbedBackward| op.dx.offset = 2,
            |op: &mut EmbedBackward| op.dx = op.dx.with_row_stride(1029),
            |op: &mut EmbedBackward| op.dweight.offset = 4,
        ] {
            let mut op = op(70, 1028, true);
            change(&mut op);
            assert_eq!(entries(&op)[1].0, "embed_backward_add_any");
        }
        assert_eq!(entries(&op(70, 22, true))[1].0, "embed_backward_add_any");
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let error = embed_backward(&op(3 << 26, 8, true), &Memory).unwrap_err();
        assert!(matches!(error, LaunchError::Workspace { bytes: 0x3000_0000, .. }), "{error}");
        let mut gaps = op(7, 8, true);
        gaps.dweight = gaps.dweight.with_row_stride(16);
        let error = embed_backward(&gaps, &Memory).unwrap_err();
        assert!(matches!(error, LaunchError::Gaps { operand: "dweight", .. }), "{error}");
    }
}

//! Launcher of `cuda/bias_backward.cu`.

use crate::columns::Parts;
use crate::flat::THREADS;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{BiasBackward, DType};

/// Columns of a block.
const STRIP: u64 = 256;
/// Rows of a part at least: eight for each of a block's warps.
const PART_ROWS: u64 = 64;
/// Parts at most: enough blocks for any device beside the strips of columns.
const PARTS: u64 = 64;

arguments! {
    /// `BiasBackwardArguments` of `cuda/bias_backward.cu`. Addresses are the device's, strides count elements.
    pub struct BiasBackwardArguments {
        /// Rows.
        pub dy: u64,
        /// Sums of each part, in the workspace.
        pub parts: u64,
        /// Elements between rows of `dy`.
        pub dy_stride: u64,
        /// Rows.
        pub tokens: u32,
        /// Columns.
        pub n: u32,
        /// Rows of a part.
        pub part_rows: u32,
        /// Pieces of 256 columns.
        pub strips: u32,
    }
}

/// dbias (+)= column sums of dy.
///
/// # Errors
/// [`LaunchError`].
pub fn bias_backward(op: &BiasBackward, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: BiasBackward::NAME, at };
    let (tokens, n) = (op.dy.rows() as u64, op.dy.row_elements() as u64);
    let dy = operands.address("dy", &op.dy, &[DType::Bf16])?;
    let dbias = operands.dense("dbias", &op.dbias, &[DType::F32])?;
    let parts = Parts::new(&operands, [tokens, n], PART_ROWS, PARTS)?;
    let strips = n.div_ceil(STRIP);
    let arguments = BiasBackwardArguments {
        dy,
        parts: parts.address,
        dy_stride: op.dy.row_stride() as u64,
        tokens: tokens as u32,
        n: n as u32,
        part_rows: parts.rows,
        strips: strips as u32,
    };
    let aligned = n.is_multiple_of(8) && operands.rows_aligned(&op.dy);
    let entry = if aligned { "bias_backward_parts" } else { "bias_backward_parts_any" };
    let mut launches = operands.launch(entry, u64::from(parts.count) * strips, THREADS, &arguments)?;
    launches.extend(parts.finish(&operands, "bias_backward_finish", dbias, op.accumulate)?);
    Ok(launches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::ColumnSumsArguments;
    use crate::launch::testing::{Flat, WORKSPACE, arguments_of};

    fn op(tokens: u32, n: u32) -> BiasBackward {
        BiasBackward {
            dy: Flat::view(1, DType::Bf16, &[tokens, n]),
            dbias: Flat::view(2, DType::F32, &[n]),
            accumulate: true,
        }
    }

    #[test]
    fn parts_are_left_in_the_workspace_and_summed_from_there() {
        let mut op = op(130, 264);
        op.dy = op.dy.with_row_stride(272);
        let launches = bias_backward(&op, &Flat).unwrap();
        let [first, second] = launches.as_slice() else { panic!("{launches:?}") };
        assert_eq!((first.entry.as_str(), first.grid), ("bias_backward_parts", [6, 1, 1]));
        let a: BiasBackwardArguments = arguments_of(first);
        assert_eq!([a.dy, a.parts, a.dy_stride], [1 << 40, WORKSPACE, 272]);
        assert_eq!([a.tokens, a.n, a.part_rows, a.strips], [130, 264, 64, 2]);
        assert_eq!((second.entry.as_str(), second.grid), ("bias_backward_finish", [9, 1, 1]));
        let a: ColumnSumsArguments = arguments_of(second);
        assert_eq!((a.parts, a.out), (WORKSPACE, 2 << 40));
        assert_eq!([a.count, a.columns, a.accumulate], [3, 264, 1]);
    }

    #[test]
    fn rows_off_sixteen_bytes_go_element_by_element() {
        let mut off = op(7, 264);
        off.dy.offset = 2;
        for op in [off, op(7, 263)] {
            assert_eq!(bias_backward(&op, &Flat).unwrap()[0].entry, "bias_backward_parts_any");
        }
    }

    #[test]
    fn a_gradient_of_no_rows_is_still_written() {
        let launches = bias_backward(&op(0, 264), &Flat).unwrap();
        let [only] = launches.as_slice() else { panic!("{launches:?}") };
        assert_eq!(only.entry, "bias_backward_finish");
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let mut single = op(7, 8);
        single.dy.dtype = DType::F32;
        let error = bias_backward(&single, &Flat).unwrap_err().to_string();
        assert_eq!(error, "bias_backward: operand `dy` is f32, the kernel takes [Bf16]");
    }
}

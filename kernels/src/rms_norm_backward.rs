//! Launcher of `cuda/rms_norm_backward.cu`.

use crate::columns::Parts;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, RmsNormBackward, View};

/// Columns up to which a warp takes a part; four do in a block.
const WARP_HIDDEN: u64 = 1024;
/// Threads of a block of four parts, and parts at most.
const WARPS: (u32, u64) = (128, 1024);
/// Columns that the registers of a block hold.
const BLOCK_HIDDEN: u64 = 8192;
/// Threads of a block of one part, and parts at most: two blocks a multiprocessor.
const BLOCK: (u32, u64) = (256, 256);

arguments! {
    /// `RmsNormBackwardArguments` of `cuda/rms_norm_backward.cu`. Addresses are the device's, strides count elements.
    pub struct RmsNormBackwardArguments {
        /// Gradient of the normed rows.
        pub dy: u64,
        /// The forward's input.
        pub x: u64,
        /// Gain.
        pub weight: u64,
        /// 1/√(mean square + eps) of each row.
        pub rstd: u64,
        /// Gradient of `x`.
        pub dx: u64,
        /// Sums of each part for the gain's gradient, in the workspace.
        pub parts: u64,
        /// Elements between rows of `dy`.
        pub dy_stride: u64,
        /// Elements between rows of `x`.
        pub x_stride: u64,
        /// Elements between rows of `dx`.
        pub dx_stride: u64,
        /// Rows.
        pub rows: u32,
        /// Columns.
        pub hidden: u32,
        /// Parts.
        pub parts_count: u32,
        /// Rows of a part.
        pub part_rows: u32,
        /// 1 if `dx` is added to, 0 if it is overwritten.
        pub accumulate_dx: u32,
        /// 1 if the gain is f32, 0 if it is bf16; only `_any` reads it.
        pub weight_is_f32: u32,
    }
}

/// dx and the gain's gradient.
///
/// As in the forward, the entry changes no bit, except that rows of up to 1,024 columns are summed in another order than
/// longer ones.
///
/// # Errors
/// [`LaunchError`].
pub fn rms_norm_backward(op: &RmsNormBackward, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: RmsNormBackward::NAME, at };
    let (rows, hidden) = (op.x.rows() as u64, op.x.row_elements() as u64);
    let activation = |operand, view: &View| operands.address(operand, view, &[DType::Bf16]);
    let dweight = operands.dense("dweight", &op.dweight, &[DType::F32])?;
    let by_warps = hidden <= WARP_HIDDEN;
    let (threads, most) = if by_warps { WARPS } else { BLOCK };
    let parts = Parts::new(&operands, [rows, hidden], 1, most)?;
    let arguments = RmsNormBackwardArguments {
        dy: activation("dy", &op.dy)?,
        x: activation("x", &op.x)?,
        weight: operands.dense("weight", &op.weight, &[DType::F32, DType::Bf16])?,
        rstd: operands.dense("rstd", &op.rstd, &[DType::F32])?,
        dx: activation("dx", &op.dx)?,
        parts: parts.address,
        dy_stride: op.dy.row_stride() as u64,
        x_stride: op.x.row_stride() as u64,
        dx_stride: op.dx.row_stride() as u64,
        rows: rows as u32,
        hidden: hidden as u32,
        parts_count: parts.count,
        part_rows: parts.rows,
        accumulate_dx: op.accumulate_dx.into(),
        weight_is_f32: (op.weight.dtype == DType::F32).into(),
    };
    let aligned = hidden.is_multiple_of(8)
        && arguments.weight.is_multiple_of(16)
        && [&op.dy, &op.x, &op.dx].into_iter().all(|view| operands.rows_aligned(view));
    let entry = if aligned && hidden <= BLOCK_HIDDEN {
        let shape = match hidden {
            _ if by_warps => "warp",
            ..=4096 => "block2",
            _ => "block4",
        };
        format!("rms_norm_backward_{}_{shape}", op.weight.dtype)
    } else {
        format!("rms_norm_backward_any_{}", if by_warps { "warp" } else { "block" })
    };
    let count = u64::from(parts.count);
    let blocks = if by_warps { count.div_ceil(4) } else { count };
    let mut launches = operands.launch(&entry, if hidden > 0 { blocks } else { 0 }, threads, &arguments)?;
    launches.extend(parts.finish(&operands, "rms_norm_backward_finish", dweight, op.accumulate)?);
    Ok(launches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::ColumnSumsArguments;
    use crate::launch::testing::{Flat, WORKSPACE, arguments_of};

    fn op(tokens: u32, hidden: u32, weight: DType) -> RmsNormBackward {
        let view = |buffer| Flat::view(buffer, DType::Bf16, &[tokens, hidden]);
        RmsNormBackward {
            dy: view(1),
            x: view(2),
            weight: Flat::view(3, weight, &[hidden]),
            rstd: Flat::view(4, DType::F32, &[tokens]),
            dx: view(5),
            dweight: Flat::view(6, DType::F32, &[hidden]),
            accumulate_dx: true,
            accumulate: false,
        }
    }

    fn first(op: &RmsNormBackward) -> (String, u32, u32) {
        let launches = rms_norm_backward(op, &Flat).unwrap();
        (launches[0].entry.clone(), launches[0].grid[0], launches[0].block[0])
    }

    #[test]
    fn columns_decide_the_shape_of_the_work() {
        for (hidden, entry, grid, threads) in [
            (8, "rms_norm_backward_bf16_warp", 3, 128),
            (1024, "rms_norm_backward_bf16_warp", 3, 128),
            (1032, "rms_norm_backward_bf16_block2", 9, 256),
            (4096, "rms_norm_backward_bf16_block2", 9, 256),
            (8192, "rms_norm_backward_bf16_block4", 9, 256),
            (8200, "rms_norm_backward_any_block", 9, 256),
            (1023, "rms_norm_backward_any_warp", 3, 128),
            (1025, "rms_norm_backward_any_block", 9, 256),
        ] {
            assert_eq!(first(&op(9, hidden, DType::Bf16)), (entry.into(), grid, threads));
        }
        assert_eq!(first(&op(9000, 64, DType::F32)), ("rms_norm_backward_f32_warp".into(), 250, 128));
        assert_eq!(first(&op(9000, 2048, DType::F32)), ("rms_norm_backward_f32_block2".into(), 250, 256));
    }

    #[test]
    fn operands_and_their_strides_reach_the_kernel() {
        let mut op = op(300, 2048, DType::F32);
        op.x = op.x.with_row_stride(2056);
        op.dx = op.dx.with_row_stride(2064);
        let launches = rms_norm_backward(&op, &Flat).unwrap();
        let a: RmsNormBackwardArguments = arguments_of(&launches[0]);
        let addresses = [a.dy, a.x, a.weight, a.rstd, a.dx];
        assert_eq!(addresses, [1, 2, 3, 4, 5].map(|buffer| buffer << 40));
        assert_eq!([a.parts, a.dy_stride, a.x_stride, a.dx_stride], [WORKSPACE, 2048, 2056, 2064]);
        assert_eq!([a.rows, a.hidden, a.parts_count, a.part_rows], [300, 2048, 150, 2]);
        assert_eq!([a.accumulate_dx, a.weight_is_f32], [1, 1]);
        let a: ColumnSumsArguments = arguments_of(&launches[1]);
        assert_eq!((a.parts, a.out), (WORKSPACE, 6 << 40));
        assert_eq!([a.count, a.columns, a.accumulate], [150, 2048, 0]);
    }

    #[test]
    fn any_row_off_sixteen_bytes_goes_element_by_element() {
        for change in [
            |op: &mut RmsNormBackward| op.x.offset = 2,
            |op: &mut RmsNormBackward| op.weight.offset = 8,
            |op: &mut RmsNormBackward| op.dy = op.dy.with_row_stride(68),
            |op: &mut RmsNormBackward| op.dx = op.dx.with_row_stride(65),
        ] {
            let mut op = op(3, 64, DType::Bf16);
            change(&mut op);
            assert_eq!(first(&op).0, "rms_norm_backward_any_warp");
        }
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let mut single = op(3, 64, DType::Bf16);
        single.dx.dtype = DType::F32;
        let error = rms_norm_backward(&single, &Flat).unwrap_err().to_string();
        assert_eq!(error, "rms_norm_backward: operand `dx` is f32, the kernel takes [Bf16]");
    }
}

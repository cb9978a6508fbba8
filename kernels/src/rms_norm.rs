//! Launcher of `cuda/rms_norm.cu`.

use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, RmsNorm, View};

/// Columns up to which a warp takes a row; four do in a block.
const WARP_HIDDEN: u32 = 1024;
/// Threads of a block of four rows.
const WARPS_THREADS: u32 = 128;
/// Threads of a block of one row.
const ROW_THREADS: u32 = 256;

arguments! {
    /// `RmsNormArguments` of `cuda/rms_norm.cu`. Addresses are the device's, strides count elements.
    pub struct RmsNormArguments {
        /// Rows.
        pub x: u64,
        /// Added to `x`, or 0.
        pub residual: u64,
        /// Gain.
        pub weight: u64,
        /// Normed rows.
        pub y: u64,
        /// x + residual, or 0.
        pub sum: u64,
        /// 1/√(mean square + eps) of each row.
        pub rstd: u64,
        /// Elements between rows of `x`.
        pub x_stride: u64,
        /// Elements between rows of `residual`.
        pub residual_stride: u64,
        /// Elements between rows of `y`.
        pub y_stride: u64,
        /// Elements between rows of `sum`.
        pub sum_stride: u64,
        /// Rows.
        pub rows: u32,
        /// Columns.
        pub hidden: u32,
        /// Added to the mean square.
        pub eps: f32,
        /// 1 if the gain is f32, 0 if it is bf16; only `_any` reads it.
        pub weight_is_f32: u32,
    }
}

/// y = s · rstd · weight.
///
/// The entry is chosen by columns, dtypes and alignment; which one it is changes no bit, except that rows of up to 1,024
/// columns are summed in another order than longer ones.
///
/// # Errors
/// [`LaunchError`].
pub fn rms_norm(op: &RmsNorm, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: RmsNorm::NAME, at };
    let (rows, hidden) = (op.x.rows() as u32, op.x.row_elements() as u32);
    if op.x.elements() == 0 {
        return Ok(Vec::new());
    }
    let activation = |operand, view: &View| operands.address(operand, view, &[DType::Bf16]);
    let optional = |operand, view: &Option<View>| match view {
        None => Ok((0, 0)),
        Some(view) => Ok((activation(operand, view)?, view.row_stride() as u64)),
    };
    let (residual, residual_stride) = optional("residual", &op.residual)?;
    let (sum, sum_stride) = optional("sum", &op.sum)?;
    let arguments = RmsNormArguments {
        x: activation("x", &op.x)?,
        residual,
        weight: operands.dense("weight", &op.weight, &[DType::F32, DType::Bf16])?,
        y: activation("y", &op.y)?,
        sum,
        rstd: operands.dense("rstd", &op.rstd, &[DType::F32])?,
        x_stride: op.x.row_stride() as u64,
        residual_stride,
        y_stride: op.y.row_stride() as u64,
        sum_stride,
        rows,
        hidden,
        eps: op.eps,
        weight_is_f32: (op.weight.dtype == DType::F32).into(),
    };
    let mut views = [Some(&op.x), op.residual.as_ref(), Some(&op.y), op.sum.as_ref()].into_iter().flatten();
    let aligned = hidden.is_multiple_of(8)
        && arguments.weight.is_multiple_of(16)
        && views.all(|view| operands.rows_aligned(view));
    let by_warps = hidden <= WARP_HIDDEN;
    let entry = if aligned {
        let add = if op.residual.is_some() { "_add" } else { "" };
        let shape = match hidden {
            _ if by_warps => "warp",
            ..=4096 => "block2",
            4097..=8192 => "block4",
            _ => "wide",
        };
        format!("rms_norm{add}_{}_{shape}", op.weight.dtype)
    } else {
        format!("rms_norm_any_{}", if by_warps { "warp" } else { "block" })
    };
    let rows = u64::from(rows);
    let (blocks, threads) = if by_warps { (rows.div_ceil(4), WARPS_THREADS) } else { (rows, ROW_THREADS) };
    operands.launch(&entry, blocks, threads, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, only};

    fn op(tokens: u32, hidden: u32, weight: DType, residual: bool) -> RmsNorm {
        let view = |buffer| Flat::view(buffer, DType::Bf16, &[tokens, hidden]);
        RmsNorm {
            x: view(1),
            residual: residual.then(|| view(2)),
            weight: Flat::view(3, weight, &[hidden]),
            y: view(4),
            sum: residual.then(|| view(5)),
            rstd: Flat::view(6, DType::F32, &[tokens]),
            eps: 1e-5,
        }
    }

    fn entry(op: &RmsNorm) -> String {
        only::<RmsNormArguments>(rms_norm(op, &Flat)).0.entry
    }

    #[test]
    fn columns_decide_the_shape_of_the_work() {
        for (hidden, entry, grid, threads) in [
            (8, "rms_norm_bf16_warp", 3, 128),
            (1024, "rms_norm_bf16_warp", 3, 128),
            (1032, "rms_norm_bf16_block2", 9, 256),
            (4096, "rms_norm_bf16_block2", 9, 256),
            (4104, "rms_norm_bf16_block4", 9, 256),
            (8192, "rms_norm_bf16_block4", 9, 256),
            (8200, "rms_norm_bf16_wide", 9, 256),
            (1023, "rms_norm_any_warp", 3, 128),
            (1025, "rms_norm_any_block", 9, 256),
        ] {
            let (launch, _) = only::<RmsNormArguments>(rms_norm(&op(9, hidden, DType::Bf16, false), &Flat));
            assert_eq!(
                (launch.entry.as_str(), launch.grid, launch.block),
                (entry, [grid, 1, 1], [threads, 1, 1])
            );
        }
        assert_eq!(entry(&op(9, 64, DType::F32, true)), "rms_norm_add_f32_warp");
    }

    #[test]
    fn operands_and_their_strides_reach_the_kernel() {
        let mut op = op(3, 64, DType::F32, true);
        op.x = op.x.with_row_stride(72);
        op.sum = op.sum.map(|view| view.with_row_stride(80));
        let (_, a) = only::<RmsNormArguments>(rms_norm(&op, &Flat));
        assert_eq!(
            [a.x, a.residual, a.weight, a.y, a.sum, a.rstd],
            [1 << 40, 2 << 40, 3 << 40, 4 << 40, 5 << 40, 6 << 40]
        );
        assert_eq!([a.x_stride, a.residual_stride, a.y_stride, a.sum_stride], [72, 64, 64, 80]);
        assert_eq!((a.rows, a.hidden, a.eps, a.weight_is_f32), (3, 64, 1e-5, 1));
    }

    #[test]
    fn any_row_off_sixteen_bytes_goes_element_by_element() {
        let aligned = op(3, 64, DType::Bf16, true);
        for change in [
            |op: &mut RmsNorm| op.x.offset = 2,
            |op: &mut RmsNorm| op.weight.offset = 8,
            |op: &mut RmsNorm| op.y = op.y.with_row_stride(68),
            |op: &mut RmsNorm| op.residual = op.residual.map(|view| view.with_row_stride(65)),
            |op: &mut RmsNorm| op.sum = op.sum.map(|view| view.with_row_stride(66)),
        ] {
            let mut op = aligned;
            change(&mut op);
            assert_eq!(entry(&op), "rms_norm_any_warp");
        }
        // One row has no stride.
        let mut one = op(1, 64, DType::Bf16, false);
        one.x = one.x.with_row_stride(65);
        assert_eq!(entry(&one), "rms_norm_bf16_warp");
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let mut single = op(3, 64, DType::Bf16, true);
        single.residual.iter_mut().for_each(|view| view.dtype = DType::F32);
        let error = rms_norm(&single, &Flat).unwrap_err().to_string();
        assert_eq!(error, "rms_norm: operand `residual` is f32, the kernel takes [Bf16]");
        let mut gaps = op(3, 64, DType::Bf16, false);
        gaps.rstd = gaps.rstd.with_row_stride(2);
        assert!(matches!(rms_norm(&gaps, &Flat), Err(LaunchError::Gaps { operand: "rstd", .. })));
        let huge = op(1 << 31, 2048, DType::Bf16, false);
        assert!(matches!(rms_norm(&huge, &Flat), Err(LaunchError::TooLarge { .. })));
    }

    #[test]
    fn no_rows_are_no_launch() {
        assert_eq!(rms_norm(&op(0, 64, DType::Bf16, false), &Flat), Ok(Vec::new()));
    }
}

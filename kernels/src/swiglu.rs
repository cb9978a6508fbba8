//! Launcher of `cuda/swiglu.cu`.

use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, Swiglu, SwigluBackward, View};

/// Threads of a block.
const THREADS: u32 = 256;
/// Elements in an eight.
const EIGHT: u64 = 8;
/// Eights a warp takes.
const WARP: u64 = 32;

arguments! {
    /// `SwigluArguments` of `cuda/swiglu.cu`. Addresses are the device's, strides count elements.
    pub struct SwigluArguments {
        /// Gate and up, interleaved in eights.
        pub gate_up: u64,
        /// silu(gate) · up.
        pub product: u64,
        /// Elements between rows of `gate_up`.
        pub gate_up_stride: u64,
        /// Elements between rows of `product`.
        pub product_stride: u64,
        /// Rows.
        pub rows: u32,
        /// Columns of the product, in eights.
        pub eights: u32,
    }
}

arguments! {
    /// `SwigluBackwardArguments` of `cuda/swiglu.cu`.
    pub struct SwigluBackwardArguments {
        /// Gradient of the product.
        pub dproduct: u64,
        /// Gate and up in, their gradients out.
        pub gate_up: u64,
        /// Elements between rows of `dproduct`.
        pub dproduct_stride: u64,
        /// Elements between rows of `gate_up`.
        pub gate_up_stride: u64,
        /// Rows.
        pub rows: u32,
        /// Columns of the product, in eights.
        pub eights: u32,
    }
}

/// product = silu(gate) · up.
///
/// # Errors
/// [`LaunchError`].
pub fn swiglu(op: &Swiglu, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let work = Work::of(Swiglu::NAME, at, ("gate_up", &op.gate_up), ("product", &op.product))?;
    let arguments = SwigluArguments {
        gate_up: at.address(&op.gate_up),
        product: at.address(&op.product),
        gate_up_stride: op.gate_up.row_stride() as u64,
        product_stride: op.product.row_stride() as u64,
        rows: work.rows,
        eights: work.eights,
    };
    work.operands.launch(work.entry("swiglu_bf16", "swiglu_any"), work.blocks, THREADS, &arguments)
}

/// The gradients of gate and up, in their place.
///
/// # Errors
/// [`LaunchError`].
pub fn swiglu_backward(op: &SwigluBackward, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let work = Work::of(SwigluBackward::NAME, at, ("gate_up", &op.gate_up), ("dproduct", &op.dproduct))?;
    let arguments = SwigluBackwardArguments {
        dproduct: at.address(&op.dproduct),
        gate_up: at.address(&op.gate_up),
        dproduct_stride: op.dproduct.row_stride() as u64,
        gate_up_stride: op.gate_up.row_stride() as u64,
        rows: work.rows,
        eights: work.eights,
    };
    let entry = work.entry("swiglu_backward_bf16", "swiglu_backward_any");
    work.operands.launch(entry, work.blocks, THREADS, &arguments)
}

/// How the work is cut, both ways alike.
struct Work<'a> {
    operands: Operands<'a>,
    rows: u32,
    eights: u32,
    aligned: bool,
    blocks: u64,
}

impl<'a> Work<'a> {
    fn of(
        op: &'static str,
        at: &'a dyn Addresses,
        gate_up: (&'static str, &View),
        product: (&'static str, &View),
    ) -> Result<Work<'a>, LaunchError> {
        let operands = Operands { op, at };
        for (name, view) in [gate_up, product] {
            operands.address(name, view, &[DType::Bf16])?;
        }
        let (rows, eights) = (product.1.rows() as u64, product.1.row_elements() as u64 / EIGHT);
        let aligned = operands.rows_aligned(gate_up.1) && operands.rows_aligned(product.1);
        let blocks = if aligned {
            // The kernel counts warps in 32 bits.
            let blocks = (rows * eights.div_ceil(WARP)).div_ceil(u64::from(THREADS) / WARP);
            operands.at_most(blocks, (1 << 29) - 1)?;
            blocks
        } else {
            (rows * eights).div_ceil(u64::from(THREADS))
        };
        Ok(Work { operands, rows: rows as u32, eights: eights as u32, aligned, blocks })
    }

    fn entry(&self, by_warps: &'static str, by_threads: &'static str) -> &'static str {
        if self.aligned { by_warps } else { by_threads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, only};

    fn backward(tokens: u32, ffn: u32) -> SwigluBackward {
        SwigluBackward {
            dproduct: Flat::view(1, DType::Bf16, &[tokens, ffn]),
            gate_up: Flat::view(2, DType::Bf16, &[tokens, 2 * ffn]),
        }
    }

    #[test]
    fn a_warp_takes_thirty_two_eights_of_one_row() {
        // 264 columns are 33 eights: two warps a row, seven rows, eight warps a block.
        let (launch, a) = only::<SwigluBackwardArguments>(swiglu_backward(&backward(7, 264), &Flat));
        assert_eq!(
            (launch.entry.as_str(), launch.grid, launch.block),
            ("swiglu_backward_bf16", [2, 1, 1], [256, 1, 1])
        );
        assert_eq!((a.dproduct, a.gate_up, a.rows, a.eights), (1 << 40, 2 << 40, 7, 33));
        assert_eq!((a.dproduct_stride, a.gate_up_stride), (264, 528));
    }

    #[test]
    fn rows_off_sixteen_bytes_go_by_threads() {
        let mut op = backward(7, 264);
        op.dproduct = op.dproduct.with_row_stride(265);
        let (launch, a) = only::<SwigluBackwardArguments>(swiglu_backward(&op, &Flat));
        assert_eq!((launch.entry.as_str(), launch.grid), ("swiglu_backward_any", [1, 1, 1]));
        assert_eq!(a.dproduct_stride, 265);
    }

    #[test]
    fn the_forward_half_is_cut_alike() {
        let SwigluBackward { dproduct, gate_up } = backward(7, 264);
        let op = Swiglu { gate_up, product: dproduct };
        let (launch, a) = only::<SwigluArguments>(swiglu(&op, &Flat));
        assert_eq!((launch.entry.as_str(), launch.grid), ("swiglu_bf16", [2, 1, 1]));
        assert_eq!((a.gate_up, a.product, a.eights), (2 << 40, 1 << 40, 33));
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let mut single = backward(7, 264);
        single.gate_up.dtype = DType::F32;
        let error = swiglu_backward(&single, &Flat).unwrap_err().to_string();
        assert_eq!(error, "swiglu_backward: operand `gate_up` is f32, the kernel takes [Bf16]");
        let error = swiglu_backward(&backward(1 << 31, 1024), &Flat).unwrap_err();
        assert!(matches!(error, LaunchError::TooLarge { .. }), "{error}");
        assert_eq!(swiglu_backward(&backward(0, 8), &Flat), Ok(Vec::new()));
    }
}

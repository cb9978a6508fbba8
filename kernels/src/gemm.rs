//! Launcher of `cuda/gemm.cu`: ops that are one matrix product with something done to its result.
//!
//! Each function turns an op into a [`Launch`] of the row that [`Tuning`] chooses; nothing else depends on the device.
//! All products are d\[m, n\] = Σₖ a(m, k)·b(n, k); which operand has k contiguous is the row's layout. The op itself has
//! been checked before (`Op::check`); here stands only what the kernel asks beyond that.

use crate::tuning::{Row, Tuning, TuningError};
use crate::{Addresses, Launch, arguments};
use octo_ops::{DType, GateUpSwiglu, LinearBackwardInput, LinearBackwardWeight, LinearResidual, View};

/// Why an op cannot run on this kernel.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GemmError {
    /// An operand's element type is not the kernel's.
    #[error("{op}: operand `{operand}` is {got}, the kernel takes {want}")]
    DType {
        /// Op name.
        op: &'static str,
        /// Operand name.
        operand: &'static str,
        /// Type found.
        got: DType,
        /// Type it takes.
        want: DType,
    },
    /// Rows of an input do not begin at multiples of 16 bytes.
    #[error(
        "{op}: rows of `{operand}` ({view:?}) begin at {address:#x} and every {stride} bytes, not all at multiples \
         of 16; give it a row stride that is a multiple of 8 elements"
    )]
    Unaligned {
        /// Op name.
        op: &'static str,
        /// Operand name.
        operand: &'static str,
        /// The view.
        view: View,
        /// Address of its first element.
        address: u64,
        /// Bytes from row to row.
        stride: u64,
    },
    /// More blocks or longer axes than a launch can have.
    #[error(
        "{op}: {m} × {n} outputs of {k} terms are more than one launch covers (axes below 2³¹, 2³¹ blocks)"
    )]
    TooLarge {
        /// Op name.
        op: &'static str,
        /// Rows of the output.
        m: u32,
        /// Columns of the output.
        n: u32,
        /// Terms of a sum.
        k: u32,
    },
    /// No kernel for the device.
    #[error(transparent)]
    Tuning(#[from] TuningError),
}

arguments! {
    /// `GemmArguments` of `cuda/include/gemm_tile.cuh`. Addresses are the device's, strides count elements.
    pub struct GemmArguments {
        /// Left operand.
        pub a: u64,
        /// Right operand.
        pub b: u64,
        /// Result.
        pub out: u64,
        /// The epilogue's other matrix, or 0.
        pub extra: u64,
        /// Elements between rows of `a`.
        pub a_stride: u64,
        /// Elements between rows of `b`.
        pub b_stride: u64,
        /// Elements between rows of `out`.
        pub out_stride: u64,
        /// Elements between rows of `extra`.
        pub extra_stride: u64,
        /// Rows of the product.
        pub m: u32,
        /// Columns of the product.
        pub n: u32,
        /// Terms of a sum.
        pub k: u32,
        /// 1 if an f32 result is added to, 0 if it is overwritten.
        pub accumulate: u32,
    }
}

/// out = residual + x · weightᵀ.
///
/// # Errors
/// [`GemmError`].
pub fn linear_residual(
    op: &LinearResidual,
    at: &dyn Addresses,
    tuning: &Tuning,
) -> Result<Vec<Launch>, GemmError> {
    let product = Product {
        op: LinearResidual::NAME,
        a: ("x", &op.x),
        b: ("weight", &op.weight),
        out: ("out", &op.out, DType::Bf16),
        extra: Some(("residual", &op.residual, DType::Bf16)),
        shape: [op.x.rows(), op.weight.rows(), op.x.row_elements()],
        accumulate: false,
    };
    product.launch(at, tuning)
}

/// product = silu(gate) · up with \[gate, up\] = x · weightᵀ.
///
/// # Errors
/// [`GemmError`].
pub fn gate_up_swiglu(
    op: &GateUpSwiglu,
    at: &dyn Addresses,
    tuning: &Tuning,
) -> Result<Vec<Launch>, GemmError> {
    let product = Product {
        op: GateUpSwiglu::NAME,
        a: ("x", &op.x),
        b: ("weight", &op.weight),
        out: ("product", &op.product, DType::Bf16),
        extra: op.gate_up.as_ref().map(|view| ("gate_up", view, DType::Bf16)),
        shape: [op.x.rows(), op.weight.rows(), op.x.row_elements()],
        accumulate: false,
    };
    product.launch(at, tuning)
}

/// dx = dy · weight.
///
/// # Errors
/// [`GemmError`].
pub fn linear_backward_input(
    op: &LinearBackwardInput,
    at: &dyn Addresses,
    tuning: &Tuning,
) -> Result<Vec<Launch>, GemmError> {
    let product = Product {
        op: LinearBackwardInput::NAME,
        a: ("dy", &op.dy),
        b: ("weight", &op.weight),
        out: ("dx", &op.dx, DType::Bf16),
        extra: None,
        shape: [op.dy.rows(), op.weight.row_elements(), op.weight.rows()],
        accumulate: false,
    };
    product.launch(at, tuning)
}

/// dweight (+)= dyᵀ · x.
///
/// # Errors
/// [`GemmError`].
pub fn linear_backward_weight(
    op: &LinearBackwardWeight,
    at: &dyn Addresses,
    tuning: &Tuning,
) -> Result<Vec<Launch>, GemmError> {
    let product = Product {
        op: LinearBackwardWeight::NAME,
        a: ("dy", &op.dy),
        b: ("x", &op.x),
        out: ("dweight", &op.dweight, DType::F32),
        extra: None,
        shape: [op.dy.row_elements(), op.x.row_elements(), op.dy.rows()],
        accumulate: op.accumulate,
    };
    product.launch(at, tuning)
}

/// logits = hidden · weightᵀ in f32, a part of `op`; the ops of the head share the table's rows `head_logits`.
///
/// # Errors
/// [`GemmError`].
pub fn head_logits(
    op: &'static str,
    [hidden, weight]: [&View; 2],
    logits: &View,
    at: &dyn Addresses,
    tuning: &Tuning,
) -> Result<Vec<Launch>, GemmError> {
    let product = Product {
        op,
        a: ("hidden", hidden),
        b: ("weight", weight),
        out: ("logits", logits, DType::F32),
        extra: None,
        shape: [hidden.rows(), weight.rows(), hidden.row_elements()],
        accumulate: false,
    };
    product.launch_as("head_logits", at, tuning)
}

/// Of hidden · weightᵀ the largest logit and the sum of exponentials of each part of 128 ids, and the logits of `labels`, by a
/// row of [`Tuning::head_parts`]; a row of `parts` has room for them. On behalf of the op that is named in errors.
///
/// # Errors
/// [`GemmError`].
pub fn head_parts(
    op: &'static str,
    [hidden, weight]: [&View; 2],
    labels: &View,
    parts: &View,
    at: &dyn Addresses,
    row: &Row,
) -> Result<Vec<Launch>, GemmError> {
    let product = Product {
        op,
        a: ("hidden", hidden),
        b: ("weight", weight),
        out: ("parts", parts, DType::F32),
        extra: Some(("labels", labels, DType::I32)),
        shape: [hidden.rows(), weight.rows(), hidden.row_elements()],
        accumulate: false,
    };
    product.launch_on(row, at)
}

/// A product as the kernel sees it.
struct Product<'a> {
    op: &'static str,
    a: (&'static str, &'a View),
    b: (&'static str, &'a View),
    out: (&'static str, &'a View, DType),
    extra: Option<(&'static str, &'a View, DType)>,
    /// m, n, k.
    shape: [usize; 3],
    accumulate: bool,
}

impl Product<'_> {
    /// One launch of a row of the op's own; none for an empty output.
    fn launch(&self, at: &dyn Addresses, tuning: &Tuning) -> Result<Vec<Launch>, GemmError> {
        self.launch_as(self.op, at, tuning)
    }

    /// One launch of a row that stands under `table` in the table.
    fn launch_as(&self, table: &str, at: &dyn Addresses, tuning: &Tuning) -> Result<Vec<Launch>, GemmError> {
        let [m, n, _] = self.shape.map(|axis| axis as u32);
        self.launch_on(tuning.row(table, m, n)?, at)
    }

    /// One launch of this row.
    fn launch_on(&self, row: &Row, at: &dyn Addresses) -> Result<Vec<Launch>, GemmError> {
        let [m, n, k] = self.shape.map(|axis| axis as u32);
        let (a, b) = (self.copied(self.a, at)?, self.copied(self.b, at)?);
        let (name, out, dtype) = self.out;
        self.takes(name, out, dtype)?;
        if let Some((name, view, dtype)) = self.extra {
            self.takes(name, view, dtype)?;
        }
        if m == 0 || n == 0 {
            return Ok(Vec::new());
        }
        let blocks = row.tile.blocks(m, n);
        if [m, n, k].iter().any(|&axis| axis >= 1 << 31) || blocks >= 1 << 31 {
            return Err(GemmError::TooLarge { op: self.op, m, n, k });
        }
        let arguments = GemmArguments {
            a,
            b,
            out: at.address(out),
            extra: self.extra.map_or(0, |(_, view, _)| at.address(view)),
            a_stride: self.a.1.row_stride() as u64,
            b_stride: self.b.1.row_stride() as u64,
            out_stride: out.row_stride() as u64,
            extra_stride: self.extra.map_or(0, |(_, view, _)| view.row_stride() as u64),
            m,
            n,
            k,
            accumulate: self.accumulate.into(),
        };
        Ok(vec![Launch {
            entry: row.entry.clone(),
            grid: [blocks as u32, 1, 1],
            block: [row.tile.threads(), 1, 1],
            shared_bytes: row.tile.shared_bytes(),
            cooperative: false,
            arguments: bytemuck::bytes_of(&arguments).to_vec(),
        }])
    }

    /// The address of an operand that is copied 16 bytes at a time.
    fn copied(&self, (operand, view): (&'static str, &View), at: &dyn Addresses) -> Result<u64, GemmError> {
        self.takes(operand, view, DType::Bf16)?;
        let (address, stride) = (at.address(view), view.row_stride() as u64 * view.dtype.bytes());
        if !address.is_multiple_of(16) || (view.rows() > 1 && !stride.is_multiple_of(16)) {
            return Err(GemmError::Unaligned { op: self.op, operand, view: *view, address, stride });
        }
        Ok(address)
    }

    fn takes(&self, operand: &'static str, view: &View, want: DType) -> Result<(), GemmError> {
        if view.dtype == want {
            Ok(())
        } else {
            Err(GemmError::DType { op: self.op, operand, got: view.dtype, want })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::Capability;
    use octo_ops::BufferId;

    struct Flat;

    impl Addresses for Flat {
        fn address(&self, view: &View) -> u64 {
            (u64::from(view.buffer.0) << 40) + view.offset
        }

        fn workspace(&self) -> u64 {
            99 << 40
        }
    }

    fn bf16(buffer: u32, shape: &[u32]) -> View {
        View::new(BufferId(buffer), 0, DType::Bf16, shape)
    }

    fn residual(tokens: u32, hidden: u32, k: u32) -> LinearResidual {
        LinearResidual {
            x: bf16(1, &[tokens, k]),
            weight: bf16(2, &[hidden, k]),
            residual: bf16(3, &[tokens, hidden]),
            out: bf16(4, &[tokens, hidden]),
        }
    }

    fn arguments(launch: &Launch) -> GemmArguments {
        bytemuck::pod_read_unaligned(&launch.arguments)
    }

    #[test]
    fn a_launch_covers_the_output_with_tiles() {
        let launches =
            linear_residual(&residual(300, 520, 64), &Flat, &Tuning::new(Capability::A100)).unwrap();
        let [launch] = launches.as_slice() else { panic!("{launches:?}") };
        assert_eq!(launch.entry, "linear_residual_sm80_nt_64x64x64_s4");
        assert_eq!((launch.grid, launch.block), ([5 * 9, 1, 1], [128, 1, 1]));
        assert_eq!(launch.shared_bytes, 4 * 2 * (64 + 64) * 64);
        let arguments = arguments(launch);
        assert_eq!((arguments.a, arguments.extra, arguments.out), (1 << 40, 3 << 40, 4 << 40));
        assert_eq!([arguments.m, arguments.n, arguments.k, arguments.accumulate], [300, 520, 64, 0]);
    }

    #[test]
    fn row_strides_of_views_reach_the_kernel() {
        let mut op = residual(3, 64, 64);
        op.x = op.x.with_row_stride(96);
        op.residual = op.residual.with_row_stride(70);
        let launches = linear_residual(&op, &Flat, &Tuning::new(Capability::A100)).unwrap();
        let arguments = arguments(&launches[0]);
        assert_eq!(
            [arguments.a_stride, arguments.b_stride, arguments.out_stride, arguments.extra_stride],
            [96, 64, 64, 70]
        );
    }

    #[test]
    fn a_weight_gradient_sums_over_tokens() {
        let op = LinearBackwardWeight {
            dy: bf16(1, &[5, 24]),
            x: bf16(2, &[5, 40]),
            dweight: View::new(BufferId(3), 0, DType::F32, &[24, 40]),
            accumulate: true,
        };
        let arguments =
            arguments(&linear_backward_weight(&op, &Flat, &Tuning::new(Capability::A100)).unwrap()[0]);
        assert_eq!([arguments.m, arguments.n, arguments.k, arguments.accumulate], [24, 40, 5, 1]);
    }

    #[test]
    fn rows_off_sixteen_bytes_are_refused_with_their_operand() {
        let tuning = Tuning::new(Capability::A100);
        let refused = |op: &LinearResidual| linear_residual(op, &Flat, &tuning).unwrap_err().to_string();
        assert!(refused(&residual(3, 64, 20)).contains("`x`"));
        let mut op = residual(3, 64, 24);
        op.weight.offset = 8;
        assert!(refused(&op).contains("`weight`"));
        // One row has no stride.
        assert!(linear_residual(&residual(1, 1, 20), &Flat, &tuning).is_ok());
    }

    #[test]
    fn single_precision_is_refused() {
        let mut op = residual(3, 64, 64);
        op.residual.dtype = DType::F32;
        let error = linear_residual(&op, &Flat, &Tuning::new(Capability::A100)).unwrap_err();
        assert_eq!(error.to_string(), "linear_residual: operand `residual` is f32, the kernel takes bf16");
    }

    #[test]
    fn more_blocks_than_a_grid_has_are_refused() {
        let op = residual(1 << 30, 1 << 30, 8);
        let error = linear_residual(&op, &Flat, &Tuning::new(Capability::A100)).unwrap_err();
        assert!(matches!(error, GemmError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn no_rows_are_no_launch() {
        assert_eq!(
            linear_residual(&residual(0, 64, 64), &Flat, &Tuning::new(Capability::A100)),
            Ok(Vec::new())
        );
    }
}

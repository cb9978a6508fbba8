//! Launcher of `cuda/embed.cu`.

use crate::flat::THREADS;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, Embed};

/// Elements a thread takes.
const EIGHT: u64 = 8;

arguments! {
    /// `EmbedArguments` of `cuda/embed.cu`. Addresses are the device's, strides count elements.
    pub struct EmbedArguments {
        /// Token ids.
        pub ids: u64,
        /// Embedding matrix.
        pub weight: u64,
        /// Rows picked.
        pub out: u64,
        /// Elements between rows of `weight`.
        pub weight_stride: u64,
        /// Elements between rows of `out`.
        pub out_stride: u64,
        /// Rows of `out`.
        pub tokens: u32,
        /// Columns.
        pub hidden: u32,
        /// Rows of `weight`.
        pub vocab: u32,
        /// 1 if the matrix is f32, 0 if it is bf16; only `_any` reads it.
        pub weight_is_f32: u32,
    }
}

/// out\[t\] = weight\[ids\[t\]\]; a row whose id is past the vocabulary is NaN.
///
/// # Errors
/// [`LaunchError`].
pub fn embed(op: &Embed, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: Embed::NAME, at };
    let hidden = op.out.row_elements();
    let arguments = EmbedArguments {
        ids: operands.dense("ids", &op.ids, &[DType::U32])?,
        weight: operands.address("weight", &op.weight, &[DType::Bf16, DType::F32])?,
        out: operands.address("out", &op.out, &[DType::Bf16])?,
        weight_stride: op.weight.row_stride() as u64,
        out_stride: op.out.row_stride() as u64,
        tokens: op.out.rows() as u32,
        hidden: hidden as u32,
        vocab: op.weight.rows() as u32,
        weight_is_f32: (op.weight.dtype == DType::F32).into(),
    };
    let aligned = hidden.is_multiple_of(EIGHT as usize)
        && operands.rows_aligned(&op.weight)
        && operands.rows_aligned(&op.out);
    let entry = if aligned { format!("embed_{}", op.weight.dtype) } else { "embed_any".into() };
    let blocks = (op.out.rows() as u64 * (hidden as u64).div_ceil(EIGHT)).div_ceil(THREADS.into());
    // The kernel numbers threads in 32 bits.
    operands.at_most(blocks, (1 << 24) - 1)?;
    operands.launch(&entry, blocks, THREADS, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, only};

    fn op(tokens: u32, hidden: u32, weight: DType) -> Embed {
        Embed {
            ids: Flat::view(1, DType::U32, &[tokens]),
            weight: Flat::view(2, weight, &[11, hidden]),
            out: Flat::view(3, DType::Bf16, &[tokens, hidden]),
        }
    }

    fn entry(op: &Embed) -> String {
        only::<EmbedArguments>(embed(op, &Flat)).0.entry
    }

    #[test]
    fn operands_reach_the_kernel() {
        let mut op = op(300, 24, DType::F32);
        op.weight = op.weight.with_row_stride(32);
        let (launch, a) = only::<EmbedArguments>(embed(&op, &Flat));
        assert_eq!((launch.entry.as_str(), launch.grid, launch.block), ("embed_f32", [4, 1, 1], [256, 1, 1]));
        assert_eq!([a.ids, a.weight, a.out], [1 << 40, 2 << 40, 3 << 40]);
        assert_eq!([a.weight_stride, a.out_stride], [32, 24]);
        assert_eq!([a.tokens, a.hidden, a.vocab, a.weight_is_f32], [300, 24, 11, 1]);
    }

    #[test]
    fn any_row_off_sixteen_bytes_goes_element_by_element() {
        assert_eq!(entry(&op(3, 24, DType::Bf16)), "embed_bf16");
        assert_eq!(entry(&op(3, 20, DType::Bf16)), "embed_any");
        let mut weight = op(3, 24, DType::Bf16);
        weight.weight = weight.weight.with_row_stride(28);
        assert_eq!(entry(&weight), "embed_any");
        let mut out = op(3, 24, DType::Bf16);
        out.out.offset = 8;
        assert_eq!(entry(&out), "embed_any");
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let mut single = op(3, 24, DType::Bf16);
        single.out.dtype = DType::F32;
        let error = embed(&single, &Flat).unwrap_err().to_string();
        assert_eq!(error, "embed: operand `out` is f32, the kernel takes [Bf16]");
        let huge = embed(&op(1 << 30, 64, DType::Bf16), &Flat);
        assert!(matches!(huge, Err(LaunchError::TooLarge { .. })), "{huge:?}");
        assert_eq!(embed(&op(0, 24, DType::Bf16), &Flat), Ok(Vec::new()));
    }
}

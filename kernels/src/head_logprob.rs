//! Launcher of `cuda/head_logprob.cu`.

use crate::head::{InWorkspace, chunks};
use crate::tuning::Tuning;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, HeadLogprob};

/// Threads of a block, which has one row.
const THREADS: u32 = 256;

arguments! {
    /// `HeadLogprobArguments` of `cuda/head_logprob.cu`. Addresses are the device's.
    pub struct HeadLogprobArguments {
        /// Logits of a chunk of rows, in the workspace.
        pub logits: u64,
        /// Labels of these rows.
        pub labels: u64,
        /// Their log-probabilities.
        pub logprob: u64,
        /// Elements between rows of `logits`.
        pub stride: u64,
        /// Columns of `logits`.
        pub vocab: u32,
        /// Fills the struct.
        pub unused: u32,
    }
}

/// Log-probability of each label.
///
/// # Errors
/// [`LaunchError`].
pub fn head_logprob(
    op: &HeadLogprob,
    at: &dyn Addresses,
    tuning: &Tuning,
) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: HeadLogprob::NAME, at: &InWorkspace(at) };
    operands.dense("labels", &op.labels, &[DType::I32])?;
    operands.dense("logprob", &op.logprob, &[DType::F32])?;
    let mut launches = Vec::new();
    for chunk in chunks(HeadLogprob::NAME, op.hidden.rows() as u32, op.weight.rows())? {
        launches.extend(chunk.logits(HeadLogprob::NAME, [&op.hidden, &op.weight], at, tuning)?);
        let arguments = HeadLogprobArguments {
            logits: operands.address("logits", &chunk.logits, &[DType::F32])?,
            labels: operands.dense("labels", &chunk.of(&op.labels), &[DType::I32])?,
            logprob: operands.dense("logprob", &chunk.of(&op.logprob), &[DType::F32])?,
            stride: chunk.logits.row_stride() as u64,
            vocab: op.weight.rows() as u32,
            unused: 0,
        };
        let mut row = operands.launch("head_logprob", chunk.rows.into(), THREADS, &arguments)?;
        row.iter_mut().for_each(|launch| launch.shared_bytes = chunk.shared_bytes());
        launches.extend(row);
    }
    Ok(launches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, WORKSPACE, arguments_of};
    use crate::tuning::Capability;

    fn op(tokens: u32, vocab: u32) -> HeadLogprob {
        HeadLogprob {
            hidden: Flat::view(1, DType::Bf16, &[tokens, 64]),
            weight: Flat::view(2, DType::Bf16, &[vocab, 64]),
            labels: Flat::view(3, DType::I32, &[tokens]),
            logprob: Flat::view(4, DType::F32, &[tokens]),
        }
    }

    #[test]
    fn each_chunk_is_a_product_and_a_block_a_row() {
        let launches = head_logprob(&op(1030, 300), &Flat, &Tuning::new(Capability::A100)).unwrap();
        let entries: Vec<&str> = launches.iter().map(|launch| &launch.entry[..11]).collect();
        assert_eq!(entries, ["head_logits", "head_logpro", "head_logits", "head_logpro"]);
        assert_eq!((launches[1].grid, launches[3].grid), ([1024, 1, 1], [6, 1, 1]));
        assert_eq!((launches[1].block, launches[1].shared_bytes), ([256, 1, 1], 24));
        let a: HeadLogprobArguments = arguments_of(&launches[3]);
        assert_eq!((a.logits, a.labels, a.logprob), (WORKSPACE, (3 << 40) + 4096, (4 << 40) + 4096));
        assert_eq!((a.stride, a.vocab), (384, 300));
    }

    #[test]
    fn what_the_kernels_cannot_take_is_named() {
        let refused = |op: &HeadLogprob| head_logprob(op, &Flat, &Tuning::new(Capability::A100)).unwrap_err();
        let mut off = op(3, 300);
        off.weight.offset = 8;
        let said = refused(&off).to_string();
        assert!(said.contains("head_logprob: rows of `weight`"), "{said}");
        let mut single = op(3, 300);
        single.hidden.dtype = DType::F32;
        let said = refused(&single).to_string();
        assert_eq!(said, "head_logprob: operand `hidden` is f32, the kernel takes bf16");
        let mut gaps = op(3, 300);
        gaps.logprob = gaps.logprob.with_row_stride(2);
        assert!(matches!(refused(&gaps), LaunchError::Gaps { operand: "logprob", .. }));
    }
}

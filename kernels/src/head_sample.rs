//! Launcher of `cuda/head_sample.cu`.

use crate::head::{InWorkspace, chunks};
use crate::tuning::Tuning;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, HeadSample};

/// Threads of a block, which has one row.
const THREADS: u32 = 1024;

arguments! {
    /// `HeadSampleArguments` of `cuda/head_sample.cu`. Addresses are the device's.
    pub struct HeadSampleArguments {
        /// Logits of a chunk of rows, in the workspace.
        pub logits: u64,
        /// An `octo_ops::SamplingRow` for each of these rows.
        pub sampling: u64,
        /// Their tokens.
        pub tokens: u64,
        /// Log-probabilities of these under the model itself.
        pub logprob_raw: u64,
        /// Log-probabilities under what was sampled from.
        pub logprob_sampled: u64,
        /// Which tokens the cuts have kept, or 0.
        pub support: u64,
        /// Elements between rows of `logits`.
        pub stride: u64,
        /// Columns of `logits`.
        pub vocab: u32,
        /// Fills the struct.
        pub unused: u32,
    }
}

/// The next token of each row, with its log-probabilities.
///
/// # Errors
/// [`LaunchError`].
pub fn head_sample(op: &HeadSample, at: &dyn Addresses, tuning: &Tuning) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: HeadSample::NAME, at: &InWorkspace(at) };
    operands.dense("sampling", &op.sampling, &[DType::U32])?;
    operands.dense("tokens", &op.tokens, &[DType::U32])?;
    operands.dense("logprob_raw", &op.logprob_raw, &[DType::F32])?;
    operands.dense("logprob_sampled", &op.logprob_sampled, &[DType::F32])?;
    if let Some(support) = &op.support {
        operands.dense("support", support, &[DType::U32])?;
    }
    let mut launches = Vec::new();
    for chunk in chunks(HeadSample::NAME, op.hidden.rows() as u32, op.weight.rows())? {
        launches.extend(chunk.logits(HeadSample::NAME, [&op.hidden, &op.weight], at, tuning)?);
        let arguments = HeadSampleArguments {
            logits: operands.address("logits", &chunk.logits, &[DType::F32])?,
            sampling: at.address(&chunk.of(&op.sampling)),
            tokens: at.address(&chunk.of(&op.tokens)),
            logprob_raw: at.address(&chunk.of(&op.logprob_raw)),
            logprob_sampled: at.address(&chunk.of(&op.logprob_sampled)),
            support: op.support.map_or(0, |view| at.address(&chunk.of(&view))),
            stride: chunk.logits.row_stride() as u64,
            vocab: op.weight.rows() as u32,
            unused: 0,
        };
        let mut rows = operands.launch("head_sample", chunk.rows.into(), THREADS, &arguments)?;
        rows.iter_mut().for_each(|launch| launch.shared_bytes = chunk.shared_bytes());
        launches.extend(rows);
    }
    Ok(launches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, WORKSPACE, arguments_of};
    use crate::tuning::Capability;
    use octo_ops::SamplingRow;

    fn op(rows: u32, vocab: u32) -> HeadSample {
        HeadSample {
            hidden: Flat::view(1, DType::Bf16, &[rows, 64]),
            weight: Flat::view(2, DType::Bf16, &[vocab, 64]),
            sampling: Flat::view(3, DType::U32, &[rows, SamplingRow::WORDS]),
            tokens: Flat::view(4, DType::U32, &[rows]),
            logprob_raw: Flat::view(5, DType::F32, &[rows]),
            logprob_sampled: Flat::view(6, DType::F32, &[rows]),
            support: Some(Flat::view(7, DType::U32, &[rows, vocab.div_ceil(32)])),
        }
    }

    #[test]
    fn a_block_draws_a_row_and_chunks_go_on_where_the_last_ended() {
        let launches = head_sample(&op(1025, 300), &Flat, &Tuning::new(Capability::A100)).unwrap();
        assert_eq!((launches.len(), launches[1].grid, launches[1].block[0]), (4, [1024, 1, 1], 1024));
        let a: HeadSampleArguments = arguments_of(&launches[3]);
        assert_eq!((a.logits, a.stride, a.vocab), (WORKSPACE, 384, 300));
        let part = 1024 * 4;
        assert_eq!((a.sampling, a.tokens), ((3 << 40) + 8 * part, (4 << 40) + part));
        assert_eq!((a.logprob_raw, a.logprob_sampled), ((5 << 40) + part, (6 << 40) + part));
        assert_eq!(a.support, (7 << 40) + 10 * part);
        let all = HeadSample { support: None, ..op(2, 300) };
        let launches = head_sample(&all, &Flat, &Tuning::new(Capability::A100)).unwrap();
        assert_eq!(arguments_of::<HeadSampleArguments>(&launches[1]).support, 0);
    }

    #[test]
    fn what_the_kernels_cannot_take_is_named() {
        let mut gaps = op(3, 300);
        gaps.sampling = gaps.sampling.with_row_stride(9);
        let refused = head_sample(&gaps, &Flat, &Tuning::new(Capability::A100)).unwrap_err();
        assert!(matches!(refused, LaunchError::Gaps { operand: "sampling", .. }));
    }
}

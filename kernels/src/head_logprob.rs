//! Launcher of `cuda/head_logprob.cu`.

use crate::head::{Chunk, InWorkspace, chunks, parts};
use crate::tuning::{Row, Tuning};
use crate::{Addresses, Launch, LaunchError, Operands, WORKSPACE_BYTES, arguments, gemm};
use octo_ops::{DType, HeadLogprob, View};

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

arguments! {
    /// `HeadLogprobJoinArguments` of `cuda/head_logprob.cu`. Addresses are the device's.
    pub struct HeadLogprobJoinArguments {
        /// Of each row the largest logit of each part, the sum of each, and the label's logit, in the workspace.
        pub parts: u64,
        /// Labels of these rows.
        pub labels: u64,
        /// Their log-probabilities.
        pub logprob: u64,
        /// Elements between rows of `parts`.
        pub stride: u64,
        /// Ids.
        pub vocab: u32,
        /// Fills the struct.
        pub unused: u32,
    }
}

/// Log-probability of each label. Of many rows no logits are written, only what their parts sum to; the bits are the same.
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
    let (rows, vocab) = (op.hidden.rows() as u32, op.weight.rows());
    let chunks = chunks(HeadLogprob::NAME, rows, vocab)?;
    if let Some(row) = tuning.head_parts(rows, vocab as u32).map_err(LaunchError::Tuning)? {
        let shared_bytes = chunks.first().map_or(0, Chunk::shared_bytes);
        return by_parts(op, at, row, shared_bytes);
    }
    let mut launches = Vec::new();
    for chunk in chunks {
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

/// As many rows at a time as what their parts sum to fits the workspace.
fn by_parts(
    op: &HeadLogprob,
    at: &dyn Addresses,
    row: &Row,
    shared_bytes: u32,
) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: HeadLogprob::NAME, at: &InWorkspace(at) };
    let (rows, vocab) = (op.hidden.rows() as u32, op.weight.rows() as u32);
    let one = parts(1, vocab).span_bytes();
    let fit = (WORKSPACE_BYTES / one / 128 * 128).max(1) as u32;
    let mut launches = Vec::new();
    for first in (0..rows).step_by(fit as usize) {
        let count = fit.min(rows - first);
        let of = |view: &View| view.slice_rows(first, count);
        let (parts, labels, logprob) = (parts(count, vocab), of(&op.labels), of(&op.logprob));
        let product =
            gemm::head_parts(operands.op, [&of(&op.hidden), &op.weight], &labels, &parts, operands.at, row);
        launches.extend(product.map_err(LaunchError::Product)?);
        let arguments = HeadLogprobJoinArguments {
            parts: operands.address("parts", &parts, &[DType::F32])?,
            labels: at.address(&labels),
            logprob: at.address(&logprob),
            stride: parts.row_stride() as u64,
            vocab,
            unused: 0,
        };
        let mut join = operands.launch("head_logprob_join", count.into(), THREADS, &arguments)?;
        join.iter_mut().for_each(|launch| launch.shared_bytes = shared_bytes);
        launches.extend(join);
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
    fn of_many_rows_only_what_parts_sum_to_is_left() {
        let launches = head_logprob(&op(100_000, 128_256), &Flat, &Tuning::new(Capability::A100)).unwrap();
        let entries: Vec<&str> = launches.iter().map(|launch| launch.entry.as_str()).collect();
        let product = "head_parts_sm80_nt_128x256x32_s4";
        assert_eq!(entries, [product, "head_logprob_join", product, "head_logprob_join"]);
        // 1,002 parts and a logit are 2,008 numbers a row; 83,456 rows of them fit, in whole tiles.
        assert_eq!((launches[1].grid[0], launches[3].grid[0]), (83_456, 100_000 - 83_456));
        assert_eq!((launches[1].block[0], launches[1].shared_bytes), (256, 1002 * 8));
        let a: HeadLogprobJoinArguments = arguments_of(&launches[3]);
        assert_eq!((a.parts, a.stride, a.vocab), (WORKSPACE, 2008, 128_256));
        assert_eq!((a.labels, a.logprob), ((3 << 40) + 83_456 * 4, (4 << 40) + 83_456 * 4));
        let product: gemm::GemmArguments = arguments_of(&launches[2]);
        assert_eq!((product.out, product.out_stride, product.extra), (WORKSPACE, 2008, a.labels));
        assert_eq!([product.m, product.n, product.k], [100_000 - 83_456, 128_256, 64]);
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

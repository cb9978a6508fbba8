//! Launcher of `cuda/head_policy.cu`.

use crate::head::{InWorkspace, chunks};
use crate::tuning::Tuning;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, HeadPolicy};

/// Threads of a block, which has one row.
const THREADS: u32 = 256;

arguments! {
    /// `HeadPolicyArguments` of `cuda/head_policy.cu`. Addresses are the device's.
    pub struct HeadPolicyArguments {
        /// Logits of a chunk of rows, in the workspace.
        pub logits: u64,
        /// Labels of these rows.
        pub labels: u64,
        /// Their 1/temperature.
        pub inv_temperature: u64,
        /// Their tokens that could be drawn, or 0 for all.
        pub support: u64,
        /// Their log-probabilities.
        pub logprob: u64,
        /// Their log-sum-exp.
        pub lse: u64,
        /// Their entropy.
        pub entropy: u64,
        /// Elements between rows of `logits`.
        pub stride: u64,
        /// Columns of `logits`.
        pub vocab: u32,
        /// Fills the struct.
        pub unused: u32,
    }
}

/// Log-probability of each label, log-sum-exp and entropy under the distribution that is sampled from.
///
/// # Errors
/// [`LaunchError`].
pub fn head_policy(op: &HeadPolicy, at: &dyn Addresses, tuning: &Tuning) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: HeadPolicy::NAME, at: &InWorkspace(at) };
    operands.dense("labels", &op.labels, &[DType::I32])?;
    operands.dense("inv_temperature", &op.inv_temperature, &[DType::F32])?;
    operands.dense("logprob", &op.logprob, &[DType::F32])?;
    operands.dense("lse", &op.lse, &[DType::F32])?;
    operands.dense("entropy", &op.entropy, &[DType::F32])?;
    if let Some(support) = &op.support {
        operands.dense("support", support, &[DType::U32])?;
    }
    let mut launches = Vec::new();
    for chunk in chunks(HeadPolicy::NAME, op.hidden.rows() as u32, op.weight.rows())? {
        launches.extend(chunk.logits(HeadPolicy::NAME, [&op.hidden, &op.weight], at, tuning)?);
        let rows = |view| at.address(&chunk.of(view));
        let arguments = HeadPolicyArguments {
            logits: operands.address("logits", &chunk.logits, &[DType::F32])?,
            labels: rows(&op.labels),
            inv_temperature: rows(&op.inv_temperature),
            support: op.support.as_ref().map_or(0, rows),
            logprob: rows(&op.logprob),
            lse: rows(&op.lse),
            entropy: rows(&op.entropy),
            stride: chunk.logits.row_stride() as u64,
            vocab: op.weight.rows() as u32,
            unused: 0,
        };
        let mut row = operands.launch("head_policy", chunk.rows.into(), THREADS, &arguments)?;
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

    fn op(tokens: u32, vocab: u32) -> HeadPolicy {
        HeadPolicy {
            hidden: Flat::view(1, DType::Bf16, &[tokens, 64]),
            weight: Flat::view(2, DType::Bf16, &[vocab, 64]),
            labels: Flat::view(3, DType::I32, &[tokens]),
            inv_temperature: Flat::view(4, DType::F32, &[tokens]),
            support: Some(Flat::view(5, DType::U32, &[tokens, vocab.div_ceil(32)])),
            logprob: Flat::view(6, DType::F32, &[tokens]),
            lse: Flat::view(7, DType::F32, &[tokens]),
            entropy: Flat::view(8, DType::F32, &[tokens]),
        }
    }

    #[test]
    fn each_chunk_is_a_product_and_a_block_a_row() {
        let launches = head_policy(&op(1030, 300), &Flat, &Tuning::new(Capability::A100)).unwrap();
        assert_eq!(launches.len(), 4);
        assert_eq!((launches[1].grid, launches[3].grid), ([1024, 1, 1], [6, 1, 1]));
        assert_eq!((launches[1].block, launches[1].shared_bytes), ([256, 1, 1], 24));
        let a: HeadPolicyArguments = arguments_of(&launches[3]);
        let (base, part) = ([0u64, 1, 2, 3, 4, 5, 6, 7, 8].map(|buffer| buffer << 40), 4096);
        assert_eq!((a.logits, a.stride, a.vocab), (WORKSPACE, 384, 300));
        assert_eq!((a.labels, a.inv_temperature), (base[3] + part, base[4] + part));
        assert_eq!((a.logprob, a.lse, a.entropy), (base[6] + part, base[7] + part, base[8] + part));
        assert_eq!(a.support, base[5] + 10 * part);
        let all = HeadPolicy { support: None, ..op(3, 300) };
        let launches = head_policy(&all, &Flat, &Tuning::new(Capability::A100)).unwrap();
        assert_eq!(arguments_of::<HeadPolicyArguments>(&launches[1]).support, 0);
    }

    #[test]
    fn what_the_kernels_cannot_take_is_named() {
        let refused = |op: &HeadPolicy| head_policy(op, &Flat, &Tuning::new(Capability::A100)).unwrap_err();
        let mut gaps = op(3, 300);
        gaps.support = gaps.support.map(|view| view.with_row_stride(12));
        assert!(matches!(refused(&gaps), LaunchError::Gaps { operand: "support", .. }));
        let mut single = op(3, 300);
        single.hidden.dtype = DType::F32;
        let said = refused(&single).to_string();
        assert_eq!(said, "head_policy: operand `hidden` is f32, the kernel takes bf16");
    }
}

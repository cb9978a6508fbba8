//! Launcher of `cuda/head_policy_backward.cu`, with the three products around it.

use crate::head::{InWorkspace, chunks};
use crate::tuning::Tuning;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, HeadPolicyBackward};

/// Threads of a block, which has one row.
const THREADS: u32 = 256;

arguments! {
    /// `HeadPolicyBackwardArguments` of `cuda/head_policy_backward.cu`. Addresses are the device's.
    pub struct HeadPolicyBackwardArguments {
        /// Logits of a chunk of rows, in the workspace; afterwards their gradients.
        pub logits: u64,
        /// Labels of these rows.
        pub labels: u64,
        /// Their 1/temperature.
        pub inv_temperature: u64,
        /// Their tokens that could be drawn, or 0 for all.
        pub support: u64,
        /// Their log-sum-exp.
        pub lse: u64,
        /// Their entropy.
        pub entropy: u64,
        /// Derivatives by their log-probabilities.
        pub coefficient: u64,
        /// Derivatives by their entropies.
        pub entropy_coefficient: u64,
        /// Elements between rows of `logits`.
        pub stride: u64,
        /// Columns of `logits`.
        pub vocab: u32,
        /// Fills the struct.
        pub unused: u32,
    }
}

/// The gradients of `hidden` and `weight` from derivatives by log-probabilities and entropies.
///
/// # Errors
/// [`LaunchError`].
pub fn head_policy_backward(
    op: &HeadPolicyBackward,
    at: &dyn Addresses,
    tuning: &Tuning,
) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: HeadPolicyBackward::NAME, at: &InWorkspace(at) };
    operands.dense("labels", &op.labels, &[DType::I32])?;
    for (name, view) in [
        ("inv_temperature", &op.inv_temperature),
        ("lse", &op.lse),
        ("entropy", &op.entropy),
        ("coefficient", &op.coefficient),
        ("entropy_coefficient", &op.entropy_coefficient),
    ] {
        operands.dense(name, view, &[DType::F32])?;
    }
    if let Some(support) = &op.support {
        operands.dense("support", support, &[DType::U32])?;
    }
    operands.address("dhidden", &op.dhidden, &[DType::Bf16])?;
    operands.address("dweight", &op.dweight, &[DType::F32])?;
    let mut launches = Vec::new();
    for chunk in chunks(HeadPolicyBackward::NAME, op.hidden.rows() as u32, op.weight.rows())? {
        launches.extend(chunk.logits(HeadPolicyBackward::NAME, [&op.hidden, &op.weight], at, tuning)?);
        let rows = |view| at.address(&chunk.of(view));
        let arguments = HeadPolicyBackwardArguments {
            logits: operands.address("logits", &chunk.logits, &[DType::F32])?,
            labels: rows(&op.labels),
            inv_temperature: rows(&op.inv_temperature),
            support: op.support.as_ref().map_or(0, rows),
            lse: rows(&op.lse),
            entropy: rows(&op.entropy),
            coefficient: rows(&op.coefficient),
            entropy_coefficient: rows(&op.entropy_coefficient),
            stride: chunk.logits.row_stride() as u64,
            vocab: op.weight.rows() as u32,
            unused: 0,
        };
        launches.extend(operands.launch("head_policy_backward", chunk.rows.into(), THREADS, &arguments)?);
        let matrices = [&op.hidden, &op.weight, &op.dhidden, &op.dweight];
        launches.extend(chunk.gradients(matrices, op.accumulate, at, tuning)?);
    }
    Ok(launches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::GemmArguments;
    use crate::launch::testing::{Flat, WORKSPACE, arguments_of};
    use crate::tuning::Capability;

    fn op(tokens: u32, vocab: u32) -> HeadPolicyBackward {
        let column = |buffer| Flat::view(buffer, DType::F32, &[tokens]);
        HeadPolicyBackward {
            hidden: Flat::view(1, DType::Bf16, &[tokens, 64]),
            weight: Flat::view(2, DType::Bf16, &[vocab, 64]),
            labels: Flat::view(3, DType::I32, &[tokens]),
            inv_temperature: column(4),
            support: None,
            lse: column(5),
            entropy: column(6),
            coefficient: column(7),
            entropy_coefficient: column(8),
            dhidden: Flat::view(9, DType::Bf16, &[tokens, 64]),
            dweight: Flat::view(10, DType::F32, &[vocab, 64]),
            accumulate: false,
        }
    }

    #[test]
    fn the_second_chunk_adds_to_the_gradient_of_the_weight() {
        let launches = head_policy_backward(&op(1030, 300), &Flat, &Tuning::new(Capability::A100)).unwrap();
        assert_eq!(launches.len(), 8);
        let adds = |launch: &Launch| arguments_of::<GemmArguments>(launch).accumulate;
        assert_eq!((adds(&launches[3]), adds(&launches[7])), (0, 1));
        let a: HeadPolicyBackwardArguments = arguments_of(&launches[5]);
        let at = |buffer: u64| (buffer << 40) + 4096;
        assert_eq!((a.logits, a.stride, a.vocab, a.support), (WORKSPACE, 384, 300, 0));
        assert_eq!([a.labels, a.inv_temperature, a.lse, a.entropy], [at(3), at(4), at(5), at(6)]);
        assert_eq!([a.coefficient, a.entropy_coefficient], [at(7), at(8)]);
    }

    #[test]
    fn what_the_kernels_cannot_take_is_named() {
        let mut gaps = op(3, 300);
        gaps.coefficient = gaps.coefficient.with_row_stride(2);
        let refused = head_policy_backward(&gaps, &Flat, &Tuning::new(Capability::A100)).unwrap_err();
        assert!(matches!(refused, LaunchError::Gaps { operand: "coefficient", .. }));
    }
}

//! Launcher of `cuda/head_loss.cu`, with the three products around it.

use crate::head::{InWorkspace, chunks};
use crate::tuning::Tuning;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, HeadLoss};

/// Threads of a block, which has one row.
const THREADS: u32 = 256;

arguments! {
    /// `HeadLossArguments` of `cuda/head_loss.cu`. Addresses are the device's.
    pub struct HeadLossArguments {
        /// Logits of a chunk of rows, in the workspace; afterwards their gradients.
        pub logits: u64,
        /// Labels of these rows.
        pub labels: u64,
        /// An `octo_ops::StepBlock`.
        pub step_block: u64,
        /// Losses of these rows.
        pub loss: u64,
        /// Elements between rows of `logits`.
        pub stride: u64,
        /// Columns of `logits`.
        pub vocab: u32,
        /// Fills the struct.
        pub unused: u32,
    }
}

/// Loss of each row, and the gradients of `hidden` and `weight`.
///
/// # Errors
/// [`LaunchError`].
pub fn head_loss(op: &HeadLoss, at: &dyn Addresses, tuning: &Tuning) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: HeadLoss::NAME, at: &InWorkspace(at) };
    operands.dense("labels", &op.labels, &[DType::I32])?;
    operands.dense("loss", &op.loss, &[DType::F32])?;
    operands.address("dhidden", &op.dhidden, &[DType::Bf16])?;
    operands.address("dweight", &op.dweight, &[DType::F32])?;
    let step_block = operands.dense("step_block", &op.step_block, &[DType::F32])?;
    let vocab = op.weight.rows();
    let mut launches = Vec::new();
    for chunk in chunks(HeadLoss::NAME, op.hidden.rows() as u32, vocab)? {
        launches.extend(chunk.logits(HeadLoss::NAME, [&op.hidden, &op.weight], at, tuning)?);
        let arguments = HeadLossArguments {
            logits: operands.address("logits", &chunk.logits, &[DType::F32])?,
            labels: operands.dense("labels", &chunk.of(&op.labels), &[DType::I32])?,
            step_block,
            loss: operands.dense("loss", &chunk.of(&op.loss), &[DType::F32])?,
            stride: chunk.logits.row_stride() as u64,
            vocab: vocab as u32,
            unused: 0,
        };
        let mut rows = operands.launch("head_loss", chunk.rows.into(), THREADS, &arguments)?;
        rows.iter_mut().for_each(|launch| launch.shared_bytes = chunk.shared_bytes());
        launches.extend(rows);
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

    fn op(tokens: u32, vocab: u32) -> HeadLoss {
        HeadLoss {
            hidden: Flat::view(1, DType::Bf16, &[tokens, 64]),
            weight: Flat::view(2, DType::Bf16, &[vocab, 64]),
            labels: Flat::view(3, DType::I32, &[tokens]),
            step_block: Flat::view(4, DType::F32, &[6]),
            loss: Flat::view(5, DType::F32, &[tokens]),
            dhidden: Flat::view(6, DType::Bf16, &[tokens, 64]),
            dweight: Flat::view(7, DType::F32, &[vocab, 64]),
            accumulate: false,
        }
    }

    #[test]
    fn the_second_chunk_adds_to_the_gradient_of_the_weight() {
        let launches = head_loss(&op(1030, 300), &Flat, &Tuning::new(Capability::A100)).unwrap();
        assert_eq!(launches.len(), 8);
        let adds = |launch: &Launch| arguments_of::<GemmArguments>(launch).accumulate;
        assert_eq!((adds(&launches[3]), adds(&launches[7])), (0, 1));
        let a: HeadLossArguments = arguments_of(&launches[5]);
        assert_eq!((a.logits, a.loss, a.stride), (WORKSPACE, (5 << 40) + 4096, 384));
        // Gradients take half of each row of logits.
        let a: GemmArguments = arguments_of(&launches[6]);
        assert_eq!((a.a, a.a_stride, a.out), (WORKSPACE, 768, (6 << 40) + 1024 * 128));
        let a: GemmArguments = arguments_of(&launches[7]);
        assert_eq!((a.a, a.b, [a.m, a.n, a.k]), (WORKSPACE, (1 << 40) + 1024 * 128, [300, 64, 6]));
    }

    #[test]
    fn what_the_kernels_cannot_take_is_named() {
        let refused =
            |op: &HeadLoss| head_loss(op, &Flat, &Tuning::new(Capability::A100)).unwrap_err().to_string();
        let mut off = op(3, 300);
        off.hidden.offset = 2;
        assert!(refused(&off).contains("head_loss: rows of `hidden`"), "{}", refused(&off));
        let mut single = op(3, 300);
        single.dhidden.dtype = DType::F32;
        assert!(refused(&single).contains("head_loss: operand `dhidden` is f32"));
    }
}

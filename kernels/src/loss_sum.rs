//! Launcher of `cuda/loss_sum.cu`.

use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, LossSum};

/// Threads of the block.
const THREADS: u32 = 1024;

arguments! {
    /// `LossSumArguments` of `cuda/loss_sum.cu`. Addresses are the device's.
    pub struct LossSumArguments {
        /// Losses.
        pub loss: u64,
        /// An `octo_ops::StepResult`.
        pub result: u64,
        /// Losses there are.
        pub tokens: u32,
        /// 1 if the sum is added to, 0 if it is overwritten.
        pub accumulate: u32,
    }
}

/// result.loss_sum (+)= Σ loss.
///
/// # Errors
/// [`LaunchError`].
pub fn loss_sum(op: &LossSum, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: LossSum::NAME, at };
    let arguments = LossSumArguments {
        loss: operands.dense("loss", &op.loss, &[DType::F32])?,
        result: operands.dense("result", &op.result, &[DType::F32])?,
        tokens: op.loss.elements() as u32,
        accumulate: op.accumulate.into(),
    };
    operands.launch("loss_sum", 1, THREADS, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, only};

    fn op(tokens: u32) -> LossSum {
        LossSum {
            loss: Flat::view(1, DType::F32, &[tokens]),
            result: Flat::view(2, DType::F32, &[4]),
            accumulate: true,
        }
    }

    #[test]
    fn one_block_sums_all_even_where_there_is_nothing() {
        for tokens in [0, 1, 5000] {
            let (launch, a) = only::<LossSumArguments>(loss_sum(&op(tokens), &Flat));
            assert_eq!(
                (launch.entry.as_str(), launch.grid, launch.block),
                ("loss_sum", [1; 3], [1024, 1, 1])
            );
            assert_eq!((a.loss, a.result, a.tokens, a.accumulate), (1 << 40, 2 << 40, tokens, 1));
        }
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let mut gaps = op(7);
        gaps.loss = gaps.loss.with_row_stride(2);
        assert!(matches!(loss_sum(&gaps, &Flat), Err(LaunchError::Gaps { operand: "loss", .. })));
    }
}

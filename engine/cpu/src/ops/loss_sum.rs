use crate::memory::Memory;
use crate::reduce::long_sum_by;
use octo_ops::{BackendError, LossSum, StepResult};

pub(super) fn run(op: &LossSum, memory: &Memory) -> Result<(), BackendError> {
    let sum = long_sum_by(memory.span(&op.loss), |x| x) as f32;
    let result = memory.span_mut::<f32>(&op.result);
    let before = if op.accumulate { result[StepResult::LOSS_SUM] } else { 0.0 };
    result[StepResult::LOSS_SUM] = before + sum;
    Ok(())
}

use crate::memory::Memory;
use crate::reduce::long_sum_by;
use octo_ops::{BackendError, GradNorm, StepBlock, StepResult};

pub(super) fn run(op: &GradNorm, memory: &Memory) -> Result<(), BackendError> {
    let clip = memory.span::<f32>(&op.step_block)[StepBlock::CLIP];
    let norm = long_sum_by(memory.span(&op.grad), |g| g * g).sqrt() as f32;
    let result = memory.span_mut::<f32>(&op.result);
    let finite = norm.is_finite() && result[StepResult::LOSS_SUM].is_finite();
    result[StepResult::GRAD_NORM] = norm;
    result[StepResult::CLIP_SCALE] = (clip / (norm + 1e-6)).min(1.0);
    result[StepResult::HALTED] = if finite { 0.0 } else { 1.0 };
    Ok(())
}

use crate::memory::Memory;
use half::bf16;
use octo_ops::{AdamW, BackendError, StepBlock, StepResult, master};
use rayon::prelude::*;

/// Elements a task updates.
const TASK: usize = 16 * 1024;

/// The constants of one step.
struct Step {
    clip_scale: f32,
    beta1: f32,
    beta2: f32,
    keep: f32,
    lr: f32,
    inverse_correction1: f32,
    inverse_correction2: f32,
    eps: f32,
}

impl Step {
    #[inline(always)]
    fn update(&self, weight: f32, grad: f32, m: &mut f32, v: &mut f32) -> f32 {
        let g = grad * self.clip_scale;
        *m = self.beta1 * *m + (1.0 - self.beta1) * g;
        *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
        let denominator = (*v * self.inverse_correction2).sqrt() + self.eps;
        weight * self.keep - self.lr * (*m * self.inverse_correction1 / denominator)
    }
}

pub(super) fn run(op: &AdamW, memory: &Memory) -> Result<(), BackendError> {
    let result: &[f32] = memory.span(&op.result);
    if result[StepResult::HALTED] != 0.0 {
        return Ok(());
    }
    let block: &[f32] = memory.span(&op.step_block);
    let lr = block[StepBlock::LR];
    let step = Step {
        clip_scale: result[StepResult::CLIP_SCALE],
        beta1: op.beta1,
        beta2: op.beta2,
        keep: 1.0 - lr * op.weight_decay,
        lr,
        inverse_correction1: 1.0 / block[StepBlock::BIAS_CORRECTION1],
        inverse_correction2: 1.0 / block[StepBlock::BIAS_CORRECTION2],
        eps: op.eps,
    };
    let grad = memory.span::<f32>(&op.grad).par_chunks(TASK);
    let m = memory.span_mut::<f32>(&op.m).par_chunks_mut(TASK);
    let v = memory.span_mut::<f32>(&op.v).par_chunks_mut(TASK);
    let state = grad.zip(m).zip(v);
    match &op.remainder {
        None => {
            let weight = memory.span_mut::<f32>(&op.weight).par_chunks_mut(TASK);
            weight.zip(state).for_each(|(weight, ((grad, m), v))| {
                for (((w, &g), m), v) in weight.iter_mut().zip(grad).zip(m).zip(v) {
                    *w = step.update(*w, g, m, v);
                }
            });
        }
        Some(remainder) => {
            let weight = memory.span_mut::<bf16>(&op.weight).par_chunks_mut(TASK);
            let remainder = memory.span_mut::<i16>(remainder).par_chunks_mut(TASK);
            weight.zip(remainder).zip(state).for_each(|((weight, remainder), ((grad, m), v))| {
                for ((((w, r), &g), m), v) in weight.iter_mut().zip(remainder).zip(grad).zip(m).zip(v) {
                    (*w, *r) = master::split(step.update(master::join(*w, *r), g, m, v));
                }
            });
        }
    }
    Ok(())
}

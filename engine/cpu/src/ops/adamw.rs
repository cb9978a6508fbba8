use crate::memory::Memory;
use bytemuck::Pod;
use half::bf16;
use octo_ops::rounding::{Draws, stochastic};
use octo_ops::{AdamW, BackendError, DType, Rounding, StepBlock, StepResult, master};
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
    rounding: Rounding,
    update: u32,
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

    /// [`Step::update`] on moments as they are stored: the update has them in f32, before they are rounded.
    #[inline(always)]
    fn stored<M: Moment>(&self, weight: f32, grad: f32, m: &mut M, v: &mut M, draws: &mut M::Draws) -> f32 {
        let (mut first, mut second) = (m.load(), v.load());
        let updated = self.update(weight, grad, &mut first, &mut second);
        (*m, *v) = M::store([first, second], draws);
        updated
    }
}

/// What a moment is stored as.
trait Moment: Pod + Send + Sync {
    /// What rounds it.
    type Draws;

    /// What rounds those of a range from element `at` on.
    fn draws(step: &Step, at: usize) -> Self::Draws;

    fn load(self) -> f32;

    /// The next element's first and second moment.
    fn store(values: [f32; 2], draws: &mut Self::Draws) -> (Self, Self);
}

impl Moment for f32 {
    type Draws = ();

    fn draws(_: &Step, _: usize) {}

    #[inline(always)]
    fn load(self) -> f32 {
        self
    }

    #[inline(always)]
    fn store([m, v]: [f32; 2], (): &mut ()) -> (f32, f32) {
        (m, v)
    }
}

impl Moment for bf16 {
    type Draws = Draws;

    fn draws(step: &Step, at: usize) -> Draws {
        step.rounding.draws(step.update, at as u64)
    }

    #[inline(always)]
    fn load(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn store([m, v]: [f32; 2], draws: &mut Draws) -> (bf16, bf16) {
        let [first, second] = draws.next().unwrap_or_default();
        (stochastic(m, first), stochastic(v, second))
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
        // f32 moments are not rounded.
        rounding: op.rounding.unwrap_or(Rounding { seed: 0, first: 0 }),
        update: block[StepBlock::UPDATE].to_bits(),
    };
    match op.m.dtype {
        DType::Bf16 => run_on::<bf16>(op, &step, memory),
        _ => run_on::<f32>(op, &step, memory),
    }
    Ok(())
}

fn run_on<M: Moment>(op: &AdamW, step: &Step, memory: &Memory) {
    let grad = memory.span::<f32>(&op.grad).par_chunks(TASK);
    let m = memory.span_mut::<M>(&op.m).par_chunks_mut(TASK);
    let v = memory.span_mut::<M>(&op.v).par_chunks_mut(TASK);
    let state = grad.zip(m).zip(v).enumerate();
    match &op.remainder {
        None => {
            let weight = memory.span_mut::<f32>(&op.weight).par_chunks_mut(TASK);
            weight.zip(state).for_each(|(weight, (task, ((grad, m), v)))| {
                let mut draws = M::draws(step, task * TASK);
                for (((w, &g), m), v) in weight.iter_mut().zip(grad).zip(m).zip(v) {
                    *w = step.stored(*w, g, m, v, &mut draws);
                }
            });
        }
        Some(remainder) => {
            let weight = memory.span_mut::<bf16>(&op.weight).par_chunks_mut(TASK);
            let remainder = memory.span_mut::<i16>(remainder).par_chunks_mut(TASK);
            weight.zip(remainder).zip(state).for_each(|((weight, remainder), (task, ((grad, m), v)))| {
                let mut draws = M::draws(step, task * TASK);
                for ((((w, r), &g), m), v) in weight.iter_mut().zip(remainder).zip(grad).zip(m).zip(v) {
                    (*w, *r) = master::split(step.stored(master::join(*w, *r), g, m, v, &mut draws));
                }
            });
        }
    }
}

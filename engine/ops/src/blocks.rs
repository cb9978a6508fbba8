//! The two small blocks through which host and device agree on a step.

use bytemuck::{Pod, Zeroable};

/// What changes from step to step, uploaded once a step. As a view: `[StepBlock::WORDS]` of f32.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct StepBlock {
    /// Learning rate.
    pub lr: f32,
    /// 1 − beta1^t, t the number of the update from 1.
    pub bias_correction1: f32,
    /// 1 − beta2^t.
    pub bias_correction2: f32,
    /// Largest gradient norm; infinite when gradients are not clipped.
    pub clip: f32,
    /// 1 / (targets of the whole optimizer step, over all micro-batches and ranks).
    pub inv_targets: f32,
    /// t, the number of the update: by it moments in bf16 are rounded. As a view its bits are those of an f32.
    pub update: u32,
}

impl StepBlock {
    /// Its length in f32 words.
    pub const WORDS: u32 = 6;
    /// Word of [`StepBlock::lr`].
    pub const LR: usize = 0;
    /// Word of [`StepBlock::bias_correction1`].
    pub const BIAS_CORRECTION1: usize = 1;
    /// Word of [`StepBlock::bias_correction2`].
    pub const BIAS_CORRECTION2: usize = 2;
    /// Word of [`StepBlock::clip`].
    pub const CLIP: usize = 3;
    /// Word of [`StepBlock::inv_targets`].
    pub const INV_TARGETS: usize = 4;
    /// Word of [`StepBlock::update`].
    pub const UPDATE: usize = 5;
}

/// What the device found out in a step, read back by the host one step late. As a view:
/// `[StepResult::WORDS]` of f32.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct StepResult {
    /// Sum of the losses of all targets, in nats.
    pub loss_sum: f32,
    /// Norm of the whole gradient before clipping.
    pub grad_norm: f32,
    /// What gradients are multiplied with: 1, or less where the norm exceeds the clip.
    pub clip_scale: f32,
    /// 1 when loss or norm is not finite; then AdamW writes nothing.
    pub halted: f32,
}

impl StepResult {
    /// Its length in f32 words.
    pub const WORDS: u32 = 4;
    /// Word of [`StepResult::loss_sum`].
    pub const LOSS_SUM: usize = 0;
    /// Word of [`StepResult::grad_norm`].
    pub const GRAD_NORM: usize = 1;
    /// Word of [`StepResult::clip_scale`].
    pub const CLIP_SCALE: usize = 2;
    /// Word of [`StepResult::halted`].
    pub const HALTED: usize = 3;
}

//! One file an op, with the stem of its file in `octo-ops`.

mod adamw;
mod attention;
mod attention_backward;
mod bias_backward;
mod copy_pages;
mod embed;
mod embed_backward;
mod feed_tokens;
mod gate_up_swiglu;
mod grad_norm;
mod head;
mod head_logprob;
mod head_loss;
mod head_policy;
mod head_policy_backward;
mod head_sample;
mod linear_backward_input;
mod linear_backward_weight;
mod linear_residual;
mod loss_sum;
mod qkv_rope;
mod random_fill;
mod rms_norm;
mod rms_norm_backward;
mod rope_backward;
mod swiglu;
mod swiglu_backward;

use crate::memory::Memory;
use octo_ops::{BackendError, Op};

/// Runs one op on checked operands.
pub(crate) fn run(op: &Op, memory: &Memory) -> Result<(), BackendError> {
    match op {
        Op::Embed(op) => embed::run(op, memory),
        Op::RmsNorm(op) => rms_norm::run(op, memory),
        Op::QkvRope(op) => qkv_rope::run(op, memory),
        Op::Attention(op) => attention::run(op, memory),
        Op::LinearResidual(op) => linear_residual::run(op, memory),
        Op::GateUpSwiglu(op) => gate_up_swiglu::run(op, memory),
        Op::Swiglu(op) => swiglu::run(op, memory),
        Op::HeadLoss(op) => head_loss::run(op, memory),
        Op::HeadLogprob(op) => head_logprob::run(op, memory),
        Op::HeadSample(op) => head_sample::run(op, memory),
        Op::HeadPolicy(op) => head_policy::run(op, memory),
        Op::HeadPolicyBackward(op) => head_policy_backward::run(op, memory),
        Op::CopyPages(op) => copy_pages::run(op, memory),
        Op::FeedTokens(op) => feed_tokens::run(op, memory),
        Op::LinearBackwardInput(op) => linear_backward_input::run(op, memory),
        Op::LinearBackwardWeight(op) => linear_backward_weight::run(op, memory),
        Op::BiasBackward(op) => bias_backward::run(op, memory),
        Op::SwigluBackward(op) => swiglu_backward::run(op, memory),
        Op::AttentionBackward(op) => attention_backward::run(op, memory),
        Op::RopeBackward(op) => rope_backward::run(op, memory),
        Op::RmsNormBackward(op) => rms_norm_backward::run(op, memory),
        Op::EmbedBackward(op) => embed_backward::run(op, memory),
        Op::LossSum(op) => loss_sum::run(op, memory),
        Op::GradNorm(op) => grad_norm::run(op, memory),
        Op::AdamW(op) => adamw::run(op, memory),
        Op::RandomFill(op) => random_fill::run(op, memory),
    }
}

/// Fails unless every index of a data tensor is below its bound.
fn check_indices(op: &'static str, what: &str, indices: &[u32], bound: usize) -> Result<(), BackendError> {
    match indices.iter().position(|&i| i as usize >= bound) {
        None => Ok(()),
        Some(at) => Err(BackendError::Data {
            op,
            what: format!("{what} {} at row {at} is not below {bound}", indices[at]),
        }),
    }
}

/// Fails unless every label is −1 or below the vocabulary.
fn check_labels(op: &'static str, labels: &[i32], vocab: usize) -> Result<(), BackendError> {
    match labels.iter().position(|&label| label < -1 || label >= vocab as i32) {
        None => Ok(()),
        Some(at) => Err(BackendError::Data {
            op,
            what: format!(
                "label {} at row {at} is neither -1 nor below the vocabulary of {vocab}",
                labels[at]
            ),
        }),
    }
}

/// Fails unless 1/temperature is a number above 0 wherever there is a label.
fn check_inverse_temperatures(op: &'static str, labels: &[i32], inverse: &[f32]) -> Result<(), BackendError> {
    let wrong = |(&label, &inverse): (&i32, &f32)| label >= 0 && !(inverse > 0.0 && inverse.is_finite());
    match labels.iter().zip(inverse).position(wrong) {
        None => Ok(()),
        Some(at) => Err(BackendError::Data {
            op,
            what: format!("1/temperature {} at row {at} is no number above 0", inverse[at]),
        }),
    }
}

/// Fails unless cu_seqlens starts at 0, never falls and ends at `tokens`.
fn check_cu_seqlens(op: &'static str, cu_seqlens: &[u32], tokens: usize) -> Result<(), BackendError> {
    let rises = cu_seqlens.windows(2).all(|w| w[0] <= w[1]);
    let ends = cu_seqlens.first() == Some(&0) && cu_seqlens.last() == Some(&(tokens as u32));
    if rises && ends {
        Ok(())
    } else {
        Err(BackendError::Data { op, what: format!("cu_seqlens does not run from 0 up to {tokens} rows") })
    }
}

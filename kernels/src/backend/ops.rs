//! Which op has which kernel: the only place that matches on ops.

use crate::tuning::Tuning;
use crate::{
    Addresses, Launch, adamw, attention, attention_backward, bias_backward, copy_pages, embed,
    embed_backward, feed_tokens, gemm,
};
use crate::{grad_norm, head_logprob, head_loss, head_policy, head_policy_backward, head_sample, loss_sum};
use crate::{qkv_rope, random_fill, rms_norm, rms_norm_backward, rope_backward, swiglu};
use octo_ops::Op;

/// The launches of an op.
///
/// Launchers rely on the op's own checks, so they come first, whoever the caller is.
///
/// # Errors
/// Why there are none, and what runs the op instead.
pub fn launches(op: &Op, at: &dyn Addresses, tuning: &Tuning) -> Result<Vec<Launch>, String> {
    op.check().map_err(|error| error.to_string())?;
    match op {
        Op::LinearResidual(op) => said(gemm::linear_residual(op, at, tuning)),
        Op::GateUpSwiglu(op) => said(gemm::gate_up_swiglu(op, at, tuning)),
        Op::LinearBackwardInput(op) => said(gemm::linear_backward_input(op, at, tuning)),
        Op::LinearBackwardWeight(op) => said(gemm::linear_backward_weight(op, at, tuning)),
        Op::QkvRope(op) => said(qkv_rope::qkv_rope(op, at, tuning)),
        Op::Attention(op) => said(attention::attention(op, at, tuning)),
        Op::AttentionBackward(op) => said(attention_backward::attention_backward(op, at, tuning)),
        Op::CopyPages(op) => said(copy_pages::copy_pages(op, at)),
        Op::FeedTokens(op) => said(feed_tokens::feed_tokens(op, at)),
        Op::Embed(op) => said(embed::embed(op, at)),
        Op::EmbedBackward(op) => said(embed_backward::embed_backward(op, at)),
        Op::RmsNormBackward(op) => said(rms_norm_backward::rms_norm_backward(op, at)),
        Op::BiasBackward(op) => said(bias_backward::bias_backward(op, at)),
        Op::RopeBackward(op) => said(rope_backward::rope_backward(op, at)),
        Op::LossSum(op) => said(loss_sum::loss_sum(op, at)),
        Op::GradNorm(op) => said(grad_norm::grad_norm(op, at)),
        Op::RmsNorm(op) => said(rms_norm::rms_norm(op, at)),
        Op::Swiglu(op) => said(swiglu::swiglu(op, at)),
        Op::SwigluBackward(op) => said(swiglu::swiglu_backward(op, at)),
        Op::AdamW(op) => said(adamw::adamw(op, at)),
        Op::RandomFill(op) => said(random_fill::random_fill(op, at)),
        Op::HeadLogprob(op) => said(head_logprob::head_logprob(op, at, tuning)),
        Op::HeadLoss(op) => said(head_loss::head_loss(op, at, tuning)),
        Op::HeadSample(op) => said(head_sample::head_sample(op, at, tuning)),
        Op::HeadPolicy(op) => said(head_policy::head_policy(op, at, tuning)),
        Op::HeadPolicyBackward(op) => said(head_policy_backward::head_policy_backward(op, at, tuning)),
    }
}

/// What a user can do about an op that is refused.
const REMEDY: &str = "take `--device cpu` (for train: `--set run.device=cpu`)";

/// A launcher's refusal in its own words.
fn said<E: std::error::Error>(launches: Result<Vec<Launch>, E>) -> Result<Vec<Launch>, String> {
    launches.map_err(|error| format!("{error}; {REMEDY}"))
}

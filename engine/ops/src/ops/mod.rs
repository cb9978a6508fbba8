//! One file an op: its checks, its reference, its cost, its cases.

mod adamw;
pub(crate) mod attention;
pub(crate) mod attention_backward;
mod bias_backward;
mod copy_pages;
mod embed;
mod embed_backward;
mod feed_tokens;
mod gate_up_swiglu;
mod grad_norm;
mod head_logprob;
mod head_loss;
pub(crate) mod head_policy;
pub(crate) mod head_policy_backward;
pub(crate) mod head_sample;
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

pub use gate_up_swiglu::INTERLEAVE;

/// Stores `fresh`, or what is there plus `fresh`.
pub(crate) fn store_or_add<R: crate::Real>(
    memory: &mut crate::HostMemory<R>,
    view: &crate::View,
    fresh: &[R],
    add: bool,
) {
    if add {
        let mut sum = memory.load(view);
        for (s, &f) in sum.iter_mut().zip(fresh) {
            *s += f;
        }
        memory.store(view, &sum);
    } else {
        memory.store(view, fresh);
    }
}

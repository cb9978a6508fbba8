//! The PTX that ships, embedded. Written by `cargo xtask ptx`; do not edit.

/// A PTX module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Its file's stem.
    pub name: &'static str,
    /// Its text; the first line says what it was compiled from.
    pub text: &'static str,
}

macro_rules! shipped {
    ($folder:literal { $($name:literal)* }) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../", $folder, "/", $name, ".ptx")) }),*]
    };
}

/// Modules for compute capability 8.0 and higher, sorted by name.
#[rustfmt::skip]
pub static SM_80: &[Shipped] = shipped! { "sm_80" {
    "adamw"
    "attention_backward_keys_sm80_hd128_128x64_s2"
    "attention_backward_keys_sm80_hd256_64x16_s2"
    "attention_backward_keys_sm80_hd64_128x64_s2"
    "attention_backward_queries_sm80_hd128_128x64_s3"
    "attention_backward_queries_sm80_hd256_64x16_s2"
    "attention_backward_queries_sm80_hd64_128x64_s3"
    "attention_merge"
    "attention_segments_sm80_hd128_16x16_s2"
    "attention_segments_sm80_hd256_16x8_s2"
    "attention_segments_sm80_hd64_16x16_s5"
    "attention_sm80_hd128_128x64_s4"
    "attention_sm80_hd128_16x64_s4"
    "attention_sm80_hd256_16x32_s4"
    "attention_sm80_hd256_64x32_s4"
    "attention_sm80_hd64_128x64_s4"
    "attention_sm80_hd64_16x64_s4"
    "bias_backward"
    "copy_pages"
    "embed"
    "embed_backward"
    "feed_tokens"
    "gate_up_swiglu_sm80_nt_128x128x32_s4"
    "gate_up_swiglu_sm80_nt_128x256x32_s4"
    "gate_up_swiglu_sm80_nt_128x64x64_s4"
    "gate_up_swiglu_sm80_nt_16x64x64_s6"
    "gate_up_swiglu_sm80_nt_32x64x64_s6"
    "gate_up_swiglu_sm80_nt_64x64x64_s4"
    "grad_norm"
    "head_logits_sm80_nt_128x128x32_s4"
    "head_logits_sm80_nt_128x256x32_s4"
    "head_logits_sm80_nt_16x64x64_s6"
    "head_logits_sm80_nt_32x64x64_s6"
    "head_logits_sm80_nt_64x64x64_s4"
    "head_logprob"
    "head_loss"
    "head_parts_sm80_nt_128x128x32_s4"
    "head_parts_sm80_nt_128x256x32_s4"
    "head_policy"
    "head_policy_backward"
    "head_sample"
    "head_sample_slices"
    "linear_backward_input_sm80_nn_128x128x32_s4"
    "linear_backward_input_sm80_nn_128x256x32_s4"
    "linear_backward_input_sm80_nn_64x64x64_s4"
    "linear_backward_weight_sm80_tn_128x128x32_s4"
    "linear_backward_weight_sm80_tn_128x256x32_s4"
    "linear_backward_weight_sm80_tn_64x64x64_s4"
    "linear_residual_sm80_nt_128x128x32_s4"
    "linear_residual_sm80_nt_128x256x32_s4"
    "linear_residual_sm80_nt_128x64x64_s4"
    "linear_residual_sm80_nt_16x16x64_s20"
    "linear_residual_sm80_nt_16x64x64_s6"
    "linear_residual_sm80_nt_32x32x64_s12"
    "linear_residual_sm80_nt_32x64x64_s6"
    "linear_residual_sm80_nt_64x64x64_s4"
    "loss_sum"
    "qkv_rope_sm80_nt_128x128x32_s4"
    "qkv_rope_sm80_nt_128x256x32_s4"
    "qkv_rope_sm80_nt_128x64x64_s4"
    "qkv_rope_sm80_nt_16x32x64_s13"
    "qkv_rope_sm80_nt_16x64x64_s6"
    "qkv_rope_sm80_nt_32x32x64_s12"
    "qkv_rope_sm80_nt_32x64x64_s6"
    "qkv_rope_sm80_nt_64x64x64_s4"
    "random_fill"
    "rms_norm"
    "rms_norm_backward"
    "rope_backward"
    "swiglu"
} };

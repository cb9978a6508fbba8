//! How is each op computed on an NVIDIA GPU, real or simulated?
//!
//! `cuda/*.cu` are the kernels, one op a file. Each has a launcher of the same stem here: a pure function from an op to
//! [`Launch`]es. A [`driver`] executes launches, on a device or on the simulated GPU, and [`CudaBackend`] puts ops on a
//! driver. What an op means is not said here (`octo-ops`), nor what a piece of PTX does (`octo-ptx`).
//!
//! Read `launch.rs` first, then one launcher beside its kernel.

pub mod adamw;
pub mod attention;
pub mod attention_backward;
mod backend;
pub mod bias_backward;
pub mod columns;
pub mod copy_pages;
pub mod driver;
pub mod embed;
pub mod embed_backward;
pub mod feed_tokens;
mod flat;
pub mod gemm;
pub mod grad_norm;
mod head;
pub mod head_logprob;
pub mod head_loss;
pub mod head_policy;
pub mod head_policy_backward;
pub mod head_sample;
mod launch;
pub mod loss_sum;
pub mod predict;
pub mod qkv_rope;
pub mod random_fill;
mod ranges;
pub mod rms_norm;
pub mod rms_norm_backward;
pub mod rope_backward;
pub mod source;
pub mod swiglu;
pub mod tuning;

pub use backend::{CudaBackend, launches};
pub use launch::*;

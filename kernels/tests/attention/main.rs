//! The attention of `cuda/attention.cu` and its gradients, `cuda/attention_backward.cu`, on the simulated GPU: bits, counts.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod backward;
mod backward_bits;
mod backward_counts;
mod bits;
mod counts;
#[path = "../support/device.rs"]
mod device;
mod problem;
mod segments;

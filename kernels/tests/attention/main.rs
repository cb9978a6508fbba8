//! The attention of `cuda/attention.cu` on the simulated GPU: bits, counts.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod bits;
mod counts;
#[path = "../support/device.rs"]
mod device;
mod problem;

//! The matrix products of `cuda/gemm.cu` on the simulated GPU: index maps, values, bits, counts.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod bits;
mod counts;
#[path = "../support/device.rs"]
mod device;
mod fused;
mod maps;
mod problem;
mod values;

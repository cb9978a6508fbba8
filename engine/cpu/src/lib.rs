//! Every op on CPU cores.
//!
//! Answers: how is this op computed on the host, quickly and with the same bits whatever the instruction
//! set, the number of threads and the company a row keeps? Does not answer which ops there are and what they
//! mean (`octo-ops`), nor in which order they run (`octo-queue` and above).
//!
//! Read first: [`matmul`], whose opening states the one definition all fast paths obey; then `backend.rs`,
//! and one file of `ops/`.
#![allow(unsafe_code)] // vector instructions, and rows of one matrix written from several threads

mod attention;
mod backend;
mod host;
mod math;
pub mod matmul;
mod matrix;
mod memory;
mod ops;
mod reduce;
mod scratch;
pub mod simd;

pub use backend::CpuBackend;
pub use host::available_memory;
pub use matrix::{Matrix, MatrixMut};

//! How is each op computed on an NVIDIA GPU, real or simulated?
//!
//! `cuda/*.cu` are the kernels, one op a file. Each has a launcher of the same stem here: a pure function from an op to
//! [`Launch`]es. A driver executes launches. Read `launch.rs` first.

mod backend;
pub mod driver;
mod launch;
pub mod tuning;

pub use backend::CudaBackend;
pub use launch::*;

//! What does a piece of PTX mean, and what goes wrong when a grid of threads runs it?
//!
//! The parser turns the text that NVRTC writes into typed instructions ([`Module`]); the simulated GPU ([`sim`])
//! executes these with every check a CPU can make, and counts what a GPU would have to do. The crate knows
//! nothing of ops, models or CUDA's driver library; those are `octo-kernels`'s.
//!
//! Read `module.rs` and `isa.rs` first: they are the contract between the parser and everything else.

pub mod check;
pub mod count;
mod isa;
mod module;
pub mod numerics;
mod parse;
mod print;
pub mod resources;
pub mod shipped;
pub mod sim;

pub use isa::*;
pub use module::*;
pub use parse::*;
pub use print::Listing;

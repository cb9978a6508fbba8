//! The simulated GPU: runs kernels' PTX on the CPU and finds what is wrong with them.
//!
//! [`Gpu`] loads modules, holds memory and launches grids; [`Fault`] is everything it refuses or finds, with kernel, PTX
//! line, CUDA line, block and thread. Results depend on the module, the memory, the launch and [`Config::seed`] alone,
//! never on host threads, clocks or addresses.
//!
//! From the outside in: `gpu.rs` (the interface), `grid.rs` (blocks over host threads), `block.rs` (warps of a block,
//! barriers), `exec.rs` (one warp) with `alu.rs`, `access.rs`, `sync.rs` and `tensor.rs`, and below them `warp.rs` (lanes
//! that part and meet), `memory/` and `files.rs` (registers). `lower/` makes a [`crate::Kernel`] into the compact
//! `program.rs` when it is loaded. Float arithmetic, races and counts are [`crate::numerics`], [`crate::check`] and
//! [`crate::count`]. Read `program.rs` first.
//!
//! Where the rest of sm_90 goes: an mbarrier is eight bytes of shared memory that a new operation of `sync.rs` reads and
//! writes through `rmw.rs`, its waiters a [`warp::State`] of their own, opened by `block.rs` as barriers are. TMA and
//! `cp.async.bulk` are further kinds of pending copies: `copies.rs` moves from the warp to the block, because an mbarrier
//! and not a thread's wait lets them land. wgmma reads shared memory through `access.rs` at its issue or, as the checks
//! wish, at its wait, and keeps its groups as `copies.rs` keeps them. A cluster is a set of resident blocks started
//! together: `grid.rs` chooses the block of a turn, and shared addresses of other blocks are one more window in
//! `memory/mod.rs`.

mod access;
mod alu;
mod block;
mod config;
mod copies;
mod exec;
mod fault;
mod files;
mod gpu;
mod grid;
mod integer;
mod launch;
mod lower;
mod memory;
mod program;
mod random;
mod rmw;
mod sync;
mod tensor;
#[cfg(test)]
mod tests;
mod warp;

pub use crate::numerics::Architecture;
pub use config::{Config, Grid};
pub use fault::{Fault, Near, Site, Waiting};
pub use gpu::{Gpu, KernelId, ModuleId};
pub use grid::Report;

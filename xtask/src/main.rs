//! `cargo xtask TASK`: what is done to this repository by hand or by CI, and is no part of the program.

mod bundle;
mod long;
mod ptx;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of this repository")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compile kernels/cuda to the PTX that is committed, or check that it is up to date.
    Ptx(ptx::Options),
    /// Make a folder that measures any machine with an NVIDIA GPU.
    GpuBundle(bundle::Options),
    /// Run the suites that are too long for CI and write their log.
    Long(long::Options),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Ptx(options) => ptx::run(&options),
        Task::GpuBundle(options) => bundle::run(&options),
        Task::Long(options) => long::run(&options),
    }
}

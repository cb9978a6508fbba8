//! The `octo-engine` command: one file a subcommand, no logic of its own.

mod bench;
mod convert;
mod data;
mod doctor;
mod eval;
mod generate;
mod io;
mod logprobs;
mod model;
mod plot;
mod rl;
mod selftest;
mod terminal;
mod train;
mod verify;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// Train, evaluate and sample Llama- and Qwen2-shaped models from one binary.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 stopped by a guard (a loss or gradient that is not finite, a collapse), 75 interrupted
/// with its state saved: run the same command again.
#[derive(Parser)]
#[command(name = "octo-engine", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model as a recipe says.
    Train(train::Args),
    /// Train a policy on verifiable rewards, as a recipe says.
    Rl(rl::Args),
    /// Continue prompts.
    Generate(generate::Args),
    /// Log-probabilities of given texts or tokens.
    Logprobs(logprobs::Args),
    /// Draw loss, held-out loss, learning rate, gradient norm and tokens/s of runs.
    Plot(plot::Args),
    /// Prepare data.
    #[command(subcommand)]
    Data(data::Command),
    /// What do models score on benchmarks?
    Eval(Box<eval::Args>),
    /// Is this answer right?
    Verify(verify::Args),
    /// Copy a model in another dtype, or average several.
    Convert(convert::Args),
    /// Verify a run, checkpoint, model or shards; or describe this machine.
    Doctor(doctor::Args),
    /// Does this device compute every op as it is defined?
    Selftest(selftest::Args),
    /// How fast does this device compute each op, at the shapes of real models?
    Bench(bench::Args),
}

/// A run that a guard stopped: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct StoppedByGuard(String);

/// A run that was asked to stop and has saved its state: exit code 75, which batch systems take for "run again".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Interrupted(String);

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("OCTO_LOG"))
        .with_writer(std::io::stderr)
        .init();
    let outcome = match Cli::parse().command {
        Command::Train(args) => train::run(args),
        Command::Rl(args) => rl::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Logprobs(args) => logprobs::run(args),
        Command::Plot(args) => plot::run(args),
        Command::Data(command) => data::run(command),
        Command::Eval(args) => eval::run(*args),
        Command::Verify(args) => verify::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Selftest(args) => selftest::run(args),
        Command::Bench(args) => bench::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done when even this cannot be written.
            let _ = writeln!(std::io::stderr(), "error: {}", told(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match () {
        () if error.is::<StoppedByGuard>() => 3,
        () if error.is::<Interrupted>() => 75,
        () => 1,
    }
}

/// An error with its causes, each said once: some errors say their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whoever read our output has had enough, as `head` does: no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

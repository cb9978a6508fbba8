//! `cargo xtask long`: a small run killed again and again, held bit for bit against one left alone; and long walks.
//!
//! Two suites kill. `kills` ends the run by `kill -9` at random moments, several times a run, until so many kills have
//! hit; `operations` ends it before each of its operations on the disk, one after the other. Each writes a log
//! of JSON lines: a header, a line a run, a summary. A suite that is interrupted goes on behind the last line of
//! its log when it is started again with the same program.
//!
//! The others do not: `scheduler` walks the scheduler of generation a million random steps
//! (`engine/infer/src/scheduler/model.rs`) and adds a line to its log; `sampler`, `ladder` and `still` are told of in their
//! own files.
//!
//! What this does not hold: power cuts (octo-durable's own tests undo what was not synced) and damaged
//! checkpoints (`tests/program/resuming.rs`). Read `suite.rs` first.

mod compare;
mod ladder;
mod log;
mod sampler;
mod scene;
mod still;
mod suite;
mod walk;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is killed, and how often.
#[derive(clap::Args)]
pub struct Options {
    /// Which suites; all by default.
    #[arg(value_enum)]
    suites: Vec<Which>,
    /// How many kills have to hit in `kills`.
    #[arg(long, default_value_t = 300)]
    kills: u64,
    /// Of the moments in `kills`.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these tasks of the ladder; all by default.
    #[arg(long, value_name = "TASK", value_delimiter = ',')]
    rungs: Vec<String>,
    /// Where logs go, named by day and suite; those of today are gone on with.
    #[arg(long, default_value = "benches/results/long")]
    logs: PathBuf,
    /// Take this program instead of building the release binary.
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// A suite as users name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Kills at random moments.
    Kills,
    /// A kill before each operation on the disk.
    Operations,
    /// A million random steps of the scheduler of generation.
    Scheduler,
    /// Draws against exact distributions, and those of the simulated GPU against the host's.
    Sampler,
    /// What reinforcement has to learn.
    Ladder,
    /// Reinforcement at a learning rate of 0.
    Still,
}

/// A way to kill a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Suite {
    /// At random moments.
    Kills,
    /// Before each operation on the disk.
    Operations,
}

impl Which {
    /// The way to kill, if the suite kills.
    fn kills(self) -> Option<Suite> {
        match self {
            Which::Kills => Some(Suite::Kills),
            Which::Operations => Some(Suite::Operations),
            Which::Scheduler | Which::Sampler | Which::Ladder | Which::Still => None,
        }
    }
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Suite::Kills => "kills",
            Suite::Operations => "operations",
        }
    }
}

/// Runs the suites that are asked for.
pub fn run(options: &Options) -> Result<()> {
    let repository =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    let all =
        [Which::Scheduler, Which::Sampler, Which::Kills, Which::Operations, Which::Still, Which::Ladder];
    let suites = if options.suites.is_empty() { &all[..] } else { &options.suites };
    let logs = repository.join(&options.logs);
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    if suites.contains(&Which::Scheduler) {
        let log = logs.join(format!("{}-scheduler.jsonl", today()?));
        walk::run(repository, &log, &commit(repository)?)?;
    }
    if suites.contains(&Which::Sampler) {
        let log = logs.join(format!("{}-sampler.jsonl", today()?));
        sampler::run(repository, &log, &commit(repository)?)?;
    }
    let kills: Vec<Suite> = suites.iter().filter_map(|suite| suite.kills()).collect();
    let (ladder, still) = (suites.contains(&Which::Ladder), suites.contains(&Which::Still));
    if kills.is_empty() && !ladder && !still {
        return Ok(());
    }
    let program = match &options.program {
        Some(path) => path.clone(),
        None => build(repository)?,
    };
    let mut unequal = 0;
    for suite in kills {
        let path = logs.join(format!("{}-{}.jsonl", today()?, suite.name()));
        let folder = repository.join("target/long").join(suite.name());
        unequal += suite::run(suite, options, &program, &folder, &path, &commit(repository)?)?;
    }
    if still {
        let log = logs.join(format!("{}-still.jsonl", today()?));
        still::run(&program, repository, &repository.join("target/long/still"), &log, &commit(repository)?)?;
    }
    let missed = match ladder {
        false => 0,
        true => {
            let log = logs.join(format!("{}-ladder.jsonl", today()?));
            let folder = repository.join("target/long/ladder");
            ladder::run(&options.rungs, &program, repository, &folder, &log, &commit(repository)?)?
        }
    };
    match (unequal, missed) {
        (0, 0) => Ok(()),
        (0, n) => bail!("{n} tasks of the ladder stayed below their bars"),
        (n, _) => {
            bail!("{n} runs did not end with the bits of the one left alone; target/long/ has kept them")
        }
    }
}

fn build(repository: &Path) -> Result<PathBuf> {
    eprintln!("building the release binary");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(repository);
    command.args(["build", "--release", "--locked", "--package", "octo", "--bin", "octo-engine"]);
    if !command.status().context("cannot start cargo")?.success() {
        bail!("the release binary does not build");
    }
    Ok(repository.join("target/release/octo-engine"))
}

/// The commit that is tested, marked where files differ from it.
fn commit(repository: &Path) -> Result<String> {
    said(Command::new("git").current_dir(repository).args([
        "describe",
        "--always",
        "--dirty",
        "--exclude=*",
        "--abbrev=12",
    ]))
}

/// The day, in universal time.
fn today() -> Result<String> {
    said(Command::new("date").args(["-u", "+%Y-%m-%d"]))
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

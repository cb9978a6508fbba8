//! `cargo xtask long ladder`: small tasks that reinforcement has to learn, each by its recipe and up to its bar.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A task and what it has to come to.
struct Rung {
    /// Of its recipe in `recipes/ladder/`; the one of its supervised start ends in `-start`.
    name: &'static str,
    starts: bool,
    /// The figure that is looked at, and over how many of its last values.
    figure: &'static str,
    last: usize,
    /// What it has to pass.
    bar: f64,
}

const RUNGS: [Rung; 5] = [
    Rung { name: "bandit", starts: false, figure: "critic/score/mean", last: 5, bar: 0.99 },
    Rung { name: "modular-addition", starts: false, figure: "val/test_score/sums", last: 1, bar: 0.95 },
    Rung { name: "reversed-addition", starts: true, figure: "val/test_score/sums", last: 1, bar: 0.95 },
    Rung { name: "reversal", starts: true, figure: "val/test_score/strings", last: 1, bar: 0.9 },
    Rung { name: "fractions", starts: true, figure: "val/test_score/fractions", last: 1, bar: 0.8 },
];

/// A line of the log.
#[derive(Serialize)]
struct Line<'a> {
    commit: &'a str,
    task: &'a str,
    figure: &'a str,
    bar: f64,
    /// Its first value and its last.
    first: f64,
    reached: f64,
    steps: u64,
    seconds: f64,
    passed: bool,
}

/// Climbs rungs from new, all or those that are named; returns how many were not passed.
pub fn run(
    named: &[String],
    program: &Path,
    repository: &Path,
    folder: &Path,
    log: &Path,
    commit: &str,
) -> Result<u64> {
    if let Some(unknown) = named.iter().find(|name| RUNGS.iter().all(|rung| rung.name != **name)) {
        bail!("the ladder has no `{unknown}`, but {}", RUNGS.map(|rung| rung.name).join(", "));
    }
    let mut missed = 0;
    for rung in RUNGS.iter().filter(|rung| named.is_empty() || named.iter().any(|name| name == rung.name)) {
        let at = folder.join(rung.name);
        if at.exists() {
            std::fs::remove_dir_all(&at).with_context(|| format!("cannot remove {}", at.display()))?;
        }
        let recipe = |name: String| repository.join("recipes/ladder").join(name + ".toml");
        let mut sets = vec![format!("run.dir={}", at.join("run").display())];
        if rung.starts {
            let start = at.join("start");
            engine(
                program,
                "train",
                &recipe(format!("{}-start", rung.name)),
                &[format!("run.dir={}", start.display())],
            )?;
            sets.push(format!("model.from={}", start.join("checkpoints/latest").display()));
        }
        engine(program, "rl", &recipe(rung.name.to_owned()), &sets)?;
        let line = judge(rung, &at.join("run/metrics.jsonl"), commit)?;
        missed += u64::from(!line.passed);
        let text = serde_json::to_string(&line)?;
        println!("{text}");
        let mut log = OpenOptions::new().create(true).append(true).open(log)?;
        writeln!(log, "{text}")?;
    }
    Ok(missed)
}

/// Runs a recipe with some of its keys set.
pub fn engine(program: &Path, what: &str, recipe: &Path, sets: &[String]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(what).arg(recipe).args(sets.iter().flat_map(|set| ["--set", set]));
    if !command.status().with_context(|| format!("cannot start {}", program.display()))?.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}

fn judge<'a>(rung: &'a Rung, metrics: &Path, commit: &'a str) -> Result<Line<'a>> {
    let text = std::fs::read_to_string(metrics).with_context(|| metrics.display().to_string())?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let of = |name: &str| -> Vec<f64> { lines.iter().filter_map(|line| line.get(name)?.as_f64()).collect() };
    let values = of(rung.figure);
    let Some(first) = values.first().copied() else { bail!("{} has no {}", metrics.display(), rung.figure) };
    let last = &values[values.len().saturating_sub(rung.last)..];
    let reached = last.iter().sum::<f64>() / last.len() as f64;
    Ok(Line {
        commit,
        task: rung.name,
        figure: rung.figure,
        bar: rung.bar,
        first,
        reached,
        steps: lines.iter().filter_map(|line| line.get("step")?.as_u64()).max().unwrap_or(0),
        seconds: of("timing_s/step").iter().sum(),
        passed: reached > rung.bar,
    })
}

//! `selftest`: does this device compute every op as it is defined?

use crate::io::{LineWriter, say};
use crate::model::parse_device;
use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use octo_ops::{Op, grid};
use octo_proof::{Suite, SuiteCase, Verdict};
use octo_queue::{DeviceKind, open};
use serde::Serialize;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Arguments of `selftest`.
#[derive(clap::Args)]
pub struct Args {
    /// Only cases whose name holds this, such as `rms_norm` or `rms_norm/bf16/7x129`.
    filter: Option<String>,
    /// Where to compute: auto, cpu, cuda or sim.
    #[arg(long, default_value = "auto", value_parser = parse_device)]
    device: DeviceKind,
    /// CPU threads, which share out the cases; all of the machine's by default. Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Also cases at the sizes of 0.5B to 8B models: minutes on a simulated GPU.
    #[arg(long)]
    full: bool,
    /// Begin no case after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    budget: Option<u64>,
    /// Write lines {"case": ..., "ok": ..., "seconds": ..., "error": ...} here, each as soon as it is known.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    ok: bool,
    /// What it took, the wait for its turn on a GPU included.
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// What came of the cases of an op.
#[derive(Default)]
struct Tally {
    right: usize,
    wrong: usize,
    /// The device has no way to compute them.
    refused: usize,
    /// Time ran out before them.
    left: usize,
}

impl Tally {
    fn told(&self) -> String {
        let parts = [
            (self.right, "right"),
            (self.wrong, "WRONG"),
            (self.refused, "not computed on this device"),
            (self.left, "not reached in time"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        parts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }
}

/// Failures that are printed; all are written to `--output`.
const PRINTED: usize = 20;

/// Runs `selftest`.
pub fn run(args: Args) -> Result<()> {
    let threads = args.threads.map(|threads| threads as usize);
    // Stays open beside the queues of the cases, so that a GPU's context is made once.
    let device = open(args.device, threads)?;
    say(&device.describe().description)?;
    let mut cases: Vec<SuiteCase> = Op::all_cases().into_iter().map(SuiteCase::ready).collect();
    cases.extend(grid().into_iter().filter(|_| args.full).map(SuiteCase::Grid));
    cases.retain(|case| args.filter.as_deref().is_none_or(|part| case.name().contains(part)));
    if cases.is_empty() {
        bail!("no case has such a name; they begin with an op's, such as rms_norm");
    }
    let mut lines = LineWriter::open(args.output.as_deref())?;
    let until = args.budget.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut tally = |name: &str, count: fn(&mut Tally) -> &mut usize| {
        let op = name.split('/').next().unwrap_or(name);
        *count(tallies.entry(op.to_owned()).or_default()) += 1;
    };
    cases.retain(|case| {
        let computed = device.supports(&case.op());
        if !computed {
            tally(case.name(), |tally| &mut tally.refused);
        }
        computed
    });
    let bar = bar(cases.len());
    let mut wrong = 0;
    let all = std::thread::available_parallelism().map_or(1, NonZero::get);
    // The kind that `auto` has come to.
    let kind = device.describe().kind;
    let named = DeviceKind::NAMES.iter().find(|(name, _)| *name == kind);
    let suite = Suite {
        device: named.map_or(args.device, |(_, kind)| *kind),
        threads: threads.unwrap_or(all),
        until,
    };
    suite.run(&cases, |number, verdict, took| {
        let name = cases[number].name();
        bar.set_message(name.to_owned());
        bar.inc(1);
        let error = match &verdict {
            Verdict::Wrong(failure) => Some(failure.to_string()),
            Verdict::Right | Verdict::Left => None,
        };
        if !matches!(verdict, Verdict::Left) {
            let seconds = took.as_secs_f64();
            lines.write(&Line { case: name, ok: error.is_none(), seconds, error: error.as_deref() })?;
        }
        tally(
            name,
            match verdict {
                Verdict::Right => |tally| &mut tally.right,
                Verdict::Wrong(_) => |tally| &mut tally.wrong,
                Verdict::Left => |tally| &mut tally.left,
            },
        );
        if let Some(error) = error {
            wrong += 1;
            if wrong <= PRINTED {
                bar.suspend(|| say(&format!("{name}: {error}")))?;
            }
        }
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    for (op, tally) in &tallies {
        say(&format!("{op:24} {}", tally.told()))?;
    }
    if wrong > 0 {
        bail!("{wrong} cases are wrong on {}", device.describe().kind);
    }
    Ok(())
}

fn bar(cases: usize) -> ProgressBar {
    let bar = ProgressBar::new(cases as u64);
    match ProgressStyle::with_template("{bar:30} {pos}/{len}  {eta} left  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

//! `selftest`: does this device compute every op as it is defined?

use crate::io::{LineWriter, say};
use crate::model::parse_device;
use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use octo_ops::{Case, GridCase, Op, grid};
use octo_queue::{DeviceKind, open};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
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
    /// CPU threads, also of the simulated GPU; all of the machine's by default. Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Also cases at the sizes of 0.5B to 8B models: minutes on a simulated GPU.
    #[arg(long)]
    full: bool,
    /// Begin no case after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    budget: Option<u64>,
    /// Write lines {"case": ..., "ok": ..., "error": ...} here, each as soon as it is known.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    ok: bool,
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
    let mut cases: Vec<Source> = Op::all_cases().into_iter().map(Source::ready).collect();
    cases.extend(grid().into_iter().filter(|_| args.full).map(Source::Grid));
    cases.retain(|case| args.filter.as_deref().is_none_or(|part| case.name().contains(part)));
    if cases.is_empty() {
        bail!("no case has such a name; they begin with an op's, such as rms_norm");
    }
    let mut lines = LineWriter::open(args.output.as_deref())?;
    let until = args.budget.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let bar = bar(cases.len());
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut wrong = 0;
    for source in &cases {
        let name = source.name();
        let tally = tallies.entry(name.split('/').next().unwrap_or(name)).or_default();
        bar.set_message(name.to_owned());
        let case = source.case();
        if !device.supports(&case.op) {
            tally.refused += 1;
        } else if until.is_some_and(|until| Instant::now() >= until) {
            tally.left += 1;
        } else {
            let error =
                octo_proof::check(&case, || open(args.device, threads)).err().map(|error| error.to_string());
            lines.write(&Line { case: name, ok: error.is_none(), error: error.as_deref() })?;
            match &error {
                None => tally.right += 1,
                Some(error) => {
                    tally.wrong += 1;
                    wrong += 1;
                    if wrong <= PRINTED {
                        bar.suspend(|| say(&format!("{name}: {error}")))?;
                    }
                }
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for (op, tally) in &tallies {
        say(&format!("{op:24} {}", tally.told()))?;
    }
    if wrong > 0 {
        bail!("{wrong} cases are wrong on {}", device.describe().kind);
    }
    Ok(())
}

/// A case that is there, or one that is made when its turn comes.
enum Source {
    Ready(String, Box<Case>),
    Grid(GridCase),
}

impl Source {
    fn ready(case: Case) -> Source {
        Source::Ready(format!("{}/{}", case.op.name(), case.name), Box::new(case))
    }

    fn name(&self) -> &str {
        match self {
            Source::Ready(name, _) => name,
            Source::Grid(case) => &case.name,
        }
    }

    fn case(&self) -> Cow<'_, Case> {
        match self {
            Source::Ready(_, case) => Cow::Borrowed(case.as_ref()),
            Source::Grid(case) => Cow::Owned(case.make()),
        }
    }
}

fn bar(cases: usize) -> ProgressBar {
    let bar = ProgressBar::new(cases as u64);
    match ProgressStyle::with_template("{bar:30} {pos}/{len}  {eta} left  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

//! `bench`: how fast does this device compute each op, at the shapes of real models?

mod cases;
mod rollout;

use crate::io::{LineWriter, say};
use crate::model::parse_device;
use anyhow::{Result, bail};
use cases::{Case, MODELS, Model, cases};
use octo_ops::{Cost, DType};
use octo_queue::{DeviceKind, Queue, open};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Arguments of `bench`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    whole: Option<Whole>,
    /// Only cases whose name holds this, such as `rms_norm` or `/8b/`.
    filter: Option<String>,
    /// Where to compute: auto, cpu, cuda or sim.
    #[arg(long, default_value = "auto", value_parser = parse_device)]
    device: DeviceKind,
    /// CPU threads, also of the simulated GPU; all of the machine's by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Shapes: 1b, 8b or tiny. May be given several times; 1b and 8b by default.
    #[arg(long = "model", value_name = "NAME", value_parser = parse_model)]
    models: Vec<Model>,
    /// Begin no case after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    budget: Option<u64>,
    /// Write lines with every sample here, each as soon as it is known.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is timed as a whole rather than op by op.
#[derive(clap::Subcommand)]
enum Whole {
    /// Generation by a model with random weights: tokens a second, time to the first token, cache use.
    Rollout(rollout::Args),
}

fn parse_model(name: &str) -> Result<Model, String> {
    let found = MODELS.into_iter().find(|model| model.name == name);
    found.ok_or_else(|| format!("not a model; models are {}", MODELS.map(|model| model.name).join(", ")))
}

/// Samples a case; each lasts as long as this at least, so that one launch's delay counts for nothing.
const SAMPLES: usize = 7;
const SAMPLE: Duration = Duration::from_millis(20);

#[derive(Serialize)]
struct Line<'a> {
    device: &'a str,
    case: &'a str,
    /// Of one op, ascending.
    microseconds: Vec<f64>,
    flops: u64,
    bytes: u64,
    /// Operand sets, gone through in turn.
    sets: usize,
}

/// Runs `bench`.
pub fn run(args: Args) -> Result<()> {
    if let Some(Whole::Rollout(args)) = args.whole {
        return rollout::run(args);
    }
    let device = open(args.device, args.threads.map(|n| n as usize))?;
    let info = device.describe();
    drop(device);
    say(&info.description)?;
    let models = if args.models.is_empty() { MODELS[1..].to_vec() } else { args.models.clone() };
    let mut chosen: Vec<Case> = models.iter().flat_map(cases).collect();
    chosen.retain(|case| args.filter.as_deref().is_none_or(|part| case.name.contains(part)));
    if chosen.is_empty() {
        bail!("no case has such a name; names are like gate_up_swiglu/8b/32x28672x4096");
    }
    let mut lines = LineWriter::open(args.output.as_deref())?;
    let until = args.budget.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    say(&format!("{:52} {:>10} {:>10} {:>9} {:>9}", "case", "median µs", "least µs", "TFLOP/s", "GB/s"))?;
    for (i, case) in chosen.iter().enumerate() {
        if until.is_some_and(|until| Instant::now() >= until) {
            return say(&format!("{} cases not reached in time", chosen.len() - i));
        }
        // A queue a case: its memory goes back before the next.
        let mut queue = open(args.device, args.threads.map(|n| n as usize))?;
        let activation = if info.kind == "cpu" { DType::F32 } else { DType::Bf16 };
        let Some(timed) = time(case, &mut queue, activation)? else {
            say(&format!("{:52} not computed on this device", case.name))?;
            continue;
        };
        let (median, least) = (timed.microseconds[SAMPLES / 2], timed.microseconds[0]);
        let Cost { flops, bytes } = timed.cost;
        say(&format!(
            "{:52} {median:10.1} {least:10.1} {:9.2} {:9.1}",
            case.name,
            flops as f64 / median / 1e6,
            bytes as f64 / median / 1e3
        ))?;
        lines.write(&Line {
            device: &info.description,
            case: &case.name,
            microseconds: timed.microseconds,
            flops,
            bytes,
            sets: timed.sets,
        })?;
    }
    Ok(())
}

struct Timed {
    microseconds: Vec<f64>,
    cost: Cost,
    sets: usize,
}

/// Times one op by replays of a program over all operand sets; `None` where the device cannot compute it.
fn time(case: &Case, queue: &mut Queue, activation: DType) -> Result<Option<Timed>> {
    let prepared = case.prepare(queue, activation)?;
    queue.seal();
    if !queue.supports(&prepared.ops[0]) {
        return Ok(None);
    }
    for fill in prepared.fills {
        queue.run(fill)?;
    }
    for (view, words) in prepared.words {
        queue.upload(view, &words.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>())?;
    }
    let program = queue.capture(|queue| prepared.ops.iter().try_for_each(|op| queue.run(*op)))?;
    let mut replays = |times: u32| -> Result<Duration> {
        let began = Instant::now();
        for _ in 0..times {
            queue.replay(program)?;
        }
        queue.wait()?;
        Ok(began.elapsed())
    };
    replays(1)?;
    let once = replays(1)?.max(Duration::from_nanos(100));
    let times = (SAMPLE.as_secs_f64() / once.as_secs_f64()).ceil().clamp(1.0, 1e5) as u32;
    let sets = prepared.ops.len();
    let mut microseconds = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        microseconds.push(replays(times)?.as_secs_f64() * 1e6 / f64::from(times) / sets as f64);
    }
    microseconds.sort_by(f64::total_cmp);
    Ok(Some(Timed { microseconds, cost: prepared.ops[0].cost(), sets }))
}

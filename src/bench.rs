//! `bench`: how fast does this device compute each op, at the shapes of real models, and how fast should it?

mod compare;
mod predict;
mod rollout;
mod sweep;
mod whole;

use crate::io::{LineWriter, say};
use crate::model::parse_device;
use anyhow::{Context, Result, bail};
use octo_proof::{BenchCase, BenchModel, Chip, MODELS, Predictor, Ready, bench_cases};
use octo_queue::{DeviceKind, open_with};
use predict::Predicted;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Arguments of `bench`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    rollout: Option<Generation>,
    /// Only cases whose name holds this, such as `rms_norm` or `/8b/`. `step` and `decode` are whole passes of a model:
    /// they run only if asked for by name, as `step` or `decode/8b/32`.
    filter: Option<String>,
    /// Where to compute: auto, cpu, cuda or sim. On sim nothing is timed: its counts give a time for a GPU.
    #[arg(long, default_value = "auto", value_parser = parse_device)]
    device: DeviceKind,
    /// CPU threads, also of the simulated GPU; all of the machine's by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Shapes: 1b, 3b, 8b or tiny. May be given several times; 1b and 8b by default.
    #[arg(long = "model", value_name = "NAME", value_parser = parse_model)]
    models: Vec<BenchModel>,
    /// The GPU to predict for: h200, h100 or a100; that of the device by default, and h200 on sim.
    #[arg(long, value_name = "NAME", value_parser = parse_chip)]
    chip: Option<&'static Chip>,
    /// Only measure: a prediction takes the host seconds an op, which a GPU that is lent for minutes should not wait for.
    #[arg(long, conflicts_with = "chip")]
    measure_only: bool,
    /// Try every row of the tuning table that can serve a case, and say which is fastest.
    #[arg(long)]
    sweep: bool,
    /// Run nothing: ratios of two files that `--output` wrote, or of two of benches/results.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["filter", "sweep", "models", "chip"])]
    compare: Vec<PathBuf>,
    /// Begin no case after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    budget: Option<u64>,
    /// Write lines with every sample here, each as soon as it is known.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is timed by itself, with arguments of its own.
#[derive(clap::Subcommand)]
enum Generation {
    /// Generation by a model with random weights: tokens a second, time to the first token, cache use.
    Rollout(rollout::Args),
}

fn parse_model(name: &str) -> Result<BenchModel, String> {
    let found = MODELS.into_iter().find(|model| model.name == name);
    found.ok_or_else(|| format!("not a model; models are {}", MODELS.map(|model| model.name).join(", ")))
}

fn parse_chip(name: &str) -> Result<&'static Chip, String> {
    Chip::named(name)
        .ok_or_else(|| format!("not a chip; chips are {}", Chip::ALL.map(|chip| chip.name).join(", ")))
}

#[derive(Serialize)]
struct Line<'a> {
    device: &'a str,
    case: &'a str,
    /// Of one op, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    microseconds: Vec<f64>,
    flops: u64,
    bytes: u64,
    /// Operand sets, gone through in turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    sets: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted: Option<Predicted>,
}

/// What every part of `bench` works with.
struct Bench {
    kind: DeviceKind,
    threads: Option<usize>,
    /// As the device describes itself.
    device: String,
    /// Whether the device is timed; the simulated one is not.
    measured: bool,
    /// Where predictions are made.
    predictor: Option<Predictor>,
    lines: LineWriter,
    until: Option<Instant>,
}

impl Bench {
    fn new(args: &Args) -> Result<Bench> {
        let threads = args.threads.map(|n| n as usize);
        let info = open_with(args.device, threads, &[])?.describe();
        let named = info.description.to_lowercase();
        let measured = info.kind != "sim";
        let own = Chip::ALL.iter().find(|chip| named.contains(chip.name));
        if args.measure_only && !measured {
            bail!("nothing is measured on sim; leave --measure-only out for predictions");
        }
        let chip = match (measured, info.kind) {
            _ if args.measure_only => None,
            (false, _) => args.chip.or(Chip::named("h200")),
            (true, "cuda") => args.chip.or(own),
            _ => args.chip,
        };
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Ok(Bench {
            kind: args.device,
            threads,
            device: info.description,
            measured,
            predictor: chip.map(|chip| Predictor::new(chip, threads.unwrap_or_else(cores))),
            lines: LineWriter::open(args.output.as_deref())?,
            until: args.budget.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        })
    }

    fn out_of_time(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// Runs `bench`.
pub fn run(args: Args) -> Result<()> {
    if let Some(Generation::Rollout(args)) = args.rollout {
        return rollout::run(args);
    }
    if let [a, b] = args.compare.as_slice() {
        return compare::run(a, b, LineWriter::open(args.output.as_deref())?);
    }
    let mut bench = Bench::new(&args)?;
    say(&bench.device)?;
    if let Some(predictor) = &bench.predictor {
        say(&format!(
            "predicted for {}; what its numbers rest on: docs/performance.md",
            predictor.chip().name
        ))?;
    }
    let models = match args.models.as_slice() {
        [] => MODELS.into_iter().filter(|model| ["1b", "8b"].contains(&model.name)).collect(),
        models => models.to_vec(),
    };
    let filter = args.filter.as_deref().unwrap_or_default();
    if filter.starts_with("step") || filter.starts_with("decode") {
        return whole::run(&mut bench, &models, filter);
    }
    let mut chosen: Vec<BenchCase> = models.iter().flat_map(bench_cases).collect();
    chosen.retain(|case| case.name.contains(filter));
    if chosen.is_empty() {
        bail!(
            "no case has such a name; names are like gate_up_swiglu/8b/32x28672x4096, step/8b or decode/1b/32"
        );
    }
    if args.sweep {
        return sweep::run(&mut bench, &chosen);
    }
    say(&predict::heading(bench.measured))?;
    for (i, case) in chosen.iter().enumerate() {
        if bench.out_of_time() {
            return say(&format!("{} cases not reached in time", chosen.len() - i));
        }
        one(&mut bench, case)?;
    }
    Ok(())
}

/// Times and predicts one case.
fn one(bench: &mut Bench, case: &BenchCase) -> Result<()> {
    let predicted = match &mut bench.predictor {
        Some(predictor) => Some(predict::case(predictor, case)?),
        None => None,
    };
    let (mut microseconds, mut sets, mut median) = (Vec::new(), None, None);
    let mut cost = case.op()?.cost();
    if bench.measured {
        // A queue a case: its memory goes back before the next.
        let queue = open_with(bench.kind, bench.threads, &[])?;
        let Some(ready) = Ready::new(case, queue)? else {
            return say(&format!("{:52} not computed on this device", case.name));
        };
        let timed = ready.sample().with_context(|| case.name.clone())?;
        median = Some(timed.median());
        (microseconds, sets, cost) = (timed.microseconds, Some(timed.sets), timed.cost);
    }
    say(&predict::row(&case.name, cost, median, predicted.as_ref()))?;
    let (flops, bytes) = (cost.flops, cost.bytes);
    bench.lines.write(&Line {
        device: &bench.device,
        case: &case.name,
        microseconds,
        flops,
        bytes,
        sets,
        predicted,
    })
}

//! `plot`: draw what runs have written into their metrics.

use crate::io::say;
use anyhow::{Context, Result, bail};
use octo_durable::{Disk, write_bytes};
use octo_report::{Metric, Options, Run, Theme, X, distinct_names, figure, png, read, summary, svg};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Arguments of `plot`.
#[derive(clap::Args)]
pub struct Args {
    /// Folders of runs, or their metrics.jsonl.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where to: FILE.svg, FILE.png, a folder (for metrics.svg in it), or - for SVG on standard output.
    /// Default: plots/metrics.svg in the run's folder, or plots/comparison.svg in that of the first of several.
    #[arg(long, value_name = "FILE|DIR|-")]
    output: Option<PathBuf>,
    /// One panel each: loss, held_out, lr, grad_norm, tokens_per_sec; of RL runs accuracy, correct_length, score, entropy,
    /// length, length_cap; any field of metrics.jsonl, or PREFIX/* for all fields that begin so. Default: all of these that
    /// there are.
    #[arg(long, value_delimiter = ',', value_name = "METRIC,…")]
    metrics: Vec<String>,
    /// Average noisy metrics over so many steps; 1 shows them as they are. Default: a fiftieth of the longest
    /// run.
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    smooth: Option<u64>,
    /// What runs from left to right.
    #[arg(long, default_value = "steps")]
    x: Across,
    /// Leave out the steps before this one.
    #[arg(long, value_name = "STEP", default_value_t = 0, hide_default_value = true)]
    from: u64,
    /// Leave out the steps after this one.
    #[arg(long, value_name = "STEP", default_value_t = u64::MAX, hide_default_value = true)]
    to: u64,
    /// Logarithmic y axes, for these metrics or, without any, for all that are drawn.
    #[arg(long, value_delimiter = ',', value_name = "METRIC,…", num_args = 0..=1, require_equals = true)]
    log_y: Option<Vec<String>>,
    /// A line above the figure.
    #[arg(long)]
    title: Option<String>,
    /// Colours: a PNG is light unless told otherwise; an SVG follows its reader.
    #[arg(long)]
    theme: Option<Colours>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Across {
    Steps,
    Tokens,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Colours {
    Light,
    Dark,
}

/// What a path asks for.
enum Output {
    Svg(PathBuf),
    Png(PathBuf),
    Stdout,
}

/// Runs `plot`.
pub fn run(args: Args) -> Result<()> {
    let options = options(&args)?;
    let mut runs = Vec::new();
    for path in &args.runs {
        let run = read(path, &options.metrics)?;
        for note in &run.notes {
            // A note that cannot be shown must not keep the figure back.
            let _ = writeln!(std::io::stderr(), "note: {note}");
        }
        runs.push(run);
    }
    distinct_names(&mut runs);
    let output = output(&args, &runs)?;
    let scene = figure(&runs, &options)?;
    let theme = args.theme.map(|theme| match theme {
        Colours::Light => Theme::Light,
        Colours::Dark => Theme::Dark,
    });
    let (path, bytes) = match output {
        Output::Stdout => return Ok(std::io::stdout().write_all(svg(&scene, theme).as_bytes())?),
        Output::Svg(path) => (path, svg(&scene, theme).into_bytes()),
        Output::Png(path) => (path, png(&scene, theme.unwrap_or_default())?),
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    write_bytes(&Disk, &path, &bytes)?;
    if std::io::stdout().is_terminal() {
        for line in runs.iter().filter_map(summary) {
            say(&line)?;
        }
    }
    say(&path.display().to_string())
}

fn options(args: &Args) -> Result<Options> {
    let mut options = Options {
        smooth: args.smooth.map(|steps| usize::try_from(steps).unwrap_or(usize::MAX)),
        x: match args.x {
            Across::Steps => X::Steps,
            Across::Tokens => X::Tokens,
        },
        steps: args.from..=args.to,
        title: args.title.clone(),
        ..Options::default()
    };
    if !args.metrics.is_empty() {
        options.metrics = args.metrics.iter().map(|name| Metric::named(name)).collect();
        options.leave_out = false;
    }
    if let Some(names) = &args.log_y {
        let drawn: BTreeSet<String> = options.metrics.iter().map(|metric| metric.name().to_owned()).collect();
        if let Some(other) = names.iter().find(|name| !drawn.contains(*name)) {
            let drawn = drawn.into_iter().collect::<Vec<_>>().join(", ");
            bail!("--log-y={other}: no panel shows that; the panels are {drawn}");
        }
        options.log_y = if names.is_empty() { drawn } else { names.iter().cloned().collect() };
    }
    Ok(options)
}

fn output(args: &Args, runs: &[Run]) -> Result<Output> {
    let Some(path) = &args.output else {
        // At least one run is required.
        let folder = runs.first().map(|run| run.folder.join("plots")).unwrap_or_default();
        let name = if runs.len() == 1 { "metrics.svg" } else { "comparison.svg" };
        return Ok(Output::Svg(folder.join(name)));
    };
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    match ending.as_deref() {
        _ if path.to_str() == Some("-") => Ok(Output::Stdout),
        _ if path.is_dir() || path.to_string_lossy().ends_with('/') => {
            Ok(Output::Svg(path.join("metrics.svg")))
        }
        Some("svg") => Ok(Output::Svg(path.clone())),
        Some("png") => Ok(Output::Png(path.clone())),
        _ => bail!(
            "--output {}: expected a name that ends in .svg or .png, a folder that exists or ends in /, or -",
            path.display()
        ),
    }
}

//! `train`: train a model as a recipe says.

use crate::io::say;
use crate::terminal::Terminal;
use crate::{Interrupted, StoppedByGuard};
use anyhow::{Context, Result, anyhow};
use octo_durable::KillingFs;
use octo_recipe::{Options, Recipe, ThisMachine};
use octo_trainer::{Outcome, Plant, Stop, TrainError, TrainOptions, forecast, train};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use std::path::{Path, PathBuf};

mod plan;

/// Arguments of `train`.
#[derive(clap::Args)]
pub struct Args {
    /// The recipe (docs/recipe.md lists its keys).
    recipe: PathBuf,
    /// Override a key, e.g. --set stages.0.steps=10; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Say what the run would come to (steps, tokens, passes, learning rates, memory, disk, time), or with
    /// --dry-run=recipe what the recipe resolves to; write nothing.
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "plan", hide_possible_values = true)]
    dry_run: Option<DryRun>,
    /// Start over: an earlier run in the folder is moved to its `discarded/`.
    #[arg(long)]
    fresh: bool,
    /// A key of the recipe that may differ from the run's so far; may be given several times.
    #[arg(long = "accept-change", value_name = "KEY", value_delimiter = ',')]
    accept: Vec<String>,
    /// Stop where the newest checkpoint is damaged, instead of going on from the one before it.
    #[arg(long)]
    strict_resume: bool,
    /// With --dry-run: do not look whether the recipe's paths exist.
    #[arg(long, requires = "dry_run")]
    no_paths: bool,
}

/// What a dry run says.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DryRun {
    /// What the run would come to.
    Plan,
    /// The recipe with every default written out.
    Recipe,
}

/// Runs `train`.
pub fn run(args: Args) -> Result<()> {
    let options = Options { sets: args.sets, no_paths: args.no_paths };
    let recipe = Recipe::load(&ThisMachine, &args.recipe, &options).map_err(|errors| anyhow!("{errors}"))?;
    if args.dry_run == Some(DryRun::Recipe) {
        return say(recipe.to_toml().trim_end());
    }
    let mut terminal = Terminal::new(recipe.log.every_steps);
    let train_options = TrainOptions {
        fresh: args.fresh,
        strict_resume: args.strict_resume,
        accept: args.accept,
        job: batch_job(),
        ..planted_faults()?
    };
    if args.dry_run.is_some() {
        return match options.no_paths {
            true => say(&plan::stages(&recipe, &octo_recipe::plan(&recipe, |_| None))),
            false => plan::tell(&recipe, &forecast(&recipe, &train_options, &mut terminal)?),
        };
    }
    stop_on_signals(&train_options.stop)?;
    match train(&recipe, &train_options, &mut terminal) {
        Ok(outcome) => {
            terminal.finish();
            summary(&recipe, &outcome)
        }
        Err(error @ TrainError::NotFinite { .. }) => Err(StoppedByGuard(error.to_string()).into()),
        Err(error @ TrainError::Interrupted { .. }) => Err(Interrupted(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
}

/// Faults that tests plant (docs/testing.md): `OCTO_KILL_AT=N` kills the process before its disk operation N,
/// `OCTO_PLANT_NAN=S` makes the gradient of step S NaN, `OCTO_PLANT_NAN=forward:S` its forward pass.
pub(crate) fn planted_faults() -> Result<TrainOptions> {
    let mut options = TrainOptions::default();
    if let Ok(step) = std::env::var("OCTO_PLANT_NAN") {
        let number = |step: &str| step.parse().with_context(|| format!("OCTO_PLANT_NAN={step}"));
        options.plant = Some(match step.strip_prefix("forward:") {
            Some(step) => Plant::Forward(number(step)?),
            None => Plant::Gradient(number(&step)?),
        });
    }
    if let Ok(at) = std::env::var("OCTO_KILL_AT") {
        let at = at.parse().with_context(|| format!("OCTO_KILL_AT={at}"))?;
        options.fs = Box::leak(Box::new(KillingFs::new(at)));
    }
    Ok(options)
}

/// The job of the batch system this runs under: the same when it starts the job again.
pub(crate) fn batch_job() -> Option<String> {
    ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"].into_iter().find_map(|name| std::env::var(name).ok())
}

/// SIGTERM, SIGUSR1 and SIGINT have the run save and stop. A second SIGINT, of someone at a keyboard who has lost
/// patience, ends it at once; batch systems repeat the others, which changes nothing.
pub(crate) fn stop_on_signals(stop: &Stop) -> Result<()> {
    flag::register_conditional_shutdown(SIGINT, 130, stop.flag().clone())?;
    for signal in [SIGTERM, SIGUSR1, SIGINT] {
        flag::register(signal, stop.flag().clone())?;
    }
    Ok(())
}

fn summary(recipe: &Recipe, outcome: &Outcome) -> Result<()> {
    for v in &outcome.validation {
        let below = 100.0 * (1.0 - v.loss / v.unigram);
        say(&format!(
            "held-out {}: loss {:.4}, {below:.0} % below a unigram model's {:.4}",
            v.name, v.loss, v.unigram
        ))?;
    }
    let here = std::env::current_dir().unwrap_or_default();
    let shown = |path: &Path| path.strip_prefix(&here).unwrap_or(path).display().to_string();
    say(&format!("run      {}", shown(&recipe.run.dir)))?;
    say(&format!("model    {}", shown(&outcome.model)))?;
    let prompt = recipe.samples.as_ref().and_then(|s| s.prompts.first()).map_or("Once", String::as_str);
    say(&format!(
        "next     target/release/octo-engine generate --model {} --temperature 0.7 --prompt {}",
        shown(&outcome.model),
        quoted(prompt)
    ))
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

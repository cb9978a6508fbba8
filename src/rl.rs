//! `rl`: train a policy on verifiable rewards, as a recipe says.

use crate::io::say;
use crate::terminal::Terminal;
use crate::train::{DryRun, batch_job, planted_faults, stop_on_signals};
use crate::{Interrupted, StoppedByGuard};
use anyhow::{Result, anyhow};
use octo_recipe::{Options, Recipe, ThisMachine};
use octo_rl::{RlError, RlMetrics, Watcher, foresee, reinforce};
use octo_trainer::{Observer, TrainOptions};
use std::path::PathBuf;

mod plan;

/// Arguments of `rl`.
#[derive(clap::Args)]
pub struct Args {
    /// The recipe (docs/recipe.md lists its keys, docs/rl.md says what they are for).
    recipe: PathBuf,
    /// Override a key, e.g. --set rl.steps=10; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Say what the run would come to (prompts, steps, device memory), or with --dry-run=recipe what the recipe resolves
    /// to; write nothing.
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

/// Runs `rl`.
pub fn run(args: Args) -> Result<()> {
    let no_paths = args.no_paths;
    let options = Options { sets: args.sets, no_paths };
    let recipe = Recipe::load(&ThisMachine, &args.recipe, &options).map_err(|errors| anyhow!("{errors}"))?;
    if recipe.rl.is_none() {
        return Err(RlError::NotRl.into());
    }
    if args.dry_run == Some(DryRun::Recipe) {
        return say(recipe.to_toml().trim_end());
    }
    let mut terminal = Terminal::new(recipe.log.every_steps);
    let options = TrainOptions {
        fresh: args.fresh,
        strict_resume: args.strict_resume,
        accept: args.accept,
        job: batch_job(),
        ..planted_faults()?
    };
    if args.dry_run.is_some() {
        return match no_paths {
            true => plan::steps(&recipe, None),
            false => plan::tell(&recipe, &foresee(&recipe, &options, &mut terminal)?),
        };
    }
    stop_on_signals(&options.stop)?;
    match reinforce(&recipe, &options, &mut terminal) {
        Ok(outcome) => {
            terminal.finish();
            for (name, score) in &outcome.validation {
                say(&format!("score    {name}: {score:.4}"))?;
            }
            say(&format!("run      {}", recipe.run.dir.display()))?;
            say(&format!("model    {}", outcome.model.display()))
        }
        Err(error @ (RlError::NotFinite { .. } | RlError::Failures { .. } | RlError::Collapse { .. })) => {
            Err(StoppedByGuard(error.to_string()).into())
        }
        Err(error @ RlError::Interrupted { .. }) => Err(Interrupted(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
}

impl Watcher for Terminal {
    fn rolled(&mut self, metrics: &RlMetrics) {
        let figure = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
        let figures = format!(
            "score {:.3}  length {:.0}  entropy {:.3}  norm {:.2}  {:.0} tokens/s",
            figure("critic/score/mean"),
            figure("response_length/mean"),
            figure("actor/entropy"),
            figure("actor/grad_norm"),
            metrics.tokens_per_sec,
        );
        self.progress(metrics.step, metrics.total_steps, figures);
    }

    fn observer(&mut self) -> &mut dyn Observer {
        self
    }
}

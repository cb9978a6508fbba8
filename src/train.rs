//! `train`: train a model as a recipe says.

use crate::StoppedByGuard;
use crate::io::say;
use crate::terminal::Terminal;
use anyhow::{Result, anyhow};
use octo_recipe::{Options, Recipe, ThisMachine};
use octo_trainer::{Outcome, TrainError, train};
use std::path::{Path, PathBuf};

/// Arguments of `train`.
#[derive(clap::Args)]
pub struct Args {
    /// The recipe (docs/recipe.md lists its keys).
    recipe: PathBuf,
    /// Override a key, e.g. --set stages.0.steps=10; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Check the recipe, say what it resolves to, and stop.
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: do not look whether the recipe's paths exist.
    #[arg(long, requires = "dry_run")]
    no_paths: bool,
}

/// Runs `train`.
pub fn run(args: Args) -> Result<()> {
    let options = Options { sets: args.sets, no_paths: args.no_paths };
    let recipe = Recipe::load(&ThisMachine, &args.recipe, &options).map_err(|errors| anyhow!("{errors}"))?;
    if args.dry_run {
        return say(recipe.to_toml().trim_end());
    }
    let mut terminal = Terminal::new(recipe.log.every_steps);
    match train(&recipe, &mut terminal) {
        Ok(outcome) => {
            terminal.finish();
            summary(&recipe, &outcome)
        }
        Err(error @ TrainError::NotFinite { .. }) => Err(StoppedByGuard(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
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

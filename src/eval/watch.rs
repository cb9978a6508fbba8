//! The milestones of a run as they appear.

use super::{Run, models};
use crate::io::say;
use anyhow::{Context, Result, bail};
use octo_durable::Holder;
use octo_eval::{Items, Task, checkpoints};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Between two looks at the run's folder.
const LOOK: Duration = Duration::from_secs(5);

/// Evaluates each milestone once, until the run has ended and none is left.
pub fn milestones(run: &Run, tasks: &[(Task, Items)], watched: &Path) -> Result<()> {
    if !watched.join("recipe.toml").exists() {
        bail!("{}: no run here; give the folder that the recipe names as run.dir", watched.display());
    }
    models::leave_at_once_on_signals()?;
    let fs = models::disk()?;
    let mut seen = BTreeSet::new();
    let mut told = false;
    loop {
        // Asked first: a milestone written just before the end is then found below.
        let ended = ended(watched)?;
        for milestone in checkpoints::milestones(watched)? {
            if seen.insert(milestone.clone()) {
                say(&format!("milestone {}", milestone.display()))?;
                models::one(run, tasks, &milestone, fs).with_context(|| milestone.display().to_string())?;
                run.summarise(fs)?;
            }
        }
        if let Some(state) = ended {
            return say(&format!("the run is {state}: {} milestones evaluated", seen.len()));
        }
        let abandoned = abandoned(watched)?;
        if abandoned && !told {
            say(&format!(
                "{}: no process writes here any more, yet the run has not ended; looking for it to be resumed, until Ctrl-C",
                watched.display()
            ))?;
        }
        told = abandoned;
        sleep(LOOK);
    }
}

/// How the run ended, if it did.
fn ended(run: &Path) -> Result<Option<String>> {
    let path = run.join("status.json");
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let status: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let state = status["state"].as_str().unwrap_or_default();
    Ok((!matches!(state, "running" | "saving")).then(|| state.to_owned()))
}

/// Whether a run that has begun has no writer: killed, or its machine gone.
fn abandoned(run: &Path) -> Result<bool> {
    let begun = run.join("status.json").exists();
    Ok(begun && Holder::named_in(&run.join("lock"))?.is_none_or(|writer| writer.seems_dead()))
}

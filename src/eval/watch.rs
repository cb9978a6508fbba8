//! The milestones of a run as they appear.

use super::{Run, models};
use crate::io::say;
use anyhow::{Context, Result, bail};
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

//! Going on with a run: from which checkpoint, under which recipe, with which data.

use crate::checkpoint::{Checkpoint, LogState, Sections, newest_whole};
use crate::folder::{self, Folder};
use crate::{Observer, TrainError, TrainOptions};
use octo_ops::NUMERICS_VERSION;
use octo_recipe::{Change, Class, Moments, Options, Recipe, ThisMachine, accept, changes};
use std::path::Path;

/// The checkpoint to go on from, in a folder that holds a run; `None` where it was stopped before its first. What
/// the recipe leaves to the machine becomes what it was at the run's start. `damaged` counts the checkpoints that
/// were put away.
pub(crate) fn find(
    recipe: &mut Recipe,
    options: &TrainOptions,
    damaged: &mut usize,
    observer: &mut dyn Observer,
) -> Result<Option<Checkpoint>, TrainError> {
    let path = recipe.run.dir.clone();
    let found = newest_whole(options.fs, &path, options.strict_resume, damaged, observer)?;
    judge(recipe, options, found.as_ref())?;
    match &found {
        Some(found) => observer.note(&format!(
            "run      goes on after step {} from {}",
            found.run.step,
            found.path.display()
        )),
        None => {
            observer.note(&format!("run      {} has no checkpoint yet: it starts over", path.display()));
        }
    }
    Ok(found)
}

/// Whether the run may go on from this checkpoint with this recipe. What the recipe leaves to the machine becomes
/// what it was at the run's start.
pub(crate) fn judge(
    recipe: &mut Recipe,
    options: &TrainOptions,
    found: Option<&Checkpoint>,
) -> Result<(), TrainError> {
    let anywhere = Options { no_paths: true, ..Options::default() };
    let mut begun = Recipe::load(&ThisMachine, &recipe.run.dir.join("recipe.toml"), &anywhere)?;
    if begun.optimizer.moments == Moments::Auto {
        // It was begun when there was no choice.
        begun.optimizer.moments = Moments::F32;
    }
    recipe.keep_resolved(&begun);
    let mut differences = changes(&begun, recipe, found.map_or(0, |found| found.run.step));
    if let Some(found) = found {
        // What lies in the checkpoint is what counts, wherever the file is now.
        let same = same_content(recipe.model.tokenizer.as_deref(), &found.model().join("tokenizer.json"));
        differences.retain(|change| change.key != "model.tokenizer" || !same);
        if found.run.numerics != NUMERICS_VERSION {
            differences.push(Change {
                key: "numerics_version".to_owned(),
                class: Class::Accepted,
                is_path: false,
                old: Some(found.run.numerics.to_string()),
                new: Some(NUMERICS_VERSION.to_string()),
            });
        }
    }
    Ok(accept(&differences, &options.accept)?)
}

fn same_content(one: Option<&Path>, other: &Path) -> bool {
    let Some(one) = one else { return false };
    matches!((std::fs::read(one), std::fs::read(other)), (Ok(one), Ok(other)) if one == other)
}

/// Cuts the logs back to the checkpoint. Returns the steps done.
pub(crate) fn go_back(folder: &mut Folder, checkpoint: Option<&Checkpoint>) -> Result<u64, TrainError> {
    let Some(checkpoint) = checkpoint else {
        folder.cut_back(0, LogState { metrics: 0, samples: 0 })?;
        return Ok(0);
    };
    let step = checkpoint.run.step;
    folder.cut_back(step, Sections::read(&checkpoint.path, "logs")?)?;
    Ok(step)
}

/// What the lineage says of this start.
pub(crate) fn start<'a>(
    recipe: &Recipe,
    options: &'a TrainOptions,
    checkpoint: Option<&Checkpoint>,
) -> folder::Start<'a> {
    folder::Start {
        step: checkpoint.map_or(0, |c| c.run.step),
        checkpoint: checkpoint
            .and_then(|c| c.path.file_name())
            .map(|name| name.to_string_lossy().into_owned()),
        recipe: recipe.content_hash(),
        accepted: &options.accept,
    }
}

//! Going on with a run: from which checkpoint, under which recipe, with which data.

use crate::checkpoint::{Checkpoint, DataState, LogState, Sections, newest_whole};
use crate::folder::{self, Folder};
use crate::{Observer, TrainError, TrainOptions};
use octo_ops::NUMERICS_VERSION;
use octo_recipe::Recipe;
use octo_shards::Batches;

/// The checkpoint to go on from, in a folder that holds a run; `None` where it was stopped before its first.
pub(crate) fn find(
    recipe: &Recipe,
    options: &TrainOptions,
    observer: &mut dyn Observer,
) -> Result<Option<Checkpoint>, TrainError> {
    let path = &recipe.run.dir;
    let Some(found) = newest_whole(options.fs, path, options.strict_resume, observer)? else {
        observer.note(&format!("run      {} has no checkpoint yet: it starts from step 0", path.display()));
        return Ok(None);
    };
    if found.run.numerics != NUMERICS_VERSION && !options.accept.iter().any(|key| key == "numerics_version") {
        let (then, now) = (found.run.numerics, NUMERICS_VERSION);
        return Err(TrainError::Numerics { path: path.clone(), then, now });
    }
    observer.note(&format!("run      goes on after step {} from {}", found.run.step, found.path.display()));
    Ok(Some(found))
}

/// Cuts the logs back to the checkpoint and holds the data against what it was. Returns the steps done.
pub(crate) fn go_back(
    folder: &mut Folder,
    checkpoint: Option<&Checkpoint>,
    batches: &Batches,
    source: &str,
) -> Result<u64, TrainError> {
    let Some(checkpoint) = checkpoint else {
        folder.cut_back(0, LogState { metrics: 0, samples: 0 })?;
        return Ok(0);
    };
    let data: DataState = Sections::read(&checkpoint.path, "data")?;
    let now = format!("{:032x}", batches.source().content_hash());
    if data.sources.get(source).is_some_and(|then| then.content_hash != now) {
        return Err(TrainError::SourceChanged { name: source.to_owned() });
    }
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

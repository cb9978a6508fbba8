//! The checkpoint to go on from.

use super::{DataState, RunState, Sections};
use crate::{Observer, TrainError};
use octo_durable::{DurableError, Fs, Verifying, move_folder, verify, verify_while_reading};
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// A checkpoint with its state.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub path: PathBuf,
    pub run: RunState,
    /// What has not been compared with the manifest yet: its tensors are compared while they are loaded. `None` where
    /// nothing was compared, or all of it.
    pub verifying: Option<Verifying>,
}

impl Checkpoint {
    /// Opens a checkpoint whose files are what was written, as far as can be said before its tensors are read.
    pub fn verified(path: &Path) -> Result<Checkpoint, TrainError> {
        let verifying = verify_while_reading(path, |name| name.ends_with(".safetensors"))?;
        Ok(Checkpoint { verifying: Some(verifying), ..Checkpoint::open(path)? })
    }

    /// Opens a checkpoint as it lies there.
    pub fn open(path: &Path) -> Result<Checkpoint, TrainError> {
        let run: RunState = Sections::read(path, "run")?;
        if run.version != RunState::VERSION {
            let reason = format!(
                "its layout is version {}, this program reads version {}; use the program that wrote it",
                run.version,
                RunState::VERSION
            );
            return Err(TrainError::BadState { path: path.to_owned(), reason });
        }
        Ok(Checkpoint { path: path.to_owned(), run, verifying: None })
    }

    /// Its model.
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }

    /// Where its data stands.
    pub fn data(&self) -> Result<DataState, TrainError> {
        Sections::read(&self.path, "data")
    }

    /// Its state.
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Whether the optimizer's moments lie there: not beside a model that was only converted.
    pub fn has_moments(&self) -> bool {
        ["moment1.safetensors", "moment1.safetensors.index.json"]
            .iter()
            .any(|name| self.state().join(name).exists())
    }
}

/// Checkpoints of a folder, newest first.
pub(crate) fn list(checkpoints: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let io = |source| TrainError::Io { path: checkpoints.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(checkpoints).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(step) = name.strip_prefix("step-").and_then(|digits| digits.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
    Ok(found)
}

/// The newest checkpoint of a run, whether it is whole or not.
pub(crate) fn newest(run: &Path) -> Result<Option<Checkpoint>, TrainError> {
    let found = list(&run.join("checkpoints"))?;
    found.first().map(|(_, path)| Checkpoint::open(path)).transpose()
}

/// The newest checkpoint that is whole, as far as can be said before its tensors are read. Damaged ones are named
/// and put away, or with `strict` are an error. `damaged` counts those that were put away, earlier ones included.
pub(crate) fn newest_whole(
    fs: &dyn Fs,
    run: &Path,
    strict: bool,
    damaged: &mut usize,
    observer: &mut dyn Observer,
) -> Result<Option<Checkpoint>, TrainError> {
    for (_, path) in list(&run.join("checkpoints"))? {
        match Checkpoint::verified(&path) {
            Err(TrainError::Durable(error @ DurableError::Damaged { .. })) if !strict => {
                put_away(fs, run, &path, &error, observer)?;
                *damaged += 1;
            }
            other => return other.map(Some),
        }
    }
    match *damaged {
        0 => Ok(None),
        damaged => Err(TrainError::NoWholeCheckpoint { run: run.to_owned(), damaged }),
    }
}

/// Moves a damaged checkpoint to `damaged/`, so that the one before it is taken.
pub(crate) fn put_away(
    fs: &dyn Fs,
    run: &Path,
    checkpoint: &Path,
    damage: &dyn Display,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    observer.note(&damage.to_string());
    let kept = move_folder(fs, checkpoint, &run.join("damaged"))?;
    observer.note(&format!("it lies in {} now; the one before it is taken", kept.display()));
    Ok(())
}

/// Why a checkpoint could not be loaded: where it is damaged that, with every file that is, and else the error.
pub(crate) fn or_damage(checkpoint: Option<&Path>, error: TrainError) -> TrainError {
    match checkpoint.map(verify) {
        Some(Err(damage @ DurableError::Damaged { .. })) => damage.into(),
        _ => error,
    }
}

//! The checkpoint to go on from.

use super::{DataState, RunState, Sections};
use crate::{Observer, TrainError};
use octo_durable::{DurableError, Fs, move_folder, verify};
use std::path::{Path, PathBuf};

/// A whole checkpoint with its state.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub path: PathBuf,
    pub run: RunState,
}

impl Checkpoint {
    /// Opens a checkpoint whose files have been verified.
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
        Ok(Checkpoint { path: path.to_owned(), run })
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

/// The newest checkpoint whose every byte is what was written. Damaged ones are named and moved to `damaged`,
/// or with `strict` are an error.
pub(crate) fn newest_whole(
    fs: &dyn Fs,
    run: &Path,
    strict: bool,
    observer: &mut dyn Observer,
) -> Result<Option<Checkpoint>, TrainError> {
    let found = list(&run.join("checkpoints"))?;
    let mut damaged = 0;
    for (_, path) in &found {
        match verify(path) {
            Ok(_) => return Checkpoint::open(path).map(Some),
            Err(error @ DurableError::Damaged { .. }) if strict => return Err(error.into()),
            Err(error @ DurableError::Damaged { .. }) => {
                observer.note(&error.to_string());
                let kept = move_folder(fs, path, &run.join("damaged"))?;
                observer.note(&format!("it lies in {} now; the one before it is taken", kept.display()));
                damaged += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    match damaged {
        0 => Ok(None),
        _ => Err(TrainError::NoWholeCheckpoint { run: run.to_owned(), damaged }),
    }
}

//! The folder of a run: who may write there, its logs, what an earlier start left.

use crate::checkpoint::LogState;
use crate::{Figures, TrainError, TrainOptions};
use octo_durable::{AppendLog, Fs, RunLock, move_folder, remove_leftovers, write_bytes};
use octo_recipe::Recipe;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A run's folder: `recipe.toml`, `metrics.jsonl`, `samples.jsonl`, `lineage.jsonl`, `checkpoints/`, `lock`.
pub(crate) struct Folder {
    path: PathBuf,
    fs: &'static dyn Fs,
    metrics: AppendLog<'static>,
    samples: AppendLog<'static>,
    lineage: AppendLog<'static>,
    /// Held as long as the folder is.
    _lock: RunLock,
}

#[derive(Serialize)]
struct SampleLine<'a> {
    step: u64,
    prompt: &'a str,
    text: &'a str,
}

/// One start of a run.
#[derive(Serialize)]
pub(crate) struct Start<'a> {
    /// Steps done before.
    pub step: u64,
    /// The checkpoint it went on from.
    pub checkpoint: Option<String>,
    /// Hash of the resolved recipe.
    pub recipe: String,
    /// Changes of the recipe that were accepted.
    pub accepted: &'a [String],
}

/// A step that changed nothing, because its loss or gradient was not finite.
#[derive(Serialize)]
struct LeftOut<'a> {
    left_out: u64,
    why: &'a str,
}

/// Whether a folder holds a run.
pub(crate) fn holds_a_run(path: &Path) -> bool {
    path.join("recipe.toml").exists()
}

impl Folder {
    /// Takes the folder for this process alone, making it where it is missing, and clears what a killed writer
    /// left unfinished. With `fresh`, an earlier run is moved to `discarded/`.
    pub fn take(path: &Path, options: &TrainOptions) -> Result<Folder, TrainError> {
        let io = |source| TrainError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let fs = options.fs;
        let lock = RunLock::take(&path.join("lock"), options.job.clone())?;
        remove_leftovers(fs, path)?;
        if options.fresh && holds_a_run(path) {
            set_aside(fs, path)?;
        }
        let checkpoints = path.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).map_err(io)?;
        remove_leftovers(fs, &checkpoints)?;
        Ok(Folder {
            path: path.to_owned(),
            fs,
            metrics: AppendLog::open(fs, &path.join("metrics.jsonl"))?,
            samples: AppendLog::open(fs, &path.join("samples.jsonl"))?,
            lineage: AppendLog::open(fs, &path.join("lineage.jsonl"))?,
            _lock: lock,
        })
    }

    /// Where checkpoints go.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Cuts the logs back to the steps of the checkpoint that the run goes on from; what is cut goes to
    /// `discarded/`.
    pub fn cut_back(&mut self, step: u64, logs: LogState) -> Result<(), TrainError> {
        let folder = self.path.join("discarded");
        for (log, lines, name) in
            [(&mut self.metrics, logs.metrics, "metrics"), (&mut self.samples, logs.samples, "samples")]
        {
            if log.lines() > lines {
                std::fs::create_dir_all(&folder)
                    .map_err(|source| TrainError::Io { path: folder.clone(), source })?;
            }
            log.cut_back(lines, &unused(&folder, &format!("{name}-after-step-{step:08}"), ".jsonl"))?;
        }
        Ok(())
    }

    /// Writes down a start: the resolved recipe and a line of the lineage.
    pub fn begin(&mut self, recipe: &Recipe, start: &Start<'_>) -> Result<(), TrainError> {
        write_bytes(self.fs, &self.path.join("recipe.toml"), recipe.to_toml().as_bytes())?;
        self.lineage.append(&json(start)?)?;
        Ok(self.lineage.sync()?)
    }

    /// Puts on record that a step was left out.
    pub fn left_out(&mut self, step: u64, why: &str) -> Result<(), TrainError> {
        self.lineage.append(&json(&LeftOut { left_out: step, why })?)?;
        Ok(self.lineage.sync()?)
    }

    /// Lines of the logs, made to last.
    pub fn logs(&mut self) -> Result<LogState, TrainError> {
        self.metrics.sync()?;
        self.samples.sync()?;
        Ok(LogState { metrics: self.metrics.lines(), samples: self.samples.lines() })
    }

    /// Adds a line to `metrics.jsonl`.
    pub fn metrics(&mut self, figures: &dyn Figures) -> Result<(), TrainError> {
        let line = figures.line();
        let line = line.map_err(|e| TrainError::Io { path: "metrics.jsonl".into(), source: e.into() })?;
        self.metrics.append(&line).map_err(TrainError::from)
    }

    /// Adds a line to `samples.jsonl`.
    pub fn sample(&mut self, step: u64, prompt: &str, text: &str) -> Result<(), TrainError> {
        self.sample_line(&SampleLine { step, prompt, text })
    }

    /// Adds a line of other fields to `samples.jsonl`.
    pub fn sample_line(&mut self, line: &impl Serialize) -> Result<(), TrainError> {
        self.samples.append(&json(line)?).map_err(TrainError::from)
    }
}

/// Moves everything of an earlier run but its lock into a folder of `discarded/`.
fn set_aside(fs: &dyn Fs, path: &Path) -> Result<(), TrainError> {
    let io = |source| TrainError::Io { path: path.to_owned(), source };
    let discarded = path.join("discarded");
    let target = unused(&discarded, "run", "");
    std::fs::create_dir_all(&target).map_err(io)?;
    // The recipe last: a start that is killed on the way finds the run still there and sets the rest aside.
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        entries.push(entry.map_err(io)?.path());
    }
    entries.sort_by_key(|entry| entry.ends_with("recipe.toml"));
    for entry in entries {
        if !entry.ends_with("lock") && entry != discarded {
            move_folder(fs, &entry, &target)?;
        }
    }
    Ok(())
}

/// A path in `folder` that nothing has yet.
fn unused(folder: &Path, stem: &str, suffix: &str) -> PathBuf {
    let first = folder.join(format!("{stem}{suffix}"));
    let rest = (2..).map(|n| folder.join(format!("{stem}-{n}{suffix}")));
    std::iter::once(first.clone()).chain(rest).find(|path| !path.exists()).unwrap_or(first)
}

fn json(row: &impl Serialize) -> Result<String, TrainError> {
    serde_json::to_string(row)
        .map_err(|e| TrainError::Io { path: PathBuf::from("metrics.jsonl"), source: e.into() })
}

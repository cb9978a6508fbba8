//! Saving beside the training: the state is copied in one go and written while the next steps run.

use super::find::list;
use super::name;
use super::write::{Content, Values, write};
use crate::TrainError;
use octo_durable::{Fs, free_bytes, remove_folder, remove_leftovers, replace_link};
use octo_model::{ParamTable, Section, Snapshot, Trainer};
use octo_queue::{Queue, available_memory};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Writes checkpoints of one run, one at a time.
pub(crate) struct Saver {
    fs: &'static dyn Fs,
    folder: PathBuf,
    keep: usize,
    state: State,
    /// What was written last and has not been told of.
    saved: Option<Saved>,
}

/// Something that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Steps behind it.
    pub step: u64,
    /// Whether it is the newest checkpoint now, or a milestone alone.
    pub rolling: bool,
}

/// What becomes of the host's copy.
enum State {
    /// Memory for a copy, unused.
    Ready(Box<Snapshot>),
    /// A copy that is being written, and what that will be.
    Writing(Saved, JoinHandle<(Box<Snapshot>, Result<(), TrainError>)>),
    /// No memory for a copy: training waits while a checkpoint is written.
    Blocking,
}

impl Saver {
    /// A saver into a run's `checkpoints`, which keeps the newest `keep`. The second value tells why training
    /// will wait for each checkpoint, where the host lacks the memory to copy the state.
    ///
    /// # Errors
    /// [`TrainError::NoRoom`] where the disk will not hold what is to be kept.
    pub fn new(
        fs: &'static dyn Fs,
        folder: &Path,
        keep: usize,
        trainer: &Trainer,
    ) -> Result<(Saver, Option<String>), TrainError> {
        let keep = keep.max(1);
        // A start that was killed may have written one, and neither pointed to it nor removed another yet.
        if let Some((step, _)) = list(folder)?.first() {
            point_to(fs, folder, &name(*step))?;
        }
        prune(fs, folder, keep)?;
        // One more is written before the oldest goes.
        let missing = (keep + 1).saturating_sub(list(folder)?.len()) as u64;
        let (need, free) = (missing * bytes_of_state(trainer), free_bytes(folder)?);
        if need > free {
            return Err(TrainError::NoRoom { path: folder.to_owned(), need, free });
        }
        let needed = Snapshot::bytes(trainer);
        let (state, why) = match available_memory() {
            // Another half for the pages of the files being written.
            Some(available) if available < needed + needed / 2 => (
                State::Blocking,
                Some(format!(
                    "{:.1} GiB of free memory do not hold a copy of the state ({:.1} GiB): training waits \
                     while a checkpoint is written",
                    gib(available),
                    gib(needed)
                )),
            ),
            _ => (State::Ready(Box::new(Snapshot::new(trainer))), None),
        };
        Ok((Saver { fs, folder: folder.to_owned(), keep, state, saved: None }, why))
    }

    /// Begins to save the state after the last step; waits first for the checkpoint before it.
    ///
    /// # Errors
    /// What kept the checkpoint before it, or this one, from being written.
    pub fn save(&mut self, queue: &mut Queue, trainer: &Trainer, content: Content) -> Result<(), TrainError> {
        self.finish()?;
        let saved = Saved { step: content.step, rolling: content.rolling };
        match std::mem::replace(&mut self.state, State::Blocking) {
            State::Ready(mut snapshot) => {
                snapshot.take(queue, trainer)?;
                let (fs, folder, keep) = (self.fs, self.folder.clone(), self.keep);
                let work = move || {
                    let values = &mut |section: Section, param, first, into: &mut [f32]| {
                        snapshot.read(section, param, first, into);
                        Ok(())
                    };
                    let saved = write_all(fs, &folder, keep, &content, snapshot.table(), values);
                    (snapshot, saved)
                };
                let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(work);
                let thread = thread.map_err(|source| TrainError::Io { path: self.folder.clone(), source })?;
                self.state = State::Writing(saved, thread);
            }
            _ => {
                let table = &trainer.net().params;
                write_all(
                    self.fs,
                    &self.folder,
                    self.keep,
                    &content,
                    table,
                    &mut |section, param, first, into| {
                        trainer.read(queue, section, param, first, into).map_err(io::Error::other)
                    },
                )?;
                self.saved = Some(saved);
            }
        }
        Ok(())
    }

    /// Whether a checkpoint is being written.
    pub fn is_writing(&self) -> bool {
        matches!(&self.state, State::Writing(_, thread) if !thread.is_finished())
    }

    /// Waits for what is being written. Returns what was written last, once.
    ///
    /// # Errors
    /// What kept it from being written.
    pub fn wait(&mut self) -> Result<Option<Saved>, TrainError> {
        self.finish()?;
        Ok(self.saved.take())
    }

    fn finish(&mut self) -> Result<(), TrainError> {
        match std::mem::replace(&mut self.state, State::Blocking) {
            State::Writing(saved, thread) => {
                let (snapshot, written) = thread.join().map_err(|_| TrainError::SaverDied)?;
                self.state = State::Ready(snapshot);
                written?;
                self.saved = Some(saved);
            }
            other => self.state = other,
        }
        Ok(())
    }
}

impl Drop for Saver {
    /// A run that ends with an error still has the checkpoint it has begun.
    fn drop(&mut self) {
        if let State::Writing(_, thread) = std::mem::replace(&mut self.state, State::Blocking) {
            let _ = thread.join();
        }
    }
}

/// Bytes of the tensors of one checkpoint.
pub(crate) fn bytes_of_state(trainer: &Trainer) -> u64 {
    let net = trainer.net();
    let masters = if trainer.remainder().is_some() { 4 } else { 0 };
    let moments: u64 = trainer.moments().iter().map(|arena| arena.dtype.bytes()).sum();
    net.params.parameter_count() * (net.weights.dtype.bytes() + masters + moments)
}

/// Writes what is asked for: a milestone, and the newest checkpoint, to which `latest` then points and for which
/// those beyond the newest `keep` go.
fn write_all(
    fs: &dyn Fs,
    folder: &Path,
    keep: usize,
    content: &Content,
    table: &ParamTable,
    values: &mut Values<'_>,
) -> Result<(), TrainError> {
    let name = name(content.step);
    if let Some(with_state) = content.milestone {
        let milestones = folder.with_file_name("milestones");
        std::fs::create_dir_all(&milestones)
            .map_err(|source| TrainError::Io { path: milestones.clone(), source })?;
        remove_leftovers(fs, &milestones)?;
        let target = milestones.join(&name);
        // A run that went back past it writes the same again.
        if !target.exists() {
            write(fs, &target, with_state, content, table, values)?;
        }
    }
    if content.rolling {
        write(fs, &folder.join(&name), true, content, table, values)?;
        point_to(fs, folder, &name)?;
        prune(fs, folder, keep)?;
    }
    Ok(())
}

/// Makes `latest` say this checkpoint.
fn point_to(fs: &dyn Fs, folder: &Path, name: &str) -> Result<(), TrainError> {
    let link = folder.join("latest");
    match std::fs::read_link(&link) {
        Ok(target) if target == Path::new(name) => Ok(()),
        _ => Ok(replace_link(fs, &link, Path::new(name))?),
    }
}

/// Removes all checkpoints but the newest `keep`.
fn prune(fs: &dyn Fs, folder: &Path, keep: usize) -> Result<(), TrainError> {
    for (_, old) in list(folder)?.into_iter().skip(keep) {
        remove_folder(fs, &old)?;
    }
    Ok(())
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

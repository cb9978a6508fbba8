//! A disk that fails on request, for tests of everything that writes.
//!
//! Its model of a power cut is the strict one: what was not synced is gone. Bytes written since the last sync of
//! their file are cut off, and, if the test wants the worse half, names made or moved since the last sync of
//! their folder are undone.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::file::folder_of;
use crate::fs::{Disk, Fs, FsFile};

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing and reports a full disk; later operations work.
    Refused,
    /// A write does half and then reports a full disk; other operations as [`Fault::Refused`].
    Short,
    /// The process is killed: a write does half, and nothing happens ever after.
    Crash,
}

impl Fault {
    /// Every kind, for tests that try each.
    pub const ALL: [Fault; 3] = [Fault::Refused, Fault::Short, Fault::Crash];
}

/// [`Disk`], except that its n-th operation goes wrong.
pub struct FaultyFs {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    fault: Option<(Fault, usize)>,
    trace: Vec<&'static str>,
    dead: bool,
    /// Files with bytes that no sync has covered, and the length that one has.
    unsynced: BTreeMap<PathBuf, u64>,
    /// Names that no sync of their folder has covered, oldest first.
    names: Vec<Name>,
}

/// How to take back a name.
enum Name {
    Made(PathBuf),
    Moved { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
}

/// What the disk is to do with an operation.
#[derive(PartialEq)]
enum Verdict {
    Done,
    Half,
    Nothing,
}

impl FaultyFs {
    /// Fails the `at`-th operation, counted from 0.
    #[must_use]
    pub fn new(fault: Fault, at: usize) -> FaultyFs {
        FaultyFs { state: Arc::new(Mutex::new(State { fault: Some((fault, at)), ..State::default() })) }
    }

    /// Fails nothing and keeps the list of operations.
    #[must_use]
    pub fn counting() -> FaultyFs {
        FaultyFs { state: Arc::default() }
    }

    /// The operations asked for so far.
    #[must_use]
    pub fn trace(&self) -> Vec<&'static str> {
        lock(&self.state).trace.clone()
    }

    /// Whether the fault has happened.
    #[must_use]
    pub fn struck(&self) -> bool {
        let state = lock(&self.state);
        state.fault.is_some_and(|(_, at)| state.trace.len() > at)
    }

    /// Pulls the plug, in the way that keeps names and loses bytes: what no sync has covered is cut off its file.
    ///
    /// # Panics
    /// Where the files under test are gone: the test is broken then.
    pub fn power_cut(&self) {
        let mut state = lock(&self.state);
        state.dead = true;
        for (path, synced) in std::mem::take(&mut state.unsynced) {
            // Gone where it was removed again: nothing of it can be wrong.
            if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) {
                assert!(file.set_len(synced).is_ok(), "cannot cut {}", path.display());
            }
        }
    }

    /// Pulls the plug in the worse way: loses bytes as [`FaultyFs::power_cut`] does, and then every name that no
    /// sync of its folder has covered.
    ///
    /// # Panics
    /// As [`FaultyFs::power_cut`].
    pub fn power_cut_losing_names(&self) {
        self.power_cut();
        let names = std::mem::take(&mut lock(&self.state).names);
        for name in names.into_iter().rev() {
            match name {
                Name::Made(path) => {
                    let _ = Disk.remove_file(&path).or_else(|_| Disk.remove_folder(&path));
                }
                Name::Moved { from, to, replaced } => {
                    assert!(Disk.rename(&to, &from).is_ok(), "cannot move {} back", to.display());
                    if let Some(bytes) = replaced {
                        let restored = Disk.create_file(&to).and_then(|mut file| file.write_all(&bytes));
                        assert!(restored.is_ok(), "cannot restore {}", to.display());
                    }
                }
            }
        }
    }

    fn act(&self, name: &'static str, action: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let mut state = lock(&self.state);
        match state.judge(name) {
            Verdict::Done => action(&mut state),
            Verdict::Half | Verdict::Nothing => Err(refusal()),
        }
    }
}

impl State {
    fn judge(&mut self, name: &'static str) -> Verdict {
        if self.dead {
            return Verdict::Nothing;
        }
        self.trace.push(name);
        match self.fault {
            Some((fault, at)) if at + 1 == self.trace.len() => {
                self.dead = fault == Fault::Crash;
                if fault == Fault::Refused { Verdict::Nothing } else { Verdict::Half }
            }
            _ => Verdict::Done,
        }
    }
}

impl Fs for FaultyFs {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.act("create_folder", |state| {
            Disk.create_folder(path)?;
            state.names.push(Name::Made(path.to_owned()));
            Ok(())
        })
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut made = None;
        self.act("create_file", |state| {
            made = Some(Disk.create_file(path)?);
            state.names.push(Name::Made(path.to_owned()));
            Ok(())
        })?;
        self.wrap(made, path)
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut opened = None;
        self.act("open_append", |state| {
            let new = !path.exists();
            opened = Some(Disk.open_append(path)?);
            if new {
                state.names.push(Name::Made(path.to_owned()));
            }
            Ok(())
        })?;
        self.wrap(opened, path)
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.act("symlink", |_| Disk.symlink(target, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act("rename", |state| {
            let replaced = std::fs::read(to).ok();
            Disk.rename(from, to)?;
            let moved = |path: &Path| match path.strip_prefix(from) {
                Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
                Ok(rest) => to.join(rest),
                Err(_) => path.to_owned(),
            };
            state.unsynced = std::mem::take(&mut state.unsynced)
                .into_iter()
                .filter(|(path, _)| path != to)
                .map(|(path, synced)| (moved(&path), synced))
                .collect();
            state.names.push(Name::Moved { from: from.to_owned(), to: to.to_owned(), replaced });
            Ok(())
        })
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.act("sync_folder", |state| {
            Disk.sync_folder(path)?;
            state.names.retain(|name| match name {
                Name::Made(made) => folder_of(made) != path,
                Name::Moved { to, .. } => folder_of(to) != path,
            });
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.act("remove_file", |_| Disk.remove_file(path))
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.act("remove_folder", |_| Disk.remove_folder(path))
    }
}

impl FaultyFs {
    fn wrap(&self, file: Option<Box<dyn FsFile>>, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let file = file.ok_or_else(refusal)?;
        Ok(Box::new(FaultyFile { file, path: path.to_owned(), state: Arc::clone(&self.state) }))
    }
}

struct FaultyFile {
    file: Box<dyn FsFile>,
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = lock(&self.state);
        let verdict = state.judge("write");
        if verdict == Verdict::Nothing {
            return Err(refusal());
        }
        let length = std::fs::metadata(&self.path)?.len();
        state.unsynced.entry(self.path.clone()).or_insert(length);
        if verdict == Verdict::Half {
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(refusal());
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FsFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.judge("sync") != Verdict::Done {
            return Err(refusal());
        }
        self.file.sync()?;
        state.unsynced.remove(&self.path);
        Ok(())
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.judge("set_len") != Verdict::Done {
            return Err(refusal());
        }
        self.file.set_len(bytes)?;
        if let Some(synced) = state.unsynced.get_mut(&self.path) {
            *synced = bytes.min(*synced);
        }
        Ok(())
    }
}

fn refusal() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

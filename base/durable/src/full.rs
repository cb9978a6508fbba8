//! A disk that runs full: for tests of what a run does then.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fs::{Disk, Fs, FsFile};

/// [`Disk`], on which there is no room from its operation number `at`, from 0, on: what makes or fills a file, folder or
/// link fails, everything else works. Every one that needs room counts.
#[derive(Debug)]
pub struct FullFs {
    at: u64,
    seen: Arc<AtomicU64>,
}

impl FullFs {
    /// A disk with room for so many operations.
    #[must_use]
    pub fn new(at: u64) -> FullFs {
        FullFs { at, seen: Arc::default() }
    }

    fn room(&self) -> io::Result<()> {
        room(self.at, &self.seen)
    }

    fn wrap(&self, file: Box<dyn FsFile>) -> Box<dyn FsFile> {
        Box::new(FullFile { file, at: self.at, seen: self.seen.clone() })
    }
}

fn room(at: u64, seen: &AtomicU64) -> io::Result<()> {
    match seen.fetch_add(1, Ordering::Relaxed) >= at {
        true => Err(rustix::io::Errno::NOSPC.into()),
        false => Ok(()),
    }
}

impl Fs for FullFs {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.room()?;
        Disk.create_folder(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        self.room()?;
        Disk.create_file(path).map(|file| self.wrap(file))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        Disk.open_append(path).map(|file| self.wrap(file))
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.room()?;
        Disk.symlink(target, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Disk.sync_folder(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Disk.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        Disk.remove_folder(path)
    }
}

struct FullFile {
    file: Box<dyn FsFile>,
    at: u64,
    seen: Arc<AtomicU64>,
}

impl Write for FullFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        room(self.at, &self.seen)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl FsFile for FullFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
}

//! A disk on which the process dies: for tests of what a kill leaves behind.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use crate::fs::{Disk, Fs, FsFile};

/// [`Disk`], until before its operation number `at`, from 0, the process is killed as by `kill -9`. Every create,
/// write, sync, rename, cut and removal counts.
#[derive(Debug)]
pub struct KillingFs {
    at: u64,
    seen: Arc<AtomicU64>,
}

impl KillingFs {
    /// A disk that lets so many operations pass.
    #[must_use]
    pub fn new(at: u64) -> KillingFs {
        KillingFs { at, seen: Arc::default() }
    }

    fn count(&self) {
        count(self.at, &self.seen);
    }

    fn wrap(&self, file: Box<dyn FsFile>) -> Box<dyn FsFile> {
        Box::new(KillingFile { file, at: self.at, seen: self.seen.clone() })
    }
}

fn count(at: u64, seen: &AtomicU64) {
    if seen.fetch_add(1, Ordering::Relaxed) == at {
        // Nothing of this process runs on after it; were it refused, the test would see the run finish.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

impl Fs for KillingFs {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.count();
        Disk.create_folder(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        self.count();
        Disk.create_file(path).map(|file| self.wrap(file))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        self.count();
        Disk.open_append(path).map(|file| self.wrap(file))
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.count();
        Disk.symlink(target, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count();
        Disk.rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.count();
        Disk.sync_folder(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.count();
        Disk.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.count();
        Disk.remove_folder(path)
    }
}

struct KillingFile {
    file: Box<dyn FsFile>,
    at: u64,
    seen: Arc<AtomicU64>,
}

impl Write for KillingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        count(self.at, &self.seen);
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl FsFile for KillingFile {
    fn sync(&mut self) -> io::Result<()> {
        count(self.at, &self.seen);
        self.file.sync()
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        count(self.at, &self.seen);
        self.file.set_len(bytes)
    }
}

//! The seam: every change this crate makes to a disk is one of these operations.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What may be done to a disk. [`Disk`] does it; [`FaultyFs`](crate::FaultyFs) fails on request.
pub trait Fs: Send + Sync {
    /// Makes one folder; its parent exists, it does not.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes a new, empty file. Fails where anything of that name exists.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;
    /// Opens a file to write at its end, making it where it does not exist.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;
    /// Makes a symbolic link at `path` that says `target`.
    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()>;
    /// Renames within one file system, replacing a file or link at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder last through a power cut.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes one file or link.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and all that is in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
}

/// A file open for writing.
pub trait FsFile: Write + Send {
    /// Makes what was written last through a power cut.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `bytes`.
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
}

/// The real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Fs for Disk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).open(path)?))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(OpenOptions::new().append(true).create(true).open(path)?))
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, path)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that renames: callers have synced first"
    )]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }
}

impl FsFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }
}

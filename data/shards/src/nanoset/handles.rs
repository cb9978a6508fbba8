//! Files read for weeks: few of them open at a time, and none swapped under the reader unnoticed.

use crate::ShardsError;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Files open at a time: well below the 1024 that a process may have by custom, and enough that windows of a
/// mixture seldom have to open one.
const OPEN: usize = 256;

/// Which file a path led to, and in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl Identity {
    fn of(found: &Metadata) -> Identity {
        Identity {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }
}

/// A file among [`Handles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId(usize);

/// Files by number, opened when they are read and closed when others have been read since.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    files: Vec<(PathBuf, Identity)>,
    /// The file read last stands last.
    open: Mutex<Vec<(usize, Arc<File>)>>,
}

impl Handles {
    /// Takes in a file as it is now. Returns its number and length.
    pub fn add(&mut self, path: &Path) -> Result<(FileId, u64), ShardsError> {
        let read = |source| ShardsError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        let found = file.metadata().map_err(read)?;
        if !found.is_file() {
            return Err(read(io::Error::other("it is not a plain file")));
        }
        let identity = Identity::of(&found);
        self.files.push((path.to_owned(), identity));
        let id = self.files.len() - 1;
        self.keep(id, &Arc::new(file));
        Ok((FileId(id), identity.bytes))
    }

    /// The path of a file.
    pub fn path(&self, id: FileId) -> &Path {
        &self.files[id.0].0
    }

    /// Reads bytes from an offset on, all that fit.
    ///
    /// Whether the path still leads to the same file, of the same length and time, is looked at after
    /// reading: so bytes of a file that was replaced, cut or written to meanwhile are never handed on.
    pub fn read_at(&self, id: FileId, offset: u64, into: &mut [u8]) -> Result<(), ShardsError> {
        let (path, identity) = &self.files[id.0];
        let failed = |source| ShardsError::Read { path: path.clone(), source };
        let read = self.handle(id.0)?.read_exact_at(into, offset);
        let now = std::fs::metadata(path).map_err(failed)?;
        // What changed says more than a read that came up short.
        self.same(path, *identity, &now)?;
        read.map_err(failed)
    }

    fn handle(&self, id: usize) -> Result<Arc<File>, ShardsError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = open.iter().find(|(other, _)| *other == id) {
            let file = file.clone();
            drop(open);
            self.keep(id, &file);
            return Ok(file);
        }
        drop(open);
        let (path, identity) = &self.files[id];
        let failed = |source| ShardsError::Read { path: path.clone(), source };
        let file = Arc::new(File::open(path).map_err(failed)?);
        self.same(path, *identity, &file.metadata().map_err(failed)?)?;
        self.keep(id, &file);
        Ok(file)
    }

    /// Makes a file the one read last, and closes the one that was not read for longest.
    fn keep(&self, id: usize, file: &Arc<File>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.last().is_some_and(|(last, _)| *last == id) {
            return;
        }
        open.retain(|(other, _)| *other != id);
        open.push((id, file.clone()));
        if open.len() > OPEN {
            open.remove(0);
        }
    }

    fn same(&self, path: &Path, was: Identity, now: &Metadata) -> Result<(), ShardsError> {
        let now = Identity::of(now);
        if now == was {
            return Ok(());
        }
        let how = if (now.device, now.inode) != (was.device, was.inode) {
            "another file stands there now".to_owned()
        } else if now.bytes != was.bytes {
            format!("it had {} bytes and has {}", was.bytes, now.bytes)
        } else {
            "it was written to".to_owned()
        };
        Err(ShardsError::Changed { path: path.to_owned(), how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.join(name);
        File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    }

    #[test]
    fn more_files_than_may_be_open_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut handles = Handles::default();
        let ids: Vec<FileId> = (0..OPEN + 40)
            .map(|i| handles.add(&file(folder.path(), &i.to_string(), &[i as u8, 7])).unwrap().0)
            .collect();
        for (i, &id) in ids.iter().enumerate().chain(ids.iter().enumerate().rev()) {
            let mut bytes = [0; 2];
            handles.read_at(id, 0, &mut bytes).unwrap();
            assert_eq!(bytes, [i as u8, 7]);
            assert!(handles.open.lock().unwrap().len() <= OPEN);
        }
    }

    #[test]
    fn a_file_that_is_replaced_cut_written_or_removed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let error = |change: &dyn Fn()| {
            file(folder.path(), "a", b"abcd");
            let mut handles = Handles::default();
            let (id, _) = handles.add(&path).unwrap();
            change();
            let error = handles.read_at(id, 0, &mut [0; 4]).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
            error
        };
        let cut = || File::options().write(true).open(&path).unwrap().set_len(2).unwrap();
        assert!(error(&cut).contains("it had 4 bytes and has 2"));
        let longer = || File::options().append(true).open(&path).unwrap().write_all(b"e").unwrap();
        assert!(error(&longer).contains("it had 4 bytes and has 5"));
        let written = || {
            let mut opened = File::options().write(true).open(&path).unwrap();
            opened.write_all(b"x").unwrap();
            opened.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        assert!(error(&written).contains("it was written to"));
        let replaced = || {
            let other = file(folder.path(), "b", b"efgh");
            std::fs::remove_file(&path).unwrap();
            std::fs::hard_link(other, &path).unwrap();
        };
        assert!(error(&replaced).contains("another file stands there now"));
        let removed = || std::fs::remove_file(&path).unwrap();
        assert!(error(&removed).contains("cannot read"));
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Handles::default().add(folder.path()).unwrap_err().to_string();
        assert!(error.contains("it is not a plain file"), "{error}");
    }
}

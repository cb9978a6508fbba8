//! What reading a recipe needs from the machine: files, variables and the working directory.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A recipe larger than this is refused before it is read whole: the longest sensible one is a hundredth of it.
pub(crate) const RECIPE_LIMIT: u64 = 1 << 20;

/// The machine as recipes see it. [`ThisMachine`] is the real one; tests hand in small worlds of their own.
pub trait Host {
    /// The bytes of a plain file of at most a mebibyte.
    ///
    /// # Errors
    /// Whatever the system says; [`io::ErrorKind::FileTooLarge`] for a longer one, and
    /// [`io::ErrorKind::InvalidInput`] for what is no plain file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Whether there is anything at `path`.
    fn exists(&self, path: &Path) -> bool;
    /// Whether there is a symbolic link at `path`.
    fn is_link(&self, path: &Path) -> bool;
    /// An environment variable, if it is set and is text.
    fn variable(&self, name: &str) -> Option<String>;
    /// The working directory, which relative paths given on the command line start from.
    ///
    /// # Errors
    /// Whatever the system says.
    fn working_directory(&self) -> io::Result<PathBuf>;
}

/// The machine this program runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

impl Host for ThisMachine {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Asked before it is opened: opening a named pipe would wait for ever.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(RECIPE_LIMIT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > RECIPE_LIMIT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB, no recipe is"));
        }
        Ok(bytes)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_link(&self, path: &Path) -> bool {
        path.is_symlink()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn working_directory(&self) -> io::Result<PathBuf> {
        std::env::current_dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_or_a_huge_file_is_refused_not_read() {
        let kind = ThisMachine.read(Path::new("/dev/zero")).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::InvalidInput);
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        assert_eq!(ThisMachine.read(file.path()).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}

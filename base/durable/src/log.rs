//! A file that grows by whole lines.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::DurableError;
use crate::file::{folder_of, write_file};
use crate::fs::{Fs, FsFile};

/// A list of lines on disk, each handed to the system at once, so that a killed process loses none it has
/// reported; [`AppendLog::sync`] covers power cuts too. A line that a crash or a full disk has torn is cut off
/// when the log is next opened or written.
pub struct AppendLog<'fs> {
    fs: &'fs dyn Fs,
    path: PathBuf,
    file: Box<dyn FsFile>,
    bytes: u64,
    lines: u64,
    /// The last write failed and its half line could not be taken back.
    torn: bool,
}

impl<'fs> AppendLog<'fs> {
    /// Opens or makes the log at `path`, whose folder exists, and cuts off a torn last line.
    ///
    /// # Errors
    /// Whatever the system refuses.
    pub fn open(fs: &'fs dyn Fs, path: &Path) -> Result<AppendLog<'fs>, DurableError> {
        let mut file = fs.open_append(path).map_err(DurableError::io("open", path))?;
        let folder = folder_of(path);
        fs.sync_folder(folder).map_err(DurableError::io("sync", folder))?;
        let found = Lines::count(path, None).map_err(DurableError::io("read", path))?;
        if found.whole != found.all {
            file.set_len(found.whole).map_err(DurableError::io("cut the torn last line of", path))?;
        }
        Ok(AppendLog { fs, path: path.to_owned(), file, bytes: found.whole, lines: found.lines, torn: false })
    }

    /// Adds one line, given without its line break.
    ///
    /// # Errors
    /// [`DurableError::BrokenLine`]; whatever the system refuses: the log then holds the lines it held before.
    pub fn append(&mut self, line: &str) -> Result<(), DurableError> {
        if line.contains('\n') {
            return Err(DurableError::BrokenLine { path: self.path.clone() });
        }
        if self.torn {
            self.take_back()?;
        }
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        if let Err(source) = self.file.write_all(&bytes) {
            self.torn = true;
            // Reported below in any case; if this fails too, the next append or open tries again.
            let _ = self.take_back();
            return Err(DurableError::io("append to", &self.path)(source));
        }
        self.bytes += bytes.len() as u64;
        self.lines += 1;
        Ok(())
    }

    /// Makes every line so far last through a power cut.
    ///
    /// # Errors
    /// Whatever the system refuses.
    pub fn sync(&mut self) -> Result<(), DurableError> {
        self.file.sync().map_err(DurableError::io("sync", &self.path))
    }

    /// Lines in the log.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Cuts the log back to its first `lines` lines, after copying the rest into a new file at `discarded`
    /// (nothing is written there when there is nothing to cut). For a run that resumes at an older step.
    ///
    /// # Errors
    /// [`DurableError::TooFewLines`]; whatever the system refuses: the log is then as it was.
    pub fn cut_back(&mut self, lines: u64, discarded: &Path) -> Result<(), DurableError> {
        if self.torn {
            self.take_back()?;
        }
        if lines >= self.lines {
            return match lines == self.lines {
                true => Ok(()),
                false => Err(DurableError::TooFewLines {
                    path: self.path.clone(),
                    wanted: lines,
                    found: self.lines,
                }),
            };
        }
        let keep = Lines::count(&self.path, Some(lines)).map_err(DurableError::io("read", &self.path))?;
        write_file(self.fs, discarded, |writer| {
            let mut log = File::open(&self.path)?;
            io::Seek::seek(&mut log, io::SeekFrom::Start(keep.whole))?;
            io::copy(&mut log, writer).map(|_| ())
        })?;
        self.file.set_len(keep.whole).map_err(DurableError::io("cut", &self.path))?;
        (self.bytes, self.lines) = (keep.whole, lines);
        self.sync()
    }

    fn take_back(&mut self) -> Result<(), DurableError> {
        self.file.set_len(self.bytes).map_err(DurableError::io("cut the torn last line of", &self.path))?;
        self.torn = false;
        Ok(())
    }
}

/// Where the lines of a file end.
#[derive(Default)]
struct Lines {
    /// Bytes of whole lines.
    whole: u64,
    /// Bytes read.
    all: u64,
    lines: u64,
}

impl Lines {
    /// Reads the whole file, or up to the end of its first `limit` lines.
    fn count(path: &Path, limit: Option<u64>) -> io::Result<Lines> {
        let mut found = Lines::default();
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(found);
            }
            for byte in &buffer[..read] {
                if limit == Some(found.lines) {
                    return Ok(found);
                }
                found.all += 1;
                if *byte == b'\n' {
                    found.lines += 1;
                    found.whole = found.all;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::faulty::{Fault, FaultyFs};
    use crate::fs::Disk;

    #[test]
    fn a_log_holds_a_prefix_of_whole_lines_after_any_fault() {
        let wanted = ["{\"step\":0}", "{\"step\":1,\"lm_loss\":6.2}", "", "{\"step\":3}"];
        for fault in Fault::ALL {
            for at in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("metrics.jsonl");
                let fs = FaultyFs::new(fault, at);
                let mut taken = Vec::new();
                if let Ok(mut log) = AppendLog::open(&fs, &path) {
                    taken.extend(wanted.iter().filter(|line| log.append(line).is_ok()).copied());
                }
                let struck = fs.struck();
                let reopened = AppendLog::open(&Disk, &path).unwrap();
                let found = std::fs::read_to_string(&path).unwrap();
                assert_eq!(found.lines().collect::<Vec<_>>(), taken, "{fault:?} at {at}");
                assert_eq!(reopened.lines(), taken.len() as u64);
                if !struck {
                    break;
                }
            }
        }
    }

    #[test]
    fn synced_lines_survive_a_power_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let fs = FaultyFs::counting();
        let mut log = AppendLog::open(&fs, &path).unwrap();
        log.append("kept").unwrap();
        log.sync().unwrap();
        log.append("at risk").unwrap();
        fs.power_cut_losing_names();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\n");
    }

    #[test]
    fn a_line_break_or_a_short_log_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AppendLog::open(&Disk, &folder.path().join("a")).unwrap();
        assert!(matches!(log.append("a\nb"), Err(DurableError::BrokenLine { .. })));
        let message = log.cut_back(3, &folder.path().join("cut")).unwrap_err().to_string();
        assert!(message.contains("holds 0 lines where 3"), "{message}");
    }

    proptest! {
        #[test]
        fn what_is_kept_and_what_is_cut_add_up_to_the_log(
            lines in proptest::collection::vec("[a-z]{0,9}", 0..40),
            keep in 0usize..40,
            torn in "[a-z]{0,3}",
        ) {
            let keep = keep.min(lines.len());
            let folder = tempfile::tempdir().unwrap();
            let (path, cut) = (folder.path().join("log"), folder.path().join("cut"));
            let mut log = AppendLog::open(&Disk, &path).unwrap();
            for line in &lines {
                log.append(line).unwrap();
            }
            drop(log);
            Disk.open_append(&path).unwrap().write_all(torn.as_bytes()).unwrap();
            let mut log = AppendLog::open(&Disk, &path).unwrap();
            prop_assert_eq!(log.lines(), lines.len() as u64);
            log.cut_back(keep as u64, &cut).unwrap();
            log.append("next").unwrap();
            let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            prop_assert_eq!(std::fs::read_to_string(&path).unwrap(), text(&lines[..keep]) + "next\n");
            prop_assert_eq!(std::fs::read_to_string(&cut).unwrap_or_default(), text(&lines[keep..]));
        }
    }
}

//! One file, replaced whole; one link, replaced whole.
//!
//! Written beside the target under a name of its own, synced, renamed over it, and the folder synced: the order
//! that every file system keeps ("All File Systems Are Not Created Equal", Pillai et al., OSDI 2014, section 4).

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::DurableError;
use crate::fs::{Fs, FsFile};

/// What unfinished files and folders begin with.
pub(crate) const TEMP_PREFIX: &str = ".tmp-";

/// Writes `path` by what `fill` writes: afterwards it holds all of that, or, after an error or a crash, exactly
/// what it held before (nothing, where it did not exist). A symbolic link at `path` is replaced, not followed.
///
/// # Errors
/// Whatever the system or `fill` refuses; the unfinished file is then removed.
pub fn write_file(
    fs: &dyn Fs,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), DurableError> {
    let (temp, mut file) = unused(path, |temp| fs.create_file(temp))?;
    let written = fill_and_sync(&mut *file, fill).map_err(DurableError::io("write", path));
    drop(file);
    finish(fs, &temp, path, written)
}

/// [`write_file`] of bytes that are already there.
///
/// # Errors
/// As [`write_file`].
pub fn write_bytes(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
    write_file(fs, path, |writer| writer.write_all(bytes))
}

/// Makes `path` a symbolic link that says `target`, replacing the link that was there: whoever opens it meets
/// the old target or the new one. A relative `target` is relative to the folder of `path`.
///
/// # Errors
/// Whatever the system refuses; something other than a link at `path` is refused as [`DurableError::Exists`].
pub fn replace_link(fs: &dyn Fs, path: &Path, target: &Path) -> Result<(), DurableError> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_symlink()) {
        return Err(DurableError::Exists { path: path.to_owned() });
    }
    let (temp, ()) = unused(path, |temp| fs.symlink(target, temp))?;
    finish(fs, &temp, path, Ok(()))
}

/// Removes what a killed writer left unfinished directly inside `folder`, and returns what it removed. Only for
/// the one writer of that folder: it would remove the unfinished work of another.
///
/// # Errors
/// Whatever the system refuses.
pub fn remove_leftovers(fs: &dyn Fs, folder: &Path) -> Result<Vec<PathBuf>, DurableError> {
    let list = || -> io::Result<Vec<(PathBuf, bool)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
                found.push((entry.path(), entry.file_type()?.is_dir()));
            }
        }
        found.sort();
        Ok(found)
    };
    let mut removed = Vec::new();
    for (path, is_folder) in list().map_err(DurableError::io("list", folder))? {
        let result = if is_folder { fs.remove_folder(&path) } else { fs.remove_file(&path) };
        result.map_err(DurableError::io("remove", &path))?;
        removed.push(path);
    }
    Ok(removed)
}

/// Removes a folder and all that is in it. Killed meanwhile, it leaves the whole folder or something that
/// [`remove_leftovers`] clears: never a part under its name.
///
/// # Errors
/// Whatever the system refuses.
pub fn remove_folder(fs: &dyn Fs, path: &Path) -> Result<(), DurableError> {
    let (aside, ()) = unused(path, |aside| fs.rename(path, aside))?;
    fs.remove_folder(&aside).map_err(DurableError::io("remove", path))
}

/// Moves a folder or file into the folder `into` of the same file system, which is made where it is missing,
/// under its own name or, where that is taken, with a number behind it. Returns where it lies now.
///
/// # Errors
/// Whatever the system refuses.
pub fn move_folder(fs: &dyn Fs, path: &Path, into: &Path) -> Result<PathBuf, DurableError> {
    if !into.is_dir() {
        fs.create_folder(into).map_err(DurableError::io("create", into))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut target = into.join(&name);
    let mut number = 1;
    while std::fs::symlink_metadata(&target).is_ok() {
        number += 1;
        target = into.join(format!("{name}-{number}"));
    }
    fs.rename(path, &target).map_err(DurableError::io("move", path))?;
    for folder in [into, folder_of(path)] {
        fs.sync_folder(folder).map_err(DurableError::io("sync", folder))?;
    }
    Ok(target)
}

/// Runs `fill` over a buffer and syncs the file.
pub(crate) fn fill_and_sync(
    file: &mut dyn FsFile,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = BufWriter::with_capacity(1 << 20, &mut *file);
    let filled = fill(&mut buffer).and_then(|()| buffer.flush());
    // Taken apart, not dropped: a dropped buffer would try once more to write what has just failed.
    let _ = buffer.into_parts();
    filled?;
    file.sync()
}

/// Makes something beside `path` under a name nobody has.
pub(crate) fn unused<T>(
    path: &Path,
    mut make: impl FnMut(&Path) -> io::Result<T>,
) -> Result<(PathBuf, T), DurableError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let bad = |why| DurableError::BadName {
        name: path.display().to_string(),
        folder: folder_of(path).to_owned(),
        why,
    };
    let name = path.file_name().ok_or_else(|| bad("it has no last part"))?;
    if name.to_string_lossy().starts_with(TEMP_PREFIX) {
        return Err(bad("names that begin with `.tmp-` are kept for unfinished files"));
    }
    loop {
        // A killed process may have had our id and left a file: then the next number is taken.
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut unused = std::ffi::OsString::from(TEMP_PREFIX);
        unused.push(name);
        unused.push(format!("-{}-{number}", std::process::id()));
        let temp = folder_of(path).join(unused);
        match make(&temp) {
            Ok(made) => return Ok((temp, made)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(DurableError::Io { action: "create", path: path.to_owned(), source }),
        }
    }
}

/// Renames a finished `temp` to `path` and syncs the folder; removes it where anything failed before.
fn finish(
    fs: &dyn Fs,
    temp: &Path,
    path: &Path,
    written: Result<(), DurableError>,
) -> Result<(), DurableError> {
    let renamed = written.and_then(|()| fs.rename(temp, path).map_err(DurableError::io("replace", path)));
    if let Err(error) = renamed {
        // The first error is the one to report; a temp file that cannot be removed does no harm.
        let _ = fs.remove_file(temp);
        return Err(error);
    }
    let folder = folder_of(path);
    fs.sync_folder(folder).map_err(DurableError::io("sync", folder))
}

/// The folder a path lies in; `.` for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::{Fault, FaultyFs};
    use crate::fs::Disk;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_the_old_whole_or_the_new_whole_after_any_fault() {
        let new = vec![7u8; 3 << 20]; // more than one buffer: several writes
        for (fault, lose_names) in Fault::ALL.into_iter().flat_map(|fault| [(fault, false), (fault, true)]) {
            let mut faults_met = 0;
            for at in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("a.bin");
                write_bytes(&Disk, &path, b"old").unwrap();
                let fs = FaultyFs::new(fault, at);
                let result = write_bytes(&fs, &path, &new);
                if lose_names {
                    fs.power_cut_losing_names()
                } else {
                    fs.power_cut()
                }
                let found = std::fs::read(&path).unwrap();
                assert!(found == b"old" || found == new, "{fault:?} at {at}: {} bytes", found.len());
                if result.is_ok() {
                    assert_eq!(found, new, "{fault:?} at {at}: reported as written");
                }
                if !fs.struck() {
                    assert!(result.is_ok());
                    break;
                }
                faults_met += 1;
                if fault != Fault::Crash {
                    assert_eq!(names(folder.path()), ["a.bin"], "{fault:?} at {at}: a temp file stayed");
                }
            }
            assert!(faults_met >= 5, "{fault:?}: create, writes, sync, rename, folder sync");
        }
    }

    #[test]
    fn an_error_of_the_caller_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let error = write_file(&Disk, &path, |writer| {
            writer.write_all(b"half")?;
            Err(io::Error::other("the source ended early"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("the source ended early"));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn data_is_synced_before_the_rename_and_the_folder_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let fs = FaultyFs::counting();
        write_bytes(&fs, &folder.path().join("a"), b"x").unwrap();
        assert_eq!(fs.trace(), ["create_file", "write", "sync", "rename", "sync_folder"]);
    }

    #[test]
    fn a_missing_folder_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nowhere/a");
        let message = write_bytes(&Disk, &path, b"x").unwrap_err().to_string();
        assert!(message.contains("nowhere/a") && message.contains("make the folder first"), "{message}");
    }

    #[test]
    fn a_link_names_the_old_or_the_new_target_after_any_fault() {
        for fault in Fault::ALL {
            for at in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("latest");
                replace_link(&Disk, &path, Path::new("step-1")).unwrap();
                let fs = FaultyFs::new(fault, at);
                let result = replace_link(&fs, &path, Path::new("step-2"));
                let found = std::fs::read_link(&path).unwrap();
                assert!(found == Path::new("step-2") || (result.is_err() && found == Path::new("step-1")));
                if !fs.struck() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_link_does_not_replace_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latest");
        write_bytes(&Disk, &path, b"precious").unwrap();
        assert!(matches!(replace_link(&Disk, &path, Path::new("x")), Err(DurableError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_folder_is_removed_whole_or_not_at_all_after_any_fault() {
        for fault in Fault::ALL {
            for at in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let old = folder.path().join("old");
                std::fs::create_dir(&old).unwrap();
                write_bytes(&Disk, &old.join("a"), b"a").unwrap();
                let fs = FaultyFs::new(fault, at);
                let removed = remove_folder(&fs, &old);
                assert!(removed.is_err() || !fs.struck());
                assert!(!old.exists() || old.join("a").exists());
                remove_leftovers(&Disk, folder.path()).unwrap();
                assert_eq!(names(folder.path()).is_empty(), !old.exists());
                if !fs.struck() {
                    assert!(at > 0 && !old.exists());
                    break;
                }
            }
        }
    }

    #[test]
    fn what_is_moved_away_keeps_its_name_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("damaged");
        let mut places = Vec::new();
        for content in ["1", "2", "3"] {
            let step = folder.path().join("step-1");
            std::fs::create_dir(&step).unwrap();
            write_bytes(&Disk, &step.join("a"), content.as_bytes()).unwrap();
            places.push(move_folder(&Disk, &step, &into).unwrap());
            assert!(!step.exists());
        }
        let found: Vec<String> =
            places.iter().map(|place| std::fs::read_to_string(place.join("a")).unwrap()).collect();
        assert_eq!(found, ["1", "2", "3"]);
        assert_eq!(names(&into), ["step-1", "step-1-2", "step-1-3"]);
    }

    #[test]
    fn leftovers_of_a_killed_writer_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let fs = FaultyFs::new(Fault::Crash, 2);
        write_bytes(&fs, &folder.path().join("a"), b"x").unwrap_err();
        write_bytes(&Disk, &folder.path().join("b"), b"x").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        let removed = remove_leftovers(&Disk, folder.path()).unwrap();
        assert_eq!((removed.len(), names(folder.path())), (1, vec!["b".to_owned()]));
    }
}

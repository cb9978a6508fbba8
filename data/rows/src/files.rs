//! Paths, folders and patterns to files of known formats, in one order.

use crate::RowsError;
use std::path::{Path, PathBuf};

/// How a file holds rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object a line.
    JsonLines,
    /// The whole file is one document.
    Text,
}

impl Format {
    /// The format by the file's extension, in any case.
    pub fn of(path: &Path) -> Result<Format, RowsError> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("jsonl" | "json") => Ok(Format::JsonLines),
            Some("txt") => Ok(Format::Text),
            Some("gz" | "zst" | "parquet") => {
                Err(RowsError::Format { path: path.to_path_buf(), planned: true })
            }
            _ => Err(RowsError::Format { path: path.to_path_buf(), planned: false }),
        }
    }
}

/// The files of a `path` key, sorted: a file; a folder with everything below it; or a pattern.
///
/// In a folder, hidden files and files of unknown formats (a README, say) are passed over; a data file of a
/// format that is not read yet is an error, because leaving it out would train on part of the data.
pub(crate) fn find(path: &str) -> Result<Vec<(PathBuf, Format)>, RowsError> {
    let mut files = Vec::new();
    let plain = Path::new(path);
    if plain.is_dir() {
        walk(plain, &mut files)?;
    } else if plain.exists() {
        files.push((plain.to_path_buf(), Format::of(plain)?));
    } else if path.contains(['*', '?', '[']) {
        let bad = |reason: String| RowsError::BadPattern { pattern: path.into(), reason };
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        for found in glob::glob_with(path, options).map_err(|e| bad(e.to_string()))? {
            let found =
                found.map_err(|e| RowsError::Read { path: e.path().to_path_buf(), source: e.into() })?;
            if found.is_dir() {
                walk(&found, &mut files)?;
            } else {
                let format = Format::of(&found)?;
                files.push((found, format));
            }
        }
    }
    if files.is_empty() {
        let reason = if plain.is_dir() {
            "the folder holds no .jsonl, .json or .txt file"
        } else if path.contains(['*', '?', '[']) {
            "nothing matches the pattern"
        } else {
            "there is no such file or folder"
        };
        return Err(RowsError::NoFiles { path: path.into(), reason });
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files.dedup_by(|a, b| a.0 == b.0);
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<(PathBuf, Format)>) -> Result<(), RowsError> {
    let read = |source| RowsError::Read { path: folder.to_path_buf(), source };
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        // A linked folder could lead back up; a linked file is a file.
        if entry.file_type().map_err(read)?.is_dir() {
            walk(&path, files)?;
        } else if path.is_file() {
            match Format::of(&path) {
                Ok(format) => files.push((path, format)),
                Err(RowsError::Format { planned: false, .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

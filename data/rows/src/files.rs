//! Paths, folders and patterns to files of known formats, in one order.

use crate::RowsError;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was last written to, where the system says so.
    pub modified: Option<SystemTime>,
    pub(crate) format: Format,
}

impl DataFile {
    /// A file of a known format, whatever characters its name has.
    ///
    /// # Errors
    /// When it is not there, cannot be looked at, or has a format that is not read.
    pub fn new(path: &Path) -> Result<DataFile, RowsError> {
        let format = Format::of(path)?;
        let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => RowsError::Gone { path: path.to_path_buf() },
            _ => RowsError::Read { path: path.to_path_buf(), source },
        })?;
        Ok(DataFile {
            path: path.to_path_buf(),
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            format,
        })
    }
}

/// How a file holds rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object a line.
    JsonLines(Packing),
    /// The whole file is one document.
    Text(Packing),
    /// Columns.
    Parquet,
}

/// How a stream of bytes is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstandard,
}

impl Packing {
    pub fn name(self) -> &'static str {
        match self {
            Packing::None => "plain",
            Packing::Gzip => "gzip",
            Packing::Zstandard => "Zstandard",
        }
    }
}

impl Format {
    /// The format by the file's extensions, in any case.
    pub fn of(path: &Path) -> Result<Format, RowsError> {
        let last = extension(path);
        let (packing, inner) = match last.as_str() {
            "gz" => (Packing::Gzip, extension(&path.with_extension(""))),
            "zst" => (Packing::Zstandard, extension(&path.with_extension(""))),
            _ => (Packing::None, last.clone()),
        };
        match (inner.as_str(), packing) {
            ("jsonl" | "json", packing) => return Ok(Format::JsonLines(packing)),
            ("txt", packing) => return Ok(Format::Text(packing)),
            ("parquet", Packing::None) => return Ok(Format::Parquet),
            _ => {}
        }
        // Packed in a way that is not read, or without a word on what is inside.
        let data_inside =
            matches!(extension(&path.with_extension("")).as_str(), "jsonl" | "json" | "txt" | "parquet");
        let packed = match last.as_str() {
            "gz" | "zst" => data_inside || inner.is_empty(),
            "bz2" | "xz" | "lz4" | "br" | "zip" | "7z" => data_inside,
            _ => false,
        };
        Err(RowsError::Format { path: path.to_path_buf(), packed })
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// The files of a `path` key, sorted: a file; a folder with everything below it; or a pattern.
///
/// In a folder, hidden files and files of unknown formats (a README, say) are passed over; a data file that is
/// packed in a way that is not read is an error, because leaving it out would train on part of the data.
pub(crate) fn find(path: &str) -> Result<Vec<DataFile>, RowsError> {
    let mut files = Vec::new();
    let plain = Path::new(path);
    if plain.is_dir() {
        walk(plain, &mut files)?;
    } else if plain.exists() {
        files.push(DataFile::new(plain)?);
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
                files.push(DataFile::new(&found)?);
            }
        }
    }
    if files.is_empty() {
        let reason = if plain.is_dir() {
            "the folder holds no .jsonl, .json, .txt (plain, .gz or .zst) or .parquet file"
        } else if path.contains(['*', '?', '[']) {
            "nothing matches the pattern"
        } else {
            "there is no such file or folder"
        };
        return Err(RowsError::NoFiles { path: path.into(), reason });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<DataFile>) -> Result<(), RowsError> {
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
            match DataFile::new(&path) {
                Ok(file) => files.push(file),
                Err(RowsError::Format { packed: false, .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

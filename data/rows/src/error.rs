//! What can go wrong between files and documents.

use crate::Origin;
use std::path::PathBuf;

/// An error of this crate. Each message says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// A path, folder or pattern gives no file.
    #[error("`{path}` gives no data file: {reason}")]
    NoFiles {
        /// The path as written.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// A pattern with `*`, `?` or `[` cannot be understood.
    #[error("`{pattern}` is not a pattern of files: {reason}")]
    BadPattern {
        /// The pattern as written.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// A file or folder could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file was there when it was listed, and is not any more.
    #[error("`{}` is gone: it was there when the files were listed; put it back or list anew", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// A file is not the one that was listed, or was written to while it was read.
    #[error(
        "`{}` was replaced or written to after the files were listed; let it come to rest and start anew",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file's extension names no format that is read.
    #[error(
        "`{}`: {} formats read are .jsonl and .json (one object a line) and .txt (one document a file), each also as \
         .gz or .zst, and .parquet",
        path.display(),
        if *packed { "packed in a way that is not read, or without saying what is inside;" } else { "its format is unknown;" }
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Whether it looks like data in a packing that is not read: in a folder such a file is not passed over.
        packed: bool,
    },
    /// A packed file ends early or does not unpack.
    #[error("{origin}: the {packing} stream is damaged here: {reason}; fetch or pack the file anew")]
    DamagedStream {
        /// The line that was being read.
        origin: Origin,
        /// `gzip` or `Zstandard`.
        packing: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// A parquet file that contradicts itself or is cut off.
    #[error("`{}`{}: damaged: {reason}; fetch or write the file anew", path.display(), at_row(*row))]
    BadParquet {
        /// The file.
        path: PathBuf,
        /// The row that was being read, from 1; none while its footer was.
        row: Option<u64>,
        /// What is wrong.
        reason: String,
    },
    /// A parquet file of a kind that is not read.
    #[error("`{}` is not read: {reason}; write it anew in the usual way, with Snappy or Zstandard", path.display())]
    UnreadParquet {
        /// The file.
        path: PathBuf,
        /// What is not read.
        reason: String,
    },
    /// A line, or a whole text file, is longer than is read into memory.
    #[error("{origin}: longer than {limit} bytes; cut it into smaller documents")]
    TooLong {
        /// Where it starts.
        origin: Origin,
        /// The most bytes that are read.
        limit: usize,
    },
    /// A row takes more memory than it may.
    #[error("{origin}: a row that takes more than {limit} bytes in memory; cut it into smaller documents")]
    TooLarge {
        /// The row.
        origin: Origin,
        /// The most bytes that a row may take, about.
        limit: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("{origin}: not UTF-8: the first bad byte is byte {byte} of the file; convert the file to UTF-8")]
    BadUtf8 {
        /// The line.
        origin: Origin,
        /// Offset in the file, from 0.
        byte: u64,
    },
    /// A line that is not JSON.
    #[error("{origin}: broken JSON at column {column}: {reason}")]
    BadJson {
        /// The line.
        origin: Origin,
        /// Column in bytes, from 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// JSON that is not an object.
    #[error("{origin}: expected one JSON object a line, found {found}")]
    NotAnObject {
        /// The line.
        origin: Origin,
        /// What stands there.
        found: &'static str,
    },
    /// A template or filter that does not parse.
    #[error("{what} `{source_text}` is not valid: {reason}")]
    Syntax {
        /// `the template` or `the filter`.
        what: &'static str,
        /// The template or expression.
        source_text: String,
        /// What the parser says.
        reason: String,
    },
    /// The template uses a field that the row lacks.
    #[error("{origin}: no field `{field}` for the template; the row has {}", list(fields))]
    MissingField {
        /// The row.
        origin: Origin,
        /// The field.
        field: String,
        /// The fields there are.
        fields: Vec<String>,
    },
    /// The template writes a field that is null.
    #[error(
        "{origin}: the template writes `{field}`, which is null; filter such rows with `where`, or write \
         `{{{{ {field} or \"\" }}}}`"
    )]
    NullField {
        /// The row.
        origin: Origin,
        /// The field.
        field: String,
    },
    /// The template failed on a row.
    #[error("{origin}: the template failed: {reason}")]
    Render {
        /// The row.
        origin: Origin,
        /// Why.
        reason: String,
    },
    /// The filter failed on a row.
    #[error("{origin}: the filter failed: {reason}")]
    Filter {
        /// The row.
        origin: Origin,
        /// Why.
        reason: String,
    },
}

fn list(fields: &[String]) -> String {
    match fields {
        [] => "no fields".into(),
        fields => fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", "),
    }
}

fn at_row(row: Option<u64>) -> String {
    row.map(|row| format!(", row {row}")).unwrap_or_default()
}

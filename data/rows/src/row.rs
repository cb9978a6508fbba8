//! A row and where it comes from.

use serde_json::{Map, Value};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a row stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, or the name of a generated source.
    pub file: Arc<Path>,
    /// The line, or the row of a parquet file, from 1; 1 for a file that is one document; the index plus one of
    /// a generated row.
    pub line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A JSON object and its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The object.
    pub fields: Map<String, Value>,
    /// Where it stands.
    pub origin: Origin,
    /// Names of fields that the file has and that were not read, because nobody asked for them.
    pub unread: Arc<[String]>,
}

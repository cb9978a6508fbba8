//! What a fuzzer calls: plain functions of bytes, which return whatever they are given.

use crate::files::Packing;
use crate::json_lines::{JsonLines, whole_text};
use crate::parquet::ParquetRows;
use crate::{Filter, Origin, Row, Template};
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

/// Rows read of one input at most: a few bytes of a columnar or packed file can stand for endless rows.
const MAX_ROWS: usize = 10_000;

/// Reads any bytes as a parquet file, all its columns and one alone.
pub fn fuzz_parquet(bytes: &[u8]) {
    for wanted in [None, Some(["text".to_string()].into())] {
        let Ok(mut rows) = ParquetRows::open(Cursor::new(bytes), bytes.len() as u64, wanted.as_ref()) else {
            continue;
        };
        for _ in 0..MAX_ROWS {
            if !matches!(rows.next_row(), Ok(Some(_))) {
                break;
            }
        }
    }
}

/// Reads any bytes as lines of JSON and as a text, plain and packed.
pub fn fuzz_streams(bytes: &[u8]) {
    let path: Arc<Path> = Path::new("fuzz").into();
    for packing in [Packing::None, Packing::Gzip, Packing::Zstandard] {
        let open = || {
            let unpacked = crate::input::decoder(Cursor::new(bytes.to_vec()), packing).ok()?;
            // As with rows: what is unpacked is bounded.
            Some(Box::new(BufReader::new(unpacked.take(1 << 20))))
        };
        if let Some(input) = open() {
            let mut lines = JsonLines::new(path.clone(), packing, input);
            while let Ok(Some(_)) = lines.next_object() {
                assert!(lines.line > 0, "lines are counted from 1");
            }
        }
        if let Some(input) = open() {
            let _ = whole_text(&path, packing, input);
        }
    }
}

/// Renders a template over a row and asks a filter; template (or filter) and row, a JSON object, are the bytes
/// before and behind the first zero byte.
pub fn fuzz_template(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let source = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let fields = serde_json::from_slice(parts.next().unwrap_or(b"{}")).unwrap_or_default();
    let origin = Origin { file: Path::new("fuzz").into(), line: 1 };
    let row = Row { fields, origin, unread: Arc::default() };
    if let Ok(template) = Template::new(&source) {
        let _ = template.render(&row);
    }
    if let Ok(filter) = Filter::new(&source) {
        let _ = filter.keeps(&row);
    }
}

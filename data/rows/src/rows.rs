//! Rows of files, one at a time.

use crate::files::{self, Format};
use crate::lines::{BYTE_ORDER_MARK, Line, LineReader, MAX_DOCUMENT_BYTES};
use crate::{Origin, Row, RowsError};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The rows of a file, folder or pattern, in the order of the sorted paths and of the lines.
///
/// - `.jsonl`, `.json`: one JSON object a line; blank lines are passed over. At most 256 MiB a line and 128
///   levels deep.
/// - `.txt`: the whole file is one row `{"text": …}`, as one document a file is how text corpora come; line
///   ends become `\n`. At most 256 MiB a file.
///
/// A byte-order mark at a file's start is passed over. After an error there are no more rows.
pub struct Rows {
    files: std::vec::IntoIter<(PathBuf, Format)>,
    open: Option<Open>,
}

struct Open {
    path: Arc<Path>,
    line: u64,
    reader: LineReader<BufReader<File>>,
}

impl Rows {
    /// Finds the files of a path, folder or pattern (`*`, `?`, `[…]`, `**`).
    ///
    /// # Errors
    /// When nothing is found, or a file has a format that is not read.
    pub fn open(path: &str) -> Result<Rows, RowsError> {
        Ok(Rows { files: files::find(path)?.into_iter(), open: None })
    }

    /// The files that a path, folder or pattern means, in the order in which their rows come.
    ///
    /// # Errors
    /// As [`Rows::open`].
    pub fn files(path: &str) -> Result<Vec<PathBuf>, RowsError> {
        Ok(files::find(path)?.into_iter().map(|(path, _)| path).collect())
    }

    fn next_row(&mut self) -> Result<Option<Row>, RowsError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(row) = open.next_row()? {
                    return Ok(Some(row));
                }
                self.open = None;
            }
            let Some((path, format)) = self.files.next() else { return Ok(None) };
            let file = File::open(&path).map_err(|source| RowsError::Read { path: path.clone(), source })?;
            match format {
                Format::Text => return Ok(Some(whole_file(file, path)?)),
                Format::JsonLines => {
                    let reader = LineReader::new(BufReader::with_capacity(1 << 16, file), MAX_DOCUMENT_BYTES);
                    self.open = Some(Open { path: path.into(), line: 0, reader });
                }
            }
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_row().transpose();
        if matches!(next, Some(Err(_))) {
            self.files = Vec::new().into_iter();
            self.open = None;
        }
        next
    }
}

impl Open {
    fn next_row(&mut self) -> Result<Option<Row>, RowsError> {
        loop {
            self.line += 1;
            let origin = Origin { file: self.path.clone(), line: self.line };
            let line = self
                .reader
                .next()
                .map_err(|source| RowsError::Read { path: self.path.to_path_buf(), source })?;
            let start = match line {
                Line::End => return Ok(None),
                Line::TooLong => return Err(RowsError::TooLong { origin, limit: MAX_DOCUMENT_BYTES }),
                Line::Whole { start } => start,
            };
            let bytes = self.reader.bytes();
            if !bytes.iter().all(u8::is_ascii_whitespace) {
                let fields = parse_line(bytes, start, &origin)?;
                return Ok(Some(Row { fields, origin }));
            }
        }
    }
}

/// The object of one line, which starts at this offset of its file.
fn parse_line(bytes: &[u8], start: u64, origin: &Origin) -> Result<Map<String, Value>, RowsError> {
    let text = utf8(bytes, start, origin)?;
    let found = match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => return Ok(fields),
        Ok(Value::Array(_)) => "an array",
        Ok(Value::String(_)) => "a string",
        Ok(Value::Number(_)) => "a number",
        Ok(Value::Bool(_)) => "true or false",
        Ok(Value::Null) => "null",
        // A pretty-printed file: its first line alone says so.
        Err(e) if e.is_eof() && origin.line == 1 && text.trim() == "[" => {
            "the start of an array over many lines"
        }
        Err(e) => {
            let message = e.to_string();
            let reason = message.split(" at line ").next().unwrap_or(&message).to_string();
            return Err(RowsError::BadJson { origin: origin.clone(), column: e.column(), reason });
        }
    };
    Err(RowsError::NotAnObject { origin: origin.clone(), found })
}

fn utf8<'a>(bytes: &'a [u8], start: u64, origin: &Origin) -> Result<&'a str, RowsError> {
    std::str::from_utf8(bytes)
        .map_err(|e| RowsError::BadUtf8 { origin: origin.clone(), byte: start + e.valid_up_to() as u64 })
}

fn whole_file(file: File, path: PathBuf) -> Result<Row, RowsError> {
    let origin = Origin { file: path.clone().into(), line: 1 };
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| RowsError::Read { path, source })?;
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(RowsError::TooLong { origin, limit: MAX_DOCUMENT_BYTES });
    }
    let start = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let text = utf8(&bytes[start..], start as u64, &origin)?.replace("\r\n", "\n");
    let fields = [("text".to_string(), Value::String(text))].into_iter().collect();
    Ok(Row { fields, origin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(path).unwrap().write_all(bytes).unwrap();
        }
        folder
    }

    fn read(path: &Path) -> Vec<Result<Row, RowsError>> {
        match Rows::open(path.to_str().unwrap()) {
            Ok(rows) => rows.collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn error_of(name: &str, bytes: &[u8]) -> String {
        let folder = folder(&[(name, bytes)]);
        let mut rows = read(&folder.path().join(name));
        let last = rows.pop().unwrap().unwrap_err().to_string();
        last.replace(folder.path().to_str().unwrap(), "")
    }

    #[test]
    fn rows_come_in_the_order_of_paths_and_lines() {
        let folder = folder(&[
            ("b.jsonl", b"\xEF\xBB\xBF{\"n\": 1}\r\n\r\n  \n{\"n\": 2}"),
            ("a/z.txt", b"\xEF\xBB\xBFone\r\ntwo\n"),
            ("a/README.md", b"not data"),
            (".hidden.jsonl", b"{"),
            ("c.JSON", b"{\"n\": 3}\n"),
        ]);
        let rows: Vec<Row> = read(folder.path()).into_iter().map(Result::unwrap).collect();
        let fields: Vec<Value> = rows.iter().map(|row| Value::Object(row.fields.clone())).collect();
        assert_eq!(
            fields,
            [json!({"text": "one\ntwo\n"}), json!({"n": 1}), json!({"n": 2}), json!({"n": 3})]
        );
        assert_eq!(rows.iter().map(|row| row.origin.line).collect::<Vec<_>>(), [1, 1, 4, 1]);
        assert!(rows[2].origin.to_string().ends_with("b.jsonl:4"));
        for (pattern, count) in [("*.jsonl", 2), ("**/*.txt", 1), ("[bc].*", 3), ("a", 1)] {
            assert_eq!(read(&folder.path().join(pattern)).len(), count, "{pattern}");
        }
    }

    #[test]
    fn a_bad_line_is_named_with_file_and_line() {
        let cases: [(&[u8], &str); 8] = [
            (b"{\"a\": 1}\n\n{\"a\": }\n", "/x.jsonl:3: broken JSON at column 7: expected value"),
            (
                b"{\"a\": 1}\n{\"a\": \"\xFF\"}\n",
                "/x.jsonl:2: not UTF-8: the first bad byte is byte 16 of the file",
            ),
            (b"\xEF\xBB\xBF{\xFF", "/x.jsonl:1: not UTF-8: the first bad byte is byte 4"),
            (b"[1]\n", "/x.jsonl:1: expected one JSON object a line, found an array"),
            (b"[\n{\"a\": 1}\n]\n", "found the start of an array over many lines"),
            (b"3\n", "found a number"),
            (b"{\"a\": 1} {\"a\": 2}\n", "/x.jsonl:1: broken JSON at column 10: trailing characters"),
            (b"{\"a\": 1}\n{\"a\"", "/x.jsonl:2: broken JSON at column 4: EOF"),
        ];
        for (bytes, expected) in cases {
            let error = error_of("x.jsonl", bytes);
            assert!(error.contains(expected), "{error}");
        }
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(error_of("x.jsonl", deep.as_bytes()).contains("recursion limit"));
        assert!(error_of("x.txt", b"ab\xC3").contains("byte 2"));
    }

    #[test]
    fn rows_end_at_the_first_error() {
        let folder = folder(&[("x.jsonl", b"{}\n{\n{}\n"), ("y.jsonl", b"{}\n")]);
        let rows = read(folder.path());
        assert_eq!(rows.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_gives_no_rows_says_why() {
        let empty = folder(&[("README.md", b"")]);
        let of = |name: &str| read(&empty.path().join(name)).pop().unwrap().unwrap_err().to_string();
        assert!(of("").contains("holds no .jsonl"));
        assert!(of("*.jsonl").contains("nothing matches the pattern"));
        assert!(of("x.jsonl").contains("no such file or folder"));
        assert!(of("a***").contains("not a pattern"));
        assert!(of("README.md").contains("its format is unknown; formats read are .jsonl"));
        for name in ["x.jsonl.gz", "x.jsonl.zst", "x.parquet"] {
            let folder = folder(&[(name, b""), ("y.jsonl", b"{}")]);
            for path in [folder.path().to_path_buf(), folder.path().join(name)] {
                let error = read(&path).pop().unwrap().unwrap_err().to_string();
                assert!(error.contains("not read yet") && error.contains(name), "{error}");
            }
        }
    }
}

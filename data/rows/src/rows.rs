//! Rows of files, one at a time.

use crate::files::{self, DataFile, Format};
use crate::input::{self, Progress};
use crate::json_lines::{JsonLines, whole_text};
use crate::parquet::{self, ParquetRows};
use crate::{Origin, Row, RowsError};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The rows of a file, folder or pattern, in the order of the sorted paths and of the lines.
///
/// - `.jsonl`, `.json`: one JSON object a line; blank lines are passed over; NaN and infinities, which Python writes, are
///   null. At most 256 MiB a line and 128 levels deep.
/// - `.txt`: the whole file is one row `{"text": …}`, as one document a file is how text corpora come; line
///   ends become `\n`. At most 256 MiB a file.
/// - `.gz` and `.zst` of these (`.jsonl.gz`, say), with as many members or frames as there are, read as a stream;
///   Zstandard with windows up to 2 GiB (`--long=31`), whose memory is taken where a file was written so.
/// - `.parquet`: a row is an object of its columns; lists, structs and maps are arrays and objects. Dates, times
///   and decimals are text; NaN is null, and so are bytes that are not text in a column not declared as text; at
///   most one page of a column is in memory at a time.
///
/// A row may take 512 MiB in memory. A byte-order mark at a text's start is passed over. After an error there are no
/// more rows.
pub struct Rows {
    files: std::vec::IntoIter<DataFile>,
    wanted: Option<BTreeSet<String>>,
    progress: Progress,
    /// Bytes of the files before the one that is open.
    before: u64,
    open: Option<Open>,
}

struct Open {
    listed: DataFile,
    path: Arc<Path>,
    /// The handle, to see whether somebody writes to the file.
    file: File,
    reader: Reader,
}

enum Reader {
    JsonLines(JsonLines),
    /// A document not yet given out.
    Text(Option<String>),
    Parquet(Box<ParquetRows<File>>),
}

impl Rows {
    /// Finds the files of a path, folder or pattern (`*`, `?`, `[…]`, `**`).
    ///
    /// # Errors
    /// When nothing is found, or a file has a format that is not read.
    pub fn open(path: &str) -> Result<Rows, RowsError> {
        Ok(Rows::of_files(Rows::files(path)?))
    }

    /// The files that [`Rows::open`] would read, in its order.
    ///
    /// # Errors
    /// As for [`Rows::open`].
    pub fn files(path: &str) -> Result<Vec<DataFile>, RowsError> {
        files::find(path)
    }

    /// The rows of files that were listed before; one that has changed since is an error when its turn comes.
    pub fn of_files(files: Vec<DataFile>) -> Rows {
        let progress = Progress::new(files.iter().map(|file| file.bytes).sum());
        Rows { files: files.into_iter(), wanted: None, progress, before: 0, open: None }
    }

    /// Reads only these top-level fields, where leaving out the others saves work: columns of parquet files.
    pub fn with_fields(mut self, names: impl IntoIterator<Item = String>) -> Rows {
        self.wanted = Some(names.into_iter().collect());
        self
    }

    /// How far the reading is; the handle can be kept while the rows are used up elsewhere.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn next_row(&mut self) -> Result<Option<Row>, RowsError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(row) = open.next_row()? {
                    if let Reader::Parquet(rows) = &open.reader {
                        let part = u128::from(open.listed.bytes) * u128::from(rows.read)
                            / u128::from(rows.rows.max(1));
                        self.progress.set(self.before + part as u64);
                    }
                    return Ok(Some(row));
                }
                input::unchanged(&open.file, &open.listed)?;
                self.before += open.listed.bytes;
                self.progress.set(self.before);
                self.open = None;
            }
            let Some(listed) = self.files.next() else { return Ok(None) };
            self.open = Some(Open::new(listed, self.wanted.as_ref(), &self.progress)?);
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
    fn new(
        listed: DataFile,
        wanted: Option<&BTreeSet<String>>,
        progress: &Progress,
    ) -> Result<Open, RowsError> {
        let path: Arc<Path> = listed.path.clone().into();
        let read = |source| RowsError::Read { path: listed.path.clone(), source };
        let file = input::open(&listed)?;
        let handle = file.try_clone().map_err(read)?;
        let unpacked = |file, packing| {
            let origin = Origin { file: path.clone(), line: 1 };
            input::unpacked(file, packing, progress.clone())
                .map_err(|source| input::read_error(source, packing, origin))
        };
        let reader = match listed.format {
            Format::JsonLines(packing) => {
                Reader::JsonLines(JsonLines::new(path.clone(), packing, unpacked(handle, packing)?))
            }
            Format::Text(packing) => {
                Reader::Text(Some(whole_text(&path, packing, unpacked(handle, packing)?)?))
            }
            Format::Parquet => Reader::Parquet(Box::new(
                ParquetRows::open(handle, listed.bytes, wanted)
                    .map_err(|fault| parquet::error(fault, &path, None))?,
            )),
        };
        Ok(Open { listed, path, file, reader })
    }

    fn next_row(&mut self) -> Result<Option<Row>, RowsError> {
        let row = |fields: Map<String, Value>, line, unread| {
            Some(Row { fields, origin: Origin { file: self.path.clone(), line }, unread })
        };
        Ok(match &mut self.reader {
            Reader::JsonLines(lines) => {
                lines.next_object()?.and_then(|fields| row(fields, lines.line, Arc::default()))
            }
            Reader::Text(text) => text.take().and_then(|text| {
                row([("text".to_string(), Value::String(text))].into_iter().collect(), 1, Arc::default())
            }),
            Reader::Parquet(rows) => match rows.next_row() {
                Ok(fields) => fields.and_then(|fields| row(fields, rows.read, rows.unread.clone())),
                Err(fault) => return Err(parquet::error(fault, &self.path, Some(rows.read + 1))),
            },
        })
    }
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
    fn what_python_writes_for_missing_numbers_is_null() {
        let line = br#"{"a": [NaN, "NaN \"NaN", -Infinity], "b": Infinity, "NaN": 1}"#;
        let folder = folder(&[("x.jsonl", line)]);
        let row = read(&folder.path().join("x.jsonl")).remove(0).unwrap();
        let expected = json!({"a": [null, "NaN \"NaN", null], "b": null, "NaN": 1});
        assert_eq!(Value::Object(row.fields), expected);
        assert!(error_of("x.jsonl", b"{\"a\": NaNa}").contains("broken JSON at column 7"));
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
        for name in ["x.jsonl.xz", "x.gz", "x.zst", "x.parquet.gz", "x.txt.bz2"] {
            let folder = folder(&[(name, b""), ("y.jsonl", b"{}")]);
            for path in [folder.path().to_path_buf(), folder.path().join(name)] {
                let error = read(&path).pop().unwrap().unwrap_err().to_string();
                assert!(
                    error.contains("packed in a way that is not read") && error.contains(name),
                    "{error}"
                );
            }
        }
        let foreign = folder(&[("x.csv.gz", b""), ("x.tar.gz", b""), ("y.jsonl", b"{}")]);
        assert_eq!(read(foreign.path()).len(), 1);
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstandard(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    #[test]
    fn packed_files_hold_what_plain_ones_do() {
        let lines = b"\xEF\xBB\xBF{\"n\": 1}\n\n{\"n\": 2}\r\n{\"n\": 3}";
        // A member or frame may end within a line, and a frame may be one to pass over.
        let gzip_parts = [gzip(&lines[..9]), gzip(b""), gzip(&lines[9..])].concat();
        let skippable = b"\x50\x2A\x4D\x18\x02\0\0\0ab".to_vec();
        let zstandard_parts = [zstandard(&lines[..9]), skippable, zstandard(&lines[9..])].concat();
        let mut long = zstd::Encoder::new(Vec::new(), 3).unwrap();
        long.window_log(30).unwrap();
        long.write_all(lines).unwrap();
        let long = long.finish().unwrap();
        let packings = [
            ("jsonl", &lines[..]),
            ("jsonl.gz", &gzip_parts),
            ("JSON.GZ", &gzip(lines)),
            ("json.zst", &zstandard_parts),
            ("jsonl.zst", &long),
        ];
        for (extension, bytes) in packings {
            let name = format!("x.{extension}");
            let folder = folder(&[(name.as_str(), bytes)]);
            let rows: Vec<Row> = read(&folder.path().join(&name)).into_iter().map(Result::unwrap).collect();
            let numbers: Vec<_> =
                rows.iter().map(|row| (row.fields["n"].as_u64(), row.origin.line)).collect();
            assert_eq!(numbers, [(Some(1), 1), (Some(2), 3), (Some(3), 4)], "{name}");
        }
        let text = folder(&[("x.txt.gz", &gzip(b"one\r\ntwo")), ("y.txt.zst", &zstandard(b"three"))]);
        let texts: Vec<Row> = read(text.path()).into_iter().map(Result::unwrap).collect();
        assert_eq!(
            texts.iter().map(|row| row.fields["text"].as_str().unwrap()).collect::<Vec<_>>(),
            ["one\ntwo", "three"]
        );
    }

    #[test]
    fn a_stream_that_is_cut_off_never_passes_for_a_whole_one() {
        let lines: String = (0..200).map(|n| format!("{{\"n\": {}}}\n", n * 7919 % 1000)).collect();
        for (name, bytes) in
            [("x.jsonl.gz", gzip(lines.as_bytes())), ("x.jsonl.zst", zstandard(lines.as_bytes()))]
        {
            for cut in (0..bytes.len()).step_by(7) {
                let folder = folder(&[(name, &bytes[..cut])]);
                let mut rows = read(&folder.path().join(name));
                let error = rows.pop().unwrap().unwrap_err().to_string();
                let place = format!("{name}:{}: the ", rows.len() + 1);
                assert!(error.contains(&place) && error.contains("stream is damaged"), "{cut}: {error}");
                assert!(rows.iter().all(Result::is_ok));
            }
        }
        let error = error_of("x.jsonl.gz", b"{\"n\": 1}\n");
        assert!(error.starts_with("/x.jsonl.gz:1: the gzip stream is damaged here: "), "{error}");
    }

    #[test]
    fn progress_counts_the_bytes_on_disk() {
        let lines = b"{\"n\": 1}\n".repeat(50_000);
        let folder = folder(&[("a.jsonl", &lines), ("b.jsonl.gz", &gzip(&lines)), ("c.txt", b"text")]);
        let rows = Rows::open(folder.path().to_str().unwrap()).unwrap();
        let progress = rows.progress();
        let mut last = 0;
        let mut seen = std::collections::BTreeSet::new();
        for row in rows {
            row.unwrap();
            assert!(progress.consumed() >= last && progress.consumed() <= progress.total());
            last = progress.consumed();
            seen.insert(last);
        }
        assert_eq!(progress.consumed(), progress.total());
        assert!(seen.len() > 5, "{seen:?}");
    }

    #[test]
    fn files_that_change_after_they_were_listed_are_named() {
        let folder = folder(&[("a[1].jsonl", b"{\"n\": 1}\n"), ("b.jsonl", b"{\"n\": 2}\n")]);
        let files = || Rows::files(folder.path().to_str().unwrap()).unwrap();
        let listed = files();
        let names: Vec<_> =
            listed.iter().map(|file| file.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a[1].jsonl", "b.jsonl"]);
        // One of them alone, whatever its name.
        assert_eq!(Rows::of_files(vec![DataFile::new(&listed[0].path).unwrap()]).count(), 1);
        let last_error =
            |files: Vec<DataFile>| Rows::of_files(files).last().unwrap().unwrap_err().to_string();
        let b = &listed[1].path;
        let mut while_reading = Rows::of_files(files());
        while_reading.next().unwrap().unwrap();
        while_reading.next().unwrap().unwrap();
        File::options().append(true).open(b).unwrap().write_all(b"{\"n\": 3}\n").unwrap();
        assert!(
            while_reading
                .last()
                .unwrap()
                .unwrap_err()
                .to_string()
                .contains("b.jsonl` was replaced or written to")
        );
        assert!(
            last_error(listed.clone()).contains("b.jsonl` was replaced or written to after the files were")
        );
        std::fs::remove_file(b).unwrap();
        assert!(last_error(listed).contains("b.jsonl` is gone"));
    }
}

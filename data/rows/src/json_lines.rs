//! Lines of JSON and whole text files, plain or packed.

use crate::files::Packing;
use crate::input;
use crate::lines::{BYTE_ORDER_MARK, Line, LineReader, MAX_DOCUMENT_BYTES};
use crate::room::{self, Room};
use crate::{Origin, RowsError};
use serde_json::{Map, Value};
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;

/// The objects of a file with one a line.
pub(crate) struct JsonLines {
    path: Arc<Path>,
    packing: Packing,
    /// The line of the last object.
    pub line: u64,
    reader: LineReader<Box<dyn BufRead + Send>>,
}

impl JsonLines {
    pub fn new(path: Arc<Path>, packing: Packing, input: Box<dyn BufRead + Send>) -> JsonLines {
        JsonLines { path, packing, line: 0, reader: LineReader::new(input, MAX_DOCUMENT_BYTES) }
    }

    /// The next object.
    pub fn next_object(&mut self) -> Result<Option<Map<String, Value>>, RowsError> {
        loop {
            self.line += 1;
            let origin = || Origin { file: self.path.clone(), line: self.line };
            let start = match self.reader.next() {
                Err(source) => return Err(input::read_error(source, self.packing, origin())),
                Ok(Line::End) => return Ok(None),
                Ok(Line::TooLong) => {
                    return Err(RowsError::TooLong { origin: origin(), limit: MAX_DOCUMENT_BYTES });
                }
                Ok(Line::Whole { start }) => start,
            };
            let bytes = self.reader.bytes();
            if !bytes.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(parse_line(bytes, start, &origin())?));
            }
        }
    }
}

/// The object of one line, which starts at this offset of its file.
fn parse_line(bytes: &[u8], start: u64, origin: &Origin) -> Result<Map<String, Value>, RowsError> {
    let text = utf8(bytes, start, origin)?;
    let parsed = room::parse(text).or_else(|error| match without_nan(text) {
        Some(mended) => room::parse(&mended).map_err(|_| error),
        None => Err(error),
    });
    let found = match parsed {
        Ok(Value::Object(fields)) => return Ok(fields),
        Ok(Value::Array(_)) => "an array",
        Ok(Value::String(_)) => "a string",
        Ok(Value::Number(_)) => "a number",
        Ok(Value::Bool(_)) => "true or false",
        Ok(Value::Null) => "null",
        Err((_, true)) => return Err(Room::error(origin.clone())),
        // A pretty-printed file: its first line alone says so.
        Err((e, _)) if e.is_eof() && origin.line == 1 && text.trim() == "[" => {
            "the start of an array over many lines"
        }
        Err((e, _)) => {
            let message = e.to_string();
            let reason = message.split(" at line ").next().unwrap_or(&message).to_string();
            return Err(RowsError::BadJson { origin: origin.clone(), column: e.column(), reason });
        }
    };
    Err(RowsError::NotAnObject { origin: origin.clone(), found })
}

/// What Python writes and JSON does not know: NaN and infinities are null, as in parquet files. `None` where there are none.
fn without_nan(text: &str) -> Option<String> {
    let mut mended = String::new();
    let (mut inside, mut escaped) = (false, false);
    let (mut kept, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let word = ["NaN", "Infinity", "-Infinity"].iter().find(|word| rest.starts_with(word.as_bytes()));
        match (inside, word) {
            (false, Some(word)) => {
                mended += &text[kept..at];
                mended += "null";
                at += word.len();
                kept = at;
                continue;
            }
            (true, _) if escaped => escaped = false,
            (true, _) if rest[0] == b'\\' => escaped = true,
            (true, _) if rest[0] == b'"' => inside = false,
            (false, None) if rest[0] == b'"' => inside = true,
            _ => {}
        }
        at += 1;
    }
    mended += &text[kept..];
    (kept > 0).then_some(mended)
}

fn utf8<'a>(bytes: &'a [u8], start: u64, origin: &Origin) -> Result<&'a str, RowsError> {
    std::str::from_utf8(bytes)
        .map_err(|e| RowsError::BadUtf8 { origin: origin.clone(), byte: start + e.valid_up_to() as u64 })
}

/// The text of a file that is one document, with `\n` at the ends of its lines.
pub(crate) fn whole_text(
    path: &Arc<Path>,
    packing: Packing,
    input: Box<dyn BufRead + Send>,
) -> Result<String, RowsError> {
    let origin = || Origin { file: path.clone(), line: 1 };
    let mut bytes = Vec::new();
    input
        .take(MAX_DOCUMENT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| input::read_error(source, packing, origin()))?;
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(RowsError::TooLong { origin: origin(), limit: MAX_DOCUMENT_BYTES });
    }
    let start = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    Ok(utf8(&bytes[start..], start as u64, &origin())?.replace("\r\n", "\n"))
}

//! JSON lines in and out.

use anyhow::{Context, Result, bail};
use octo_infer::InferError;
use serde::{Serialize, de::DeserializeOwned};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

/// The longest line read: a million tokens written out in decimal are a tenth of it.
const MAX_LINE: u64 = 64 << 20;

/// The rows of a file of JSON objects, or of standard input for `-`.
pub fn read_lines<T: DeserializeOwned>(input: &Path) -> Result<Vec<T>> {
    let mut reader: Box<dyn BufRead> = match input.to_str() {
        Some("-") => Box::new(BufReader::new(std::io::stdin())),
        _ => Box::new(BufReader::new(
            File::open(input).with_context(|| format!("cannot open {}", input.display()))?,
        )),
    };
    let mut rows = Vec::new();
    for number in 1.. {
        let mut line = String::new();
        let place = || format!("{}:{number}", input.display());
        let read = reader
            .by_ref()
            .take(MAX_LINE)
            .read_line(&mut line)
            .with_context(|| format!("{}: not a line of UTF-8 text", place()))?;
        if read == 0 {
            break;
        }
        if read as u64 == MAX_LINE {
            bail!("{}: the line is longer than {} MiB", place(), MAX_LINE >> 20);
        }
        if line.trim().is_empty() {
            continue;
        }
        rows.push(serde_json::from_str(&line).with_context(|| format!("{}: broken row", place()))?);
    }
    if rows.is_empty() {
        bail!("{}: no rows; give one JSON object a line", input.display());
    }
    Ok(rows)
}

/// An error with the row at fault, where `each` requests were made of every row. How to sample is said once for
/// all rows.
pub fn name_row(error: InferError, each: usize) -> anyhow::Error {
    match error.request().filter(|_| !matches!(error, InferError::Sampling { .. })) {
        Some(request) => anyhow::Error::new(error).context(format!("row {}", request / each.max(1) + 1)),
        None => error.into(),
    }
}

/// Where results go: lines of JSON to a file or, for `-`, standard output; nowhere without a path.
pub struct LineWriter(Option<Box<dyn Write>>);

impl LineWriter {
    /// Opens the output.
    pub fn open(output: Option<&Path>) -> Result<LineWriter> {
        Ok(LineWriter(match output {
            None => None,
            Some(path) if path.to_str() == Some("-") => Some(Box::new(BufWriter::new(std::io::stdout()))),
            Some(path) => Some(Box::new(BufWriter::new(
                File::create(path).with_context(|| format!("cannot write {}", path.display()))?,
            ))),
        }))
    }

    /// Whether results go anywhere.
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Writes one object and hands it on at once.
    pub fn write(&mut self, row: &impl Serialize) -> Result<()> {
        if let Some(out) = &mut self.0 {
            serde_json::to_writer(&mut *out, row)?;
            out.write_all(b"\n")?;
            out.flush()?;
        }
        Ok(())
    }
}

/// Writes a line of text to standard output.
pub fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(())
}

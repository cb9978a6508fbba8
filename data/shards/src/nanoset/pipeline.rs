//! Input files to tokens, in order: one thread reads rows and renders them, all cores tokenise.

use super::state::{Input, Place};
use crate::ShardsError;
use crate::encode::{CHUNK_BYTES, Encoder};
use octo_rows::{Document, Documents, Filter, RowCounts, Rows, Template};
use rayon::prelude::*;
use std::sync::mpsc::{Receiver, SyncSender};

/// Chunks that may wait between two stages: each is about 8 MiB of text.
pub(crate) const WAITING: usize = 2;

/// What comes out, in the order of the inputs.
pub(crate) enum Entry<T> {
    /// A document of an input.
    Document { input: usize, document: T },
    /// No more of this input: what became of its rows.
    End { input: usize, counts: RowCounts },
}

/// A tokenised document.
pub(crate) struct Encoded {
    pub line: u64,
    pub text_bytes: u64,
    pub tokens: Vec<u32>,
}

pub(crate) type Chunk<T> = Result<Vec<Entry<T>>, ShardsError>;

/// Reads the documents of the inputs after a place. Ends at the first error, or when nobody listens.
pub(crate) fn read(
    inputs: &[Input],
    template: &str,
    filter: Option<&str>,
    after: Place,
    to: &SyncSender<Chunk<Document>>,
) {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    for (number, input) in inputs.iter().enumerate().skip(after.input) {
        let skip = if number == after.input { after.line } else { 0 };
        let mut take = |entry: Entry<Document>| {
            bytes += match &entry {
                Entry::Document { document, .. } => document.text.len(),
                // So that ten thousand empty files are not one chunk.
                Entry::End { .. } => 1 << 10,
            };
            chunk.push(entry);
            if bytes < CHUNK_BYTES {
                return true;
            }
            bytes = 0;
            to.send(Ok(std::mem::take(&mut chunk))).is_ok()
        };
        match read_input(number, input, template, filter, skip, &mut take) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                // Documents before the error come first, as they would have alone.
                let _ = to.send(Ok(chunk)).and_then(|()| to.send(Err(error)));
                return;
            }
        }
    }
    // Whoever no longer listens has an error of its own.
    let _ = to.send(Ok(chunk));
}

/// Whether to go on.
fn read_input(
    number: usize,
    input: &Input,
    template: &str,
    filter: Option<&str>,
    skip: u64,
    take: &mut dyn FnMut(Entry<Document>) -> bool,
) -> Result<bool, ShardsError> {
    let filter = filter.map(Filter::new).transpose()?;
    let rows = Rows::open(&input.path.to_string_lossy())?;
    let mut documents = Documents::of_files(rows, Template::new(template)?, filter);
    for document in documents.by_ref() {
        let document = document?;
        if document.origin.line > skip && !take(Entry::Document { input: number, document }) {
            return Ok(false);
        }
    }
    // Half of one file and half of another would be tokens of neither.
    if Input::of(&input.path)? != *input {
        let how = "it was written to while it was tokenised".to_owned();
        return Err(ShardsError::Changed { path: input.path.clone(), how });
    }
    Ok(take(Entry::End { input: number, counts: documents.counts() }))
}

/// Tokenises chunks as they come. Ends at the first error, or when nobody listens.
pub(crate) fn encode(
    pool: &rayon::ThreadPool,
    encoder: &Encoder<'_>,
    from: Receiver<Chunk<Document>>,
    to: &SyncSender<Chunk<Encoded>>,
) {
    let one = |entry: Entry<Document>| {
        Ok(match entry {
            Entry::End { input, counts } => Entry::End { input, counts },
            Entry::Document { input, document } => Entry::Document {
                input,
                document: Encoded {
                    line: document.origin.line,
                    text_bytes: document.text.len() as u64,
                    tokens: encoder.encode(&document)?,
                },
            },
        })
    };
    for chunk in from {
        let encoded: Vec<Result<Entry<Encoded>, ShardsError>> = match chunk {
            Ok(chunk) => pool.install(|| chunk.into_par_iter().map(one).collect()),
            Err(error) => vec![Err(error)],
        };
        let (mut whole, mut failed) = (Vec::with_capacity(encoded.len()), None);
        for entry in encoded {
            match entry {
                Ok(entry) => whole.push(entry),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let ended = failed.is_some();
        if to.send(Ok(whole)).is_err() || failed.is_some_and(|error| to.send(Err(error)).is_err()) || ended {
            return;
        }
    }
}

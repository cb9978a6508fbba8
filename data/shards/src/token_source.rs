//! Where tokens come from: memory or files.

use crate::{ShardSet, ShardsError, TokenizedSource};
use octo_rows::Origin;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// A stream of tokens in documents.
#[derive(Debug)]
pub enum TokenSource {
    /// Documents tokenised as the run starts, in memory.
    Memory(TokenizedSource),
    /// Documents tokenised before, on disk.
    Shards(ShardSet),
}

/// Where a document comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentOrigin {
    /// A row of a data file.
    Row(Origin),
    /// A document of a tokenised file.
    Shard {
        /// The file.
        path: PathBuf,
        /// Its number in the file, from 0.
        document: u64,
    },
}

impl fmt::Display for DocumentOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentOrigin::Row(origin) => write!(f, "{origin}"),
            DocumentOrigin::Shard { path, document } => {
                write!(f, "{} document {document}", path.display())
            }
        }
    }
}

impl TokenSource {
    /// Number of tokens.
    pub fn tokens(&self) -> u64 {
        match self {
            TokenSource::Memory(source) => source.tokens().len() as u64,
            TokenSource::Shards(shards) => shards.tokens(),
        }
    }

    /// Number of documents.
    pub fn documents(&self) -> u64 {
        match self {
            TokenSource::Memory(source) => source.documents() as u64,
            TokenSource::Shards(shards) => shards.documents(),
        }
    }

    /// What the source holds, in 128 bits: a run finds its place again in the same content only.
    pub fn content_hash(&self) -> u128 {
        match self {
            TokenSource::Memory(source) => source.content_hash(),
            TokenSource::Shards(shards) => shards.content_hash(),
        }
    }

    /// Reads the tokens from `start` on, as many as fit.
    ///
    /// # Errors
    /// Where the range goes beyond the end; of shards, what [`ShardSet::read`] says.
    pub fn read(&self, start: u64, into: &mut [u32]) -> Result<(), ShardsError> {
        match self {
            TokenSource::Memory(source) => {
                let (count, tokens) = (into.len(), source.tokens().len() as u64);
                let found = usize::try_from(start)
                    .ok()
                    .and_then(|start| source.tokens().get(start..start.checked_add(count)?));
                let found = found.ok_or(ShardsError::OutsideSource { start, count, tokens })?;
                into.copy_from_slice(found);
                Ok(())
            }
            TokenSource::Shards(shards) => shards.read(start, into),
        }
    }

    /// The document that holds a token.
    ///
    /// # Errors
    /// Where there is no such token; of shards, where an index cannot be read or has changed.
    pub fn document_at(&self, token: u64) -> Result<u64, ShardsError> {
        match self {
            TokenSource::Memory(source) if token < source.tokens().len() as u64 => {
                Ok(source.document_at(token) as u64)
            }
            TokenSource::Memory(source) => {
                let tokens = source.tokens().len() as u64;
                Err(ShardsError::OutsideSource { start: token, count: 1, tokens })
            }
            TokenSource::Shards(shards) => shards.document_at(token),
        }
    }

    /// The tokens of a document, as a range of all; `None` where there is no document of this number.
    ///
    /// # Errors
    /// Of shards, where an index cannot be read or has changed.
    pub fn document(&self, document: u64) -> Result<Option<Range<u64>>, ShardsError> {
        match self {
            TokenSource::Memory(source) => {
                Ok(usize::try_from(document).ok().and_then(|document| source.document_range(document)))
            }
            TokenSource::Shards(shards) => shards.document(document),
        }
    }

    /// Where a document comes from.
    pub fn origin(&self, document: u64) -> Option<DocumentOrigin> {
        match self {
            TokenSource::Memory(source) => {
                source.origin(usize::try_from(document).ok()?).map(DocumentOrigin::Row)
            }
            TokenSource::Shards(shards) => {
                let (path, document) = shards.place(document)?;
                Some(DocumentOrigin::Shard { path: path.to_owned(), document })
            }
        }
    }

    /// The tokens in a range that begin a document, in order; a document without tokens begins nowhere.
    ///
    /// # Errors
    /// Of shards, where an index cannot be read or has changed.
    pub fn starts(&self, range: Range<u64>) -> Result<Vec<u64>, ShardsError> {
        match self {
            TokenSource::Memory(source) => Ok(source.starts_in(range).to_vec()),
            TokenSource::Shards(shards) => {
                let mut starts = Vec::new();
                shards.starts(range, &mut |start| starts.push(start))?;
                Ok(starts)
            }
        }
    }
}

//! One file of tokens with its index.

use super::card::CardFile;
use super::handles::{FileId, Handles};
use super::{Width, beside, metadata};
use crate::ShardsError;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// Documents between two ends that are held in memory. The index itself stays on disk: ten billion tokens in
/// documents of 500 have one of 160 MB, of which this keeps 0.3 MB.
const STRIDE: usize = 512;

/// Bytes of the index read at once.
const INDEX_CHUNK: usize = 1 << 20;

/// Tokens of two bytes widened at once.
const WIDENED: usize = 16 << 10;

/// A file of tokens and its index, checked against each other.
#[derive(Debug)]
pub(crate) struct Shard {
    ids: FileId,
    index: FileId,
    width: Width,
    /// Every id has to be below.
    pub vocab_size: usize,
    pub tokens: u64,
    pub documents: u64,
    /// The ends of documents 511, 1023, …
    landmarks: Vec<u64>,
    /// XXH3 of the index.
    pub index_hash: u64,
    /// The tokenizer that the metadata names.
    pub tokenizer: Option<String>,
}

impl Shard {
    /// Opens `NAME.ds` and reads its index through.
    ///
    /// # Errors
    /// Where the files contradict each other, or what a card says of them.
    pub fn open(
        handles: &mut Handles,
        path: &Path,
        card: Option<(&CardFile, Width)>,
        vocab_size: usize,
    ) -> Result<Shard, ShardsError> {
        let bad = |path: &Path, reason| ShardsError::BadShards { path: path.to_owned(), reason };
        let (ids, bytes) = handles.add(path)?;
        let index_path = beside(path, ".index");
        if !index_path.exists() {
            return Err(ShardsError::NoIndex { path: path.to_owned(), index: index_path });
        }
        let (index, index_bytes) = handles.add(&index_path)?;
        if !index_bytes.is_multiple_of(8) {
            return Err(bad(&index_path, format!("its {index_bytes} bytes are not whole entries of 8")));
        }
        let documents = index_bytes / 8;
        let (tokens, landmarks, index_hash) = scan(handles, index, index_bytes)?;
        let said = read_metadata(&beside(path, ".metadata"))?;
        let width = match (card, said.as_ref().and_then(|said| said.width)) {
            (Some((_, width)), _) | (None, Some(width)) => width,
            // Old metadata does not say, but the index tells how many tokens the bytes are.
            (None, None) => {
                bytes.checked_div(tokens).and_then(Width::of_bytes).unwrap_or(Width::of_vocabulary(0))
            }
        };
        if tokens.checked_mul(width.bytes() as u64) != Some(bytes) {
            let reason = format!(
                "it has {bytes} bytes, which is not {tokens} tokens (where its index ends) of {} bytes",
                width.bytes()
            );
            return Err(bad(path, reason));
        }
        if let Some(count) = said.as_ref().and_then(|said| said.tokens)
            && count != tokens
        {
            let reason = format!("it says {count} tokens, and the index ends at {tokens}");
            return Err(bad(&beside(path, ".metadata"), reason));
        }
        if let Some((card, _)) = card
            && (card.tokens, card.documents) != (tokens, documents)
        {
            let reason = format!(
                "it has {tokens} tokens in {documents} documents, and {} says {} in {}",
                super::card::CARD_NAME,
                card.tokens,
                card.documents
            );
            return Err(bad(path, reason));
        }
        let tokenizer = said.map(|said| said.tokenizer);
        Ok(Shard { ids, index, width, vocab_size, tokens, documents, landmarks, index_hash, tokenizer })
    }

    /// The path of the file of tokens.
    pub fn path<'a>(&self, handles: &'a Handles) -> &'a Path {
        handles.path(self.ids)
    }

    /// Reads tokens from one on, all that fit.
    pub fn read(&self, handles: &Handles, start: u64, into: &mut [u32]) -> Result<(), ShardsError> {
        match self.width {
            Width::Four => {
                handles.read_at(self.ids, start * 4, bytemuck::cast_slice_mut(into))?;
                into.iter_mut().for_each(|token| *token = u32::from_le(*token));
            }
            Width::Two => {
                let mut narrow = [0u16; WIDENED];
                let mut at = start;
                for part in into.chunks_mut(WIDENED) {
                    let narrow = &mut narrow[..part.len()];
                    handles.read_at(self.ids, at * 2, bytemuck::cast_slice_mut(narrow))?;
                    for (token, narrow) in part.iter_mut().zip(narrow) {
                        *token = u32::from(u16::from_le(*narrow));
                    }
                    at += part.len() as u64;
                }
            }
        }
        Ok(())
    }

    /// The document that holds a token of this file.
    pub fn document_at(&self, handles: &Handles, token: u64) -> Result<u64, ShardsError> {
        let block = self.landmarks.partition_point(|&end| end <= token) as u64;
        let ended = self.ends(handles, block)?.partition_point(|&end| end <= token);
        Ok(block * STRIDE as u64 + ended as u64)
    }

    /// The tokens of a document of this file.
    pub fn document(&self, handles: &Handles, document: u64) -> Result<Range<u64>, ShardsError> {
        let end = |document: u64| -> Result<u64, ShardsError> {
            let mut bytes = [0; 8];
            handles.read_at(self.index, document * 8, &mut bytes)?;
            Ok(u64::from_le_bytes(bytes))
        };
        Ok(if document == 0 { 0 } else { end(document - 1)? }..end(document)?)
    }

    /// Hands out where documents begin within a range of this file's tokens, in order; a document without
    /// tokens begins nowhere.
    pub fn starts(
        &self,
        handles: &Handles,
        range: Range<u64>,
        take: &mut dyn FnMut(u64),
    ) -> Result<(), ShardsError> {
        let range = range.start..range.end.min(self.tokens);
        if range.is_empty() {
            return Ok(());
        }
        if range.start == 0 {
            take(0);
        }
        // The first end in the range may be the last entry of a block that ends before it.
        let mut last = range.start.saturating_sub(1);
        let first = self.landmarks.partition_point(|&end| end <= last) as u64;
        for block in first..self.documents.div_ceil(STRIDE as u64) {
            for end in self.ends(handles, block)? {
                if end >= range.end {
                    return Ok(());
                }
                if end > last {
                    take(end);
                    last = end;
                }
            }
        }
        Ok(())
    }

    /// The ends of the documents of one stretch of the index.
    fn ends(&self, handles: &Handles, block: u64) -> Result<Vec<u64>, ShardsError> {
        let first = block * STRIDE as u64;
        let count = self.documents.saturating_sub(first).min(STRIDE as u64) as usize;
        let mut ends = vec![0u64; count];
        handles.read_at(self.index, first * 8, bytemuck::cast_slice_mut(&mut ends))?;
        ends.iter_mut().for_each(|end| *end = u64::from_le(*end));
        Ok(ends)
    }
}

/// Reads an index through: its last end, its landmarks, its hash.
fn scan(handles: &Handles, index: FileId, bytes: u64) -> Result<(u64, Vec<u64>, u64), ShardsError> {
    let (mut last, mut landmarks, mut hash) = (0u64, Vec::new(), Xxh3::new());
    let mut chunk = vec![0; INDEX_CHUNK];
    let (mut at, mut document) = (0u64, 0u64);
    while at < bytes {
        let chunk = &mut chunk[..INDEX_CHUNK.min((bytes - at) as usize)];
        handles.read_at(index, at, chunk)?;
        hash.update(chunk);
        for entry in chunk.as_chunks::<8>().0 {
            let end = u64::from_le_bytes(*entry);
            if end < last {
                let reason = format!("document {document} ends at token {end}, and the one before at {last}");
                return Err(ShardsError::BadShards { path: handles.path(index).to_owned(), reason });
            }
            last = end;
            document += 1;
            if document.is_multiple_of(STRIDE as u64) {
                landmarks.push(end);
            }
        }
        at += chunk.len() as u64;
    }
    Ok((last, landmarks, hash.digest()))
}

/// The metadata of a file, or `None` where it has none.
fn read_metadata(path: &Path) -> Result<Option<metadata::Metadata>, ShardsError> {
    let mut bytes = Vec::new();
    match std::fs::File::open(path)
        .and_then(|file| file.take(metadata::MAX_BYTES + 1).read_to_end(&mut bytes))
    {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ShardsError::Read { path: path.to_owned(), source }),
    }
    let bad = |reason| ShardsError::BadShards { path: path.to_owned(), reason };
    if bytes.len() as u64 > metadata::MAX_BYTES {
        return Err(bad(format!("it has more than {} bytes", metadata::MAX_BYTES)));
    }
    metadata::parse(&bytes).map(Some).map_err(bad)
}

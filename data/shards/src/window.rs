//! Windows of a token stream, and how they fill a batch.

use crate::{ShardsError, TokenSource};

/// The label of a position that nothing is learnt at.
pub const IGNORED_LABEL: i32 = -1;

/// Where a sequence of a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceOrigin {
    /// The source, by its place in the mixture.
    pub source: usize,
    /// The pass over the source, from 0.
    pub epoch: u64,
    /// The window in the order of the stream, from 0 at the start of the first epoch.
    pub window: u64,
    /// Number of the document that holds the first token.
    pub first_document: u64,
}

/// Sequences of one length, end to end: what one forward and backward pass takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Input tokens, `[sequences * sequence_length]`.
    pub ids: Vec<u32>,
    /// The token after each input token, or [`IGNORED_LABEL`]; the shape of `ids`.
    pub labels: Vec<i32>,
    /// Position of each input token in its document, or in its sequence where documents are not masked;
    /// the shape of `ids`.
    pub positions: Vec<u32>,
    /// Where attention is cut: 0, then the end of each document (where they are masked) and of each
    /// sequence; the last is the length of `ids`.
    pub cu_seqlens: Vec<u32>,
    /// Labels that are not ignored.
    pub targets: usize,
    /// Where each sequence comes from; sequences that only fill up a last batch are not listed.
    pub origins: Vec<SequenceOrigin>,
}

/// A window: up to `sequence_length` inputs of a stream that starts anew at its end. Inputs are fewer than
/// the tokens of the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The first input token.
    pub start: u64,
    /// Inputs that have a label.
    pub inputs: usize,
}

impl Window {
    /// The offsets in `1..=inputs` at which a document begins, in order.
    fn borders(self, source: &TokenSource) -> Result<Vec<usize>, ShardsError> {
        let (start, total) = (self.start, source.tokens());
        let end = start + self.inputs as u64 + 1;
        let mut borders = source.starts(start + 1..end.min(total))?;
        borders.iter_mut().for_each(|border| *border -= start);
        if end > total {
            borders.extend(source.starts(0..end - total)?.into_iter().map(|border| total - start + border));
        }
        Ok(borders.into_iter().map(|border| border as usize).collect())
    }

    /// Labels of the window that are not ignored.
    pub fn targets(self, source: &TokenSource, document_mask: bool) -> Result<usize, ShardsError> {
        Ok(if document_mask { self.inputs - self.borders(source)?.len() } else { self.inputs })
    }
}

impl Batch {
    pub(crate) fn with_capacity(tokens: usize) -> Batch {
        Batch {
            // Each sequence reads one token more than it keeps.
            ids: Vec::with_capacity(tokens + 1),
            labels: Vec::with_capacity(tokens),
            positions: Vec::with_capacity(tokens),
            cu_seqlens: vec![0],
            ..Batch::default()
        }
    }

    /// Appends a window as one sequence; a window with fewer inputs is filled up with ignored ones.
    pub(crate) fn push(
        &mut self,
        source: &TokenSource,
        window: Window,
        sequence_length: usize,
        document_mask: bool,
    ) -> Result<(), ShardsError> {
        let base = self.ids.len();
        if window.inputs > 0 {
            // Each input's label is the next input; the last one's is the token behind the window.
            self.ids.resize(base + window.inputs + 1, 0);
            let before_end = (source.tokens() - window.start).min(window.inputs as u64 + 1) as usize;
            let (ids, wrapped) = self.ids[base..].split_at_mut(before_end);
            source.read(window.start, ids)?;
            source.read(0, wrapped)?;
            self.labels.extend(self.ids[base + 1..].iter().map(|&id| id as i32));
            self.ids.truncate(base + window.inputs);
        }
        self.ids.resize(base + sequence_length, 0);
        self.labels.resize(base + sequence_length, IGNORED_LABEL);
        self.targets += window.inputs;
        let mut document_start = 0;
        if document_mask {
            for border in window.borders(source)? {
                self.labels[base + border - 1] = IGNORED_LABEL;
                self.targets -= 1;
                if border < sequence_length {
                    self.positions.extend(0..(border - document_start) as u32);
                    self.cu_seqlens.push((base + border) as u32);
                    document_start = border;
                }
            }
        }
        self.positions.extend(0..(sequence_length - document_start) as u32);
        self.cu_seqlens.push((base + sequence_length) as u32);
        Ok(())
    }
}

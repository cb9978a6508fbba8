//! Windows of a token stream, and how they fill a batch.

use crate::TokenizedSource;

/// The label of a position that nothing is learnt at.
pub const IGNORED_LABEL: i32 = -1;

/// Where a sequence of a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceOrigin {
    /// The pass over the source, from 0.
    pub epoch: u64,
    /// The window in the order of the stream, from 0 at the start of the first epoch.
    pub window: u64,
    /// Index of the document that holds the first token.
    pub first_document: usize,
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

/// A window: up to `sequence_length` inputs of a stream that starts anew at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The first input token.
    pub start: u64,
    /// Inputs that have a label.
    pub inputs: usize,
}

impl Window {
    /// The offsets in `1..=inputs` at which a document begins, in order.
    pub fn borders(self, source: &TokenizedSource) -> impl Iterator<Item = usize> + '_ {
        let total = source.tokens().len() as u64;
        let end = self.start + self.inputs as u64;
        let before_wrap = source.starts_from(self.start + 1).iter().map(move |&s| s - self.start);
        let after_wrap = source.starts_from(0).iter().map(move |&s| total - self.start + s);
        let inside = move |offset: &u64| self.start + offset <= end;
        before_wrap.take_while(inside).chain(after_wrap.take_while(inside)).map(|offset| offset as usize)
    }

    /// Labels of the window that are not ignored.
    pub fn targets(self, source: &TokenizedSource, document_mask: bool) -> usize {
        if document_mask { self.inputs - self.borders(source).count() } else { self.inputs }
    }
}

impl Batch {
    pub(crate) fn with_capacity(tokens: usize) -> Batch {
        Batch {
            ids: Vec::with_capacity(tokens),
            labels: Vec::with_capacity(tokens),
            positions: Vec::with_capacity(tokens),
            cu_seqlens: vec![0],
            ..Batch::default()
        }
    }

    /// Appends a window as one sequence; a window with fewer inputs is filled up with ignored ones.
    pub(crate) fn push(
        &mut self,
        source: &TokenizedSource,
        window: Window,
        sequence_length: usize,
        document_mask: bool,
    ) {
        let stream = source.tokens();
        let base = self.ids.len();
        let mut at = window.start as usize;
        while self.ids.len() < base + window.inputs {
            let take = (stream.len() - at).min(base + window.inputs - self.ids.len());
            self.ids.extend_from_slice(&stream[at..at + take]);
            at = (at + take) % stream.len();
        }
        // Each input's label is the next input; the last one's is the token behind the window.
        let behind = if window.inputs > 0 { Some(stream[at]) } else { None };
        self.labels.extend(self.ids[base..].iter().skip(1).chain(&behind).map(|&id| id as i32));
        self.ids.resize(base + sequence_length, 0);
        self.labels.resize(base + sequence_length, IGNORED_LABEL);
        self.targets += window.inputs;
        let mut document_start = 0;
        if document_mask {
            for border in window.borders(source) {
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
    }
}

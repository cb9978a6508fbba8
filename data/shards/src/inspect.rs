//! A batch as a person reads it.

use crate::{Batch, IGNORED_LABEL, SequenceOrigin};
use std::ops::Range;

/// A sequence of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceView {
    /// Where it comes from; `None` of one that only fills up a last batch.
    pub origin: Option<SequenceOrigin>,
    /// What attention sees together, in order.
    pub pieces: Vec<PieceView>,
}

/// Tokens that attend to each other: a document's part of a sequence, or a whole sequence without a mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceView {
    /// Which inputs of the batch.
    pub tokens: Range<usize>,
    /// The position of the first of them.
    pub first_position: u32,
    /// Their text.
    pub text: String,
    /// Inputs without a label, as places in the batch.
    pub ignored: Vec<usize>,
}

/// What a batch of sequences of this length holds; `decode` makes a text of tokens.
pub fn describe(
    batch: &Batch,
    sequence_length: usize,
    decode: impl Fn(&[u32]) -> String,
) -> Vec<SequenceView> {
    let mut sequences: Vec<SequenceView> = Vec::new();
    for cut in batch.cu_seqlens.windows(2) {
        let tokens = cut[0] as usize..cut[1] as usize;
        let number = tokens.start / sequence_length.max(1);
        if sequences.len() <= number {
            let origin = batch.origins.get(number).copied();
            sequences.push(SequenceView { origin, pieces: Vec::new() });
        }
        let piece = PieceView {
            first_position: batch.positions.get(tokens.start).copied().unwrap_or(0),
            text: decode(batch.ids.get(tokens.clone()).unwrap_or_default()),
            ignored: tokens.clone().filter(|&i| batch.labels.get(i) == Some(&IGNORED_LABEL)).collect(),
            tokens,
        };
        if let Some(sequence) = sequences.last_mut() {
            sequence.pieces.push(piece);
        }
    }
    sequences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EvaluationBatches, TokenSource, TokenizedSource};
    use std::sync::Arc;

    #[test]
    fn pieces_are_what_attention_sees_together() {
        let documents = [vec![1, 2, 3], vec![4, 5], vec![6, 7, 8, 9, 10]];
        let source = Arc::new(TokenSource::Memory(TokenizedSource::of(&documents)));
        let views = |mask| {
            let batch = EvaluationBatches::new(source.clone(), 4, 3, mask).unwrap().batch(0).unwrap();
            describe(&batch, 4, |ids| format!("{ids:?}"))
        };
        let piece = |tokens, first_position, text: &str, ignored: &[usize]| PieceView {
            tokens,
            first_position,
            text: text.into(),
            ignored: ignored.to_vec(),
        };
        let masked = views(true);
        assert_eq!(masked[0].pieces, [piece(0..3, 0, "[1, 2, 3]", &[2]), piece(3..4, 0, "[4]", &[])]);
        // The last token of a document has no label, and what fills the batch up has none either.
        assert_eq!(masked[1].pieces, [piece(4..5, 0, "[5]", &[4]), piece(5..8, 0, "[6, 7, 8]", &[])]);
        assert_eq!(masked[2].pieces, [piece(8..12, 0, "[9, 0, 0, 0]", &[9, 10, 11])]);
        assert_eq!(masked[1].origin.map(|origin| (origin.window, origin.first_document)), Some((1, 1)));
        let whole = views(false);
        assert_eq!(whole[1].pieces, [piece(4..8, 0, "[5, 6, 7, 8]", &[])]);
    }
}

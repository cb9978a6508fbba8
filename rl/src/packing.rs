//! Whole sequences into micro-batches.

use std::ops::Range;

/// A micro-batch: sequences one after the other, each a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packed {
    pub ids: Vec<u32>,
    /// The next token where that is one of a response, else −1.
    pub labels: Vec<i32>,
    pub positions: Vec<u32>,
    pub cu_seqlens: Vec<u32>,
    /// The sequences that are in it: their number, and the rows before each token of the response.
    pub members: Vec<(usize, Range<usize>)>,
}

/// Packs prompts with their responses, in order, into micro-batches of at most `tokens` rows, which hold the longest.
pub(crate) fn pack<'a>(
    sequences: impl Iterator<Item = (usize, &'a [u32], &'a [u32])>,
    tokens: usize,
) -> Vec<Packed> {
    let mut packed: Vec<Packed> = Vec::new();
    for (index, prompt, response) in
        sequences.filter(|(_, prompt, response)| !prompt.is_empty() && !response.is_empty())
    {
        // The last token is only a label.
        let rows = prompt.len() + response.len() - 1;
        let fits = packed.last().is_some_and(|last| last.ids.len() + rows <= tokens);
        if !fits {
            packed.push(Packed::empty());
        }
        if let Some(last) = packed.last_mut() {
            last.add(index, prompt, response, rows);
        }
    }
    packed
}

impl Packed {
    fn empty() -> Packed {
        Packed {
            ids: Vec::new(),
            labels: Vec::new(),
            positions: Vec::new(),
            cu_seqlens: vec![0],
            members: Vec::new(),
        }
    }

    fn add(&mut self, index: usize, prompt: &[u32], response: &[u32], rows: usize) {
        let first = self.ids.len();
        self.ids.extend(prompt.iter().chain(response).take(rows));
        self.labels.extend(prompt.iter().skip(1).map(|_| -1));
        self.labels.extend(response.iter().map(|&token| token as i32));
        self.positions.extend(0..rows as u32);
        self.cu_seqlens.push(self.ids.len() as u32);
        self.members.push((index, first + prompt.len() - 1..self.ids.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_sequences_in_two_micro_batches_by_hand() {
        let sequences: [(usize, &[u32], &[u32]); 3] =
            [(7, &[1, 2], &[3, 4]), (8, &[5], &[6]), (9, &[1, 2, 3], &[4])];
        let packed = pack(sequences.into_iter(), 5);
        assert_eq!(packed.len(), 2);
        assert_eq!(packed[0].ids, [1, 2, 3, 5]);
        assert_eq!(packed[0].labels, [-1, 3, 4, 6]);
        assert_eq!(packed[0].positions, [0, 1, 2, 0]);
        assert_eq!(packed[0].cu_seqlens, [0, 3, 4]);
        assert_eq!(packed[0].members, [(7, 1..3), (8, 3..4)]);
        assert_eq!(packed[1].members, [(9, 2..3)]);
    }

    proptest! {
        #[test]
        fn every_response_token_is_a_label_once(
            lengths in prop::collection::vec((1usize..5, 0usize..6), 0..20),
        ) {
            let texts: Vec<(Vec<u32>, Vec<u32>)> = lengths
                .iter()
                .enumerate()
                .map(|(i, (p, r))| (vec![1; *p], (0..*r as u32).map(|t| 100 * i as u32 + t).collect()))
                .collect();
            let sequences = texts.iter().enumerate().map(|(i, (p, r))| (i, &p[..], &r[..]));
            let packed = pack(sequences, 10);
            let mut seen = vec![Vec::new(); texts.len()];
            for batch in &packed {
                let rows = batch.ids.len();
                prop_assert!(rows <= 10 && batch.labels.len() == rows && batch.positions.len() == rows);
                prop_assert_eq!(batch.cu_seqlens.last(), Some(&(rows as u32)));
                let labelled = batch.labels.iter().filter(|label| **label >= 0).count();
                prop_assert_eq!(labelled, batch.members.iter().map(|(_, rows)| rows.len()).sum::<usize>());
                for (index, rows) in &batch.members {
                    seen[*index] = batch.labels[rows.clone()].iter().map(|label| *label as u32).collect();
                }
            }
            for ((_, response), seen) in texts.iter().zip(&seen) {
                prop_assert_eq!(response, seen);
            }
        }
    }
}

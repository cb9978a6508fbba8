//! Which tokens the draws of a continuation could have been, in little memory.

use octo_ops::support;

/// The support of each draw of a continuation: the tokens that temperature and cuts had left.
///
/// A row of bits takes an eighth of a byte for each token of the vocabulary, 16 KiB at 128,256. A nucleus is mostly a
/// handful of tokens, and often the whole vocabulary or a single one; so a support is kept as what is shortest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supports {
    vocab: u32,
    /// Where each support ends in `words`.
    ends: Vec<usize>,
    /// Of each support nothing where it is the whole vocabulary; its ids, ascending, where they are fewer than the words
    /// of a row of bits; that row otherwise. So the length says which it is: no support is empty.
    words: Vec<u32>,
}

impl Supports {
    /// Those of no draw yet, of so many tokens.
    pub fn new(vocab: u32) -> Supports {
        Supports { vocab, ..Supports::default() }
    }

    /// Adds the support of the next draw as a row of bits (see [`octo_ops::support`]).
    pub fn push(&mut self, row: &[u32]) {
        let count: u32 = row.iter().map(|word| word.count_ones()).sum();
        if (count as usize) < row.len() {
            for (i, &word) in (0..).zip(row) {
                let mut left = word;
                while left != 0 {
                    self.words.push(i * 32 + left.trailing_zeros());
                    left &= left - 1;
                }
            }
        } else if count < self.vocab {
            self.words.extend_from_slice(row);
        }
        self.ends.push(self.words.len());
    }

    /// Adds a draw from the whole vocabulary.
    pub fn push_whole(&mut self) {
        self.ends.push(self.words.len());
    }

    /// Draws.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing was drawn.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many tokens a draw could have been.
    pub fn count(&self, draw: usize) -> u32 {
        match self.of(draw) {
            [] => self.vocab,
            ids if ids.len() < self.row_words() => ids.len() as u32,
            row => row.iter().map(|word| word.count_ones()).sum(),
        }
    }

    /// Writes the support of a draw as a row of bits. Of a draw that is not there it is the whole vocabulary.
    pub fn write(&self, draw: usize, row: &mut [u32]) {
        match self.of(draw) {
            [] => {
                row.fill(u32::MAX);
                // No bit past the vocabulary.
                if let (Some(last), past @ 1..) = (row.last_mut(), self.vocab % 32) {
                    *last >>= 32 - past;
                }
            }
            ids if ids.len() < self.row_words() => {
                row.fill(0);
                for id in ids {
                    if let Some(word) = row.get_mut((id / 32) as usize) {
                        *word |= 1 << (id % 32);
                    }
                }
            }
            bits => row.iter_mut().zip(bits).for_each(|(word, bits)| *word = *bits),
        }
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.words[..]) + size_of_val(&self.ends[..])
    }

    fn row_words(&self) -> usize {
        support::words(self.vocab) as usize
    }

    fn of(&self, draw: usize) -> &[u32] {
        let start = draw.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(draw).map_or(&[], |&end| &self.words[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_what_was_pushed(
            vocab in 1u32..400,
            draws in prop::collection::vec((0u32..101, any::<u32>()), 1..8),
        ) {
            let words = support::words(vocab) as usize;
            let mut supports = Supports::new(vocab);
            let mut rows = Vec::new();
            for (percent, salt) in draws {
                let mut row = vec![0u32; words];
                // One at least, a few, many or all.
                row[(salt % vocab / 32) as usize] |= 1 << (salt % vocab % 32);
                for id in 0..vocab {
                    if (id ^ salt).wrapping_mul(0x9e37_79b1) % 100 < percent {
                        row[(id / 32) as usize] |= 1 << (id % 32);
                    }
                }
                supports.push(&row);
                rows.push(row);
            }
            prop_assert_eq!(supports.len(), rows.len());
            for (draw, row) in rows.iter().enumerate() {
                let mut written = vec![7; words];
                supports.write(draw, &mut written);
                prop_assert_eq!(&written, row);
                prop_assert_eq!(supports.count(draw), row.iter().map(|word| word.count_ones()).sum::<u32>());
            }
        }
    }

    #[test]
    fn a_support_takes_what_is_shortest() {
        let vocab = 128_256;
        let words = support::words(vocab) as usize;
        let mut supports = Supports::new(vocab);
        let per_draw = size_of::<usize>();
        supports.push_whole();
        supports.push(&vec![u32::MAX; words]);
        assert_eq!(supports.bytes(), 2 * per_draw);
        assert_eq!((supports.count(0), supports.count(1)), (vocab, vocab));
        let mut few = vec![0; words];
        (few[0], few[4007]) = (0b101, 1 << 31);
        supports.push(&few);
        assert_eq!((supports.count(2), supports.bytes()), (3, 3 * per_draw + 12));
        supports.push(&vec![0x0101_0101; words]);
        assert_eq!((supports.count(3), supports.bytes()), (4 * words as u32, 4 * per_draw + 12 + 4 * words));
        // Whether it was given as bits or not, it is the same.
        let (mut given, mut known) = (Supports::new(64), Supports::new(64));
        given.push(&[u32::MAX; 2]);
        known.push_whole();
        assert_eq!(given, known);
    }

    #[test]
    fn there_is_nothing_past_the_vocabulary() {
        for vocab in [1, 31, 32, 33, 111] {
            let mut row = vec![0; support::words(vocab) as usize];
            Supports::new(vocab).write(5, &mut row);
            assert_eq!(row.iter().map(|word| word.count_ones()).sum::<u32>(), vocab);
            assert!(support::has(&row, vocab as usize - 1) && !support::has(&row, vocab as usize));
        }
    }
}

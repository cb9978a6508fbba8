//! Sets of token ids as bits: which tokens of a row could be drawn.
//!
//! Id `i` is bit `i mod 32` of word `i / 32`; bits past the vocabulary are 0. [`crate::HeadSample`] writes such rows,
//! the ops of policy losses read them.

/// Words of a row.
pub const fn words(vocab: u32) -> u32 {
    vocab.div_ceil(32)
}

/// Whether an id is in a row's set; no id past its words is.
pub fn has(row: &[u32], id: usize) -> bool {
    row.get(id / 32).is_some_and(|word| word >> (id % 32) & 1 == 1)
}

/// The set of those that are not −∞, in the words of a row; there are as many words as [`words`] says.
pub fn of_finite(kept: &[f32], row: &mut [u32]) {
    for (ids, word) in kept.chunks(32).zip(row) {
        *word = ids.iter().rev().fold(0, |word, &x| word << 1 | u32::from(x > f32::NEG_INFINITY));
    }
}

/// Makes −∞ of what is not in a row's set.
pub fn cut(row: &[u32], values: &mut [f32]) {
    for (ids, &word) in values.chunks_mut(32).zip(row) {
        // Most words of a nucleus are empty, and all are full where nothing was cut.
        match word {
            u32::MAX => {}
            0 => ids.fill(f32::NEG_INFINITY),
            _ => ids
                .iter_mut()
                .enumerate()
                .filter(|(bit, _)| word >> bit & 1 == 0)
                .for_each(|(_, x)| *x = f32::NEG_INFINITY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_kept_is_what_a_cut_leaves(kept in prop::collection::vec(any::<bool>(), 1..200)) {
            let values: Vec<f32> = kept.iter().map(|&kept| if kept { 1.5 } else { f32::NEG_INFINITY }).collect();
            let mut row = vec![7; words(values.len() as u32) as usize];
            of_finite(&values, &mut row);
            for (id, &kept) in kept.iter().enumerate() {
                prop_assert_eq!(has(&row, id), kept);
            }
            prop_assert!((kept.len()..kept.len() + 64).all(|id| !has(&row, id)));
            let mut all = vec![1.5; values.len()];
            cut(&row, &mut all);
            prop_assert_eq!(all, values);
        }
    }
}

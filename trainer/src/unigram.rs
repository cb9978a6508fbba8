//! The yardstick of a held-out loss: what a model knows that only counts tokens.

/// Mean negative log-probability, in nats, of held-out targets under the training data's token frequencies
/// with one added to every count (Laplace).
pub(crate) fn unigram_loss<'a>(
    train: impl Iterator<Item = &'a [u32]>,
    vocab: usize,
    held_out: impl Iterator<Item = u32>,
) -> f64 {
    let mut counts = vec![1u64; vocab];
    for &token in train.flatten() {
        if let Some(count) = counts.get_mut(token as usize) {
            *count += 1;
        }
    }
    let total = counts.iter().sum::<u64>() as f64;
    let (mut sum, mut targets) = (0.0, 0u64);
    for token in held_out {
        let count = counts.get(token as usize).copied().unwrap_or(1);
        sum -= (count as f64 / total).ln();
        targets += 1;
    }
    sum / targets.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_the_cross_entropy_with_the_counts() {
        // Counts with one added: 3, 2, 1 of 6.
        let loss = unigram_loss([[0u32, 0, 1].as_slice()].into_iter(), 3, [0, 2].into_iter());
        let expected = -((3.0f64 / 6.0).ln() + (1.0f64 / 6.0).ln()) / 2.0;
        assert!((loss - expected).abs() < 1e-12);
    }
}

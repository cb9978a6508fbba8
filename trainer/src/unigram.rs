//! The yardstick of a held-out loss: what a model knows that only counts tokens.

use octo_shards::{MixturePart, ShardsError};

/// Tokens counted of each source: enough for frequencies, and soon read.
const MOST_TOKENS: u64 = 1 << 26;

/// Tokens read at once.
const CHUNK: u64 = 1 << 16;

/// The frequencies of tokens in training data, with one added to every count (Laplace).
pub(crate) struct Unigram {
    counts: Vec<f64>,
    total: f64,
}

impl Unigram {
    /// Counts the tokens of a mixture, each source by its share; of a large source only the first 67 million.
    pub fn of(mixture: &[MixturePart], vocab: usize) -> Result<Unigram, ShardsError> {
        let shares: f64 = mixture.iter().map(|part| part.share).sum();
        let tokens: f64 = mixture.iter().map(|part| part.source.tokens().min(MOST_TOKENS) as f64).sum();
        let mut counts = vec![1.0; vocab];
        for part in mixture {
            let counted = part.source.tokens().min(MOST_TOKENS);
            // 1 where there is one source.
            let weight = part.share / shares * tokens / counted.max(1) as f64;
            let mut chunk = vec![0; CHUNK as usize];
            for start in (0..counted).step_by(CHUNK as usize) {
                let chunk = &mut chunk[..(counted - start).min(CHUNK) as usize];
                part.source.read(start, chunk)?;
                for &token in &*chunk {
                    if let Some(count) = counts.get_mut(token as usize) {
                        *count += weight;
                    }
                }
            }
        }
        let total = counts.iter().sum();
        Ok(Unigram { counts, total })
    }

    /// Mean negative log-probability of held-out targets, in nats.
    pub fn loss(&self, held_out: impl Iterator<Item = u32>) -> f64 {
        let (mut sum, mut targets) = (0.0, 0u64);
        for token in held_out {
            let count = self.counts.get(token as usize).copied().unwrap_or(1.0);
            sum -= (count / self.total).ln();
            targets += 1;
        }
        sum / targets.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_the_cross_entropy_with_the_counts() {
        // Tokens 0, 0, 1; with one added: 3, 2, 1 of 6.
        let unigram = Unigram { counts: vec![3.0, 2.0, 1.0], total: 6.0 };
        let expected = -((3.0f64 / 6.0).ln() + (1.0f64 / 6.0).ln()) / 2.0;
        assert!((unigram.loss([0, 2].into_iter()) - expected).abs() < 1e-12);
    }
}

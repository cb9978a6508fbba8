//! What a token's loss counts: always a share of the whole optimizer step, never of a micro-batch.

/// How the losses of tokens become one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalise {
    /// The mean over all tokens of the step (Yu and others, DAPO, 2025, section 3.3; verl's default).
    TokenMean,
    /// The mean over sequences of each one's mean (Shao and others, DeepSeekMath, 2024, equation 3).
    SequenceMean,
    /// The sum over tokens divided by sequences and a constant length, so that no length weighs more
    /// (Liu and others, Understanding R1-Zero-like training, 2025, section 3).
    ConstantLength(f64),
}

/// What a step holds in all: sequences and tokens that take part in its loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sequences with at least one token.
    pub sequences: usize,
    /// Tokens of responses.
    pub tokens: usize,
}

impl Totals {
    /// Of sequences of these lengths.
    #[must_use]
    pub fn of(lengths: impl IntoIterator<Item = usize>) -> Totals {
        lengths.into_iter().filter(|length| *length > 0).fold(Totals::default(), |totals, length| Totals {
            sequences: totals.sequences + 1,
            tokens: totals.tokens + length,
        })
    }
}

impl Normalise {
    /// The weight of each token of a sequence of `length` in the step's loss.
    #[must_use]
    pub fn weight(self, length: usize, totals: Totals) -> f64 {
        let sequences = totals.sequences.max(1) as f64;
        match self {
            Normalise::TokenMean => 1.0 / totals.tokens.max(1) as f64,
            Normalise::SequenceMean => 1.0 / (sequences * length.max(1) as f64),
            Normalise::ConstantLength(constant) => 1.0 / (sequences * constant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_hand() {
        // Responses of 1, 3 and 0 tokens; the last was stopped before it began.
        let totals = Totals::of([1, 3, 0]);
        assert_eq!(totals, Totals { sequences: 2, tokens: 4 });
        let weights = |normalise: Normalise| [1, 3].map(|length| normalise.weight(length, totals));
        assert_eq!(weights(Normalise::TokenMean), [0.25, 0.25]);
        assert_eq!(weights(Normalise::SequenceMean), [0.5, 1.0 / 6.0]);
        assert_eq!(weights(Normalise::ConstantLength(8.0)), [1.0 / 16.0; 2]);
    }

    #[test]
    fn means_of_ones_are_one() {
        let lengths = [5usize, 1, 17, 2];
        let totals = Totals::of(lengths);
        for normalise in [Normalise::TokenMean, Normalise::SequenceMean] {
            let sum: f64 = lengths.iter().map(|&n| n as f64 * normalise.weight(n, totals)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{normalise:?}");
        }
    }
}

//! The clipped surrogate of whole sequences.

use super::{Clipping, Term, clipped_surrogate};

/// Mean log-ratios are cut here from above: verl's constant.
const LIMIT: f64 = 10.0;

/// With s = exp(mean over tokens of log π − log π_old), the ratio of every token is s·π/sg\[π\]: its value is the sequence's,
/// its gradient the token's own. Zheng and others, Group sequence policy optimization, 2025, equation 17. Goes with a
/// sequence-mean normalisation, under which the sum over tokens is the sequence's surrogate.
#[must_use]
pub fn gspo(logprobs: &[f64], old: &[f64], advantages: &[f64], clipping: Clipping) -> Vec<Term> {
    let n = logprobs.len().max(1) as f64;
    let mean = logprobs.iter().zip(old).map(|(logprob, old)| logprob - old).sum::<f64>() / n;
    let ratio = mean.min(LIMIT).exp();
    let slope = if mean > LIMIT { 0.0 } else { ratio };
    advantages.iter().map(|&advantage| clipped_surrogate(ratio, slope, advantage, clipping)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Clip;
    use crate::loss::tests::with_ratios;
    use proptest::prelude::*;

    const GSPO: Clipping = Clipping { low: 3e-4, high: 4e-4, dual: f64::INFINITY };

    #[test]
    fn the_ratio_is_the_geometric_mean() {
        let old = [-1.0, -2.0];
        let wide = Clipping { low: 0.5, high: 3.0, dual: f64::INFINITY };
        // √(4·1) = 2.
        for term in gspo(&with_ratios(&old, &[4.0, 1.0]), &old, &[1.0, 1.0], wide) {
            assert!((term.loss + 2.0).abs() < 1e-12 && (term.gradient + 2.0).abs() < 1e-12);
        }
        let narrow = gspo(&with_ratios(&old, &[4.0, 1.0]), &old, &[1.0, 1.0], GSPO);
        assert!(narrow.iter().all(|term| term.clip == Clip::High && term.gradient == 0.0));
        assert!((narrow[0].loss + 1.0004).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_sum_over_tokens_is_the_gradient_of_the_sequences_surrogate(
            logprobs in prop::collection::vec(-3.0f64..-0.1, 1..6), drift in -0.2f64..0.2, advantage in -2.0f64..2.0,
        ) {
            let old: Vec<f64> = logprobs.iter().enumerate().map(|(i, l)| l - drift * (i as f64 - 1.0)).collect();
            let clipping = Clipping { low: 0.2, high: 0.28, dual: f64::INFINITY };
            let advantages = vec![advantage; logprobs.len()];
            let n = logprobs.len() as f64;
            // Under a sequence mean the tokens' losses are each 1/n of the sequence's.
            let loss = |logprobs: &[f64]| gspo(logprobs, &old, &advantages, clipping)[0].loss;
            let terms = gspo(&logprobs, &old, &advantages, clipping);
            for i in 0..logprobs.len() {
                let moved = |by: f64| {
                    let mut moved = logprobs.clone();
                    moved[i] += by;
                    moved
                };
                let h = 1e-6;
                let clip = |by| gspo(&moved(by), &old, &advantages, clipping)[0].clip;
                prop_assume!(clip(h) == clip(-h));
                let slope = (loss(&moved(h)) - loss(&moved(-h))) / (2.0 * h);
                prop_assert!((slope - terms[i].gradient / n).abs() < 1e-6, "{slope} {}", terms[i].gradient / n);
            }
        }
    }
}

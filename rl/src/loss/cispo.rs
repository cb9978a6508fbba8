//! The policy gradient under a clipped weight.

use super::{Clip, Clipping, Term};
use crate::importance::RATIO_LIMIT;

/// −sg\[clip(ρ, 1 − low, 1 + high)\]·A·log π: no token loses its gradient, only its weight is bounded. MiniMax-M1, 2025,
/// equation 4. The paper's form bounds from above alone: low = 1.
#[must_use]
pub fn cispo(logprob: f64, old: f64, advantage: f64, clipping: Clipping) -> Term {
    let ratio = (logprob - old).clamp(-RATIO_LIMIT, RATIO_LIMIT).exp();
    let (low, high) = (1.0 - clipping.low, 1.0 + clipping.high);
    let weight = ratio.clamp(low, high);
    let clip = match () {
        () if ratio > high => Clip::High,
        () if ratio < low => Clip::Low,
        () => Clip::No,
    };
    Term { loss: -weight * advantage * logprob, gradient: -weight * advantage, clip }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::tests::{PLAIN, with_ratios};

    #[test]
    fn losses_by_hand() {
        let old = [-1.0, -1.0, -1.0];
        let logprobs = with_ratios(&old, &[2.0, 1.0, 0.5]);
        let found: Vec<Term> =
            logprobs.iter().zip([1.0, -2.0, 3.0]).map(|(l, a)| cispo(*l, -1.0, a, PLAIN)).collect();
        for (i, (weight, advantage)) in [(1.2, 1.0), (1.0, -2.0), (0.8, 3.0)].into_iter().enumerate() {
            assert!((found[i].gradient + weight * advantage).abs() < 1e-12);
            assert!((found[i].loss + weight * advantage * logprobs[i]).abs() < 1e-12);
        }
        assert_eq!([0, 1, 2].map(|i| found[i].clip), [Clip::High, Clip::No, Clip::Low]);
    }

    #[test]
    fn with_low_one_only_large_weights_are_cut() {
        let clipping = Clipping { low: 1.0, high: 4.0, dual: f64::INFINITY };
        assert_eq!(cispo(-11.0, -1.0, 1.0, clipping).clip, Clip::No);
        assert!((cispo(-1.0, -11.0, 1.0, clipping).gradient + 5.0).abs() < 1e-12);
    }

    #[test]
    fn the_gradient_is_that_of_the_loss_with_its_weight_held() {
        let (logprob, old, advantage, h): (f64, f64, f64, f64) = (-1.3, -1.2, 0.7, 1e-6);
        let weight = (logprob - old).exp();
        let held = |logprob: f64| -weight * advantage * logprob;
        let slope = (held(logprob + h) - held(logprob - h)) / (2.0 * h);
        assert!((slope - cispo(logprob, old, advantage, PLAIN).gradient).abs() < 1e-8);
    }
}

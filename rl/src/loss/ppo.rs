//! The clipped surrogate of single tokens.

use super::{Clipping, Term, clipped_surrogate};
use crate::importance::RATIO_LIMIT;

/// With ρ = π/π_old: max(−A·ρ, −A·clip(ρ, 1 − low, 1 + high)), for A < 0 at most −A·dual. Schulman and others, Proximal
/// policy optimization, 2017, equation 7; two bounds (clip-higher) as in DAPO, 2025, section 3.1. Log-ratios are cut at
/// ±20 as in verl.
#[must_use]
pub fn ppo_clip(logprob: f64, old: f64, advantage: f64, clipping: Clipping) -> Term {
    let difference = logprob - old;
    let cut = difference.clamp(-RATIO_LIMIT, RATIO_LIMIT);
    let ratio = cut.exp();
    clipped_surrogate(ratio, if cut == difference { ratio } else { 0.0 }, advantage, clipping)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Clip;
    use crate::loss::tests::{PLAIN, with_ratios};
    use proptest::prelude::*;

    fn terms(ratios: &[f64], advantages: &[f64], clipping: Clipping) -> Vec<Term> {
        let old = vec![-1.0; ratios.len()];
        let logprobs = with_ratios(&old, ratios);
        logprobs.iter().zip(&old).zip(advantages).map(|((l, o), a)| ppo_clip(*l, *o, *a, clipping)).collect()
    }

    fn near(one: f64, other: f64) {
        assert!((one - other).abs() < 1e-9, "{one} is not {other}");
    }

    #[test]
    fn losses_by_hand() {
        // −1·0.5 beside −1·0.8: the larger is −0.5. −(−1)·1. −2·1.5 beside −2·1.2: −2.4.
        let found = terms(&[0.5, 1.0, 1.5], &[1.0, -1.0, 2.0], PLAIN);
        for (term, (loss, gradient)) in found.iter().zip([(-0.5, -0.5), (1.0, 1.0), (-2.4, 0.0)]) {
            near(term.loss, loss);
            near(term.gradient, gradient);
        }
        assert_eq!([0, 1, 2].map(|i| found[i].clip), [Clip::No, Clip::No, Clip::High]);
        near(found.iter().map(|term| term.loss).sum::<f64>() / 3.0, -1.9 / 3.0);
    }

    #[test]
    fn the_upper_bound_may_be_higher() {
        let clipping = Clipping { high: 0.28, ..PLAIN };
        let found = terms(&[1.25, 1.3, 0.7], &[1.0, 1.0, -1.0], clipping);
        near(found[0].loss, -1.25);
        near(found[1].loss, -1.28);
        near(found[2].loss, 0.8);
        assert_eq!([0, 1, 2].map(|i| found[i].clip), [Clip::No, Clip::High, Clip::Low]);
    }

    #[test]
    fn the_dual_bound_holds_for_what_was_worse() {
        let clipping = Clipping { dual: 1.5, ..PLAIN };
        let found = terms(&[2.0, 2.0, 0.5], &[2.0, -2.0, 2.0], clipping);
        near(found[0].loss, -2.4);
        near(found[1].loss, 3.0);
        near(found[2].loss, -1.0);
        assert_eq!([0, 1, 2].map(|i| found[i].clip), [Clip::High, Clip::Dual, Clip::No]);
        near(found[1].gradient, 0.0);
    }

    #[test]
    fn ratios_beyond_all_measure_stay_finite() {
        for (logprob, old) in [(-1.0, -900.0), (-900.0, -1.0), (0.0, f64::MIN)] {
            let term = ppo_clip(logprob, old, -1.0, PLAIN);
            assert!(term.loss.is_finite() && term.gradient.is_finite(), "{term:?}");
        }
    }

    proptest! {
        #[test]
        fn gradients_are_those_of_the_loss(
            logprob in -5.0f64..-0.1, old in -5.0f64..-0.1, advantage in -2.0f64..2.0, dual in 1.3f64..4.0,
        ) {
            let clipping = Clipping { low: 0.2, high: 0.28, dual };
            let h = 1e-7;
            let at = |logprob: f64| ppo_clip(logprob, old, advantage, clipping);
            // A kink has two slopes.
            prop_assume!(at(logprob - h).clip == at(logprob + h).clip);
            let slope = (at(logprob + h).loss - at(logprob - h).loss) / (2.0 * h);
            let gradient = at(logprob).gradient;
            prop_assert!((slope - gradient).abs() < 1e-5 * (1.0 + gradient.abs()), "{slope} {gradient}");
        }
    }
}

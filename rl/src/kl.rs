//! How far the policy has gone from its reference, token by token. Schulman, Approximating KL divergence, 2020.

/// An estimate of KL(policy ‖ reference) from one token drawn from the policy, with l = log π − log ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KlEstimator {
    /// l: unbiased, of either sign. As a loss its gradient has mean zero; it belongs into the reward.
    K1,
    /// l²/2: biased, never negative; its gradient is that of the divergence.
    K2,
    /// e^−l − 1 + l: unbiased and never negative.
    K3,
}

/// Log-ratios are cut here before they are raised: verl's constant.
const RATIO_LIMIT: f64 = 20.0;
/// k3 is cut here: verl's constant.
const K3_LIMIT: f64 = 10.0;

impl KlEstimator {
    /// The estimate and its derivative by log π.
    #[must_use]
    pub fn at(self, logprob: f64, reference: f64) -> (f64, f64) {
        let l = logprob - reference;
        match self {
            KlEstimator::K1 => (l, 1.0),
            KlEstimator::K2 => (0.5 * l * l, l),
            KlEstimator::K3 => {
                let cut = l.clamp(-RATIO_LIMIT, RATIO_LIMIT);
                let value = (-cut).exp() - 1.0 + cut;
                let is_cut = cut != l || value.abs() > K3_LIMIT;
                (value.clamp(-K3_LIMIT, K3_LIMIT), if is_cut { 0.0 } else { 1.0 - (-l).exp() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn estimates_by_hand() {
        let ln2 = std::f64::consts::LN_2;
        // π = 0.5, ref = 0.25: l = ln 2.
        let (logprob, reference) = (0.5f64.ln(), 0.25f64.ln());
        let near = |(value, slope): (f64, f64), wanted: (f64, f64)| {
            assert!((value - wanted.0).abs() < 1e-12 && (slope - wanted.1).abs() < 1e-12, "{value} {slope}");
        };
        near(KlEstimator::K1.at(logprob, reference), (ln2, 1.0));
        near(KlEstimator::K2.at(logprob, reference), (ln2 * ln2 / 2.0, ln2));
        near(KlEstimator::K3.at(logprob, reference), (0.5 - 1.0 + ln2, 0.5));
        // Far apart k3 is cut and pulls no more.
        near(KlEstimator::K3.at(-30.0, -1.0), (10.0, 0.0));
    }

    proptest! {
        #[test]
        fn slopes_are_those_of_the_estimates(logprob in -6.0f64..-0.01, reference in -6.0f64..-0.01) {
            prop_assume!((logprob - reference).abs() < 2.0);
            for estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
                let h = 1e-6;
                let up = estimator.at(logprob + h, reference).0;
                let down = estimator.at(logprob - h, reference).0;
                let slope = estimator.at(logprob, reference).1;
                prop_assert!(((up - down) / (2.0 * h) - slope).abs() < 1e-6 * (1.0 + slope.abs()));
            }
        }

        #[test]
        fn the_policy_itself_is_no_way_off(logprob in -20.0f64..0.0) {
            for estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
                prop_assert_eq!(estimator.at(logprob, logprob).0, 0.0);
            }
        }
    }
}

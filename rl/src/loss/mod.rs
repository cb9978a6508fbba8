//! Policy losses: of each token its value and its derivative by the log-probability.

mod cispo;
mod gspo;
mod ppo;

pub use cispo::cispo;
pub use gspo::gspo;
pub use ppo::ppo_clip;

/// Where a loss stops following the ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipping {
    /// Ratios below 1 − low do not count for samples that were worse than their peers.
    pub low: f64,
    /// Ratios above 1 + high do not count for samples that were better.
    pub high: f64,
    /// The loss of a sample that was worse is at most this many times its advantage (Ye and others, Mastering complex
    /// control in MOBA games, 2020, section 4); infinite for no bound.
    pub dual: f64,
}

/// Whether a bound held a token's loss back, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clip {
    /// None did.
    No,
    /// 1 − low.
    Low,
    /// 1 + high.
    High,
    /// The dual bound.
    Dual,
}

/// A token's part in the loss before it is weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Its value.
    pub loss: f64,
    /// Its derivative by the token's log-probability.
    pub gradient: f64,
    /// Whether a bound held it back.
    pub clip: Clip,
}

/// Which loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyLoss {
    /// [`ppo_clip`].
    PpoClip,
    /// [`gspo`].
    Gspo,
    /// [`cispo`].
    Cispo,
}

impl PolicyLoss {
    /// The terms of one response: log-probabilities now and under the old policy, and advantages, one a token.
    #[must_use]
    pub fn terms(self, logprobs: &[f64], old: &[f64], advantages: &[f64], clipping: Clipping) -> Vec<Term> {
        match self {
            PolicyLoss::PpoClip => by_token(ppo_clip, logprobs, old, advantages, clipping),
            PolicyLoss::Cispo => by_token(cispo, logprobs, old, advantages, clipping),
            PolicyLoss::Gspo => gspo(logprobs, old, advantages, clipping),
        }
    }
}

fn by_token(
    term: fn(f64, f64, f64, Clipping) -> Term,
    logprobs: &[f64],
    old: &[f64],
    advantages: &[f64],
    clipping: Clipping,
) -> Vec<Term> {
    let tokens = logprobs.iter().zip(old).zip(advantages);
    tokens.map(|((&logprob, &old), &advantage)| term(logprob, old, advantage, clipping)).collect()
}

/// max(−A·ρ, −A·clip(ρ, 1 − low, 1 + high)) and, for A < 0, at most −A·dual. `slope` is dρ/dlog π: ρ itself, or 0 where
/// the log-ratio was cut.
fn clipped_surrogate(ratio: f64, slope: f64, advantage: f64, clipping: Clipping) -> Term {
    let (low, high) = (1.0 - clipping.low, 1.0 + clipping.high);
    let free = Term { loss: -advantage * ratio, gradient: -advantage * slope, clip: Clip::No };
    let bounded = -advantage * ratio.clamp(low, high);
    let held = |loss, clip| Term { loss, gradient: 0.0, clip };
    if advantage < 0.0 && free.loss.max(bounded) > -advantage * clipping.dual {
        return held(-advantage * clipping.dual, Clip::Dual);
    }
    match bounded > free.loss {
        true if ratio > high => held(bounded, Clip::High),
        true => held(bounded, Clip::Low),
        false => free,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const PLAIN: Clipping = Clipping { low: 0.2, high: 0.2, dual: f64::INFINITY };

    /// Log-probabilities whose ratios to `old` are these.
    pub(crate) fn with_ratios(old: &[f64], ratios: &[f64]) -> Vec<f64> {
        old.iter().zip(ratios).map(|(old, ratio)| old + ratio.ln()).collect()
    }

    #[test]
    fn on_policy_every_loss_is_the_policy_gradient() {
        let old = [-0.5, -2.0, -0.01];
        let advantages = [1.5, -0.5, 0.0];
        for loss in [PolicyLoss::PpoClip, PolicyLoss::Gspo, PolicyLoss::Cispo] {
            let terms = loss.terms(&old, &old, &advantages, PLAIN);
            let gradients: Vec<f64> = terms.iter().map(|term| term.gradient).collect();
            assert_eq!(gradients, [-1.5, 0.5, 0.0], "{loss:?}");
            assert!(terms.iter().all(|term| term.clip == Clip::No));
        }
    }

    proptest! {
        #[test]
        fn a_token_held_back_gets_no_gradient(
            ratio in 0.01f64..10.0, advantage in -3.0f64..3.0, dual in 1.5f64..5.0,
        ) {
            let clipping = Clipping { low: 0.2, high: 0.28, dual };
            let term = clipped_surrogate(ratio, ratio, advantage, clipping);
            if term.clip == Clip::No {
                prop_assert_eq!(term.loss, -advantage * ratio);
                prop_assert_eq!(term.gradient, -advantage * ratio);
            } else {
                prop_assert_eq!(term.gradient, 0.0);
            }
        }
    }
}

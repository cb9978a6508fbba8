//! The loss of an optimizer step: what each token's log-probability and entropy pull at.
//!
//! A step's loss is a weighted sum over tokens, with weights of the whole step ([`Normalise`]); so how its sequences are
//! packed, padded or cut into micro-batches changes nothing but rounding. It is worked out on the host between the forward
//! and the backward pass, in f64.

use crate::importance::Importance;
use crate::kl::KlEstimator;
use crate::loss::{Clip, Clipping, PolicyLoss};
use crate::normalise::{Normalise, Totals};

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The policy loss of a token.
    pub loss: PolicyLoss,
    /// Its bounds.
    pub clipping: Clipping,
    /// What a token counts.
    pub normalise: Normalise,
    /// What it counts besides, by who drew it.
    pub importance: Importance,
    /// Added to the loss: this estimate of the divergence from the reference, times the factor.
    pub kl: Option<(KlEstimator, f64)>,
    /// Taken off the loss: the entropy of each token's distribution, times this.
    pub entropy: f64,
}

/// One response as the policy sees it now, all slices one entry a token.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Log-probabilities under the policy.
    pub logprobs: &'a [f32],
    /// Entropies of its distributions, in nats.
    pub entropies: &'a [f32],
    /// Log-probabilities under the policy that ratios are taken against.
    pub old: &'a [f32],
    /// Log-probabilities of the distribution that the tokens were drawn from.
    pub sampler: &'a [f32],
    /// Log-probabilities under the reference; needed where there is a [`Objective::kl`].
    pub reference: Option<&'a [f32]>,
    /// Advantages.
    pub advantages: &'a [f64],
}

/// What the backward pass needs, one entry a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// d loss / d log-probability.
    pub logprob: Vec<f32>,
    /// d loss / d entropy.
    pub entropy: Vec<f32>,
}

/// Sums over tokens, for the metrics of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Tokens summed over.
    pub tokens: usize,
    /// The policy loss, weighed as in the step's loss.
    pub policy_loss: f64,
    /// The divergence from the reference, weighed as in the step's loss, before its factor.
    pub kl_loss: f64,
    /// Entropies.
    pub entropy: f64,
    /// log π_old − log π: k1 of the divergence from the old policy.
    pub ppo_kl: f64,
    /// Tokens held back by a bound on the ratio.
    pub clipped: usize,
    /// Tokens held back by the dual bound.
    pub dual_clipped: usize,
    /// Importance weights.
    pub importance: f64,
    /// The largest |p_policy − p_sampler| of a token.
    pub probs_diff_max: f64,
    /// |p_policy − p_sampler|, summed.
    pub probs_diff: f64,
}

impl Figures {
    /// Adds those of other tokens of the same step.
    pub fn add(&mut self, other: &Figures) {
        self.tokens += other.tokens;
        self.policy_loss += other.policy_loss;
        self.kl_loss += other.kl_loss;
        self.entropy += other.entropy;
        self.ppo_kl += other.ppo_kl;
        self.clipped += other.clipped;
        self.dual_clipped += other.dual_clipped;
        self.importance += other.importance;
        self.probs_diff_max = self.probs_diff_max.max(other.probs_diff_max);
        self.probs_diff += other.probs_diff;
    }
}

impl Objective {
    /// What a response pulls at in a step that holds `totals`, and its figures.
    #[must_use]
    pub fn weigh(&self, sequence: &Sequence<'_>, totals: Totals) -> (Weights, Figures) {
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let (logprobs, old, sampler) = (wide(sequence.logprobs), wide(sequence.old), wide(sequence.sampler));
        let weight = self.normalise.weight(logprobs.len(), totals);
        let terms = self.loss.terms(&logprobs, &old, sequence.advantages, self.clipping);
        let mut figures = Figures { tokens: logprobs.len(), ..Figures::default() };
        let mut weights = Weights::default();
        for (t, term) in terms.iter().enumerate() {
            let importance = self.importance.weight(old[t], sampler[t]);
            let mut gradient = importance * term.gradient;
            figures.policy_loss += weight * importance * term.loss;
            if let (Some((estimator, factor)), Some(reference)) = (self.kl, sequence.reference) {
                let (value, slope) = estimator.at(logprobs[t], reference[t].into());
                figures.kl_loss += weight * value;
                gradient += factor * slope;
            }
            weights.logprob.push((weight * gradient) as f32);
            weights.entropy.push((-weight * self.entropy) as f32);
            let apart = (logprobs[t].exp() - sampler[t].exp()).abs();
            figures.entropy += f64::from(sequence.entropies[t]);
            figures.ppo_kl += old[t] - logprobs[t];
            figures.clipped += usize::from(matches!(term.clip, Clip::Low | Clip::High));
            figures.dual_clipped += usize::from(term.clip == Clip::Dual);
            figures.importance += importance;
            figures.probs_diff += apart;
            figures.probs_diff_max = figures.probs_diff_max.max(apart);
        }
        (weights, figures)
    }

    /// The value of the loss by its figures.
    #[must_use]
    pub fn value(&self, figures: &Figures, entropy: f64) -> f64 {
        figures.policy_loss + self.kl.map_or(0.0, |(_, factor)| factor * figures.kl_loss)
            - self.entropy * entropy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn objective(loss: PolicyLoss, normalise: Normalise) -> Objective {
        Objective {
            loss,
            clipping: Clipping { low: 0.2, high: 0.28, dual: 3.0 },
            normalise,
            importance: Importance::Truncated { high: 2.0 },
            kl: Some((KlEstimator::K3, 0.1)),
            entropy: 0.01,
        }
    }

    #[derive(Clone, Debug)]
    struct Response {
        logprobs: Vec<f32>,
        old: Vec<f32>,
        advantages: Vec<f64>,
    }

    impl Response {
        fn view(&self) -> Sequence<'_> {
            Sequence {
                logprobs: &self.logprobs,
                entropies: &self.old,
                old: &self.old,
                sampler: &self.old,
                reference: Some(&self.old),
                advantages: &self.advantages,
            }
        }
    }

    fn responses() -> impl Strategy<Value = Vec<Response>> {
        let token = (-3.0f32..-0.1, -0.15f32..0.15);
        let one =
            (prop::collection::vec(token, 0..7), -2.0f64..2.0).prop_map(|(tokens, advantage)| Response {
                logprobs: tokens.iter().map(|(l, _)| *l).collect(),
                old: tokens.iter().map(|(l, d)| l + d).collect(),
                advantages: vec![advantage; tokens.len()],
            });
        prop::collection::vec(one, 1..6)
    }

    const NORMALISATIONS: [Normalise; 3] =
        [Normalise::TokenMean, Normalise::SequenceMean, Normalise::ConstantLength(16.0)];

    /// A response among others, padded to `width` columns with tokens that are masked out: the same formulas over a
    /// rectangle, as frameworks that pad do it.
    fn padded(responses: &[Response], width: usize, normalise: Normalise) -> Vec<Vec<f32>> {
        let mask =
            |r: &Response| (0..width).map(|t| f64::from(u8::from(t < r.logprobs.len()))).collect::<Vec<_>>();
        let tokens: f64 = responses.iter().flat_map(mask).sum();
        let sequences = responses.iter().filter(|r| !r.logprobs.is_empty()).count().max(1) as f64;
        let row = |r: &Response| -> Vec<f32> {
            let mask = mask(r);
            let own: f64 = mask.iter().sum();
            (0..width)
                .map(|t| {
                    let at = |v: &[f32]| v.get(t).copied().map_or(-1.0, f64::from);
                    let (l, o) = (at(&r.logprobs), at(&r.old));
                    let a = r.advantages.first().copied().unwrap_or(0.0);
                    let g = crate::loss::ppo_clip(l, o, a, Clipping { low: 0.2, high: 0.28, dual: 3.0 })
                        .gradient
                        + 0.1 * KlEstimator::K3.at(l, o).1;
                    let weight = match normalise {
                        Normalise::TokenMean => 1.0 / tokens.max(1.0),
                        Normalise::SequenceMean => 1.0 / own.max(1.0) / sequences,
                        Normalise::ConstantLength(constant) => 1.0 / constant / sequences,
                    };
                    (mask[t] * g * weight) as f32
                })
                .collect()
        };
        responses.iter().map(row).collect()
    }

    proptest! {
        #[test]
        fn packed_equals_padded(responses in responses()) {
            let totals = Totals::of(responses.iter().map(|r| r.logprobs.len()));
            for normalise in NORMALISATIONS {
                let rectangle = padded(&responses, 9, normalise);
                for (response, row) in responses.iter().zip(&rectangle) {
                    let (weights, _) = objective(PolicyLoss::PpoClip, normalise).weigh(&response.view(), totals);
                    let n = weights.logprob.len();
                    for (w, p) in weights.logprob.iter().zip(row) {
                        prop_assert!((w - p).abs() <= 1e-6 * (1.0 + p.abs()), "{w} {p}");
                    }
                    prop_assert!(row[n..].iter().all(|p| *p == 0.0));
                }
            }
        }

        #[test]
        fn micro_batches_of_any_size_add_up_to_the_same_step(responses in responses(), size in 1usize..4) {
            let totals = Totals::of(responses.iter().map(|r| r.logprobs.len()));
            for loss in [PolicyLoss::PpoClip, PolicyLoss::Gspo, PolicyLoss::Cispo] {
                for normalise in NORMALISATIONS {
                    let objective = objective(loss, normalise);
                    let sum = |batch: &[Response]| {
                        let mut figures = Figures::default();
                        for response in batch {
                            figures.add(&objective.weigh(&response.view(), totals).1);
                        }
                        figures
                    };
                    let whole = sum(&responses);
                    let mut parts = Figures::default();
                    responses.chunks(size).for_each(|chunk| parts.add(&sum(chunk)));
                    prop_assert!((whole.policy_loss - parts.policy_loss).abs() < 1e-9);
                    prop_assert!((whole.kl_loss - parts.kl_loss).abs() < 1e-9);
                    prop_assert_eq!((whole.tokens, whole.clipped), (parts.tokens, parts.clipped));
                }
            }
        }

        #[test]
        fn what_the_backward_pass_gets_is_the_gradient_of_the_loss(responses in responses()) {
            let totals = Totals::of(responses.iter().map(|r| r.logprobs.len()));
            for normalise in NORMALISATIONS {
                let objective = objective(PolicyLoss::PpoClip, normalise);
                for response in &responses {
                    let value = |r: &Response| {
                        let figures = objective.weigh(&r.view(), totals).1;
                        (objective.value(&figures, 0.0), figures.clipped + figures.dual_clipped)
                    };
                    let (weights, _) = objective.weigh(&response.view(), totals);
                    for t in 0..response.logprobs.len() {
                        let moved = |by: f32| {
                            let mut moved = response.clone();
                            moved.logprobs[t] += by;
                            moved
                        };
                        let (up, down) = (moved(1e-3), moved(-1e-3));
                        prop_assume!(value(&up).1 == value(&down).1);
                        let width = f64::from(up.logprobs[t]) - f64::from(down.logprobs[t]);
                        let slope = (value(&up).0 - value(&down).0) / width;
                        prop_assert!((slope - f64::from(weights.logprob[t])).abs() < 1e-4, "{slope} {weights:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn on_policy_nothing_is_off_and_entropy_pulls_by_its_weight() {
        let response =
            Response { logprobs: vec![-0.5, -1.5], old: vec![-0.5, -1.5], advantages: vec![2.0; 2] };
        let objective = objective(PolicyLoss::PpoClip, Normalise::TokenMean);
        let totals = Totals { sequences: 4, tokens: 8 };
        let (weights, figures) = objective.weigh(&response.view(), totals);
        assert_eq!(weights.logprob, [-0.25, -0.25]);
        assert_eq!(weights.entropy, [-0.01 / 8.0; 2]);
        assert_eq!((figures.ppo_kl, figures.probs_diff_max, figures.importance), (0.0, 0.0, 2.0));
        assert_eq!(figures.policy_loss, -0.5);
    }
}

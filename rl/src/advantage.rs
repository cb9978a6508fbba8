//! How much better a sample was than its peers.

/// How advantages follow from rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimator {
    /// [`grpo`].
    Grpo,
    /// [`dr_grpo`].
    DrGrpo,
    /// [`rloo`].
    Rloo,
    /// [`reinforce_plus_plus`].
    ReinforcePlusPlus,
    /// [`reinforce_plus_plus_baseline`].
    ReinforcePlusPlusBaseline,
}

/// A sample whose reward is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Reward of the whole response.
    pub reward: f64,
    /// What each token is charged beside it (the KL to the reference, where that stands in the reward); one for each token
    /// of the response, zeros where there is none.
    pub charges: Vec<f64>,
}

impl Scored {
    /// Reward less all charges.
    fn total(&self) -> f64 {
        self.reward - self.charges.iter().sum::<f64>()
    }
}

/// The advantage of every token of every sample, for groups of samples of one prompt each. Samples without a reward are
/// left out by the caller: they belong to no group.
#[must_use]
pub fn advantages(estimator: Estimator, groups: &[Vec<Scored>]) -> Vec<Vec<Vec<f64>>> {
    let by_group = |baseline: fn(&[f64]) -> Vec<f64>| -> Vec<Vec<Vec<f64>>> {
        let one = |group: &Vec<Scored>| -> Vec<Vec<f64>> {
            let totals: Vec<f64> = group.iter().map(Scored::total).collect();
            group.iter().zip(baseline(&totals)).map(|(s, a)| vec![a; s.charges.len()]).collect()
        };
        groups.iter().map(one).collect()
    };
    match estimator {
        Estimator::Grpo => by_group(grpo),
        Estimator::DrGrpo => by_group(dr_grpo),
        Estimator::Rloo => by_group(rloo),
        Estimator::ReinforcePlusPlus => reinforce_plus_plus(groups),
        Estimator::ReinforcePlusPlusBaseline => reinforce_plus_plus_baseline(groups),
    }
}

/// Added to the standard deviation of a group: verl's constant.
const GROUP_EPS: f64 = 1e-6;
/// Added to the variance of a batch: verl's constant.
const BATCH_EPS: f64 = 1e-8;

/// A_i = (r_i − mean) / (std + 10⁻⁶) with the sample deviation (n − 1). Shao and others, DeepSeekMath, 2024, section 4.1;
/// the constant is verl's. A sample alone has advantage 0: there is nothing to compare it with.
#[must_use]
pub fn grpo(rewards: &[f64]) -> Vec<f64> {
    let centred = dr_grpo(rewards);
    if rewards.len() < 2 {
        return centred;
    }
    let variance = centred.iter().map(|c| c * c).sum::<f64>() / (rewards.len() - 1) as f64;
    let scale = variance.sqrt() + GROUP_EPS;
    centred.into_iter().map(|c| c / scale).collect()
}

/// A_i = r_i − mean. Liu and others, Understanding R1-Zero-like training, 2025: without the deviation, easy and hard
/// prompts weigh alike. Goes with a constant-length normalisation.
#[must_use]
pub fn dr_grpo(rewards: &[f64]) -> Vec<f64> {
    // Equal rewards give exactly 0, which the rounded mean of, say, three times 0.1 would not.
    if !has_signal(rewards) {
        return vec![0.0; rewards.len()];
    }
    let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
    rewards.iter().map(|r| r - mean).collect()
}

/// A_i = r_i − mean of the others = n/(n − 1)·(r_i − mean). Ahmadian and others, Back to basics, 2024, section 3.3.
#[must_use]
pub fn rloo(rewards: &[f64]) -> Vec<f64> {
    let n = rewards.len() as f64;
    let centred = dr_grpo(rewards);
    if rewards.len() < 2 {
        return centred;
    }
    centred.into_iter().map(|c| c * n / (n - 1.0)).collect()
}

/// The reward on the last token, charges on each; each token gets the sum from itself on (no discount), and all tokens of
/// the batch are then brought to mean 0 and deviation 1. Hu, REINFORCE++, 2025, section 3.
#[must_use]
pub fn reinforce_plus_plus(groups: &[Vec<Scored>]) -> Vec<Vec<Vec<f64>>> {
    let returns = |sample: &Scored| -> Vec<f64> {
        let mut ahead = sample.reward;
        let mut returns: Vec<f64> = sample
            .charges
            .iter()
            .rev()
            .map(|charge| {
                ahead -= charge;
                ahead
            })
            .collect();
        returns.reverse();
        returns
    };
    whitened(groups.iter().map(|group| group.iter().map(returns).collect()).collect())
}

/// As [`reinforce_plus_plus`], but with the mean of the prompt's samples taken off first and no credit by position
/// (Hu, 2025, the variant for several samples a prompt).
#[must_use]
pub fn reinforce_plus_plus_baseline(groups: &[Vec<Scored>]) -> Vec<Vec<Vec<f64>>> {
    whitened(advantages(Estimator::DrGrpo, groups))
}

/// Tokens of all samples brought to mean 0 and deviation 1, as verl does it: the variance with n − 1.
fn whitened(mut values: Vec<Vec<Vec<f64>>>) -> Vec<Vec<Vec<f64>>> {
    let tokens = || values.iter().flatten().flatten().copied();
    let n = tokens().count() as f64;
    if n < 2.0 {
        values.iter_mut().flatten().flatten().for_each(|value| *value = 0.0);
        return values;
    }
    let mean = tokens().sum::<f64>() / n;
    let variance = tokens().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0);
    let scale = (variance + BATCH_EPS).sqrt();
    values.iter_mut().flatten().flatten().for_each(|value| *value = (*value - mean) / scale);
    values
}

/// Whether the samples of a prompt differ in reward: others teach nothing under a group's baseline. DAPO (Yu and others,
/// 2025, section 3.2) draws further prompts in their place.
#[must_use]
pub fn has_signal(rewards: &[f64]) -> bool {
    rewards.iter().any(|r| *r != rewards[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(one: &[f64], other: &[f64]) {
        assert_eq!(one.len(), other.len());
        for (a, b) in one.iter().zip(other) {
            assert!((a - b).abs() < 1e-9, "{one:?} is not {other:?}");
        }
    }

    fn sample(reward: f64, charges: &[f64]) -> Scored {
        Scored { reward, charges: charges.to_vec() }
    }

    #[test]
    fn group_baselines_by_hand() {
        // Mean 1, deviations −1, 0, 2, −1: variance 6/3 = 2.
        let rewards = [0.0, 1.0, 3.0, 0.0];
        let scale = 2.0f64.sqrt() + 1e-6;
        near(&grpo(&rewards), &[-1.0 / scale, 0.0, 2.0 / scale, -1.0 / scale]);
        near(&dr_grpo(&rewards), &[-1.0, 0.0, 2.0, -1.0]);
        // Each against the mean of the other three: 0 − 4/3, 1 − 1, 3 − 1/3, 0 − 4/3.
        near(&rloo(&rewards), &[-4.0 / 3.0, 0.0, 8.0 / 3.0, -4.0 / 3.0]);
    }

    #[test]
    fn groups_all_alike_or_alone_teach_nothing() {
        for rewards in [&[0.1, 0.1, 0.1][..], &[1.0; 16], &[0.0; 2], &[0.7], &[]] {
            for baseline in [grpo, dr_grpo, rloo] {
                assert_eq!(baseline(rewards), vec![0.0; rewards.len()], "{rewards:?}");
            }
            assert!(rewards.is_empty() || !has_signal(rewards));
        }
    }

    #[test]
    fn returns_are_sums_of_what_lies_ahead_whitened_over_the_batch() {
        let groups = [vec![sample(1.0, &[0.5, 0.0, 0.25])], vec![sample(0.0, &[0.0])]];
        // Before whitening: 0.25, 0.75, 0.75 and 0. Mean 0.4375; squares 0.03515625 + 2·0.09765625 + 0.19140625.
        let scale = (0.421875f64 / 3.0 + 1e-8).sqrt();
        let whitened = reinforce_plus_plus(&groups);
        let wanted = [0.25, 0.75, 0.75].map(|r| (r - 0.4375) / scale);
        near(&whitened[0][0], &wanted);
        near(&whitened[1][0], &[-0.4375 / scale]);
    }

    #[test]
    fn the_baseline_variant_centres_each_prompt_first() {
        // Centred: +0.5 on one token, −0.5 on three; and 0, 0.
        let groups = [
            vec![sample(1.0, &[0.0]), sample(0.0, &[0.0; 3])],
            vec![sample(5.0, &[0.0]), sample(5.0, &[0.0])],
        ];
        let mean = (0.5 - 1.5) / 6.0;
        let squares = (0.5f64 - mean).powi(2) + 3.0 * (-0.5 - mean).powi(2) + 2.0 * mean * mean;
        let scale = (squares / 5.0 + 1e-8).sqrt();
        let whitened = reinforce_plus_plus_baseline(&groups);
        near(&whitened[0][0], &[(0.5 - mean) / scale]);
        near(&whitened[0][1], &[(-0.5 - mean) / scale; 3]);
        near(&whitened[1][0], &[-mean / scale]);
    }

    #[test]
    fn charges_come_off_a_samples_reward() {
        let groups = [vec![sample(1.0, &[0.5, 0.5]), sample(1.0, &[0.0])]];
        let advantages = advantages(Estimator::DrGrpo, &groups);
        assert_eq!(advantages, [vec![vec![-0.5, -0.5], vec![0.5]]]);
    }

    proptest! {
        #[test]
        fn advantages_sum_to_nothing_and_do_not_see_a_shift(
            rewards in prop::collection::vec(-10.0f64..10.0, 2..20), shift in -5.0f64..5.0,
        ) {
            for baseline in [grpo, dr_grpo, rloo] {
                let sum: f64 = baseline(&rewards).iter().sum();
                prop_assert!(sum.abs() < 1e-7, "{sum}");
                let shifted: Vec<f64> = rewards.iter().map(|r| r + shift).collect();
                for (a, b) in baseline(&rewards).iter().zip(baseline(&shifted)) {
                    prop_assert!((a - b).abs() < 1e-6 * (1.0 + a.abs()));
                }
            }
        }

        #[test]
        fn leaving_one_out_is_comparing_with_the_others(rewards in prop::collection::vec(-10.0f64..10.0, 2..20)) {
            let n = rewards.len();
            for (i, a) in rloo(&rewards).iter().enumerate() {
                let others: f64 = (0..n).filter(|j| *j != i).map(|j| rewards[j]).sum();
                prop_assert!((a - (rewards[i] - others / (n - 1) as f64)).abs() < 1e-9);
            }
        }
    }
}

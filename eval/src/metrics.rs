//! Figures of several responses to several items.

use crate::random::Random;
use rayon::prelude::*;

/// Times that items are drawn anew for an interval.
pub(crate) const RESAMPLES: u64 = 10_000;
/// Draws are the same every time.
const SEED: u64 = 1234;

/// The mean.
pub(crate) fn mean(values: &[f64]) -> f64 {
    match values.len() {
        0 => 0.0,
        n => values.iter().sum::<f64>() / n as f64,
    }
}

/// The standard error of the mean: the sample's standard deviation over the root of its size. `None` for fewer than two.
pub(crate) fn standard_error(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((squares / (n - 1.0)).sqrt() / n.sqrt())
}

/// Means of `values` with items drawn anew, sorted (the bootstrap: Efron, "Bootstrap methods", Annals of Statistics 7, 1979).
/// Each drawing has a stream of its own, so that threads change nothing.
pub(crate) fn resampled(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    let draw = |seed: u64| {
        let mut random = Random::new(seed);
        (0..n).map(|_| values[random.below(n)]).sum::<f64>() / n as f64
    };
    let times = if n == 0 { 0 } else { RESAMPLES };
    let mut means: Vec<f64> = (SEED..SEED + times).into_par_iter().map(draw).collect();
    means.sort_by(f64::total_cmp);
    means
}

/// The ends between which the middle 95 % of sorted values lie.
pub(crate) fn middle(sorted: &[f64]) -> Option<(f64, f64)> {
    let last = sorted.len().checked_sub(1)?;
    let at = |share: f64| sorted[((share * last as f64).round() as usize).min(last)];
    Some((at(0.025), at(0.975)))
}

/// The chance that one of `k` responses is right, when `right` of `n` are (the unbiased estimator of Chen et al., "Evaluating
/// large language models trained on code", 2021, section 2.1).
pub(crate) fn pass_at(n: usize, right: usize, k: usize) -> f64 {
    if n - right < k {
        return 1.0;
    }
    1.0 - (n - right + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}

/// The answer that most of the first `k` responses give: the index of the first response that gives it. `groups` names each
/// response's answer by the first response of the same answer; one without an answer has no say.
pub(crate) fn majority(groups: &[Option<usize>], k: usize) -> Option<usize> {
    let votes = |group: usize| groups[..k].iter().filter(|g| **g == Some(group)).count();
    let firsts = (0..k).filter(|at| groups[*at] == Some(*at));
    firsts.max_by_key(|&at| (votes(at), std::cmp::Reverse(at)))
}

/// 1, 2, 4, … below `n`, and `n`.
pub(crate) fn ks(n: usize) -> Vec<usize> {
    let mut ks: Vec<usize> = std::iter::successors(Some(1), |k| Some(k * 2)).take_while(|k| *k < n).collect();
    ks.push(n);
    ks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_at_k_is_the_share_of_all_choices_of_k_that_hold_a_right_one() {
        for n in 1..=10usize {
            for right in 0..=n {
                for k in 1..=n {
                    let (mut with, mut all) = (0u32, 0u32);
                    for choice in 0u32..1 << n {
                        if choice.count_ones() as usize == k {
                            all += 1;
                            with += u32::from(choice & ((1 << right) - 1) != 0);
                        }
                    }
                    let exact = f64::from(with) / f64::from(all);
                    assert!((pass_at(n, right, k) - exact).abs() < 1e-12, "{n} {right} {k}");
                }
            }
        }
    }

    #[test]
    fn the_majority_is_the_most_frequent_answer_and_of_equals_the_first() {
        let groups = [Some(0), Some(1), None, Some(1), Some(0), Some(1)];
        assert_eq!(majority(&groups, 6), Some(1));
        assert_eq!(majority(&groups, 5), Some(0));
        assert_eq!(majority(&groups, 1), Some(0));
        assert_eq!(majority(&[None, None], 2), None);
        assert_eq!((ks(1), ks(8), ks(10)), (vec![1], vec![1, 2, 4, 8], vec![1, 2, 4, 8, 10]));
    }

    #[test]
    fn the_standard_error_is_that_of_a_sample() {
        assert_eq!(standard_error(&[1.0]), None);
        let error = standard_error(&[1.0, 0.0, 0.0, 1.0]).unwrap();
        assert!((error - (1.0f64 / 3.0).sqrt() / 2.0).abs() < 1e-15);
    }

    #[test]
    fn an_interval_holds_the_mean_and_is_as_wide_as_the_error_says() {
        for right in [20, 50, 77] {
            let values: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i < right))).collect();
            let (low, high) = middle(&resampled(&values)).unwrap();
            let (mean, error) = (mean(&values), standard_error(&values).unwrap());
            assert!(low < mean && mean < high);
            assert!(((high - low) / (2.0 * 1.96 * error) - 1.0).abs() < 0.15);
        }
    }
}

//! Rewards that look at a response's tokens alone.

use std::collections::BTreeSet;

/// 0 up to `cap − buffer` tokens, then down in a straight line to −1 at `cap`. Yu and others, DAPO, 2025, equation 13.
#[must_use]
pub fn overlong(length: usize, cap: usize, buffer: usize) -> f64 {
    let free = cap.saturating_sub(buffer);
    let over = length.saturating_sub(free) as f64;
    -(over / buffer.max(1) as f64).min(1.0)
}

/// From `ends[0]` at no length to `ends[1]` at `cap`, along half a cosine. Yeo and others, Demystifying long
/// chain-of-thought reasoning, 2025, section 4.2, with ends chosen by whether the answer is right.
#[must_use]
pub fn cosine(length: usize, cap: usize, ends: [f64; 2]) -> f64 {
    let progress = length.min(cap) as f64 / cap.max(1) as f64;
    ends[1] + 0.5 * (ends[0] - ends[1]) * (1.0 + (std::f64::consts::PI * progress).cos())
}

/// The share of runs of `n` tokens that have occurred before in the response.
#[must_use]
pub fn repetition(tokens: &[u32], n: usize) -> f64 {
    let runs = tokens.windows(n.max(1));
    let all = runs.len();
    if all == 0 {
        return 0.0;
    }
    let different = runs.collect::<BTreeSet<&[u32]>>().len();
    (all - different) as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlong_responses_lose_in_the_buffer() {
        let at = |length| overlong(length, 20, 8);
        assert_eq!([0, 12, 14, 16, 20, 30].map(at), [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]);
        assert_eq!(overlong(3, 4, 100), -0.03, "a buffer longer than the cap begins at the first token");
    }

    #[test]
    fn short_right_answers_and_long_wrong_ones_are_worth_more() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        near(cosine(0, 100, [1.0, 0.5]), 1.0);
        near(cosine(50, 100, [1.0, 0.5]), 0.75);
        near(cosine(100, 100, [1.0, 0.5]), 0.5);
        near(cosine(25, 100, [-1.0, -0.5]), -0.5 - 0.25 * (1.0 + (std::f64::consts::PI / 4.0).cos()));
        near(cosine(900, 100, [-1.0, -0.5]), -0.5);
    }

    #[test]
    fn repeated_runs_are_counted() {
        assert_eq!(repetition(&[1, 2, 3, 4, 5], 2), 0.0);
        // 12 21 12 21 12: two are different.
        assert_eq!(repetition(&[1, 2, 1, 2, 1, 2], 2), 0.6);
        assert_eq!(repetition(&[7; 11], 1), 10.0 / 11.0);
        assert_eq!(repetition(&[1, 2], 4), 0.0);
    }
}

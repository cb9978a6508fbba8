//! Which source gives which window, by shares.
//!
//! Shares become whole weights w of a common sum S. After t windows a source ought to have given t·w/S; its
//! k-th window (from 1) may come once it ought to have given more than k−1, and has to come before it ought to
//! have given more than k. Each window goes to the source whose next one is due first, of those that may come;
//! the earlier source where two are due together. That is scheduling by the earliest deadline, which finds an
//! order wherever there is one (Jackson 1955; Steiner and Yeomans 1993 for these deadlines): so at every point
//! every source has given less than one window more or less than its share. To take the largest deficit
//! instead, as is often done, can fail that from four sources on.
//!
//! After S windows all is as at the start, and the same again: what a source has given by window g is found
//! from a table of every 4096th window of one round.

use crate::ShardsError;
use std::sync::{Mutex, PoisonError};

/// What shares are rounded to: a thousand-millionth.
const PARTS: f64 = 1e9;

/// Windows between two entries of the table.
const STRIDE: u64 = 4096;

/// The order of a mixture.
#[derive(Debug)]
pub(crate) struct Shares {
    weights: Vec<i64>,
    /// The sum of the weights, which have no common divisor.
    round: i64,
    /// States before windows 0, 4096, … of a round, as far as they were needed.
    table: Mutex<Vec<State>>,
}

/// What the sources of a mixture have given before a window.
#[derive(Clone, Debug)]
struct State {
    /// Windows of each source.
    given: Vec<u64>,
    /// Of each source, S times what it ought to have given less what it has; between −S and S.
    owed: Vec<i64>,
}

/// Windows one after the other: which source gives it, and how many that source has given before.
pub(crate) struct Walk<'a> {
    shares: &'a Shares,
    state: State,
    /// Windows of each source in whole rounds before.
    before: Vec<u64>,
}

impl Shares {
    /// The order for shares of named sources, which need not add up to one.
    pub fn new<'a>(shares: impl Iterator<Item = (&'a str, f64)> + Clone) -> Result<Shares, ShardsError> {
        let refuse = |name: &str, share, reason| Err(ShardsError::Share { name: name.into(), share, reason });
        for (name, share) in shares.clone() {
            if !share.is_finite() {
                return refuse(name, share, "not a number; give each source a positive one");
            }
            if share <= 0.0 {
                return refuse(name, share, "not positive; leave the source out of the mixture");
            }
        }
        // Divided by the largest first, so that the sum cannot overflow.
        let largest = shares.clone().map(|(_, share)| share).fold(0.0, f64::max);
        let sum: f64 = shares.clone().map(|(_, share)| share / largest).sum();
        let mut weights = Vec::new();
        for (name, share) in shares {
            let weight = (share / largest / sum * PARTS).round() as i64;
            if weight == 0 {
                return refuse(name, share, "less than a thousand-millionth of all; leave the source out");
            }
            weights.push(weight);
        }
        if weights.is_empty() {
            return Err(ShardsError::EmptyMixture);
        }
        let divisor = weights.iter().copied().fold(0, gcd);
        weights.iter_mut().for_each(|weight| *weight /= divisor);
        let round = weights.iter().sum();
        let start = State { given: vec![0; weights.len()], owed: vec![0; weights.len()] };
        Ok(Shares { weights, round, table: Mutex::new(vec![start]) })
    }

    /// What each source has given before a window.
    pub fn given(&self, window: u64) -> Vec<u64> {
        let walk = self.walk(window);
        walk.before.iter().zip(walk.state.given).map(|(before, given)| before + given).collect()
    }

    /// Windows from one on.
    pub fn walk(&self, window: u64) -> Walk<'_> {
        let (rounds, window) = (window / self.round as u64, window % self.round as u64);
        let mut state = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = (window / STRIDE) as usize;
            while table.len() <= entry {
                // The table is never empty.
                let Some(mut state) = table.last().cloned() else { break };
                self.steps(&mut state, STRIDE);
                table.push(state);
            }
            table[entry].clone()
        };
        self.steps(&mut state, window % STRIDE);
        let before = self.weights.iter().map(|&weight| rounds * weight as u64).collect();
        Walk { shares: self, state, before }
    }

    fn steps(&self, state: &mut State, windows: u64) {
        for _ in 0..windows {
            self.step(state);
        }
    }

    /// Gives a window to a source; returns the source.
    fn step(&self, state: &mut State) -> usize {
        let mut next: Option<(usize, i64)> = None;
        for (source, (owed, &weight)) in state.owed.iter_mut().zip(&self.weights).enumerate() {
            *owed += weight;
            if *owed <= 0 {
                continue;
            }
            // The next window is due in (S − owed) / w windows. Both factors stay below 2 · 10⁹.
            let left = self.round - *owed;
            let sooner =
                next.is_none_or(|(other, others_left)| left * self.weights[other] < others_left * weight);
            if sooner {
                next = Some((source, left));
            }
        }
        // What is owed adds up to S, so some source is owed something.
        let source = next.map_or(0, |(source, _)| source);
        state.owed[source] -= self.round;
        state.given[source] += 1;
        source
    }
}

impl Iterator for Walk<'_> {
    type Item = (usize, u64);

    fn next(&mut self) -> Option<(usize, u64)> {
        let source = self.shares.step(&mut self.state);
        Some((source, self.before[source] + self.state.given[source] - 1))
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(shares: &[f64]) -> Result<Shares, ShardsError> {
        Shares::new(shares.iter().map(|&share| ("a", share)))
    }

    fn order(of: &[f64], windows: usize) -> Vec<usize> {
        shares(of).unwrap().walk(0).take(windows).map(|(source, _)| source).collect()
    }

    fn any_shares() -> impl Strategy<Value = Vec<f64>> {
        let share = prop_oneof![1e-3f64..1.0, Just(0.05), Just(0.1), Just(0.3), Just(1.0), Just(100.0)];
        proptest::collection::vec(share, 1..14)
    }

    proptest! {
        #[test]
        fn every_source_is_within_one_window_of_its_share_at_every_point(of in any_shares()) {
            let shares = shares(&of).unwrap();
            let sum: f64 = of.iter().sum();
            let mut given = vec![0u64; of.len()];
            for (window, (source, before)) in shares.walk(0).take(3000).enumerate() {
                prop_assert_eq!(before, given[source]);
                given[source] += 1;
                for (i, (&given, &weight)) in given.iter().zip(&shares.weights).enumerate() {
                    let ought = (window as i64 + 1) * weight;
                    prop_assert!((ought - given as i64 * shares.round).abs() < shares.round);
                    prop_assert!((of[i] / sum * (window as f64 + 1.0) - given as f64).abs() < 1.00001);
                }
            }
        }

        #[test]
        fn a_walk_from_anywhere_is_the_walk_from_the_start(of in any_shares(), at in 0u64..20_000) {
            let whole = shares(&of).unwrap();
            let expected: Vec<_> = whole.walk(0).skip(at as usize).take(50).collect();
            let fresh = shares(&of).unwrap();
            prop_assert_eq!(&fresh.walk(at).take(50).collect::<Vec<_>>(), &expected);
            let mut given = fresh.given(at);
            for &(source, before) in &expected {
                prop_assert_eq!(given[source], before);
                given[source] += 1;
            }
            prop_assert_eq!(fresh.given(at + 50), given);
        }

        #[test]
        fn what_was_given_adds_up_to_the_windows(of in any_shares(), window in 0u64..1 << 40) {
            let whole = shares(&of[..of.len().min(3)]).unwrap();
            // Rounds of weights with nothing in common are too long to walk far in a test.
            let window = window % (whole.round as u64 * 5).min(3_000_000);
            prop_assert_eq!(whole.given(window).iter().sum::<u64>(), window);
        }
    }

    #[test]
    fn the_order_is_the_same_on_every_machine() {
        assert_eq!(order(&[0.5, 0.3, 0.2], 10), [0, 1, 0, 2, 0, 1, 0, 1, 0, 2]);
        assert_eq!(order(&[2.0, 2.0], 5), [0, 1, 0, 1, 0]);
        assert_eq!(order(&[0.7], 3), [0, 0, 0]);
    }

    #[test]
    fn windows_far_away_are_found_at_once() {
        let shares = shares(&[0.35, 0.25, 0.2, 0.1, 0.0625, 0.0375]).unwrap();
        let given = shares.given(u64::MAX >> 1);
        assert_eq!(given.iter().sum::<u64>(), u64::MAX >> 1);
        // A round of these is 80 windows: no table is needed beyond its first entry.
        assert_eq!((shares.round, shares.table.lock().unwrap().len()), (80, 1));
    }

    #[test]
    fn shares_are_refused_with_their_reason() {
        let says = |of: &[f64]| shares(of).unwrap_err().to_string();
        assert_eq!(
            says(&[1.0, 0.0]),
            "source `a`: a share of 0 is not positive; leave the source out of the mixture"
        );
        assert!(says(&[-1.0]).contains("not positive"));
        assert!(says(&[f64::NAN]).contains("not a number"));
        assert!(says(&[1.0, f64::INFINITY]).contains("not a number"));
        assert!(says(&[1.0, 1e-10]).contains("thousand-millionth"));
        assert!(says(&[]).contains("no source"));
        assert!(shares(&[f64::MAX, f64::MAX, f64::MIN_POSITIVE.max(1e300)]).is_ok());
    }
}

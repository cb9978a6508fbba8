//! Signs of the collapses that reinforcement of base models is known for: length pinned at the cap, repetition, reward
//! gone, entropy gone.

use octo_recipe::{AlarmAction, Alarms};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// What is watched of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Share of responses that were cut off.
    pub clip_ratio: f64,
    /// Share of repeated runs of tokens.
    pub repetition: f64,
    /// Mean score.
    pub score: f64,
    /// Mean entropy of a token's distribution, in nats; `None` where no response was learned from.
    pub entropy: Option<f64>,
}

/// An alarm that has just gone off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    pub action: AlarmAction,
    pub what: String,
}

/// The last steps, and which alarms are on. It is part of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    recent: VecDeque<Seen>,
    /// The best mean score of a window so far.
    best: Option<f64>,
    ringing: BTreeSet<String>,
}

impl History {
    /// Takes note of a step; gives the alarms that go off with it. One that stays on is not given again.
    pub fn see(&mut self, alarms: &Alarms, seen: Seen) -> Vec<Alarm> {
        let window = alarms.window as usize;
        self.recent.push_back(seen);
        while self.recent.len() > window {
            self.recent.pop_front();
        }
        if self.recent.len() < window {
            return Vec::new();
        }
        let mean = |of: fn(&Seen) -> f64| self.recent.iter().map(of).sum::<f64>() / window as f64;
        let (clipped, repeated) = (mean(|s| s.clip_ratio), mean(|s| s.repetition));
        let score = mean(|s| s.score);
        let entropies: Vec<f64> = self.recent.iter().filter_map(|seen| seen.entropy).collect();
        // Not a number where there is none: that is within all bounds.
        let entropy = entropies.iter().sum::<f64>() / entropies.len() as f64;
        let best = self.best.map_or(score, |best| best.max(score));
        self.best = Some(best);
        let over = format!("over the last {window} steps");
        let above = alarms.entropy_ceiling.is_some_and(|ceiling| entropy > ceiling);
        let signs = [
            (
                "length",
                alarms.length,
                clipped >= alarms.length_clip_ratio,
                format!("{:.0} % of the responses ran into the cap {over}", 100.0 * clipped),
            ),
            (
                "repetition",
                alarms.repetition,
                repeated >= alarms.repetition_ratio,
                format!(
                    "{:.0} % of all runs of four tokens had occurred before in their response {over}",
                    100.0 * repeated
                ),
            ),
            (
                "reward",
                alarms.reward,
                best > 0.0 && score <= alarms.reward_fall * best,
                format!("the mean score is {score:.3} {over}, and was {best:.3}"),
            ),
            (
                "entropy",
                alarms.entropy,
                entropy < alarms.entropy_floor || above,
                format!("the entropy of the policy is {entropy:.4} nats a token {over}"),
            ),
        ];
        let mut gone_off = Vec::new();
        for (name, action, is_on, what) in signs {
            if !is_on || action == AlarmAction::Off {
                self.ringing.remove(name);
            } else if self.ringing.insert(name.to_owned()) {
                gone_off.push(Alarm { action, what });
            }
        }
        gone_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Seen = Seen { clip_ratio: 0.1, repetition: 0.0, score: 0.5, entropy: Some(1.0) };

    fn alarms() -> Alarms {
        Alarms {
            window: 2,
            length: AlarmAction::Stop,
            length_clip_ratio: 0.9,
            repetition: AlarmAction::Warn,
            repetition_ratio: 0.5,
            reward: AlarmAction::Stop,
            reward_fall: 0.1,
            entropy: AlarmAction::Warn,
            entropy_floor: 0.01,
            entropy_ceiling: Some(3.0),
        }
    }

    /// What goes off step by step: the first words of each alarm.
    fn told(alarms: &Alarms, steps: &[Seen]) -> Vec<usize> {
        let mut history = History::default();
        steps.iter().map(|seen| history.see(alarms, *seen).len()).collect()
    }

    #[test]
    fn each_collapse_sets_off_its_alarm_once_the_window_is_full_of_it() {
        for collapsed in [
            Seen { clip_ratio: 1.0, ..FINE },
            Seen { repetition: 0.9, ..FINE },
            Seen { score: 0.0, ..FINE },
            Seen { entropy: Some(0.0), ..FINE },
            Seen { entropy: Some(9.0), ..FINE },
        ] {
            let steps = [FINE, FINE, collapsed, collapsed, collapsed];
            let told = told(&alarms(), &steps);
            assert_eq!((told[0], told[1], told.iter().sum::<usize>()), (0, 0, 1), "{collapsed:?} {told:?}");
        }
        assert_eq!(told(&alarms(), &[FINE; 6]), [0; 6]);
    }

    #[test]
    fn steps_without_an_entropy_are_no_sign_of_one() {
        let none = Seen { entropy: None, ..FINE };
        assert_eq!(told(&alarms(), &[none, none, FINE, none]), [0; 4]);
        let low = Seen { entropy: Some(0.0), ..FINE };
        assert_eq!(told(&alarms(), &[FINE, none, low]), [0, 0, 1]);
    }

    #[test]
    fn one_that_is_off_is_silent_and_one_that_came_back_rings_again() {
        let off = Alarms { length: AlarmAction::Off, ..alarms() };
        let pinned = Seen { clip_ratio: 1.0, ..FINE };
        assert_eq!(told(&off, &[pinned; 4]), [0; 4]);
        assert_eq!(told(&alarms(), &[pinned, pinned, FINE, FINE, pinned, pinned]), [0, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn a_run_that_never_scored_has_not_collapsed() {
        assert_eq!(told(&alarms(), &[Seen { score: 0.0, ..FINE }; 5]), [0; 5]);
    }

    #[test]
    fn a_history_goes_through_a_checkpoint() {
        let mut history = History::default();
        history.see(&alarms(), FINE);
        let json = serde_json::to_string(&history).unwrap();
        assert_eq!(serde_json::from_str::<History>(&json).unwrap(), history);
    }
}

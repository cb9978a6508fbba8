//! What a response is worth: rewards of several kinds, weighed and summed, worked out while others are still generated.
//!
//! A reward that cannot be worked out is no 0: its sample is left out of the step, and too many of them stop the run.

mod judge;
mod measures;
mod process;
mod program;

pub use judge::{Judge, Judged};
pub use measures::{cosine, overlong, repetition};

use crate::RlError;
use crate::prompts::Prompt;
use octo_recipe::{Reward, RewardKind};
use octo_verify::{Config, Extraction, Verdict, verify};
use program::ProgramReward;
use regex_automata::meta::Regex;
use std::sync::Arc;

/// A response to be judged.
#[derive(Clone, Debug)]
pub struct Response {
    /// What it answers.
    pub prompt: Arc<Prompt>,
    /// Its text, without what ended it.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// The most tokens it could have had.
    pub cap: usize,
}

/// What a response is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Rating {
    /// The weighed sum.
    pub total: f64,
    /// What each reward said, before its weight; `None` for one that is not for this row.
    pub parts: Vec<Option<f64>>,
}

/// One reward, ready to be used by one thread.
struct Ready {
    weight: f64,
    data_sources: Vec<String>,
    how: How,
}

enum How {
    Verify(Config),
    Format(Regex),
    Overlong(usize),
    Cosine { right: [f64; 2], wrong: [f64; 2] },
    Repetition(usize),
    Program(Box<ProgramReward>),
}

/// All rewards of a recipe, for one thread.
struct Rewards(Vec<Ready>);

/// How answers are looked for.
fn config(boxed_only: bool) -> Config {
    Config { extraction: Extraction { boxed_only, ..Extraction::default() }, ..Config::default() }
}

impl Rewards {
    fn new(rewards: &[Reward]) -> Result<Rewards, RlError> {
        let ready = |reward: &Reward| -> Result<Ready, RlError> {
            let how = match &reward.kind {
                RewardKind::Verify { boxed_only } => How::Verify(config(*boxed_only)),
                RewardKind::Format { pattern } => How::Format(Regex::new(pattern).map_err(|error| {
                    RlError::Pattern { name: reward.name.clone(), reason: error.to_string() }
                })?),
                RewardKind::Overlong { buffer } => How::Overlong(*buffer as usize),
                RewardKind::Cosine { right, wrong } => How::Cosine { right: *right, wrong: *wrong },
                RewardKind::Repetition { ngram } => How::Repetition(*ngram as usize),
                RewardKind::Program(program) => How::Program(Box::new(ProgramReward::new(program.clone()))),
            };
            Ok(Ready { weight: reward.weight, data_sources: reward.data_sources.clone(), how })
        };
        Ok(Rewards(rewards.iter().map(ready).collect::<Result<_, _>>()?))
    }

    /// What a response is worth, or why that cannot be said.
    fn rate(&mut self, response: &Response) -> Result<Rating, String> {
        let mut rating = Rating { total: 0.0, parts: Vec::with_capacity(self.0.len()) };
        for reward in &mut self.0 {
            let applies = is_for(&reward.data_sources, &response.prompt.data_source);
            let value = applies.then(|| reward.how.value(response)).transpose()?;
            rating.total += reward.weight * value.unwrap_or(0.0);
            rating.parts.push(value);
        }
        Ok(rating)
    }
}

/// Whether a reward for these sources is for a row of that one.
fn is_for(data_sources: &[String], data_source: &str) -> bool {
    data_sources.is_empty() || data_sources.iter().any(|source| source == data_source)
}

impl How {
    fn value(&mut self, response: &Response) -> Result<f64, String> {
        let Response { prompt, text, tokens, cap } = response;
        let truth = |is_true: bool| if is_true { 1.0 } else { 0.0 };
        let is_right = |config: &Config| verify(&prompt.answer, text, config).verdict == Verdict::Equal;
        Ok(match self {
            How::Verify(config) => truth(is_right(config)),
            How::Format(pattern) => truth(pattern.is_match(text)),
            How::Overlong(buffer) => overlong(tokens.len(), *cap, *buffer),
            How::Cosine { right, wrong } => {
                cosine(tokens.len(), *cap, if is_right(&config(false)) { *right } else { *wrong })
            }
            How::Repetition(n) => -repetition(tokens, *n),
            How::Program(program) => program.rate(prompt, text)?,
        })
    }
}

/// Looks at every gold answer that a `verify` or `cosine` reward is for: one that is not the same as itself could never be
/// given.
pub(crate) fn check_golds(rewards: &[Reward], prompts: &[Prompt]) -> Result<(), RlError> {
    let verifies =
        |reward: &&Reward| matches!(reward.kind, RewardKind::Verify { .. } | RewardKind::Cosine { .. });
    for reward in rewards.iter().filter(verifies) {
        let config = config(true);
        for prompt in prompts.iter().filter(|prompt| is_for(&reward.data_sources, &prompt.data_source)) {
            let outcome = verify(&prompt.answer, &format!("\\boxed{{{}}}", prompt.answer), &config);
            if outcome.verdict != Verdict::Equal {
                return Err(RlError::Gold {
                    origin: prompt.origin.clone(),
                    gold: prompt.answer.clone(),
                    why: outcome.why,
                });
            }
        }
    }
    Ok(())
}

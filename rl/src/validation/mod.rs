//! What the policy scores on what it is not trained on: rows of prompts, or tasks of `octo-engine eval`.

mod rows;
mod task;

pub(crate) use rows::score;

use crate::RlError;
use crate::metrics::RlMetrics;
use crate::prompts::Making;
use crate::reward::Judge;
use crate::rollout::Sampler;
use crate::run::Device;
use octo_infer::Sampling;
use octo_recipe::{HeldOut, Rl, RlValidation};
use rows::HeldRows;
use task::HeldTask;

/// A set to measure with.
pub(crate) struct Held {
    pub name: String,
    every_steps: u64,
    asked: Asked,
}

enum Asked {
    Rows(HeldRows),
    Task(Box<HeldTask>),
}

/// What a set has come to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    pub name: String,
    /// Mean score of a response.
    pub score: f64,
    /// Mean tokens of the responses that scored; `None` where none did.
    pub length_correct: Option<f64>,
}

/// Scores and lengths of responses, added up.
#[derive(Default)]
struct Sums {
    responses: u64,
    score: f64,
    scored: u64,
    tokens: u64,
}

impl Held {
    /// Reads what a set asks.
    pub fn read(set: &RlValidation, making: &Making<'_>, rl: &Rl) -> Result<Held, RlError> {
        let asked = match &set.asked {
            HeldOut::Prompts(prompts) => Asked::Rows(HeldRows::read(set, prompts, making, rl)?),
            HeldOut::Task { task, data } => {
                Asked::Task(Box::new(HeldTask::read(set, task, data.as_deref(), making.tokenizer)?))
            }
        };
        Ok(Held { name: set.name.clone(), every_steps: set.every_steps, asked })
    }

    /// Whether it is measured after so many steps of all.
    pub fn is_due(&self, done: u64, steps: u64) -> bool {
        done == 0 || done == steps || done.is_multiple_of(self.every_steps)
    }

    /// Tokens of the longest prompt, where nothing else bounds them: no item of a task is left out for its length.
    pub fn longest_prompt(&self) -> u64 {
        match &self.asked {
            Asked::Rows(_) => 0,
            Asked::Task(task) => task.longest_prompt,
        }
    }

    /// Measures the weights as they are.
    pub fn measure(
        &self,
        device: &mut Device,
        sampler: &Sampler,
        judge: &mut Judge,
        rl: &Rl,
        seed: u64,
    ) -> Result<Measured, RlError> {
        // Another seed than rollouts have.
        let seed = !seed;
        let sums = match &self.asked {
            Asked::Rows(rows) => rows.measure(device, sampler, judge, &rl.rewards, seed)?,
            Asked::Task(task) => task.measure(device, sampler, seed)?,
        };
        Ok(sums.means(&self.name))
    }
}

/// Uncut, at a temperature.
fn at(temperature: f64) -> Sampling {
    Sampling { temperature: temperature as f32, top_k: 0, top_p: 1.0, min_p: 0.0 }
}

impl Sums {
    fn add(&mut self, score: f64, tokens: usize) {
        self.responses += 1;
        self.score += score;
        if score > 0.0 {
            self.scored += 1;
            self.tokens += tokens as u64;
        }
    }

    fn means(self, name: &str) -> Measured {
        Measured {
            name: name.to_owned(),
            score: self.score / self.responses.max(1) as f64,
            length_correct: (self.scored > 0).then(|| self.tokens as f64 / self.scored as f64),
        }
    }
}

impl Measured {
    /// Adds it to a step's figures.
    pub fn tell(&self, metrics: &mut RlMetrics) {
        metrics.put(format!("val/test_score/{}", self.name), self.score);
        if let Some(length) = self.length_correct {
            metrics.put(format!("val_response_length/test_length_correct/{}", self.name), length);
        }
    }
}

//! What the policy scores on prompts that it is not trained on.

use crate::RlError;
use crate::metrics::RlMetrics;
use crate::prompts::{Making, Prompt};
use crate::reward::{Judge, Rating, check_golds};
use crate::rollout::{Sample, Sampler, Wanted, roll_out};
use crate::run::Device;
use octo_infer::Sampling;
use octo_recipe::{Reward, RewardKind, Rl, RlValidation};
use octo_rows::Split;
use octo_trainer::Stop;
use std::sync::Arc;

/// A set of prompts to measure with.
pub(crate) struct Held {
    pub name: String,
    pub every_steps: u64,
    prompts: Vec<Arc<Prompt>>,
    samples: u64,
    temperature: f64,
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

impl Held {
    pub fn read(set: &RlValidation, making: &Making<'_>, rl: &Rl) -> Result<Held, RlError> {
        let read = making.read(&set.prompts, Split::HeldOut, set.max_prompts)?;
        check_golds(&rl.rewards, &read.prompts)?;
        Ok(Held {
            name: set.name.clone(),
            every_steps: set.every_steps,
            prompts: read.prompts.into_iter().map(Arc::new).collect(),
            samples: set.samples,
            temperature: set.temperature,
        })
    }

    /// Measures the weights as they are; `None` where the run was asked to stop.
    pub fn measure(
        &self,
        device: &mut Device,
        sampler: &Sampler,
        judge: &mut Judge,
        rewards: &[Reward],
        seed: u64,
        stop: &Stop,
    ) -> Result<Option<Measured>, RlError> {
        let sampling = Sampling { temperature: self.temperature as f32, top_k: 0, top_p: 1.0, min_p: 0.0 };
        let sampler = Sampler { sampling, support: false, ..sampler.clone() };
        let each = self.prompts.iter().flat_map(|prompt| (0..self.samples).map(move |_| prompt));
        // Another seed than rollouts have.
        let wanted: Vec<Wanted> = each
            .enumerate()
            .map(|(i, prompt)| Wanted { prompt: Arc::clone(prompt), seed: !seed, sample: i as u32 })
            .collect();
        let Some(samples) = roll_out(device, &wanted, &sampler, judge, stop)? else { return Ok(None) };
        let scores: Vec<(f64, usize)> =
            samples.iter().map(|sample| (scored(sample, rewards), sample.tokens.len())).collect();
        let lengths: Vec<usize> = scores.iter().filter(|(score, _)| *score > 0.0).map(|(_, n)| *n).collect();
        let correct = lengths.len() as f64;
        Ok(Some(Measured {
            name: self.name.clone(),
            score: scores.iter().map(|(score, _)| score).sum::<f64>() / scores.len().max(1) as f64,
            length_correct: (!lengths.is_empty()).then(|| lengths.iter().sum::<usize>() as f64 / correct),
        }))
    }
}

/// The score of a response that is measured: a failed reward counts as 0 there, so that all responses count.
fn scored(sample: &Sample, rewards: &[Reward]) -> f64 {
    sample.rating.as_ref().map_or(0.0, |rating| score(rating, rewards))
}

/// Whether a response is right, as far as rewards say: the first of those that ask it, or else the sum of all.
pub(crate) fn score(rating: &Rating, rewards: &[Reward]) -> f64 {
    let asks = |reward: &Reward| matches!(reward.kind, RewardKind::Verify { .. } | RewardKind::Program(_));
    let asked = rewards.iter().zip(&rating.parts).filter(|(reward, _)| asks(reward));
    asked.filter_map(|(_, part)| *part).next().unwrap_or(rating.total)
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

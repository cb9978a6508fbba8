//! Rows of prompts, judged by the rewards of the run.

use super::{Sums, at};
use crate::RlError;
use crate::prompts::{Making, Prompt};
use crate::reward::{Judge, Rating, check_golds};
use crate::rollout::{Sampler, Wanted, roll_out};
use crate::run::Device;
use octo_recipe::{Prompts, Reward, RewardKind, Rl, RlValidation};
use octo_rows::Split;
use octo_trainer::Stop;
use std::sync::Arc;

/// Prompts to measure with.
pub(super) struct HeldRows {
    prompts: Vec<Arc<Prompt>>,
    samples: u64,
    temperature: f64,
}

impl HeldRows {
    pub fn read(
        set: &RlValidation,
        prompts: &Prompts,
        making: &Making<'_>,
        rl: &Rl,
    ) -> Result<HeldRows, RlError> {
        let read = making.read(prompts, Split::HeldOut, set.max_prompts)?;
        check_golds(&rl.rewards, &read.prompts)?;
        let prompts = read.prompts.into_iter().map(Arc::new).collect();
        Ok(HeldRows { prompts, samples: set.samples, temperature: set.temperature })
    }

    pub fn measure(
        &self,
        device: &mut Device,
        sampler: &Sampler,
        judge: &mut Judge,
        rewards: &[Reward],
        seed: u64,
    ) -> Result<Sums, RlError> {
        let sampler = Sampler { sampling: at(self.temperature), support: false, ..sampler.clone() };
        let each = self.prompts.iter().flat_map(|prompt| (0..self.samples).map(move |_| prompt));
        let wanted: Vec<Wanted> = each
            .enumerate()
            .map(|(i, prompt)| Wanted { prompt: Arc::clone(prompt), seed, sample: i as u32 })
            .collect();
        let mut sums = Sums::default();
        // Nobody asks this one to stop: a step that is done is measured before its run ends.
        for sample in roll_out(device, &wanted, &sampler, judge, &Stop::default())?.into_iter().flatten() {
            // A failed reward counts as 0 here, so that all responses count.
            sums.add(
                sample.rating.as_ref().map_or(0.0, |rating| score(rating, rewards)),
                sample.tokens.len(),
            );
        }
        Ok(sums)
    }
}

/// Whether a response is right, as far as rewards say: the first of those that ask it, or else the sum of all.
pub(crate) fn score(rating: &Rating, rewards: &[Reward]) -> f64 {
    let asks = |reward: &Reward| matches!(reward.kind, RewardKind::Verify { .. } | RewardKind::Program(_));
    let asked = rewards.iter().zip(&rating.parts).filter(|(reward, _)| asks(reward));
    asked.filter_map(|(_, part)| *part).next().unwrap_or(rating.total)
}

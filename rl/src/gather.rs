//! Which prompts a step draws responses to, and which of them it learns from.

use crate::RlError;
use crate::advantage::has_signal;
use crate::prompts::Prompt;
use crate::reward::Judge;
use crate::rollout::{Sample, Sampler, Wanted, roll_out};
use crate::run::Device;
use octo_recipe::{Order, Rl};
use octo_shards::Permutation;
use octo_trainer::Stop;
use std::sync::Arc;

/// The prompts of a run in the order in which they are asked: a function of (seed, position), anew in each epoch.
pub(crate) struct Asking<'a> {
    pub prompts: &'a [Arc<Prompt>],
    pub order: Order,
    pub seed: u64,
}

impl Asking<'_> {
    /// The prompt at a position of the run, counted over all epochs.
    pub fn at(&self, position: u64) -> &Arc<Prompt> {
        let count = self.prompts.len() as u64;
        let (epoch, within) = (position / count, position % count);
        let index = match self.order {
            Order::Sequential => within,
            Order::Shuffled => Permutation::new(count, self.seed, epoch).at(within),
        };
        &self.prompts[index as usize]
    }
}

/// What a step has drawn.
#[derive(Default)]
pub(crate) struct Gathered {
    /// Samples by prompt, those without a reward left out; no group is empty.
    pub groups: Vec<Vec<Sample>>,
    /// Position behind the last prompt asked.
    pub cursor: u64,
    /// Responses drawn.
    pub drawn: usize,
    /// Those without a reward.
    pub failed: usize,
    /// What one of those failed of.
    pub why: String,
    /// Groups whose rewards did not differ.
    pub without_signal: usize,
    /// Times that prompts were drawn.
    pub rounds: u64,
}

/// Draws responses to the prompts from `cursor` on until a step has its prompts, or as many as its rounds give; `None`
/// where the run was asked to stop meanwhile. Under dynamic sampling (Yu and others, DAPO, 2025, section 3.2) a prompt whose
/// samples are all worth the same gives way to a further one.
pub(crate) fn gather(
    device: &mut Device,
    rl: &Rl,
    asking: &Asking<'_>,
    cursor: u64,
    sampler: &Sampler,
    judge: &mut Judge,
    stop: &Stop,
) -> Result<Option<Gathered>, RlError> {
    let each = rl.samples_per_prompt;
    let mut gathered = Gathered { cursor, ..Gathered::default() };
    while (gathered.groups.len() as u64) < rl.batch_prompts
        && gathered.rounds < rl.dynamic_sampling.unwrap_or(1)
    {
        gathered.rounds += 1;
        let missing = rl.batch_prompts - gathered.groups.len() as u64;
        let positions = gathered.cursor..gathered.cursor + missing;
        let wanted: Vec<Wanted> = positions
            .flat_map(|position| (0..each).map(move |sample| (position, position * each + sample)))
            .map(|(position, number)| Wanted {
                prompt: Arc::clone(asking.at(position)),
                // A number in the run has 64 bits, a sample of a seed 32.
                seed: asking.seed.wrapping_add(number >> 32),
                sample: number as u32,
            })
            .collect();
        let Some(samples) = roll_out(device, &wanted, sampler, judge, stop)? else { return Ok(None) };
        gathered.cursor += missing;
        gathered.take(samples, each as usize, rl.dynamic_sampling.is_some());
    }
    Ok(Some(gathered))
}

impl Gathered {
    /// Takes the samples of whole prompts.
    fn take(&mut self, samples: Vec<Sample>, each: usize, only_with_signal: bool) {
        let mut samples = samples.into_iter();
        loop {
            let group: Vec<Sample> = samples.by_ref().take(each).collect();
            if group.is_empty() {
                return;
            }
            self.drawn += group.len();
            if let Some(why) = group.iter().find_map(|sample| sample.rating.as_ref().err()) {
                self.why.clone_from(why);
            }
            let rated: Vec<Sample> = group.into_iter().filter(|sample| sample.rating.is_ok()).collect();
            self.failed += each - rated.len();
            let rewards: Vec<f64> =
                rated.iter().filter_map(|sample| sample.rating.as_ref().ok()).map(|r| r.total).collect();
            let signal = has_signal(&rewards);
            self.without_signal += usize::from(!signal);
            if !rated.is_empty() && (signal || !only_with_signal) {
                self.groups.push(rated);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::Rating;
    use octo_rows::Origin;
    use serde_json::Value;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn prompts(count: u64) -> Vec<Arc<Prompt>> {
        let prompt = |line| Prompt {
            text: format!("{line}"),
            tokens: vec![1],
            answer: String::new(),
            data_source: String::new(),
            extra_info: Value::Null,
            origin: Origin { file: Path::new("f").into(), line },
        };
        (0..count).map(|line| Arc::new(prompt(line))).collect()
    }

    #[test]
    fn every_epoch_asks_every_prompt_once_in_an_order_of_its_own() {
        let prompts = prompts(23);
        let asking = Asking { prompts: &prompts, order: Order::Shuffled, seed: 3 };
        let epoch = |e: u64| (e * 23..(e + 1) * 23).map(|p| asking.at(p).origin.line).collect::<Vec<_>>();
        for e in 0..3 {
            assert_eq!(epoch(e).into_iter().collect::<BTreeSet<_>>().len(), 23);
        }
        assert_ne!(epoch(0), epoch(1));
        let in_order = Asking { order: Order::Sequential, ..asking };
        assert_eq!((in_order.at(24).origin.line, in_order.at(0).origin.line), (1, 0));
    }

    fn sample(rating: Result<f64, &str>) -> Sample {
        Sample {
            prompt: Arc::clone(&prompts(1)[0]),
            tokens: vec![1],
            logprobs: vec![-1.0],
            supports: None,
            text: String::new(),
            truncated: false,
            rating: rating.map(|total| Rating { total, parts: Vec::new() }).map_err(str::to_owned),
        }
    }

    #[test]
    fn failed_samples_are_left_out_and_counted_and_groups_alike_only_under_dynamic_sampling() {
        let drawn = || {
            [Ok(1.0), Ok(0.0), Ok(1.0), Ok(1.0), Err("x"), Ok(0.5), Err("y"), Err("z")].map(sample).to_vec()
        };
        let mut all = Gathered::default();
        all.take(drawn(), 2, false);
        assert_eq!(all.groups.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!((all.drawn, all.failed, all.without_signal), (8, 3, 3));
        assert!(["y", "z"].contains(&all.why.as_str()));
        let mut lively = Gathered::default();
        lively.take(drawn(), 2, true);
        assert_eq!(lively.groups.len(), 1);
    }
}

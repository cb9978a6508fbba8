//! Where a step of the run stands: in which stage, at which learning rate, after how many tokens.

use crate::recipe::{Data, Device, Moments, Recipe, Recompute, Source, Weights};

impl Recipe {
    /// The source of this name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// Optimizer steps of all stages; of an RL recipe, its rollout steps.
    #[must_use]
    pub fn total_steps(&self) -> u64 {
        if let Some(rl) = &self.rl {
            return rl.steps;
        }
        self.stages.iter().fold(0, |sum, stage| sum.saturating_add(stage.schedule.steps))
    }

    /// The stage of a step of the run, by its number in [`Recipe::stages`], and the step within it. Everything is
    /// counted from 0. A step past the last lies behind the end of the last stage.
    #[must_use]
    pub fn at(&self, step: u64) -> (usize, u64) {
        let last = self.stages.len().saturating_sub(1);
        let mut within = step;
        for (index, stage) in self.stages.iter().enumerate() {
            if within < stage.schedule.steps || index == last {
                return (index, within);
            }
            within -= stage.schedule.steps;
        }
        (last, within)
    }

    /// The learning rate of a step of the run, counted from 0.
    #[must_use]
    pub fn lr(&self, step: u64) -> f64 {
        let (stage, within) = self.at(step);
        self.stages.get(stage).map_or(0.0, |stage| stage.schedule.lr(within))
    }

    /// Tokens of the first `steps` steps of the run, skipped ones included.
    #[must_use]
    pub fn consumed_tokens(&self, steps: u64) -> u64 {
        let mut left = steps;
        let mut tokens = 0u64;
        for stage in &self.stages {
            let taken = left.min(stage.schedule.steps);
            tokens = tokens.saturating_add(taken.saturating_mul(stage.batch_tokens));
            left -= taken;
        }
        tokens
    }

    /// Takes from the recipe that a run was begun with what this one leaves to the machine: what `auto` came to
    /// then stays, wherever the run is continued.
    pub fn keep_resolved(&mut self, begun: &Recipe) {
        if self.run.device == Device::Auto {
            self.run.device = begun.run.device;
        }
        if self.model.weights == Weights::Auto {
            self.model.weights = begun.model.weights;
        }
        if self.memory.recompute == Recompute::Auto {
            self.memory.recompute = begun.memory.recompute;
        }
        if self.optimizer.moments == Moments::Auto {
            self.optimizer.moments = begun.optimizer.moments;
        }
    }
}

impl Data {
    /// Whether the recipe leaves out a step of the run, counted from 0.
    #[must_use]
    pub fn skips(&self, step: u64) -> bool {
        let Some(number) = step.checked_add(1) else { return false };
        let at = self.skip_steps.partition_point(|range| *range.end() < number);
        self.skip_steps.get(at).is_some_and(|range| range.contains(&number))
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::{FULL, load};
    use crate::recipe::{Device, Moments, Recipe, Recompute, Weights};

    /// 184 steps of 8192 tokens, then 40 of 4096.
    fn recipe() -> Recipe {
        load(FULL).unwrap()
    }

    #[test]
    fn each_step_stands_in_its_stage_and_has_its_rate() {
        let recipe = recipe();
        assert_eq!(recipe.total_steps(), 224);
        for (step, at) in [(0, (0, 0)), (183, (0, 183)), (184, (1, 0)), (223, (1, 39)), (300, (1, 116))] {
            assert_eq!(recipe.at(step), at);
            assert_eq!(recipe.lr(step), recipe.stages[at.0].schedule.lr(at.1), "step {step}");
        }
        assert_eq!((recipe.lr(183), recipe.lr(184), recipe.lr(223)), (1e-5, 1e-3, 1e-4));
    }

    #[test]
    fn tokens_are_counted_by_the_batch_of_each_stage() {
        let recipe = recipe();
        for (steps, tokens) in [
            (0, 0),
            (1, 8192),
            (184, 184 * 8192),
            (185, 184 * 8192 + 4096),
            (u64::MAX, 184 * 8192 + 40 * 4096),
        ] {
            assert_eq!(recipe.consumed_tokens(steps), tokens);
        }
    }

    #[test]
    fn steps_are_skipped_by_their_numbers_from_one() {
        let data = recipe().data;
        let skipped: Vec<u64> = (0..2000).filter(|step| data.skips(*step)).map(|step| step + 1).collect();
        let wanted: Vec<u64> = [7].into_iter().chain(100..=103).chain(1000..=1010).collect();
        assert_eq!(skipped, wanted);
        assert!(!data.skips(u64::MAX));
    }

    #[test]
    fn what_auto_came_to_is_kept_and_what_was_said_is_not() {
        let mut begun = recipe();
        (begun.run.device, begun.model.weights) = (Device::Cuda, Weights::Bf16);
        (begun.memory.recompute, begun.optimizer.moments) = (Recompute::Ffn, Moments::Bf16);
        let mut again = begun.clone();
        (again.run.device, again.model.weights) = (Device::Auto, Weights::Auto);
        (again.memory.recompute, again.optimizer.moments) = (Recompute::Auto, Moments::Auto);
        again.keep_resolved(&begun);
        assert_eq!(again, begun);
        (again.run.device, again.optimizer.moments) = (Device::Cpu, Moments::F32);
        again.keep_resolved(&begun);
        assert_eq!((again.run.device, again.optimizer.moments), (Device::Cpu, Moments::F32));
    }
}

//! Where a step of the run stands: in which stage, at which learning rate, after how many tokens.

use crate::recipe::{Data, Device, Recipe, Source, Weights};

impl Recipe {
    /// The source of this name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// Optimizer steps of all stages.
    #[must_use]
    pub fn total_steps(&self) -> u64 {
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

//! What a recipe comes to before anything runs: steps, tokens, passes over each source, learning rates.

use crate::recipe::{Recipe, Share, Stage};
use crate::schedule::{Schedule, Shape};

/// Into how many parts the points of a curve cut the steps after the warm-up.
const CURVE_PARTS: u64 = 8;

/// What a recipe comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Optimizer steps of all stages.
    pub steps: u64,
    /// Tokens of all stages.
    pub tokens: u64,
    /// Each stage, in order.
    pub stages: Vec<StagePlan>,
    /// Each source that some stage draws from, over all stages.
    pub sources: Vec<SourcePlan>,
}

/// What a stage comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct StagePlan {
    /// Its name.
    pub name: String,
    /// Its first step, counted from 0 over the whole run.
    pub first_step: u64,
    /// Its optimizer steps.
    pub steps: u64,
    /// Its tokens.
    pub tokens: u64,
    /// What it draws from, as in its mixture.
    pub sources: Vec<SourcePlan>,
    /// The learning rate of its first step.
    pub start_lr: f64,
    /// The highest learning rate.
    pub peak_lr: f64,
    /// The learning rate of its last step.
    pub end_lr: f64,
    /// Steps, counted from 0 over the whole run, with their learning rates: few, from the first to the last, and
    /// enough to draw the curve.
    pub curve: Vec<(u64, f64)>,
}

/// What is drawn from a source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// Its part of the tokens of the stage or of the run.
    pub share: f64,
    /// Tokens drawn, rounded.
    pub tokens: u64,
    /// How many times that is the whole source; `None` where its size is not known or nothing.
    pub passes: Option<f64>,
}

/// What `recipe` comes to, where `source_tokens` says how many tokens a source has if that is known.
#[must_use]
pub fn plan(recipe: &Recipe, source_tokens: impl Fn(&str) -> Option<u64>) -> Plan {
    let mut first_step = 0;
    let mut stages = Vec::new();
    for stage in &recipe.stages {
        stages.push(stage_plan(stage, first_step, &source_tokens));
        first_step += stage.schedule.steps;
    }
    let tokens = recipe.consumed_tokens(u64::MAX);
    let drawn = |name: &str| -> Option<SourcePlan> {
        let parts = stages.iter().flat_map(|stage| &stage.sources).filter(|source| source.name == name);
        let sum = parts.map(|source| source.tokens).reduce(u64::saturating_add)?;
        let share = sum as f64 / tokens.max(1) as f64;
        Some(source_plan(name, share, sum, &source_tokens))
    };
    let sources = recipe.sources.iter().filter_map(|source| drawn(&source.name)).collect();
    Plan { steps: recipe.total_steps(), tokens, stages, sources }
}

fn stage_plan(stage: &Stage, first_step: u64, source_tokens: &impl Fn(&str) -> Option<u64>) -> StagePlan {
    let schedule = &stage.schedule;
    let tokens = schedule.steps.saturating_mul(stage.batch_tokens);
    let drawn = |share: &Share| {
        let drawn = (tokens as f64 * share.share).round() as u64;
        source_plan(&share.source, share.share, drawn, source_tokens)
    };
    let points = points(schedule);
    let rates = points.iter().map(|step| schedule.lr(*step));
    StagePlan {
        name: stage.name.clone(),
        first_step,
        steps: schedule.steps,
        tokens,
        sources: stage.mixture.iter().map(drawn).collect(),
        start_lr: schedule.lr(0),
        // Rates rise, if at all, up to one of the points.
        peak_lr: rates.clone().fold(0.0, f64::max),
        end_lr: schedule.lr(schedule.steps.saturating_sub(1)),
        curve: points.iter().map(|step| first_step + step).zip(rates).collect(),
    }
}

fn source_plan(
    name: &str,
    share: f64,
    tokens: u64,
    source_tokens: &impl Fn(&str) -> Option<u64>,
) -> SourcePlan {
    let whole = source_tokens(name).filter(|whole| *whole > 0);
    SourcePlan {
        name: name.to_owned(),
        share,
        tokens,
        passes: whole.map(|whole| tokens as f64 / whole as f64),
    }
}

/// The steps of a stage at which its curve bends or is sampled.
fn points(schedule: &Schedule) -> Vec<u64> {
    let last = schedule.steps.saturating_sub(1);
    let warm = schedule.warmup_steps.min(last);
    let after = last - warm;
    let sampled = (0..=CURVE_PARTS)
        .map(|part| warm + (u128::from(after) * u128::from(part) / u128::from(CURVE_PARTS)) as u64);
    let mut points = vec![0, schedule.warmup_steps.saturating_sub(1).min(last)];
    points.extend(sampled);
    points.sort_unstable();
    points.dedup();
    if schedule.shape == Shape::Constant {
        // Flat between the end of the warm-up and the last step.
        points.retain(|step| *step <= warm || *step == last);
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{FULL, load};

    #[test]
    fn a_plan_says_what_each_stage_comes_to() {
        let tokens = |name: &str| (name == "gsm8k").then_some(1_000_000);
        insta::assert_debug_snapshot!(plan(&load(FULL).unwrap(), tokens));
    }

    #[test]
    fn a_curve_goes_from_the_first_to_the_last_step_and_misses_neither_bend_nor_peak() {
        for shape in [Shape::Constant, Shape::Linear, Shape::Cosine, Shape::OneMinusSqrt] {
            for (warmup_steps, steps) in
                [(0, 1), (1, 1), (0, 2), (3, 5), (5, 5), (2000, 50_000), (0, u64::MAX >> 1)]
            {
                let final_lr = if shape == Shape::Constant { 1e-3 } else { 1e-4 };
                let schedule = Schedule { shape, lr: 1e-3, final_lr, warmup_steps, steps };
                let points = points(&schedule);
                assert!(points.is_sorted_by(|a, b| a < b) && points.len() <= 11, "{points:?}");
                assert_eq!((points[0], points[points.len() - 1]), (0, steps - 1));
                let highest = points.iter().map(|step| schedule.lr(*step)).fold(0.0, f64::max);
                let all = (0..steps.min(50_000)).map(|step| schedule.lr(step)).fold(0.0, f64::max);
                assert_eq!(highest, all, "{shape:?} {warmup_steps} of {steps}");
            }
        }
    }

    #[test]
    fn a_source_of_unknown_size_has_no_passes() {
        for tokens in [None, Some(0)] {
            let plan = plan(&load(FULL).unwrap(), |_| tokens);
            assert!(plan.sources.iter().all(|source| source.passes.is_none()));
        }
    }
}

//! The figures of a step, and where its time went.

use crate::gather::Gathered;
use crate::learn::{Learned, Lesson};
use crate::metrics::RlMetrics;
use crate::reward::repetition;
use crate::rollout::Sampler;
use crate::validation::score;
use octo_recipe::Rl;
use std::time::Instant;

/// Tokens of the runs by which repetition is told.
const RUN: usize = 4;

/// Seconds by what they were spent on.
pub(crate) struct Clock {
    began: Instant,
    last: Instant,
    laps: Vec<(&'static str, f64)>,
}

impl Clock {
    pub fn start() -> Clock {
        let now = Instant::now();
        Clock { began: now, last: now, laps: Vec::new() }
    }

    /// What the time since the last lap was spent on.
    pub fn lap(&mut self, what: &'static str) {
        let now = Instant::now();
        self.laps.push((what, now.duration_since(self.last).as_secs_f64()));
        self.last = now;
    }

    /// Adds the time fields.
    pub fn tell(self, metrics: &mut RlMetrics, tokens: u64) {
        for (what, seconds) in self.laps {
            metrics.put(format!("timing_s/{what}"), seconds);
        }
        let whole = self.began.elapsed().as_secs_f64();
        metrics.put("timing_s/step", whole);
        metrics.put("perf/total_num_tokens", tokens as f64);
        metrics.put("perf/time_per_step", whole);
        metrics.put("perf/throughput", tokens as f64 / whole);
        metrics.tokens_per_sec = tokens as f64 / whole;
    }
}

/// Adds what a step has come to.
pub(crate) fn step(
    metrics: &mut RlMetrics,
    rl: &Rl,
    sampler: &Sampler,
    gathered: &Gathered,
    lessons: &[Lesson],
    learned: &Learned,
) {
    rewards(metrics, rl, gathered, lessons);
    lengths(metrics, sampler, lessons);
    actor(metrics, rl, learned);
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn rewards(metrics: &mut RlMetrics, rl: &Rl, gathered: &Gathered, lessons: &[Lesson]) {
    let ratings: Vec<_> = lessons.iter().filter_map(|lesson| lesson.sample.rating.as_ref().ok()).collect();
    let scores: Vec<f64> = ratings.iter().map(|rating| score(rating, &rl.rewards)).collect();
    let totals: Vec<f64> = ratings.iter().map(|rating| rating.total).collect();
    let advantages: Vec<f64> = lessons.iter().flat_map(|lesson| lesson.advantages.iter().copied()).collect();
    metrics.spread("critic/score", &scores);
    metrics.spread("critic/rewards", &totals);
    metrics.spread("critic/advantages", &advantages);
    for (number, reward) in rl.rewards.iter().enumerate() {
        let parts: Vec<f64> = ratings.iter().filter_map(|rating| rating.parts[number]).collect();
        metrics.put(format!("reward/{}/mean", reward.name), mean(&parts));
    }
    metrics.put("reward/failed_ratio", gathered.failed as f64 / gathered.drawn.max(1) as f64);
    let asked = gathered.groups.len().max(1) as f64;
    metrics.put("rollout/prompts", gathered.groups.len() as f64);
    if rl.dynamic_sampling.is_some() {
        metrics.put("rollout/rounds", gathered.rounds as f64);
        metrics.put("rollout/prompts_left_out", gathered.without_signal as f64);
    } else {
        metrics.put("rollout/zero_std_ratio", gathered.without_signal as f64 / asked);
    }
}

fn lengths(metrics: &mut RlMetrics, sampler: &Sampler, lessons: &[Lesson]) {
    let of = |length: fn(&Lesson) -> usize| lessons.iter().map(|l| length(l) as f64).collect::<Vec<f64>>();
    metrics.spread("response_length", &of(|lesson| lesson.sample.tokens.len()));
    metrics.put("response_length/clip_ratio", mean(&of(|lesson| usize::from(lesson.sample.truncated))));
    metrics.put("response_length/cap", sampler.cap as f64);
    metrics.spread("prompt_length", &of(|lesson| lesson.sample.prompt.tokens.len()));
    let repeated: Vec<f64> = lessons.iter().map(|lesson| repetition(&lesson.sample.tokens, RUN)).collect();
    metrics.put("rollout/repetition", mean(&repeated));
}

fn actor(metrics: &mut RlMetrics, rl: &Rl, learned: &Learned) {
    let (figures, updates) = (&learned.figures, learned.updates as f64);
    let tokens = figures.tokens as f64;
    // A mean over updates, as each is a mean over its own tokens.
    let loss = figures.policy_loss / updates;
    metrics.put("actor/pg_loss", loss);
    metrics.loss = loss.is_finite().then_some(loss);
    metrics.lr = learned.lr;
    if rl.kl.coefficient > 0.0 {
        metrics.put("actor/kl_loss", figures.kl_loss / updates);
        metrics.put("actor/kl_coef", rl.kl.coefficient);
    }
    metrics.put("actor/entropy", figures.entropy / tokens);
    metrics.put("actor/ppo_kl", figures.ppo_kl / tokens);
    metrics.put("actor/pg_clipfrac", figures.clipped as f64 / tokens);
    metrics.put("actor/pg_clipfrac_lower", figures.dual_clipped as f64 / tokens);
    metrics.put("actor/grad_norm", learned.grad_norm / updates);
    metrics.put("actor/lr", learned.lr);
    metrics.put("rollout_corr/is_weight_mean", figures.importance / tokens);
    let on_policy = &learned.on_policy;
    let tokens = on_policy.tokens as f64;
    metrics.put(
        "training/rollout_probs_diff_max",
        if tokens > 0.0 { on_policy.probs_diff_max } else { f64::NAN },
    );
    metrics.put("training/rollout_probs_diff_mean", on_policy.probs_diff / tokens);
    metrics.put("training/first_minibatch_ppo_kl", on_policy.ppo_kl / tokens);
}

//! What is looked at after a step: failed rewards, signs of collapse, samples for people.

use super::Run;
use crate::RlError;
use crate::alarms::Seen;
use crate::gather::Gathered;
use crate::learn::Lesson;
use crate::metrics::RlMetrics;
use crate::validation::score;
use octo_recipe::AlarmAction;
use serde::Serialize;

impl Run<'_> {
    /// Stops the run where too many rewards have failed.
    pub(super) fn check_failures(&mut self, step: u64, gathered: &Gathered) -> Result<(), RlError> {
        let Gathered { failed, drawn, why, .. } = gathered;
        if *failed as f64 <= self.rl.max_failure_rate * *drawn as f64 {
            return Ok(());
        }
        self.save(step, false)?;
        self.keeper.wait()?;
        Err(RlError::Failures { step: step + 1, failed: *failed, all: *drawn, why: why.clone() })
    }

    /// Rings the alarms of a step.
    pub(super) fn watch(&mut self, done: u64, metrics: &RlMetrics) -> Result<(), RlError> {
        let Some(score) = metrics.get("critic/score/mean") else {
            // Dynamic sampling has found nothing to learn from, which says nothing of the responses.
            let note =
                format!("step {done}: no prompt had samples that differ in reward; nothing was learned");
            self.watcher.note(&note);
            return Ok(());
        };
        let figure = |name: &str| metrics.get(name).unwrap_or(0.0);
        let seen = Seen {
            clip_ratio: figure("response_length/clip_ratio"),
            repetition: figure("rollout/repetition"),
            score,
            entropy: metrics.get("actor/entropy"),
        };
        for alarm in self.state.alarms.see(&self.rl.alarms, seen) {
            match alarm.action {
                AlarmAction::Stop => {
                    self.save(done, false)?;
                    self.keeper.wait()?;
                    let before = done.saturating_sub(self.rl.alarms.window);
                    let dir = &self.recipe.run.dir;
                    let name = dir.file_name().unwrap_or_default().to_string_lossy();
                    let seed = self.seed.wrapping_add(1);
                    return Err(RlError::Collapse {
                        step: done,
                        what: alarm.what,
                        from: self.keeper.checkpoint_at(before)?,
                        seed,
                        dir: dir.with_file_name(format!("{name}-seed-{seed}")),
                    });
                }
                _ => self.watcher.note(&format!("step {done}: alarm: {}", alarm.what)),
            }
        }
        Ok(())
    }

    /// Writes the first samples of a step.
    pub(super) fn tell_samples(&mut self, done: u64, lessons: &[Lesson]) -> Result<(), RlError> {
        #[derive(Serialize)]
        struct Line<'a> {
            step: u64,
            data_source: &'a str,
            prompt: &'a str,
            response: &'a str,
            ground_truth: &'a str,
            score: f64,
            reward: f64,
            advantage: f64,
            tokens: usize,
            truncated: bool,
        }
        for Lesson { sample, advantages, .. } in lessons.iter().take(self.rl.samples_per_step as usize) {
            let Ok(rating) = &sample.rating else { continue };
            self.keeper.sample(&Line {
                step: done,
                data_source: &sample.prompt.data_source,
                prompt: &sample.prompt.text,
                response: &sample.text,
                ground_truth: &sample.prompt.answer,
                score: score(rating, &self.rl.rewards),
                reward: rating.total,
                advantage: advantages.first().copied().unwrap_or(0.0),
                tokens: sample.tokens.len(),
                truncated: sample.truncated,
            })?;
        }
        Ok(())
    }
}

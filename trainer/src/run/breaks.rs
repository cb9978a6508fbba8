//! What happens between two steps: figures, held-out losses, samples, checkpoints.

use super::{Pending, Run};
use crate::{StepMetrics, TrainError, samples};
use octo_model::StepReport;
use octo_recipe::OnNonFinite;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

impl Run<'_> {
    /// Whether something is measured, drawn or written after this step, so that its figures are waited for.
    pub(super) fn has_a_break_after(&self, step: u64) -> bool {
        let last = step + 1 == self.recipe.total_steps();
        let validates = self.held_out.iter().any(|set| (step + 1).is_multiple_of(set.every_steps));
        last || validates || self.samples_after(step) || self.saves_after(step) || self.is_milestone(step)
    }

    fn samples_after(&self, step: u64) -> bool {
        let last = step + 1 == self.recipe.total_steps();
        self.recipe.samples.as_ref().is_some_and(|s| last || (step + 1).is_multiple_of(s.every_steps))
    }

    fn saves_after(&self, step: u64) -> bool {
        let c = &self.recipe.checkpoints;
        let last = step + 1 == self.recipe.total_steps();
        let by_steps = c.every_steps.is_some_and(|every| (step + 1).is_multiple_of(every));
        let by_tokens = self.passes_multiple(step, c.every_tokens);
        let minutes = |every: f64| self.saved_at.elapsed() >= Duration::from_secs_f64(every * 60.0);
        let by_time = c.every_minutes.is_some_and(minutes) && !self.saver.is_writing();
        last || by_steps || by_tokens || by_time
    }

    /// Whether a model that stays for ever is written after this step.
    fn is_milestone(&self, step: u64) -> bool {
        let c = &self.recipe.checkpoints;
        self.passes_multiple(step, c.milestones) || self.passes_multiple(step, c.milestone_state)
    }

    /// Whether this step takes the tokens trained on past a multiple of so many.
    fn passes_multiple(&self, step: u64, every: Option<u64>) -> bool {
        let tokens = |done| self.recipe.consumed_tokens(done);
        every.is_some_and(|every| tokens(step + 1) / every != tokens(step) / every)
    }

    /// Ends a step, or one that was left out: its figures, held-out losses, samples, checkpoints.
    pub(super) fn pause(&mut self, step: u64, pending: Option<Pending>) -> Result<(), TrainError> {
        let last = step + 1 == self.recipe.total_steps();
        let saves = self.saves_after(step);
        if let (Some(pending), Some(report)) = (pending, self.ready.trainer.finish(&mut self.ready.queue)?) {
            let mut validation = BTreeMap::new();
            if !report.halted {
                for set in &mut self.held_out {
                    if last || (step + 1).is_multiple_of(set.every_steps) {
                        let loss = set.measure(&mut self.ready.queue, &mut self.ready.trainer)?;
                        self.observer.validation(step + 1, &set.name, loss);
                        validation.insert(format!("val_loss/{}", set.name), loss);
                    }
                }
            }
            self.tell(pending, report, validation)?;
        }
        if self.samples_after(step) {
            self.sample(step + 1)?;
        }
        let milestone = self.is_milestone(step).then(|| {
            // With its state where both fall together.
            self.passes_multiple(step, self.recipe.checkpoints.milestone_state)
        });
        if saves || milestone.is_some() { self.save(step + 1, saves, milestone) } else { Ok(()) }
    }

    /// Writes a step's figures. One whose loss or gradient is not finite stops the run or, where the recipe says
    /// so, is left out and put on record.
    pub(super) fn tell(
        &mut self,
        step: Pending,
        report: StepReport,
        validation: BTreeMap<String, f64>,
    ) -> Result<(), TrainError> {
        let number = step.step + 1;
        if report.halted {
            let error = TrainError::NotFinite {
                step: number,
                loss: report.loss,
                grad_norm: report.grad_norm,
                documents: self.stream.documents(step.step, &step.data),
            };
            return match self.recipe.data.on_nonfinite {
                OnNonFinite::Skip { at_most } if self.skipped < at_most => {
                    self.skipped += 1;
                    self.observer.note(&format!("left out ({} of at most {at_most}): {error}", self.skipped));
                    self.folder.left_out(number, &error.to_string())
                }
                _ => Err(error),
            };
        }
        let stage = &self.recipe.stages[self.recipe.at(step.step).0];
        let metrics = StepMetrics {
            step: number,
            total_steps: self.recipe.total_steps(),
            consumed_tokens: self.recipe.consumed_tokens(number),
            lm_loss: report.loss,
            lr: step.lr,
            grad_norm: report.grad_norm,
            tokens_per_sec: stage.batch_tokens as f64 / step.took.as_secs_f64(),
            sources: self.stream.source_losses(step.step, &step.data, &report.source_losses),
            validation,
            ..StepMetrics::default()
        };
        self.last = Some(report.loss);
        self.folder.metrics(&metrics)?;
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.step(&metrics, SystemTime::now())?;
        }
        self.observer.step(&metrics);
        Ok(())
    }

    fn sample(&mut self, step: u64) -> Result<(), TrainError> {
        let (Some(wanted), Some(session)) = (&self.recipe.samples, &mut self.ready.session) else {
            return Ok(());
        };
        let (queue, net) = (&mut self.ready.queue, self.ready.trainer.net());
        let texts = samples::draw(queue, net, session, &self.named.tokenizer, &self.recipe, wanted)?;
        for (prompt, text) in wanted.prompts.iter().zip(&texts) {
            self.folder.sample(step, prompt, text)?;
            self.observer.sample(step, prompt, text);
        }
        Ok(())
    }
}

//! Validation on the way, and the best model by it.

use super::{Best, Run};
use crate::RlError;
use crate::metrics::RlMetrics;

impl Run<'_> {
    /// Measures the sets that are due after so many steps. A step that is done is measured before the run stops: its line of
    /// figures is then what it always is.
    pub(super) fn validate(&mut self, done: u64, metrics: &mut RlMetrics) -> Result<(), RlError> {
        let sampler = self.sampler(done.saturating_sub(1));
        let mut measured = Vec::new();
        for set in self.held.iter().filter(|set| set.is_due(done, self.rl.steps)) {
            let found = set.measure(&mut self.device, &sampler, &mut self.judge, self.rl, self.seed)?;
            found.tell(metrics);
            let length =
                found.length_correct.map(|n| format!(", {n:.0} tokens where right")).unwrap_or_default();
            self.watcher.note(&format!("step {done}: {}: score {:.4}{length}", found.name, found.score));
            measured.push(found);
        }
        self.measured = measured;
        Ok(())
    }

    /// Whether the model after so many steps is the best on the set that decides.
    pub(super) fn is_better(&self, done: u64) -> bool {
        let best = self.rl.keep_best.as_ref();
        let found = self.measured.iter().find(|set| Some(&set.name) == best);
        let set = self.held.iter().find(|set| Some(&set.name) == best);
        // What was measured last may be older.
        set.is_some_and(|set| set.is_due(done, self.rl.steps))
            && found.is_some_and(|found| self.state.best.is_none_or(|best| found.score > best.score))
    }

    /// Keeps the model after so many steps, and lets go of the one before.
    pub(super) fn keep_best(&mut self, done: u64) -> Result<(), RlError> {
        let found = self.measured.iter().find(|set| Some(&set.name) == self.rl.keep_best.as_ref());
        let Some(score) = found.map(|set| set.score) else { return Ok(()) };
        let before = self.state.best.replace(Best { step: done, score });
        self.save(done, true)?;
        if let Some(before) = before {
            // The new one is whole before the old one goes.
            self.keeper.wait()?;
            self.keeper.forget_milestone(before.step)?;
        }
        Ok(())
    }
}

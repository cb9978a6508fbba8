//! All that tells of a run while it goes on, beside `metrics.jsonl`: TensorBoard, `status.json`, sinks.

use crate::sinks::{SinkReport, Sinks};
use crate::status::{Pace, RunState, Status, StatusFile};
use crate::tensorboard::TensorBoard;
use crate::{Figures, TrainError};
use octo_durable::Fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where a run stands when its telemetry begins.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// Optimizer steps taken before: 0, or those of the checkpoint that is resumed.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Tokens trained on before.
    pub consumed_tokens: u64,
    /// Name of the stage that is on.
    pub stage: String,
    /// The checkpoint that is resumed, and its step.
    pub checkpoint: Option<(PathBuf, u64)>,
    /// Whether TensorBoard events are written.
    pub tensorboard: bool,
}

/// Tells of a run. The caller says what time it is, with every call.
pub struct Telemetry<'fs> {
    /// Where the recipe wants it.
    tensorboard: Option<TensorBoard>,
    status: Status,
    file: StatusFile<'fs>,
    pace: Pace,
    sinks: Sinks,
}

impl<'fs> Telemetry<'fs> {
    /// Begins an event file and `status.json` in the run's folder, which exists, and starts the sinks.
    ///
    /// # Errors
    /// [`TrainError::Durable`] for what the system refuses, [`TrainError::Sink`].
    pub fn begin(
        fs: &'fs dyn Fs,
        folder: &Path,
        sinks: &[Vec<String>],
        at: Beginning,
        now: SystemTime,
    ) -> Result<Telemetry<'fs>, TrainError> {
        let begin = || TensorBoard::begin(fs, folder, at.step + 1, seconds(now));
        let tensorboard = at.tensorboard.then(begin).transpose()?;
        let status = Status {
            step: at.step,
            total_steps: at.total_steps,
            stage: at.stage,
            consumed_tokens: at.consumed_tokens,
            last_checkpoint: at.checkpoint,
            ..Status::default()
        };
        let mut file = StatusFile::new(fs, folder.join("status.json"), std::process::id());
        file.tell(&status, now)?;
        let mut pace = Pace::default();
        pace.step(at.step, now);
        Ok(Telemetry { tensorboard, status, file, pace, sinks: Sinks::start(sinks, folder)? })
    }

    /// A step's figures are known.
    ///
    /// # Errors
    /// [`TrainError::Durable`] for what the system refuses.
    pub fn step(&mut self, figures: &dyn Figures, now: SystemTime) -> Result<(), TrainError> {
        self.sinks.send(figures);
        if let Some(tensorboard) = &mut self.tensorboard {
            tensorboard.step(figures, seconds(now))?;
        }
        let (step, total_steps) = (figures.step(), figures.total_steps());
        self.pace.step(step, now);
        self.status.step = step;
        self.status.total_steps = total_steps;
        self.status.consumed_tokens = figures.consumed_tokens();
        self.status.loss = figures.loss();
        self.status.lr = Some(figures.lr());
        self.status.tokens_per_sec = Some(figures.tokens_per_sec());
        self.status.eta = self.pace.time_for(total_steps.saturating_sub(step));
        self.tell(now)
    }

    /// A stage begins.
    ///
    /// # Errors
    /// As [`Telemetry::step`].
    pub fn stage(&mut self, name: &str, now: SystemTime) -> Result<(), TrainError> {
        name.clone_into(&mut self.status.stage);
        self.tell(now)
    }

    /// A checkpoint is being written.
    ///
    /// # Errors
    /// As [`Telemetry::step`].
    pub fn saving(&mut self, now: SystemTime) -> Result<(), TrainError> {
        self.status.state = RunState::Saving;
        self.tell(now)
    }

    /// What was being written is whole: a checkpoint, which is now the newest, or only a milestone. What
    /// TensorBoard was told up to now then lasts as long as it does.
    ///
    /// # Errors
    /// As [`Telemetry::step`].
    pub fn saved(&mut self, checkpoint: Option<(&Path, u64)>, now: SystemTime) -> Result<(), TrainError> {
        self.sync()?;
        self.status.state = RunState::Running;
        if let Some((path, step)) = checkpoint {
            self.status.last_checkpoint = Some((path.to_owned(), step));
        }
        self.tell(now)
    }

    /// The run ends. Sinks get up to `limit` to take what is left and end, then are killed.
    ///
    /// # Errors
    /// As [`Telemetry::step`], once the sinks have ended.
    pub fn end(
        mut self,
        state: RunState,
        now: SystemTime,
        limit: Duration,
    ) -> Result<Vec<SinkReport>, TrainError> {
        self.status.state = state;
        self.status.eta = self.status.eta.filter(|_| self.status.state != RunState::Finished);
        let told = self.tell(now).and_then(|()| self.sync());
        let reports = self.sinks.close(limit);
        told.map(|()| reports)
    }

    fn sync(&mut self) -> Result<(), TrainError> {
        Ok(self.tensorboard.as_mut().map_or(Ok(()), TensorBoard::sync)?)
    }

    fn tell(&mut self, now: SystemTime) -> Result<(), TrainError> {
        Ok(self.file.tell(&self.status, now)?)
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StepMetrics;
    use octo_durable::Disk;
    use serde_json::Value;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn metrics(step: u64) -> StepMetrics {
        let fixed = StepMetrics { total_steps: 10, lm_loss: 2.0, ..StepMetrics::default() };
        StepMetrics { step, consumed_tokens: step * 100, ..fixed }
    }

    fn status(folder: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(folder.join("status.json")).unwrap()).unwrap()
    }

    #[test]
    fn a_run_is_told_from_its_beginning_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let sink = ["/bin/sh", "-c", "cat > \"$OCTO_RUN_DIR/sink\""].map(str::to_owned).to_vec();
        let beginning = Beginning { total_steps: 10, stage: "stable".into(), ..Beginning::default() };
        let mut telemetry = Telemetry::begin(&Disk, folder.path(), &[sink], beginning, at(0)).unwrap();
        assert_eq!(status(folder.path())["state"], "running");
        for step in 1..=4 {
            telemetry.step(&metrics(step), at(3 * step)).unwrap();
        }
        let told = status(folder.path());
        assert_eq!(
            (&told["step"], &told["eta_seconds"], &told["loss"]),
            (&4.into(), &18.into(), &2.0.into())
        );
        telemetry.saving(at(12)).unwrap();
        assert_eq!(status(folder.path())["state"], "saving");
        telemetry.saved(Some((Path::new("checkpoints/step-00000004"), 4)), at(12)).unwrap();
        telemetry.saved(None, at(12)).unwrap();
        telemetry.stage("decay", at(12)).unwrap();
        let told = status(folder.path());
        assert_eq!((&told["state"], &told["stage"]), (&"running".into(), &"decay".into()));
        assert_eq!(told["last_checkpoint_step"], 4);
        let reports = telemetry.end(RunState::Finished, at(12), Duration::from_secs(60)).unwrap();
        assert_eq!(reports[0].failure, None);
        let told = status(folder.path());
        assert_eq!((&told["state"], &told["eta_seconds"]), (&"finished".into(), &Value::Null));
        assert_eq!(std::fs::read_to_string(folder.path().join("sink")).unwrap().lines().count(), 4);
    }

    #[test]
    fn equal_runs_at_equal_times_write_equal_events() {
        let events = || {
            let folder = tempfile::tempdir().unwrap();
            let start = |step| {
                let beginning = Beginning { step, tensorboard: true, ..Beginning::default() };
                let mut telemetry = Telemetry::begin(&Disk, folder.path(), &[], beginning, at(5)).unwrap();
                telemetry.step(&metrics(step + 1), at(6)).unwrap();
                let path = telemetry.tensorboard.as_ref().unwrap().path().to_owned();
                telemetry.end(RunState::Interrupted, at(6), Duration::ZERO).unwrap();
                (path.file_name().unwrap().to_owned(), std::fs::read(path).unwrap())
            };
            [start(0), start(2)]
        };
        let [first, second] = events();
        assert!(first.0 < second.0 && first.1 != second.1);
        assert_eq!(events(), [first, second]);
    }
}

//! How a run is doing, in a file that a script or a person may look at any time: `status.json`.

use octo_durable::{DurableError, Fs, write_bytes};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a run is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RunState {
    /// It trains.
    #[default]
    Running,
    /// It stands still while a checkpoint is copied or written.
    Saving,
    /// It has reached its target.
    Finished,
    /// A signal stopped it; run again, it goes on.
    Interrupted,
    /// A guard stopped it, for this reason.
    StoppedByGuard(String),
    /// An error ended it.
    Failed(String),
}

/// The content of `status.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Optimizer steps taken.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Name of the stage.
    pub stage: String,
    /// Tokens trained on so far.
    pub consumed_tokens: u64,
    /// Loss of the last step, in nats; None before the first.
    pub loss: Option<f64>,
    /// Its learning rate.
    pub lr: Option<f64>,
    /// Its tokens a second.
    pub tokens_per_sec: Option<f64>,
    /// Until the last step, as far as the pace so far tells.
    pub eta: Option<Duration>,
    /// The newest whole checkpoint and its step.
    pub last_checkpoint: Option<(PathBuf, u64)>,
    /// What the run is about.
    pub state: RunState,
}

#[derive(Serialize)]
struct Line<'a> {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    step: u64,
    total_steps: u64,
    stage: &'a str,
    consumed_tokens: u64,
    loss: Option<f64>,
    lr: Option<f64>,
    tokens_per_sec: Option<f64>,
    eta_seconds: Option<u64>,
    last_checkpoint: Option<&'a Path>,
    last_checkpoint_step: Option<u64>,
    pid: u32,
    updated_at: String,
}

/// Writes `status.json`, whole each time, but not more often than once a second while nothing but the step
/// changes.
pub struct StatusFile<'fs> {
    fs: &'fs dyn Fs,
    path: PathBuf,
    pid: u32,
    written: Option<(SystemTime, Status)>,
}

impl<'fs> StatusFile<'fs> {
    const EVERY: Duration = Duration::from_secs(1);

    /// The file at `path`, to be written by the process `pid`. Nothing is written yet.
    pub fn new(fs: &'fs dyn Fs, path: PathBuf, pid: u32) -> StatusFile<'fs> {
        StatusFile { fs, path, pid, written: None }
    }

    /// Writes how the run is doing at `now`: at once where its state, stage or checkpoint has changed, else
    /// when the last time is a second ago.
    ///
    /// # Errors
    /// Whatever the system refuses; the file then says what it said before.
    pub fn tell(&mut self, status: &Status, now: SystemTime) -> Result<(), DurableError> {
        let due = match &self.written {
            None => true,
            Some((at, before)) => {
                let news = (&before.state, &before.stage, &before.last_checkpoint)
                    != (&status.state, &status.stage, &status.last_checkpoint);
                // A clock that was set back is no reason to fall silent.
                news || now.duration_since(*at).map_or(true, |passed| passed >= Self::EVERY)
            }
        };
        if due {
            write_bytes(self.fs, &self.path, &self.json(status, now)?)?;
            self.written = Some((now, status.clone()));
        }
        Ok(())
    }

    fn json(&self, status: &Status, now: SystemTime) -> Result<Vec<u8>, DurableError> {
        let (state, reason) = match &status.state {
            RunState::Running => ("running", None),
            RunState::Saving => ("saving", None),
            RunState::Finished => ("finished", None),
            RunState::Interrupted => ("interrupted", None),
            RunState::StoppedByGuard(reason) => ("stopped by guard", Some(reason.as_str())),
            RunState::Failed(reason) => ("failed", Some(reason.as_str())),
        };
        let line = Line {
            state,
            reason,
            step: status.step,
            total_steps: status.total_steps,
            stage: &status.stage,
            consumed_tokens: status.consumed_tokens,
            loss: status.loss,
            lr: status.lr,
            tokens_per_sec: status.tokens_per_sec,
            eta_seconds: status.eta.map(|eta| eta.as_secs()),
            last_checkpoint: status.last_checkpoint.as_ref().map(|(path, _)| path.as_path()),
            last_checkpoint_step: status.last_checkpoint.as_ref().map(|(_, step)| *step),
            pid: self.pid,
            updated_at: utc(now),
        };
        let mut json = serde_json::to_vec_pretty(&line).map_err(|source| DurableError::Io {
            action: "write",
            path: self.path.clone(),
            source: source.into(),
        })?;
        json.push(b'\n');
        Ok(json)
    }
}

/// How fast a run goes, with all its pauses, from when each step ended.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    last: Option<(u64, SystemTime)>,
    /// Weighted seconds and weighted steps; the weight of a step halves every 35 steps after it.
    seconds: f64,
    steps: f64,
}

impl Pace {
    const FORGET: f64 = 0.98;

    /// Takes note that `step` ended at `now`.
    pub fn step(&mut self, step: u64, now: SystemTime) {
        if let Some((before, at)) = self.last
            && step > before
        {
            let keep = Self::FORGET.powf((step - before) as f64);
            // Time that ran backwards counts as none.
            let passed = now.duration_since(at).unwrap_or_default().as_secs_f64();
            self.seconds = self.seconds * keep + passed;
            self.steps = self.steps * keep + (step - before) as f64;
        }
        self.last = Some((step, now));
    }

    /// How long so many more steps will take; None before two steps have ended.
    #[must_use]
    pub fn time_for(&self, steps: u64) -> Option<Duration> {
        let seconds = self.seconds / self.steps * steps as f64;
        // What is not a number here (no steps yet) or too long for a clock is no time.
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// A moment as ISO 8601 says it, in UTC, to the second.
#[must_use]
pub fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March put the leap day last, so that a month's first day needs no table: 153 days
    // are five months of 31, 30, 31, 30, 31.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_durable::{Disk, FaultyFs};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn at(seconds: f64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }

    fn read(path: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn the_file_says_all_there_is_to_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.json");
        let mut file = StatusFile::new(&Disk, path.clone(), 77);
        let status = Status {
            step: 5,
            total_steps: 20,
            stage: "stable".into(),
            consumed_tokens: 500,
            loss: Some(2.5),
            lr: Some(1e-3),
            tokens_per_sec: Some(10.0),
            eta: Some(Duration::from_secs_f64(90.7)),
            last_checkpoint: Some(("checkpoints/step-00000004".into(), 4)),
            state: RunState::StoppedByGuard("loss is NaN".into()),
        };
        file.tell(&status, at(951_827_696.9)).unwrap();
        let expected = json!({
            "state": "stopped by guard", "reason": "loss is NaN", "step": 5, "total_steps": 20, "stage": "stable",
            "consumed_tokens": 500, "loss": 2.5, "lr": 1e-3, "tokens_per_sec": 10.0, "eta_seconds": 90,
            "last_checkpoint": "checkpoints/step-00000004", "last_checkpoint_step": 4, "pid": 77,
            "updated_at": "2000-02-29T12:34:56Z",
        });
        assert_eq!(read(&path), expected);
    }

    #[test]
    fn steps_are_told_once_a_second_and_news_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fs = FaultyFs::counting();
        let path = folder.path().join("status.json");
        let mut file = StatusFile::new(&fs, path.clone(), 1);
        let mut status = Status::default();
        let mut told = |status: &Status, seconds: f64| {
            let before = fs.trace().len();
            file.tell(status, at(seconds)).unwrap();
            fs.trace().len() > before
        };
        assert!(told(&status, 100.0));
        status.step = 1;
        assert!(!told(&status, 100.9));
        assert!(told(&status, 101.0));
        status.state = RunState::Saving;
        assert!(told(&status, 101.1));
        status.last_checkpoint = Some(("c".into(), 1));
        assert!(told(&status, 101.2));
        assert!(!told(&status, 101.3));
        assert!(told(&status, 50.0), "the clock was set back");
        assert_eq!(read(&path)["state"], "saving");
    }

    #[test]
    fn the_pace_is_that_of_the_last_steps_pauses_included() {
        let mut pace = Pace::default();
        assert_eq!(pace.time_for(10), None);
        pace.step(100, at(0.0));
        assert_eq!(pace.time_for(10), None);
        for i in 1..=50u32 {
            pace.step(100 + u64::from(i), at(2.0 * f64::from(i)));
        }
        let near = |d: Option<Duration>, seconds: f64| (d.unwrap().as_secs_f64() - seconds).abs() < 1e-6;
        assert!(near(pace.time_for(10), 20.0));
        assert_eq!(pace.time_for(0), Some(Duration::ZERO));
        for i in 1..=1_000u32 {
            pace.step(150 + u64::from(i), at(100.0 + 4.0 * f64::from(i)));
        }
        assert!(near(pace.time_for(10), 40.0), "what is long past is forgotten");
        pace.step(1_151, at(0.0));
        assert_eq!(pace.time_for(u64::MAX), None, "no clock goes that far");
    }

    proptest! {
        #[test]
        fn dates_are_those_of_the_calendar(day in 0u64..80_000, second in 0u64..86_400) {
            // The slow way: year by year, month by month.
            let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
            let (mut year, mut rest) = (1970, day);
            while rest >= 365 + u64::from(leap(year)) {
                rest -= 365 + u64::from(leap(year));
                year += 1;
            }
            let february = 28 + u64::from(leap(year));
            let mut month = 0;
            for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                month += 1;
                if rest < length {
                    break;
                }
                rest -= length;
            }
            let text = utc(UNIX_EPOCH + Duration::from_secs(day * 86_400 + second));
            let clock = format!("T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
            prop_assert_eq!(text, format!("{year}-{month:02}-{:02}{clock}", rest + 1));
        }
    }
}

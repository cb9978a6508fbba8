//! Writes what a run that was killed and resumed twice tells TensorBoard, and beside it, in `metrics.jsonl`,
//! what should be seen there. `trainer/tests/check_tensorboard.py` holds TensorBoard's own readers to it.

use octo_durable::{AppendLog, Disk};
use octo_trainer::{Beginning, StepMetrics, Telemetry};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("usage: write_events FOLDER")?.into();
    std::fs::create_dir_all(&folder)?;
    let mut log = AppendLog::open(&Disk, &folder.join("metrics.jsonl"))?;
    // Each start: the step it resumes at, the step it is killed after, and when it begins; the last clock is
    // behind the others.
    for (start, (first, last, began)) in [(0, 100, 0), (60, 120, 50), (90, 150, 30)].into_iter().enumerate() {
        let now = |step: u64| UNIX_EPOCH + Duration::from_secs(1_700_000_000 + began + step);
        let beginning = Beginning { step: first, ..Beginning::default() };
        let mut telemetry = Telemetry::begin(&Disk, &folder, &[], beginning, now(first))?;
        log.cut_back(first, &folder.join(format!("discarded-{start}.jsonl")))?;
        for step in first + 1..=last {
            let metrics = metrics(step, start);
            telemetry.step(&metrics, now(step))?;
            log.append(&serde_json::to_string(&metrics)?)?;
        }
        // A kill in the middle of a write: half a record is left.
        let mut events: Vec<PathBuf> = std::fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_, std::io::Error>>()?;
        events.retain(|path| path.to_string_lossy().contains("tfevents"));
        events.sort();
        if let Some(newest) = events.last() {
            std::fs::OpenOptions::new()
                .append(true)
                .open(newest)?
                .write_all(&[99, 0, 0, 0, 0, 0, 0, 0, 1])?;
        }
    }
    Ok(())
}

fn metrics(step: u64, start: usize) -> StepMetrics {
    let loss = 2.0 + 8.0 / step as f64 + start as f64;
    let mut metrics = StepMetrics {
        step,
        total_steps: 150,
        consumed_tokens: step * 4096,
        lm_loss: loss,
        lr: 1e-3 / step as f64,
        grad_norm: 0.5 + (step % 7) as f64,
        tokens_per_sec: 1000.0 + step as f64,
        tokens_per_sec_per_gpu: Some(500.0 + step as f64),
        mfu: Some(0.5),
        sources: BTreeMap::from([("lm_loss/web".to_owned(), loss + 0.5)]),
        ..StepMetrics::default()
    };
    if step.is_multiple_of(10) {
        metrics.validation.insert("val_loss/held-out".to_owned(), loss + 0.25);
    }
    metrics
}

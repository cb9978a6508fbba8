//! `bench --sweep`: every row of the tuning table that can serve a case, in one process.
//!
//! On a GPU all rows of a case are ready at once and take turns, so that the clock's ups and downs fall on all; on the
//! simulated one they are compared by predicted time.

use super::{Bench, predict};
use crate::io::say;
use anyhow::Result;
use octo_proof::{BenchCase, Ready, variants};
use octo_queue::open_with;
use serde::Serialize;
use std::time::Duration;

/// Rounds of turns on a device.
const ROUNDS: usize = 7;

#[derive(Serialize)]
struct Line<'a> {
    device: &'a str,
    case: &'a str,
    op: &'a str,
    /// The fastest entry.
    kernel: &'a str,
    /// Whether times are predictions.
    predicted: bool,
    /// Each entry with microseconds of one op, fastest first.
    kernels: &'a [(&'static str, f64)],
}

/// Sweeps the cases.
pub fn run(bench: &mut Bench, cases: &[BenchCase]) -> Result<()> {
    say(&format!("{:48} {:56} {:>12} {:>10}", "case", "fastest", "µs", "over next"))?;
    for (i, case) in cases.iter().enumerate() {
        if bench.out_of_time() {
            return say(&format!("{} cases not reached in time", cases.len() - i));
        }
        let (op, entries) = variants(&case.op()?);
        let mut kernels = if bench.measured {
            measured(bench, case, op, &entries)?
        } else {
            predicted(bench, case, op, &entries)?
        };
        kernels.sort_by(|a, b| a.1.total_cmp(&b.1));
        let Some(&(kernel, fastest)) = kernels.first() else { continue };
        let next = kernels.get(1).map_or(f64::NAN, |(_, next)| next / fastest);
        say(&format!("{:48} {kernel:56} {fastest:12.1} {next:10.2}", case.name))?;
        let (device, predicted) = (bench.device.as_str(), !bench.measured);
        bench.lines.write(&Line { device, case: &case.name, op, kernel, predicted, kernels: &kernels })?;
    }
    Ok(())
}

fn predicted(
    bench: &mut Bench,
    case: &BenchCase,
    op: &str,
    entries: &[&'static str],
) -> Result<Vec<(&'static str, f64)>> {
    let Some(predictor) = &mut bench.predictor else { return Ok(Vec::new()) };
    let mut kernels = Vec::new();
    for &entry in entries {
        predictor.fix(op, entry)?;
        kernels.push((entry, predict::case(predictor, case)?.microseconds));
    }
    predictor.unfix();
    Ok(kernels)
}

fn measured(
    bench: &Bench,
    case: &BenchCase,
    op: &str,
    entries: &[&'static str],
) -> Result<Vec<(&'static str, f64)>> {
    let mut sides = Vec::new();
    for &entry in entries {
        let queue = open_with(bench.kind, bench.threads, &[(op, entry)])?;
        if let Some(mut ready) = Ready::new(case, queue)? {
            ready.replays(1)?;
            let once = ready.replays(1)?.max(Duration::from_micros(1));
            let times = (Duration::from_millis(5).as_secs_f64() / once.as_secs_f64()).clamp(1.0, 1e4) as u32;
            sides.push((entry, ready, times, Vec::new()));
        }
    }
    for _ in 0..ROUNDS {
        for (_, ready, times, samples) in &mut sides {
            samples.push(ready.replays(*times)?.as_secs_f64() * 1e6);
        }
    }
    let median = |mut samples: Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Ok(sides.into_iter().map(|(entry, _, _, samples)| (entry, median(samples))).collect())
}

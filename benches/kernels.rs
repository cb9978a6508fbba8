//! Every op of `octo-engine bench` at the shapes of a 1B model, on the GPU: the same cases, operands and replays, with
//! criterion's statistics.
//!
//! `OCTO_BENCH_DEVICE=cpu` times cores instead, at shapes that they finish; without that and without a GPU it says so and
//! measures nothing. Names to filter by are those of `bench`: `cargo bench --bench kernels -- rms_norm`.

#![allow(clippy::print_stdout, reason = "says what is measured, and why nothing is")]

mod common;

use common::Outcome;
use criterion::{Criterion, SamplingMode, Throughput};
use octo_proof::{MODELS, Ready, bench_cases};
use octo_queue::{DeviceKind, open};
use std::time::Duration;

fn main() -> Outcome {
    let mut criterion = Criterion::default().configure_from_args();
    let cores = std::env::var("OCTO_BENCH_DEVICE").is_ok_and(|device| device == "cpu");
    let (kind, name) = if cores { (DeviceKind::Cpu, "tiny") } else { (DeviceKind::Cuda, "1b") };
    match open(kind, None) {
        Ok(queue) => println!("{}", queue.describe().description),
        Err(reason) => {
            println!("nothing is measured: {reason}; OCTO_BENCH_DEVICE=cpu measures cores");
            return Ok(());
        }
    }
    let model = MODELS.iter().find(|model| model.name == name).ok_or("no such model")?;
    let mut group = criterion.benchmark_group("kernels");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for case in bench_cases(model) {
        // Memory is taken when criterion comes to a case that was asked for, and given back after it.
        let mut ready = None;
        let mut failed = None;
        let cost = case.op()?.cost();
        group.throughput(Throughput::Bytes(cost.bytes));
        group.bench_function(&case.name, |b| {
            b.iter_custom(|times| {
                let replays = u32::try_from(times).unwrap_or(u32::MAX);
                let outcome = (|| -> Outcome<Option<Duration>> {
                    if ready.is_none() {
                        ready = Ready::new(&case, open(kind, None)?)?;
                    }
                    Ok(ready.as_mut().map(|ready| ready.replays(replays)).transpose()?)
                })();
                match outcome {
                    // One op's time, as often as criterion asked.
                    Ok(Some(once)) => once.max(Duration::from_nanos(1)) * replays,
                    Ok(None) => {
                        failed = Some("not computed on this device".to_owned());
                        Duration::from_secs(1)
                    }
                    Err(error) => {
                        failed = Some(error.to_string());
                        Duration::from_secs(1)
                    }
                }
            });
        });
        if let Some(reason) = failed {
            return Err(format!("{}: {reason}", case.name).into());
        }
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

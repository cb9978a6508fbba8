//! Predictions as `bench` prints and writes them.

use anyhow::Result;
use octo_ops::Cost;
use octo_proof::{BenchCase, Inputs, LaunchTime, OpTime, Predictor, roofline};
use serde::Serialize;

/// What benches' ops are given where content matters: none of them looks anything up.
const INPUTS: Inputs = Inputs { document: 8192, context: 1023 };

/// A predicted op.
#[derive(Serialize)]
pub struct Predicted {
    /// For which GPU.
    pub chip: &'static str,
    /// Of one op.
    pub microseconds: f64,
    /// What no kernel goes below.
    pub floor_microseconds: f64,
    /// What holds up the longest launch.
    pub limiter: &'static str,
    /// Each launch, with what its whole grid asks for.
    pub launches: Vec<Launch>,
}

/// A predicted launch.
#[derive(Serialize)]
pub struct Launch {
    entry: String,
    microseconds: f64,
    limiter: &'static str,
    blocks: f64,
    resident: f64,
    mma_flops: f64,
    warp_instructions: f64,
    special: f64,
    integer: f64,
    wavefronts: f64,
    l2_bytes: f64,
    dram_bytes: f64,
    round_trips: f64,
}

impl Predicted {
    /// Of a row.
    pub fn of(row: &OpTime, predictor: &Predictor) -> Predicted {
        Predicted {
            chip: predictor.chip().name,
            microseconds: row.seconds() * 1e6,
            floor_microseconds: row.floor(predictor.chip()) * 1e6,
            limiter: row.limiter().name(),
            launches: row.launches.iter().map(Launch::of).collect(),
        }
    }
}

impl Launch {
    fn of(LaunchTime { entry, work, time }: &LaunchTime) -> Launch {
        Launch {
            entry: entry.clone(),
            microseconds: time.seconds * 1e6,
            limiter: time.limiter.name(),
            blocks: work.blocks,
            resident: work.resident,
            mma_flops: work.mma_flops,
            warp_instructions: work.issued,
            special: work.special,
            integer: work.integer,
            wavefronts: work.wavefronts,
            l2_bytes: work.l2_bytes,
            dram_bytes: work.dram_bytes,
            round_trips: work.round_trips,
        }
    }
}

/// Predicts a case.
pub fn case(predictor: &mut Predictor, case: &BenchCase) -> Result<Predicted> {
    let rows = roofline(predictor, &[case.op()?], INPUTS)?;
    let row = rows.first().ok_or_else(|| anyhow::anyhow!("{}: no op", case.name))?;
    Ok(Predicted::of(row, predictor))
}

/// The head of the table.
pub fn heading(measured: bool) -> String {
    let own = if measured {
        format!(" {:>11} {:>9} {:>9}", "median µs", "TFLOP/s", "GB/s")
    } else {
        String::new()
    };
    format!("{:48}{own} {:>12} {:>9}  limiter", "case", "predicted µs", "of floor")
}

/// A case's row. What is measured comes first; the floor's share is of what was measured, else of the prediction.
pub fn row(name: &str, cost: Cost, median: Option<f64>, predicted: Option<&Predicted>) -> String {
    let mut text = format!("{name:48}");
    if let Some(median) = median {
        let (tera, giga) = (cost.flops as f64 / median / 1e6, cost.bytes as f64 / median / 1e3);
        text += &format!(" {median:11.1} {tera:9.2} {giga:9.1}");
    }
    match predicted {
        None => text += &format!(" {:>12} {:>9}", "-", "-"),
        Some(Predicted { microseconds, floor_microseconds, limiter, .. }) => {
            let share = floor_microseconds / median.unwrap_or(*microseconds);
            text += &format!(" {microseconds:12.1} {share:9.2}  {limiter}");
        }
    }
    text
}

//! How long does a device take for an op? Replays of a captured program, timed.

use crate::BenchCase;
use octo_ops::{Cost, DType};
use octo_queue::{Queue, QueueError};
use std::time::{Duration, Instant};

/// Samples a case.
const SAMPLES: usize = 7;
/// Each lasts as long as this at least, so that one launch's delay counts for nothing.
const SAMPLE: Duration = Duration::from_millis(20);

/// A case that was timed.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// Of one op, ascending.
    pub microseconds: Vec<f64>,
    /// What the op costs at least.
    pub cost: Cost,
    /// Operand sets, gone through in turn.
    pub sets: usize,
}

impl Timed {
    /// The middle sample.
    pub fn median(&self) -> f64 {
        self.microseconds.get(self.microseconds.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// A case on a device, ready to be replayed.
pub struct Ready {
    queue: Queue,
    program: octo_ops::Program,
    sets: usize,
    cost: Cost,
}

impl Ready {
    /// Allocates and fills the operands and captures the program; `None` where the device cannot compute the op.
    ///
    /// # Errors
    /// What the device says.
    pub fn new(case: &BenchCase, mut queue: Queue) -> Result<Option<Ready>, QueueError> {
        let activation = if queue.describe().kind == "cpu" { DType::F32 } else { DType::Bf16 };
        let prepared = case.prepare(&mut queue, activation)?;
        queue.seal();
        if !prepared.ops.iter().all(|op| queue.supports(op)) {
            return Ok(None);
        }
        for fill in prepared.fills {
            queue.run(fill)?;
        }
        for (view, words) in prepared.words {
            queue.upload(view, &words)?;
        }
        let program = queue.capture(|queue| prepared.ops.iter().try_for_each(|op| queue.run(*op)))?;
        let cost = prepared.ops.first().map(octo_ops::Op::cost).unwrap_or_default();
        Ok(Some(Ready { queue, program, sets: prepared.ops.len().max(1), cost }))
    }

    /// What one op costs at least.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The time of one op, from so many replays over all operand sets, one after the other, and one wait at their end,
    /// by the host's clock.
    ///
    /// # Errors
    /// What the device says.
    pub fn replays(&mut self, times: u32) -> Result<Duration, QueueError> {
        let began = Instant::now();
        for _ in 0..times {
            self.queue.replay(self.program)?;
        }
        self.queue.wait()?;
        Ok(began.elapsed() / times.max(1) / self.sets as u32)
    }

    /// Seven samples, after one that only warms up.
    ///
    /// # Errors
    /// What the device says.
    pub fn sample(mut self) -> Result<Timed, QueueError> {
        self.replays(1)?;
        let once = (self.replays(1)? * self.sets as u32).max(Duration::from_nanos(100));
        let times = (SAMPLE.as_secs_f64() / once.as_secs_f64()).ceil().clamp(1.0, 1e5) as u32;
        let mut microseconds = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            microseconds.push(self.replays(times)?.as_secs_f64() * 1e6);
        }
        microseconds.sort_by(f64::total_cmp);
        Ok(Timed { microseconds, cost: self.cost, sets: self.sets })
    }
}

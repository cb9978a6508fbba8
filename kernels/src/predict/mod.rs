//! How long will an op take on a GPU that is not here, and what will hold it up?
//!
//! The simulated GPU counts what a kernel asks of a multiprocessor and of memory; a [`Chip`] says how much of each it
//! has a second. [`time`] is the whole model: the time of a launch is that of whatever it asks most of, as if all else
//! overlapped with it, and a boundary before the next launch. So a prediction is what a kernel takes at best, except
//! that the PTX is counted and not what an assembler makes of it. Nothing here has been held against a GPU yet.
//!
//! Whole grids are not run: [`SAMPLED_BLOCKS`] blocks, spread evenly over the grid, run to their ends with the whole
//! shape's operands, and stand for the rest (`sample.rs`). Read `time.rs` first, then `chip.rs`.

mod chain;
mod chip;
mod inputs;
mod sample;
#[cfg(test)]
mod tests;
mod time;

pub use chip::{Chip, Source};
pub use inputs::Inputs;
pub use sample::SAMPLED_BLOCKS;
pub use time::{Limiter, Time, Work, time};

use crate::Launch;
use crate::backend::launches;
use crate::tuning::{Capability, Tuning, TuningError};
use inputs::Placed;
use octo_ops::Op;
use octo_ptx::count::Limits;
use sample::Sampled;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Why there is no prediction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// The op has no kernel.
    #[error("{op}: {what}")]
    Unsupported {
        /// Op name.
        op: &'static str,
        /// Its launcher's words.
        what: String,
    },
    /// The simulated GPU found something wrong with a kernel; a bug, please report it.
    #[error("{entry}: {what} (a bug in octo-engine: please report it)")]
    Kernel {
        /// Name of the entry.
        entry: String,
        /// What it found.
        what: String,
    },
}

/// One launch of an op, predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchTime {
    /// Name of the PTX entry.
    pub entry: String,
    /// What the whole grid asks for, as its sampled blocks say.
    pub work: Work,
    /// How long that takes.
    pub time: Time,
}

/// Predicts ops on a chip. What was sampled once is kept: a model's layers cost one.
pub struct Predictor {
    chip: &'static Chip,
    tuning: Tuning,
    threads: usize,
    known: BTreeMap<Key, Sampled>,
}

/// What decides a launch's counts: entry, grid, block and parameters without addresses, and what is in the index
/// operands.
type Key = (String, [u32; 6], Vec<u8>, Inputs);

impl Predictor {
    /// A predictor that simulates on so many threads of the host; predictions do not depend on it.
    pub fn new(chip: &'static Chip, threads: usize) -> Predictor {
        let shared_bytes = Limits::of(chip.architecture).block_shared_bytes;
        let (version, multiprocessors) = (chip.capability(), chip.multiprocessors);
        let tuning = Tuning::new(Capability { version, multiprocessors, shared_bytes });
        Predictor { chip, tuning, threads: threads.max(1), known: BTreeMap::new() }
    }

    /// The chip.
    pub fn chip(&self) -> &'static Chip {
        self.chip
    }

    /// From now on every shape of `op` runs on the row with this entry.
    ///
    /// # Errors
    /// As [`Tuning::fix`].
    pub fn fix(&mut self, op: &str, entry: &str) -> Result<(), TuningError> {
        self.tuning.fix(op, entry)
    }

    /// Forgets every [`Predictor::fix`].
    pub fn unfix(&mut self) {
        *self =
            Predictor { known: std::mem::take(&mut self.known), ..Predictor::new(self.chip, self.threads) };
    }

    /// The launches of each op with their times.
    ///
    /// # Errors
    /// [`PredictError`].
    pub fn ops(&mut self, ops: &[Op], inputs: Inputs) -> Result<Vec<Vec<LaunchTime>>, PredictError> {
        let mut asked = Vec::new();
        let mut missing: BTreeMap<Key, (Op, Launch)> = BTreeMap::new();
        for op in ops {
            let placed = Placed::new(op, inputs)?;
            let found = launches(op, &placed, &self.tuning)
                .map_err(|what| PredictError::Unsupported { op: op.name(), what })?;
            let mut keys = Vec::new();
            for launch in found {
                let key = key(&launch, &placed, inputs);
                keys.push((key.clone(), launch.clone()));
                if !self.known.contains_key(&key) {
                    missing.insert(key, (*op, launch));
                }
            }
            asked.push(keys);
        }
        self.sample(missing, inputs)?;
        let timed = |(key, launch): (Key, Launch)| {
            let sampled = self.known.get(&key).ok_or_else(|| lost(&launch.entry))?;
            let work = sampled.work(&launch, self.chip);
            Ok(LaunchTime { entry: launch.entry, time: time(&work, self.chip), work })
        };
        asked.into_iter().map(|keys| keys.into_iter().map(timed).collect()).collect()
    }

    /// Samples launches on all threads, each on a simulated GPU of its own.
    fn sample(&mut self, missing: BTreeMap<Key, (Op, Launch)>, inputs: Inputs) -> Result<(), PredictError> {
        let todo = Mutex::new(missing.into_iter());
        let chip = self.chip;
        let work = || -> Vec<(Key, Result<Sampled, PredictError>)> {
            let next = || todo.lock().ok().and_then(|mut todo| todo.next());
            std::iter::from_fn(next)
                .map(|(key, (op, launch))| (key, Sampled::new(&op, &launch, inputs, chip)))
                .collect()
        };
        let done: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..self.threads).map(|_| scope.spawn(work)).collect();
            let mut done = work();
            done.extend(others.into_iter().filter_map(|other| other.join().ok()).flatten());
            done
        });
        for (key, sampled) in done {
            self.known.insert(key, sampled?);
        }
        Ok(())
    }
}

/// The parts of an operand that an op's launches go through cost alike, so that of an address only the operand counts.
fn key(launch: &Launch, placed: &Placed, inputs: Inputs) -> Key {
    let ([x, y, z], [tx, ty, tz]) = (launch.grid, launch.block);
    let mut arguments = launch.arguments.clone();
    for word in arguments.chunks_exact_mut(8) {
        let address = word.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        let holds = |&(base, bytes): &(u64, u64)| (base..base + bytes).contains(&address);
        if let Some(operand) = placed.allocations.iter().position(holds) {
            word.copy_from_slice(&(!(operand as u64)).to_le_bytes());
        }
    }
    (launch.entry.clone(), [x, y, z, tx, ty, tz], arguments, inputs)
}

fn lost(entry: &str) -> PredictError {
    PredictError::Kernel { entry: entry.into(), what: "a thread of the simulator was lost".into() }
}

//! How a run is started, beside its recipe.

use octo_durable::{Disk, Fs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the command line and the process's surroundings say.
#[derive(Clone)]
pub struct TrainOptions {
    /// Start over: an earlier run in the folder is moved to `discarded/`.
    pub fresh: bool,
    /// A damaged newest checkpoint is an error instead of being put away.
    pub strict_resume: bool,
    /// Keys of the recipe that may differ from the run's so far.
    pub accept: Vec<String>,
    /// The batch system's job.
    pub job: Option<String>,
    /// Set from outside to have the run save and stop.
    pub stop: Stop,
    /// The disk.
    pub fs: &'static dyn Fs,
    /// A fault to plant, for tests.
    pub plant: Option<Plant>,
}

/// A fault in a step, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Its gradient becomes NaN.
    Gradient(u64),
    /// Its forward pass, and so its loss, becomes NaN.
    Forward(u64),
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        TrainOptions {
            fresh: false,
            strict_resume: false,
            accept: Vec::new(),
            job: None,
            stop: Stop::default(),
            fs: &Disk,
            plant: None,
        }
    }
}

/// A wish to save and stop, at the next border between micro-batches.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The flag, for whoever sets it.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
    }

    /// Whether it was asked for.
    pub fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

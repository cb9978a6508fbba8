//! What a run would come to: read from its recipe, its data and a device that only writes down what it is asked.
//!
//! Nothing is written, and a run that lies in the recipe's folder is only looked at.

use crate::checkpoint::{bytes_of_state, newest};
use crate::folder;
use crate::memory::{self, Settled};
use crate::resume;
use crate::setup::{self, Named, Ready, Start};
use crate::stream::{Before, Stream};
use crate::validation::HeldOut;
use crate::{MemoryPlan, Observer, Shortage, TrainError, TrainOptions, flops_per_token};
use octo_durable::free_bytes;
use octo_model::{ModelConfig, Snapshot};
use octo_ops::{LinearResidual, Precision};
use octo_queue::{OpenError, Queue, QueueError};
use octo_recipe::{Checkpoints, Plan, Recipe, plan};
use serde::Deserialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a run would come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Steps, tokens, passes over each source, learning rates.
    pub plan: Plan,
    /// Steps that are done, where the folder holds a run with a checkpoint.
    pub done: u64,
    /// Weights of the model.
    pub parameters: u64,
    /// How they are held.
    pub weights: String,
    /// What lies on the device.
    pub memory: MemoryPlan,
    /// Where that does not fit: what would.
    pub shortage: Option<Shortage>,
    /// Bytes of the host's copy from which checkpoints are written.
    pub snapshot: u64,
    /// Bytes that checkpoints and milestones will take on the disk.
    pub disk: Disk,
    /// The device, or why there is none here.
    pub device: String,
    /// How fast it goes, where that can be said.
    pub rate: Option<TokenRate>,
}

/// What is kept on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes of one checkpoint.
    pub checkpoint: u64,
    /// Checkpoints that lie there at once, the one that is being written included.
    pub rolling: u64,
    /// Milestones without optimizer state, over the whole run.
    pub milestones: u64,
    /// Bytes of one.
    pub milestone: u64,
    /// Milestones with it.
    pub milestones_with_state: u64,
    /// Bytes free.
    pub free: u64,
}

impl Disk {
    /// Bytes of it all, at the run's end.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.rolling + self.milestones_with_state) * self.checkpoint + self.milestones * self.milestone
    }
}

/// How fast training goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenRate {
    /// Tokens a second.
    pub tokens_per_sec: f64,
    /// Whether it is what this run has done so far, or a guess from a product of matrices.
    pub measured: bool,
}

/// What a run of this recipe would come to.
///
/// # Errors
/// Whatever would keep [`crate::train`] from starting, but for a device that is not there or too small, damage of a
/// checkpoint (nothing of its tensors is read) and a disk that is too small.
pub fn forecast(
    recipe: &Recipe,
    options: &TrainOptions,
    observer: &mut dyn Observer,
) -> Result<Forecast, TrainError> {
    if recipe.rl.is_some() {
        return Err(TrainError::ForRl);
    }
    let mut recipe = recipe.clone();
    let holds_a_run = folder::holds_a_run(&recipe.run.dir) && !options.fresh;
    let found = if holds_a_run { newest(&recipe.run.dir)? } else { None };
    if holds_a_run {
        resume::judge(&mut recipe, options, found.as_ref())?;
    }
    let named = setup::open(&recipe, found)?;
    let stream = match &named.start {
        Start::Resume(_, checkpoint) => {
            let state = checkpoint.data()?;
            let stream = Stream::open(&recipe, &named, Before::Run(&state), observer)?;
            stream.check(&state)?;
            stream
        }
        Start::Branch(_, checkpoint) => {
            Stream::open(&recipe, &named, Before::Branch(&checkpoint.data()?), observer)?
        }
        Start::Directory(_) | Start::Random => Stream::open(&recipe, &named, Before::Nothing, observer)?,
    };
    let vocab = named.config.vocab_size as usize;
    for validation in &recipe.validation {
        HeldOut::prepare(validation, &recipe, &named.tokenizer, vocab, observer)?;
    }
    let opened = octo_queue::open(setup::device(&recipe), recipe.run.threads.map(|n| n as usize));
    // `auto` is known only once it is opened.
    let device = match &opened {
        Ok(queue) => queue.describe(),
        Err(_) => setup::device(&recipe).unopened(),
    };
    let Settled { plan: memory, shortage, recorded: ready, .. } =
        memory::settle(&mut recipe, &named, &device)?;
    let done = match &named.start {
        Start::Resume(_, checkpoint) => checkpoint.run.step,
        _ => 0,
    };
    let (device, rate) = device_and_rate(&recipe, &named, holds_a_run, opened);
    Ok(Forecast {
        plan: plan(&recipe, |name| stream.tokens(name)),
        done,
        parameters: ready.trainer.net().params.parameter_count(),
        weights: ready.trainer.net().weights.dtype.to_string(),
        memory,
        shortage,
        snapshot: Snapshot::bytes(&ready.trainer),
        disk: disk(&recipe, &ready)?,
        device,
        rate,
    })
}

fn disk(recipe: &Recipe, ready: &Ready) -> Result<Disk, TrainError> {
    let Checkpoints { keep, milestones, milestone_state, .. } = recipe.checkpoints;
    let tokens = recipe.consumed_tokens(u64::MAX);
    let every = |every: Option<u64>| every.map_or(0, |every| tokens / every.max(1));
    // Where both fall together there is one milestone, with its state.
    let both = match (milestones, milestone_state) {
        (Some(one), Some(other)) => tokens / least_common_multiple(one.max(1), other.max(1)),
        _ => 0,
    };
    let net = ready.trainer.net();
    // What is not there yet will lie where its nearest folder lies.
    let place = recipe.run.dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    Ok(Disk {
        checkpoint: bytes_of_state(&ready.trainer),
        rolling: keep.max(1) + 1,
        milestones: every(milestones) - both,
        milestone: net.params.parameter_count() * net.weights.dtype.bytes(),
        milestones_with_state: every(milestone_state),
        free: free_bytes(place)?,
    })
}

fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    (a / x).saturating_mul(b)
}

/// The device in its own words, and how fast the run will go: as fast as it went, or as products of its matrices
/// let expect.
fn device_and_rate(
    recipe: &Recipe,
    named: &Named,
    holds_a_run: bool,
    opened: Result<Queue, OpenError>,
) -> (String, Option<TokenRate>) {
    let measured = holds_a_run.then(|| measured(&recipe.run.dir.join("metrics.jsonl"))).flatten();
    let measured = measured.map(|tokens_per_sec| TokenRate { tokens_per_sec, measured: true });
    let mut queue = match opened {
        Ok(queue) => queue,
        Err(error) => return (error.to_string(), measured),
    };
    let device = queue.describe();
    let guess = || {
        // A simulated GPU takes an hour for what a real one does in a second: nothing follows from it.
        if device.kind == "sim" {
            return None;
        }
        let flops_per_sec = product_rate(&mut queue, &named.config).ok()?;
        let longest = recipe.stages.iter().map(|stage| stage.sequence_length).max().unwrap_or(0);
        let tokens_per_sec = STEP_OF_PRODUCTS * flops_per_sec / flops_per_token(&named.config, longest);
        Some(TokenRate { tokens_per_sec, measured: false })
    };
    let rate = measured.or_else(guess);
    (device.description, rate)
}

/// The share of its products' rate that a whole step reaches: what it does beside them takes the rest
/// (docs/performance.md has both figures).
const STEP_OF_PRODUCTS: f64 = 0.85;

/// Steps of the past that a measured rate is the median of.
const STEPS: usize = 100;

#[derive(Deserialize)]
struct Line {
    tokens_per_sec: f64,
}

/// The median rate of the last steps of a run.
fn measured(metrics: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(metrics).ok()?;
    let last = text.lines().rev().take(STEPS);
    let mut rates: Vec<f64> = last
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .map(|line| line.tokens_per_sec)
        .collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

/// Operations a second in the widest product of the model's blocks.
fn product_rate(queue: &mut Queue, config: &ModelConfig) -> Result<f64, QueueError> {
    const ROWS: u32 = 512;
    const AT_LEAST: Duration = Duration::from_millis(300);
    let (n, k) = (config.hidden_size, config.intermediate_size);
    let Precision { activations, weights } = queue.describe().precision;
    let op = LinearResidual {
        x: queue.tensor("x", activations, &[ROWS, k])?,
        weight: queue.tensor("weight", weights[0], &[n, k])?,
        residual: queue.tensor("residual", activations, &[ROWS, n])?,
        out: queue.tensor("out", activations, &[ROWS, n])?,
    };
    // The first one finds memory cold.
    queue.run(op)?;
    queue.wait()?;
    let (began, mut products) = (Instant::now(), 0.0);
    while began.elapsed() < AT_LEAST {
        queue.run(op)?;
        queue.wait()?;
        products += 1.0;
    }
    Ok(products * 2.0 * f64::from(ROWS) * f64::from(n) * f64::from(k) / began.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_a_run_is_the_median_of_its_last_steps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        assert_eq!(measured(&path), None);
        let line = |rate: usize| format!("{{\"step\":1,\"tokens_per_sec\":{rate}}}\n");
        let mut text: String = (0..300).map(|_| line(1)).chain((0..100).map(|i| line(1000 + i))).collect();
        // A line that a kill has torn does not count.
        text += "{\"step\":401,\"tok";
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
        assert!(measured(&path).is_some_and(|rate| (1049.0..=1051.0).contains(&rate)));
    }

    #[test]
    fn milestones_that_fall_together_are_counted_once() {
        assert_eq!(least_common_multiple(4, 6), 12);
        assert_eq!(least_common_multiple(1_000_000_000, 10_000_000_000), 10_000_000_000);
    }
}

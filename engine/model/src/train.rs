//! A training step as three programs: the first micro-batch, further ones, and the optimizer.
//!
//! The programs of a micro-batch are captured once for each [`Shape`], over the same buffers, which hold the largest.

use crate::Flat;
use crate::net::{Net, Rows, flat};
use buffers::{Activations, BySource, Inputs};
use octo_ops::{DType, Forward, HeadLogprob, Program, Slot, StepBlock, StepResult, View};
use octo_queue::{Queue, QueueError, Region};
use pass::Pass;
use policy::{Policy, PolicyViews};
use update::Update;

pub use policy::{PolicyForward, PolicyShape};
pub use recompute::Recompute;

mod buffers;
mod pass;
mod policy;
mod recompute;
mod update;

/// AdamW's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Of matrices; norms and biases have none.
    pub weight_decay: f64,
    /// Largest gradient norm; infinite for none.
    pub clip: f64,
}

/// The size of a micro-batch, and by what its losses are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of a micro-batch.
    pub tokens: u32,
    /// Most documents that a micro-batch may hold.
    pub documents: u32,
    /// Sequences, all of one length; each comes from one source.
    pub sequences: u32,
    /// Sources that sequences come from. Where there is one, no losses are told apart.
    pub sources: u32,
}

/// What AdamW's moments are held in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Moments {
    /// f32.
    #[default]
    F32,
    /// bf16, rounded at random ([`octo_ops::rounding`]): four bytes a parameter less.
    Bf16 {
        /// Key of the random numbers.
        seed: u64,
    },
}

/// What a trainer may do otherwise than it does by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrainerOptions {
    /// What the backward pass computes again.
    pub recompute: Recompute,
    /// Micro-batches of policy losses; without them there are no programs and no buffers for such.
    pub policy: Option<PolicyShape>,
    /// What AdamW's moments are held in.
    pub moments: Moments,
    /// Where what a micro-batch leaves lies, in turns with what other phases leave; in buffers of its own otherwise.
    pub region: Option<Region>,
}

/// One micro-batch on the host.
#[derive(Clone, Copy, Debug)]
pub struct MicroBatch<'a> {
    /// Token ids \[tokens\].
    pub ids: &'a [u32],
    /// Next tokens, −1 for none \[tokens\].
    pub labels: &'a [i32],
    /// Positions \[tokens\].
    pub positions: &'a [u32],
    /// First row of each document and the end; filled up with empty documents.
    pub cu_seqlens: &'a [u32],
    /// The source of each sequence \[sequences\].
    pub sources: &'a [u32],
}

/// What a step left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Mean loss a target, in nats.
    pub loss: f64,
    /// Sum of the losses of each source's targets; empty where the step's shape has one source.
    pub source_losses: Vec<f64>,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Loss or norm was not finite: the weights were left as they were.
    pub halted: bool,
}

/// Gradients, optimizer state, activations and the captured programs of one training run.
pub struct Trainer {
    net: Net,
    optimizer: AdamWConfig,
    /// f32, element for element as the weights.
    gradients: Flat,
    /// With bf16 weights: the lower halves of the masters, i16.
    remainder: Option<Flat>,
    moments: [Flat; 2],
    step_block: View,
    result: View,
    passes: Vec<Programs>,
    policy: Option<Policy>,
    update: Program,
    pub(crate) updates: u64,
    /// Targets of the step under way.
    targets: f64,
    /// Where the losses by source of the step under way are, if they are told apart.
    by_source: Option<View>,
    /// The step whose report has not been fetched.
    pending: Option<Pending>,
}

/// What is known of a step before its report.
struct Pending {
    targets: f64,
    /// Numbers that will be read back for its sources.
    source_words: usize,
}

/// The programs of one shape, and the views they work on.
struct Programs {
    shape: Shape,
    inputs: Inputs,
    by_source: Option<BySource>,
    logprob: View,
    first: Program,
    further: Program,
    score: Program,
}

/// Readback slot of the step's result.
const RESULT: Slot = Slot(0);
/// Readback slot of log-probabilities.
const LOGPROB: Slot = Slot(1);
/// Readback slot of the losses by source.
const BY_SOURCE: Slot = Slot(6);

impl Trainer {
    /// [`Trainer::with`] the default options.
    pub fn new(
        queue: &mut Queue,
        net: Net,
        optimizer: AdamWConfig,
        shapes: &[Shape],
    ) -> Result<Trainer, QueueError> {
        Trainer::with(queue, net, optimizer, shapes, TrainerOptions::default())
    }

    /// Allocates everything a run needs beside the weights and captures its programs: for the micro-batches of each
    /// of these shapes, and one for all of them that updates the weights. What is recorded to train has the queue's choice
    /// of kernels for forward products; scores are always [`Forward::Invariant`].
    pub fn with(
        queue: &mut Queue,
        net: Net,
        optimizer: AdamWConfig,
        shapes: &[Shape],
        TrainerOptions { recompute, policy, moments: held, region }: TrainerOptions,
    ) -> Result<Trainer, QueueError> {
        let largest = check_shapes(shapes, policy)?;
        let mut arena = |name, dtype| flat(queue, name, dtype, &net.params);
        let gradients = arena("gradients", DType::F32)?;
        let remainder = match net.weights.dtype {
            DType::Bf16 => Some(arena("remainder", DType::I16)?),
            _ => None,
        };
        let (dtype, seed) = match held {
            Moments::F32 => (DType::F32, None),
            Moments::Bf16 { seed } => (DType::Bf16, Some(seed)),
        };
        let moments = [arena("moment 1", dtype)?, arena("moment 2", dtype)?];
        let tokens = [largest.tokens];
        let rows = Rows {
            ids: queue.tensor("ids", DType::U32, &tokens)?,
            positions: queue.tensor("positions", DType::U32, &tokens)?,
            cu_seqlens: queue.tensor("cu_seqlens", DType::U32, &[largest.documents + 1])?,
            paged: None,
        };
        let inputs = Inputs { rows, labels: queue.tensor("labels", DType::I32, &tokens)? };
        let step_block = queue.tensor("step block", DType::F32, &[StepBlock::WORDS])?;
        let result = queue.tensor("step result", DType::F32, &[StepResult::WORDS])?;
        let logprob = queue.tensor("logprob", DType::F32, &tokens)?;
        let by_source = match largest.sources {
            0 | 1 => None,
            sources => Some(BySource {
                ids: queue.tensor("sources", DType::U32, &[largest.sequences])?,
                sequences: queue.tensor(
                    "sequence losses",
                    DType::F32,
                    &[largest.sequences, StepResult::WORDS],
                )?,
                sources: queue.tensor("source losses", DType::F32, &[sources, StepResult::WORDS])?,
            }),
        };
        let phase = |q: &mut Queue| -> Result<_, QueueError> {
            let all = Activations::allocate(q, &net, largest.tokens, recompute)?;
            let views = policy.map(|shape| PolicyViews::allocate(q, &net, shape)).transpose()?;
            Ok((all, views))
        };
        let (all, policy_views) = match region {
            Some(region) => queue.within(region, phase)?,
            None => phase(queue)?,
        };
        let update = Update { net: &net, optimizer, gradients, remainder, moments, seed, step_block, result };
        let update = queue.capture(|q| update.run(q))?;
        let mut passes = Vec::new();
        for &shape in shapes {
            let a = all.first_rows(shape.tokens);
            let inputs = inputs.of(shape);
            let by_source = by_source.filter(|_| shape.sources > 1).map(|by_source| by_source.of(shape));
            let logprob = logprob.slice_rows(0, shape.tokens);
            let pass = Pass { net: &net, a: &a, inputs, by_source, step_block, result, gradients, recompute };
            passes.push(Programs {
                shape,
                inputs,
                by_source,
                logprob,
                first: queue.capture(|q| pass.run(q, false))?,
                further: queue.capture(|q| pass.run(q, true))?,
                score: queue.with_forward(Forward::Invariant, |q| {
                    q.capture(|q| {
                        pass.forward(q)?;
                        let (hidden, weight) = (a.final_norm, net.head());
                        q.run(HeadLogprob { hidden, weight, labels: inputs.labels, logprob })
                    })
                })?,
            });
        }
        let policy = match policy.zip(policy_views) {
            None => None,
            Some((shape, views)) => {
                let (a, inputs) = (all.first_rows(shape.tokens), inputs.of(shape.inputs()));
                let by_source = None;
                let pass =
                    Pass { net: &net, a: &a, inputs, by_source, step_block, result, gradients, recompute };
                Some(Policy::new(queue, &pass, shape, views)?)
            }
        };
        Ok(Trainer {
            net,
            optimizer,
            gradients,
            remainder,
            moments,
            step_block,
            result,
            passes,
            policy,
            update,
            updates: 0,
            targets: 1.0,
            by_source: None,
            pending: None,
        })
    }

    /// The model that is trained.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The flat gradient arena of the last step, before clipping.
    pub fn gradients(&self) -> Flat {
        self.gradients
    }

    /// The lower halves of the masters, when weights are bf16.
    pub fn remainder(&self) -> Option<Flat> {
        self.remainder
    }

    /// First and second moments, f32 or bf16.
    pub fn moments(&self) -> [Flat; 2] {
        self.moments
    }

    /// Optimizer steps taken.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// One optimizer step over micro-batches, all of one of this trainer's shapes: [`Trainer::begin`], each
    /// [`Trainer::pass`], [`Trainer::update`].
    pub fn step(
        &mut self,
        queue: &mut Queue,
        lr: f64,
        micro_batches: &[MicroBatch<'_>],
    ) -> Result<Option<StepReport>, QueueError> {
        let targets = micro_batches.iter().map(|b| b.labels.iter().filter(|&&l| l >= 0).count()).sum();
        self.begin(queue, lr, targets)?;
        for (i, batch) in micro_batches.iter().enumerate() {
            self.pass(queue, i, batch)?;
        }
        self.update(queue)
    }

    /// Begins a step with its learning rate and the number of labels that are not −1 in all its micro-batches.
    /// A step that was begun and not updated leaves weights and moments as they are: the next one begins anew.
    pub fn begin(&mut self, queue: &mut Queue, lr: f64, targets: usize) -> Result<(), QueueError> {
        let update = self.updates + 1;
        let correction = |beta: f64| (1.0 - beta.powf(update as f64)) as f32;
        let block = StepBlock {
            lr: lr as f32,
            bias_correction1: correction(self.optimizer.beta1),
            bias_correction2: correction(self.optimizer.beta2),
            clip: self.optimizer.clip as f32,
            inv_targets: 1.0 / targets.max(1) as f32,
            update: update as u32,
        };
        self.targets = targets.max(1) as f64;
        queue.upload(self.step_block, bytemuck::bytes_of(&block))
    }

    /// Forward and backward of the step's micro-batch `index`, from 0, in order; all of a step have one shape.
    pub fn pass(
        &mut self,
        queue: &mut Queue,
        index: usize,
        batch: &MicroBatch<'_>,
    ) -> Result<(), QueueError> {
        let sequences = batch.sources.len();
        self.forget();
        let pass = self.programs(batch, |shape| shape.sequences as usize == sequences)?;
        pass.upload(queue, batch)?;
        if let Some(by_source) = &pass.by_source {
            queue.upload(by_source.ids, bytemuck::cast_slice(batch.sources))?;
        }
        let program = if index == 0 { pass.first } else { pass.further };
        queue.range("micro-batch", |q| q.replay(program))?;
        self.by_source = pass.by_source.map(|by_source| by_source.sources);
        Ok(())
    }

    /// Ends a step: norm, clip, AdamW. Returns the report of the step *before* this one: the host never waits
    /// for the step it has just asked for.
    pub fn update(&mut self, queue: &mut Queue) -> Result<Option<StepReport>, QueueError> {
        queue.range("update", |q| q.replay(self.update))?;
        self.updates += 1;
        let report = self.finish(queue)?;
        queue.begin_readback(RESULT, self.result)?;
        if let Some(by_source) = self.by_source {
            queue.begin_readback(BY_SOURCE, by_source)?;
        }
        let source_words = self.by_source.map_or(0, |view| view.elements());
        self.pending = Some(Pending { targets: self.targets, source_words });
        Ok(report)
    }

    /// The report of the last step, if it has not been returned yet.
    pub fn finish(&mut self, queue: &mut Queue) -> Result<Option<StepReport>, QueueError> {
        let Some(Pending { targets, source_words }) = self.pending.take() else { return Ok(None) };
        let mut result = StepResult::default();
        queue.finish_readback(RESULT, bytemuck::bytes_of_mut(&mut result))?;
        let mut by_source = vec![0.0f32; source_words];
        if source_words > 0 {
            queue.finish_readback(BY_SOURCE, bytemuck::cast_slice_mut(&mut by_source))?;
        }
        let words = by_source.chunks_exact(StepResult::WORDS as usize);
        Ok(Some(StepReport {
            loss: f64::from(result.loss_sum) / targets,
            source_losses: words.map(|words| words[StepResult::LOSS_SUM].into()).collect(),
            grad_norm: result.grad_norm.into(),
            halted: result.halted != 0.0,
        }))
    }

    /// Log-probability of each label of a micro-batch, 0 where there is none; weights are only read.
    pub fn score(&mut self, queue: &mut Queue, batch: &MicroBatch<'_>) -> Result<Vec<f32>, QueueError> {
        self.forget();
        let pass = self.programs(batch, |_| true)?;
        pass.upload(queue, batch)?;
        queue.range("score", |q| q.replay(pass.score))?;
        queue.begin_readback(LOGPROB, pass.logprob)?;
        let mut logprobs = vec![0.0f32; pass.shape.tokens as usize];
        queue.finish_readback(LOGPROB, bytemuck::cast_slice_mut(&mut logprobs))?;
        Ok(logprobs)
    }

    /// Activations are about to be overwritten.
    fn forget(&mut self) {
        self.policy.iter_mut().for_each(Policy::forget);
    }

    /// The programs for a micro-batch.
    fn programs(
        &self,
        batch: &MicroBatch<'_>,
        fits: impl Fn(&Shape) -> bool,
    ) -> Result<&Programs, QueueError> {
        let tokens = batch.ids.len();
        let mut passes = self.passes.iter();
        let found = passes.find(|pass| pass.shape.tokens as usize == tokens && fits(&pass.shape));
        found.ok_or_else(|| {
            let sequences = batch.sources.len();
            misuse(format!("no program for a micro-batch of {tokens} tokens in {sequences} sequences"))
        })
    }
}

/// The smallest shape that holds all of these, which differ from each other.
fn check_shapes(shapes: &[Shape], policy: Option<PolicyShape>) -> Result<Shape, QueueError> {
    let none = Shape { tokens: 0, documents: 0, sequences: 0, sources: 0 };
    let mut largest = policy.map_or(none, PolicyShape::inputs);
    for (i, shape) in shapes.iter().enumerate() {
        let same = |other: &Shape| (other.tokens, other.sequences) == (shape.tokens, shape.sequences);
        if shapes[..i].iter().any(same) {
            return Err(misuse(format!("{shape:?} is there twice")));
        }
        if shape.sequences == 0 || !shape.tokens.is_multiple_of(shape.sequences) {
            return Err(misuse(format!("{shape:?} is not whole sequences")));
        }
        largest = Shape {
            tokens: largest.tokens.max(shape.tokens),
            documents: largest.documents.max(shape.documents),
            sequences: largest.sequences.max(shape.sequences),
            sources: largest.sources.max(shape.sources),
        };
    }
    Ok(largest)
}

fn misuse(what: String) -> QueueError {
    QueueError::Misuse { what }
}

impl Programs {
    fn upload(&self, queue: &mut Queue, batch: &MicroBatch<'_>) -> Result<(), QueueError> {
        let documents = self.shape.documents as usize + 1;
        if batch.cu_seqlens.len() > documents {
            let given = batch.cu_seqlens.len();
            return Err(misuse(format!("{given} document bounds where {documents} fit")));
        }
        // The program's list of documents has a fixed length: the rest are empty.
        let mut cu_seqlens = batch.cu_seqlens.to_vec();
        cu_seqlens.resize(documents, self.shape.tokens);
        let Inputs { rows, labels } = self.inputs;
        queue.upload(rows.ids, bytemuck::cast_slice(batch.ids))?;
        queue.upload(rows.positions, bytemuck::cast_slice(batch.positions))?;
        queue.upload(rows.cu_seqlens, bytemuck::cast_slice(&cu_seqlens))?;
        queue.upload(labels, bytemuck::cast_slice(batch.labels))
    }
}

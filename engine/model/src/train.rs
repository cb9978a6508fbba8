//! A training step as three programs: the first micro-batch, further ones, and the optimizer.

use crate::net::{BlockViews, Net, Rows, flat, whole};
use crate::{Flat, LayerParams, Param};
use octo_ops::{
    AdamW, AttentionBackward, BiasBackward, DType, EmbedBackward, GradNorm, HeadLogprob, HeadLoss,
    LinearBackwardInput, LinearBackwardWeight, LossSum, Program, RmsNormBackward, RopeBackward, Slot,
    StepBlock, StepResult, SwigluBackward, View,
};
use octo_queue::{Queue, QueueError};

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

/// The size of a micro-batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of a micro-batch.
    pub tokens: u32,
    /// Most documents that a micro-batch may hold.
    pub documents: u32,
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
}

/// What a step left behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean loss a target, in nats.
    pub loss: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Loss or norm was not finite: the weights were left as they were.
    pub halted: bool,
}

/// Gradients, optimizer state, activations and the captured programs of one training run.
pub struct Trainer {
    net: Net,
    shape: Shape,
    optimizer: AdamWConfig,
    /// f32, element for element as the weights.
    gradients: Flat,
    /// With bf16 weights: the lower halves of the masters, i16.
    remainder: Option<Flat>,
    moments: [Flat; 2],
    batch: Rows,
    labels: View,
    step_block: View,
    result: View,
    logprob: View,
    programs: Programs,
    pub(crate) updates: u64,
    /// Targets of the step under way.
    targets: f64,
    /// Targets of the step whose report has not been fetched.
    pending: Option<f64>,
}

struct Programs {
    first: Program,
    further: Program,
    update: Program,
    score: Program,
}

/// What the passes of one micro-batch work on.
struct Activations {
    layers: Vec<BlockViews>,
    stream_end: View,
    final_norm: View,
    final_rstd: View,
    loss: View,
    dstream: View,
    dnorm: View,
    dattention: View,
    dqkv: View,
    dproduct: View,
}

/// Elements that one AdamW op updates at most: an axis has 32 bits.
const PIECE: u64 = 1 << 31;

/// Readback slot of the step's result.
const RESULT: Slot = Slot(0);
/// Readback slot of log-probabilities.
const LOGPROB: Slot = Slot(1);

impl Trainer {
    /// Allocates everything a run needs beside the weights and captures its programs.
    pub fn new(
        queue: &mut Queue,
        net: Net,
        optimizer: AdamWConfig,
        shape: Shape,
    ) -> Result<Trainer, QueueError> {
        let mut arena = |name, dtype| flat(queue, name, dtype, &net.params);
        let gradients = arena("gradients", DType::F32)?;
        let remainder = match net.weights.dtype {
            DType::Bf16 => Some(arena("remainder", DType::I16)?),
            _ => None,
        };
        let moments = [arena("moment 1", DType::F32)?, arena("moment 2", DType::F32)?];
        let tokens = [shape.tokens];
        let batch = Rows {
            ids: queue.tensor("ids", DType::U32, &tokens)?,
            positions: queue.tensor("positions", DType::U32, &tokens)?,
            cu_seqlens: queue.tensor("cu_seqlens", DType::U32, &[shape.documents + 1])?,
            paged: None,
        };
        let labels = queue.tensor("labels", DType::I32, &tokens)?;
        let step_block = queue.tensor("step block", DType::F32, &[StepBlock::WORDS])?;
        let result = queue.tensor("step result", DType::F32, &[StepResult::WORDS])?;
        let logprob = queue.tensor("logprob", DType::F32, &tokens)?;
        let a = Activations::allocate(queue, &net, shape)?;
        let pass = Pass { net: &net, a: &a, batch, labels, step_block, result, gradients };
        let programs = Programs {
            first: queue.capture(|q| pass.forward(q).and_then(|()| pass.backward(q, false)))?,
            further: queue.capture(|q| pass.forward(q).and_then(|()| pass.backward(q, true)))?,
            update: queue.capture(|q| pass.update(q, &optimizer, remainder, moments))?,
            score: queue.capture(|q| {
                pass.forward(q)?;
                q.run(HeadLogprob { hidden: a.final_norm, weight: net.head(), labels, logprob })
            })?,
        };
        Ok(Trainer {
            net,
            shape,
            optimizer,
            gradients,
            remainder,
            moments,
            batch,
            labels,
            step_block,
            result,
            logprob,
            programs,
            updates: 0,
            targets: 1.0,
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

    /// First and second moments.
    pub fn moments(&self) -> [Flat; 2] {
        self.moments
    }

    /// Optimizer steps taken.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// One optimizer step over micro-batches, all of this trainer's shape: [`Trainer::begin`], each
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
        };
        self.targets = targets.max(1) as f64;
        queue.upload(self.step_block, bytemuck::bytes_of(&block))
    }

    /// Forward and backward of the step's micro-batch `index`, from 0, in order.
    pub fn pass(
        &mut self,
        queue: &mut Queue,
        index: usize,
        batch: &MicroBatch<'_>,
    ) -> Result<(), QueueError> {
        self.upload(queue, batch)?;
        queue.replay(if index == 0 { self.programs.first } else { self.programs.further })
    }

    /// Ends a step: norm, clip, AdamW. Returns the report of the step *before* this one: the host never waits
    /// for the step it has just asked for.
    pub fn update(&mut self, queue: &mut Queue) -> Result<Option<StepReport>, QueueError> {
        queue.replay(self.programs.update)?;
        self.updates += 1;
        let report = self.finish(queue)?;
        queue.begin_readback(RESULT, self.result)?;
        self.pending = Some(self.targets);
        Ok(report)
    }

    /// The report of the last step, if it has not been returned yet.
    pub fn finish(&mut self, queue: &mut Queue) -> Result<Option<StepReport>, QueueError> {
        let Some(targets) = self.pending.take() else { return Ok(None) };
        let mut result = StepResult::default();
        queue.finish_readback(RESULT, bytemuck::bytes_of_mut(&mut result))?;
        Ok(Some(StepReport {
            loss: f64::from(result.loss_sum) / targets,
            grad_norm: result.grad_norm.into(),
            halted: result.halted != 0.0,
        }))
    }

    /// Log-probability of each label of a micro-batch, 0 where there is none; weights are only read.
    pub fn score(&mut self, queue: &mut Queue, batch: &MicroBatch<'_>) -> Result<Vec<f32>, QueueError> {
        self.upload(queue, batch)?;
        queue.replay(self.programs.score)?;
        queue.begin_readback(LOGPROB, self.logprob)?;
        let mut logprobs = vec![0.0f32; self.shape.tokens as usize];
        queue.finish_readback(LOGPROB, bytemuck::cast_slice_mut(&mut logprobs))?;
        Ok(logprobs)
    }

    fn upload(&self, queue: &mut Queue, batch: &MicroBatch<'_>) -> Result<(), QueueError> {
        let documents = self.shape.documents as usize + 1;
        if batch.cu_seqlens.len() > documents {
            return Err(QueueError::Misuse {
                what: format!("{} document bounds where {documents} fit", batch.cu_seqlens.len()),
            });
        }
        // The program's list of documents has a fixed length: the rest are empty.
        let mut cu_seqlens = batch.cu_seqlens.to_vec();
        cu_seqlens.resize(documents, self.shape.tokens);
        queue.upload(self.batch.ids, bytemuck::cast_slice(batch.ids))?;
        queue.upload(self.batch.positions, bytemuck::cast_slice(batch.positions))?;
        queue.upload(self.batch.cu_seqlens, bytemuck::cast_slice(&cu_seqlens))?;
        queue.upload(self.labels, bytemuck::cast_slice(batch.labels))
    }
}

impl Activations {
    fn allocate(queue: &mut Queue, net: &Net, shape: Shape) -> Result<Activations, QueueError> {
        let c = &net.config;
        let (hidden, ffn, q_width, kv_width) =
            (c.hidden_size, c.intermediate_size, c.q_width(), c.kv_width());
        let tokens = shape.tokens;
        let mut tensor = |name: &str, shape: &[u32]| queue.tensor(name, DType::F32, shape);
        let mut layers: Vec<BlockViews> = Vec::new();
        let mut stream = tensor("stream 0", &[tokens, hidden])?;
        for layer in 0..c.num_hidden_layers {
            let mut tensor = |what: &str, shape: &[u32]| tensor(&format!("layer {layer} {what}"), shape);
            let block = BlockViews {
                stream_in: stream,
                norm1: tensor("norm1", &[tokens, hidden])?,
                rstd1: tensor("rstd1", &[tokens])?,
                q: tensor("q", &[tokens, q_width])?,
                k: tensor("k", &[tokens, kv_width])?,
                v: tensor("v", &[tokens, kv_width])?,
                attention: tensor("attention", &[tokens, q_width])?,
                lse: tensor("lse", &[tokens, c.num_attention_heads])?,
                stream_mid: tensor("stream mid", &[tokens, hidden])?,
                norm2: tensor("norm2", &[tokens, hidden])?,
                rstd2: tensor("rstd2", &[tokens])?,
                gate_up: Some(tensor("gate_up", &[tokens, 2 * ffn])?),
                product: tensor("product", &[tokens, ffn])?,
                stream_out: tensor("stream out", &[tokens, hidden])?,
            };
            stream = block.stream_out;
            layers.push(block);
        }
        Ok(Activations {
            layers,
            stream_end: stream,
            final_norm: tensor("final norm", &[tokens, hidden])?,
            final_rstd: tensor("final rstd", &[tokens])?,
            loss: tensor("loss", &[tokens])?,
            dstream: tensor("dstream", &[tokens, hidden])?,
            dnorm: tensor("dnorm", &[tokens, hidden])?,
            dattention: tensor("dattention", &[tokens, q_width])?,
            dqkv: tensor("dqkv", &[tokens, q_width + 2 * kv_width])?,
            dproduct: tensor("dproduct", &[tokens, ffn])?,
        })
    }
}

/// The ops of a micro-batch and of the optimizer, in order.
struct Pass<'a> {
    net: &'a Net,
    a: &'a Activations,
    batch: Rows,
    labels: View,
    step_block: View,
    result: View,
    gradients: Flat,
}

impl Pass<'_> {
    fn gradient(&self, param: Param) -> View {
        self.net.params.view(self.gradients, param)
    }

    fn forward(&self, q: &mut Queue) -> Result<(), QueueError> {
        let (net, a) = (self.net, self.a);
        let first = a.layers.first().map_or(a.stream_end, |block| block.stream_in);
        net.embed(q, self.batch.ids, first)?;
        for (layer, block) in net.params.layers().iter().zip(&a.layers) {
            net.block(q, layer, &self.batch, block)?;
        }
        net.final_norm(q, a.stream_end, a.final_norm, a.final_rstd)
    }

    /// Loss and gradients; `accumulate` adds to what earlier micro-batches left.
    fn backward(&self, q: &mut Queue, accumulate: bool) -> Result<(), QueueError> {
        let (net, a, params) = (self.net, self.a, &self.net.params);
        q.run(HeadLoss {
            hidden: a.final_norm,
            weight: net.head(),
            labels: self.labels,
            step_block: self.step_block,
            loss: a.loss,
            dhidden: a.dnorm,
            dweight: self.gradient(params.head()),
            accumulate,
        })?;
        q.run(LossSum { loss: a.loss, result: self.result, accumulate })?;
        q.run(RmsNormBackward {
            dy: a.dnorm,
            x: a.stream_end,
            weight: net.weight(params.final_norm()),
            rstd: a.final_rstd,
            dx: a.dstream,
            dweight: self.gradient(params.final_norm()),
            accumulate_dx: false,
            accumulate,
        })?;
        for (layer, block) in params.layers().iter().zip(&a.layers).rev() {
            self.feed_forward_backward(q, layer, block, accumulate)?;
            self.attention_backward(q, layer, block, accumulate)?;
        }
        // A tied matrix already holds the head's part of its gradient.
        let tied = params.head() == params.embedding();
        q.run(EmbedBackward {
            ids: self.batch.ids,
            dx: a.dstream,
            dweight: self.gradient(params.embedding()),
            accumulate: accumulate || tied,
        })
    }

    fn feed_forward_backward(
        &self,
        q: &mut Queue,
        layer: &LayerParams,
        block: &BlockViews,
        accumulate: bool,
    ) -> Result<(), QueueError> {
        let (net, a) = (self.net, self.a);
        let Some(gate_up) = block.gate_up else {
            return Err(QueueError::Misuse { what: "training needs gate and up kept".into() });
        };
        q.run(LinearBackwardInput { dy: a.dstream, weight: net.weight(layer.down), dx: a.dproduct })?;
        self.weight_gradient(q, a.dstream, block.product, layer.down, accumulate)?;
        q.run(SwigluBackward { dproduct: a.dproduct, gate_up })?;
        q.run(LinearBackwardInput { dy: gate_up, weight: net.weight(layer.gate_up), dx: a.dnorm })?;
        self.weight_gradient(q, gate_up, block.norm2, layer.gate_up, accumulate)?;
        q.run(RmsNormBackward {
            dy: a.dnorm,
            x: block.stream_mid,
            weight: net.weight(layer.norm2),
            rstd: block.rstd2,
            dx: a.dstream,
            dweight: self.gradient(layer.norm2),
            accumulate_dx: true,
            accumulate,
        })
    }

    fn attention_backward(
        &self,
        q: &mut Queue,
        layer: &LayerParams,
        block: &BlockViews,
        accumulate: bool,
    ) -> Result<(), QueueError> {
        let (net, a) = (self.net, self.a);
        let (q_width, kv_width) = (block.q.shape()[1], block.k.shape()[1]);
        q.run(LinearBackwardInput { dy: a.dstream, weight: net.weight(layer.o), dx: a.dattention })?;
        self.weight_gradient(q, a.dstream, block.attention, layer.o, accumulate)?;
        q.run(AttentionBackward {
            q: block.q,
            k: block.k,
            v: block.v,
            out: block.attention,
            lse: block.lse,
            dout: a.dattention,
            cu_seqlens: self.batch.cu_seqlens,
            dq: a.dqkv.slice_columns(0, q_width),
            dk: a.dqkv.slice_columns(q_width, kv_width),
            dv: a.dqkv.slice_columns(q_width + kv_width, kv_width),
            head_dim: net.config.head_dim,
            scale: net.attention_scale(),
        })?;
        q.run(RopeBackward {
            rope: net.rope,
            positions: self.batch.positions,
            dqk: a.dqkv.slice_columns(0, q_width + kv_width),
        })?;
        q.run(LinearBackwardInput { dy: a.dqkv, weight: net.weight(layer.qkv), dx: a.dnorm })?;
        self.weight_gradient(q, a.dqkv, block.norm1, layer.qkv, accumulate)?;
        if let Some(bias) = layer.qkv_bias {
            q.run(BiasBackward { dy: a.dqkv, dbias: self.gradient(bias), accumulate })?;
        }
        q.run(RmsNormBackward {
            dy: a.dnorm,
            x: block.stream_in,
            weight: net.weight(layer.norm1),
            rstd: block.rstd1,
            dx: a.dstream,
            dweight: self.gradient(layer.norm1),
            accumulate_dx: true,
            accumulate,
        })
    }

    fn weight_gradient(
        &self,
        q: &mut Queue,
        dy: View,
        x: View,
        param: Param,
        accumulate: bool,
    ) -> Result<(), QueueError> {
        q.run(LinearBackwardWeight { dy, x, dweight: self.gradient(param), accumulate })
    }

    /// Norm, clip and AdamW over the decayed and undecayed ranges.
    fn update(
        &self,
        q: &mut Queue,
        optimizer: &AdamWConfig,
        remainder: Option<Flat>,
        moments: [Flat; 2],
    ) -> Result<(), QueueError> {
        let params = &self.net.params;
        let (step_block, result) = (self.step_block, self.result);
        q.run(GradNorm { grad: whole(self.gradients, params), step_block, result })?;
        let decayed = params.decayed_ranges().map(|range| (range, optimizer.weight_decay));
        let undecayed = params.undecayed_ranges().map(|range| (range, 0.0));
        let pieces = decayed.chain(undecayed).flat_map(|(range, weight_decay)| {
            let starts = range.clone().step_by(PIECE as usize);
            starts.map(move |start| (start..range.end.min(start + PIECE), weight_decay))
        });
        for (range, weight_decay) in pieces {
            let length = [(range.end - range.start) as u32];
            let part = |arena: Flat| {
                View::new(arena.buffer, range.start * arena.dtype.bytes(), arena.dtype, &length)
            };
            q.run(AdamW {
                weight: part(self.net.weights),
                remainder: remainder.map(part),
                grad: part(self.gradients),
                m: part(moments[0]),
                v: part(moments[1]),
                step_block,
                result,
                beta1: optimizer.beta1 as f32,
                beta2: optimizer.beta2 as f32,
                eps: optimizer.eps as f32,
                weight_decay: weight_decay as f32,
            })?;
        }
        Ok(())
    }
}

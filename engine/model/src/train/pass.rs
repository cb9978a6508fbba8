//! The ops of a micro-batch: forward, loss, backward, and losses by source.

use super::Shape;
use crate::net::{BlockViews, Net, Rows};
use crate::{Flat, LayerParams, Param};
use octo_ops::{
    AttentionBackward, BiasBackward, DType, EmbedBackward, HeadLoss, LinearBackwardInput,
    LinearBackwardWeight, LossSum, RmsNormBackward, RopeBackward, StepResult, SwigluBackward, View,
};
use octo_queue::{Queue, QueueError};

/// What is uploaded for a micro-batch.
#[derive(Clone, Copy)]
pub(super) struct Inputs {
    pub(super) rows: Rows,
    pub(super) labels: View,
}

/// Losses by source: each sequence's are summed up, and the sums added up by source.
#[derive(Clone, Copy)]
pub(super) struct BySource {
    /// The source of each sequence, u32 \[sequences\].
    pub(super) ids: View,
    /// A [`StepResult`] a sequence, of which only the loss is used, f32 \[sequences, words\].
    pub(super) sequences: View,
    /// The same a source, f32 \[sources, words\].
    pub(super) sources: View,
}

/// What the passes of one micro-batch work on.
pub(super) struct Activations {
    pub(super) layers: Vec<BlockViews>,
    pub(super) stream_end: View,
    pub(super) final_norm: View,
    pub(super) final_rstd: View,
    pub(super) loss: View,
    pub(super) dstream: View,
    pub(super) dnorm: View,
    pub(super) dattention: View,
    pub(super) dqkv: View,
    pub(super) dproduct: View,
}

impl Inputs {
    /// The part of the buffers that micro-batches of a shape use.
    pub(super) fn of(&self, shape: Shape) -> Inputs {
        let rows = Rows {
            ids: self.rows.ids.slice_rows(0, shape.tokens),
            positions: self.rows.positions.slice_rows(0, shape.tokens),
            cu_seqlens: self.rows.cu_seqlens.slice_rows(0, shape.documents + 1),
            paged: None,
        };
        Inputs { rows, labels: self.labels.slice_rows(0, shape.tokens) }
    }
}

impl BySource {
    /// As [`Inputs::of`].
    pub(super) fn of(&self, shape: Shape) -> BySource {
        BySource {
            ids: self.ids.slice_rows(0, shape.sequences),
            sequences: self.sequences.slice_rows(0, shape.sequences),
            sources: self.sources.slice_rows(0, shape.sources),
        }
    }

    /// Sums up the losses of each sequence's rows, and adds the sums up by source.
    fn run(&self, q: &mut Queue, loss: View, accumulate: bool) -> Result<(), QueueError> {
        let sequences = self.ids.rows() as u32;
        let length = loss.rows() as u32 / sequences;
        for sequence in 0..sequences {
            let words = self.sequences.slice_rows(sequence, 1);
            let result = View::new(words.buffer, words.offset, words.dtype, &[StepResult::WORDS]);
            q.run(LossSum { loss: loss.slice_rows(sequence * length, length), result, accumulate: false })?;
        }
        // Rows of numbers, added up by the index that comes with each: that is what this op does.
        q.run(EmbedBackward { ids: self.ids, dx: self.sequences, dweight: self.sources, accumulate })
    }
}

impl Activations {
    pub(super) fn allocate(queue: &mut Queue, net: &Net, tokens: u32) -> Result<Activations, QueueError> {
        let c = &net.config;
        let (hidden, ffn, q_width, kv_width) =
            (c.hidden_size, c.intermediate_size, c.q_width(), c.kv_width());
        let activations = queue.describe().precision.activations;
        // One number a row, or a head, stays f32.
        let dtype = |what: &str| match what {
            "rstd1" | "rstd2" | "lse" | "final rstd" | "loss" => DType::F32,
            _ => activations,
        };
        let mut tensor = |layer: Option<u32>, what: &str, shape: &[u32]| {
            let name = layer.map_or_else(|| what.to_owned(), |layer| format!("layer {layer} {what}"));
            queue.tensor(&name, dtype(what), shape)
        };
        let mut layers: Vec<BlockViews> = Vec::new();
        let mut stream = tensor(None, "stream 0", &[tokens, hidden])?;
        for layer in 0..c.num_hidden_layers {
            let mut tensor = |what: &str, shape: &[u32]| tensor(Some(layer), what, shape);
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
        let mut tensor = |what: &str, shape: &[u32]| tensor(None, what, shape);
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

    /// The same buffers, as micro-batches of fewer rows use them.
    pub(super) fn first_rows(&self, tokens: u32) -> Activations {
        let first = |view: View| view.slice_rows(0, tokens);
        let block = |block: &BlockViews| BlockViews {
            stream_in: first(block.stream_in),
            norm1: first(block.norm1),
            rstd1: first(block.rstd1),
            q: first(block.q),
            k: first(block.k),
            v: first(block.v),
            attention: first(block.attention),
            lse: first(block.lse),
            stream_mid: first(block.stream_mid),
            norm2: first(block.norm2),
            rstd2: first(block.rstd2),
            gate_up: block.gate_up.map(first),
            product: first(block.product),
            stream_out: first(block.stream_out),
        };
        Activations {
            layers: self.layers.iter().map(block).collect(),
            stream_end: first(self.stream_end),
            final_norm: first(self.final_norm),
            final_rstd: first(self.final_rstd),
            loss: first(self.loss),
            dstream: first(self.dstream),
            dnorm: first(self.dnorm),
            dattention: first(self.dattention),
            dqkv: first(self.dqkv),
            dproduct: first(self.dproduct),
        }
    }
}

/// The ops of a micro-batch, in order.
pub(super) struct Pass<'a> {
    pub(super) net: &'a Net,
    pub(super) a: &'a Activations,
    pub(super) inputs: Inputs,
    pub(super) by_source: Option<BySource>,
    pub(super) step_block: View,
    pub(super) result: View,
    pub(super) gradients: Flat,
}

impl Pass<'_> {
    fn gradient(&self, param: Param) -> View {
        self.net.params.view(self.gradients, param)
    }

    /// A micro-batch of training; `accumulate` adds to what earlier micro-batches left.
    pub(super) fn run(&self, q: &mut Queue, accumulate: bool) -> Result<(), QueueError> {
        q.range("forward", |q| self.forward(q))?;
        q.range("backward", |q| self.backward(q, accumulate))
    }

    pub(super) fn forward(&self, q: &mut Queue) -> Result<(), QueueError> {
        let (net, a) = (self.net, self.a);
        let first = a.layers.first().map_or(a.stream_end, |block| block.stream_in);
        net.embed(q, self.inputs.rows.ids, first)?;
        for (index, (layer, block)) in net.params.layers().iter().zip(&a.layers).enumerate() {
            q.layer(index, |q| net.block(q, layer, &self.inputs.rows, block))?;
        }
        net.final_norm(q, a.stream_end, a.final_norm, a.final_rstd)
    }

    /// Loss and gradients.
    fn backward(&self, q: &mut Queue, accumulate: bool) -> Result<(), QueueError> {
        let (net, a, params) = (self.net, self.a, &self.net.params);
        q.run(HeadLoss {
            hidden: a.final_norm,
            weight: net.head(),
            labels: self.inputs.labels,
            step_block: self.step_block,
            loss: a.loss,
            dhidden: a.dnorm,
            dweight: self.gradient(params.head()),
            accumulate,
        })?;
        q.run(LossSum { loss: a.loss, result: self.result, accumulate })?;
        if let Some(by_source) = &self.by_source {
            by_source.run(q, a.loss, accumulate)?;
        }
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
        for (index, (layer, block)) in params.layers().iter().zip(&a.layers).enumerate().rev() {
            q.layer(index, |q| {
                self.feed_forward_backward(q, layer, block, accumulate)?;
                self.attention_backward(q, layer, block, accumulate)
            })?;
        }
        // A tied matrix already holds the head's part of its gradient.
        let tied = params.head() == params.embedding();
        q.run(EmbedBackward {
            ids: self.inputs.rows.ids,
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
            cu_seqlens: self.inputs.rows.cu_seqlens,
            dq: a.dqkv.slice_columns(0, q_width),
            dk: a.dqkv.slice_columns(q_width, kv_width),
            dv: a.dqkv.slice_columns(q_width + kv_width, kv_width),
            head_dim: net.config.head_dim,
            scale: net.attention_scale(),
        })?;
        q.run(RopeBackward {
            rope: net.rope,
            positions: self.inputs.rows.positions,
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
}

//! The buffers of training beside its arenas: what is uploaded for a micro-batch, and what its passes leave.

use super::Shape;
use super::recompute::{Part, Recompute};
use crate::net::{BlockViews, Net, Rows};
use octo_ops::{DType, EmbedBackward, LossSum, StepResult, View};
use octo_queue::{Queue, QueueError};
use std::collections::BTreeMap;

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
    pub(super) fn run(&self, q: &mut Queue, loss: View, accumulate: bool) -> Result<(), QueueError> {
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
    /// Buffers for micro-batches of so many rows. What is computed again has one buffer for all layers.
    pub(super) fn allocate(
        queue: &mut Queue,
        net: &Net,
        tokens: u32,
        recompute: Recompute,
    ) -> Result<Activations, QueueError> {
        let c = &net.config;
        let (hidden, ffn, q_width, kv_width) =
            (c.hidden_size, c.intermediate_size, c.q_width(), c.kv_width());
        let activations = queue.describe().precision.activations;
        // One number a row, or a head, stays f32.
        let dtype = |what: &str| match what {
            "rstd1" | "rstd2" | "lse" | "final rstd" | "loss" => DType::F32,
            _ => activations,
        };
        let mut shared: BTreeMap<&'static str, View> = BTreeMap::new();
        let mut layers: Vec<BlockViews> = Vec::new();
        let mut stream = queue.tensor("stream 0", activations, &[tokens, hidden])?;
        for layer in 0..c.num_hidden_layers {
            let mut tensor = |part: Part, what: &'static str, shape: &[u32]| {
                if !recompute.again(part) {
                    return queue.tensor(&format!("layer {layer} {what}"), dtype(what), shape);
                }
                if let Some(view) = shared.get(what) {
                    return Ok(*view);
                }
                let view = queue.tensor(&format!("any layer {what}"), dtype(what), shape)?;
                shared.insert(what, view);
                Ok(view)
            };
            let block = BlockViews {
                stream_in: stream,
                norm1: tensor(Part::Norm, "norm1", &[tokens, hidden])?,
                rstd1: tensor(Part::Norm, "rstd1", &[tokens])?,
                q: tensor(Part::Attention, "q", &[tokens, q_width])?,
                k: tensor(Part::Attention, "k", &[tokens, kv_width])?,
                v: tensor(Part::Attention, "v", &[tokens, kv_width])?,
                attention: tensor(Part::Attention, "attention", &[tokens, q_width])?,
                lse: tensor(Part::Attention, "lse", &[tokens, c.num_attention_heads])?,
                stream_mid: tensor(Part::Attention, "stream mid", &[tokens, hidden])?,
                norm2: tensor(Part::Norm, "norm2", &[tokens, hidden])?,
                rstd2: tensor(Part::Norm, "rstd2", &[tokens])?,
                gate_up: Some(tensor(Part::GateUp, "gate_up", &[tokens, 2 * ffn])?),
                product: tensor(Part::Product, "product", &[tokens, ffn])?,
                stream_out: tensor(Part::Stream, "stream out", &[tokens, hidden])?,
            };
            stream = block.stream_out;
            layers.push(block);
        }
        let mut tensor = |what: &str, shape: &[u32]| queue.tensor(what, dtype(what), shape);
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

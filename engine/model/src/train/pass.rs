//! The ops of a micro-batch: forward, backward, and what the backward pass computes again.

use super::buffers::{Activations, BySource, Inputs};
use super::recompute::{Part, Recompute};
use crate::net::{BlockViews, Net};
use crate::{Flat, LayerParams, Param};
use octo_ops::{
    AttentionBackward, BiasBackward, EmbedBackward, HeadLoss, LinearBackwardInput, LinearBackwardWeight,
    LossSum, RmsNormBackward, RopeBackward, Swiglu, SwigluBackward, View,
};
use octo_queue::{Queue, QueueError};

/// The ops of a micro-batch, in order.
pub(super) struct Pass<'a> {
    pub(super) net: &'a Net,
    pub(super) a: &'a Activations,
    pub(super) inputs: Inputs,
    pub(super) by_source: Option<BySource>,
    pub(super) step_block: View,
    pub(super) result: View,
    pub(super) gradients: Flat,
    pub(super) recompute: Recompute,
}

impl Pass<'_> {
    pub(super) fn gradient(&self, param: Param) -> View {
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
            // Gate and up are worth writing where the backward pass will find them.
            let kept = !self.recompute.again(Part::GateUp) || self.is_last(block);
            let block = BlockViews { gate_up: block.gate_up.filter(|_| kept), ..*block };
            q.layer(index, |q| net.block(q, layer, &self.inputs.rows, &block))?;
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
        self.below_the_head(q, accumulate)
    }

    /// Gradients of all below the head, from that of the final norm's result.
    pub(super) fn below_the_head(&self, q: &mut Queue, accumulate: bool) -> Result<(), QueueError> {
        let (net, a, params) = (self.net, self.a, &self.net.params);
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
                if !self.is_last(block) {
                    self.compute_again(q, layer, block)?;
                }
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

    /// The last block is the first of the backward pass: what all layers share still holds its activations.
    fn is_last(&self, block: &BlockViews) -> bool {
        block.stream_out == self.a.stream_end
    }

    /// Computes what was not kept of a block from what was.
    fn compute_again(
        &self,
        q: &mut Queue,
        layer: &LayerParams,
        block: &BlockViews,
    ) -> Result<(), QueueError> {
        let (net, again) = (self.net, |part| self.recompute.again(part));
        if again(Part::Attention) {
            net.attention(q, layer, &self.inputs.rows, block)?;
        } else if again(Part::Norm) {
            net.norm1(q, layer, block)?;
        }
        if again(Part::Norm) {
            net.norm2(q, layer, block)?;
        }
        match block.gate_up {
            _ if again(Part::GateUp) => net.gate_up(q, layer, block),
            Some(gate_up) if again(Part::Product) => q.run(Swiglu { gate_up, product: block.product }),
            _ => Ok(()),
        }
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

//! The model's forward pass, written once for every device, for training and inference alike.

use crate::{BUCKET_ALIGN, Flat, LayerParams, ModelConfig, Param, ParamTable};
use octo_ops::{Attention, DType, Embed, GateUpSwiglu, LinearResidual, QkvRope, RmsNorm, View};
use octo_queue::{Queue, QueueError};

/// A model on a device: its weights as one flat arena, and what is constant beside them.
pub struct Net {
    /// The architecture.
    pub config: ModelConfig,
    /// Where each parameter lies in the flat arenas.
    pub params: ParamTable,
    /// All weights, f32 or bf16.
    pub weights: Flat,
    /// cos(half) | sin(half), f32 \[positions, head_dim\].
    pub rope: View,
}

/// The rows of one pass: tokens of one or several documents, one after the other.
#[derive(Clone, Copy)]
pub struct Rows {
    /// Token ids, u32 \[rows\].
    pub ids: View,
    /// Position of each row in its document, u32 \[rows\].
    pub positions: View,
    /// First row of each document and the end, u32 \[documents + 1\].
    pub cu_seqlens: View,
    /// With a paged cache: where each row's key and value go, and the pages of each document.
    pub paged: Option<Paged>,
}

/// Addresses in a paged cache.
#[derive(Clone, Copy)]
pub struct Paged {
    /// page·64 + offset of each row, u32 \[rows\].
    pub slots: View,
    /// u32 \[documents, pages a document\].
    pub page_table: View,
}

/// The activations of one block. Training keeps a set for each layer; inference shares one, with k and v in
/// the layer's pages.
#[derive(Clone, Copy)]
pub struct BlockViews {
    /// Residual stream as it comes in \[rows, hidden\].
    pub stream_in: View,
    /// First norm's result.
    pub norm1: View,
    /// First norm's 1/rms, f32 \[rows\].
    pub rstd1: View,
    /// \[rows, heads·head_dim\].
    pub q: View,
    /// \[rows, kv_heads·head_dim\] or pages.
    pub k: View,
    /// As `k`.
    pub v: View,
    /// \[rows, heads·head_dim\].
    pub attention: View,
    /// f32 \[rows, heads\].
    pub lse: View,
    /// Stream after the attention.
    pub stream_mid: View,
    /// Second norm's result.
    pub norm2: View,
    /// Second norm's 1/rms, f32 \[rows\].
    pub rstd2: View,
    /// Gate and up, where something reads them later \[rows, 2·ffn\].
    pub gate_up: Option<View>,
    /// \[rows, ffn\].
    pub product: View,
    /// Stream after the feed-forward.
    pub stream_out: View,
}

/// A flat arena that mirrors the weights element for element.
pub(crate) fn flat(
    queue: &mut Queue,
    name: &str,
    dtype: DType,
    params: &ParamTable,
) -> Result<Flat, QueueError> {
    let view = queue.tensor(name, dtype, &flat_shape(params))?;
    Ok(Flat { buffer: view.buffer, dtype })
}

/// A flat arena's shape as a matrix: its length alone may exceed what an axis holds.
fn flat_shape(params: &ParamTable) -> [u32; 2] {
    [(params.total_elements() / BUCKET_ALIGN) as u32, BUCKET_ALIGN as u32]
}

/// All of a flat arena.
pub(crate) fn whole(arena: Flat, params: &ParamTable) -> View {
    View::new(arena.buffer, 0, arena.dtype, &flat_shape(params))
}

/// Elements `first ..` of a parameter in an arena.
pub(crate) fn part(params: &ParamTable, arena: Flat, param: Param, first: u64, length: usize) -> View {
    let offset = (params.range(param).start + first) * arena.dtype.bytes();
    View::new(arena.buffer, offset, arena.dtype, &[length as u32])
}

impl Net {
    /// Allocates the weights and the rope table; weights are zero until they are filled.
    pub fn allocate(
        queue: &mut Queue,
        config: ModelConfig,
        dtype: DType,
        positions: u32,
    ) -> Result<Net, QueueError> {
        let params = ParamTable::new(&config);
        let weights = flat(queue, "weights", dtype, &params)?;
        let rope = queue.tensor("rope", DType::F32, &[positions, config.head_dim])?;
        queue.upload(rope, bytemuck::cast_slice(&config.rope.table(positions, config.head_dim)))?;
        Ok(Net { config, params, weights, rope })
    }

    /// 1/√head_dim.
    pub fn attention_scale(&self) -> f32 {
        1.0 / (self.config.head_dim as f32).sqrt()
    }

    /// stream\[row\] = embedding\[ids\[row\]\].
    pub fn embed(&self, queue: &mut Queue, ids: View, stream: View) -> Result<(), QueueError> {
        queue.run(Embed { ids, weight: self.weight(self.params.embedding()), out: stream })
    }

    /// One block: attention and feed-forward, each with its norm before and the stream around it.
    pub fn block(
        &self,
        queue: &mut Queue,
        layer: &LayerParams,
        rows: &Rows,
        a: &BlockViews,
    ) -> Result<(), QueueError> {
        self.attention(queue, layer, rows, a)?;
        self.norm2(queue, layer, a)?;
        self.gate_up(queue, layer, a)?;
        queue.run(LinearResidual {
            x: a.product,
            weight: self.weight(layer.down),
            residual: a.stream_mid,
            out: a.stream_out,
        })
    }

    /// The first half of a block, up to the stream after the attention.
    pub(crate) fn attention(
        &self,
        queue: &mut Queue,
        layer: &LayerParams,
        rows: &Rows,
        a: &BlockViews,
    ) -> Result<(), QueueError> {
        self.norm1(queue, layer, a)?;
        queue.run(QkvRope {
            x: a.norm1,
            weight: self.weight(layer.qkv),
            bias: layer.qkv_bias.map(|bias| self.weight(bias)),
            rope: self.rope,
            positions: rows.positions,
            slots: rows.paged.map(|p| p.slots),
            q: a.q,
            k: a.k,
            v: a.v,
        })?;
        queue.run(Attention {
            q: a.q,
            k: a.k,
            v: a.v,
            cu_seqlens: rows.cu_seqlens,
            positions: rows.paged.map(|_| rows.positions),
            page_table: rows.paged.map(|p| p.page_table),
            out: a.attention,
            lse: a.lse,
            head_dim: self.config.head_dim,
            scale: self.attention_scale(),
        })?;
        queue.run(LinearResidual {
            x: a.attention,
            weight: self.weight(layer.o),
            residual: a.stream_in,
            out: a.stream_mid,
        })
    }

    /// The norm before the attention.
    pub(crate) fn norm1(
        &self,
        queue: &mut Queue,
        layer: &LayerParams,
        a: &BlockViews,
    ) -> Result<(), QueueError> {
        self.norm(queue, a.stream_in, self.weight(layer.norm1), a.norm1, a.rstd1)
    }

    /// The norm before the feed-forward.
    pub(crate) fn norm2(
        &self,
        queue: &mut Queue,
        layer: &LayerParams,
        a: &BlockViews,
    ) -> Result<(), QueueError> {
        self.norm(queue, a.stream_mid, self.weight(layer.norm2), a.norm2, a.rstd2)
    }

    /// Gate and up, and their product.
    pub(crate) fn gate_up(
        &self,
        queue: &mut Queue,
        layer: &LayerParams,
        a: &BlockViews,
    ) -> Result<(), QueueError> {
        queue.run(GateUpSwiglu {
            x: a.norm2,
            weight: self.weight(layer.gate_up),
            product: a.product,
            gate_up: a.gate_up,
        })
    }

    /// The norm before the head.
    pub fn final_norm(&self, queue: &mut Queue, x: View, y: View, rstd: View) -> Result<(), QueueError> {
        self.norm(queue, x, self.weight(self.params.final_norm()), y, rstd)
    }

    /// The head's matrix \[vocab, hidden\]: the embedding itself when tied.
    pub fn head(&self) -> View {
        self.weight(self.params.head())
    }

    pub(crate) fn weight(&self, param: Param) -> View {
        self.params.view(self.weights, param)
    }

    fn norm(&self, queue: &mut Queue, x: View, weight: View, y: View, rstd: View) -> Result<(), QueueError> {
        let eps = self.config.rms_norm_eps;
        queue.run(RmsNorm { x, residual: None, weight, y, sum: None, rstd, eps })
    }
}

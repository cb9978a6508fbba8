//! One pass of the model over rows of several requests, reading and writing the paged cache.

use crate::pages;
use octo_model::{BlockViews, Net, Paged, Rows};
use octo_ops::{DType, Embed, HeadLogprob, HeadSample, PAGE_TOKENS, SamplingRow, Slot, View};
use octo_queue::{Queue, QueueError};

/// How much fits into a pass and into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows of one pass: prompt chunks and decoded tokens together.
    pub rows: u32,
    /// Requests under way at once.
    pub requests: u32,
    /// Tokens of one request, prompt and continuation.
    pub context: u32,
    /// Tokens that the cache holds over all requests, rounded up to pages of 64.
    pub cache_tokens: u32,
}

impl Limits {
    fn pages(&self) -> u32 {
        self.cache_tokens.max(self.context).div_ceil(PAGE_TOKENS)
    }

    fn pages_per_request(&self) -> u32 {
        self.context.div_ceil(PAGE_TOKENS)
    }
}

/// Buffers of inference: the cache and one block's worth of activations, shared by all layers.
pub struct Session {
    limits: Limits,
    vocab: usize,
    cache: View,
    rows: Rows,
    paged: Paged,
    block: BlockViews,
    gather: View,
    last: View,
    last_rstd: View,
    labels: View,
    logprob: View,
    sampling: View,
    drawn: Drawn,
}

struct Drawn {
    tokens: View,
    raw: View,
    sampled: View,
}

/// Rows of one request in a pass.
pub(crate) struct Chunk<'a> {
    /// The request's pages.
    pub pages: &'a [u32],
    /// Its tokens from `start` on.
    pub tokens: &'a [u32],
    /// Position of the first of them; everything before is in the cache.
    pub start: usize,
}

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Draw {
    pub token: u32,
    /// Log-probability under the model.
    pub logprob: f32,
    /// Log-probability under the distribution it was drawn from.
    pub sampled_logprob: f32,
}

const TOKENS: Slot = Slot(2);
const RAW: Slot = Slot(3);
const LOGPROB: Slot = Slot(4);
const SAMPLED: Slot = Slot(7);

impl Session {
    /// Allocates the buffers of inference on a model.
    pub fn allocate(queue: &mut Queue, net: &Net, limits: Limits) -> Result<Session, QueueError> {
        let c = &net.config;
        let (hidden, ffn, head_dim) = (c.hidden_size, c.intermediate_size, c.head_dim);
        let (heads, kv_heads) = (c.num_attention_heads, c.num_key_value_heads);
        let n = limits.rows;
        let (f, activations) = (DType::F32, queue.describe().precision.activations);
        let page = 2 * kv_heads * PAGE_TOKENS * head_dim;
        let cache = queue.tensor("kv cache", activations, &[c.num_hidden_layers, limits.pages(), page])?;
        let u = DType::U32;
        let rows = Rows {
            ids: queue.tensor("infer ids", u, &[n])?,
            positions: queue.tensor("infer positions", u, &[n])?,
            cu_seqlens: queue.tensor("infer cu_seqlens", u, &[limits.requests + 1])?,
            paged: None,
        };
        let paged = Paged {
            slots: queue.tensor("infer slots", u, &[n])?,
            page_table: queue.tensor(
                "infer page table",
                u,
                &[limits.requests, limits.pages_per_request()],
            )?,
        };
        let rstd1 = queue.tensor("infer rstd1", f, &[n])?;
        let rstd2 = queue.tensor("infer rstd2", f, &[n])?;
        let lse = queue.tensor("infer lse", f, &[n, heads])?;
        let mut tensor =
            |name: &str, shape: &[u32]| queue.tensor(&format!("infer {name}"), activations, shape);
        let stream = tensor("stream", &[n, hidden])?;
        let block = BlockViews {
            stream_in: stream,
            norm1: tensor("norm1", &[n, hidden])?,
            rstd1,
            q: tensor("q", &[n, heads * head_dim])?,
            // The layer's pages: set for each layer.
            k: cache,
            v: cache,
            attention: tensor("attention", &[n, heads * head_dim])?,
            lse,
            stream_mid: tensor("stream mid", &[n, hidden])?,
            norm2: tensor("norm2", &[n, hidden])?,
            rstd2,
            gate_up: None,
            product: tensor("product", &[n, ffn])?,
            stream_out: stream,
        };
        let requests = limits.requests;
        Ok(Session {
            limits,
            vocab: c.vocab_size as usize,
            cache,
            rows,
            paged,
            block,
            gather: queue.tensor("infer gather", u, &[requests])?,
            last: queue.tensor("infer last", activations, &[requests, hidden])?,
            last_rstd: queue.tensor("infer last rstd", f, &[n])?,
            labels: queue.tensor("infer labels", DType::I32, &[n])?,
            logprob: queue.tensor("infer logprob", f, &[n])?,
            sampling: queue.tensor("infer sampling", u, &[requests, SamplingRow::WORDS])?,
            drawn: Drawn {
                tokens: queue.tensor("infer tokens", u, &[requests])?,
                raw: queue.tensor("infer logprob raw", f, &[requests])?,
                sampled: queue.tensor("infer logprob sampled", f, &[requests])?,
            },
        })
    }

    /// What fits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn vocab(&self) -> usize {
        self.vocab
    }

    pub(crate) fn pool(&self) -> pages::PagePool {
        pages::PagePool::new(self.limits.pages())
    }

    /// Draws the token after the last row of the chunks that say how (`None`: a prompt not yet at its end).
    pub(crate) fn sample(
        &mut self,
        queue: &mut Queue,
        net: &Net,
        chunks: &[Chunk<'_>],
        how: &[Option<SamplingRow>],
    ) -> Result<Vec<Draw>, QueueError> {
        let stream = self.pass(queue, net, chunks)?;
        let (mut ends, mut policies, mut end) = (Vec::new(), Vec::new(), 0);
        for (chunk, how) in chunks.iter().zip(how) {
            end += chunk.tokens.len() as u32;
            if let Some(policy) = how {
                ends.push(end - 1);
                policies.push(*policy);
            }
        }
        let n = ends.len() as u32;
        if n == 0 {
            return Ok(Vec::new());
        }
        let [gather, last, normed, rstd, sampling, tokens, raw, sampled] = [
            self.gather,
            self.last,
            self.block.norm1,
            self.last_rstd,
            self.sampling,
            self.drawn.tokens,
            self.drawn.raw,
            self.drawn.sampled,
        ]
        .map(|view| view.slice_rows(0, n));
        queue.upload(gather, bytemuck::cast_slice(&ends))?;
        queue.upload(sampling, bytemuck::cast_slice(&policies))?;
        // Picking rows is a lookup with the stream as the table.
        queue.run(Embed { ids: gather, weight: stream, out: last })?;
        net.final_norm(queue, last, normed, rstd)?;
        queue.run(HeadSample {
            hidden: normed,
            weight: net.head(),
            sampling,
            tokens,
            logprob_raw: raw,
            logprob_sampled: sampled,
            support: None,
        })?;
        queue.begin_readback(TOKENS, tokens)?;
        queue.begin_readback(RAW, raw)?;
        queue.begin_readback(SAMPLED, sampled)?;
        let mut drawn = vec![0u32; ends.len()];
        let (mut logprobs, mut sampled) = (vec![0.0f32; ends.len()], vec![0.0f32; ends.len()]);
        queue.finish_readback(TOKENS, bytemuck::cast_slice_mut(&mut drawn))?;
        queue.finish_readback(RAW, bytemuck::cast_slice_mut(&mut logprobs))?;
        queue.finish_readback(SAMPLED, bytemuck::cast_slice_mut(&mut sampled))?;
        let draws = drawn.into_iter().zip(logprobs).zip(sampled);
        let draw = |((token, logprob), sampled_logprob)| Draw { token, logprob, sampled_logprob };
        Ok(draws.map(draw).collect())
    }

    /// The log-probability of each row's label (−1: none, gives 0).
    pub(crate) fn logprobs(
        &mut self,
        queue: &mut Queue,
        net: &Net,
        chunks: &[Chunk<'_>],
        labels: &[i32],
    ) -> Result<Vec<f32>, QueueError> {
        let stream = self.pass(queue, net, chunks)?;
        let n = labels.len() as u32;
        let [normed, rstd, to, logprob] =
            [self.block.norm1, self.last_rstd, self.labels, self.logprob].map(|view| view.slice_rows(0, n));
        queue.upload(to, bytemuck::cast_slice(labels))?;
        net.final_norm(queue, stream, normed, rstd)?;
        queue.run(HeadLogprob { hidden: normed, weight: net.head(), labels: to, logprob })?;
        queue.begin_readback(LOGPROB, logprob)?;
        let mut logprobs = vec![0.0f32; labels.len()];
        queue.finish_readback(LOGPROB, bytemuck::cast_slice_mut(&mut logprobs))?;
        Ok(logprobs)
    }

    /// Runs all blocks over the chunks' rows; returns the stream after the last.
    fn pass(&mut self, queue: &mut Queue, net: &Net, chunks: &[Chunk<'_>]) -> Result<View, QueueError> {
        let (rows, count) = self.upload(queue, chunks)?;
        let part = |view: View| view.slice_rows(0, count);
        let mut block = self.block;
        for view in [
            &mut block.stream_in,
            &mut block.norm1,
            &mut block.rstd1,
            &mut block.q,
            &mut block.attention,
            &mut block.lse,
            &mut block.stream_mid,
            &mut block.norm2,
            &mut block.rstd2,
            &mut block.product,
            &mut block.stream_out,
        ] {
            *view = part(*view);
        }
        net.embed(queue, rows.ids, block.stream_in)?;
        for (index, layer) in net.params.layers().iter().enumerate() {
            (block.k, block.v) = self.layer_pages(net, index);
            net.block(queue, layer, &rows, &block)?;
        }
        Ok(block.stream_out)
    }

    fn upload(&self, queue: &mut Queue, chunks: &[Chunk<'_>]) -> Result<(Rows, u32), QueueError> {
        let width = self.limits.pages_per_request() as usize;
        let (mut ids, mut positions, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cu_seqlens, mut page_table) = (vec![0u32], Vec::new());
        for chunk in chunks {
            let range = chunk.start..chunk.start + chunk.tokens.len();
            ids.extend_from_slice(chunk.tokens);
            positions.extend(range.clone().map(|p| p as u32));
            slots.extend(range.map(|p| pages::slot(chunk.pages, p)));
            cu_seqlens.push(ids.len() as u32);
            page_table.extend_from_slice(chunk.pages);
            page_table.resize(cu_seqlens.len().saturating_sub(1) * width, 0);
        }
        let (n, documents) = (ids.len() as u32, chunks.len() as u32);
        let rows = Rows {
            ids: self.rows.ids.slice_rows(0, n),
            positions: self.rows.positions.slice_rows(0, n),
            cu_seqlens: self.rows.cu_seqlens.slice_rows(0, documents + 1),
            paged: Some(Paged {
                slots: self.paged.slots.slice_rows(0, n),
                page_table: self.paged.page_table.slice_rows(0, documents),
            }),
        };
        queue.upload(rows.ids, bytemuck::cast_slice(&ids))?;
        queue.upload(rows.positions, bytemuck::cast_slice(&positions))?;
        queue.upload(rows.cu_seqlens, bytemuck::cast_slice(&cu_seqlens))?;
        if let Some(paged) = rows.paged {
            queue.upload(paged.slots, bytemuck::cast_slice(&slots))?;
            queue.upload(paged.page_table, bytemuck::cast_slice(&page_table))?;
        }
        Ok((rows, n))
    }

    /// The keys and values of a layer: \[layer\]\[page\]\[K|V\]\[kv_head\]\[64\]\[head_dim\].
    fn layer_pages(&self, net: &Net, layer: usize) -> (View, View) {
        let (kv_heads, head_dim) = (net.config.num_key_value_heads, net.config.head_dim);
        let half = kv_heads * PAGE_TOKENS * head_dim;
        let pages = self.limits.pages();
        let bytes = self.cache.dtype.bytes();
        let first = self.cache.offset + layer as u64 * u64::from(pages) * u64::from(2 * half) * bytes;
        let view = |offset| {
            View::new(self.cache.buffer, offset, self.cache.dtype, &[pages, kv_heads, PAGE_TOKENS, head_dim])
                .with_row_stride(2 * half)
        };
        (view(first), view(first + u64::from(half) * bytes))
    }
}

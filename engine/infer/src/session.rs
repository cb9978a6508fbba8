//! One pass of the model over rows of several requests, reading and writing the paged cache.

use crate::batch::{Batch, Chunk};
use octo_model::{BlockViews, Net};
use octo_ops::{
    BufferId, CopyPages, DType, Embed, FeedTokens, HeadLogprob, HeadSample, PAGE_TOKENS, Program,
    SamplingRow, Slot, View, support,
};
use octo_queue::{Queue, QueueError};
use std::collections::BTreeMap;

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
    /// Pages of the cache: one request of the whole context always fits.
    pub(crate) fn pages(&self) -> u32 {
        self.cache_tokens.max(self.context).div_ceil(PAGE_TOKENS)
    }

    pub(crate) fn pages_per_request(&self) -> u32 {
        self.context.div_ceil(PAGE_TOKENS)
    }
}

/// Buffers of inference: the cache and one block's worth of activations, shared by all layers.
pub struct Session {
    limits: Limits,
    vocab: usize,
    /// \[layer\]\[page\]\[K|V\]\[kv_head\]\[64\]\[head_dim\]. The last page takes the rows that fill a
    /// program up.
    cache: View,
    batch: Batch,
    block: BlockViews,
    last: View,
    last_rstd: View,
    labels: View,
    logprob: View,
    drawn: Drawn,
    copies: [View; 2],
    pipelined: bool,
    /// Decoding passes of so many rows with these weights, with or without support.
    programs: BTreeMap<(BufferId, u32, bool), Program>,
    readbacks: usize,
}

/// What is drawn, in one buffer, so that it comes home in one copy.
struct Drawn {
    tokens: View,
    raw: View,
    sampled: View,
    /// Which tokens each could have been \[places, words\]. The last part, so that what is not used of it need not be
    /// copied.
    support: Option<View>,
}

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Log-probability under the model.
    pub logprob: f32,
    /// Log-probability under the distribution that it was drawn from: after temperature and cuts. 0 where the likeliest
    /// is taken.
    pub sampled_logprob: f32,
}

/// A pass whose draws are on their way home.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    slot: Slot,
    draws: usize,
    support: bool,
}

/// What a pass has drawn.
#[derive(Debug, Default)]
pub(crate) struct Draws {
    pub tokens: Vec<Token>,
    /// Rows of bits of what each could have been; none where the pass was not asked for them.
    pub supports: Vec<u32>,
}

/// Two, so that one pass can be asked for before the draws of the last are read.
const DRAWN: [Slot; 2] = [Slot(2), Slot(3)];
const LOGPROB: Slot = Slot(4);

/// The smallest number of rows, of those that programs are made for, that so many rows fit into.
pub(crate) fn rung(rows: u32) -> u32 {
    match rows {
        0..=8 => rows.max(1).next_power_of_two(),
        9..=32 => rows.next_multiple_of(8),
        33..=64 => rows.next_multiple_of(16),
        65..=128 => rows.next_multiple_of(32),
        _ => rows.next_multiple_of(64),
    }
}

impl Session {
    /// Allocates the buffers of inference on a model.
    pub fn allocate(queue: &mut Queue, net: &Net, limits: Limits) -> Result<Session, QueueError> {
        Session::new(queue, net, limits, 0)
    }

    /// The same, with room for which tokens draws could have been: a bit for each token of the vocabulary, for each
    /// request under way. Requests may ask for it then.
    pub fn allocate_with_support(
        queue: &mut Queue,
        net: &Net,
        limits: Limits,
    ) -> Result<Session, QueueError> {
        Session::new(queue, net, limits, support::words(net.config.vocab_size))
    }

    fn new(queue: &mut Queue, net: &Net, limits: Limits, kept: u32) -> Result<Session, QueueError> {
        let c = &net.config;
        let (hidden, ffn, head_dim) = (c.hidden_size, c.intermediate_size, c.head_dim);
        let (heads, kv_heads) = (c.num_attention_heads, c.num_key_value_heads);
        let info = queue.describe();
        let places = rung(limits.requests);
        let n = limits.rows.max(places);
        let (f, u, activations) = (DType::F32, DType::U32, info.precision.activations);
        let page = 2 * kv_heads * PAGE_TOKENS * head_dim;
        let cache =
            queue.tensor("kv cache", activations, &[c.num_hidden_layers, limits.pages() + 1, page])?;
        let batch = Batch::allocate(queue, n, places, limits.pages_per_request())?;
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
        let words = queue.tensor("infer drawn", u, &[3 + kept, places])?;
        let at = |index: u64| words.offset + index * 4 * u64::from(places);
        let drawn = |index: u64, dtype| View::new(words.buffer, at(index), dtype, &[places]);
        let support = (kept > 0).then(|| View::new(words.buffer, at(3), u, &[places, kept]));
        Ok(Session {
            limits,
            vocab: c.vocab_size as usize,
            cache,
            batch,
            block,
            last: queue.tensor("infer last", activations, &[places, hidden])?,
            last_rstd: queue.tensor("infer last rstd", f, &[n])?,
            labels: queue.tensor("infer labels", DType::I32, &[n])?,
            logprob: queue.tensor("infer logprob", f, &[n])?,
            drawn: Drawn { tokens: drawn(0, u), raw: drawn(1, f), sampled: drawn(2, f), support },
            copies: [
                queue.tensor("infer copied pages", u, &[places])?,
                queue.tensor("infer copies of pages", u, &[places])?,
            ],
            pipelined: info.asynchronous,
            programs: BTreeMap::new(),
            readbacks: 0,
        })
    }

    /// What fits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn has_support(&self) -> bool {
        self.drawn.support.is_some()
    }

    pub(crate) fn vocab(&self) -> usize {
        self.vocab
    }

    /// Whether passes of decoding are replayed programs, and the next pass is asked for before the draws of the last
    /// are read. A device that works beside the host does so unless told otherwise here; it changes no bit.
    pub fn set_pipelined(&mut self, pipelined: bool) {
        self.pipelined = pipelined;
    }

    pub(crate) fn pipelined(&self) -> bool {
        self.pipelined
    }

    /// Starts a pass over the chunks and the draws after some of its rows, (row, policy) each, ascending by row.
    ///
    /// Where every row is drawn after, it is a pass of decoding: when pipelined a program is replayed for it, filled
    /// up with rows that nobody reads. With `support` what each draw could have been comes home too.
    pub(crate) fn begin(
        &mut self,
        queue: &mut Queue,
        net: &Net,
        chunks: &[Chunk<'_>],
        draws: &[(u32, SamplingRow)],
        support: bool,
    ) -> Result<Pending, QueueError> {
        let rows: usize = chunks.iter().map(Chunk::rows).sum();
        let decodes = draws.len() == rows && draws.iter().enumerate().all(|(i, (row, _))| *row as usize == i);
        self.batch.clear();
        self.batch.chunks(chunks);
        self.batch.draws(draws);
        if decodes && self.pipelined {
            let size = rung(rows as u32);
            self.batch.fill_up(size, self.limits.pages());
            self.batch.upload(queue)?;
            self.replay_decode(queue, net, size, support)?;
        } else {
            self.batch.upload(queue)?;
            let feeds = chunks.iter().any(Chunk::is_fed);
            let phase = if decodes { "decode" } else { "prefill" };
            let (count, documents) = (rows as u32, chunks.len() as u32);
            let stream = queue.range(phase, |queue| self.pass(queue, net, count, documents, feeds))?;
            if decodes {
                self.draw(queue, net, stream, rows as u32, support)?;
            } else if !draws.is_empty() {
                let n = draws.len() as u32;
                let last = self.last.slice_rows(0, n);
                // Picking rows is a lookup with the stream as the table.
                queue.run(Embed { ids: self.batch.gather.slice_rows(0, n), weight: stream, out: last })?;
                self.draw(queue, net, last, n, support)?;
            }
        }
        self.readbacks += 1;
        let slot = DRAWN[self.readbacks % DRAWN.len()];
        if !draws.is_empty() {
            queue.begin_readback(slot, self.drawn.home(draws.len(), support))?;
        }
        Ok(Pending { slot, draws: draws.len(), support })
    }

    /// What a pass has drawn, in the order of its draws.
    pub(crate) fn finish(&self, queue: &mut Queue, pending: Pending) -> Result<Draws, QueueError> {
        let Pending { slot, draws, support } = pending;
        if draws == 0 {
            return Ok(Draws::default());
        }
        let mut words = vec![0u32; self.drawn.home(draws, support).elements()];
        queue.finish_readback(slot, bytemuck::cast_slice_mut(&mut words))?;
        let places = self.drawn.tokens.rows();
        let supports = words.split_off(3 * places);
        let (ids, logprobs) = words.split_at(places);
        let (raw, sampled) = logprobs.split_at(places);
        let tokens = ids.iter().zip(raw).zip(sampled).take(draws);
        let token = |((&id, &raw), &sampled)| Token {
            id,
            logprob: f32::from_bits(raw),
            sampled_logprob: f32::from_bits(sampled),
        };
        Ok(Draws { tokens: tokens.map(token).collect(), supports })
    }

    /// Copies pages in all layers, \[from, to\] each, with the result that they have one after the other.
    pub(crate) fn copy_pages(&self, queue: &mut Queue, copies: &[[u32; 2]]) -> Result<(), QueueError> {
        for run in independent(copies, self.copies[0].rows()) {
            let [from, to] = self.copies.map(|view| view.slice_rows(0, run.len() as u32));
            let list = |i: usize| run.iter().map(|copy| copy[i]).collect::<Vec<u32>>();
            queue.upload(from, bytemuck::cast_slice(&list(0)))?;
            queue.upload(to, bytemuck::cast_slice(&list(1)))?;
            queue.run(CopyPages { from, to, pages: self.cache })?;
        }
        Ok(())
    }

    /// The log-probability of each row's label (−1: none, gives 0).
    pub(crate) fn logprobs(
        &mut self,
        queue: &mut Queue,
        net: &Net,
        chunk: Chunk<'_>,
        labels: &[i32],
    ) -> Result<Vec<f32>, QueueError> {
        self.batch.clear();
        self.batch.chunks(&[chunk]);
        self.batch.upload(queue)?;
        let n = labels.len() as u32;
        let stream = queue.range("score", |queue| self.pass(queue, net, n, 1, false))?;
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

    /// A pass of decoding as a program, made when its size is first needed.
    fn replay_decode(
        &mut self,
        queue: &mut Queue,
        net: &Net,
        size: u32,
        support: bool,
    ) -> Result<(), QueueError> {
        let key = (net.weights.buffer, size, support);
        let program = match self.programs.get(&key) {
            Some(&program) => program,
            None => queue.capture(|queue| {
                let stream = self.pass(queue, net, size, size, true)?;
                self.draw(queue, net, stream, size, support)
            })?,
        };
        self.programs.insert(key, program);
        queue.range("decode", |queue| queue.replay(program))
    }

    /// Draws after each of so many rows.
    fn draw(
        &self,
        queue: &mut Queue,
        net: &Net,
        stream: View,
        n: u32,
        support: bool,
    ) -> Result<(), QueueError> {
        let part = |view: View| view.slice_rows(0, n);
        let normed = part(self.block.norm1);
        queue.range("sample", |queue| {
            net.final_norm(queue, stream, normed, part(self.last_rstd))?;
            queue.run(HeadSample {
                hidden: normed,
                weight: net.head(),
                sampling: part(self.batch.sampling),
                tokens: part(self.drawn.tokens),
                logprob_raw: part(self.drawn.raw),
                logprob_sampled: part(self.drawn.sampled),
                support: self.drawn.support.filter(|_| support).map(part),
            })
        })
    }

    /// Runs all blocks over the batch's rows; returns the stream after the last. With `feeds`, rows that say so take
    /// their ids from the draws of the pass before.
    fn pass(
        &self,
        queue: &mut Queue,
        net: &Net,
        count: u32,
        documents: u32,
        feeds: bool,
    ) -> Result<View, QueueError> {
        let rows = self.batch.rows(count, documents);
        if feeds {
            let source = self.batch.source.slice_rows(0, count);
            queue.run(FeedTokens { tokens: self.drawn.tokens, source, ids: rows.ids })?;
        }
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
            *view = view.slice_rows(0, count);
        }
        net.embed(queue, rows.ids, block.stream_in)?;
        for (index, layer) in net.params.layers().iter().enumerate() {
            (block.k, block.v) = self.layer_pages(net, index);
            queue.layer(index, |queue| net.block(queue, layer, &rows, &block))?;
        }
        Ok(block.stream_out)
    }

    /// The keys and values of a layer.
    fn layer_pages(&self, net: &Net, layer: usize) -> (View, View) {
        let (kv_heads, head_dim) = (net.config.num_key_value_heads, net.config.head_dim);
        let half = kv_heads * PAGE_TOKENS * head_dim;
        let pages = self.limits.pages() + 1;
        let bytes = self.cache.dtype.bytes();
        let first = self.cache.offset + layer as u64 * u64::from(pages) * u64::from(2 * half) * bytes;
        let view = |offset| {
            View::new(self.cache.buffer, offset, self.cache.dtype, &[pages, kv_heads, PAGE_TOKENS, head_dim])
                .with_row_stride(2 * half)
        };
        (view(first), view(first + u64::from(half) * bytes))
    }
}

impl Drawn {
    /// What is copied home of so many draws.
    fn home(&self, draws: usize, support: bool) -> View {
        let kept = self.support.filter(|_| support).map_or(0, |view| draws * view.row_elements());
        let words = 3 * self.tokens.rows() + kept;
        View::new(self.tokens.buffer, self.tokens.offset, DType::U32, &[words as u32])
    }
}

/// Cuts copies into runs of at most `most`, in each of which their order is free.
fn independent(copies: &[[u32; 2]], most: usize) -> Vec<&[[u32; 2]]> {
    let mut runs = Vec::new();
    let mut first = 0;
    for (i, [from, to]) in copies.iter().enumerate() {
        let run = &copies[first..i];
        let free = run.len() < most && run.iter().all(|[f, t]| t != from && t != to && f != to);
        if !free {
            runs.push(run);
            first = i;
        }
    }
    runs.push(&copies[first..]);
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rungs_waste_less_than_a_page_of_rows_and_little_of_a_pass() {
        let sizes: Vec<u32> = (1..=256).map(rung).collect();
        let mut distinct = sizes.clone();
        distinct.dedup();
        assert_eq!(distinct, [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256]);
        for rows in 1..=5000u32 {
            // Rows that fill up have slots of their own in one page.
            assert!(rung(rows) >= rows && rung(rows) - rows < PAGE_TOKENS, "{rows}");
            assert_eq!(rung(rung(rows)), rung(rows));
        }
    }

    proptest! {
        #[test]
        fn runs_of_copies_give_what_the_copies_give_one_by_one(
            copies in prop::collection::vec([0u32..6, 0u32..6], 0..12),
        ) {
            let copies: Vec<[u32; 2]> = copies.into_iter().filter(|[from, to]| from != to).collect();
            let mut expected: Vec<usize> = (0..6).collect();
            copies.iter().for_each(|&[from, to]| expected[to as usize] = expected[from as usize]);
            let mut got: Vec<usize> = (0..6).collect();
            let runs = independent(&copies, 3);
            prop_assert_eq!(&runs.concat(), &copies);
            for run in runs {
                prop_assert!((1..=3).contains(&run.len()));
                // All are read before any is written.
                let read: Vec<usize> = run.iter().map(|[from, _]| got[*from as usize]).collect();
                run.iter().zip(read).for_each(|([_, to], page)| got[*to as usize] = page);
            }
            prop_assert_eq!(got, expected);
        }
    }
}

//! What a pass has to know of its rows, laid out in one buffer, so that it reaches the device in one copy.

use crate::pages;
use octo_model::{Paged, Rows};
use octo_ops::{DType, FeedTokens, PAGE_TOKENS, SamplingRow, View};
use octo_queue::{Queue, QueueError};

/// Rows of one request in a pass.
#[derive(Clone, Copy)]
pub(crate) struct Chunk<'a> {
    /// The request's pages.
    pub pages: &'a [u32],
    /// Position of the first row; everything before is in the cache.
    pub start: usize,
    pub ids: Ids<'a>,
}

/// Token ids of a chunk.
#[derive(Clone, Copy)]
pub(crate) enum Ids<'a> {
    Known(&'a [u32]),
    /// One row: a draw of the pass before, which the host has not seen yet.
    Drawn(u32),
}

impl Chunk<'_> {
    pub fn rows(&self) -> usize {
        match self.ids {
            Ids::Known(ids) => ids.len(),
            Ids::Drawn(_) => 1,
        }
    }

    /// Whether the device has to fill its id in.
    pub fn is_fed(&self) -> bool {
        matches!(self.ids, Ids::Drawn(_))
    }
}

/// The buffer, views of its parts, and its words as they are put together on the host.
pub(crate) struct Batch {
    words: View,
    /// First row of each request and the end \[requests + 1\].
    cu_seqlens: View,
    /// Rows to draw after \[requests\].
    pub gather: View,
    /// How to draw \[requests, SamplingRow::WORDS\].
    pub sampling: View,
    /// Which draw of the pass before a row takes \[rows\].
    pub source: View,
    ids: View,
    positions: View,
    slots: View,
    /// \[requests, pages a request\]. The last part, so that what is not used of it need not be copied.
    page_table: View,
    host: Vec<u32>,
    rows: usize,
    requests: usize,
}

/// A greedy draw, for rows that nobody reads.
const LIKELIEST: SamplingRow = SamplingRow {
    temperature: 0.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    seed_low: 0,
    seed_high: 0,
    position: 0,
    sample: 0,
};

impl Batch {
    /// A buffer for passes of so many rows and requests.
    pub fn allocate(queue: &mut Queue, rows: u32, requests: u32, pages: u32) -> Result<Batch, QueueError> {
        let shapes: [&[u32]; 8] = [
            &[requests + 1],
            &[requests],
            &[requests, SamplingRow::WORDS],
            &[rows],
            &[rows],
            &[rows],
            &[rows],
            &[requests, pages],
        ];
        // Parts begin at multiples of 256 bytes, as buffers do.
        let padded = |shape: &[u32]| shape.iter().product::<u32>().next_multiple_of(64);
        let total = shapes.iter().map(|shape| padded(shape)).sum();
        let words = queue.tensor("infer batch", DType::U32, &[total])?;
        let mut offset = words.offset;
        let [cu_seqlens, gather, sampling, source, ids, positions, slots, page_table] = shapes.map(|shape| {
            let view = View::new(words.buffer, offset, DType::U32, shape);
            offset += 4 * u64::from(padded(shape));
            view
        });
        let host = vec![0; total as usize];
        Ok(Batch {
            words,
            cu_seqlens,
            gather,
            sampling,
            source,
            ids,
            positions,
            slots,
            page_table,
            host,
            rows: 0,
            requests: 0,
        })
    }

    /// Begins a new pass.
    pub fn clear(&mut self) {
        (self.rows, self.requests) = (0, 0);
    }

    /// Adds requests.
    pub fn chunks(&mut self, chunks: &[Chunk<'_>]) {
        for chunk in chunks {
            self.part(self.page_table.slice_rows(self.requests as u32, 1))[..chunk.pages.len()]
                .copy_from_slice(chunk.pages);
            match chunk.ids {
                Ids::Known(ids) => {
                    for (i, &id) in ids.iter().enumerate() {
                        let position = chunk.start + i;
                        self.row(id, FeedTokens::KEEP, position, pages::slot(chunk.pages, position));
                    }
                }
                Ids::Drawn(draw) => {
                    self.row(0, draw, chunk.start, pages::slot(chunk.pages, chunk.start));
                }
            }
            self.end_request();
        }
    }

    /// Says after which rows to draw, and how.
    pub fn draws(&mut self, draws: &[(u32, SamplingRow)]) {
        for (i, (row, policy)) in draws.iter().enumerate() {
            self.part(self.gather)[i] = *row;
            self.policy(i, policy);
        }
    }

    /// Adds requests of one row, which nobody reads, until there are `size`; their keys go into `page`.
    pub fn fill_up(&mut self, size: u32, page: u32) {
        for i in 0.. {
            if self.requests >= size as usize {
                break;
            }
            self.policy(self.requests, &LIKELIEST);
            self.part(self.page_table.slice_rows(self.requests as u32, 1))[0] = page;
            self.row(0, FeedTokens::KEEP, 0, page * PAGE_TOKENS + i % PAGE_TOKENS);
            self.end_request();
        }
    }

    /// Copies the pass to the device.
    pub fn upload(&mut self, queue: &mut Queue) -> Result<(), QueueError> {
        let table = self.page_table.slice_rows(0, self.requests as u32);
        let used = self.at(&table) + table.elements();
        let to = self.words.slice_rows(0, used as u32);
        queue.upload(to, bytemuck::cast_slice(&self.host[..used]))
    }

    /// The rows of a pass as the model takes them.
    pub fn rows(&self, rows: u32, requests: u32) -> Rows {
        Rows {
            ids: self.ids.slice_rows(0, rows),
            positions: self.positions.slice_rows(0, rows),
            cu_seqlens: self.cu_seqlens.slice_rows(0, requests + 1),
            paged: Some(Paged {
                slots: self.slots.slice_rows(0, rows),
                page_table: self.page_table.slice_rows(0, requests),
            }),
        }
    }

    fn row(&mut self, id: u32, source: u32, position: usize, slot: u32) {
        let at = self.rows;
        self.part(self.ids)[at] = id;
        self.part(self.source)[at] = source;
        self.part(self.positions)[at] = position as u32;
        self.part(self.slots)[at] = slot;
        self.rows += 1;
    }

    fn end_request(&mut self) {
        self.requests += 1;
        let (requests, rows) = (self.requests, self.rows as u32);
        self.part(self.cu_seqlens)[requests] = rows;
    }

    fn policy(&mut self, index: usize, policy: &SamplingRow) {
        let words: [u32; SamplingRow::WORDS as usize] = bytemuck::cast(*policy);
        self.part(self.sampling.slice_rows(index as u32, 1)).copy_from_slice(&words);
    }

    /// The host's words of a part.
    fn part(&mut self, view: View) -> &mut [u32] {
        let at = self.at(&view);
        &mut self.host[at..][..view.elements()]
    }

    fn at(&self, part: &View) -> usize {
        ((part.offset - self.words.offset) / 4) as usize
    }
}

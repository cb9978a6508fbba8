//! Shadow pages of global memory, made where something is touched: 4 KiB each, found by page number.

use super::shadow::Slots;
use std::collections::BTreeMap;

/// Bytes of memory a page stands for.
pub(super) const PAGE: u64 = 4096;

/// Words of a page.
pub(super) const WORDS: usize = PAGE as usize / 4;

/// One bit a byte.
pub(super) type Bits = [u64; 64];

/// The shadow of one page.
pub(super) struct Page {
    pub(super) number: u64,
    /// The run (see [`Pages::begin`]) whose bits these are.
    run: u32,
    pub(super) read_bits: Bits,
    pub(super) written_bits: Bits,
    /// Index of its first word in [`Pages::slots`].
    pub(super) word: u32,
}

impl Page {
    /// Marks `bytes` bytes from `offset` on.
    #[inline]
    pub(super) fn mark(&mut self, offset: usize, bytes: usize, reads: bool, writes: bool) {
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            let count = (64 - at % 64).min(end - at);
            let bits = (u64::MAX >> (64 - count)) << (at % 64);
            self.read_bits[at / 64] |= if reads { bits } else { 0 };
            self.written_bits[at / 64] |= if writes { bits } else { 0 };
            at += count;
        }
    }
}

/// All pages, and which of them were touched since the run began.
pub(super) struct Pages {
    pages: Vec<Page>,
    index: BTreeMap<u64, u32>,
    /// The last page found of each class of numbers: (number, index).
    recent: [(u64, u32); 64],
    touched: Vec<u32>,
    run: u32,
    /// Of all pages, [`WORDS`] each; empty where races are not looked for.
    pub(super) slots: Slots,
    with_slots: bool,
}

impl Pages {
    pub(super) fn new(with_slots: bool) -> Self {
        Self {
            pages: Vec::new(),
            index: BTreeMap::new(),
            recent: [(u64::MAX, 0); 64],
            touched: Vec::new(),
            run: 1,
            slots: Slots::default(),
            with_slots,
        }
    }

    /// From now on bits are those of a new run; slots stay.
    pub(super) fn begin(&mut self) {
        self.run = self.run.wrapping_add(1);
        self.touched.clear();
    }

    /// The page of an address.
    #[inline]
    pub(super) fn at(&mut self, address: u64) -> &mut Page {
        let number = address / PAGE;
        let (known, index) = self.recent[number as usize % 64];
        let index = if known == number { index as usize } else { self.find(number) };
        let page = &mut self.pages[index];
        if page.run != self.run {
            page.run = self.run;
            page.read_bits = [0; 64];
            page.written_bits = [0; 64];
            self.touched.push(index as u32);
        }
        page
    }

    #[cold]
    fn find(&mut self, number: u64) -> usize {
        let next = self.pages.len() as u32;
        let index = *self.index.entry(number).or_insert(next);
        if index == next {
            self.pages.push(Page {
                number,
                run: self.run.wrapping_sub(1),
                read_bits: [0; 64],
                written_bits: [0; 64],
                word: next * WORDS as u32,
            });
            if self.with_slots {
                let words = self.pages.len() * WORDS;
                self.slots.write.resize(words, 0);
                self.slots.read.resize(words, 0);
            }
        }
        self.recent[number as usize % 64] = (number, index);
        index as usize
    }

    /// Forgets all slots.
    pub(super) fn clear(&mut self) {
        self.slots.write.fill(0);
        self.slots.read.fill(0);
    }

    /// Pages touched in this run, by number, with their slots.
    pub(super) fn touched(&mut self) -> impl Iterator<Item = (&Page, &[u32], &[u32])> {
        self.touched.sort_unstable_by_key(|&index| self.pages[index as usize].number);
        self.touched.iter().map(|&index| {
            let page = &self.pages[index as usize];
            let words = page.word as usize..page.word as usize + if self.with_slots { WORDS } else { 0 };
            (page, &self.slots.write[words.clone()], &self.slots.read[words])
        })
    }
}

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

    /// Marks each lane's `bytes` at its address, 1 to 16 of an aligned 16 and so within 64: where they are read,
    /// and where written. The index of each lane's first word in the slots.
    #[inline]
    pub(super) fn mark(
        &mut self,
        mask: u32,
        addresses: &[u64; 32],
        bytes: &[u32; 32],
        reads: bool,
        writes: bool,
    ) -> [u32; 32] {
        let mut words = [0; 32];
        let mut rest = mask;
        while rest != 0 {
            let number = addresses[rest.trailing_zeros() as usize] / PAGE;
            let page = self.at(number);
            // The lanes that follow on the same page.
            while rest != 0 {
                let lane = rest.trailing_zeros() as usize;
                let address = addresses[lane];
                if address / PAGE != number {
                    break;
                }
                let bits = ((1 << bytes[lane]) - 1) << (address % 64);
                let at = (address % PAGE / 64) as usize;
                page.read_bits[at] |= if reads { bits } else { 0 };
                page.written_bits[at] |= if writes { bits } else { 0 };
                words[lane] = page.word + (address % PAGE / 4) as u32;
                rest &= rest - 1;
            }
        }
        words
    }

    /// A page by its number.
    #[inline]
    fn at(&mut self, number: u64) -> &mut Page {
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
            let first = page.word as usize;
            let words = if self.with_slots { first..first + WORDS } else { 0..0 };
            (page, &self.slots.write[words.clone()], &self.slots.read[words])
        })
    }
}

//! How a warp touches memory made of 32-bit words: gathers and scatters under a mask, with written bits.
//!
//! Addresses here are byte offsets into one bank, already checked for bounds and alignment. An access of `bytes`
//! (1, 2, 4, 8 or 16, aligned to itself) never straddles a group of 32 bytes, so its written bits lie in one word.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// One value a lane.
pub(in crate::sim) type Lanes<T> = [T; 32];

/// Up to 16 raw bytes a lane, little-endian words.
pub(in crate::sim) type Raw = [Lanes<u32>; 4];

/// Words and their written bits: bit `i % 32` of `written(i / 32)` is byte `i`.
pub(in crate::sim) trait Bank {
    fn word(&self, index: usize) -> u32;
    fn written(&self, index: usize) -> u32;
    /// Replaces the bits of `mask`.
    fn put(&mut self, index: usize, value: u32, mask: u32);
    fn put_word(&mut self, index: usize, value: u32);
    fn mark(&mut self, index: usize, bits: u32);
}

/// Memory of one host thread.
#[derive(Clone, Debug, Default)]
pub(in crate::sim) struct Private {
    words: Vec<u32>,
    written: Vec<u32>,
}

impl Private {
    pub(in crate::sim) fn new(bytes: usize) -> Self {
        Self { words: vec![0; bytes.div_ceil(4)], written: vec![0; bytes.div_ceil(32)] }
    }

    /// Makes it as new.
    pub(in crate::sim) fn reset(&mut self, bytes: usize) {
        self.words.clear();
        self.words.resize(bytes.div_ceil(4), 0);
        self.written.clear();
        self.written.resize(bytes.div_ceil(32), 0);
    }

    /// Copies bytes to its start and marks them written.
    pub(in crate::sim) fn set(&mut self, bytes: &[u8]) {
        for (index, &byte) in bytes.iter().enumerate() {
            let shift = 8 * (index % 4);
            self.put(index / 4, u32::from(byte) << shift, 0xff << shift);
            self.mark(index / 32, 1 << (index % 32));
        }
    }
}

impl Bank for Private {
    #[inline(always)]
    fn word(&self, index: usize) -> u32 {
        self.words[index]
    }
    #[inline(always)]
    fn written(&self, index: usize) -> u32 {
        self.written[index]
    }
    #[inline(always)]
    fn put(&mut self, index: usize, value: u32, mask: u32) {
        self.words[index] = (self.words[index] & !mask) | (value & mask);
    }
    #[inline(always)]
    fn put_word(&mut self, index: usize, value: u32) {
        self.words[index] = value;
    }
    #[inline(always)]
    fn mark(&mut self, index: usize, bits: u32) {
        self.written[index] |= bits;
    }
}

/// Bytes of a page of device memory.
pub(in crate::sim) const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;
/// log2 of [`PAGE_BYTES`].
pub(in crate::sim) const PAGE_SHIFT: u32 = 16;

/// A page that several host threads may touch at once. Relaxed word atomics are plain moves on every host; they make a
/// racing kernel's result some value instead of undefined behaviour of the simulator.
pub(in crate::sim) struct Page {
    words: Box<[AtomicU32]>,
    written: Box<[AtomicU32]>,
}

impl Page {
    /// A page of at most [`PAGE_BYTES`]; the last one of an allocation is as short as that.
    pub(in crate::sim) fn new(bytes: u64) -> Self {
        let groups = bytes.min(PAGE_BYTES).div_ceil(32) as usize;
        let zeros = |words: usize| (0..words).map(|_| AtomicU32::new(0)).collect();
        Self { words: zeros(8 * groups), written: zeros(groups) }
    }

    /// The same with every byte written as zero.
    pub(in crate::sim) fn zeroed(bytes: u64) -> Self {
        let page = Self::new(bytes);
        page.written.iter().for_each(|bits| bits.store(!0, Relaxed));
        page
    }

    /// Forgets that the bits of one group of 32 bytes were written.
    pub(in crate::sim) fn unmark(&self, index: usize, bits: u32) {
        self.written[index].fetch_and(!bits, Relaxed);
    }
}

impl Bank for &Page {
    #[inline(always)]
    fn word(&self, index: usize) -> u32 {
        self.words[index].load(Relaxed)
    }
    #[inline(always)]
    fn written(&self, index: usize) -> u32 {
        self.written[index].load(Relaxed)
    }
    #[inline(always)]
    fn put(&mut self, index: usize, value: u32, mask: u32) {
        // Blocks on other host threads may write the word's other bytes.
        let word = &self.words[index];
        let mut old = word.load(Relaxed);
        while let Err(now) = word.compare_exchange_weak(old, (old & !mask) | (value & mask), Relaxed, Relaxed)
        {
            old = now;
        }
    }
    #[inline(always)]
    fn put_word(&mut self, index: usize, value: u32) {
        self.words[index].store(value, Relaxed);
    }
    #[inline(always)]
    fn mark(&mut self, index: usize, bits: u32) {
        let word = &self.written[index];
        if word.load(Relaxed) & bits != bits {
            word.fetch_or(bits, Relaxed);
        }
    }
}

#[inline(always)]
const fn span(bytes: u32) -> u32 {
    ((1u64 << bytes) - 1) as u32
}

/// Whether lanes `0..32` touch consecutive pieces of `bytes`, and where they begin.
#[inline(always)]
fn contiguous(mask: u32, offsets: &Lanes<u32>, bytes: u32) -> Option<usize> {
    if mask != !0 {
        return None;
    }
    let mut off = 0;
    for lane in 0..32u32 {
        off |= offsets[lane as usize] ^ offsets[0].wrapping_add(lane * bytes);
    }
    (off == 0).then_some(offsets[0] as usize)
}

/// Reads `bytes` a lane; the lowest lane that reads a byte nothing wrote is the error. Lanes outside the mask keep what
/// `raw` held.
#[inline(always)]
pub(in crate::sim) fn gather<B: Bank>(
    bank: &B,
    mask: u32,
    offsets: &Lanes<u32>,
    bytes: u32,
    raw: &mut Raw,
) -> Result<(), u32> {
    check_written(bank, mask, offsets, bytes)?;
    match bytes {
        1 | 2 => {
            let cut = if bytes == 1 { 0xff } else { 0xffff };
            each(mask, |lane| {
                let offset = offsets[lane];
                raw[0][lane] = (bank.word(offset as usize / 4) >> (8 * (offset % 4))) & cut;
            });
        }
        4 => each(mask, |lane| raw[0][lane] = bank.word(offsets[lane] as usize / 4)),
        _ => {
            let words = bytes as usize / 4;
            each(mask, |lane| {
                let first = offsets[lane] as usize / 4;
                for (index, plane) in raw.iter_mut().take(words).enumerate() {
                    plane[lane] = bank.word(first + index);
                }
            });
        }
    }
    Ok(())
}

#[inline(always)]
fn check_written<B: Bank>(bank: &B, mask: u32, offsets: &Lanes<u32>, bytes: u32) -> Result<(), u32> {
    if let Some(start) = contiguous(mask, offsets, bytes)
        && start.is_multiple_of(32)
    {
        let all = (0..bytes as usize).fold(!0, |all, index| all & bank.written(start / 32 + index));
        if all == !0 {
            return Ok(());
        }
    }
    let mut missing = 0u32;
    each(mask, |lane| {
        let offset = offsets[lane];
        let want = span(bytes) << (offset % 32);
        missing |= u32::from(bank.written(offset as usize / 32) & want != want) << lane;
    });
    if missing == 0 { Ok(()) } else { Err(missing.trailing_zeros()) }
}

/// Writes `bytes` a lane, lanes ascending.
#[inline(always)]
pub(in crate::sim) fn scatter<B: Bank>(bank: &mut B, mask: u32, offsets: &Lanes<u32>, bytes: u32, raw: &Raw) {
    match contiguous(mask, offsets, bytes) {
        Some(start) if start.is_multiple_of(32) => {
            for index in 0..bytes as usize {
                bank.mark(start / 32 + index, !0);
            }
        }
        _ => each(mask, |lane| bank.mark(offsets[lane] as usize / 32, span(bytes) << (offsets[lane] % 32))),
    }
    match bytes {
        1 | 2 => {
            if bytes == 2
                && let Some(start) = contiguous(mask, offsets, bytes)
                && start.is_multiple_of(4)
            {
                for pair in 0..16 {
                    bank.put_word(
                        start / 4 + pair,
                        (raw[0][2 * pair] & 0xffff) | (raw[0][2 * pair + 1] << 16),
                    );
                }
                return;
            }
            each(mask, |lane| {
                let shift = 8 * (offsets[lane] % 4);
                bank.put(offsets[lane] as usize / 4, raw[0][lane] << shift, span(8 * bytes) << shift);
            });
        }
        4 => each(mask, |lane| bank.put_word(offsets[lane] as usize / 4, raw[0][lane])),
        _ => {
            let words = bytes as usize / 4;
            each(mask, |lane| {
                let first = offsets[lane] as usize / 4;
                for (index, plane) in raw.iter().take(words).enumerate() {
                    bank.put_word(first + index, plane[lane]);
                }
            });
        }
    }
}

/// Calls `f` for each lane of the mask, ascending; the full mask is a plain loop.
#[inline(always)]
pub(in crate::sim) fn each(mask: u32, mut f: impl FnMut(usize)) {
    if mask == !0 {
        for lane in 0..32 {
            f(lane);
        }
    } else {
        let mut rest = mask;
        while rest != 0 {
            f(rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lanes(f: impl Fn(u32) -> u32) -> Lanes<u32> {
        std::array::from_fn(|lane| f(lane as u32))
    }

    #[test]
    fn a_page_holds_halves_written_by_different_lanes_of_one_word() {
        let page = Page::new(PAGE_BYTES);
        let mut bank = &page;
        let raw = [lanes(|lane| 0x100 + lane), [0; 32], [0; 32], [0; 32]];
        // Strided by two, so that no fast path joins the halves.
        scatter(&mut bank, !0, &lanes(|lane| 2 * (31 - lane)), 2, &raw);
        assert_eq!(bank.word(0), (0x100 + 30) << 16 | (0x100 + 31));
        assert_eq!(bank.written(0), !0);
        assert_eq!(bank.written(1), !0);
        assert_eq!(bank.written(2), 0);
    }

    #[test]
    fn the_lowest_lane_that_reads_unwritten_bytes_is_named() {
        let mut bank = Private::new(256);
        scatter(&mut bank, !0 ^ (1 << 7), &lanes(|lane| 4 * lane), 4, &[[0; 32]; 4]);
        let mut raw = [[0; 32]; 4];
        assert_eq!(gather(&bank, !0, &lanes(|lane| 4 * lane), 4, &mut raw), Err(7));
        assert_eq!(gather(&bank, !0 ^ (1 << 7), &lanes(|lane| 4 * lane), 4, &mut raw), Ok(()));
    }

    proptest! {
        #[test]
        fn gathers_return_what_scatters_wrote_and_nothing_else_changes(
            order in Just((0u32..32).collect::<Vec<_>>()).prop_shuffle(),
            log_bytes in 0u32..5,
            mask: u32,
            shuffled: bool,
            start in 0u32..8,
        ) {
            let bytes = 1 << log_bytes;
            let place = |lane: u32| start * 16 + bytes * if shuffled { order[lane as usize] } else { lane };
            let offsets = lanes(place);
            let raw: Raw = std::array::from_fn(|plane| lanes(|lane| (lane + 1) * 0x0101_0101 + plane as u32 * 0x4040_4040));
            let mut bank = Private::new(1024);
            scatter(&mut bank, mask, &offsets, bytes, &raw);
            let mut model = [None; 1024];
            for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
                for byte in 0..bytes {
                    let value = raw[byte as usize / 4][lane] >> (8 * (byte % 4)) & 0xff;
                    model[(offsets[lane] + byte) as usize] = Some(value);
                }
            }
            for (index, byte) in model.iter().enumerate() {
                let written = bank.written(index / 32) >> (index % 32) & 1 == 1;
                prop_assert_eq!(written, byte.is_some());
                prop_assert_eq!(bank.word(index / 4) >> (8 * (index % 4)) & 0xff, byte.unwrap_or(0));
            }
            let mut back = [[0; 32]; 4];
            prop_assert_eq!(gather(&bank, mask, &offsets, bytes, &mut back), Ok(()));
            for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
                for byte in 0..bytes as usize {
                    let shift = 8 * (byte % 4);
                    prop_assert_eq!(back[byte / 4][lane] >> shift & 0xff, raw[byte / 4][lane] >> shift & 0xff);
                }
            }
        }
    }
}

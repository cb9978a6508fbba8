//! Device memory: named allocations far apart in a 64-bit address space, backed page by page when first written.

use super::bank::{Bank, PAGE_BYTES, PAGE_SHIFT, Page};
use crate::sim::fault::{Fault, Near};
use std::sync::OnceLock;

/// Allocations begin at multiples of this, as `cuMemAlloc`'s do.
pub(in crate::sim) const ALIGNMENT: u64 = 256;
/// Unmapped bytes between allocations at least: a stray index of 32 bits and a few bytes an element meets no neighbour.
const GUARD: u64 = 1 << 36;
/// The first allocation: above 2³², so that an address cut to 32 bits is never valid.
const FIRST: u64 = 0x7_0000_0000;
/// Largest allocation.
const LARGEST: u64 = 1 << 44;
const END: u64 = 1 << 60;

const CHUNK_PAGES: usize = 1024;
type Chunk = Box<[OnceLock<Page>]>;

/// One allocation.
pub(in crate::sim) struct Allocation {
    name: String,
    base: u64,
    bytes: u64,
    /// Whether every byte begins as a written zero.
    zeroed: bool,
    /// Chunks of [`CHUNK_PAGES`] pages; a chunk and a page exist once something was written there, or read where all
    /// begins as zeros.
    chunks: Vec<OnceLock<Chunk>>,
}

impl Allocation {
    pub(in crate::sim) fn base(&self) -> u64 {
        self.base
    }

    pub(in crate::sim) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether `[address, address + bytes)` lies inside.
    #[inline(always)]
    pub(in crate::sim) fn holds(&self, address: u64, bytes: u64) -> bool {
        let offset = address.wrapping_sub(self.base);
        offset < self.bytes && bytes <= self.bytes - offset
    }

    pub(in crate::sim) fn near(&self) -> Near {
        Near { name: self.name.clone(), base: self.base, bytes: self.bytes, freed: false }
    }

    /// The page at an offset inside the allocation, if anything was written there.
    #[inline(always)]
    pub(in crate::sim) fn page(&self, offset: u64) -> Option<&Page> {
        if self.zeroed {
            return self.page_or_new(offset);
        }
        let page = (offset >> PAGE_SHIFT) as usize;
        self.chunks.get(page / CHUNK_PAGES)?.get()?.get(page % CHUNK_PAGES)?.get()
    }

    /// The page at an offset inside the allocation, made if need be; `None` past the end.
    #[inline(always)]
    pub(in crate::sim) fn page_or_new(&self, offset: u64) -> Option<&Page> {
        let page = (offset >> PAGE_SHIFT) as usize;
        let chunk = self.chunks.get(page / CHUNK_PAGES)?.get_or_init(|| {
            let first = (page / CHUNK_PAGES * CHUNK_PAGES) as u64;
            let pages = (self.bytes.div_ceil(PAGE_BYTES) - first).min(CHUNK_PAGES as u64);
            (0..pages).map(|_| OnceLock::new()).collect()
        });
        let rest = self.bytes - (offset & !(PAGE_BYTES - 1));
        let new = || if self.zeroed { Page::zeroed(rest) } else { Page::new(rest) };
        Some(chunk.get(page % CHUNK_PAGES)?.get_or_init(new))
    }

    /// Splits a range into (page offset, bytes from the range's start, length) within single pages.
    fn pieces(&self, address: u64, bytes: u64) -> impl Iterator<Item = (u64, u64, u64)> + use<> {
        let start = address - self.base;
        let mut done = 0;
        std::iter::from_fn(move || {
            let offset = start + done;
            let length = (PAGE_BYTES - offset % PAGE_BYTES).min(bytes - done);
            let piece = (offset, done, length);
            done += length;
            (length > 0).then_some(piece)
        })
    }
}

/// All of device memory.
pub(in crate::sim) struct Global {
    /// By ascending base.
    live: Vec<Allocation>,
    /// By ascending base; addresses are never used twice.
    freed: Vec<Near>,
    next: u64,
}

impl Global {
    pub(in crate::sim) fn new() -> Self {
        Self { live: Vec::new(), freed: Vec::new(), next: FIRST }
    }

    /// Index of the live allocation that holds the address.
    #[inline]
    pub(in crate::sim) fn find(&self, address: u64) -> Option<usize> {
        let index = self.live.partition_point(|a| a.base <= address).checked_sub(1)?;
        (address - self.live[index].base < self.live[index].bytes).then_some(index)
    }

    /// The allocation at an index given by [`Global::find`].
    #[inline(always)]
    pub(in crate::sim) fn get(&self, index: usize) -> Option<&Allocation> {
        self.live.get(index)
    }

    /// The allocation nearest to an address, live or freed.
    pub(in crate::sim) fn near(&self, address: u64) -> Option<Near> {
        let after = self.live.partition_point(|a| a.base <= address);
        let freed = self.freed.partition_point(|a| a.base <= address);
        let live = [after.checked_sub(1), Some(after)];
        let gone = [freed.checked_sub(1), Some(freed)];
        let live = live.into_iter().flatten().filter_map(|i| self.live.get(i)).map(Allocation::near);
        let gone = gone.into_iter().flatten().filter_map(|i| self.freed.get(i)).cloned();
        live.chain(gone).min_by_key(|near| {
            let end = near.base + near.bytes;
            if address < near.base { near.base - address } else { (address + 1).saturating_sub(end) }
        })
    }

    pub(in crate::sim) fn allocate(&mut self, name: &str, bytes: u64, zeroed: bool) -> Result<u64, Fault> {
        let refuse = |why| Err(Fault::Allocation { name: String::from(name), bytes, why });
        if bytes == 0 {
            return refuse("an allocation has at least one byte");
        }
        if bytes > LARGEST {
            return refuse("the largest is 2^44 bytes");
        }
        let base = self.next;
        // The guard grows with the allocation, so that twice its size past the end still meets nothing.
        let next = (base + bytes + GUARD.max(2 * bytes)).next_multiple_of(1 << 32) + ALIGNMENT;
        if next > END {
            return refuse("the simulated address space is used up");
        }
        self.next = next;
        let chunks = bytes.div_ceil(PAGE_BYTES * CHUNK_PAGES as u64) as usize;
        let chunks = std::iter::repeat_with(OnceLock::new).take(chunks).collect();
        self.live.push(Allocation { name: String::from(name), base, bytes, zeroed, chunks });
        Ok(base)
    }

    pub(in crate::sim) fn free(&mut self, address: u64) -> Result<(), Fault> {
        match self.live.binary_search_by_key(&address, |a| a.base) {
            Ok(index) => {
                let near = Near { freed: true, ..self.live.remove(index).near() };
                let at = self.freed.partition_point(|a| a.base < address);
                self.freed.insert(at, near);
                Ok(())
            }
            Err(_) => Err(self.host_fault("free", address, 0)),
        }
    }

    fn host_fault(&self, access: &'static str, address: u64, bytes: u64) -> Fault {
        Fault::Host { access, address, bytes, near: self.near(address) }
    }

    fn range(&self, access: &'static str, address: u64, bytes: u64) -> Result<&Allocation, Fault> {
        let found = self.find(address).and_then(|index| self.live.get(index));
        found.filter(|a| a.holds(address, bytes)).ok_or_else(|| self.host_fault(access, address, bytes))
    }

    pub(in crate::sim) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        let allocation = self.range("write", address, bytes.len() as u64)?;
        for (offset, from, length) in allocation.pieces(address, bytes.len() as u64) {
            if let Some(page) = allocation.page_or_new(offset) {
                let piece = &bytes[from as usize..(from + length) as usize];
                store(page, (offset % PAGE_BYTES) as usize, piece.len(), |index| piece[index]);
            }
        }
        Ok(())
    }

    pub(in crate::sim) fn fill(&self, address: u64, byte: u8, bytes: u64) -> Result<(), Fault> {
        let allocation = self.range("fill", address, bytes)?;
        for (offset, _, length) in allocation.pieces(address, bytes) {
            if let Some(page) = allocation.page_or_new(offset) {
                store(page, (offset % PAGE_BYTES) as usize, length as usize, |_| byte);
            }
        }
        Ok(())
    }

    /// Forgets that anything wrote the bytes.
    pub(in crate::sim) fn poison(&self, address: u64, bytes: u64) -> Result<(), Fault> {
        let allocation = self.range("poison", address, bytes)?;
        for (offset, _, length) in allocation.pieces(address, bytes) {
            if let Some(page) = allocation.page(offset) {
                let start = (offset % PAGE_BYTES) as usize;
                for_groups(start, length as usize, |group, bits| page.unmark(group, bits));
            }
        }
        Ok(())
    }

    pub(in crate::sim) fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let allocation = self.range("read", address, bytes.len() as u64)?;
        for (offset, to, length) in allocation.pieces(address, bytes.len() as u64) {
            let uninitialized =
                |byte| Fault::HostUninitialized { address: address + to + byte, near: allocation.near() };
            let Some(page) = allocation.page(offset) else { return Err(uninitialized(0)) };
            let start = (offset % PAGE_BYTES) as usize;
            let mut missing = None;
            for_groups(start, length as usize, |group, bits| {
                let lacking = bits & !page.written(group);
                if lacking != 0 && missing.is_none() {
                    missing = Some(group * 32 + lacking.trailing_zeros() as usize - start);
                }
            });
            if let Some(byte) = missing {
                return Err(uninitialized(byte as u64));
            }
            for (index, byte) in bytes[to as usize..(to + length) as usize].iter_mut().enumerate() {
                let at = start + index;
                *byte = (page.word(at / 4) >> (8 * (at % 4))) as u8;
            }
        }
        Ok(())
    }
}

/// The groups of 32 bytes that `[start, start + length)` touches, each with the bits of its bytes.
fn for_groups(start: usize, length: usize, mut f: impl FnMut(usize, u32)) {
    let end = start + length;
    for group in start / 32..end.div_ceil(32) {
        let low = start.max(group * 32) - group * 32;
        let high = end.min(group * 32 + 32) - group * 32;
        f(group, (((1u64 << high) - 1) & !((1u64 << low) - 1)) as u32);
    }
}

fn store(mut page: &Page, start: usize, length: usize, byte: impl Fn(usize) -> u8) {
    for_groups(start, length, |group, bits| page.mark(group, bits));
    let end = start + length;
    for word in start / 4..end.div_ceil(4) {
        let mut value = 0;
        let mut mask = 0;
        for at in (word * 4).max(start)..(word * 4 + 4).min(end) {
            value |= u32::from(byte(at - start)) << (8 * (at % 4));
            mask |= 0xff << (8 * (at % 4));
        }
        if mask == !0 {
            page.put_word(word, value);
        } else {
            page.put(word, value, mask);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tebibyte_costs_nothing_until_touched_and_works_above_4_gib() {
        let mut memory = Global::new();
        let base = memory.allocate("huge", 1 << 40, false).unwrap();
        let address = base + (1 << 39) + 5;
        memory.write(address, &[1, 2, 3]).unwrap();
        let mut back = [0; 3];
        memory.read(address, &mut back).unwrap();
        assert_eq!(back, [1, 2, 3]);
        let near = memory.near(base).unwrap();
        let low = base + ((1u64 << 39) + 5) % (1 << 32);
        assert_eq!(memory.read(low, &mut back), Err(Fault::HostUninitialized { address: low, near }));
    }

    #[test]
    fn copies_cross_pages_and_mark_exactly_their_bytes() {
        let mut memory = Global::new();
        let base = memory.allocate("x", 3 * PAGE_BYTES, false).unwrap();
        let start = base + PAGE_BYTES - 3;
        let data: Vec<u8> = (0..PAGE_BYTES as usize + 7).map(|i| (i * 7) as u8).collect();
        memory.write(start, &data).unwrap();
        let mut back = vec![0; data.len()];
        memory.read(start, &mut back).unwrap();
        assert_eq!(back, data);
        let mut one = [0];
        for (address, written) in [(start - 1, false), (start, true), (start + data.len() as u64, false)] {
            assert_eq!(memory.read(address, &mut one).is_ok(), written);
        }
        memory.poison(start + 10, 1).unwrap();
        assert!(memory.read(start + 9, &mut one).is_ok());
        assert!(memory.read(start + 10, &mut one).is_err());
        memory.fill(start + 10, 9, 1).unwrap();
        memory.read(start + 10, &mut one).unwrap();
        assert_eq!(one, [9]);
    }

    #[test]
    fn ranges_outside_one_live_allocation_are_refused_and_named() {
        let mut memory = Global::new();
        let a = memory.allocate("a", 100, false).unwrap();
        let b = memory.allocate("b", 100, false).unwrap();
        assert!(a.is_multiple_of(ALIGNMENT) && b > a + 100 + (1 << 32));
        let message = memory.write(a + 96, &[0; 8]).unwrap_err().to_string();
        assert!(message.contains("byte 96 of \"a\""), "{message}");
        let message = memory.write(a + 104, &[0]).unwrap_err().to_string();
        assert!(message.contains("4 bytes after the end of \"a\""), "{message}");
        memory.free(b).unwrap();
        let message = memory.write(b, &[0]).unwrap_err().to_string();
        assert!(message.contains("freed \"b\""), "{message}");
        assert!(memory.free(b).is_err() && memory.free(a + 1).is_err());
        assert!(memory.allocate("none", 0, false).is_err());
    }

    #[test]
    fn zeros_cost_nothing_until_touched_and_count_as_written() {
        let mut memory = Global::new();
        let base = memory.allocate("huge", 1 << 40, true).unwrap();
        let address = base + (1 << 39) + 5;
        let mut back = [1; 7];
        memory.read(address, &mut back).unwrap();
        assert_eq!(back, [0; 7]);
        memory.write(address + 1, &[9]).unwrap();
        memory.read(address, &mut back).unwrap();
        assert_eq!(back, [0, 9, 0, 0, 0, 0, 0]);
        memory.read(base + (1 << 40) - 7, &mut back).unwrap();
        assert!(memory.read(base + (1 << 40) - 6, &mut back).is_err());
    }
}

//! The blocks of a launch together: which bytes it read and wrote, and which two independent blocks met.

use super::global::{Trace, TracePage};
use super::hazard::{Hazard, Missing, Party};
use super::pages::{Bits, PAGE};
use super::shadow::History;
use crate::Space;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that a launch touched: sorted ranges of device addresses that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Read by loads, atomics and asynchronous copies.
    pub read: Vec<Range<u64>>,
    /// Written by stores and atomics.
    pub written: Vec<Range<u64>>,
}

impl Footprint {
    /// Bytes read at least once.
    pub fn bytes_read(&self) -> u64 {
        self.read.iter().map(|range| range.end - range.start).sum()
    }

    /// Bytes written at least once.
    pub fn bytes_written(&self) -> u64 {
        self.written.iter().map(|range| range.end - range.start).sum()
    }
}

/// Adds up the traces of a launch.
#[derive(Default)]
pub struct GridCheck {
    pages: BTreeMap<u64, Claims>,
}

/// What blocks so far did to a page.
struct Claims {
    read_bits: Bits,
    written_bits: Bits,
    /// Whoever touched bytes that nobody had touched so before.
    claimants: Vec<Claimant>,
}

/// One block on one page.
struct Claimant {
    /// Bits that were new with it.
    read_bits: Bits,
    written_bits: Bits,
    page: TracePage,
    history: Arc<History>,
}

impl GridCheck {
    /// For one launch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a trace. Add traces in the order of their blocks, whatever the order in which these ran: then the
    /// race reported is always the same one.
    ///
    /// # Errors
    /// [`Hazard::Race`] with an earlier block.
    pub fn add(&mut self, trace: Trace) -> Result<(), Box<Hazard>> {
        for page in trace.pages {
            let empty = || Claims { read_bits: [0; 64], written_bits: [0; 64], claimants: Vec::new() };
            let claims = self.pages.entry(page.number).or_insert_with(empty);
            if let Some(history) = &trace.history {
                claims.compare(&page, history)?;
            }
            claims.take(page, trace.history.as_ref());
        }
        Ok(())
    }

    /// All bytes touched so far.
    pub fn footprint(&self) -> Footprint {
        let mut footprint = Footprint::default();
        for (number, claims) in &self.pages {
            ranges(number * PAGE, &claims.read_bits, &mut footprint.read);
            ranges(number * PAGE, &claims.written_bits, &mut footprint.written);
        }
        footprint
    }
}

/// Appends the runs of set bits, joined to the last range where they touch it.
fn ranges(start: u64, bits: &Bits, ranges: &mut Vec<Range<u64>>) {
    for (at, &bits) in bits.iter().enumerate() {
        let (mut rest, start) = (bits, start + at as u64 * 64);
        while rest != 0 {
            let low = rest.trailing_zeros();
            let count = (rest >> low).trailing_ones();
            let range = start + u64::from(low)..start + u64::from(low + count);
            rest &= !((u64::MAX >> (64 - count)) << low);
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
    }
}

impl Claims {
    /// Whether an earlier block and this one touched the same byte, and one of them wrote it.
    fn compare(&self, page: &TracePage, history: &History) -> Result<(), Box<Hazard>> {
        for at in 0..64 {
            let (read, written) = (page.read_bits[at], page.written_bits[at]);
            let both = self.written_bits[at] & (read | written) | self.read_bits[at] & written;
            if both == 0 {
                continue;
            }
            let low = both.trailing_zeros();
            let byte = at * 64 + low as usize;
            let first = self.claimant(byte, self.written_bits[at] >> low & 1 != 0);
            let second = party(page, history, byte, written >> low & 1 != 0);
            if let (Some(first), Some(second)) = (first, second) {
                return Err(Box::new(Hazard::Race {
                    space: Space::Global,
                    address: page.number * PAGE + byte as u64,
                    bytes: (both >> low).trailing_ones().min(4 - low % 4),
                    first,
                    second,
                    missing: Missing::BlockOrder,
                }));
            }
        }
        Ok(())
    }

    fn claimant(&self, byte: usize, wrote: bool) -> Option<Party> {
        self.claimants.iter().find_map(|claimant| {
            let bits = if wrote { &claimant.written_bits } else { &claimant.read_bits };
            let claimed = bits[byte / 64] >> (byte % 64) & 1 != 0;
            claimed.then(|| party(&claimant.page, &claimant.history, byte, wrote)).flatten()
        })
    }

    fn take(&mut self, page: TracePage, history: Option<&Arc<History>>) {
        let (mut read_bits, mut written_bits, mut any) = ([0; 64], [0; 64], 0);
        for at in 0..64 {
            read_bits[at] = page.read_bits[at] & !self.read_bits[at];
            written_bits[at] = page.written_bits[at] & !self.written_bits[at];
            any |= read_bits[at] | written_bits[at];
            self.read_bits[at] |= read_bits[at];
            self.written_bits[at] |= written_bits[at];
        }
        if any != 0
            && let Some(history) = history
        {
            self.claimants.push(Claimant { read_bits, written_bits, page, history: history.clone() });
        }
    }
}

/// The slot of a byte that the block wrote, or read. Where the read has been overwritten it is the write's.
fn byte_slot(page: &TracePage, history: &History, byte: usize, wrote: bool) -> u32 {
    let of = |mut slot, wrote: bool| {
        // Bytes that were apart before a barrier lie within those that are apart after it.
        while let Some(pairs) = history.apart(slot) {
            slot = if wrote { pairs[byte % 4].0 } else { pairs[byte % 4].1 };
        }
        slot
    };
    let read = of(page.read[byte / 4], false);
    if wrote || history.last(read).is_none() { of(page.write[byte / 4], true) } else { read }
}

/// Who in the block wrote a byte, or read it.
fn party(page: &TracePage, history: &History, byte: usize, wrote: bool) -> Option<Party> {
    let (tick, lane) = history.last(byte_slot(page, history, byte, wrote))?;
    Some(history.event(tick)?.party(lane))
}

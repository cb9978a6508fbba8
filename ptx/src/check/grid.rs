//! The blocks of a launch together: which bytes it read and wrote, and which two independent blocks met.

use super::global::{Trace, TracePage};
use super::hazard::{Hazard, Missing, Party};
use super::pages::{Bits, PAGE};
use super::shadow::{Event, History};
use crate::Space;
use std::collections::BTreeMap;
use std::ops::Range;

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
    /// Accesses that claims point to.
    events: Vec<Event>,
}

/// What blocks so far did to a page, and one party for each byte.
struct Claims {
    read_bits: Bits,
    written_bits: Bits,
    /// By word: who wrote it and who read it whole; 0 for nobody, [`APART`] where `apart` knows by byte.
    write: Vec<u32>,
    read: Vec<u32>,
    apart: BTreeMap<u16, [u32; 2]>,
}

const APART: u32 = u32::MAX;
/// Events that claims can name: more are all called the last one.
const NAMES: usize = (1 << 27) - 2;

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
        let Self { pages, events } = self;
        let mut names = Names { events, last: [None; 4] };
        for page in trace.pages {
            let slots = if trace.history.is_some() { PAGE as usize / 4 } else { 0 };
            let claims = pages.entry(page.number).or_insert_with(|| Claims::new(slots));
            if let Some(history) = &trace.history {
                claims.compare(&page, history, names.events)?;
                claims.take(&page, history, &mut names);
            }
            for at in 0..64 {
                claims.read_bits[at] |= page.read_bits[at];
                claims.written_bits[at] |= page.written_bits[at];
            }
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

/// Names accesses of a trace by indices into the grid's events.
struct Names<'a> {
    events: &'a mut Vec<Event>,
    /// Ticks named last, and their names: neighbouring words mostly come from the same access.
    last: [Option<(u32, u32)>; 4],
}

impl Names<'_> {
    fn name(&mut self, history: &History, slot: u32) -> u32 {
        let Some((tick, lane)) = history.last(slot) else { return 0 };
        let known = &mut self.last[tick as usize % 4];
        let index = match *known {
            Some((named, index)) if named == tick => index,
            _ => {
                let Some(event) = history.event(tick) else { return 0 };
                if self.events.len() < NAMES {
                    self.events.push(event);
                }
                let index = self.events.len() as u32;
                *known = Some((tick, index));
                index
            }
        };
        index << 5 | lane
    }
}

fn party(events: &[Event], name: u32) -> Option<Party> {
    let event = events.get((name >> 5).checked_sub(1)? as usize)?;
    Some(event.party(name & 31))
}

impl Claims {
    fn new(slots: usize) -> Self {
        Self {
            read_bits: [0; 64],
            written_bits: [0; 64],
            write: vec![0; slots],
            read: vec![0; slots],
            apart: BTreeMap::new(),
        }
    }

    /// Whether an earlier block and this one touched the same byte, and one of them wrote it.
    fn compare(&self, page: &TracePage, history: &History, events: &[Event]) -> Result<(), Box<Hazard>> {
        for at in 0..64 {
            let (read, written) = (page.read_bits[at], page.written_bits[at]);
            let both = self.written_bits[at] & (read | written) | self.read_bits[at] & written;
            if both == 0 {
                continue;
            }
            let low = both.trailing_zeros();
            let byte = at * 64 + low as usize;
            let first = self.claimant(byte, self.written_bits[at] >> low & 1 != 0);
            let second = occupant(page, history, byte, written >> low & 1 != 0);
            if let (Some(first), Some(second)) = (party(events, first), second) {
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

    fn claimant(&self, byte: usize, wrote: bool) -> u32 {
        let name = if wrote { self.write[byte / 4] } else { self.read[byte / 4] };
        if name != APART {
            return name;
        }
        self.apart.get(&(byte as u16)).map_or(0, |names| names[usize::from(!wrote)])
    }

    /// Names the block's accesses where nobody has been named yet.
    fn take(&mut self, page: &TracePage, history: &History, names: &mut Names) {
        for at in 0..64 {
            let mut rest = page.read_bits[at] | page.written_bits[at];
            while rest != 0 {
                let word = at * 16 + rest.trailing_zeros() as usize / 4;
                let shift = rest.trailing_zeros() & !3;
                rest &= !(0xf << shift);
                for wrote in [true, false] {
                    let (theirs, ours, slots) = if wrote {
                        (page.written_bits[at], self.written_bits[at], &page.write)
                    } else {
                        (page.read_bits[at], self.read_bits[at], &page.read)
                    };
                    let (new, old) = (theirs >> shift & 0xf, ours >> shift & 0xf);
                    if new & !old == 0 {
                        continue;
                    }
                    let whole = new == 0xf && old == 0 && history.apart(slots[word]).is_none();
                    let claim = if wrote { &mut self.write[word] } else { &mut self.read[word] };
                    if whole && *claim != APART {
                        *claim = names.name(history, byte_slot(page, history, word * 4, wrote));
                        continue;
                    }
                    let before = std::mem::replace(claim, APART);
                    for byte in word * 4..word * 4 + 4 {
                        let entry = self.apart.entry(byte as u16).or_default();
                        let name = &mut entry[usize::from(!wrote)];
                        let bit = 1 << (byte % 4);
                        if before != APART && old & bit != 0 {
                            *name = before;
                        }
                        if new & !old & bit != 0 {
                            *name = names.name(history, byte_slot(page, history, byte, wrote));
                        }
                    }
                }
            }
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

fn occupant(page: &TracePage, history: &History, byte: usize, wrote: bool) -> Option<Party> {
    let (tick, lane) = history.last(byte_slot(page, history, byte, wrote))?;
    Some(history.event(tick)?.party(lane))
}

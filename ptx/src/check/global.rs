//! Global memory as the blocks of a launch touch it.
//!
//! Where nothing can order two blocks ([`Blocks::Independent`]) each block is checked by itself, and whether two
//! blocks touched the same bytes is asked afterwards, when their traces are added up ([`super::GridCheck`]): so
//! blocks may run on several threads of the host. Otherwise one shadow sees all blocks, each access knows its
//! block, and what one block knows of another came by release and acquire ([`super::message`]).

use super::block::part;
use super::hazard::{Access, AccessKind};
use super::message::Messages;
use super::order::{Order, lanes};
use super::pages::{Bits, PAGE, Page, Pages};
use super::shadow::{Event, History, Making, Met};
use crate::{Scope, Semantics};

/// Which blocks a [`GlobalCheck`] sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// The kernel has no global (or generic) atomic, volatile, relaxed, acquire or release access: nothing can
    /// order two blocks. One checker a host thread, which runs one block at a time to its end.
    Independent,
    /// Blocks may order each other. One checker for the launch, on one host thread; blocks interleave freely.
    Communicating,
}

/// Global memory as one host thread sees it during a launch; reusable for the next launch of the same kind.
pub struct GlobalCheck {
    blocks: Blocks,
    races: bool,
    history: History,
    pages: Pages,
    messages: Messages,
    /// Of the block's order, when the history was last hushed.
    generation: u32,
}

/// What one independent block, or a whole launch of communicating ones, did to global memory.
pub struct Trace {
    pub(super) pages: Vec<TracePage>,
    /// None where races between blocks were found on the way.
    pub(super) history: Option<History>,
}

/// One page of a trace.
pub(super) struct TracePage {
    pub(super) number: u64,
    pub(super) read_bits: Bits,
    pub(super) written_bits: Bits,
    /// Slots; none of words whose bits are 0 mean anything.
    pub(super) write: Vec<u32>,
    pub(super) read: Vec<u32>,
}

impl GlobalCheck {
    /// `races` false: only the footprint is kept.
    pub fn new(blocks: Blocks, races: bool) -> Self {
        Self {
            blocks,
            races,
            history: History::new(),
            pages: Pages::new(races),
            messages: Messages::default(),
            generation: 0,
        }
    }

    pub(super) fn races(&self) -> bool {
        self.races
    }

    /// A block begins.
    pub(super) fn begin(&mut self, order: &Order) {
        if self.blocks == Blocks::Communicating {
            return;
        }
        self.generation = order.generation();
        self.history.cut();
        self.pages.begin();
        if self.history.exhausted() {
            self.history.restart();
            self.pages.clear();
        }
    }

    /// One access of a warp.
    #[inline]
    pub(super) fn access(
        &mut self,
        order: &mut Order,
        warp: u32,
        mask: u32,
        access: &Access,
        addresses: &[u64; 32],
        equal: impl Fn(u32, u32) -> bool,
    ) -> Result<(), Met> {
        let bytes = access.bytes as usize;
        let (reads, writes) = (access.kind != AccessKind::Store, access.kind.writes());
        if !self.races {
            for lane in lanes(mask) {
                let address = addresses[lane as usize];
                self.pages.at(address).mark((address % PAGE) as usize, bytes, reads, writes);
            }
            return Ok(());
        }
        let Self { history, pages, .. } = self;
        hush(self.blocks, &mut self.generation, history, order);
        let event = Event::new(order, warp, mask, access);
        let making = history.make(order, event);
        let mut done = false;
        let adjacent = adjacent(mask, addresses, access.bytes);
        if !adjacent && event.overwrites() {
            for lane in lanes(mask) {
                let address = addresses[lane as usize];
                let (page, word) = (pages.at(address), (address % PAGE) as usize / 4);
                let words = word..word + bytes.div_ceil(4);
                let part = part(address, access.bytes);
                history
                    .look(&making, lane, &page.write[words.clone()], &page.read[words], part)
                    .map_err(|found| Met { address, second: making.event.party(lane), found })?;
            }
        }
        if adjacent {
            let page = pages.at(addresses[0]);
            let start = (addresses[0] % PAGE) as usize;
            page.mark(start, 32 * bytes, reads, writes);
            let all = start / 4..start / 4 + 8 * bytes;
            done = history.touch_all(&making, &mut page.write[all.clone()], &mut page.read[all]);
        }
        for lane in lanes(if done { 0 } else { mask }) {
            let address = addresses[lane as usize];
            let page = pages.at(address);
            page.mark((address % PAGE) as usize, bytes, reads, writes);
            touch(history, &making, lane, page, address, bytes, |other| equal(lane, other))?;
        }
        self.tell(order, warp, mask, access, addresses);
        Ok(())
    }

    fn tell(
        &mut self,
        order: &mut Order,
        warp: u32,
        mask: u32,
        access: &Access,
        addresses: &[u64; 32],
    ) {
        let strong = access.semantics != Semantics::Weak || access.kind == AccessKind::Atomic;
        if strong {
            let scope = if access.semantics == Semantics::Volatile { Scope::System } else { access.scope };
            for lane in lanes(mask) {
                let address = addresses[lane as usize];
                self.messages.strong(order, (warp, lane), access, scope, address);
            }
        } else if access.kind.writes() && !self.messages.is_empty() {
            for lane in lanes(mask) {
                self.messages.overwrite(addresses[lane as usize], access.bytes.into());
            }
        }
    }

    /// The reads of a `cp.async`: any number of bytes up to 16 a lane.
    pub(super) fn copy_source(
        &mut self,
        order: &mut Order,
        warp: u32,
        mask: u32,
        instruction: u32,
        from: &[u64; 32],
        bytes: &[u32; 32],
    ) -> Result<(), Met> {
        let access = Access {
            instruction,
            kind: AccessKind::Load,
            semantics: Semantics::Weak,
            scope: Scope::Block,
            bytes: 4,
            elements: 1,
        };
        let Self { history, pages, .. } = self;
        hush(self.blocks, &mut self.generation, history, order);
        let event = Event::new(order, warp, mask, &access);
        let making = history.make(order, event);
        for lane in lanes(mask) {
            let (address, bytes) = (from[lane as usize], bytes[lane as usize] as usize);
            if bytes == 0 {
                continue;
            }
            let page = pages.at(address);
            page.mark((address % PAGE) as usize, bytes, true, false);
            if !self.races {
                continue;
            }
            let whole = bytes & !3;
            if whole > 0 {
                touch(history, &making, lane, page, address, whole, |_| true)?;
            }
            if bytes > whole {
                touch(history, &making, lane, page, address + whole as u64, bytes - whole, |_| true)?;
            }
        }
        Ok(())
    }

    /// What was done since the block began ([`Blocks::Independent`]: call at the end of each block), or since
    /// the last trace ([`Blocks::Communicating`]: call once, after the grid).
    pub fn trace(&mut self) -> Trace {
        let pages = &mut self.pages;
        let keep = self.races && self.blocks == Blocks::Independent;
        let page = |page: &Page| TracePage {
            number: page.number,
            read_bits: page.read_bits,
            written_bits: page.written_bits,
            write: if keep { page.write.clone() } else { Vec::new() },
            read: if keep { page.read.clone() } else { Vec::new() },
        };
        let pages = pages.touched().map(page).collect();
        let history = keep.then(|| self.history.take());
        if self.blocks == Blocks::Communicating {
            // The launch is over; the next one finds nothing of it.
            self.history.restart();
            self.pages.clear();
            self.pages.begin();
            self.messages.clear();
        }
        Trace { pages, history }
    }
}

/// After a barrier of the whole block a block's own accesses need no comparing any more.
#[inline]
fn hush(blocks: Blocks, generation: &mut u32, history: &mut History, order: &Order) {
    if blocks == Blocks::Independent && *generation != order.generation() {
        *generation = order.generation();
        history.hush();
    }
}

#[inline]
fn touch(
    history: &mut History,
    making: &Making,
    lane: u32,
    page: &mut Page,
    address: u64,
    bytes: usize,
    equal: impl Fn(u32) -> bool,
) -> Result<(), Met> {
    let offset = (address % PAGE) as usize;
    let word = offset / 4;
    let done = if bytes < 4 {
        let bytes = part(address, bytes as u32);
        history.touch_bytes(making, lane, &mut page.write[word], &mut page.read[word], bytes, equal)
    } else {
        let words = word..word + bytes / 4;
        history.touch(making, lane, &mut page.write[words.clone()], &mut page.read[words], equal)
    };
    done.map_err(|found| Met { address, second: making.event.party(lane), found })
}

/// Whether the lanes lie one after the other within one page.
#[inline]
fn adjacent(mask: u32, addresses: &[u64; 32], bytes: u32) -> bool {
    let (first, bytes) = (addresses[0], u64::from(bytes));
    if mask != u32::MAX || bytes < 4 || first % PAGE + 32 * bytes > PAGE {
        return false;
    }
    let apart = addresses
        .iter()
        .enumerate()
        .fold(0, |any, (lane, &address)| any | (address ^ first.wrapping_add(lane as u64 * bytes)));
    apart == 0
}

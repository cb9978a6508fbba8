//! Global memory as the blocks of a launch touch it.
//!
//! Where nothing can order two blocks ([`Blocks::Independent`]) each block is checked by itself, and whether two
//! blocks touched the same bytes is asked afterwards, when their traces are added up ([`super::GridCheck`]): so
//! blocks may run on several threads of the host. Otherwise one shadow sees all blocks, each access knows its
//! block, and what one block knows of another came by release and acquire ([`super::message`]).

use super::hazard::{Access, AccessKind, Party};
use super::message::Messages;
use super::order::{Order, lanes};
use super::pages::{Bits, Page, Pages};
use super::shadow::{Event, Found, History, Touched};
use crate::{Scope, Semantics};
use std::sync::Arc;

/// A clash of an access at `address`.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) address: u64,
    pub(super) second: Party,
    pub(super) found: Found,
}

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
    pub(super) history: Option<Arc<History>>,
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
        let (reads, writes) = (access.kind != AccessKind::Store, access.kind.writes());
        let words = self.pages.mark(mask, addresses, &[access.bytes; 32], reads, writes);
        if !self.races {
            return Ok(());
        }
        let touched =
            Touched { mask, words: &words, low: &low(access.bytes, addresses), bytes: access.bytes };
        self.touch(order, warp, access, &touched, equal).map_err(|found| at(addresses, found))?;
        let scope = if access.semantics == Semantics::Volatile { Scope::System } else { access.scope };
        self.messages.access(order, (warp, mask), access, scope, addresses);
        Ok(())
    }

    #[inline]
    fn touch(
        &mut self,
        order: &mut Order,
        warp: u32,
        access: &Access,
        touched: &Touched,
        equal: impl Fn(u32, u32) -> bool,
    ) -> Result<(), (Event, Found)> {
        let alone = self.blocks == Blocks::Independent;
        if alone && self.generation != order.generation() {
            // After a barrier of the whole block its own accesses need no comparing any more.
            self.generation = order.generation();
            self.history.hush();
        }
        let event = Event::new(order, warp, touched.mask, access);
        let making = self.history.make(order, event, alone);
        self.history.access(&making, &mut self.pages.slots, touched, equal).map_err(|found| (event, found))
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
        // Lanes by how many bytes they read; byte counts between the usual ones are read in two parts.
        let mut by_bytes = [(16, 0), (8, 0), (4, 0), (2, 0), (1, 0)];
        let mut reading = 0;
        for lane in lanes(mask) {
            for (size, lanes) in &mut by_bytes {
                *lanes |= u32::from(bytes[lane as usize] & *size != 0) << lane;
            }
            reading |= u32::from(bytes[lane as usize] != 0) << lane;
        }
        let mut words = self.pages.mark(reading, from, bytes, true, false);
        if !self.races {
            return Ok(());
        }
        let mut addresses = *from;
        for (size, mask) in by_bytes {
            if mask == 0 {
                continue;
            }
            let access = Access {
                instruction,
                kind: AccessKind::Load,
                semantics: Semantics::Weak,
                scope: Scope::Block,
                bytes: size,
                elements: 1,
            };
            let touched = Touched { mask, words: &words, low: &low(size, &addresses), bytes: size };
            self.touch(order, warp, &access, &touched, |_, _| true).map_err(|found| at(&addresses, found))?;
            for lane in lanes(mask) {
                addresses[lane as usize] += u64::from(size);
                words[lane as usize] += size / 4;
            }
        }
        Ok(())
    }

    /// What was done since the block began ([`Blocks::Independent`]: call at the end of each block), or since
    /// the last trace ([`Blocks::Communicating`]: call once, after the grid).
    pub fn trace(&mut self) -> Trace {
        let pages = &mut self.pages;
        let keep = self.races && self.blocks == Blocks::Independent;
        let slots = |slots: &[u32]| if keep { slots.to_vec() } else { Vec::new() };
        let page = |(page, write, read): (&Page, &[u32], &[u32])| TracePage {
            number: page.number,
            read_bits: page.read_bits,
            written_bits: page.written_bits,
            write: slots(write),
            read: slots(read),
        };
        let pages = pages.touched().map(page).collect();
        let history = keep.then(|| Arc::new(self.history.take()));
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

/// A clash at the addresses of an access.
pub(super) fn at<A: Copy + Into<u64>>(addresses: &[A; 32], (event, found): (Event, Found)) -> Met {
    Met { address: addresses[found.lane as usize].into(), second: event.party(found.lane), found }
}

/// Addresses modulo 256, where they matter.
#[inline]
pub(super) fn low<A: Copy + Into<u64>>(bytes: u32, addresses: &[A; 32]) -> [u8; 32] {
    if bytes < 4 { addresses.map(|address| address.into() as u8) } else { [0; 32] }
}

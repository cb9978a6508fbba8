//! Release and acquire: what strong writes leave at an address for strong reads of it to take.
//!
//! PTX ISA 8.4, section 8.10: a release pattern (a release, or a fence followed by a strong write) synchronises
//! with an acquire pattern (an acquire, or a strong read followed by a fence) that observes it, directly or
//! through a chain of atomics, if the scopes of both take in both threads. The simulated memory is sequentially
//! consistent, so that a strong read observes the last strong write.

use super::hazard::{Access, AccessKind};
use super::knowledge::{Shared, union};
use super::order::{Offer, Order, lanes, wide};
use crate::{Scope, Semantics};
use std::collections::BTreeMap;

/// Messages of one memory: shared memory of a block, or global memory.
#[derive(Default)]
pub(super) struct Messages {
    at: BTreeMap<u64, Message>,
    /// All addresses lie in low..high.
    low: u64,
    high: u64,
}

#[derive(Default)]
struct Message {
    /// Released at scope gpu or wider.
    device: Shared,
    /// Released by threads of a block at any scope.
    blocks: Vec<(u32, Shared)>,
    /// Whether a release at a narrower scope is among them.
    narrow: bool,
    /// Who began the chain: (block, warp, lane).
    writer: (u32, u32, u32),
}

impl Messages {
    pub(super) fn clear(&mut self) {
        self.at.clear();
        (self.low, self.high) = (0, 0);
    }

    /// The access of a warp: what its weak stores overwrite can no longer be observed, its strong accesses leave
    /// and take messages.
    #[inline]
    pub(super) fn access<A: Copy + Into<u64>>(
        &mut self,
        order: &mut Order,
        (warp, mask): (u32, u32),
        access: &Access,
        scope: Scope,
        addresses: &[A; 32],
    ) {
        use Semantics::{Relaxed, Volatile, Weak};
        let strong = access.semantics != Weak || access.kind == AccessKind::Atomic;
        let quiet = matches!(access.semantics, Weak | Relaxed | Volatile) && order.unfenced();
        if self.at.is_empty() && (quiet || !strong) {
            return;
        }
        for lane in lanes(mask) {
            let address = addresses[lane as usize].into();
            if strong {
                self.strong(order, (warp, lane), access, scope, address);
            } else if access.kind.writes() {
                self.overwrite(address, access.bytes.into());
            }
        }
    }

    fn overwrite(&mut self, address: u64, bytes: u64) {
        if address >= self.high || address + bytes <= self.low {
            return;
        }
        while let Some((&at, _)) = self.at.range(address..address + bytes).next() {
            self.at.remove(&at);
        }
    }

    /// A strong access of one lane. `scope` is the access's, or the widest where all parties are of one block.
    fn strong(
        &mut self,
        order: &mut Order,
        (warp, lane): (u32, u32),
        access: &Access,
        scope: Scope,
        address: u64,
    ) {
        use Semantics::{Acquire, AcquireRelease, Release, SequentiallyConsistent};
        let reads = matches!(access.kind, AccessKind::Load | AccessKind::Atomic);
        if reads && let Some(message) = self.at.get(&address) {
            let offer = message.offer(order.block());
            if matches!(access.semantics, Acquire | AcquireRelease | SequentiallyConsistent) {
                order.acquire(warp, lane, scope, &offer);
            } else {
                order.observe(warp, lane, scope, offer);
            }
        }
        if !access.kind.writes() {
            return;
        }
        let releases = matches!(access.semantics, Release | AcquireRelease | SequentiallyConsistent);
        let (block, device) = order.released(warp, lane, scope, releases);
        let me = (order.block(), warp, lane);
        let goes_on = access.kind == AccessKind::Atomic
            || self.at.get(&address).is_some_and(|message| message.writer == me);
        if !goes_on {
            self.at.remove(&address);
        }
        if block.is_none() && device.is_none() {
            return;
        }
        if self.at.is_empty() {
            (self.low, self.high) = (address, address + 1);
        }
        (self.low, self.high) = (self.low.min(address), self.high.max(address + 1));
        let message = self.at.entry(address).or_insert_with(|| Message { writer: me, ..Message::default() });
        message.narrow |= device.is_none() || !wide(scope);
        message.device = union(&message.device, &device);
        match message.blocks.binary_search_by_key(&me.0, |entry| entry.0) {
            Ok(at) => message.blocks[at].1 = union(&message.blocks[at].1, &block),
            Err(at) => message.blocks.insert(at, (me.0, block)),
        }
    }
}

impl Message {
    fn offer(&self, block: u32) -> Offer {
        let own = self.blocks.binary_search_by_key(&block, |entry| entry.0);
        let own = own.map_or(None, |at| self.blocks[at].1.clone());
        let mut any = self.device.clone();
        if self.narrow {
            for (_, released) in &self.blocks {
                any = union(&any, released);
            }
        }
        Offer { device: self.device.clone(), block: own, any, narrow: self.narrow }
    }
}

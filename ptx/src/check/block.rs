//! The checks of one block: its order, its shared memory, its asynchronous copies.

use super::copies::{Copies, Copy};
use super::global::GlobalCheck;
use super::hazard::{Access, AccessKind, Hazard, Party};
use super::message::Messages;
use super::order::{Order, lanes};
use super::shadow::{Clash, Event, Found, History, Met, PENDING};
use crate::{Scope, Semantics, Space};

/// Order and shared memory of one block; one object serves one block after another. Warps have 32 lanes, and
/// thread t (linear) is lane t mod 32 of warp t / 32. Calls come in the order in which the simulated GPU
/// executes, and only for lanes whose guard is true.
///
/// After an error the block's state is undefined: begin another one.
pub struct BlockCheck {
    order: Order,
    history: History,
    /// By 4-byte word.
    write: Vec<u32>,
    read: Vec<u32>,
    copies: Copies,
    messages: Messages,
}

impl BlockCheck {
    /// For blocks of `threads` threads with `shared_bytes` of shared memory, static and dynamic together.
    pub fn new(threads: u32, shared_bytes: u32) -> Self {
        let words = shared_bytes.div_ceil(4) as usize;
        Self {
            order: Order::new(threads),
            history: History::new(),
            write: vec![0; words],
            read: vec![0; words],
            copies: Copies::new(threads.div_ceil(32)),
            messages: Messages::default(),
        }
    }

    /// Starts block number `block` (linear). Call before its first access; nothing of the previous block is left.
    pub fn begin(&mut self, global: &mut GlobalCheck, block: u32) {
        for copy in self.copies.clear() {
            for lane in lanes(copy.mask) {
                self.write[words(copy.to[lane as usize], copy.bytes)].fill(0);
            }
        }
        self.order.begin(block);
        self.messages.clear();
        self.cut();
        global.begin(&self.order);
    }

    /// Everything so far lies before what follows.
    fn cut(&mut self) {
        self.history.cut();
        if self.history.exhausted() {
            self.history.restart();
            self.read.fill(0);
            self.write.iter_mut().filter(|slot| **slot & PENDING == 0).for_each(|slot| *slot = 0);
        }
    }

    /// An access of shared memory. `addresses` are offsets into the block's shared memory, read where `mask`
    /// has a bit; bounds and alignment have been checked. `equal(a, b)` is asked only when lanes a and b of a
    /// store hit the same bytes: whether they write the same value there.
    ///
    /// # Errors
    /// [`Hazard::Race`], [`Hazard::CopyNotAwaited`].
    #[inline]
    pub fn shared(
        &mut self,
        warp: u32,
        mask: u32,
        access: &Access,
        addresses: &[u32; 32],
        equal: impl Fn(u32, u32) -> bool,
    ) -> Result<(), Box<Hazard>> {
        let event = Event::new(&mut self.order, warp, mask, access);
        let making = self.history.make(&self.order, event);
        let (write, read) = (&mut self.write[..], &mut self.read[..]);
        let all = adjacent(mask, addresses, access.bytes);
        if all.is_none() && event.overwrites() {
            for lane in lanes(mask) {
                let address = addresses[lane as usize];
                let (words, bytes) = (words(address, access.bytes), part(address.into(), access.bytes));
                let looked = self.history.look(&making, lane, &write[words.clone()], &read[words], bytes);
                if let Err(found) = looked {
                    let met = Met { address: address.into(), second: making.event.party(lane), found };
                    return Err(self.hazard(Space::Shared, met));
                }
            }
        }
        let done =
            all.is_some_and(|all| self.history.touch_all(&making, &mut write[all.clone()], &mut read[all]));
        for lane in lanes(if done { 0 } else { mask }) {
            let address = addresses[lane as usize];
            let words = words(address, access.bytes);
            let equal = |other| equal(lane, other);
            let done = if access.bytes < 4 {
                let (write, read) = (&mut write[words.start], &mut read[words.start]);
                let bytes = part(address.into(), access.bytes);
                self.history.touch_bytes(&making, lane, write, read, bytes, equal)
            } else {
                self.history.touch(&making, lane, &mut write[words.clone()], &mut read[words], equal)
            };
            if let Err(found) = done {
                let met = Met { address: address.into(), second: making.event.party(lane), found };
                return Err(self.hazard(Space::Shared, met));
            }
        }
        self.tell(warp, mask, access, addresses);
        Ok(())
    }

    /// Releases and acquires through shared memory, which only this block sees: every scope reaches far enough.
    fn tell(&mut self, warp: u32, mask: u32, access: &Access, addresses: &[u32; 32]) {
        let strong = access.semantics != Semantics::Weak || access.kind == AccessKind::Atomic;
        if strong {
            for lane in lanes(mask) {
                let address = addresses[lane as usize].into();
                self.messages.strong(&mut self.order, (warp, lane), access, Scope::System, address);
            }
        } else if access.kind.writes() && !self.messages.is_empty() {
            for lane in lanes(mask) {
                self.messages.overwrite(addresses[lane as usize].into(), access.bytes.into());
            }
        }
    }

    /// An access of global memory by device addresses; else as [`BlockCheck::shared`].
    ///
    /// # Errors
    /// [`Hazard::Race`], [`Hazard::CopySourceOverwritten`].
    #[inline]
    pub fn global(
        &mut self,
        global: &mut GlobalCheck,
        warp: u32,
        mask: u32,
        access: &Access,
        addresses: &[u64; 32],
        equal: impl Fn(u32, u32) -> bool,
    ) -> Result<(), Box<Hazard>> {
        if global.races() && access.kind.writes() && self.copies.any() {
            let bytes = access.bytes.into();
            for lane in lanes(mask) {
                let reader = self.copies.reader(self.order.block(), addresses[lane as usize], bytes);
                if let Some((copy, address, bytes)) = reader {
                    let thread = warp * 32 + lane;
                    let access =
                        Party { block: copy.block, thread, instruction: access.instruction, kind: access.kind };
                    return Err(Box::new(Hazard::CopySourceOverwritten { address, bytes, copy, access }));
                }
            }
        }
        global
            .access(&mut self.order, warp, mask, access, addresses, equal)
            .map_err(|met| self.hazard(Space::Global, met))
    }

    /// `cp.async`: `bytes` (4, 8 or 16) to the shared addresses `to`, of which the first `source_bytes[lane]` are
    /// read at `from[lane]` and the rest is 0.
    ///
    /// # Errors
    /// [`Hazard::Race`] on either side; [`Hazard::CopyNotAwaited`] where another copy is on its way to the same bytes.
    #[expect(clippy::too_many_arguments, reason = "they are the instruction's operands")]
    pub fn copy_issue(
        &mut self,
        global: &mut GlobalCheck,
        warp: u32,
        mask: u32,
        instruction: u32,
        bytes: u32,
        to: &[u32; 32],
        from: &[u64; 32],
        source_bytes: &[u32; 32],
    ) -> Result<(), Box<Hazard>> {
        global
            .copy_source(&mut self.order, warp, mask, instruction, from, source_bytes)
            .map_err(|met| self.hazard(Space::Global, met))?;
        if !global.races() {
            return Ok(());
        }
        let access = copy(instruction, bytes);
        let event = Event::new(&mut self.order, warp, mask, &access);
        let making = self.history.make(&self.order, event);
        for lane in lanes(mask) {
            let address = to[lane as usize];
            let words = words(address, bytes);
            let (write, read) = (&mut self.write[words.clone()], &mut self.read[words]);
            if let Err(found) = self.history.touch(&making, lane, write, read, |_| false) {
                let met = Met { address: address.into(), second: making.event.party(lane), found };
                return Err(self.hazard(Space::Shared, met));
            }
            write.iter_mut().for_each(|slot| *slot |= PENDING);
        }
        let mut copy = Copy::new(instruction, mask, bytes, to, making.slot(0) >> 5);
        (copy.from, copy.read) = (*from, *source_bytes);
        self.copies.issue(warp, copy);
        Ok(())
    }

    /// Out of line: it happens once.
    #[cold]
    fn hazard(&self, space: Space, met: Met) -> Box<Hazard> {
        let Met { address, second, found: Found { clash, offset, bytes } } = met;
        let address = address + u64::from(offset);
        Box::new(match clash {
            Clash::Race { first, missing } => Hazard::Race { space, address, bytes, first, second, missing },
            Clash::Pending { slot } => {
                let lane = slot & 31;
                // A copy not found is the one being issued: two of its lanes write the same bytes.
                let copy = self.copies.find((slot & !PENDING) >> 5).map_or(
                    Party { thread: second.thread / 32 * 32 + lane, ..second },
                    |(warp, copy)| copy.party(self.order.block(), warp, lane),
                );
                let exited = self.order.exited(copy.thread / 32, lane);
                Hazard::CopyNotAwaited { address, bytes, copy, access: second, exited }
            }
        })
    }

    /// `cp.async.commit_group`
    pub fn copy_commit(&mut self, warp: u32, mask: u32) {
        self.copies.commit(warp, mask);
    }

    /// `cp.async.wait_group n` (`Some(n)`) or `wait_all` (`None`): what is covered counts as written by its
    /// thread now.
    pub fn copy_wait(&mut self, warp: u32, mask: u32, pending: Option<u32>) {
        let Self { order, history, write, copies, .. } = self;
        copies.wait(warp, mask, pending, |done, over| {
            let event = Event::new(order, warp, over, &copy(done.instruction, done.bytes));
            let making = history.make(order, event);
            for lane in lanes(over) {
                let was = PENDING | done.tick << 5 | lane;
                let slots = &mut write[words(done.to[lane as usize], done.bytes)];
                slots.iter_mut().filter(|slot| **slot == was).for_each(|slot| *slot = making.slot(lane));
            }
        });
    }

    /// `bar.warp.sync` completed by the lanes of `mask`: one call a meeting. Not for shfl, vote, match and the
    /// like, which order no memory.
    pub fn warp_sync(&mut self, warp: u32, mask: u32) {
        self.order.warp_sync(warp, mask);
    }

    /// Lanes reach barrier `id` (0 to 15) by `sync`, `arrive` or `red`.
    pub fn barrier_arrive(&mut self, id: u32, warp: u32, mask: u32) {
        self.order.barrier_arrive(id, warp, mask);
    }

    /// Barrier `id` completes: `waiting[warp]` are the lanes that now go on from `sync` or `red` (not `arrive`).
    pub fn barrier_complete(&mut self, id: u32, waiting: &[u32]) {
        let before = self.order.generation();
        self.order.barrier_complete(id, waiting);
        if self.order.generation() != before {
            self.cut();
        }
    }

    /// `fence` or `membar` of either semantics (all of the simulated memory is sequentially consistent).
    pub fn fence(&mut self, warp: u32, mask: u32, scope: Scope) {
        self.order.fence(warp, mask, scope);
    }

    /// Lanes exit.
    pub fn exit(&mut self, warp: u32, mask: u32) {
        self.order.exit(warp, mask);
    }
}

const fn copy(instruction: u32, bytes: u32) -> Access {
    Access {
        instruction,
        kind: AccessKind::Copy,
        semantics: Semantics::Weak,
        scope: Scope::Block,
        bytes,
        elements: 1,
    }
}

const fn words(address: u32, bytes: u32) -> std::ops::Range<usize> {
    let first = address as usize / 4;
    first..first + if bytes < 4 { 1 } else { bytes as usize / 4 }
}

/// The bytes of a word that an access touches; all for one of whole words.
pub(super) const fn part(address: u64, bytes: u32) -> std::ops::Range<usize> {
    let start = (address % 4) as usize;
    start..start + if bytes < 4 { bytes as usize } else { 4 }
}

/// The words of a warp whose lanes lie one after the other.
#[inline]
fn adjacent(mask: u32, addresses: &[u32; 32], bytes: u32) -> Option<std::ops::Range<usize>> {
    if mask != u32::MAX || bytes < 4 {
        return None;
    }
    let first = addresses[0];
    let apart = addresses
        .iter()
        .enumerate()
        .fold(0, |any, (lane, &address)| any | (address ^ first.wrapping_add(lane as u32 * bytes)));
    (apart == 0).then(|| first as usize / 4..(first + 32 * bytes) as usize / 4)
}

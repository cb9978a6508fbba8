//! The checks of one block: its order, its shared memory, its asynchronous copies.

use super::copies::{Copies, Copy};
use super::global::{GlobalCheck, Met, at, low};
use super::hazard::{Access, AccessKind, Hazard, Party};
use super::message::Messages;
use super::order::{Order, lanes};
use super::shadow::{Clash, Event, Found, History, PENDING, Slots, Touched};
use crate::{Scope, Semantics, Space};

/// Order and shared memory of one block; one object serves one block after another. Warps have 32 lanes, and
/// thread t (linear) is lane t mod 32 of warp t / 32. Calls come in the order in which the simulated GPU
/// executes, and only for lanes whose guard is true.
///
/// After an error the block's state is undefined: begin another one.
pub struct BlockCheck {
    order: Order,
    history: History,
    slots: Slots,
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
            slots: Slots { write: vec![0; words], read: vec![0; words] },
            copies: Copies::new(threads.div_ceil(32)),
            messages: Messages::default(),
        }
    }

    /// Starts block number `block` (linear). Call before its first access; nothing of the previous block is left.
    pub fn begin(&mut self, global: &mut GlobalCheck, block: u32) {
        for copy in self.copies.clear() {
            for lane in lanes(copy.mask) {
                self.slots.write[words(copy.to[lane as usize], copy.bytes)].fill(0);
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
            self.slots.read.fill(0);
            self.slots.write.iter_mut().filter(|slot| **slot & PENDING == 0).for_each(|slot| *slot = 0);
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
        let words = addresses.map(|address| address / 4);
        let touched =
            Touched { mask, words: &words, low: &low(access.bytes, addresses), bytes: access.bytes };
        self.touch(warp, access, &touched, equal)
            .map_err(|found| self.hazard(Space::Shared, at(addresses, found)))?;
        // Only this block sees it: every scope reaches far enough.
        self.messages.access(&mut self.order, (warp, mask), access, Scope::System, addresses);
        Ok(())
    }

    #[inline]
    fn touch(
        &mut self,
        warp: u32,
        access: &Access,
        touched: &Touched,
        equal: impl Fn(u32, u32) -> bool,
    ) -> Result<u32, (Event, Found)> {
        let event = Event::new(&mut self.order, warp, touched.mask, access);
        let making = self.history.make(&self.order, event, true);
        self.history.access(&making, &mut self.slots, touched, equal).map_err(|found| (event, found))?;
        Ok(making.tick)
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
                    let access = Party {
                        block: copy.block,
                        thread,
                        instruction: access.instruction,
                        kind: access.kind,
                    };
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
        let words = to.map(|address| address / 4);
        let touched = Touched { mask, words: &words, low: &[0; 32], bytes };
        let tick = self
            .touch(warp, &access, &touched, |_, _| false)
            .map_err(|found| self.hazard(Space::Shared, at(to, found)))?;
        for lane in lanes(mask) {
            let first = words[lane as usize] as usize;
            self.slots.write[first..first + bytes as usize / 4].iter_mut().for_each(|slot| *slot |= PENDING);
        }
        let mut copy = Copy::new(instruction, mask, bytes, to, tick);
        (copy.from, copy.read) = (*from, *source_bytes);
        self.copies.issue(warp, copy);
        Ok(())
    }

    /// Out of line: it happens once.
    #[cold]
    fn hazard(&self, space: Space, met: Met) -> Box<Hazard> {
        let Met { address, second, found: Found { clash, offset, bytes, .. } } = met;
        let address = address + u64::from(offset);
        Box::new(match clash {
            Clash::Race { first, missing } => Hazard::Race { space, address, bytes, first, second, missing },
            Clash::Pending { slot } => {
                let lane = slot & 31;
                // A pending slot is of a copy in flight; were that not found, its lane would be all that is known.
                let copy =
                    self.copies.find((slot & !PENDING) >> 5).map_or(
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
        let Self { order, history, slots, copies, .. } = self;
        copies.wait(warp, mask, pending, |done, over| {
            let event = Event::new(order, warp, over, &copy(done.instruction, done.bytes));
            let making = history.make(order, event, true);
            for lane in lanes(over) {
                let was = PENDING | done.tick << 5 | lane;
                let slots = &mut slots.write[words(done.to[lane as usize], done.bytes)];
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

/// The words of a copy of 4, 8 or 16 bytes.
const fn words(address: u32, bytes: u32) -> std::ops::Range<usize> {
    let first = address as usize / 4;
    first..first + bytes as usize / 4
}

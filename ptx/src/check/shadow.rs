//! The shadow of memory: for each word, the accesses that later ones must be ordered behind.
//!
//! After FastTrack (Flanagan and Freund, 2009): a word remembers its last write and its last read, each as one
//! 32-bit slot, and only words that several unordered threads read (or that several atomics wrote) grow a list.
//! A slot is the tick of an access, 27 bits shifted up by five, and the lane; ticks count a history of
//! [`Entry`]. After a barrier of the whole block every slot up to now is `quiet`: ordered before all that
//! follows. So the usual access compares slots with one number and writes its own, several at once.
//!
//! A word whose bytes were touched apart points to four pairs of slots. The history is cut at `quiet`; if it grows
//! past [`LIMIT`] without a barrier, what is older is forgotten, which can only miss races.

use super::hazard::{Access, AccessKind, Missing, Party};
use super::order::{Order, lanes, wide};
use crate::{Scope, Semantics};

/// Set in the slot of a write that an asynchronous copy has not finished: ordered before nothing.
pub(super) const PENDING: u32 = 1 << 31;

/// Entries of a history at most: 256 MiB.
const LIMIT: usize = 1 << 24;
/// Ticks at most, so that slots stay below [`PENDING`]: less what one access may push.
const TICKS: u32 = (1 << 26) - (1 << 16);

/// One warp's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The block's count of synchronising operations.
    stamp: u32,
    pub(super) block: u32,
    instruction: u32,
    warp: u8,
    /// Kind, strength, reach, element size: see [`Event::new`].
    traits: u8,
}

const STRONG: u8 = 4;
const WIDE: u8 = 8;

impl Event {
    pub(super) fn new(order: &mut Order, warp: u32, mask: u32, access: &Access) -> Self {
        let strong = match access.semantics {
            Semantics::Weak => access.kind == AccessKind::Atomic,
            _ => true,
        };
        let reach = access.semantics == Semantics::Volatile || wide(access.scope);
        let size = (access.bytes / access.elements.max(1)).max(1).trailing_zeros() as u8;
        let traits = access.kind as u8 | u8::from(strong) * STRONG | u8::from(reach) * WIDE | size << 4;
        Self {
            stamp: order.stamp(warp, mask),
            block: order.block(),
            instruction: access.instruction,
            warp: warp as u8,
            traits,
        }
    }

    const fn kind(&self) -> AccessKind {
        match self.traits & 3 {
            0 => AccessKind::Load,
            1 => AccessKind::Store,
            2 => AccessKind::Atomic,
            _ => AccessKind::Copy,
        }
    }

    /// Whether it forgets what lay there before: lanes must [`History::look`] first.
    pub(super) const fn overwrites(&self) -> bool {
        matches!(self.kind(), AccessKind::Store) && !self.strong()
    }

    const fn strong(&self) -> bool {
        self.traits & STRONG != 0
    }

    /// PTX ISA 8.4, section 8.6: both strong, each scope takes in the other, the same bytes.
    const fn morally_strong_with(&self, other: &Event) -> bool {
        self.strong()
            && other.strong()
            && (self.block == other.block || self.traits & other.traits & WIDE != 0)
            && self.traits >> 4 == other.traits >> 4
    }

    /// Whether whatever races with `other`, being unordered with both, also races with this.
    const fn exposes(&self, other: &Event) -> bool {
        !self.strong()
            || (other.strong()
                && self.traits & WIDE <= other.traits & WIDE
                && self.traits >> 4 == other.traits >> 4)
    }

    pub(super) fn party(&self, lane: u32) -> Party {
        Party {
            block: self.block,
            thread: u32::from(self.warp) * 32 + lane,
            instruction: self.instruction,
            kind: self.kind(),
        }
    }
}

#[derive(Clone, Copy)]
enum Entry {
    Access(Event),
    /// Lanes of the access at `tick`, besides what `next` (a slot) holds.
    Also {
        tick: u32,
        lanes: u32,
        next: u32,
    },
    /// The word's bytes are apart.
    Bytes(u32),
}

/// Write and read slots of a word's four bytes.
type Bytes = [(u32, u32); 4];

/// Why an access is wrong.
#[derive(Debug)]
pub(super) enum Clash {
    /// With this party.
    Race { first: Party, missing: Missing },
    /// With the pending copy whose slot this is.
    Pending { slot: u32 },
}

/// A clash, and where: `bytes` from `offset` of the lane's address on.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) clash: Clash,
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// A clash of an access at `address`.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) address: u64,
    pub(super) second: Party,
    pub(super) found: Found,
}

/// The access being made.
pub(super) struct Making<'a> {
    pub(super) order: &'a Order,
    pub(super) event: Event,
    tick: u32,
}

impl Making<'_> {
    pub(super) const fn slot(&self, lane: u32) -> u32 {
        self.tick << 5 | lane
    }
}

/// The accesses that slots point to.
pub(super) struct History {
    entries: Vec<Entry>,
    bytes: Vec<Bytes>,
    /// Tick of `entries[0]`.
    base: u32,
    /// Slots up to this one are ordered before all that follows.
    quiet: u32,
}

impl History {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), bytes: Vec::new(), base: 1, quiet: 0 }
    }

    /// All accesses so far are ordered before what follows; nobody asks for them again.
    pub(super) fn cut(&mut self) {
        self.base += self.entries.len() as u32;
        self.quiet = (self.base - 1) << 5 | 31;
        self.entries.clear();
        self.bytes.clear();
    }

    /// What there is so far, apart; then as [`History::cut`].
    pub(super) fn take(&mut self) -> Self {
        let (entries, bytes) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.bytes));
        let taken = Self { entries, bytes, ..*self };
        self.base += taken.entries.len() as u32;
        self.cut();
        taken
    }

    /// All accesses so far are ordered before what follows, but may be asked for with [`History::event`].
    pub(super) fn hush(&mut self) {
        self.quiet = (self.base + self.entries.len() as u32 - 1) << 5 | 31;
    }

    /// Whether ticks run out: cut, set every slot to 0, and call [`History::restart`].
    pub(super) fn exhausted(&self) -> bool {
        self.base >= TICKS / 2
    }

    pub(super) fn restart(&mut self) {
        self.cut();
        (self.base, self.quiet) = (1, 0);
    }

    pub(super) fn make<'a>(&mut self, order: &'a Order, event: Event) -> Making<'a> {
        if self.entries.len() >= LIMIT || self.base + self.entries.len() as u32 >= TICKS {
            self.cut();
            // Past the last tick every slot is quiet: races are missed, nothing else.
            self.base = self.base.min(TICKS);
        }
        Making { order, event, tick: self.push(Entry::Access(event)) }
    }

    fn push(&mut self, entry: Entry) -> u32 {
        self.entries.push(entry);
        self.base + self.entries.len() as u32 - 1
    }

    fn entry(&self, slot: u32) -> Option<Entry> {
        self.entries.get((slot >> 5).checked_sub(self.base)? as usize).copied()
    }

    /// The last access that a slot stands for: its tick and lane.
    pub(super) fn last(&self, slot: u32) -> Option<(u32, u32)> {
        match self.entry(slot)? {
            Entry::Access(_) => Some((slot >> 5, slot & 31)),
            Entry::Also { tick, lanes, .. } => Some((tick, lanes.trailing_zeros())),
            Entry::Bytes(_) => None,
        }
    }

    /// The pairs of slots of a word whose bytes are apart.
    pub(super) fn apart(&self, slot: u32) -> Option<&Bytes> {
        match self.entry(slot)? {
            Entry::Bytes(at) => self.bytes.get(at as usize),
            _ => None,
        }
    }

    pub(super) fn event(&self, tick: u32) -> Option<Event> {
        match self.entry(tick << 5)? {
            Entry::Access(event) => Some(event),
            _ => None,
        }
    }

    /// All lanes at once, lane after lane over adjacent words. False: nothing was done, do it one by one.
    pub(super) fn touch_all(&self, making: &Making, write: &mut [u32], read: &mut [u32]) -> bool {
        let quiet = self.quiet;
        let busy = |slots: &[u32]| slots.iter().fold(0, |any, &slot| any | u32::from(slot > quiet));
        if busy(write) | busy(read) != 0 {
            return false;
        }
        let slots = if making.event.kind().writes() { write } else { read };
        let per_lane = slots.len() / 32;
        let first = making.slot(0);
        for (lane, slots) in slots.chunks_exact_mut(per_lane).enumerate() {
            slots.fill(first | lane as u32);
        }
        true
    }

    /// One lane and its whole words. `equal(other)`: whether both lanes of a store write the same.
    #[inline]
    pub(super) fn touch(
        &mut self,
        making: &Making,
        lane: u32,
        write: &mut [u32],
        read: &mut [u32],
        equal: impl Fn(u32) -> bool,
    ) -> Result<(), Found> {
        let busy = write.iter().chain(&*read).fold(false, |any, &slot| any | (slot > self.quiet));
        if !busy {
            let slots = if making.event.kind().writes() { write } else { read };
            slots.fill(making.slot(lane));
            return Ok(());
        }
        self.touch_busy(making, lane, write, read, &equal)
    }

    fn touch_busy(
        &mut self,
        making: &Making,
        lane: u32,
        write: &mut [u32],
        read: &mut [u32],
        equal: &dyn Fn(u32) -> bool,
    ) -> Result<(), Found> {
        let mut at = 0;
        while at < write.len() {
            let old = (write[at], read[at]);
            if let Some(Entry::Bytes(index)) = self.busy_entry(old.1) {
                self.touch_apart(making, lane, index, 0..4, equal)
                    .map_err(|found| Found { offset: at as u32 * 4 + found.offset, ..found })?;
                if making.event.kind().writes() && !making.event.strong() {
                    (write[at], read[at]) = (making.slot(lane), 0);
                }
                at += 1;
                continue;
            }
            let same = (at..write.len()).take_while(|&next| (write[next], read[next]) == old).count();
            let new = self.step(making, lane, old, equal).map_err(|clash| Found {
                clash,
                offset: at as u32 * 4,
                bytes: same as u32 * 4,
            })?;
            for next in at..at + same {
                (write[next], read[next]) = new;
            }
            at += same;
        }
        Ok(())
    }

    /// One lane and some bytes of one word.
    pub(super) fn touch_bytes(
        &mut self,
        making: &Making,
        lane: u32,
        write: &mut u32,
        read: &mut u32,
        bytes: std::ops::Range<usize>,
        equal: impl Fn(u32) -> bool,
    ) -> Result<(), Found> {
        let index = if let Some(Entry::Bytes(index)) = self.busy_entry(*read) {
            index
        } else {
            if *write & PENDING != 0 {
                let clash = Clash::Pending { slot: *write };
                return Err(Found { clash, offset: 0, bytes: bytes.len() as u32 });
            }
            self.bytes.push([(*write, *read); 4]);
            let index = self.bytes.len() as u32 - 1;
            let slot = self.push(Entry::Bytes(index)) << 5;
            (*write, *read) = (slot, slot);
            index
        };
        self.touch_apart(making, lane, index, bytes, &equal)
    }

    /// The checks of a store without its traces. Lanes of one store may hit the same bytes; each is compared with
    /// what lay there before the instruction, and so all look before the first one writes.
    pub(super) fn look(
        &self,
        making: &Making,
        lane: u32,
        write: &[u32],
        read: &[u32],
        bytes: std::ops::Range<usize>,
    ) -> Result<(), Found> {
        for (word, (&write, &read)) in write.iter().zip(read).enumerate() {
            if write <= self.quiet && read <= self.quiet {
                continue;
            }
            let at = |offset: usize, bytes: u32| {
                move |clash| Found { clash, offset: word as u32 * 4 + offset as u32, bytes }
            };
            if let Some(Entry::Bytes(index)) = self.busy_entry(read) {
                let pairs = self.bytes[index as usize];
                for byte in bytes.clone() {
                    let at = at(byte - bytes.start, 1);
                    self.ordered(making, lane, pairs[byte].0, &|_| true).map_err(at)?;
                    self.ordered(making, lane, pairs[byte].1, &|_| true).map_err(at)?;
                }
            } else {
                let at = at(0, bytes.len() as u32);
                self.ordered(making, lane, write, &|_| true).map_err(at)?;
                self.ordered(making, lane, read, &|_| true).map_err(at)?;
            }
        }
        Ok(())
    }

    fn busy_entry(&self, slot: u32) -> Option<Entry> {
        if slot > self.quiet { self.entry(slot) } else { None }
    }

    fn touch_apart(
        &mut self,
        making: &Making,
        lane: u32,
        index: u32,
        bytes: std::ops::Range<usize>,
        equal: &dyn Fn(u32) -> bool,
    ) -> Result<(), Found> {
        let start = bytes.start;
        let mut pairs = self.bytes[index as usize];
        let mut at = start;
        while at < bytes.end {
            let old = pairs[at];
            let same = (at..bytes.end).take_while(|&next| pairs[next] == old).count();
            let new = self.step(making, lane, old, equal).map_err(|clash| Found {
                clash,
                offset: (at - start) as u32,
                bytes: same as u32,
            })?;
            pairs[at..at + same].fill(new);
            at += same;
        }
        self.bytes[index as usize] = pairs;
        Ok(())
    }

    /// The slots of (write, read) after the access.
    fn step(
        &mut self,
        making: &Making,
        lane: u32,
        (write, read): (u32, u32),
        equal: &dyn Fn(u32) -> bool,
    ) -> Result<(u32, u32), Clash> {
        let collides = self.ordered(making, lane, write, equal)?;
        if !making.event.kind().writes() {
            return Ok((write, self.add(making, lane, read)));
        }
        self.ordered(making, lane, read, equal)?;
        if making.event.strong() {
            Ok((self.add(making, lane, write), read))
        } else if collides {
            Ok((self.add(making, lane, write), 0))
        } else {
            Ok((making.slot(lane), 0))
        }
    }

    /// Everything in `slot` is ordered before the access of `lane`, or need not be. True: another lane of the
    /// same instruction wrote the same value there.
    fn ordered(
        &self,
        making: &Making,
        lane: u32,
        mut slot: u32,
        equal: &dyn Fn(u32) -> bool,
    ) -> Result<bool, Clash> {
        let mut collides = false;
        while slot > self.quiet {
            if slot & PENDING != 0 {
                return Err(Clash::Pending { slot });
            }
            let (tick, mask, next) = match self.entry(slot) {
                Some(Entry::Access(_)) => (slot >> 5, 1 << (slot & 31), 0),
                Some(Entry::Also { tick, lanes, next }) => (tick, lanes, next),
                _ => break,
            };
            slot = next;
            if tick << 5 <= self.quiet {
                continue;
            }
            let Some(event) = self.event(tick) else { continue };
            if making.event.morally_strong_with(&event) {
                continue;
            }
            for other in lanes(mask) {
                if tick == making.tick {
                    if other != lane && !equal(other) {
                        let missing = Missing::OneWriter;
                        return Err(Clash::Race { first: event.party(other), missing });
                    }
                    collides |= other != lane;
                } else if !self.behind(making, lane, &event, other) {
                    let missing = self.missing(making, lane, &event, other);
                    return Err(Clash::Race { first: event.party(other), missing });
                }
            }
        }
        Ok(collides)
    }

    fn behind(&self, making: &Making, lane: u32, event: &Event, other: u32) -> bool {
        let who = (event.block, u32::from(event.warp), other);
        making.order.behind(u32::from(making.event.warp), lane, who, event.stamp)
    }

    fn missing(&self, making: &Making, lane: u32, event: &Event, other: u32) -> Missing {
        let (mine, theirs) = (&making.event, event);
        let who = (theirs.block, u32::from(theirs.warp), other);
        let narrow = Missing::WiderScope(Scope::Block);
        if mine.strong() && theirs.strong() {
            if mine.traits >> 4 == theirs.traits >> 4 { narrow } else { Missing::EqualSize }
        } else if mine.block == theirs.block {
            if mine.warp == theirs.warp { Missing::WarpBarrier } else { Missing::Barrier }
        } else if making.order.supposedly_behind(u32::from(mine.warp), lane, who, theirs.stamp) {
            narrow
        } else {
            Missing::BlockOrder
        }
    }

    /// The list `old` with the access of `lane`, without what no later access needs to be compared with.
    fn add(&mut self, making: &Making, lane: u32, old: u32) -> u32 {
        let mine = making.event;
        let (mut slot, mut dropped, mut kept) = (old, false, 0);
        while slot > self.quiet {
            let (tick, mask, next) = match self.entry(slot) {
                Some(Entry::Access(_)) => (slot >> 5, 1 << (slot & 31), 0),
                Some(Entry::Also { tick, lanes, next }) => (tick, lanes, next),
                _ => break,
            };
            if let Some(event) = self.event(tick).filter(|_| tick << 5 > self.quiet) {
                let own = event.warp == mine.warp && event.block == mine.block;
                if own
                    && mask >> lane & 1 != 0
                    && (tick == making.tick || making.order.untold(u32::from(mine.warp), event.stamp))
                    && event.exposes(&mine)
                {
                    return old;
                }
                let gone = self.superseded(making, lane, &event, tick, mask);
                dropped |= gone != 0;
                kept += u32::from(mask & !gone != 0);
            } else {
                dropped = true;
            }
            slot = next;
        }
        if kept == 0 {
            return making.slot(lane);
        }
        let first = self.entry(old);
        if let Some(Entry::Also { tick, lanes, next }) = first
            && tick == making.tick
        {
            // Made by this instruction for the words that this lane touches too.
            if let Some(entry) = self.entries.get_mut(((old >> 5) - self.base) as usize) {
                *entry = Entry::Also { tick, lanes: lanes | 1 << lane, next };
            }
            return old;
        }
        if old >> 5 == making.tick {
            let lanes = 1 << (old & 31) | 1 << lane;
            return self.push(Entry::Also { tick: making.tick, lanes, next: 0 }) << 5;
        }
        let next = if dropped { self.copy_kept(making, lane, old) } else { old };
        self.push(Entry::Also { tick: making.tick, lanes: 1 << lane, next }) << 5
    }

    /// Which lanes of an access whatever races with would also race with the access being made.
    fn superseded(&self, making: &Making, lane: u32, event: &Event, tick: u32, mask: u32) -> u32 {
        if tick == making.tick || !making.event.exposes(event) {
            return 0;
        }
        if event.warp == making.event.warp && event.block == making.event.block {
            return mask & 1 << lane;
        }
        if lanes(mask).all(|other| self.behind(making, lane, event, other)) { mask } else { 0 }
    }

    /// The list without what the access being made supersedes.
    fn copy_kept(&mut self, making: &Making, lane: u32, old: u32) -> u32 {
        let mut kept = [(0, 0); 64];
        let (mut slot, mut count) = (old, 0);
        while slot > self.quiet {
            let (tick, mask, next) = match self.entry(slot) {
                Some(Entry::Access(_)) => (slot >> 5, 1 << (slot & 31), 0),
                Some(Entry::Also { tick, lanes, next }) => (tick, lanes, next),
                _ => break,
            };
            if let Some(event) = self.event(tick).filter(|_| tick << 5 > self.quiet) {
                let mask = mask & !self.superseded(making, lane, &event, tick, mask);
                if mask != 0 {
                    if count == kept.len() {
                        // A longer list stays as it is: correct, only not as short as it could be.
                        return old;
                    }
                    kept[count] = (tick, mask);
                    count += 1;
                }
            }
            slot = next;
        }
        let mut next = 0;
        for &(tick, lanes) in kept[..count].iter().rev() {
            next = self.push(Entry::Also { tick, lanes, next }) << 5;
        }
        next
    }
}

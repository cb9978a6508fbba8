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
use super::order::{Order, wide};
use crate::Semantics;

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
    pub(super) stamp: u32,
    pub(super) block: u32,
    instruction: u32,
    pub(super) warp: u8,
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
        let traits = access.kind as u8 | (u8::from(strong) * STRONG) | (u8::from(reach) * WIDE) | (size << 4);
        Self {
            stamp: order.stamp(warp, mask),
            block: order.block(),
            instruction: access.instruction,
            warp: warp as u8,
            traits,
        }
    }

    pub(super) const fn kind(&self) -> AccessKind {
        match self.traits & 3 {
            0 => AccessKind::Load,
            1 => AccessKind::Store,
            2 => AccessKind::Atomic,
            _ => AccessKind::Copy,
        }
    }

    /// Whether it forgets what lay there before.
    pub(super) const fn overwrites(&self) -> bool {
        matches!(self.kind(), AccessKind::Store | AccessKind::Copy) && !self.strong()
    }

    pub(super) const fn strong(&self) -> bool {
        self.traits & STRONG != 0
    }

    /// PTX ISA 8.4, section 8.6: both strong, each scope takes in the other, the same bytes.
    pub(super) const fn morally_strong_with(&self, other: &Event) -> bool {
        self.strong()
            && other.strong()
            && (self.block == other.block || self.traits & other.traits & WIDE != 0)
            && self.size() == other.size()
    }

    /// Whether both are of the same warp.
    pub(super) const fn of_warp_of(&self, other: &Event) -> bool {
        self.warp == other.warp && self.block == other.block
    }

    pub(super) const fn size(&self) -> u8 {
        self.traits >> 4
    }

    /// Whether whatever races with `other`, being unordered with both, also races with this.
    pub(super) const fn exposes(&self, other: &Event) -> bool {
        !self.strong()
            || (other.strong() && self.traits & WIDE <= other.traits & WIDE && self.size() == other.size())
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
pub(super) enum Entry {
    Access(Event),
    /// Lanes of the access of `warp` at `tick`, besides what `next` (a slot) holds.
    Also {
        warp: u8,
        tick: u32,
        lanes: u32,
        next: u32,
    },
    /// The word's bytes are apart.
    Bytes(u32),
}

/// Write and read slots of a word's four bytes.
pub(super) type Bytes = [(u32, u32); 4];

/// The slots of all words, adjacent ones of one page or of shared memory together.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) write: Vec<u32>,
    pub(super) read: Vec<u32>,
}

/// Which words the lanes of an access touch.
pub(super) struct Touched<'a> {
    pub(super) mask: u32,
    /// Each lane's first word, an index into [`Slots`].
    pub(super) words: &'a [u32; 32],
    /// Addresses modulo 256, for accesses of less than a word.
    pub(super) low: &'a [u8; 32],
    /// Of each lane: 1, 2, 4, 8 or 16.
    pub(super) bytes: u32,
}

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
    pub(super) lane: u32,
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// The access being made.
pub(super) struct Making<'a> {
    pub(super) order: &'a Order,
    pub(super) event: Event,
    pub(super) tick: u32,
    /// Whether the threads know nothing of others beyond what is quiet, and the history holds only their block.
    pub(super) plain: bool,
}

impl Making<'_> {
    pub(super) const fn slot(&self, lane: u32) -> u32 {
        self.tick << 5 | lane
    }
}

/// The accesses that slots point to.
pub(super) struct History {
    entries: Vec<Entry>,
    pub(super) bytes: Vec<Bytes>,
    /// Tick of `entries[0]`.
    base: u32,
    /// Slots up to this one are ordered before all that follows.
    pub(super) quiet: u32,
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

    /// `alone`: this history holds accesses of one block only.
    #[inline]
    pub(super) fn make<'a>(&mut self, order: &'a Order, event: Event, alone: bool) -> Making<'a> {
        if self.entries.len() >= LIMIT || self.base + self.entries.len() as u32 >= TICKS {
            self.cut();
            // Past the last tick every slot is quiet: races are missed, nothing else.
            self.base = self.base.min(TICKS);
        }
        let plain = alone && order.uninformed(event.warp.into());
        Making { order, event, tick: self.push(Entry::Access(event)), plain }
    }

    pub(super) fn push(&mut self, entry: Entry) -> u32 {
        self.entries.push(entry);
        self.base + self.entries.len() as u32 - 1
    }

    #[inline]
    pub(super) fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get((slot >> 5).checked_sub(self.base)? as usize)
    }

    /// The last access that a slot stands for: its tick and lane.
    pub(super) fn last(&self, slot: u32) -> Option<(u32, u32)> {
        match *self.entry(slot)? {
            Entry::Access(_) => Some((slot >> 5, slot & 31)),
            Entry::Also { tick, lanes, .. } => Some((tick, lanes.trailing_zeros())),
            Entry::Bytes(_) => None,
        }
    }

    /// The pairs of slots of a word whose bytes are apart.
    pub(super) fn apart(&self, slot: u32) -> Option<&Bytes> {
        match self.entry(slot)? {
            &Entry::Bytes(at) => self.bytes.get(at as usize),
            _ => None,
        }
    }

    pub(super) fn event(&self, tick: u32) -> Option<Event> {
        match self.entry(tick << 5)? {
            &Entry::Access(event) => Some(event),
            _ => None,
        }
    }
}

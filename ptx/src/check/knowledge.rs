//! What a thread knows of others: up to which of their accesses it is ordered behind.
//!
//! A vector clock with one component a thread would be a thousand numbers a thread. But threads mostly learn
//! of whole warps and whole blocks at once, so a clock here is a short sorted list of (who, stamp), where "who"
//! is a block, a warp or a thread, and the stamp is that of the block's own count of synchronising operations.

use std::sync::Arc;

/// A block, one of its warps, or one of its threads. Sorts a block before its warps before their threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who(u64);

impl Who {
    pub(super) const fn block(block: u32) -> Self {
        Self((block as u64) << 12)
    }

    pub(super) const fn warp(block: u32, warp: u32) -> Self {
        Self((block as u64) << 12 | ((warp + 1) as u64) << 6)
    }

    pub(super) const fn thread(block: u32, warp: u32, lane: u32) -> Self {
        Self((block as u64) << 12 | ((warp + 1) as u64) << 6 | (lane + 1) as u64)
    }

    const fn warp_of(self) -> u64 {
        self.0 >> 6
    }

    const fn block_of(self) -> u64 {
        self.0 >> 12
    }
}

/// Accesses a thread is ordered behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Knowledge {
    known: Vec<(Who, u32)>,
    /// What would be known besides, had no scope been too narrow: for messages only.
    supposed: Vec<(Who, u32)>,
}

/// Most threads know nothing beyond their block's barriers; many know the same.
pub(super) type Shared = Option<Arc<Knowledge>>;

impl Knowledge {
    /// Everything `who` did up to its block's `stamp`.
    pub(super) fn add(&mut self, who: Who, stamp: u32) {
        if stamp > 0 {
            merge(&mut self.known, &[(who, stamp)]);
        }
    }

    pub(super) fn join(&mut self, other: &Knowledge) {
        merge(&mut self.known, &other.known);
        merge(&mut self.supposed, &other.supposed);
    }

    /// Learns of a release whose scope (or whose acquire's) was too narrow.
    pub(super) fn suppose(&mut self, other: &Knowledge) {
        merge(&mut self.supposed, &other.known);
        merge(&mut self.supposed, &other.supposed);
    }

    pub(super) fn knows(&self, block: u32, warp: u32, lane: u32, stamp: u32) -> bool {
        covers(&self.known, block, warp, lane, stamp)
    }

    pub(super) fn supposes(&self, block: u32, warp: u32, lane: u32, stamp: u32) -> bool {
        covers(&self.supposed, block, warp, lane, stamp)
    }

    /// Forgets what all threads of `block` know anyway.
    pub(super) fn forget(&mut self, block: u32, floor: u32) {
        let block = Who::block(block).block_of();
        self.known.retain(|&(who, stamp)| who.block_of() != block || stamp > floor);
        self.supposed.retain(|&(who, stamp)| who.block_of() != block || stamp > floor);
    }

    pub(super) fn into_shared(self) -> Shared {
        if self.known.is_empty() && self.supposed.is_empty() { None } else { Some(Arc::new(self)) }
    }
}

/// Both together; shares where one is enough.
pub(super) fn union(a: &Shared, b: &Shared) -> Shared {
    match (a, b) {
        (None, other) | (other, None) => other.clone(),
        (Some(a), Some(b)) if Arc::ptr_eq(a, b) => Some(a.clone()),
        (Some(a), Some(b)) => {
            let mut joined = Knowledge::clone(a);
            joined.join(b);
            Some(Arc::new(joined))
        }
    }
}

fn covers(list: &[(Who, u32)], block: u32, warp: u32, lane: u32, stamp: u32) -> bool {
    [Who::block(block), Who::warp(block, warp), Who::thread(block, warp, lane)]
        .into_iter()
        .any(|who| list.binary_search_by_key(&who, |entry| entry.0).is_ok_and(|at| list[at].1 >= stamp))
}

/// The larger stamp of each, without what an entry of the whole warp or block implies.
fn merge(into: &mut Vec<(Who, u32)>, other: &[(Who, u32)]) {
    if other.is_empty() {
        return;
    }
    let old = std::mem::take(into);
    into.reserve(old.len() + other.len());
    let (mut a, mut b) = (old.iter().peekable(), other.iter().peekable());
    // The last entry kept of a whole block, and of a whole warp.
    let (mut block, mut warp) = (None, None);
    loop {
        let (who, stamp) = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(&&x), Some(&&y)) if x.0 == y.0 => {
                a.next();
                b.next();
                (x.0, x.1.max(y.1))
            }
            (Some(&&x), y) if y.is_none_or(|y| x.0 < y.0) => {
                a.next();
                x
            }
            (_, Some(&&y)) => {
                b.next();
                y
            }
            (Some(_), None) => return,
        };
        let implied =
            |by: Option<(u64, u32)>, of: u64| by.is_some_and(|(group, s)| group == of && s >= stamp);
        if implied(block, who.block_of()) || implied(warp, who.warp_of()) {
            continue;
        }
        if who.0 & 0xfff == 0 {
            block = Some((who.block_of(), stamp));
        } else if who.0 & 0x3f == 0 {
            warp = Some((who.warp_of(), stamp));
        }
        into.push((who, stamp));
    }
}

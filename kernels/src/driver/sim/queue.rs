//! Work that was asked for and has not run: a set with dependencies, from which some work that may run is drawn
//! by a seeded generator.

use super::order::{Clock, Epoch};
use super::work::Work;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Number of a piece of work, ascending in the order it was asked for.
pub(super) type WorkId = u64;

/// One piece of work.
pub(super) struct Pending {
    pub epoch: Epoch,
    pub clock: Clock,
    pub label: Arc<str>,
    pub work: Work,
    after: Vec<WorkId>,
    before: Vec<WorkId>,
    blocked: usize,
}

/// All work that has not run.
pub(super) struct WorkQueue {
    pending: BTreeMap<WorkId, Pending>,
    ready: BTreeSet<WorkId>,
    next: WorkId,
    state: u64,
}

impl WorkQueue {
    pub fn new(seed: u64) -> WorkQueue {
        WorkQueue { pending: BTreeMap::new(), ready: BTreeSet::new(), next: 0, state: seed }
    }

    pub fn len(&self) -> usize {
        self.pending.len()
    }

    pub fn is_done(&self, id: WorkId) -> bool {
        !self.pending.contains_key(&id)
    }

    /// Work that runs once everything in `after` has.
    pub fn push(
        &mut self,
        work: Work,
        label: Arc<str>,
        epoch: Epoch,
        clock: Clock,
        after: &[WorkId],
    ) -> WorkId {
        let id = self.next;
        self.next += 1;
        let after: BTreeSet<WorkId> = after.iter().copied().filter(|&id| !self.is_done(id)).collect();
        for earlier in &after {
            if let Some(earlier) = self.pending.get_mut(earlier) {
                earlier.before.push(id);
            }
        }
        if after.is_empty() {
            self.ready.insert(id);
        }
        let blocked = after.len();
        let after = after.into_iter().collect();
        self.pending.insert(id, Pending { epoch, clock, label, work, after, before: Vec::new(), blocked });
        id
    }

    /// All of these, and what has to run before them.
    pub fn needed(&self, ids: &[WorkId]) -> BTreeSet<WorkId> {
        let mut needed = BTreeSet::new();
        let mut stack = ids.to_vec();
        while let Some(id) = stack.pop() {
            if let Some(pending) = self.pending.get(&id)
                && needed.insert(id)
            {
                stack.extend(&pending.after);
            }
        }
        needed
    }

    /// Takes out some work that may run now.
    pub fn take_any(&mut self) -> Option<Pending> {
        let at = self.random(self.ready.len().max(1) as u64) as usize;
        let id = *self.ready.iter().nth(at)?;
        self.take(id)
    }

    /// Takes out some work of a set that is closed under what has to run before.
    pub fn take_of(&mut self, needed: &mut BTreeSet<WorkId>) -> Option<Pending> {
        let ready: Vec<WorkId> = needed.iter().copied().filter(|id| self.ready.contains(id)).collect();
        let at = self.random(ready.len().max(1) as u64) as usize;
        let id = *ready.get(at)?;
        needed.remove(&id);
        self.take(id)
    }

    fn take(&mut self, id: WorkId) -> Option<Pending> {
        self.ready.remove(&id);
        let taken = self.pending.remove(&id)?;
        for later in &taken.before {
            if let Some(pending) = self.pending.get_mut(later) {
                pending.blocked -= 1;
                if pending.blocked == 0 {
                    self.ready.insert(*later);
                }
            }
        }
        Some(taken)
    }

    /// All work, in the order it was asked for.
    pub fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values()
    }

    /// A number below `below`: SplitMix64 (Steele, Lea and Flood, 2014).
    pub fn random(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

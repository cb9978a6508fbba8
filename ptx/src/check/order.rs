//! Who is ordered behind whom within a block: barriers, warp barriers, fences, and what came from other blocks.
//!
//! A block counts its synchronising operations; each access carries the count at its time, its stamp. All a
//! barrier of the whole block has to do is to remember the count (`floor`): what has a stamp up to it lies
//! before everything that follows. A barrier of a whole warp does the same for the warp. Only other meetings
//! (some lanes, some warps, releases and acquires) make lists ([`Knowledge`]).

use super::knowledge::{Knowledge, Shared, Who, union};
use super::shadow::Event;
use crate::Scope;

/// Whether a scope takes in threads of other blocks. Without clusters a cluster is one block.
pub(super) const fn wide(scope: Scope) -> bool {
    matches!(scope, Scope::Gpu | Scope::System)
}

#[derive(Default)]
struct Warp {
    /// Lanes that exist.
    lanes: u32,
    /// Lanes that exited and had touched no memory since the block's last barrier: nothing of theirs is left
    /// to be ordered, so meetings are complete without them.
    clean: u32,
    /// Lanes that exited, clean or not.
    exited: u32,
    /// Lanes that touched memory since the block's last barrier.
    touched: u32,
    /// Lanes with knowledge of their own.
    informed: u32,
    /// Last meeting of all lanes.
    floor: u32,
    /// Last stamp that any lane has told to others.
    told: u32,
}

/// Lanes that came to a barrier, and what they bring.
struct Arrival {
    warp: u32,
    mask: u32,
    /// When they came.
    stamp: u32,
    /// The warp's last meeting by then.
    floor: u32,
    known: Shared,
}

/// What a thread's fence released, for strong writes to come.
#[derive(Clone, Default)]
struct Fences {
    /// By the last fence of any scope.
    block: Shared,
    /// By the last fence at scope gpu or wider.
    device: Shared,
    /// What strong reads observed and no fence has acquired yet.
    pending: Offer,
}

/// What a strong read may acquire, by how far scopes reach.
#[derive(Clone, Default)]
pub(super) struct Offer {
    /// Where both scopes take in other blocks.
    pub(super) device: Shared,
    /// From threads of the own block.
    pub(super) block: Shared,
    /// From anyone, were no scope too narrow.
    pub(super) any: Shared,
    /// Whether `any` is more than the others.
    pub(super) narrow: bool,
}

pub(super) struct Order {
    block: u32,
    /// Stamp of accesses now.
    now: u32,
    floor: u32,
    generation: u32,
    warps: Vec<Warp>,
    /// By warp · 32 + lane.
    knowledge: Vec<Shared>,
    /// As `knowledge`; empty until the first fence or strong read of a message.
    fences: Vec<Fences>,
    arrivals: [Vec<Arrival>; 16],
}

impl Order {
    pub(super) fn new(threads: u32) -> Self {
        let warps = threads.div_ceil(32);
        let lanes = |warp: u32| u32::MAX >> (32 - (threads - warp * 32).clamp(1, 32));
        Self {
            block: 0,
            now: 1,
            floor: 0,
            generation: 0,
            warps: (0..warps).map(|warp| Warp { lanes: lanes(warp), ..Warp::default() }).collect(),
            knowledge: vec![None; warps as usize * 32],
            fences: Vec::new(),
            arrivals: Default::default(),
        }
    }

    pub(super) fn begin(&mut self, block: u32) {
        self.block = block;
        self.now = 1;
        self.floor = 0;
        self.generation += 1;
        for warp in &mut self.warps {
            *warp = Warp { lanes: warp.lanes, ..Warp::default() };
        }
        self.knowledge.fill(None);
        self.fences.clear();
        self.arrivals.iter_mut().for_each(Vec::clear);
    }

    pub(super) fn block(&self) -> u32 {
        self.block
    }

    /// Stamp of an access made now by lanes of `warp`.
    pub(super) fn stamp(&mut self, warp: u32, mask: u32) -> u32 {
        self.warps[warp as usize].touched |= mask;
        self.now
    }

    /// Grows with every meeting of the whole block (and with every new block).
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn exited(&self, warp: u32, lane: u32) -> bool {
        self.warps[warp as usize].exited >> lane & 1 != 0
    }

    /// Whether nothing that `warp` did at `stamp` or later has been told to anyone: a later access of the same
    /// thread then needs no record of its own.
    pub(super) fn untold(&self, warp: u32, stamp: u32) -> bool {
        stamp > self.warps[warp as usize].told
    }

    /// Whether the warp's threads know nothing beyond the meetings of their whole warp and block.
    pub(super) fn uninformed(&self, warp: u32) -> bool {
        self.warps[warp as usize].informed == 0
    }

    /// Whether thread (warp, lane) of this block is ordered behind what `other` = (block, warp, lane) did at `stamp`.
    pub(super) fn behind(&self, warp: u32, lane: u32, other: (u32, u32, u32), stamp: u32) -> bool {
        let (block, other_warp, other_lane) = other;
        if block == self.block {
            if stamp <= self.floor || (other_warp == warp && other_lane == lane) {
                return true;
            }
            if other_warp == warp && stamp <= self.warps[warp as usize].floor {
                return true;
            }
        }
        self.knowledge[(warp * 32 + lane) as usize]
            .as_ref()
            .is_some_and(|known| known.knows(block, other_warp, other_lane, stamp))
    }

    /// Whether all threads of the block, or of the warp that both accesses are of, met after the first.
    pub(super) fn met(&self, first: &Event, second: &Event) -> bool {
        first.block == self.block
            && (first.stamp <= self.floor
                || (first.warp == second.warp && first.stamp <= self.warps[usize::from(first.warp)].floor))
    }

    /// Whether it would be, had no scope been too narrow.
    pub(super) fn supposedly_behind(&self, warp: u32, lane: u32, other: (u32, u32, u32), stamp: u32) -> bool {
        self.knowledge[(warp * 32 + lane) as usize]
            .as_ref()
            .is_some_and(|known| known.supposes(other.0, other.1, other.2, stamp))
    }

    /// Everything (warp, lane) is ordered behind, itself included.
    fn all_of(&self, warp: u32, lane: u32) -> Shared {
        let mut all = Knowledge::default();
        all.add(Who::block(self.block), self.floor);
        all.add(Who::warp(self.block, warp), self.warps[warp as usize].floor);
        all.add(Who::thread(self.block, warp, lane), self.now);
        if let Some(known) = &self.knowledge[(warp * 32 + lane) as usize] {
            all.join(known);
        }
        all.into_shared()
    }

    /// Adds what the lanes of `mask` did up to `stamp`, and their warp up to `floor`.
    fn everything_of(&self, all: &mut Knowledge, warp: u32, mask: u32, stamp: u32, floor: u32) {
        let state = &self.warps[warp as usize];
        if (mask | state.clean) & state.lanes == state.lanes {
            all.add(Who::warp(self.block, warp), stamp);
        } else {
            all.add(Who::warp(self.block, warp), floor);
            for lane in lanes(mask) {
                all.add(Who::thread(self.block, warp, lane), stamp);
            }
        }
    }

    /// What the lanes of `mask` know together of others.
    fn known_to(&self, warp: u32, mask: u32) -> Shared {
        let mut together = None;
        for lane in lanes(mask & self.warps[warp as usize].informed) {
            together = union(&together, &self.knowledge[(warp * 32 + lane) as usize]);
        }
        together
    }

    fn learn(&mut self, warp: u32, mask: u32, news: &Shared) {
        if news.is_none() {
            return;
        }
        self.warps[warp as usize].informed |= mask;
        let mut last: Option<(Shared, Shared)> = None;
        for lane in lanes(mask) {
            let known = &mut self.knowledge[(warp * 32 + lane) as usize];
            let joined = match &last {
                Some((before, after)) if same(before, known) => after.clone(),
                _ => union(known, news),
            };
            last = Some((std::mem::replace(known, joined.clone()), joined));
        }
    }

    /// Lanes of `mask` have told others of all they did so far.
    fn told(&mut self, warp: u32) {
        self.warps[warp as usize].told = self.now;
    }

    pub(super) fn warp_sync(&mut self, warp: u32, mask: u32) {
        let state = &self.warps[warp as usize];
        let whole = (mask | state.clean) & state.lanes == state.lanes;
        let mut together = self.known_to(warp, mask);
        if whole {
            self.warps[warp as usize].floor = self.now;
        } else {
            let mut all = Knowledge::default();
            self.everything_of(&mut all, warp, mask, self.now, state.floor);
            together = union(&together, &all.into_shared());
        }
        self.learn(warp, mask, &together);
        self.told(warp);
        self.now += 1;
    }

    pub(super) fn barrier_arrive(&mut self, id: u32, warp: u32, mask: u32) {
        if mask == 0 {
            // Nobody came: not even what the whole warp did before its last meeting is brought.
            return;
        }
        let (stamp, floor) = (self.now, self.warps[warp as usize].floor);
        let known = self.known_to(warp, mask);
        self.told(warp);
        self.now += 1;
        if let Some(arrivals) = self.arrivals.get_mut(id as usize) {
            arrivals.push(Arrival { warp, mask, stamp, floor, known });
        }
    }

    pub(super) fn barrier_complete(&mut self, id: u32, waiting: &[u32]) {
        let Some(arrivals) = self.arrivals.get_mut(id as usize) else { return };
        let arrivals = std::mem::take(arrivals);
        let whole = self.warps.iter().enumerate().all(|(warp, state)| {
            (waiting.get(warp).copied().unwrap_or(0) | state.clean) & state.lanes == state.lanes
        });
        if whole {
            let informed = self.warps.iter().any(|warp| warp.informed != 0);
            self.floor = self.now;
            self.now += 1;
            self.generation += 1;
            for warp in &mut self.warps {
                (warp.touched, warp.told) = (0, self.floor);
            }
            if informed {
                self.pool();
            }
        } else {
            let (mut all, mut together) = (Knowledge::default(), None);
            for &Arrival { warp, mask, stamp, floor, ref known } in &arrivals {
                self.everything_of(&mut all, warp, mask, stamp, floor);
                together = union(&together, known);
            }
            together = union(&together, &all.into_shared());
            for (warp, &mask) in waiting.iter().enumerate().take(self.warps.len()) {
                self.learn(warp as u32, mask, &together);
            }
        }
        // The allocation serves the next meeting.
        let mut arrivals = arrivals;
        arrivals.clear();
        self.arrivals[id as usize] = arrivals;
    }

    /// All threads of the block learn what any of them knows of other blocks.
    fn pool(&mut self) {
        let mut together = None;
        for known in &self.knowledge {
            together = union(&together, known);
        }
        if let Some(known) = together.take() {
            let mut known = Knowledge::clone(&known);
            known.forget(self.block, self.floor);
            together = known.into_shared();
        }
        let informed = together.is_some();
        self.knowledge.fill(together);
        for warp in &mut self.warps {
            warp.informed = if informed { warp.lanes } else { 0 };
        }
    }

    pub(super) fn exit(&mut self, warp: u32, mask: u32) {
        let state = &mut self.warps[warp as usize];
        state.exited |= mask;
        state.clean |= mask & !state.touched;
    }

    /// Whether no thread has anything to release with a relaxed write.
    pub(super) fn unfenced(&self) -> bool {
        self.fences.is_empty()
    }

    fn fences(&mut self, warp: u32, lane: u32) -> &mut Fences {
        if self.fences.is_empty() {
            self.fences = vec![Fences::default(); self.knowledge.len()];
        }
        &mut self.fences[(warp * 32 + lane) as usize]
    }

    pub(super) fn fence(&mut self, warp: u32, mask: u32, scope: Scope) {
        for lane in lanes(mask) {
            let pending = std::mem::take(&mut self.fences(warp, lane).pending);
            self.acquire(warp, lane, scope, &pending);
            let all = self.all_of(warp, lane);
            let wide = wide(scope);
            let fences = self.fences(warp, lane);
            if wide {
                fences.device = all.clone();
            } else {
                fences.pending = pending;
            }
            fences.block = all;
        }
        self.told(warp);
        self.now += 1;
    }

    /// The thread takes what is offered, as far as `scope` reaches.
    pub(super) fn acquire(&mut self, warp: u32, lane: u32, scope: Scope, offer: &Offer) {
        let mut news = offer.block.clone();
        if wide(scope) {
            news = union(&news, &offer.device);
        }
        if let Some(any) = &offer.any
            && (offer.narrow || !wide(scope))
        {
            let mut with = news.map_or_else(Knowledge::default, |news| Knowledge::clone(&news));
            with.suppose(any);
            news = with.into_shared();
        }
        self.learn(warp, 1 << lane, &news);
    }

    /// A strong read without acquire semantics: a later fence may take what was offered.
    pub(super) fn observe(&mut self, warp: u32, lane: u32, scope: Scope, offer: Offer) {
        let pending = &mut self.fences(warp, lane).pending;
        if wide(scope) {
            pending.device = union(&pending.device, &offer.device);
        }
        pending.block = union(&pending.block, &offer.block);
        pending.any = union(&pending.any, &offer.any);
        pending.narrow |= offer.narrow || !wide(scope);
    }

    /// What a strong write at `scope` releases: (to the own block, to everyone). `releases`: it is a release itself.
    pub(super) fn released(
        &mut self,
        warp: u32,
        lane: u32,
        scope: Scope,
        releases: bool,
    ) -> (Shared, Shared) {
        let earlier = self.fences.get((warp * 32 + lane) as usize);
        let (mut block, mut device) =
            earlier.map_or((None, None), |fences| (fences.block.clone(), fences.device.clone()));
        if releases {
            let all = self.all_of(warp, lane);
            self.told(warp);
            self.now += 1;
            if wide(scope) {
                device = all.clone();
            }
            block = all;
        }
        (block, if wide(scope) { device } else { None })
    }
}

fn same(a: &Shared, b: &Shared) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => std::sync::Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// Lanes of a mask, ascending.
pub(super) fn lanes(mut mask: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (lane < 32).then_some(lane)
    })
}

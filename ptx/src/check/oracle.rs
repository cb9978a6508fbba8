//! The same verdict as a slow oracle: full vector clocks, every access of every byte kept, the definitions of the
//! PTX memory model written down as plainly as they go. Random little runs, not programs: any interleaving of
//! accesses and meetings is a run, whoever's program it may be.

use super::*;
use crate::{Scope, Semantics};
use proptest::prelude::*;

const BLOCKS: u32 = 2;
const THREADS: u32 = 35;
const ALL: usize = (BLOCKS * THREADS) as usize;
const BASE: u64 = 0x7f00_0000_0ff0;

#[derive(Clone, Debug)]
enum Step {
    /// Lane l at `place` + l · `stride`, in units of the access.
    Access {
        warp: u32,
        mask: u32,
        access: Access,
        shared: bool,
        place: u32,
        stride: u32,
    },
    WarpSync {
        warp: u32,
        mask: u32,
    },
    /// Both warps wait.
    Barrier,
    /// Some lanes wait at barrier 1 (by warp), others only arrive.
    Partial {
        wait: [u32; 2],
        arrive: [u32; 2],
    },
    Fence {
        warp: u32,
        mask: u32,
        scope: Scope,
    },
    Exit {
        warp: u32,
        mask: u32,
    },
    /// Eight bytes a lane, from `place` on, `stride` · 8 bytes apart.
    Copy {
        warp: u32,
        mask: u32,
        place: u32,
        stride: u32,
    },
    Commit {
        warp: u32,
        mask: u32,
    },
    Wait {
        warp: u32,
        mask: u32,
        pending: Option<u32>,
    },
}

/// Lanes that steps use: few, so that they meet.
fn mask() -> impl Strategy<Value = (u32, u32)> {
    prop_oneof![
        4 => (0u32..2, 0u32..3).prop_map(|(warp, lane)| (warp, 1 << lane)),
        1 => (0u32..2, 1u32..8),
        1 => Just((0, u32::MAX)),
        1 => Just((1, 7)),
    ]
}

fn semantics(kind: AccessKind, pick: u32, sync: bool) -> (Semantics, Scope) {
    let scope = [Scope::Block, Scope::Gpu, Scope::System, Scope::Gpu][pick as usize / 8 % 4];
    let semantics = match (kind, pick % 8) {
        (AccessKind::Atomic, 0) => Semantics::AcquireRelease,
        (AccessKind::Atomic, 1) => Semantics::Release,
        (AccessKind::Atomic, 2) => Semantics::Acquire,
        (AccessKind::Atomic, _) => Semantics::Relaxed,
        _ if !sync => Semantics::Weak,
        (AccessKind::Load, 0) => Semantics::Acquire,
        (AccessKind::Store, 0) => Semantics::Release,
        (_, 1) => Semantics::Volatile,
        (_, 2) => Semantics::Relaxed,
        _ => Semantics::Weak,
    };
    (semantics, if semantics == Semantics::Volatile { Scope::System } else { scope })
}

fn access(atomics: bool) -> impl Strategy<Value = Step> {
    let kind = if atomics { 0u32..5 } else { 0..4 };
    (mask(), kind, 0u32..32, 0u32..6, any::<bool>(), 0u32..40, 0u32..4).prop_map(
        move |((warp, mask), kind, pick, size, shared, place, spread)| {
            let kind = [
                AccessKind::Load,
                AccessKind::Store,
                AccessKind::Load,
                AccessKind::Store,
                AccessKind::Atomic,
            ][kind as usize];
            let (semantics, scope) = semantics(kind, pick, atomics);
            let bytes = [1, 2, 4, 4, 8, 16][size as usize];
            let bytes = if kind == AccessKind::Atomic { bytes.clamp(4, 8) } else { bytes };
            let elements = if bytes == 16 { 4 } else { 1 };
            let access = Access { instruction: pick, kind, semantics, scope, bytes, elements };
            // Strong accesses keep to a few places of their own and of others.
            let place = if semantics == Semantics::Weak { place } else { place % 3 * 8 };
            let stride = [0, 1, 1, 2][spread as usize];
            Step::Access { warp, mask, access, shared, place: place / bytes, stride }
        },
    )
}

fn step(atomics: bool) -> impl Strategy<Value = Step> {
    let scope = prop_oneof![1 => Just(Scope::Block), 3 => Just(Scope::Gpu)];
    let lanes = || (0u32..8, 0u32..8).prop_map(|(a, b)| [a, b]);
    prop_oneof![
        12 => access(atomics),
        3 => mask().prop_map(|(warp, mask)| Step::WarpSync { warp, mask }),
        1 => Just(Step::Barrier),
        2 => (lanes(), lanes(), any::<bool>()).prop_map(|(wait, arrive, whole)| {
            let wait = if whole { [u32::MAX, wait[1]] } else { wait };
            Step::Partial { wait, arrive: [arrive[0] & !wait[0], arrive[1] & !wait[1]] }
        }),
        3 => (mask(), scope).prop_map(|((warp, mask), scope)| Step::Fence { warp, mask, scope }),
        1 => (0u32..2, 1u32..7).prop_map(|(warp, mask)| Step::Exit { warp, mask }),
        1 => (mask(), 0u32..8, 0u32..4).prop_map(|((warp, mask), place, spread)| {
            Step::Copy { warp, mask, place, stride: u32::from(spread > 0) }
        }),
        1 => mask().prop_map(|(warp, mask)| Step::Commit { warp, mask }),
        1 => (mask(), prop_oneof![Just(None), Just(Some(0)), Just(Some(1))])
            .prop_map(|((warp, mask), pending)| Step::Wait { warp, mask, pending }),
    ]
}

/// A message at an address: who released, at which scope, everything before it.
#[derive(Clone)]
struct Release {
    thread: usize,
    scope: Scope,
    clock: Vec<u32>,
}

#[derive(Clone)]
struct Past {
    thread: usize,
    clock: u32,
    writes: bool,
    strong: bool,
    scope: Scope,
    size: u32,
    /// Step and lane, to know two lanes of one instruction.
    step: usize,
    pending: bool,
}

#[derive(Clone)]
struct Oracle {
    clocks: Vec<Vec<u32>>,
    /// Per byte: (space, address).
    memory: std::collections::BTreeMap<(u32, u64), Vec<Past>>,
    chain: std::collections::BTreeMap<(u32, u64), (usize, Vec<Release>)>,
    /// Fences of each thread, with the clock at the time.
    fences: Vec<Vec<(Scope, Vec<u32>)>>,
    /// Releases each thread has observed, with the scope of the read.
    observed: Vec<Vec<(Release, Scope)>>,
    gone: Vec<bool>,
    /// Copies in flight: (thread, group, (space, address)).
    copies: Vec<(usize, u32, (u32, u64))>,
    groups: Vec<u32>,
}

fn thread(block: u32, warp: u32, lane: u32) -> usize {
    (block * THREADS + warp * 32 + lane) as usize
}

fn includes(scope: Scope, a: usize, b: usize) -> bool {
    scope >= Scope::Gpu || a as u32 / THREADS == b as u32 / THREADS
}

impl Oracle {
    fn new() -> Self {
        Self {
            clocks: (0..ALL).map(|me| (0..ALL).map(|t| u32::from(t == me)).collect()).collect(),
            memory: Default::default(),
            chain: Default::default(),
            fences: vec![Vec::new(); ALL],
            observed: vec![Vec::new(); ALL],
            gone: vec![false; ALL],
            copies: Vec::new(),
            groups: vec![0; ALL],
        }
    }

    fn join(&mut self, thread: usize, other: &[u32]) {
        self.clocks[thread].iter_mut().zip(other).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
    }

    /// All of `from` are before what all of `to` do next.
    fn meet(&mut self, from: &[usize], to: &[usize]) {
        let mut all = vec![0; ALL];
        for &thread in from {
            all.iter_mut().zip(&self.clocks[thread]).for_each(|(a, b)| *a = (*a).max(*b));
        }
        for &thread in to {
            self.join(thread, &all);
        }
        for &thread in from {
            self.clocks[thread][thread] += 1;
        }
    }

    fn live(&self, block: u32, warp: u32, mask: u32) -> Vec<usize> {
        let threads = (0..32).filter(|lane| mask >> lane & 1 != 0 && warp * 32 + lane < THREADS);
        threads.map(|lane| thread(block, warp, lane)).filter(|&thread| !self.gone[thread]).collect()
    }

    fn acquire(&mut self, me: usize, scope: Scope, release: &Release, read: Scope) {
        let [acquires, reads, releases] = [scope, read, release.scope];
        if includes(acquires, me, release.thread)
            && includes(reads, me, release.thread)
            && includes(releases, me, release.thread)
        {
            self.join(me, &release.clock.clone());
        }
    }

    /// False: a race.
    fn touch(&mut self, at: usize, me: usize, space: u32, address: u64, access: &Access) -> bool {
        let strong = access.semantics != Semantics::Weak || access.kind == AccessKind::Atomic;
        let writes = access.kind.writes();
        let size = access.bytes / access.elements;
        let mut fine = true;
        for byte in address..address + u64::from(access.bytes) {
            for past in self.memory.entry((space, byte)).or_default() {
                let ordered = self.clocks[me][past.thread] >= past.clock || past.thread == me;
                let scopes = includes(past.scope, past.thread, me) && includes(access.scope, past.thread, me);
                let morally_strong = past.strong && strong && past.size == size && scopes;
                // Lanes of a store write the same value in these runs.
                let same = past.step == at;
                fine &= !past.pending && (!(past.writes || writes) || ordered || morally_strong || same);
            }
        }
        let clock = self.clocks[me][me];
        for byte in address..address + u64::from(access.bytes) {
            let pending = access.kind == AccessKind::Copy;
            let past =
                Past { thread: me, clock, writes, strong, scope: access.scope, size, step: at, pending };
            self.memory.entry((space, byte)).or_default().push(past);
        }
        fine
    }

    fn tell(&mut self, me: usize, space: u32, address: u64, access: &Access) {
        use Semantics::{Acquire, AcquireRelease, Release as Releases};
        let key = (space, address);
        if access.semantics == Semantics::Weak && access.kind != AccessKind::Atomic {
            if access.kind.writes() {
                let end = (space, address + u64::from(access.bytes));
                let over: Vec<_> = self.chain.range(key..end).map(|entry| *entry.0).collect();
                over.iter().for_each(|key| drop(self.chain.remove(key)));
            }
            return;
        }
        if access.kind != AccessKind::Store {
            for release in self.chain.get(&key).map(|chain| chain.1.clone()).unwrap_or_default() {
                if matches!(access.semantics, Acquire | AcquireRelease) {
                    self.acquire(me, access.scope, &release, access.scope);
                } else {
                    self.observed[me].push((release, access.scope));
                }
            }
        }
        if !access.kind.writes() {
            return;
        }
        let narrower = |a: Scope, b: Scope| a.min(b);
        let mut mine: Vec<Release> = self.fences[me]
            .iter()
            .map(|(scope, clock)| Release {
                thread: me,
                scope: narrower(*scope, access.scope),
                clock: clock.clone(),
            })
            .collect();
        if matches!(access.semantics, Releases | AcquireRelease) {
            mine.push(Release { thread: me, scope: access.scope, clock: self.clocks[me].clone() });
            self.clocks[me][me] += 1;
        }
        let chain = self.chain.entry(key).or_insert((me, Vec::new()));
        if access.kind == AccessKind::Store && chain.0 != me {
            *chain = (me, Vec::new());
        }
        chain.1.extend(mine);
        if chain.1.is_empty() {
            self.chain.remove(&key);
        }
    }

    /// False: a race.
    fn step(&mut self, at: usize, block: u32, step: &Step) -> bool {
        let mut fine = true;
        match *step {
            Step::Access { warp, mask, access, shared, place, stride } => {
                let addresses = addresses(access.bytes, place, stride);
                let (space, base) = if shared { (block, 0) } else { (9, BASE) };
                let live = self.live(block, warp, mask);
                for &me in &live {
                    let lane = (me as u32 % THREADS % 32) as usize;
                    fine &= self.touch(at, me, space, base + u64::from(addresses[lane]), &access);
                }
                let scope = if shared { Scope::System } else { access.scope };
                for &me in &live {
                    let lane = (me as u32 % THREADS % 32) as usize;
                    let access = Access { scope, ..access };
                    self.tell(me, space, base + u64::from(addresses[lane]), &access);
                }
            }
            Step::WarpSync { warp, mask } => {
                let live = self.live(block, warp, mask);
                self.meet(&live, &live);
            }
            Step::Barrier => {
                let live = [self.live(block, 0, u32::MAX), self.live(block, 1, u32::MAX)].concat();
                self.meet(&live, &live);
            }
            Step::Partial { wait, arrive } => {
                let waiting = [self.live(block, 0, wait[0]), self.live(block, 1, wait[1])].concat();
                let arriving = [self.live(block, 0, arrive[0]), self.live(block, 1, arrive[1])].concat();
                self.meet(&[waiting.clone(), arriving].concat(), &waiting);
            }
            Step::Fence { warp, mask, scope } => {
                for me in self.live(block, warp, mask) {
                    for (release, read) in self.observed[me].clone() {
                        self.acquire(me, scope, &release, read);
                    }
                    let clock = self.clocks[me].clone();
                    self.fences[me].push((scope, clock));
                    self.clocks[me][me] += 1;
                }
            }
            Step::Exit { warp, mask } => {
                for me in self.live(block, warp, mask) {
                    self.gone[me] = true;
                }
            }
            Step::Copy { warp, mask, place, stride } => {
                let (access, to) = (copy(), addresses(8, place, stride));
                for me in self.live(block, warp, mask) {
                    let to = u64::from(to[me % THREADS as usize % 32]);
                    fine &= self.touch(at, me, block, to, &access);
                    self.copies.push((me, self.groups[me], (block, to)));
                }
            }
            Step::Commit { warp, mask } => {
                for me in self.live(block, warp, mask) {
                    self.groups[me] += 1;
                }
            }
            Step::Wait { warp, mask, pending } => {
                for me in self.live(block, warp, mask) {
                    let clock = self.clocks[me][me];
                    let groups = self.groups[me];
                    for &(thread, group, (space, to)) in &self.copies {
                        if thread != me || pending.is_some_and(|pending| group + pending >= groups) {
                            continue;
                        }
                        for byte in to..to + 8 {
                            let pasts = self.memory.entry((space, byte)).or_default();
                            for past in pasts.iter_mut().filter(|past| past.thread == me && past.pending) {
                                (past.pending, past.clock) = (false, clock);
                            }
                        }
                    }
                    let done = |group: u32| pending.is_none_or(|pending| group + pending < groups);
                    self.copies.retain(|copy| copy.0 != me || !done(copy.1));
                }
            }
        }
        fine
    }
}

fn addresses(bytes: u32, place: u32, stride: u32) -> [u32; 32] {
    std::array::from_fn(|lane| (place + lane as u32 * stride) * bytes)
}

fn copy() -> Access {
    Access {
        instruction: 77,
        kind: AccessKind::Copy,
        semantics: Semantics::Weak,
        scope: Scope::Block,
        bytes: 8,
        elements: 1,
    }
}

/// The checker's side of a step. Lanes that are gone are taken off as the simulated GPU would.
fn check(
    block: &mut BlockCheck,
    global: &mut GlobalCheck,
    gone: &mut [u32; 2],
    step: &Step,
) -> Result<(), Box<Hazard>> {
    let here = |warp: u32, mask: u32| mask & !gone[warp as usize] & [u32::MAX, 7][warp as usize];
    match *step {
        Step::Access { warp, mask, access, shared, place, stride } => {
            let addresses = addresses(access.bytes, place, stride);
            let mask = here(warp, mask);
            if mask == 0 {
                return Ok(());
            }
            if shared {
                block.shared(warp, mask, &access, &addresses, |_, _| true)
            } else {
                let addresses = addresses.map(|address| BASE + u64::from(address));
                block.global(global, warp, mask, &access, &addresses, |_, _| true)
            }
        }
        Step::WarpSync { warp, mask } => {
            if here(warp, mask) != 0 {
                block.warp_sync(warp, here(warp, mask));
            }
            Ok(())
        }
        Step::Barrier => {
            let waiting = [here(0, u32::MAX), here(1, u32::MAX)];
            (0..2).for_each(|warp| block.barrier_arrive(0, warp, waiting[warp as usize]));
            block.barrier_complete(0, &waiting);
            Ok(())
        }
        Step::Partial { wait, arrive } => {
            let waiting = [here(0, wait[0]), here(1, wait[1])];
            for warp in 0..2 {
                block.barrier_arrive(1, warp, here(warp, arrive[warp as usize]));
                block.barrier_arrive(1, warp, waiting[warp as usize]);
            }
            block.barrier_complete(1, &waiting);
            Ok(())
        }
        Step::Fence { warp, mask, scope } => {
            block.fence(warp, here(warp, mask), scope);
            Ok(())
        }
        Step::Exit { warp, mask } => {
            block.exit(warp, here(warp, mask));
            gone[warp as usize] |= mask;
            Ok(())
        }
        Step::Copy { warp, mask, place, stride } => {
            let to = addresses(8, place, stride);
            let from = [BASE + 4096; 32];
            block.copy_issue(global, warp, here(warp, mask), 77, 8, &to, &from, &[0; 32])
        }
        Step::Commit { warp, mask } => {
            block.copy_commit(warp, here(warp, mask));
            Ok(())
        }
        Step::Wait { warp, mask, pending } => {
            block.copy_wait(warp, here(warp, mask), pending);
            Ok(())
        }
    }
}

// Most steps that the oracle calls a race are left out, so that runs grow long; the others end the run.
proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn communicating_blocks_get_the_oracles_verdict_at_the_same_step(
        steps in prop::collection::vec((0..BLOCKS, step(true), 0u32..8), 1..80)
    ) {
        let mut oracle = Oracle::new();
        let mut global = GlobalCheck::new(Blocks::Communicating, true);
        let mut gone = [[0; 2]; BLOCKS as usize];
        let mut blocks = [BlockCheck::new(THREADS, 4096), BlockCheck::new(THREADS, 4096)];
        for (index, block) in blocks.iter_mut().enumerate() {
            block.begin(&mut global, index as u32);
        }
        for (at, (block, step, dare)) in steps.iter().enumerate() {
            if *dare > 0 && !oracle.clone().step(at, *block, step) {
                continue;
            }
            let mine = check(&mut blocks[*block as usize], &mut global, &mut gone[*block as usize], step);
            let fine = oracle.step(at, *block, step);
            prop_assert_eq!(mine.is_ok(), fine, "step {} {:?}: {:?}", at, step, mine);
            if !fine {
                break;
            }
        }
    }

    #[test]
    fn independent_blocks_get_the_oracles_verdict(
        steps in prop::collection::vec((0..BLOCKS, step(false), 0u32..8), 1..60)
    ) {
        let mut oracle = Oracle::new();
        let mut global = GlobalCheck::new(Blocks::Independent, true);
        let mut grid = GridCheck::new();
        let mut checked = BlockCheck::new(THREADS, 4096);
        let (mut mine, mut fine) = (true, true);
        for block in 0..BLOCKS {
            let mut gone = [0; 2];
            checked.begin(&mut global, block);
            for (at, (_, step, dare)) in steps.iter().enumerate().filter(|step| step.1.0 == block) {
                if *dare > 0 && !oracle.clone().step(at, block, step) {
                    continue;
                }
                mine &= check(&mut checked, &mut global, &mut gone, step).is_ok();
                fine &= oracle.step(at, block, step);
                if !mine || !fine {
                    break;
                }
            }
            mine &= grid.add(global.trace()).is_ok();
        }
        prop_assert_eq!(mine, fine);
    }
}

//! One block: its warps, its memory, its barriers, and the order in which warps run.

use super::alu::Tally;
use super::exec::{Exec, Pause};
use super::fault::Fault;
use super::launch::Launch;
use super::memory::bank::Private;
use super::program::Op;
use super::random::Random;
use super::warp::{State, Warp};
use crate::check::{BlockCheck, GlobalCheck};
use crate::count::Counters;
use crate::{BarrierKind, BarrierReduction};

/// Barriers of a block.
pub(super) const BARRIERS: usize = 16;

/// One of the 16 barriers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Barrier {
    /// `Some` while a phase is under way: the number of threads named, or `None` for all of the block.
    pub expected: Option<Option<u32>>,
    /// Threads that arrived, whole warps.
    pub arrived: u32,
    /// Warps that arrived.
    pub warps: u32,
    /// Of the predicates reduced: how many were true, and how many there were.
    pub ones: u32,
    pub votes: u32,
}

/// What one host thread keeps from block to block.
pub(super) struct Worker {
    pub global: GlobalCheck,
    pub counters: Counters,
    pub tally: Tally,
}

/// What the warps of a block share.
pub(super) struct Shared {
    pub linear: u64,
    pub coordinates: [u32; 3],
    pub memory: Private,
    pub local: Private,
    pub barriers: [Barrier; BARRIERS],
    pub check: BlockCheck,
    /// Instructions executed.
    pub steps: u64,
}

/// A resident block.
pub(super) struct Block {
    pub warps: Vec<Warp>,
    pub shared: Shared,
    random: Random,
}

/// How a block stands after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    Done,
}

impl Block {
    pub(super) fn new(launch: &Launch<'_>) -> Self {
        let shared = Shared {
            linear: 0,
            coordinates: [0; 3],
            memory: Private::default(),
            local: Private::default(),
            barriers: [Barrier::default(); BARRIERS],
            check: BlockCheck::new(launch.threads, launch.shared_end),
            steps: 0,
        };
        let warps = (0..launch.threads.div_ceil(32)).map(|_| Warp::default()).collect();
        Self { warps, shared, random: Random::new(0) }
    }

    /// Becomes block number `linear`, from its first instruction.
    pub(super) fn start(&mut self, launch: &Launch<'_>, worker: &mut Worker, linear: u64, seed: u64) {
        let shared = &mut self.shared;
        shared.linear = linear;
        shared.coordinates = launch.coordinates(linear);
        shared.memory.reset(launch.shared_end as usize);
        if launch.program.uses_local() {
            shared.local.reset(launch.local_stride() as usize * launch.threads as usize);
        }
        shared.barriers = [Barrier::default(); BARRIERS];
        shared.check.begin(&mut worker.global, linear as u32);
        shared.steps = 0;
        self.random = Random::new(seed ^ linear.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for (index, warp) in self.warps.iter_mut().enumerate() {
            warp.start(launch.program, index as u32, launch.threads);
            for &(special, slot) in &launch.program.specials {
                let thread = |lane| index as u32 * 32 + lane as u32;
                let value = std::array::from_fn(|lane| {
                    launch.special(special, shared.coordinates, linear, thread(lane))
                });
                warp.files.set_narrow(slot, !0, &value);
            }
        }
    }

    /// Runs one warp, chosen by chance among those that can, for a while.
    pub(super) fn turn(&mut self, launch: &Launch<'_>, worker: &mut Worker) -> Result<Progress, Box<Fault>> {
        let ready = |warp: &Warp| warp.groups.iter().any(|group| group.state == State::Ready);
        let count = self.warps.iter().filter(|warp| ready(warp)).count();
        if count == 0 {
            if self.warps.iter().all(|warp| warp.live == 0) {
                return Ok(Progress::Done);
            }
            return Err(Box::new(self.stuck(launch)));
        }
        let chosen = self.random.below(count as u32) as usize;
        let budget = 64 + self.random.below(256);
        let Some(index) = (0..self.warps.len()).filter(|&index| ready(&self.warps[index])).nth(chosen) else {
            return Ok(Progress::Done);
        };
        let mut exec = Exec { launch, worker, block: &mut self.shared, warp: &mut self.warps[index] };
        let pause = exec.run(budget)?;
        match pause {
            Pause::Budget => {
                if self.shared.steps > launch.config.instruction_limit {
                    return Err(Box::new(self.endless(launch, index)));
                }
            }
            Pause::Waiting => {
                let waits = |state| matches!(state, State::Gathering | State::WarpBarrier);
                if self.warps[index].groups.iter().any(|group| waits(group.state)) {
                    return Err(Box::new(self.divergent(launch, index)));
                }
            }
            Pause::Arrived(id) => self.open(launch, worker, id),
            Pause::Exited => {
                for id in 0..BARRIERS as u32 {
                    self.open(launch, worker, id);
                }
            }
        }
        Ok(Progress::Running)
    }

    /// Opens a barrier at which all have arrived. PTX ISA 8.4, sections 9.7.12.1 and 9.7.12.15 (`exit`: threads that
    /// have exited hold up no barrier of the whole block).
    fn open(&mut self, launch: &Launch<'_>, worker: &mut Worker, id: u32) {
        let barrier = self.shared.barriers[id as usize];
        let Some(expected) = barrier.expected else { return };
        let complete = match expected {
            Some(threads) => barrier.arrived >= threads,
            None => self.warps.iter().all(|warp| warp.live == 0 || barrier.warps >> warp.index & 1 == 1),
        };
        if !complete {
            return;
        }
        let mut waiting = [0; 32];
        for (warp, lanes) in self.warps.iter_mut().zip(&mut waiting) {
            *lanes = warp.at_barrier(id);
            for index in 0..warp.groups.len() {
                let group = warp.groups[index];
                if group.state != State::Barrier(id) {
                    continue;
                }
                let Some(Op::Barrier(op)) = launch.program.lines.get(group.pc as usize).map(|line| &line.op)
                else {
                    continue;
                };
                let all = |truth: bool| if truth { !0 } else { 0 };
                match op.kind {
                    BarrierKind::Reduce(BarrierReduction::Popc) => {
                        warp.files.set_narrow(op.d, group.lanes, &[barrier.ones; 32]);
                    }
                    BarrierKind::Reduce(BarrierReduction::And) => {
                        warp.files.set_predicate(op.d, group.lanes, all(barrier.ones == barrier.votes));
                    }
                    BarrierKind::Reduce(BarrierReduction::Or) => {
                        warp.files.set_predicate(op.d, group.lanes, all(barrier.ones != 0));
                    }
                    BarrierKind::Sync | BarrierKind::Arrive => {}
                }
            }
            warp.release(State::Barrier(id), !0);
        }
        self.shared.barriers[id as usize] = Barrier::default();
        self.shared.check.barrier_complete(id, &waiting[..self.warps.len()]);
        worker.counters.barrier();
    }

    /// Every thread waits at a barrier of the block.
    fn stuck(&self, launch: &Launch<'_>) -> Fault {
        let block = self.shared.coordinates;
        let mut waiting = Vec::new();
        for warp in &self.warps {
            for group in &warp.groups {
                waiting.push(launch.waiting(group.pc, block, warp.index, group.lanes));
            }
        }
        let (id, barrier) = self
            .shared
            .barriers
            .iter()
            .enumerate()
            .find(|(_, barrier)| barrier.expected.is_some())
            .map_or((0, Barrier::default()), |(id, barrier)| (id, *barrier));
        let live: u32 = self.warps.iter().map(|warp| warp.live.count_ones()).sum();
        Fault::BarrierStuck {
            kernel: launch.program.name.clone(),
            block,
            barrier: id as u32,
            arrived: barrier.arrived,
            expected: barrier.expected.flatten().unwrap_or(launch.threads),
            exited: launch.threads - live,
            waiting,
        }
    }

    /// Lanes of a warp wait for others of it that cannot come.
    fn divergent(&self, launch: &Launch<'_>, index: usize) -> Fault {
        let warp = &self.warps[index];
        let block = self.shared.coordinates;
        let gathers = |state| matches!(state, State::Gathering | State::WarpBarrier);
        let Some(at) = warp.groups.iter().position(|group| gathers(group.state)) else {
            return self.stuck(launch);
        };
        let group = warp.groups[at];
        let lane = group.lanes.trailing_zeros();
        let line = launch.program.lines.get(group.pc as usize);
        let needed = match line.and_then(|line| line.op.member_mask()) {
            Some(slot) => warp.files.narrow(launch.program, slot)[(lane % 32) as usize] & warp.live,
            None => warp.live,
        };
        let others = warp.groups.iter().enumerate().filter(|(index, _)| *index != at);
        Fault::Divergent {
            site: launch.site(group.pc, block, Some(warp.index * 32 + lane)),
            lanes: group.lanes,
            missing: needed & !group.lanes,
            others: others
                .map(|(_, group)| launch.waiting(group.pc, block, warp.index, group.lanes))
                .collect(),
        }
    }

    fn endless(&self, launch: &Launch<'_>, index: usize) -> Fault {
        let warp = &self.warps[index];
        let pc = warp.groups.first().map_or(0, |group| group.pc);
        let site = launch.site(pc, self.shared.coordinates, None);
        Fault::InstructionLimit { site, limit: launch.config.instruction_limit }
    }
}

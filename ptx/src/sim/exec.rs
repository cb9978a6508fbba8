//! Executes one warp for a while: control flow here, memory in `access.rs`, warp-wide instructions in `sync.rs`, tensor
//! instructions in `tensor.rs`, arithmetic in `alu.rs`.

use super::alu;
use super::block::{Shared, Worker};
use super::fault::{Fault, Site};
use super::launch::Launch;
use super::memory::{resolve, space_name};
use super::program::{Op, Slot};
use super::warp::{Group, State, Warp};
use crate::Space;

/// Why a warp stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Its turn is over.
    Budget,
    /// No group of it can go on.
    Waiting,
    /// It arrived at this barrier.
    Arrived(u32),
    /// Lanes exited.
    Exited,
}

/// How the interpreter goes on after an instruction.
pub(super) enum Then {
    /// The group moves to the next instruction.
    Next,
    /// The groups have been changed.
    Choose,
    Pause(Pause),
}

pub(super) type Step = Result<Then, Box<Fault>>;

/// One warp at work.
pub(super) struct Exec<'e, 'l> {
    pub launch: &'e Launch<'l>,
    pub worker: &'e mut Worker,
    pub block: &'e mut Shared,
    pub warp: &'e mut Warp,
}

impl Exec<'_, '_> {
    /// Runs about `budget` instructions.
    pub(super) fn run(&mut self, budget: u32) -> Result<Pause, Box<Fault>> {
        let program = self.launch.program;
        let mut left = budget;
        loop {
            if left == 0 {
                return Ok(Pause::Budget);
            }
            let Some((index, stop)) = self.warp.choose(program) else { return Ok(Pause::Waiting) };
            let Group { pc, lanes, .. } = self.warp.groups[index];
            let Some(line) = program.lines.get(pc as usize) else { return Ok(Pause::Waiting) };
            if let Op::Alu(_) = line.op {
                let files = &mut self.warp.files;
                let stretch =
                    alu::run(self.launch.fast, files, program, &mut self.worker.tally, lanes, pc, stop, left);
                self.warp.groups[index].pc = stretch.pc;
                left -= stretch.steps.min(left);
                self.block.steps += u64::from(stretch.steps);
                continue;
            }
            let active = lanes & self.warp.files.test(line.guard);
            left -= 1;
            self.block.steps += 1;
            match self.step(index, pc, lanes, active, &line.op)? {
                Then::Next => self.warp.groups[index].pc = pc + 1,
                Then::Choose => {}
                Then::Pause(pause) => return Ok(pause),
            }
        }
    }

    fn step(&mut self, index: usize, pc: u32, lanes: u32, active: u32, op: &Op) -> Step {
        let warp_wide = matches!(
            op,
            Op::Barrier(_)
                | Op::WarpBarrier { .. }
                | Op::Shuffle { .. }
                | Op::Vote { .. }
                | Op::Match { .. }
                | Op::Redux { .. }
                | Op::Elect { .. }
                | Op::LoadMatrix { .. }
                | Op::StoreMatrix { .. }
                | Op::MoveMatrix { .. }
                | Op::Mma(_)
        );
        if warp_wide {
            if active != lanes {
                // Lanes whose guard is false pass by.
                self.warp.send(index, lanes & !active, pc + 1);
                return Ok(Then::Choose);
            }
            return self.meet(index, pc, active, op);
        }
        self.count(pc, active);
        match op {
            Op::Branch { uniform, target } => {
                return self.branch(index, pc, lanes, active, *uniform, *target);
            }
            Op::BranchIndexed { uniform, index: by, targets } => {
                return self.branch_indexed(index, pc, lanes, active, *uniform, *by, targets);
            }
            Op::Exit => return self.exit(index, pc, lanes, active),
            _ if active == 0 => {}
            Op::Load { space, semantics, scope, address, vector } => {
                self.load(pc, active, *space, (*semantics, *scope), address, vector)?;
            }
            Op::Store { space, semantics, scope, address, vector } => {
                self.store(pc, active, *space, (*semantics, *scope), address, vector)?;
            }
            Op::Atomic(rmw) => self.atomic(pc, active, rmw)?,
            Op::Fence { scope } => self.block.check.fence(self.warp.index, active, *scope),
            Op::FromGeneric { space, d, a } => self.of_generic(pc, active, *space, *d, *a)?,
            Op::CopyAsync { bytes, to, from, source_bytes, ignore } => {
                self.copy_async(pc, active, *bytes, to, from, *source_bytes, *ignore)?;
            }
            Op::CopyCommit => {
                self.warp.copies.commit(active);
                self.block.check.copy_commit(self.warp.index, active);
            }
            Op::CopyWait { pending } => {
                self.warp.copies.wait(active, *pending, &mut self.block.memory);
                self.block.check.copy_wait(self.warp.index, active, *pending);
            }
            Op::Clock { d, wide } => {
                let now = self.block.steps;
                if *wide {
                    self.warp.files.set_wide(*d, active, &[now; 32]);
                } else {
                    self.warp.files.set_narrow(*d, active, &[now as u32; 32]);
                }
            }
            Op::Trap => return Err(Box::new(Fault::Trap { site: self.site(pc, active.trailing_zeros()) })),
            _ => {}
        }
        Ok(Then::Next)
    }

    /// Counts an executed instruction.
    pub(super) fn count(&mut self, pc: u32, active: u32) {
        let counts = &mut self.worker.tally[pc as usize];
        counts[0] += 1;
        counts[1] += u64::from(active.count_ones());
    }

    pub(super) fn site(&self, pc: u32, lane: u32) -> Site {
        self.launch.site(pc, self.block.coordinates, Some(self.warp.index * 32 + lane))
    }

    fn branch(&mut self, index: usize, pc: u32, lanes: u32, taken: u32, uniform: bool, target: u32) -> Step {
        if taken == lanes {
            self.warp.groups[index].pc = target;
        } else if taken == 0 {
            return Ok(Then::Next);
        } else if uniform {
            let site = self.site(pc, taken.trailing_zeros());
            return Err(Box::new(Fault::NotUniform { site, lanes, taken }));
        } else {
            self.warp.groups[index].pc = pc + 1;
            self.warp.send(index, taken, target);
        }
        Ok(Then::Choose)
    }

    #[allow(clippy::too_many_arguments, reason = "an instruction's place and operands")]
    fn branch_indexed(
        &mut self,
        index: usize,
        pc: u32,
        lanes: u32,
        active: u32,
        uniform: bool,
        by: Slot,
        targets: &[u32],
    ) -> Step {
        if active == 0 {
            return Ok(Then::Next);
        }
        let by = *self.warp.files.narrow(self.launch.program, by);
        // Lanes that pass by stay in the group; each target gets a group of its own.
        self.warp.groups[index].pc = pc + 1;
        let mut rest = active;
        let mut held = lanes;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let value = by[lane as usize];
            let Some(&target) = targets.get(value as usize) else {
                let why = format!("index {value} is past the {} targets", targets.len());
                return Err(Box::new(Fault::Operand { site: self.site(pc, lane), why }));
            };
            let same = (0..32).fold(0, |same, lane| same | u32::from(by[lane] == value) << lane) & rest;
            if uniform && same != active {
                return Err(Box::new(Fault::NotUniform {
                    site: self.site(pc, lane),
                    lanes: active,
                    taken: same,
                }));
            }
            // The last part of the group takes its place in the list, so the index stays good until then.
            self.warp.send(index, same, target);
            held &= !same;
            rest &= !same;
            if held == 0 {
                break;
            }
        }
        Ok(Then::Choose)
    }

    fn exit(&mut self, index: usize, pc: u32, lanes: u32, active: u32) -> Step {
        if active == 0 {
            return Ok(Then::Next);
        }
        if active != lanes {
            self.warp.groups[index].pc = pc + 1;
        }
        self.block.check.exit(self.warp.index, active);
        self.warp.exit(index, active);
        self.open_warp_barriers();
        self.arrive_after_exit();
        Ok(Then::Pause(Pause::Exited))
    }

    fn of_generic(&mut self, pc: u32, active: u32, space: Space, d: Slot, a: Slot) -> Result<(), Box<Fault>> {
        let mut value = *self.warp.files.wide(self.launch.program, a);
        for lane in (0..32).filter(|lane| active >> lane & 1 == 1) {
            let (found, offset) = resolve(value[lane]);
            if found != space {
                return Err(Box::new(Fault::WrongSpace {
                    site: self.site(pc, lane as u32),
                    address: value[lane],
                    found: space_name(found),
                    wanted: space_name(space),
                }));
            }
            value[lane] = offset;
        }
        self.warp.files.set_wide(d, active, &value);
        Ok(())
    }

    /// Marks a group as waiting for other lanes at its instruction.
    pub(super) fn wait(&mut self, index: usize) -> Step {
        self.warp.groups[index].state = State::Gathering;
        Ok(Then::Choose)
    }
}

//! Instructions for which lanes must meet: barriers, shuffles, votes. PTX ISA 8.4, sections 9.7.8.6 and 9.7.12.
//!
//! `.aligned` instructions need every lane of the warp that has not exited; those with a member mask need the lanes it
//! names. Lanes that come first wait; when no lane of the warp can go on, the block reports who waits for whom.

use super::block::{BARRIERS, Barrier};
use super::exec::{Exec, Pause, Step, Then};
use super::fault::Fault;
use super::integer::lanes;
use super::memory::bank::{Lanes, each};
use super::program::{self, NONE, Op, Slot};
use super::warp::State;
use crate::{BarrierKind, Redux, Shuffle, Vote};

impl Exec<'_, '_> {
    /// Executes an instruction for which the group's lanes must be complete, or lets them wait for the others.
    pub(super) fn meet(&mut self, index: usize, pc: u32, active: u32, op: &Op) -> Step {
        let class = match op {
            Op::WarpBarrier { mask } => return self.warp_barrier(index, pc, active, *mask),
            Op::Barrier(barrier) if !barrier.aligned => return self.arrive(index, pc, active, barrier),
            Op::Shuffle { mask, .. }
            | Op::Vote { mask, .. }
            | Op::Match { mask, .. }
            | Op::Redux { mask, .. }
            | Op::Elect { mask, .. } => self.members(pc, active, *mask)?,
            _ => (active == self.warp.live).then_some(active),
        };
        let Some(class) = class else { return self.wait(index) };
        if let Op::Barrier(barrier) = op {
            return self.arrive(index, pc, class, barrier);
        }
        self.count(pc, class);
        match op {
            Op::Shuffle { mode, d, p, a, b, c, .. } => {
                self.shuffle(pc, class, *mode, [*d, *p, *a, *b, *c])?
            }
            Op::Vote { mode, d, p, .. } => {
                let votes = self.warp.files.test(*p) & class;
                let all = |truth: bool| if truth { !0 } else { 0 };
                match mode {
                    Vote::Ballot => self.warp.files.set_narrow(*d, class, &[votes; 32]),
                    Vote::All => self.warp.files.set_predicate(*d, class, all(votes == class)),
                    Vote::Any => self.warp.files.set_predicate(*d, class, all(votes != 0)),
                    Vote::Uni => self.warp.files.set_predicate(*d, class, all(votes == 0 || votes == class)),
                }
            }
            Op::Match { all, wide, d, p, a, .. } => self.match_(class, *all, *wide, *d, *p, *a),
            Op::Redux { op, signed, d, a, .. } => self.redux(class, *op, *signed, *d, *a),
            Op::Elect { d, p, .. } => {
                let leader = class.trailing_zeros();
                if *d != NONE {
                    self.warp.files.set_narrow(*d, class, &[leader; 32]);
                }
                self.warp.files.set_predicate(*p, class, 1 << leader);
            }
            Op::LoadMatrix { transpose, count, d, address } => {
                self.load_matrix(pc, class, *transpose, *count, d, address)?;
            }
            Op::StoreMatrix { transpose, count, a, address } => {
                self.store_matrix(pc, class, *transpose, *count, a, address)?;
            }
            Op::MoveMatrix { d, a } => self.move_matrix(class, *d, *a),
            Op::Mma(mma) => self.mma(pc, class, mma)?,
            _ => {}
        }
        if class == active {
            return Ok(Then::Next);
        }
        self.warp.send(index, class, pc + 1);
        Ok(Then::Choose)
    }

    /// Lanes with one member mask of which all that live are here; `None` if some are missing of every mask.
    fn members(&mut self, pc: u32, active: u32, mask: Slot) -> Result<Option<u32>, Box<Fault>> {
        let masks = *self.warp.files.narrow(self.launch.program, mask);
        let mut rest = active;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let mask = masks[lane as usize];
            let class = self.class(pc, rest, mask, &masks)?;
            if class == mask & self.warp.live {
                return Ok(Some(class));
            }
            rest &= !class;
        }
        Ok(None)
    }

    /// Lanes whose member mask is `mask`; each must be named by it.
    fn class(&self, pc: u32, among: u32, mask: u32, masks: &Lanes<u32>) -> Result<u32, Box<Fault>> {
        let class = (0..32).fold(0, |class, lane| class | u32::from(masks[lane] == mask) << lane) & among;
        let strangers = class & !mask;
        if strangers != 0 {
            let lane = strangers.trailing_zeros();
            return Err(Box::new(Fault::NotMember { site: self.site(pc, lane), lane, mask }));
        }
        Ok(class)
    }

    fn shuffle(
        &mut self,
        pc: u32,
        class: u32,
        mode: Shuffle,
        [d, p, a, b, c]: [Slot; 5],
    ) -> Result<(), Box<Fault>> {
        let program = self.launch.program;
        let files = &self.warp.files;
        let (a, b, c) = (*files.narrow(program, a), *files.narrow(program, b), *files.narrow(program, c));
        let mut value: Lanes<u32> = [0; 32];
        let mut valid = 0u32;
        let mut stranger = None;
        each(class, |i| {
            let lane = i as i32;
            let (by, clamp, segment) = ((b[i] & 31) as i32, (c[i] & 31) as i32, (c[i] >> 8 & 31) as i32);
            let most = (lane & segment) | (clamp & !segment);
            let least = lane & segment;
            let (from, inside) = match mode {
                Shuffle::Up => (lane - by, lane - by >= most),
                Shuffle::Down => (lane + by, lane + by <= most),
                Shuffle::Bfly => (lane ^ by, lane ^ by <= most),
                Shuffle::Idx => {
                    let from = least | (by & !segment);
                    (from, from <= most)
                }
            };
            let from = if inside { from & 31 } else { lane };
            valid |= u32::from(inside) << i;
            if class >> from & 1 == 0 && stranger.is_none() {
                stranger = Some((i as u32, from as u32));
            }
            value[i] = a[from as usize];
        });
        if let Some((lane, from)) = stranger {
            return Err(Box::new(Fault::ShuffleSource {
                site: self.site(pc, lane),
                lane,
                from,
                lanes: class,
            }));
        }
        self.warp.files.set_narrow(d, class, &value);
        if p != NONE {
            self.warp.files.set_predicate(p, class, valid);
        }
        Ok(())
    }

    fn match_(&mut self, class: u32, all: bool, wide: bool, d: Slot, p: Slot, a: Slot) {
        let (program, files) = (self.launch.program, &self.warp.files);
        let a: Lanes<u64> = if wide {
            *files.wide(program, a)
        } else {
            let a = files.narrow(program, a);
            lanes!(i => u64::from(a[i]))
        };
        let mut value: Lanes<u32> = [0; 32];
        each(class, |i| {
            value[i] = (0..32).fold(0, |same, j| same | u32::from(a[j] == a[i]) << j) & class;
        });
        if all {
            let equal = value[class.trailing_zeros() as usize % 32] == class;
            self.warp.files.set_narrow(d, class, &[if equal { class } else { 0 }; 32]);
            if p != NONE {
                self.warp.files.set_predicate(p, class, if equal { !0 } else { 0 });
            }
        } else {
            self.warp.files.set_narrow(d, class, &value);
        }
    }

    fn redux(&mut self, class: u32, op: Redux, signed: bool, d: Slot, a: Slot) {
        let a = *self.warp.files.narrow(self.launch.program, a);
        let values = (0..32).filter(|lane| class >> lane & 1 == 1).map(|lane| a[lane]);
        let combine = |x: u32, y: u32| match (op, signed) {
            (Redux::Add, _) => x.wrapping_add(y),
            (Redux::Min, true) => (x as i32).min(y as i32) as u32,
            (Redux::Min, false) => x.min(y),
            (Redux::Max, true) => (x as i32).max(y as i32) as u32,
            (Redux::Max, false) => x.max(y),
            (Redux::And, _) => x & y,
            (Redux::Or, _) => x | y,
            (Redux::Xor, _) => x ^ y,
        };
        let result = values.reduce(combine).unwrap_or(0);
        self.warp.files.set_narrow(d, class, &[result; 32]);
    }

    /// `bar.warp.sync`: lanes with one mask meet at any such instruction, not only the same one.
    fn warp_barrier(&mut self, index: usize, pc: u32, active: u32, mask: Slot) -> Step {
        let masks = *self.warp.files.narrow(self.launch.program, mask);
        let mut rest = active;
        while rest != 0 {
            let mask = masks[rest.trailing_zeros() as usize];
            rest &= !self.class(pc, rest, mask, &masks)?;
        }
        self.count(pc, active);
        each(active, |lane| self.warp.members[lane] = masks[lane]);
        self.warp.groups[index].state = State::WarpBarrier;
        self.open_warp_barriers();
        Ok(Then::Choose)
    }

    /// Lets lanes go on whose member masks are complete.
    pub(super) fn open_warp_barriers(&mut self) {
        if self.warp.groups.iter().all(|group| group.state != State::WarpBarrier) {
            return;
        }
        let members = self.warp.members;
        let mut rest = (0..32).fold(0u32, |waiting, lane| waiting | u32::from(members[lane] != 0) << lane);
        rest &= self.warp.live;
        while rest != 0 {
            let mask = members[rest.trailing_zeros() as usize];
            let class =
                (0..32).fold(0, |class, lane| class | u32::from(members[lane] == mask) << lane) & rest;
            if class == mask & self.warp.live {
                each(class, |lane| self.warp.members[lane] = 0);
                self.warp.release(State::WarpBarrier, class);
                self.block.check.warp_sync(self.warp.index, class);
            }
            rest &= !class;
        }
    }

    fn barrier_fault<T>(&self, pc: u32, lanes: u32, barrier: u32, why: String) -> Result<T, Box<Fault>> {
        let site = self.site(pc, lanes.trailing_zeros());
        Err(Box::new(Fault::BarrierMisuse { site, barrier, why }))
    }

    /// The value that all lanes agree on.
    fn agreed(&self, pc: u32, lanes: u32, slot: Slot, what: &str) -> Result<u32, Box<Fault>> {
        let values = self.warp.files.narrow(self.launch.program, slot);
        let first = lanes.trailing_zeros();
        let value = values[first as usize % 32];
        match (0..32).find(|&lane| lanes >> lane & 1 == 1 && values[lane as usize] != value) {
            None => Ok(value),
            Some(lane) => {
                let why = format!(
                    "lanes {first} and {lane} of a warp name different {what}: {value} and {}",
                    values[lane as usize]
                );
                Err(Box::new(Fault::Operand { site: self.site(pc, lane), why }))
            }
        }
    }

    /// Lanes reach a barrier of the block.
    fn arrive(&mut self, index: usize, pc: u32, lanes: u32, op: &program::Barrier) -> Step {
        let id = self.agreed(pc, lanes, op.barrier, "barriers")?;
        if id as usize >= BARRIERS {
            return self.barrier_fault(
                pc,
                lanes,
                id,
                format!("a block has {BARRIERS} barriers, numbered from 0"),
            );
        }
        let mut threads = None;
        if op.threads != NONE {
            let named = self.agreed(pc, lanes, op.threads, "numbers of threads")?;
            let most = self.launch.threads.next_multiple_of(32);
            if named == 0 || named % 32 != 0 || named > most {
                let why = format!("it waits for {named} threads, not a multiple of 32 from 32 to {most}");
                return self.barrier_fault(pc, lanes, id, why);
            }
            threads = Some(named);
        }
        let barrier = &mut self.block.barriers[id as usize];
        match barrier.expected {
            None => barrier.expected = Some(threads),
            Some(other) if other == threads => {}
            Some(other) => {
                let name = |threads: Option<u32>| threads.map_or(String::from("all"), |n| n.to_string());
                let why = format!("{} threads are named here, {} elsewhere", name(threads), name(other));
                return self.barrier_fault(pc, lanes, id, why);
            }
        }
        if matches!(op.kind, BarrierKind::Reduce(_)) {
            barrier.ones += (self.warp.files.test(op.p) & lanes).count_ones();
            barrier.votes += lanes.count_ones();
        }
        self.count(pc, lanes);
        self.block.check.barrier_arrive(id, self.warp.index, lanes);
        self.warp.groups[index].state = State::Barrier(id);
        if self.arrive_warp(id) { Ok(Then::Pause(Pause::Arrived(id))) } else { Ok(Then::Choose) }
    }

    /// Counts the warp at a barrier once all its lanes are there; those that only arrive go on.
    fn arrive_warp(&mut self, id: u32) -> bool {
        let live = self.warp.live;
        if live == 0 || self.warp.at_barrier(id) != live {
            return false;
        }
        let barrier: &mut Barrier = &mut self.block.barriers[id as usize];
        barrier.arrived += 32;
        barrier.warps |= 1 << self.warp.index;
        for index in 0..self.warp.groups.len() {
            let group = self.warp.groups[index];
            let line = self.launch.program.lines.get(group.pc as usize);
            if let Some(Op::Barrier(op)) = line.map(|line| &line.op)
                && group.state == State::Barrier(id)
                && op.kind == BarrierKind::Arrive
            {
                self.warp.send(index, group.lanes, group.pc + 1);
            }
        }
        true
    }

    /// After some lanes exited, those that wait at a barrier may be all that are left of the warp.
    pub(super) fn arrive_after_exit(&mut self) {
        for id in 0..BARRIERS as u32 {
            if self.block.barriers[id as usize].warps >> self.warp.index & 1 == 0 {
                self.arrive_warp(id);
            }
        }
    }
}

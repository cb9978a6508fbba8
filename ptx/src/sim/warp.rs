//! One warp: its lanes' places in the program, and who waits for whom.
//!
//! Lanes at one place run together as a [`Group`]. A branch that splits a group makes two; groups that come to the same
//! place become one. The group with the lowest rank (`lower/flow.rs`) runs first, so that lanes meet where their paths
//! join; now and then another has its turn, so that a lane may spin until a later one lets it go. A group that reaches an
//! instruction for which lanes are missing waits there, without holding the others.

use super::copies::Copies;
use super::files::Files;
use super::program::Program;

/// What a group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// At a `.sync` or `.aligned` instruction until other lanes come.
    Gathering,
    /// At `bar.warp.sync`, counted; goes on when the barrier opens.
    WarpBarrier,
    /// At a `bar`, counted; goes on when the barrier opens.
    Barrier(u32),
}

/// Lanes at one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub pc: u32,
    pub lanes: u32,
    pub state: State,
}

/// A warp of a resident block.
#[derive(Clone, Debug, Default)]
pub(super) struct Warp {
    /// Index in the block.
    pub index: u32,
    pub files: Files,
    /// Lanes that exist and have not exited.
    pub live: u32,
    pub groups: Vec<Group>,
    /// Member mask that each lane waits with at `bar.warp.sync`; 0 where it does not.
    pub members: [u32; 32],
    /// Asynchronous copies under way.
    pub copies: Copies,
    /// Index of the allocation that the last global access hit.
    pub allocation: usize,
    /// Turns taken while diverged, for fairness.
    turns: u32,
}

/// Turns after which the next group in order may run first.
const FAIRNESS: u32 = 4096;

impl Warp {
    /// Makes it the `index`th warp of a block of `threads`.
    pub(super) fn start(&mut self, program: &Program, index: u32, threads: u32) {
        self.index = index;
        self.files.reset(program);
        let lanes = (threads - 32 * index).min(32);
        self.live = (!0u32).checked_shr(32 - lanes).unwrap_or(0);
        self.groups.clear();
        self.groups.push(Group { pc: 0, lanes: self.live, state: State::Ready });
        self.members = [0; 32];
        self.copies.clear();
        self.turns = 0;
    }

    /// Joins groups that stand at one place, and says which is to run and where it must stop to meet another. `None`:
    /// all wait.
    #[inline]
    pub(super) fn choose(&mut self, program: &Program) -> Option<(usize, u32)> {
        if let [group] = self.groups.as_slice() {
            return (group.state == State::Ready).then_some((0, u32::MAX));
        }
        self.choose_diverged(program)
    }

    fn choose_diverged(&mut self, program: &Program) -> Option<(usize, u32)> {
        self.join();
        let rank = |group: &Group| program.lines.get(group.pc as usize).map_or(u32::MAX, |line| line.rank);
        self.groups.sort_by_key(rank);
        let ready = self.groups.iter().filter(|group| group.state == State::Ready).count();
        if ready == 0 {
            return None;
        }
        self.turns = self.turns.wrapping_add(1);
        let turn = (self.turns / FAIRNESS) as usize % ready;
        let ready = self.groups.iter().enumerate().filter(|(_, group)| group.state == State::Ready);
        let (index, chosen) = ready.map(|(index, group)| (index, *group)).nth(turn)?;
        let ahead = self.groups.iter().map(|group| group.pc).filter(|&pc| pc > chosen.pc);
        Some((index, ahead.min().unwrap_or(u32::MAX)))
    }

    /// One group for each place where lanes are ready or gather.
    fn join(&mut self) {
        let open = |state| matches!(state, State::Ready | State::Gathering);
        let mut index = 0;
        while index < self.groups.len() {
            let Group { pc, state, .. } = self.groups[index];
            if open(state) {
                while let Some(later) = (index + 1..self.groups.len())
                    .find(|&later| self.groups[later].pc == pc && open(self.groups[later].state))
                {
                    self.groups[index].lanes |= self.groups.remove(later).lanes;
                    self.groups[index].state = State::Ready;
                }
            }
            index += 1;
        }
    }

    /// Moves lanes of a group to another place, ready to run there.
    pub(super) fn send(&mut self, index: usize, lanes: u32, pc: u32) {
        let group = &mut self.groups[index];
        if group.lanes == lanes {
            *group = Group { pc, lanes, state: State::Ready };
            return;
        }
        group.lanes &= !lanes;
        if lanes != 0 {
            self.groups.push(Group { pc, lanes, state: State::Ready });
        }
    }

    /// Lets lanes that wait in a state go on behind their instruction.
    pub(super) fn release(&mut self, state: State, lanes: u32) {
        for index in 0..self.groups.len() {
            let Group { pc, lanes: held, state: now } = self.groups[index];
            if now == state && held & lanes != 0 {
                self.send(index, held & lanes, pc + 1);
            }
        }
    }

    /// Takes lanes out for good; those that gather look again whether all are there.
    pub(super) fn exit(&mut self, index: usize, lanes: u32) {
        self.live &= !lanes;
        self.groups[index].lanes &= !lanes;
        if self.groups[index].lanes == 0 {
            self.groups.remove(index);
        }
        for group in &mut self.groups {
            if group.state == State::Gathering {
                group.state = State::Ready;
            }
        }
    }

    /// Lanes that wait at barrier `id`.
    pub(super) fn at_barrier(&self, id: u32) -> u32 {
        let waits = |group: &&Group| group.state == State::Barrier(id);
        self.groups.iter().filter(waits).fold(0, |lanes, group| lanes | group.lanes)
    }
}

//! Asynchronous copies in flight: which bytes of shared memory they still write, which of global memory they
//! still read, and which group of its thread each belongs to. PTX ISA 8.4, section 9.7.8.22.

use super::hazard::{AccessKind, Party};
use super::order::lanes;
use std::collections::VecDeque;

/// One warp's `cp.async`.
pub(super) struct Copy {
    /// Its access in the shadow's history; its pending slots hold it.
    pub(super) tick: u32,
    pub(super) instruction: u32,
    /// Lanes that have not waited yet.
    pub(super) mask: u32,
    pub(super) bytes: u32,
    pub(super) to: [u32; 32],
    pub(super) from: [u64; 32],
    /// Bytes read at `from`; the rest is zero-filled.
    pub(super) read: [u32; 32],
    /// Group of each lane.
    groups: [u32; 32],
    /// All sources lie in low..high.
    low: u64,
    high: u64,
}

impl Copy {
    /// `groups` and the sources' range are filled in by [`Copies::issue`].
    pub(super) fn new(instruction: u32, mask: u32, bytes: u32, to: &[u32; 32], tick: u32) -> Self {
        Self {
            tick,
            instruction,
            mask,
            bytes,
            to: *to,
            from: [0; 32],
            read: [0; 32],
            groups: [0; 32],
            low: u64::MAX,
            high: 0,
        }
    }
}

/// The copies of one warp, oldest first.
#[derive(Default)]
struct Queue {
    copies: VecDeque<Copy>,
    /// The group that the next copy of each lane joins: as many as it has committed.
    open: [u32; 32],
}

/// The copies of one block.
pub(super) struct Copies {
    warps: Vec<Queue>,
}

impl Copies {
    pub(super) fn new(warps: u32) -> Self {
        Self { warps: (0..warps).map(|_| Queue::default()).collect() }
    }

    /// Copies that nobody waited for; then there are none.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Copy> {
        self.warps.iter_mut().flat_map(|queue| std::mem::take(queue).copies)
    }

    /// Whether any are in flight.
    pub(super) fn any(&self) -> bool {
        self.warps.iter().any(|queue| !queue.copies.is_empty())
    }

    pub(super) fn issue(&mut self, warp: u32, mut copy: Copy) {
        let queue = &mut self.warps[warp as usize];
        copy.groups = queue.open;
        for lane in lanes(copy.mask) {
            let (from, read) = (copy.from[lane as usize], u64::from(copy.read[lane as usize]));
            if read > 0 {
                (copy.low, copy.high) = (copy.low.min(from), copy.high.max(from + read));
            }
        }
        queue.copies.push_back(copy);
    }

    pub(super) fn commit(&mut self, warp: u32, mask: u32) {
        for lane in lanes(mask) {
            self.warps[warp as usize].open[lane as usize] += 1;
        }
    }

    /// Takes the lanes off that have waited; `done(copy, lanes)` for each copy with such, oldest first.
    pub(super) fn wait(
        &mut self,
        warp: u32,
        mask: u32,
        pending: Option<u32>,
        mut done: impl FnMut(&Copy, u32),
    ) {
        let Queue { copies, open } = &mut self.warps[warp as usize];
        copies.retain_mut(|copy| {
            let mut over = 0;
            for lane in lanes(copy.mask & mask) {
                let (group, open) = (copy.groups[lane as usize], open[lane as usize]);
                let complete = pending.is_none_or(|pending| group < open.saturating_sub(pending));
                over |= u32::from(complete) << lane;
            }
            if over != 0 {
                done(copy, over);
                copy.mask &= !over;
            }
            copy.mask != 0
        });
    }

    /// The copy whose access had `tick`, and its warp.
    pub(super) fn find(&self, tick: u32) -> Option<(u32, &Copy)> {
        self.warps.iter().enumerate().find_map(|(warp, queue)| {
            let copy = queue.copies.iter().find(|copy| copy.tick == tick)?;
            Some((warp as u32, copy))
        })
    }

    /// The first copy in flight that reads some of `bytes` bytes at `address`: who, and the bytes both touch.
    pub(super) fn reader(&self, block: u32, address: u64, bytes: u64) -> Option<(Party, u64, u32)> {
        for (warp, queue) in self.warps.iter().enumerate() {
            for copy in &queue.copies {
                if address >= copy.high || address + bytes <= copy.low {
                    continue;
                }
                for lane in lanes(copy.mask) {
                    let (from, read) = (copy.from[lane as usize], u64::from(copy.read[lane as usize]));
                    let (start, end) = (from.max(address), (from + read).min(address + bytes));
                    if start < end {
                        return Some((copy.party(block, warp as u32, lane), start, (end - start) as u32));
                    }
                }
            }
        }
        None
    }
}

impl Copy {
    pub(super) fn party(&self, block: u32, warp: u32, lane: u32) -> Party {
        Party { block, thread: warp * 32 + lane, instruction: self.instruction, kind: AccessKind::Copy }
    }
}

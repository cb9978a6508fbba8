//! A warp's registers.

use super::memory::bank::Lanes;
use super::program::{CONSTANT, Predicate, Program, Slot};

/// The three files of one warp, and its carry bits. Constants live in the program.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub narrow: Vec<Lanes<u32>>,
    pub wide: Vec<Lanes<u64>>,
    pub predicates: Vec<u32>,
    /// The CC bit of each lane.
    pub carry: u32,
}

impl Files {
    /// Empties them for a new thread block: registers are 0.
    pub(super) fn reset(&mut self, program: &Program) {
        self.narrow.clear();
        self.narrow.resize(program.narrow_slots, [0; 32]);
        self.wide.clear();
        self.wide.resize(program.wide_slots, [0; 32]);
        self.predicates.clear();
        self.predicates.resize(program.predicate_slots, 0);
        if let Some(always) = self.predicates.last_mut() {
            *always = !0;
        }
        self.carry = 0;
    }

    #[inline(always)]
    pub(super) fn narrow<'a>(&'a self, program: &'a Program, slot: Slot) -> &'a Lanes<u32> {
        if slot & CONSTANT == 0 {
            &self.narrow[slot as usize]
        } else {
            &program.narrow_constants[(slot ^ CONSTANT) as usize]
        }
    }

    #[inline(always)]
    pub(super) fn wide<'a>(&'a self, program: &'a Program, slot: Slot) -> &'a Lanes<u64> {
        if slot & CONSTANT == 0 {
            &self.wide[slot as usize]
        } else {
            &program.wide_constants[(slot ^ CONSTANT) as usize]
        }
    }

    /// Lanes in which a predicate is true.
    #[inline(always)]
    pub(super) fn test(&self, predicate: Predicate) -> u32 {
        self.predicates[predicate.slot as usize] ^ predicate.flip
    }

    /// Writes the lanes of the mask.
    #[inline(always)]
    pub(super) fn set_narrow(&mut self, slot: Slot, mask: u32, value: &Lanes<u32>) {
        blend(&mut self.narrow[slot as usize], mask, value);
    }

    #[inline(always)]
    pub(super) fn set_wide(&mut self, slot: Slot, mask: u32, value: &Lanes<u64>) {
        blend(&mut self.wide[slot as usize], mask, value);
    }

    #[inline(always)]
    pub(super) fn set_predicate(&mut self, slot: Slot, mask: u32, value: u32) {
        let file = &mut self.predicates[slot as usize];
        *file = (*file & !mask) | (value & mask);
    }
}

#[inline(always)]
fn blend<T: Copy>(d: &mut Lanes<T>, mask: u32, value: &Lanes<T>) {
    if mask == !0 {
        *d = *value;
    } else {
        for lane in 0..32 {
            if mask >> lane & 1 == 1 {
                d[lane] = value[lane];
            }
        }
    }
}

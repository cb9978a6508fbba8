//! Asynchronous copies under way: `cp.async`. PTX ISA 8.4, section 9.7.8.22.
//!
//! The bytes are read when the copy is issued and land in shared memory when the thread waits for the copy's group, the
//! latest moment PTX allows: what is read too early is not there.

use super::memory::bank::{Bank, Lanes, Raw, scatter};
use std::collections::VecDeque;

#[derive(Clone, Debug)]
struct Copy {
    lanes: u32,
    to: Lanes<u32>,
    bytes: u32,
    /// Groups that each lane had committed before.
    group: Lanes<u32>,
    data: Raw,
}

/// The copies of one warp.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    committed: Lanes<u32>,
    pending: VecDeque<Box<Copy>>,
    /// Boxes for reuse.
    #[expect(
        clippy::vec_box,
        reason = "a box moves to `pending` and back; its contents stay where they are"
    )]
    spare: Vec<Box<Copy>>,
}

impl Copies {
    pub(super) fn clear(&mut self) {
        self.committed = [0; 32];
        self.spare.extend(self.pending.drain(..));
    }

    pub(super) fn issue(&mut self, lanes: u32, to: Lanes<u32>, bytes: u32, data: Raw) {
        let copy = Copy { lanes, to, bytes, group: self.committed, data };
        let place = match self.spare.pop() {
            Some(mut place) => {
                *place = copy;
                place
            }
            None => Box::new(copy),
        };
        self.pending.push_back(place);
    }

    /// Closes the open group of each lane.
    pub(super) fn commit(&mut self, lanes: u32) {
        for lane in 0..32 {
            self.committed[lane] += lanes >> lane & 1;
        }
    }

    /// Lets all but the newest `pending` groups land, or everything, the open group included.
    pub(super) fn wait<B: Bank>(&mut self, lanes: u32, pending: Option<u32>, shared: &mut B) {
        for copy in &mut self.pending {
            let mut done = 0u32;
            for lane in 0..32 {
                let over = match pending {
                    None => true,
                    Some(pending) => {
                        u64::from(copy.group[lane]) + u64::from(pending) < u64::from(self.committed[lane])
                    }
                };
                done |= u32::from(over) << lane;
            }
            let landing = copy.lanes & lanes & done;
            if landing != 0 {
                scatter(shared, landing, &copy.to, copy.bytes, &copy.data);
                copy.lanes &= !landing;
            }
        }
        while self.pending.front().is_some_and(|copy| copy.lanes == 0) {
            self.spare.extend(self.pending.pop_front());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::memory::bank::Private;

    fn lanes(first: u32) -> Lanes<u32> {
        std::array::from_fn(|lane| first + 4 * lane as u32)
    }

    #[test]
    fn groups_land_in_order_and_only_for_the_lanes_that_wait() {
        let mut shared = Private::new(1024);
        let mut copies = Copies::default();
        for group in 0..3 {
            copies.issue(!0, lanes(128 * group), 4, [[group + 1; 32]; 4]);
            copies.commit(!0);
        }
        copies.wait(!0, Some(2), &mut shared);
        assert_eq!([shared.written(0), shared.written(4), shared.written(8)], [!0, 0, 0]);
        // Lane 0 alone waits for the second group.
        copies.wait(1, Some(1), &mut shared);
        assert_eq!(shared.written(4), 0xf);
        assert_eq!(shared.word(32), 2);
        // An open group is covered by wait_all alone.
        copies.issue(!0, lanes(384), 4, [[9; 32]; 4]);
        copies.wait(!0, Some(0), &mut shared);
        assert_eq!([shared.written(8), shared.written(12)], [!0, 0]);
        copies.wait(!0, None, &mut shared);
        assert_eq!(shared.written(12), !0);
        assert!(copies.pending.is_empty());
    }
}

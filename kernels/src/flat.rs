//! How work on one unbroken range of elements is cut: shared by the launchers of such ops.

/// Threads of a block.
pub(crate) const THREADS: u32 = 256;

/// Blocks at most: beyond, a thread takes several groups in turn. Enough that the last turn, in which not all have
/// work, is a few hundredths of the whole on any device, and few enough that starting blocks costs nothing.
const BLOCKS: u64 = 1 << 14;

/// A range of elements as groups that are touched as one, and the rest one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flat {
    /// Whole groups; none where operands are not aligned.
    pub groups: u64,
    /// Blocks to launch.
    pub blocks: u64,
}

impl Flat {
    /// `group` is the number of elements in a group.
    pub fn new(elements: u64, group: u64, aligned: bool) -> Flat {
        let groups = if aligned { elements / group } else { 0 };
        let turns = groups.max(elements - groups * group);
        Flat { groups, blocks: turns.div_ceil(THREADS.into()).min(BLOCKS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_first_and_the_rest_needs_no_more_blocks() {
        let flat = |elements, aligned| {
            let flat = Flat::new(elements, 4, aligned);
            (flat.groups, flat.blocks)
        };
        assert_eq!(flat(0, true), (0, 0));
        assert_eq!(flat(3, true), (0, 1));
        assert_eq!(flat(4 * 256 + 3, true), (256, 1));
        assert_eq!(flat(4 * 257, true), (257, 2));
        assert_eq!(flat(4 * 257, false), (0, 5));
        assert_eq!(flat(1 << 40, true), (1 << 38, BLOCKS));
    }
}

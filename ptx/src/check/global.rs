//! The checks of global memory. (Signatures first; the bodies follow.)

use super::Hazard;
use std::ops::Range;

/// Which blocks a [`GlobalCheck`] sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// The kernel has no global (or generic) atomic, volatile, relaxed, acquire or release access: nothing can
    /// order two blocks. One checker a host thread, which runs one block at a time to its end.
    Independent,
    /// Blocks may order each other. One checker for the launch, on one host thread; blocks interleave freely.
    Communicating,
}

/// Global memory as one host thread sees it during a launch.
pub struct GlobalCheck {
    _blocks: Blocks,
}

/// What one independent block did to global memory.
pub struct Trace {
    _block: u32,
}

/// The whole launch.
pub struct GridCheck {}

/// Bytes a launch touched: sorted, merged, not overlapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Read by loads, atomics and copies.
    pub read: Vec<Range<u64>>,
    /// Written by stores and atomics.
    pub written: Vec<Range<u64>>,
}

#[allow(missing_docs, unused_variables, clippy::new_without_default)]
impl GlobalCheck {
    /// `races` false: only the footprint is kept.
    pub fn new(blocks: Blocks, races: bool) -> Self {
        Self { _blocks: blocks }
    }

    /// After the last access of a block: what it did ([`Blocks::Independent`]: the block just run;
    /// [`Blocks::Communicating`]: call once after the grid, all blocks together).
    pub fn trace(&mut self) -> Trace {
        Trace { _block: 0 }
    }
}

#[allow(missing_docs, unused_variables, clippy::new_without_default)]
impl GridCheck {
    pub fn new() -> Self {
        Self {}
    }

    /// Adds a trace. Add them in the order of the blocks, whatever the order in which they ran: the race
    /// reported is then always the same.
    pub fn add(&mut self, trace: Trace) -> Result<(), Box<Hazard>> {
        Ok(())
    }

    pub fn footprint(&self) -> Footprint {
        Footprint::default()
    }
}

//! Counts: what a GPU would have to do for the accesses and instructions that were executed. (Signatures first.)

use crate::{Operation, Space};

/// What kind of unit executes an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Class {
    Fp32,
    Fp16,
    Fp64,
    /// Approximations of the special function unit: rcp, rsqrt, sqrt, ex2, lg2, sin, cos, tanh.
    Special,
    Integer,
    Conversion,
    /// mov, selp, predicates.
    Move,
    Global,
    Shared,
    Local,
    /// Parameters and constants.
    Constant,
    Control,
    Barrier,
    Shuffle,
    Tensor,
}

impl Class {
    /// Class of an operation; `Generic` counts as global: take [`Class::of_space`] of the space it resolves to.
    pub fn of(operation: &Operation) -> Class {
        let _ = operation;
        Class::Move
    }

    /// Class of a memory access.
    pub fn of_space(space: Space) -> Class {
        let _ = space;
        Class::Global
    }
}

/// Totals of a launch; `+=` adds those of another host thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counters {
    /// Warp instructions by `Class as usize`.
    pub warp_instructions: [u64; 15],
    /// Thread instructions by `Class as usize`.
    pub thread_instructions: [u64; 15],
}

#[allow(missing_docs, unused_variables)]
impl Counters {
    /// One warp instruction executed by the lanes of `mask` (guard applied).
    pub fn instruction(&mut self, class: Class, mask: u32) {}
    /// A global access: sectors, useful bytes, width. Loads, stores, atomics and the reading side of `cp.async`.
    pub fn global(&mut self, mask: u32, addresses: &[u64; 32], bytes: u32, writes: bool) {}
    /// A shared access: wavefronts. `ldmatrix`/`stmatrix`: 16 bytes, the lanes whose addresses count;
    /// `cp.async`: its writes.
    pub fn shared(&mut self, mask: u32, addresses: &[u32; 32], bytes: u32) {}
    /// An `mma` of m × n × k by a warp.
    pub fn mma(&mut self, shape: [u32; 3]) {}
    /// A barrier completed (`bar`).
    pub fn barrier(&mut self) {}
}

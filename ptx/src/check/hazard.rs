//! What a check has to say: two parties, where they met, and what is missing between them.

use crate::{Scope, Semantics, Space};
use std::fmt;

/// How memory is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccessKind {
    /// `ld`, `ldmatrix`, and the read of global memory by `cp.async`.
    Load,
    /// `st`, `stmatrix`.
    Store,
    /// `atom`, `red`.
    Atomic,
    /// The write of shared memory by `cp.async`.
    Copy,
}

impl AccessKind {
    /// Whether the bytes may change.
    pub const fn writes(self) -> bool {
        !matches!(self, AccessKind::Load)
    }
}

/// One instruction's access, the same for all its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Index of the instruction in the kernel's body.
    pub instruction: u32,
    /// What it does. [`AccessKind::Copy`] never comes here: copies are issued.
    pub kind: AccessKind,
    /// Its ordering. `Volatile` is relaxed at system scope (PTX ISA 8.4, section 9.7.8.8 on `ld`).
    pub semantics: Semantics,
    /// Whom the ordering concerns; without meaning for `Weak`.
    pub scope: Scope,
    /// Bytes a lane touches, vectors whole: 1, 2, 4, 8 or 16, and the address is a multiple of it.
    pub bytes: u32,
    /// Elements of the vector: 1, 2 or 4. Strong accesses of different element sizes are not morally strong.
    pub elements: u32,
}

/// One of the two that met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Party {
    /// Linear index of the block in its grid.
    pub block: u32,
    /// Linear index of the thread in its block.
    pub thread: u32,
    /// Index of the instruction in the kernel's body.
    pub instruction: u32,
    /// What it did.
    pub kind: AccessKind,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.kind {
            AccessKind::Load => "load",
            AccessKind::Store => "store",
            AccessKind::Atomic => "atomic",
            AccessKind::Copy => "cp.async",
        };
        let Party { block, thread, instruction, .. } = self;
        write!(f, "{verb} by thread {thread} of block {block} (instruction {instruction})")
    }
}

/// What would have ordered the two accesses of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// Two warps of one block.
    Barrier,
    /// Two lanes of one warp, which need not run in step.
    WarpBarrier,
    /// Two lanes of one instruction write different values, or copy, to the same bytes.
    OneWriter,
    /// Two blocks.
    BlockOrder,
    /// There is a release and an acquire, or two atomics, but the scope of one leaves out the other.
    WiderScope(Scope),
    /// Two strong accesses that overlap only in part, or differ in size.
    EqualSize,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Barrier => f.write_str("no barrier between them"),
            Missing::WarpBarrier => f.write_str("no bar.warp.sync (__syncwarp) between two lanes of a warp"),
            Missing::OneWriter => {
                f.write_str("lanes of one instruction write different values, or copy, to the same bytes; let one lane write")
            }
            Missing::BlockOrder => f.write_str(
                "nothing orders the two blocks; a release (fence, then atomic) and an acquire (atomic, then \
                 fence) at scope .gpu would",
            ),
            Missing::WiderScope(scope) => {
                let (name, parties) = match scope {
                    Scope::Block => (".cta", "two blocks"),
                    Scope::Cluster => (".cluster", "two clusters"),
                    Scope::Gpu => (".gpu", "two devices"),
                    Scope::System => (".sys", "them"),
                };
                write!(f, "scope {name} is too narrow for {parties}")
            }
            Missing::EqualSize => f.write_str(
                "strong accesses order each other only where both touch exactly the same bytes; use one width",
            ),
        }
    }
}

/// An error in the order of memory accesses. `address` is within the space (an offset into the block's shared
/// memory, or a device address) and `bytes` counts the bytes from it that both touch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Hazard {
    /// Two accesses of which one writes, neither ordered before the other (PTX ISA 8.4, section 8.7.1).
    #[error("race on {bytes} bytes of {} memory at {address:#x}: {second} after {first}; {missing}", name(*.space))]
    Race {
        /// Shared or global.
        space: Space,
        /// First byte both touch.
        address: u64,
        /// Bytes both touch.
        bytes: u32,
        /// Who came first in this run.
        first: Party,
        /// Who came second.
        second: Party,
        /// What would have ordered them.
        missing: Missing,
    },
    /// The destination of a `cp.async` is touched before the copying thread waited for it.
    #[error(
        "{access} touches {bytes} bytes of shared memory at {address:#x} that {copy} is still writing: {}",
        if *.exited { "the copying thread exited without cp.async.wait_group" }
        else { "no cp.async.wait_group covers the copy (cp.async not awaited)" }
    )]
    CopyNotAwaited {
        /// First byte both touch.
        address: u64,
        /// Bytes both touch.
        bytes: u32,
        /// The copy.
        copy: Party,
        /// Who touched its destination.
        access: Party,
        /// Whether the copying thread is gone.
        exited: bool,
    },
    /// The source of a `cp.async` is overwritten before the copying thread waited for it.
    #[error(
        "{access} overwrites {bytes} bytes of global memory at {address:#x} that {copy} may still be reading: \
         no cp.async.wait_group covers the copy"
    )]
    CopySourceOverwritten {
        /// First byte both touch.
        address: u64,
        /// Bytes both touch.
        bytes: u32,
        /// The copy.
        copy: Party,
        /// Who wrote.
        access: Party,
    },
}

const fn name(space: Space) -> &'static str {
    match space {
        Space::Shared => "shared",
        _ => "global",
    }
}

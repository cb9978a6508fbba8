//! What can go wrong, and where: every fault about an instruction names the kernel, the PTX line with its text, the
//! CUDA line where the compiler recorded one, the block and the thread.

use crate::check::Hazard;
use std::fmt;

/// Where a fault happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Name of the PTX entry.
    pub kernel: String,
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// The instruction's text, on one line.
    pub text: String,
    /// `file:line` of the CUDA source.
    pub source: Option<String>,
    /// `%ctaid`.
    pub block: [u32; 3],
    /// `%tid`; `None` where the whole warp or block is meant.
    pub thread: Option<[u32; 3]>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, PTX line {} `{}`", self.kernel, self.line, self.text)?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        let [x, y, z] = self.block;
        write!(f, ", block ({x},{y},{z})")?;
        if let Some([x, y, z]) = self.thread {
            write!(f, ", thread ({x},{y},{z})")?;
        }
        Ok(())
    }
}

/// Where an address lies with respect to the allocation or variable nearest to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// Name given at the allocation, or of the variable.
    pub name: String,
    /// Address of its first byte.
    pub base: u64,
    /// Its size.
    pub bytes: u64,
    /// Whether it was freed.
    pub freed: bool,
}

impl Near {
    /// The address in words: `byte 96 of "x"`, `4 bytes after the end of "x" (128 bytes at 0x…)`.
    pub fn describe(&self, address: u64) -> String {
        let Near { name, base, bytes, freed } = self;
        let end = base.wrapping_add(*bytes);
        let freed = if *freed { "freed " } else { "" };
        if address < *base {
            format!("{} bytes before {freed}\"{name}\" ({bytes} bytes at {base:#x})", base - address)
        } else if address >= end {
            format!("{} bytes after the end of {freed}\"{name}\" ({bytes} bytes at {base:#x})", address - end)
        } else {
            format!("byte {} of {freed}\"{name}\" ({bytes} bytes at {base:#x})", address - base)
        }
    }
}

fn at(address: u64, near: Option<&Near>) -> String {
    near.map_or_else(|| String::from("no allocation is near"), |near| near.describe(address))
}

/// A thread or warp that waits, for reports of what can never complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The instruction it waits at; `thread` is the lowest of them.
    pub site: Site,
    /// The warp's index in its block.
    pub warp: u32,
    /// Its lanes.
    pub lanes: u32,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Waiting { site, warp, lanes } = self;
        write!(f, "warp {warp} lanes {lanes:#010x} at line {} `{}`", site.line, site.text)
    }
}

struct List<'a>(&'a [Waiting]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        for (index, waiting) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{waiting}", if index == 0 { "" } else { "; " })?;
        }
        if self.0.len() > SHOWN {
            write!(f, "; and {} more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}

/// Everything that the simulated GPU refuses or finds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A module holds something that is not simulated.
    #[error("{kernel}, PTX line {line} `{text}`: {why}")]
    Unsupported {
        /// The entry.
        kernel: String,
        /// Line of the PTX text.
        line: u32,
        /// The instruction or declaration.
        text: String,
        /// What is missing, and what to write instead.
        why: String,
    },
    /// A module needs a newer architecture than the simulated one.
    #[error(
        "the module is compiled for {target}, the simulated GPU is {simulated}: load the module of that architecture"
    )]
    Target {
        /// `.target` of the module.
        target: String,
        /// The simulated architecture.
        simulated: String,
    },
    /// No entry of that name.
    #[error("the module has no entry `{name}`; it has {have:?}")]
    NoKernel {
        /// What was asked for.
        name: String,
        /// Its entries.
        have: Vec<String>,
    },
    /// No module-level variable of that name.
    #[error("the module has no .global or .const variable `{name}`")]
    NoVariable {
        /// What was asked for.
        name: String,
    },
    /// An id that this GPU never gave.
    #[error("this {what} was loaded on another simulated GPU")]
    Foreign {
        /// `module` or `kernel`.
        what: &'static str,
    },
    /// A launch that the driver would refuse.
    #[error("{kernel}: launch refused: {why}")]
    Launch {
        /// The entry.
        kernel: String,
        /// What is wrong with it, with the limit.
        why: String,
    },
    /// An allocation that cannot be.
    #[error("allocation \"{name}\" of {bytes} bytes: {why}")]
    Allocation {
        /// Its name.
        name: String,
        /// Its size.
        bytes: u64,
        /// The reason.
        why: &'static str,
    },
    /// The host named memory that is not one live allocation.
    #[error("host {access} of {bytes} bytes at {address:#x}: {}", at(*address, near.as_ref()))]
    Host {
        /// `read`, `write`, `fill`, `poison` or `free`.
        access: &'static str,
        /// First byte.
        address: u64,
        /// Length.
        bytes: u64,
        /// The nearest allocation.
        near: Option<Near>,
    },
    /// The host read bytes that nothing wrote.
    #[error("host read of memory that nothing wrote: {}", near.describe(*address))]
    HostUninitialized {
        /// The first such byte.
        address: u64,
        /// Its allocation.
        near: Near,
    },
    /// An access outside every allocation of its space.
    #[error("{site}: {access} of {bytes} bytes at {space} address {address:#x} is out of bounds: {}", at(*address, near.as_ref()))]
    OutOfBounds {
        /// Who.
        site: Site,
        /// `load`, `store`, `atomic`, `asynchronous copy`.
        access: &'static str,
        /// `global`, `shared`, `local`, `param`, `const`.
        space: &'static str,
        /// Address within the space.
        address: u64,
        /// Bytes accessed.
        bytes: u32,
        /// The nearest allocation.
        near: Option<Near>,
    },
    /// An access to a freed allocation.
    #[error("{site}: {access} of {bytes} bytes at {address:#x} after free: {}", near.describe(*address))]
    UseAfterFree {
        /// Who.
        site: Site,
        /// `load`, `store`, `atomic`, `asynchronous copy`.
        access: &'static str,
        /// Address.
        address: u64,
        /// Bytes accessed.
        bytes: u32,
        /// The freed allocation.
        near: Near,
    },
    /// An address that is not a multiple of the access's size.
    #[error("{site}: misaligned {access}: {space} address {address:#x} is not a multiple of {bytes} bytes: {}", at(*address, near.as_ref()))]
    Misaligned {
        /// Who.
        site: Site,
        /// `load`, `store`, `atomic`, `asynchronous copy`.
        access: &'static str,
        /// The space.
        space: &'static str,
        /// Address within the space.
        address: u64,
        /// Bytes accessed: all elements of a vector.
        bytes: u32,
        /// Its allocation.
        near: Option<Near>,
    },
    /// A read of bytes that nothing wrote.
    #[error("{site}: {access} of {space} memory that nothing wrote, at {address:#x}: {}", at(*address, near.as_ref()))]
    Uninitialized {
        /// Who.
        site: Site,
        /// `load`, `atomic`, `asynchronous copy`.
        access: &'static str,
        /// The space.
        space: &'static str,
        /// Address of the access.
        address: u64,
        /// Its allocation.
        near: Option<Near>,
    },
    /// A store to parameters or constants.
    #[error("{site}: {access} to {space} memory, which kernels cannot write")]
    ReadOnly {
        /// Who.
        site: Site,
        /// `store`, `atomic`.
        access: &'static str,
        /// `param` or `const`.
        space: &'static str,
    },
    /// A generic address of one space used with an instruction of another, or `cvta.to` of a foreign address.
    #[error("{site}: generic address {address:#x} is {found}, not {wanted}")]
    WrongSpace {
        /// Who.
        site: Site,
        /// The generic address.
        address: u64,
        /// The space whose window holds it.
        found: &'static str,
        /// The space of the instruction.
        wanted: &'static str,
    },
    /// Lanes that a `.sync` or `.aligned` instruction needs can never arrive.
    #[error(
        "{site}: divergent: lanes {lanes:#010x} wait here for lanes {missing:#010x}, which cannot arrive: {}",
        List(others)
    )]
    Divergent {
        /// The instruction that waits; `thread` is the lowest that does.
        site: Site,
        /// Lanes that arrived.
        lanes: u32,
        /// Lanes that are needed and elsewhere.
        missing: u32,
        /// Where those wait.
        others: Vec<Waiting>,
    },
    /// A branch marked `.uni` whose lanes disagree.
    #[error("{site}: the branch is .uni, but of lanes {lanes:#010x} only {taken:#010x} take it")]
    NotUniform {
        /// Who.
        site: Site,
        /// Lanes at the branch.
        lanes: u32,
        /// Lanes that take it.
        taken: u32,
    },
    /// A lane executes a `.sync` instruction whose mask does not name it.
    #[error("{site}: the member mask {mask:#010x} does not name the executing lane {lane}")]
    NotMember {
        /// Who.
        site: Site,
        /// Its lane.
        lane: u32,
        /// The mask.
        mask: u32,
    },
    /// A shuffle reads a lane that does not take part.
    #[error("{site}: lane {lane} reads lane {from}, which does not take part (lanes {lanes:#010x} do)")]
    ShuffleSource {
        /// Who.
        site: Site,
        /// The reading lane.
        lane: u32,
        /// The lane read.
        from: u32,
        /// Lanes taking part.
        lanes: u32,
    },
    /// An operand of a warp-wide or asynchronous instruction is out of its range.
    #[error("{site}: {why}")]
    Operand {
        /// Who.
        site: Site,
        /// What it must be.
        why: String,
    },
    /// A barrier was used in a way that PTX leaves undefined.
    #[error("{site}: barrier {barrier}: {why}")]
    BarrierMisuse {
        /// Who.
        site: Site,
        /// The barrier's number.
        barrier: u32,
        /// What is wrong.
        why: String,
    },
    /// Every thread of a block waits.
    #[error("{kernel}, block ({},{},{}): barrier that cannot complete: barrier {barrier} has {arrived} of {expected} threads, {exited} threads have exited; waiting: {}",
        block[0], block[1], block[2], List(waiting))]
    BarrierStuck {
        /// The entry.
        kernel: String,
        /// `%ctaid`.
        block: [u32; 3],
        /// The barrier's number.
        barrier: u32,
        /// Threads counted as arrived.
        arrived: u32,
        /// Threads it waits for.
        expected: u32,
        /// Threads of the block that exited.
        exited: u32,
        /// Who waits where.
        waiting: Vec<Waiting>,
    },
    /// Two accesses that nothing orders, or an asynchronous copy that is not awaited.
    #[error("{kernel}: {hazard}: {}; first: {first}; second: {second}", at(*address, near.as_ref()))]
    Race {
        /// The entry.
        kernel: String,
        /// What it is, with both parties.
        hazard: Box<Hazard>,
        /// First byte both touch.
        address: u64,
        /// The allocation or variable there.
        near: Option<Near>,
        /// The access that came first in this run, or the copy.
        first: Box<Site>,
        /// The other.
        second: Box<Site>,
    },
    /// `trap`.
    #[error("{site}: trap")]
    Trap {
        /// Who.
        site: Site,
    },
    /// A block executed more instructions than the configuration allows.
    #[error(
        "{site}: still running after {limit} warp instructions of its block: an endless loop, or raise `instruction_limit`"
    )]
    InstructionLimit {
        /// Where one of its warps is.
        site: Site,
        /// The limit.
        limit: u64,
    },
    /// Blocks ran into the instruction limit while others could not start.
    #[error(
        "{site}: still running after {limit} warp instructions with {resident} of {blocks} blocks resident and {waiting} not started: \
        a kernel that waits for other blocks needs a cooperative launch"
    )]
    NotResident {
        /// Where one of the running warps is.
        site: Site,
        /// The limit.
        limit: u64,
        /// Blocks that run at once.
        resident: u32,
        /// Blocks of the grid.
        blocks: u64,
        /// Blocks not yet started.
        waiting: u64,
    },
    /// A host thread panicked.
    #[error("{kernel}: a host thread of the simulated GPU died; this is a bug of the simulator")]
    WorkerLost {
        /// The entry.
        kernel: String,
    },
}

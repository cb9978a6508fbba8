//! One launch as every block sees it.

use super::config::Config;
use super::fault::{Fault, Near, Site, Waiting};
use super::lower::text_of;
use super::memory::LOCAL_RESERVED;
use super::memory::bank::Private;
use super::memory::global::Global;
use super::program::Program;
use crate::check::{Hazard, Party};
use crate::{Module, Space, Special};

/// What the blocks of a launch share.
pub(super) struct Launch<'a> {
    pub config: &'a Config,
    pub module: &'a Module,
    pub program: &'a Program,
    pub memory: &'a Global,
    pub params: Private,
    pub constants: &'a Private,
    pub constant_bytes: u32,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub dynamic_bytes: u32,
    /// End of the block's shared memory, reserved and static bytes included.
    pub shared_end: u32,
    /// Whether the host runs the faster build of the arithmetic.
    pub fast: bool,
}

impl Launch<'_> {
    /// Blocks of the grid.
    pub(super) fn blocks(&self) -> u64 {
        self.grid.iter().map(|&n| u64::from(n)).product()
    }

    /// Bytes between the local memory of two threads.
    pub(super) fn local_stride(&self) -> u32 {
        self.program.local_bytes.next_multiple_of(32)
    }

    /// `%ctaid` of a linear index.
    pub(super) fn coordinates(&self, linear: u64) -> [u32; 3] {
        split(linear, self.grid)
    }

    /// `%tid` of a linear index.
    pub(super) fn thread(&self, linear: u32) -> [u32; 3] {
        split(u64::from(linear), self.block)
    }

    /// Where an instruction stands.
    pub(super) fn site(&self, pc: u32, block: [u32; 3], thread: Option<u32>) -> Site {
        let (span, source) = self.program.places.get(pc as usize).copied().unwrap_or_default();
        let source = source.filter(|source| source.line > 0).map(|source| {
            let file = self.module.files.get(source.file as usize).map_or("", String::as_str);
            let name = file.rsplit('/').next().unwrap_or(file);
            if name.is_empty() {
                format!("CUDA line {}", source.line)
            } else {
                format!("{name}:{}", source.line)
            }
        });
        let text = if pc as usize + 1 == self.program.lines.len() {
            String::from("end of the kernel")
        } else {
            text_of(self.module, span)
        };
        Site {
            kernel: self.program.name.clone(),
            line: span.line,
            text,
            source,
            block,
            thread: thread.map(|thread| self.thread(thread)),
        }
    }

    /// A group of lanes that waits.
    pub(super) fn waiting(&self, pc: u32, block: [u32; 3], warp: u32, lanes: u32) -> Waiting {
        Waiting { site: self.site(pc, block, Some(warp * 32 + lanes.trailing_zeros())), warp, lanes }
    }

    /// A hazard with both its places.
    pub(super) fn hazard(&self, hazard: Hazard) -> Fault {
        let (space, address, first, second) = match hazard {
            Hazard::Race { space, address, first, second, .. } => (space, address, first, second),
            Hazard::CopyNotAwaited { address, copy, access, .. } => (Space::Shared, address, copy, access),
            Hazard::CopySourceOverwritten { address, copy, access, .. } => {
                (Space::Global, address, copy, access)
            }
        };
        let site = |party: Party| {
            Box::new(self.site(party.instruction, self.coordinates(party.block.into()), Some(party.thread)))
        };
        Fault::Race {
            kernel: self.program.name.clone(),
            address,
            near: self.near(space, address),
            first: site(first),
            second: site(second),
            hazard: Box::new(hazard),
        }
    }

    /// The allocation or variable nearest to an address of a space.
    pub(super) fn near(&self, space: Space, address: u64) -> Option<Near> {
        let near =
            |name: &str, base: u64, bytes: u64| Near { name: String::from(name), base, bytes, freed: false };
        match space {
            Space::Global | Space::Generic => self.memory.near(address),
            Space::Shared => {
                let size =
                    |start: u32, bytes: Option<u32>| bytes.unwrap_or(self.shared_end.saturating_sub(start));
                let distance = |start: u64, bytes: u64| {
                    if address < start {
                        start - address
                    } else {
                        (address + 1).saturating_sub(start + bytes)
                    }
                };
                let variables = self.program.shared_variables.iter();
                variables
                    .map(|(name, start, bytes)| near(name, (*start).into(), size(*start, *bytes).into()))
                    .min_by_key(|near| distance(near.base, near.bytes))
            }
            Space::Local => {
                let bytes = self.program.local_bytes - LOCAL_RESERVED;
                Some(near("the thread's local memory", LOCAL_RESERVED.into(), bytes.into()))
            }
            Space::Param => Some(near("the kernel's parameters", 0, self.program.param_bytes.into())),
            Space::Const => Some(near("the module's constants", 0, self.constant_bytes.into())),
        }
    }

    /// Value of a special register that a thread keeps all its life.
    pub(super) fn special(&self, special: Special, block: [u32; 3], linear_block: u64, thread: u32) -> u32 {
        let lane = thread % 32;
        let axis = |values: [u32; 3], axis: u8| values.get(usize::from(axis)).copied().unwrap_or(0);
        match special {
            Special::Tid(a) => axis(self.thread(thread), a),
            Special::Ntid(a) => axis(self.block, a),
            Special::Ctaid(a) | Special::Clusterid(a) => axis(block, a),
            Special::Nctaid(a) | Special::Nclusterid(a) => axis(self.grid, a),
            Special::Laneid => lane,
            Special::Warpid => thread / 32,
            Special::Nwarpid => self.threads.div_ceil(32),
            Special::Smid => (linear_block % u64::from(self.config.multiprocessors())) as u32,
            Special::Nsmid => self.config.multiprocessors(),
            Special::LanemaskEq => 1 << lane,
            Special::LanemaskLt => (1 << lane) - 1,
            Special::LanemaskLe => !0 >> (31 - lane),
            Special::LanemaskGt => !(!0 >> (31 - lane)),
            Special::LanemaskGe => !((1 << lane) - 1),
            Special::DynamicSmemSize => self.dynamic_bytes,
            Special::TotalSmemSize => self.shared_end,
            // Without clusters a block is a cluster of its own.
            Special::ClusterNctarank | Special::ClusterNctaid(_) => 1,
            Special::Gridid | Special::ClusterCtarank | Special::ClusterCtaid(_) => 0,
            // Read by their own instruction.
            Special::Clock | Special::Clock64 | Special::Globaltimer => 0,
        }
    }
}

fn split(linear: u64, dimensions: [u32; 3]) -> [u32; 3] {
    let [x, y, _] = dimensions.map(u64::from);
    [(linear % x) as u32, (linear / x % y) as u32, (linear / x / y) as u32]
}

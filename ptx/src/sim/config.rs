//! How a simulated GPU is made, and what a launch asks of it.

use crate::numerics::Architecture;

/// Settings of a simulated GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whose limits and tensor cores.
    pub architecture: Architecture,
    /// Chooses among the orders of blocks and warps that PTX leaves open. Results and reports depend on it and on
    /// nothing else.
    pub seed: u64,
    /// Host threads; blocks that communicate run on one.
    pub threads: usize,
    /// Blocks that run at once, where they communicate; `None` is the most that the host finds useful. A cooperative
    /// launch has all its blocks resident.
    pub resident_blocks: Option<u32>,
    /// Warp instructions that one block may execute in a launch; more is an endless loop.
    pub instruction_limit: u64,
    /// Whether races and unawaited copies are looked for. Bounds, alignment, unwritten memory, divergence and barriers
    /// always are.
    pub checks: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            architecture: Architecture::Ampere,
            seed: 0,
            threads: 1,
            resident_blocks: None,
            instruction_limit: 1 << 32,
            checks: true,
        }
    }
}

impl Config {
    /// Number of multiprocessors: A100, H100 SXM.
    pub(super) fn multiprocessors(&self) -> u32 {
        match self.architecture {
            Architecture::Ampere => 108,
            Architecture::Hopper => 132,
        }
    }

    /// The number in `sm_80`.
    pub(super) fn target(&self) -> u32 {
        match self.architecture {
            Architecture::Ampere => 80,
            Architecture::Hopper => 90,
        }
    }
}

/// A launch's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks by axis.
    pub grid: [u32; 3],
    /// Threads of a block by axis.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// Whether all blocks are resident at once.
    pub cooperative: bool,
}

//! Occupancy: how many blocks of a kernel fit on one multiprocessor, and what stops a further one.
//!
//! Limits are those of NVIDIA's CUDA C++ Programming Guide (technical specifications by compute capability) and
//! the rules of allocation of its occupancy calculator: registers by warp in units of 256, each of four
//! sub-partitions by itself; shared memory in units of 128 bytes, with 1 KiB a block for the system.

use crate::numerics::Architecture;

/// What a multiprocessor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Resident warps.
    pub warps: u32,
    /// Resident blocks.
    pub blocks: u32,
    /// 32-bit registers, of which one block may have all.
    pub registers: u32,
    /// Registers of a thread.
    pub thread_registers: u32,
    /// Bytes of shared memory.
    pub shared_bytes: u32,
    /// Bytes of shared memory that one block may ask for.
    pub block_shared_bytes: u32,
    /// Threads of a block.
    pub block_threads: u32,
}

impl Limits {
    /// Of sm_80 and sm_90.
    pub const fn of(architecture: Architecture) -> Self {
        let shared_kib = match architecture {
            Architecture::Ampere => 164,
            Architecture::Hopper => 228,
        };
        Self {
            warps: 64,
            blocks: 32,
            registers: 65_536,
            thread_registers: 255,
            shared_bytes: shared_kib * 1024,
            block_shared_bytes: (shared_kib - 1) * 1024,
            block_threads: 1024,
        }
    }
}

/// What stops a further block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Limiter {
    Registers,
    SharedMemory,
    Warps,
    Blocks,
}

/// Blocks on one multiprocessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Resident blocks; 0: the kernel cannot be launched.
    pub blocks: u32,
    /// Their warps.
    pub warps: u32,
    /// Warps there could be.
    pub max_warps: u32,
    /// The first of the limits that `blocks` meets, in the order of [`Limiter`].
    pub limiter: Limiter,
}

impl Occupancy {
    /// Resident warps by possible ones.
    pub fn fraction(&self) -> f64 {
        f64::from(self.warps) / f64::from(self.max_warps)
    }
}

const SUB_PARTITIONS: u32 = 4;
const REGISTER_UNIT: u32 = 256;
const SHARED_UNIT: u32 = 128;
const SYSTEM_SHARED_BYTES: u32 = 1024;

/// Occupancy of blocks of `threads` threads with `registers` registers each and `shared_bytes` of shared memory,
/// static and dynamic together. No threads are no blocks.
pub fn occupancy(limits: &Limits, threads: u32, registers: u32, shared_bytes: u32) -> Occupancy {
    let warps = threads.div_ceil(32);
    let fits = warps > 0 && threads <= limits.block_threads;

    let by_registers = if !fits || registers > limits.thread_registers {
        0
    } else {
        let warp = (registers.max(1) * 32).next_multiple_of(REGISTER_UNIT);
        // A launch is checked as if a block's warps were spread evenly over the sub-partitions.
        let evenly = warp * warps.next_multiple_of(SUB_PARTITIONS) <= limits.registers;
        if evenly { limits.registers / SUB_PARTITIONS / warp * SUB_PARTITIONS / warps } else { 0 }
    };
    let by_shared = if shared_bytes > limits.block_shared_bytes {
        0
    } else {
        limits.shared_bytes / (shared_bytes + SYSTEM_SHARED_BYTES).next_multiple_of(SHARED_UNIT)
    };
    let by_warps = if fits { limits.warps / warps } else { 0 };
    let candidates = [
        (by_registers, Limiter::Registers),
        (by_shared, Limiter::SharedMemory),
        (by_warps, Limiter::Warps),
        (limits.blocks, Limiter::Blocks),
    ];
    let (mut blocks, mut limiter) = candidates[0];
    for (candidate, by) in candidates {
        if candidate < blocks {
            (blocks, limiter) = (candidate, by);
        }
    }
    Occupancy { blocks, warps: blocks * warps, max_warps: limits.warps, limiter }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(architecture: Architecture, threads: u32, registers: u32, shared: u32) -> (u32, Limiter) {
        let occupancy = occupancy(&Limits::of(architecture), threads, registers, shared);
        (occupancy.blocks, occupancy.limiter)
    }

    const A100: Architecture = Architecture::Ampere;
    const H100: Architecture = Architecture::Hopper;

    #[test]
    fn registers_limit_by_warps_of_a_sub_partition() {
        // 32 registers: 1,024 a warp, 16 warps a sub-partition: 64 warps, as many as there may be.
        assert_eq!(on(A100, 256, 32, 0), (8, Limiter::Registers));
        // 64 registers: 2,048 a warp, 8 a sub-partition, 32 in all: four blocks of eight warps.
        assert_eq!(on(A100, 256, 64, 0), (4, Limiter::Registers));
        // 33 are allocated as 40 (units of 256 a warp): 1,280 a warp, 12 a sub-partition, 48 warps.
        assert_eq!(on(A100, 256, 33, 0), (6, Limiter::Registers));
        // 128: four a sub-partition, 16 warps: two blocks of eight.
        assert_eq!(on(A100, 256, 128, 0), (2, Limiter::Registers));
        // 255 become 256: 8,192 a warp, two a sub-partition: one block of eight, none of twelve.
        assert_eq!(on(A100, 256, 255, 0), (1, Limiter::Registers));
        assert_eq!(on(A100, 384, 255, 0), (0, Limiter::Registers));
        assert_eq!(on(A100, 32, 256, 0), (0, Limiter::Registers));
        // 1,024 threads may have 64 registers each, not 65.
        assert_eq!(on(A100, 1024, 64, 0).0, 1);
        assert_eq!(on(A100, 1024, 65, 0).0, 0);
        // Five warps of 192 registers: 6,144 a warp, two a sub-partition, eight in all.
        assert_eq!(on(A100, 160, 192, 0), (1, Limiter::Registers));
    }

    #[test]
    fn shared_memory_counts_a_kibibyte_for_the_system() {
        // 48 KiB + 1 of 164: three; of 228: four.
        assert_eq!(on(A100, 128, 32, 48 * 1024), (3, Limiter::SharedMemory));
        assert_eq!(on(H100, 128, 32, 48 * 1024), (4, Limiter::SharedMemory));
        // All there is, and a byte more.
        assert_eq!(on(A100, 128, 32, 163 * 1024), (1, Limiter::SharedMemory));
        assert_eq!(on(A100, 128, 32, 163 * 1024 + 1), (0, Limiter::SharedMemory));
        assert_eq!(on(H100, 128, 32, 227 * 1024), (1, Limiter::SharedMemory));
        // 81 KiB + 1 = 82: two of 164 fit exactly; with one byte more the next unit of 128 is taken.
        assert_eq!(on(A100, 128, 32, 81 * 1024), (2, Limiter::SharedMemory));
        assert_eq!(on(A100, 128, 32, 81 * 1024 + 1), (1, Limiter::SharedMemory));
    }

    #[test]
    fn small_blocks_meet_the_number_of_blocks_and_large_ones_that_of_warps() {
        assert_eq!(on(A100, 32, 16, 0), (32, Limiter::Blocks));
        assert_eq!(on(A100, 1024, 16, 0), (2, Limiter::Warps));
        assert_eq!(on(A100, 768, 16, 0), (2, Limiter::Warps));
        assert_eq!(on(A100, 1025, 16, 0).0, 0);
        assert_eq!(on(A100, 0, 16, 0).0, 0);
    }

    #[test]
    fn the_fraction_is_of_warps() {
        let occupancy = occupancy(&Limits::of(A100), 768, 16, 0);
        assert_eq!((occupancy.warps, occupancy.fraction()), (48, 0.75));
    }
}

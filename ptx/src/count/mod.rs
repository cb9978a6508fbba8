//! Counts: what would a GPU have to do for the accesses and instructions that were executed?
//!
//! Everything here is exact for the PTX executed and free of guesses about time: instructions by class, sectors,
//! wavefronts, bytes. What the assembler makes of the PTX (moves removed, addresses folded, spills) is not seen.
//! Read `traffic.rs` for the model of global memory, `banks.rs` for that of shared memory.

mod banks;
mod class;
mod occupancy;
mod traffic;

pub use banks::wavefronts;
pub use class::Class;
pub use occupancy::{Limiter, Limits, Occupancy, occupancy};
pub use traffic::{Traffic, sectors};

use std::fmt;

/// Totals of a launch; `+=` adds those of another thread of the host. All are sums, so that the order of adding
/// does not matter; the unique bytes are set once, from the footprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Warp instructions by `Class as usize`.
    pub warp_instructions: [u64; Class::COUNT],
    /// Thread instructions by `Class as usize`: lanes for which the guard was true.
    pub thread_instructions: [u64; Class::COUNT],
    /// Multiplications and additions of tensor cores.
    pub mma_flops: u64,
    /// Global reads: loads, the reading side of `cp.async`.
    pub global_reads: Traffic,
    /// Global stores and atomics.
    pub global_writes: Traffic,
    /// Distinct bytes of global memory that the launch read.
    pub unique_bytes_read: u64,
    /// Distinct bytes of global memory that the launch wrote.
    pub unique_bytes_written: u64,
    /// Shared-memory requests of warps.
    pub shared_requests: u64,
    /// Wavefronts these take.
    pub shared_wavefronts: u64,
    /// Wavefronts they would take without bank conflicts.
    pub shared_ideal_wavefronts: u64,
    /// Block barriers completed.
    pub barriers: u64,
}

impl Counters {
    /// One warp instruction, executed by the lanes of `mask` (guard applied). A warp whose guard is false
    /// everywhere still issues it.
    #[inline]
    pub fn instruction(&mut self, class: Class, mask: u32) {
        self.warp_instructions[class as usize] += 1;
        self.thread_instructions[class as usize] += u64::from(mask.count_ones());
    }

    /// A global access of `bytes` (1, 2, 4, 8 or 16) a lane: loads, stores, atomics, and the reading side of
    /// `cp.async`.
    #[inline]
    pub fn global(&mut self, mask: u32, addresses: &[u64; 32], bytes: u32, writes: bool) {
        let traffic = if writes { &mut self.global_writes } else { &mut self.global_reads };
        traffic.add(mask, addresses, bytes);
    }

    /// A shared access of `bytes` a lane. For `ldmatrix` and `stmatrix` 16 bytes and the lanes whose addresses
    /// count (8, 16 or 32 of them); for `cp.async` its writes.
    #[inline]
    pub fn shared(&mut self, mask: u32, addresses: &[u32; 32], bytes: u32) {
        if mask == 0 {
            return;
        }
        let (wavefronts, ideal) = wavefronts(mask, addresses, bytes);
        self.shared_requests += 1;
        self.shared_wavefronts += u64::from(wavefronts);
        self.shared_ideal_wavefronts += u64::from(ideal);
    }

    /// An `mma` of m × n × k by one warp.
    #[inline]
    pub fn mma(&mut self, [m, n, k]: [u32; 3]) {
        self.mma_flops += 2 * u64::from(m) * u64::from(n) * u64::from(k);
    }

    /// A `bar` completed.
    #[inline]
    pub fn barrier(&mut self) {
        self.barriers += 1;
    }

    /// Wavefronts beyond the ideal number.
    pub fn bank_conflicts(&self) -> u64 {
        self.shared_wavefronts - self.shared_ideal_wavefronts
    }

    /// Warp instructions of all classes.
    pub fn warp_total(&self) -> u64 {
        self.warp_instructions.iter().sum()
    }

    /// Thread instructions of all classes.
    pub fn thread_total(&self) -> u64 {
        self.thread_instructions.iter().sum()
    }
}

impl std::ops::AddAssign<&Counters> for Counters {
    fn add_assign(&mut self, other: &Counters) {
        for (mine, theirs) in self.warp_instructions.iter_mut().zip(other.warp_instructions) {
            *mine += theirs;
        }
        for (mine, theirs) in self.thread_instructions.iter_mut().zip(other.thread_instructions) {
            *mine += theirs;
        }
        self.mma_flops += other.mma_flops;
        self.global_reads += &other.global_reads;
        self.global_writes += &other.global_writes;
        self.unique_bytes_read += other.unique_bytes_read;
        self.unique_bytes_written += other.unique_bytes_written;
        self.shared_requests += other.shared_requests;
        self.shared_wavefronts += other.shared_wavefronts;
        self.shared_ideal_wavefronts += other.shared_ideal_wavefronts;
        self.barriers += other.barriers;
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14} {:>14} {:>16}", "instructions", "warp", "thread")?;
        for class in Class::ALL {
            let (warp, thread) =
                (self.warp_instructions[class as usize], self.thread_instructions[class as usize]);
            if warp > 0 {
                writeln!(f, "  {:<12} {warp:>14} {thread:>16}", class.name())?;
            }
        }
        writeln!(f, "  {:<12} {:>14} {:>16}", "all", self.warp_total(), self.thread_total())?;
        for (name, traffic, unique) in [
            ("global reads", &self.global_reads, self.unique_bytes_read),
            ("global writes", &self.global_writes, self.unique_bytes_written),
        ] {
            let Traffic { requests, sectors, .. } = traffic;
            let (useful, wide) = (100.0 * traffic.efficiency(), 100.0 * traffic.wide_share());
            writeln!(
                f,
                "{name:<14} {requests} requests, {sectors} sectors ({useful:.1} % useful), {wide:.1} % of lanes \
                 take 16 bytes, {unique} unique bytes"
            )?;
        }
        writeln!(
            f,
            "{:<14} {} requests, {} wavefronts ({} bank conflicts)",
            "shared",
            self.shared_requests,
            self.shared_wavefronts,
            self.bank_conflicts()
        )?;
        write!(f, "{:<14} {} flops; {} barriers", "tensor", self.mma_flops, self.barriers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_counters_equals_counting_in_one() {
        let linear: [u64; 32] = std::array::from_fn(|lane| 0x1000 + lane as u64 * 16);
        let column: [u32; 32] = std::array::from_fn(|lane| lane as u32 * 128);
        let (mut whole, mut parts) = (Counters::default(), [Counters::default(), Counters::default()]);
        for (turn, part) in parts.iter_mut().enumerate() {
            for counters in [&mut whole, part] {
                counters.instruction(Class::Tensor, u32::MAX >> turn);
                counters.mma([16, 8, 16]);
                counters.global(u32::MAX, &linear, 16, turn == 1);
                counters.shared(u32::MAX, &column, 4);
                counters.barrier();
            }
        }
        let [mut sum, second] = parts;
        sum += &second;
        assert_eq!(sum, whole);
        assert_eq!(whole.mma_flops, 2 * 2 * 16 * 8 * 16);
        assert_eq!(whole.thread_instructions[Class::Tensor as usize], 63);
        assert_eq!(whole.bank_conflicts(), 2 * 31);
        assert_eq!((whole.global_reads.sectors, whole.global_writes.sectors), (16, 16));
    }

    #[test]
    fn classes_are_indexed_in_order_and_named_apart() {
        for (index, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
            assert!(Class::ALL[..index].iter().all(|other| other.name() != class.name()));
        }
    }

    #[test]
    fn the_table_shows_what_happened_and_leaves_out_empty_classes() {
        let mut counters = Counters::default();
        counters.instruction(Class::Fp32, 0xff);
        let table = counters.to_string();
        assert!(table.contains("fp32") && !table.contains("fp64"), "{table}");
    }
}

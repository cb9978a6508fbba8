//! From what a launch asks for to how long it takes: a pure function.

use super::Chip;

/// What a whole launch asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Blocks of the grid.
    pub blocks: f64,
    /// Blocks that a multiprocessor holds at once (registers and shared memory as ptxas gives them).
    pub resident: f64,
    /// The heaviest block's instructions over those of a mean one.
    pub heaviest: f64,
    /// Operations of tensor cores.
    pub mma_flops: f64,
    /// Warp instructions of PTX but moves and parameter loads, which the assembler removes.
    pub issued: f64,
    /// Warp instructions of the special function units.
    pub special: f64,
    /// Warp instructions of integer arithmetic.
    pub integer: f64,
    /// Wavefronts of shared memory.
    pub wavefronts: f64,
    /// Bytes of the sectors asked of L2, reads and writes.
    pub l2_bytes: f64,
    /// Bytes that come from and go to memory when each is moved once.
    pub dram_bytes: f64,
    /// Times that a warp waits for global memory, one after the other, in a mean block.
    pub round_trips: f64,
    /// Instructions of a warp, one after the other, in a mean block.
    pub instructions_a_warp: f64,
    /// The same two of the block that takes longest for both.
    pub longest: [f64; 2],
}

impl Work {
    /// Clocks that a warp takes that waits so often and has so many instructions, one a clock.
    fn chain([round_trips, instructions]: [f64; 2], chip: &Chip) -> f64 {
        round_trips * chip.latency + instructions
    }
}

/// What holds a launch up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limiter {
    /// Tensor cores.
    Tensor,
    /// Issue slots of the schedulers.
    Issue,
    /// Special function units.
    Special,
    /// Integer units.
    Integer,
    /// Shared memory.
    Shared,
    /// L2.
    L2,
    /// Device memory.
    Dram,
    /// Waiting: too little is under way at once.
    Latency,
    /// Nothing: the boundary between kernels takes longer.
    Boundary,
}

impl Limiter {
    /// In the order of [`Time::parts`], and the boundary.
    pub const ALL: [Limiter; 9] = [
        Limiter::Tensor,
        Limiter::Issue,
        Limiter::Special,
        Limiter::Integer,
        Limiter::Shared,
        Limiter::L2,
        Limiter::Dram,
        Limiter::Latency,
        Limiter::Boundary,
    ];

    /// Name for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Limiter::Tensor => "tensor cores",
            Limiter::Issue => "issue slots",
            Limiter::Special => "special functions",
            Limiter::Integer => "integer units",
            Limiter::Shared => "shared memory",
            Limiter::L2 => "L2",
            Limiter::Dram => "memory",
            Limiter::Latency => "latency",
            Limiter::Boundary => "boundary",
        }
    }
}

/// How long a launch takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time {
    /// Seconds, the boundary included.
    pub seconds: f64,
    /// What takes the most of them.
    pub limiter: Limiter,
    /// Seconds that each would take alone, in the order of [`Limiter::ALL`] without the boundary.
    pub parts: [f64; 8],
}

/// Blocks differ if the heaviest has so much more to do than a mean one.
const UNEVEN: f64 = 1.05;

/// The time of a launch: the longest of what each unit takes alone, and the boundary.
///
/// Units of a multiprocessor finish when the fullest multiprocessor does: equal blocks are dealt out evenly, so that it
/// has ⌈blocks / multiprocessors⌉ of them; unequal ones are taken as perfectly balanced down to the heaviest. L2 gives
/// what it has, and no more than the multiprocessors with a block can take. Latency: waves of resident blocks follow
/// each other, and in each a warp waits for its round trips and issues its instructions one a clock; one of the blocks is the
/// longest.
pub fn time(work: &Work, chip: &Chip) -> Time {
    let multiprocessors = f64::from(chip.multiprocessors);
    let mean_load = work.blocks / multiprocessors;
    let fullest = if work.heaviest > UNEVEN { mean_load.max(work.heaviest) } else { mean_load.ceil() };
    // Part of the whole work that the fullest multiprocessor does.
    let part = if work.blocks > 0.0 { fullest / work.blocks } else { 0.0 };
    let clocks = |amount: f64, rate: f64| amount * part / rate / chip.clock;
    let busy = work.blocks.min(multiprocessors);
    let l2 = chip.l2_bytes.min(Chip::SM_L2_BYTES * busy).max(1.0) * chip.clock;
    let waves = (mean_load / work.resident.max(1.0)).ceil();
    let parts = [
        clocks(work.mma_flops, chip.mma_flops),
        clocks(work.issued, Chip::ISSUE),
        clocks(work.special, Chip::SPECIAL),
        clocks(work.integer, Chip::INTEGER),
        clocks(work.wavefronts, Chip::WAVEFRONTS),
        work.l2_bytes / l2,
        work.dram_bytes / chip.dram_bytes,
        ((waves - 1.0).max(0.0) * Work::chain([work.round_trips, work.instructions_a_warp], chip)
            + Work::chain(work.longest, chip))
            / chip.clock,
    ];
    let (mut longest, mut limiter) = (chip.boundary, Limiter::Boundary);
    for (&seconds, &candidate) in parts.iter().zip(&Limiter::ALL) {
        if seconds > longest {
            (longest, limiter) = (seconds, candidate);
        }
    }
    let most = parts.iter().copied().fold(0.0, f64::max);
    Time { seconds: chip.boundary + most, limiter, parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Work = Work {
        blocks: 132.0,
        resident: 1.0,
        heaviest: 1.0,
        mma_flops: 0.0,
        issued: 0.0,
        special: 0.0,
        integer: 0.0,
        wavefronts: 0.0,
        l2_bytes: 0.0,
        dram_bytes: 0.0,
        round_trips: 0.0,
        instructions_a_warp: 0.0,
        longest: [0.0; 2],
    };

    fn h200() -> &'static Chip {
        Chip::named("h200").unwrap()
    }

    fn near(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 1e-9
    }

    #[test]
    fn a_product_that_fills_the_chip_takes_flops_over_rate() {
        // 8192³ in 2,048 blocks: 15.5 a multiprocessor, so that the fullest has 16.
        let flops = 2.0 * 8192f64.powi(3);
        let work = Work { blocks: 2048.0, mma_flops: flops, ..NOTHING };
        let time = time(&work, h200());
        let block = flops / 2048.0 / (0.629 * 4096.0 * 1.83e9);
        assert!(near(time.parts[0], 16.0 * block), "{time:?}");
        assert!(near(time.seconds, 16.0 * block + 1.3e-6));
        assert_eq!(time.limiter, Limiter::Tensor);
    }

    #[test]
    fn one_block_more_than_multiprocessors_doubles_what_units_take_and_not_what_memory_does() {
        let of = |blocks: f64| {
            let work = Work { blocks, mma_flops: blocks * 1e9, dram_bytes: blocks * 1e6, ..NOTHING };
            time(&work, h200()).parts
        };
        let (full, over) = (of(132.0), of(133.0));
        assert!(near(over[0], 2.0 * full[0]));
        assert!(near(over[6], full[6] * 133.0 / 132.0));
    }

    #[test]
    fn uneven_blocks_are_balanced_down_to_the_heaviest() {
        let of = |blocks: f64| {
            let work = Work { blocks, heaviest: 2.0, issued: blocks * 4000.0, ..NOTHING };
            time(&work, h200()).parts[1] * 1.83e9
        };
        // A thousand clocks a mean block, two thousand the heaviest.
        assert!(near(of(132.0), 2000.0));
        assert!(near(of(132.0 * 2.5), 2500.0));
    }

    #[test]
    fn units_have_their_rates() {
        let work = Work { issued: 132e6, special: 132e6, integer: 132e6, wavefronts: 132e6, ..NOTHING };
        let clocks = time(&work, h200()).parts.map(|seconds| seconds * 1.83e9);
        for (clocks, millions) in clocks[1..5].iter().zip([0.25, 2.0, 0.5, 1.0]) {
            assert!(near(*clocks, 1e6 * millions), "{clocks} {millions}");
        }
        assert_eq!(time(&work, h200()).limiter, Limiter::Special);
    }

    #[test]
    fn few_blocks_take_no_more_from_l2_than_their_multiprocessors_can() {
        let of = |blocks: f64| time(&Work { blocks, l2_bytes: 5.12e9, ..NOTHING }, h200()).parts[5] * 1.83e9;
        assert!(near(of(132.0), 1e6));
        assert!(near(of(40.0), 2e6));
    }

    #[test]
    fn waves_of_blocks_wait_one_after_the_other() {
        let work =
            Work { blocks: 1000.0, resident: 2.0, round_trips: 3.0, instructions_a_warp: 63.0, ..NOTHING };
        // 264 at once: four waves, of which one has the longest block.
        let time = time(&Work { longest: [5.0, 100.0], ..work }, h200());
        assert!(near(time.parts[7], (3.0 * (3.0 * 479.0 + 63.0) + 5.0 * 479.0 + 100.0) / 1.83e9));
        assert_eq!(time.limiter, Limiter::Latency);
    }

    #[test]
    fn a_launch_of_next_to_nothing_takes_its_boundary() {
        let time = time(&Work { blocks: 1.0, longest: [1.0, 0.0], ..NOTHING }, h200());
        assert_eq!(time.limiter, Limiter::Boundary);
        assert!(time.seconds > 1.3e-6 && time.seconds < 2e-6);
    }
}

//! Counts of a grid from some of its blocks.

use super::inputs::Placed;
use super::time::Work;
use super::{Chip, Inputs, PredictError, chain};
use crate::Launch;
use crate::backend::holder;
use octo_ops::Op;
use octo_ptx::count::{Class, Counters, Limits, occupancy};
use octo_ptx::sim::{Config, Grid};
use octo_ptx::{Instruction, Operation, Semantics, parse, resources};

/// Blocks of a grid that are run: the middles of as many equal parts of it. Where blocks are alike any one stands for
/// all; where their work is a linear function of their place, as causal attention's within a document, the middles give
/// the mean.
pub const SAMPLED_BLOCKS: u64 = 4;

/// What some blocks of a launch did, each by itself.
#[derive(Clone, Debug)]
pub(super) struct Sampled {
    blocks: u64,
    of_blocks: Vec<Counters>,
    /// Bytes that come and go once: each operand as often as blocks touch it, but never more than it holds.
    dram_bytes: f64,
    round_trips: f64,
    /// Round trips and instructions of a warp in the block that takes longest for both.
    longest: [f64; 2],
}

impl Sampled {
    pub(super) fn new(
        op: &Op,
        launch: &Launch,
        inputs: Inputs,
        chip: &Chip,
    ) -> Result<Sampled, PredictError> {
        let failed = |what: String| PredictError::Kernel { entry: launch.entry.clone(), what };
        let config = Config { architecture: chip.architecture, checks: false, ..Config::default() };
        let mut placed = Placed::on(config, op, inputs)?;
        let shipped = holder(&launch.entry).map_err(|error| failed(error.to_string()))?;
        let mut module = parse(shipped.text).map_err(|error| failed(error.to_string()))?;
        module.kernels.retain(|kernel| kernel.name == launch.entry);
        let Some(kernel) = module.kernels.first_mut() else {
            return Err(failed("it is not there".into()));
        };
        look_once(&mut kernel.body);
        let body = kernel.clone();
        let module = placed.gpu.load(module).map_err(|fault| failed(fault.to_string()))?;
        let kernel = placed.gpu.kernel(module, &launch.entry).map_err(|fault| failed(fault.to_string()))?;
        let Launch { grid, block, shared_bytes, .. } = *launch;
        // Blocks run alone.
        let shape = Grid { grid, block, shared_bytes, cooperative: false };
        let blocks: u64 = grid.iter().map(|&n| u64::from(n)).product();
        let warps = u64::from(block.iter().product::<u32>().div_ceil(32));
        let chosen = middles(blocks);
        let mut touched = vec![[0.0; 2]; placed.allocations.len()];
        let (mut of_blocks, mut round_trips, mut longest) = (Vec::new(), 0.0, [0.0; 2]);
        let clocks = |[trips, instructions]: [f64; 2]| trips * chip.latency + instructions;
        for &chosen_block in &chosen {
            let report = placed
                .gpu
                .launch_blocks(kernel, &shape, &launch.arguments, &[chosen_block])
                .map_err(|fault| failed(fault.to_string()))?;
            for (direction, ranges) in
                [&report.footprint.read, &report.footprint.written].into_iter().enumerate()
            {
                for range in ranges {
                    let holds = |&(base, bytes): &(u64, u64)| (base..base + bytes).contains(&range.start);
                    if let Some(place) = placed.allocations.iter().position(holds) {
                        touched[place][direction] += (range.end - range.start) as f64;
                    }
                }
            }
            let own = chain::round_trips(&body, &report.lines, warps);
            round_trips += own / chosen.len() as f64;
            let own = [own, report.counters.warp_total() as f64 / warps.max(1) as f64];
            longest = if clocks(own) > clocks(longest) { own } else { longest };
            of_blocks.push(report.counters);
        }
        let times = blocks as f64 / chosen.len().max(1) as f64;
        let capped = |(&(_, bytes), touched): (&(u64, u64), &[f64; 2])| -> f64 {
            touched.iter().map(|bytes_touched| (bytes_touched * times).min(bytes as f64)).sum()
        };
        let dram_bytes = placed.allocations.iter().zip(&touched).map(capped).sum();
        Ok(Sampled { blocks, of_blocks, dram_bytes, round_trips, longest })
    }

    /// The whole grid's work on a chip.
    pub(super) fn work(&self, launch: &Launch, chip: &Chip) -> Work {
        let warps: u32 = launch.block.iter().product::<u32>().div_ceil(32);
        let samples = self.of_blocks.len().max(1) as f64;
        let mut sum = Counters::default();
        self.of_blocks.iter().for_each(|counters| sum += counters);
        let whole = |count: u64| count as f64 * self.blocks as f64 / samples;
        let mean = (sum.warp_total() as f64 / samples).max(1.0);
        let heaviest = self.of_blocks.iter().map(Counters::warp_total).max().unwrap_or(0) as f64 / mean;
        let class = |class: Class| sum.warp_instructions[class as usize];
        let removed = class(Class::Move) + class(Class::Constant);
        Work {
            blocks: self.blocks as f64,
            resident: f64::from(resident(launch, chip)),
            heaviest,
            mma_flops: whole(sum.mma_flops),
            issued: whole(sum.warp_total() - removed),
            special: whole(class(Class::Special)),
            integer: whole(class(Class::Integer)),
            wavefronts: whole(sum.shared_wavefronts),
            l2_bytes: whole(32 * (sum.global_reads.sectors + sum.global_writes.sectors)),
            dram_bytes: self.dram_bytes,
            round_trips: self.round_trips,
            instructions_a_warp: mean / f64::from(warps.max(1)),
            longest: self.longest,
        }
    }
}

/// What a block would look for again and again until another has written it, it looks for once: alone it would look for
/// ever, and how often it looks beside others is chance. What the others leave stays zero.
fn look_once(body: &mut [Instruction]) {
    for end in 0..body.len() {
        let Operation::Branch { target, .. } = body[end].operation else { continue };
        let Some(again) = body.get(target as usize..=end) else { continue };
        let looks = again.iter().any(|instruction| {
            matches!(instruction.operation, Operation::Load { semantics: Semantics::Acquire, .. })
        });
        // A longer way round, of which looking is a part, is no waiting.
        let works = |instruction: &Instruction| {
            matches!(
                instruction.operation,
                Operation::Store { .. } | Operation::Atomic { .. } | Operation::Barrier { .. }
            )
        };
        if looks && !again.iter().any(works) {
            body[end].operation = Operation::Nothing;
        }
    }
}

/// Blocks of a launch that a multiprocessor holds, by ptxas's figures; of a kernel without figures, one.
fn resident(launch: &Launch, chip: &Chip) -> u32 {
    let Some(taken) = resources(&launch.entry) else { return 1 };
    let registers = match chip.capability() {
        (8, _) => taken.registers,
        _ => taken.registers_sm_90,
    };
    let shared = launch.shared_bytes + taken.static_shared;
    let threads = launch.block.iter().product();
    occupancy(&Limits::of(chip.architecture), threads, registers, shared).blocks.max(1)
}

/// The middles of [`SAMPLED_BLOCKS`] equal parts of a grid; all blocks of a grid that has no more.
fn middles(blocks: u64) -> Vec<u32> {
    let count = blocks.min(SAMPLED_BLOCKS);
    (0..count).map(|i| ((2 * i + 1) * blocks / (2 * count)) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middles_of_equal_parts_stand_for_a_grid() {
        assert_eq!(middles(0), []);
        assert_eq!(middles(1), [0]);
        assert_eq!(middles(4), [0, 1, 2, 3]);
        assert_eq!(middles(80), [10, 30, 50, 70]);
    }

    #[test]
    fn the_mean_of_middles_is_that_of_a_linear_function() {
        let cost = |block: u32| 7.0 + 3.0 * f64::from(block);
        let (blocks, chosen) = (4096, middles(4096));
        let mean = chosen.iter().map(|&block| cost(block)).sum::<f64>() / chosen.len() as f64;
        let whole = (0..blocks).map(|block| cost(block as u32)).sum::<f64>() / blocks as f64;
        assert!((mean / whole - 1.0).abs() < 0.001);
    }
}

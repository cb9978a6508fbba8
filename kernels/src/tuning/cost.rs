//! What a product's tiles ask of a device: the reason why one row is taken and not another.

use super::{Capability, Tile};
use crate::predict::Chip;

/// Terms of a sum that this counts: a step of the tensor cores.
const TERMS: f64 = 16.0;
/// Bytes of these terms of one row of an operand.
const ROW_BYTES: f64 = 2.0 * TERMS;
/// Bytes of a wavefront of shared memory.
const WAVEFRONT_BYTES: f64 = 128.0;

/// Clocks that sixteen terms of all `m` × `n` outputs take: those of whatever is asked for most, as in `predict/time.rs`, of
/// tensor cores, shared memory, L2, waiting and memory. The length of the sums does not matter: all grow with it.
///
/// Where the operands' bytes alone take longest, tiles are equal.
pub(super) fn clocks(tile: &Tile, m: u32, n: u32, on: &Capability) -> f64 {
    let chip = like(on);
    let multiprocessors = f64::from(on.multiprocessors.max(1));
    let blocks = tile.blocks(m, n) as f64;
    // Blocks are dealt out whole.
    let fullest = (blocks / multiprocessors).ceil();
    let tensor = 2.0 * TERMS * f64::from(tile.m) * f64::from(tile.n) / chip.mma_flops;
    // Rows come into shared memory once, and each goes to every warp that multiplies it.
    let [warps_m, warps_n] = tile.warps;
    let rows = f64::from(tile.m + tile.n);
    let read = f64::from(tile.m * warps_n + tile.n * warps_m);
    let shared = (rows + read) * ROW_BYTES / WAVEFRONT_BYTES / Chip::WAVEFRONTS;
    let l2 = chip.l2_bytes.min(Chip::SM_L2_BYTES * blocks.min(multiprocessors)).max(1.0);
    let waves = (fullest / f64::from(tile.resident)).ceil();
    let stages = f64::from(tile.k) * f64::from(tile.stages - 1);
    let memory = ROW_BYTES * (f64::from(m) + f64::from(n)) / (chip.dram_bytes / chip.clock);
    [
        fullest * tensor,
        fullest * shared,
        blocks * rows * ROW_BYTES / l2,
        waves * chip.latency * TERMS / stages,
        memory,
    ]
    .into_iter()
    .fold(0.0, f64::max)
}

/// The chip whose units this device's are most like; of it only what a multiprocessor, L2 and memory do in a clock is taken.
fn like(on: &Capability) -> &'static Chip {
    static A100: &Chip = &Chip::ALL[2];
    static H100: &Chip = &Chip::ALL[1];
    if on.version >= (9, 0) { H100 } else { A100 }
}

//! RMSNorm.

use crate::on::norm;
use crate::{counters, hold, instructions_an_element, traffic, warps};
use octo_ptx::count::Class;

#[test]
fn a_warp_a_row() {
    // Eight rows of 1,024: 128 eights, four a lane.
    let c = counters(|device| norm(device, 8, 1024, 1024, false));
    // x and the weight, four requests each a warp: 8 · 8; the weight is read by every warp, and is 2 KiB.
    assert_eq!(traffic(&c.global_reads), (64, 64 * 16, 64 * 512));
    assert_eq!(c.unique_bytes_read, 8 * 2048 + 2048);
    assert_eq!(c.global_reads.wide_share(), 1.0);
    // y likewise, and rstd by one lane: a sector for four bytes.
    assert_eq!(traffic(&c.global_writes), (32 + 8, 32 * 16 + 8, 32 * 512 + 8 * 4));
    assert_eq!(c.unique_bytes_written, 8 * 2048 + 8 * 4);
    assert_eq!(c.global_writes.lanes_by_width, [0, 0, 8, 0, 32 * 32]);
    // A butterfly over 32 lanes is five shuffles; nothing goes through shared memory.
    assert_eq!(warps(&c, Class::Shuffle), 8 * 5);
    assert_eq!((c.barriers, c.shared_requests, warps(&c, Class::Local)), (0, 0, 0));
    // Mean, root and reciprocal, once a row.
    assert_eq!(warps(&c, Class::Special), 8 * 3);
}

#[test]
fn instructions_are_those_read_off_the_listing() {
    // `rms_norm_bf16_warp` with four eights a lane: loads of the first to the fourth, squares of each, the butterfly with
    // rstd's store by one lane, weights and stores of each, the return.
    let (loads, squares) = (33 + 12 + 14 + 12, 28 + 25 + 25 + 25);
    let c = counters(|device| norm(device, 8, 1024, 1024, false));
    assert_eq!(c.warp_total(), 8 * (loads + squares + 41 + 63 + 3 * 62 + 1));
}

#[test]
fn a_block_a_row_with_the_residual() {
    // Two rows of 4,096: 512 eights, two a thread, eight warps a row.
    let c = counters(|device| norm(device, 2, 4096, 4096, true));
    // x, residual and weight, two requests each a warp, of 16 warps.
    assert_eq!(traffic(&c.global_reads), (16 * 6, 16 * 6 * 16, 16 * 6 * 512));
    // Two rows of x and of the residual, and the weight once.
    assert_eq!(c.unique_bytes_read, 5 * 8192);
    assert_eq!(c.global_reads.wide_share(), 1.0);
    // sum and y, and rstd by one thread a row.
    assert_eq!(traffic(&c.global_writes), (16 * 4 + 2, 16 * 4 * 16 + 2, 16 * 4 * 512 + 2 * 4));
    assert_eq!(c.unique_bytes_written, 4 * 8192 + 8);
    // A warp stores its sum (one lane) and reads all eight (32 lanes, eight words of different banks).
    assert_eq!((c.shared_requests, c.shared_wavefronts, c.bank_conflicts()), (32, 32, 0));
    assert_eq!(c.barriers, 2);
    // Butterflies over 32 lanes and over eight sums.
    assert_eq!(warps(&c, Class::Shuffle), 16 * (5 + 3));
    assert_eq!(warps(&c, Class::Local), 0);
}

#[test]
fn what_a_wide_row_has_more_is_read_twice() {
    // 1,280 eights: four of 256 threads are kept, 256 eights (eight warps) are read again.
    let c = counters(|device| norm(device, 1, 10_240, 10_240, false));
    // x: five requests a warp, and one again; the weight five.
    assert_eq!(traffic(&c.global_reads), (8 * 11, 8 * 11 * 16, 8 * 11 * 512));
    assert_eq!(c.unique_bytes_read, 2 * 20_480);
    assert_eq!(traffic(&c.global_writes), (8 * 5 + 1, 8 * 5 * 16 + 1, 8 * 5 * 512 + 4));
}

#[test]
fn rows_off_sixteen_bytes_go_one_by_one() {
    // Nine columns: lane 0 has eight, lane 1 one. Eight turns, the first with both lanes: two elements 16 bytes apart.
    let c = counters(|device| norm(device, 1, 9, 9, false));
    // x twice and the weight once, each turn a sector; 9 · 2 bytes a pass.
    assert_eq!(traffic(&c.global_reads), (3 * 8, 3 * 8, 3 * 18));
    assert_eq!(c.unique_bytes_read, 2 * 18);
    assert_eq!(c.global_reads.wide_share(), 0.0);
    assert_eq!(traffic(&c.global_writes), (8 + 1, 8 + 1, 18 + 4));
    assert_eq!(c.unique_bytes_written, 22);
}

#[test]
fn bytes_are_the_floor() {
    // 4 an element of x (8 with residual), 4 a row, and the weight once.
    for (hidden, add) in [(1024u32, false), (2048, true), (8192, false)] {
        let c = counters(|device| norm(device, 4, hidden, hidden, add));
        let floor = u64::from(4 * hidden * if add { 8 } else { 4 } + 4 * 4 + 2 * hidden);
        assert_eq!(c.unique_bytes_read + c.unique_bytes_written, floor);
        assert!(c.global_reads.efficiency() >= 0.95 && c.global_writes.efficiency() >= 0.95);
    }
}

#[test]
fn instructions_stay_in_their_budget() {
    // Thread instructions an element in the PTX, as measured and rounded up: a limit against growth, not worked out. The
    // formula alone is a square and two products.
    for (name, hidden, add, budget) in [
        ("warp", 1024u32, false, 14.6),
        ("block", 4096, false, 17.5),
        ("block with residual", 4096, true, 25.0),
    ] {
        let taken = instructions_an_element(hidden * 4, hidden * 12, |device, elements| {
            norm(device, elements / hidden, hidden, hidden, add)
        });
        hold(name, taken, budget);
    }
}

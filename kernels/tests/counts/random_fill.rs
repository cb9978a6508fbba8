//! Random numbers.

use crate::on::fill;
use crate::{counters, hold, instructions_an_element, traffic, warps};
use octo_ops::DType;
use octo_ptx::count::Class;

#[test]
fn sixteen_bytes_a_lane_are_written_and_nothing_is_read() {
    // f32: 1,024 groups of four, 32 warps in four blocks, and two elements more: one sector.
    let c = counters(|device| fill(device, 4098, DType::F32));
    assert_eq!(traffic(&c.global_writes), (32 + 1, 32 * 16 + 1, 32 * 512 + 8));
    assert_eq!(c.unique_bytes_written, 4098 * 4);
    assert_eq!(c.global_writes.lanes_by_width, [0, 0, 2, 0, 1024]);
    assert_eq!((traffic(&c.global_reads), c.unique_bytes_read), ((0, 0, 0), 0));
    assert_eq!((c.barriers, c.shared_requests, warps(&c, Class::Local)), (0, 0, 0));
    // bf16: 512 groups of eight, 16 warps.
    let c = counters(|device| fill(device, 4096, DType::Bf16));
    assert_eq!(traffic(&c.global_writes), (16, 16 * 16, 16 * 512));
    assert_eq!((c.unique_bytes_written, c.global_writes.wide_share()), (8192, 1.0));
}

#[test]
fn instructions_are_those_read_off_the_listing() {
    // `random_fill_f32`: 44 before the loop, 241 a turn of four elements a lane, twelve that find no rest, the return.
    let c = counters(|device| fill(device, 4096, DType::F32));
    assert_eq!(c.warp_total(), 32 * (44 + 241 + 12 + 1));
    // `random_fill_bf16`: 43, 471 a turn of eight, twelve, one.
    let c = counters(|device| fill(device, 4096, DType::Bf16));
    assert_eq!(c.warp_total(), 16 * (43 + 471 + 12 + 1));
}

#[test]
fn instructions_stay_in_their_budget() {
    // Thread instructions an element in the PTX, as measured and rounded up: a limit against growth, not worked out. The
    // head's 35 are integer operations alone, and these are all instructions, moves and conversions of halves included.
    for (name, dtype, budget) in [("f32", DType::F32, 75.0), ("bf16", DType::Bf16, 66.0)] {
        let taken = instructions_an_element(8192, 32_768, |device, elements| fill(device, elements, dtype));
        hold(name, taken, budget);
    }
}

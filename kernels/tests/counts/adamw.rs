//! AdamW.

use crate::device::Device;
use crate::on::{adamw, adamw_of};
use crate::{counters, hold, instructions_an_element, traffic, warps};
use octo_ops::DType;
use octo_ptx::count::{Class, Counters};

#[test]
fn single_precision_moves_sixteen_bytes_a_lane() {
    // 512 groups of four, 16 warps in two blocks, and three elements more.
    let c = counters(|device| adamw(device, 2051, DType::F32));
    // A warp reads five scalars (halted, clip scale, learning rate, two corrections), each a sector for four bytes, and
    // weight, m, v and grad. The last three elements are four more requests, of one warp.
    assert_eq!(
        traffic(&c.global_reads),
        (16 * (5 + 4) + 4, 16 * (5 + 4 * 16) + 4, 16 * (20 + 4 * 512) + 4 * 12)
    );
    assert_eq!(c.unique_bytes_read, 2051 * 16 + 20);
    assert_eq!(c.global_reads.lanes_by_width, [0, 0, 16 * 5 * 32 + 4 * 3, 0, 16 * 4 * 32]);
    // weight, m and v.
    assert_eq!(traffic(&c.global_writes), (16 * 3 + 3, 16 * 3 * 16 + 3, 16 * 3 * 512 + 3 * 12));
    assert_eq!(c.unique_bytes_written, 2051 * 12);
    assert_eq!((c.barriers, c.shared_requests, warps(&c, Class::Local)), (0, 0, 0));
    // Two reciprocals a warp; a root and a division an element: four a group, one of the last.
    assert_eq!(warps(&c, Class::Special), 16 * (2 + 4 * 2) + 2);
}

#[test]
fn half_precision_and_its_remainder_move_eight_bytes_a_lane() {
    // 256 groups of four, eight warps.
    let c = counters(|device| adamw(device, 1024, DType::Bf16));
    // grad, m and v as above; weight and remainder are 256 bytes a warp, eight sectors.
    assert_eq!(
        traffic(&c.global_reads),
        (8 * (5 + 5), 8 * (5 + 3 * 16 + 2 * 8), 8 * (20 + 3 * 512 + 2 * 256))
    );
    assert_eq!(c.unique_bytes_read, 1024 * 16 + 20);
    assert_eq!(traffic(&c.global_writes), (8 * 4, 8 * (2 * 16 + 2 * 8), 8 * (2 * 512 + 2 * 256)));
    assert_eq!(c.unique_bytes_written, 1024 * 12);
    assert_eq!(c.global_writes.efficiency(), 1.0);
}

#[test]
fn instructions_are_those_read_off_the_listing() {
    // `adamw_f32`: 37 before the loop, 79 a turn, six that find no rest, and the return. Sixteen warps, a turn each.
    let whole = 16 * (37 + 79 + 6 + 1);
    assert_eq!(counters(|device| adamw(device, 2048, DType::F32)).warp_total(), whole);
    // Three elements more: one warp goes on with eight, and 31 for the three side by side.
    assert_eq!(counters(|device| adamw(device, 2051, DType::F32)).warp_total(), whole + 8 + 31);
    // `adamw_bf16`: 38, 113 a turn, six, one.
    assert_eq!(counters(|device| adamw(device, 1024, DType::Bf16)).warp_total(), 8 * (38 + 113 + 6 + 1));
    // With bf16 moments a turn has ten rounds of Philox and eight roundings more.
    assert_eq!(half(1024, DType::F32).warp_total(), 8 * (56 + 270 + 12 + 1));
    assert_eq!(half(1024, DType::Bf16).warp_total(), 8 * (57 + 302 + 12 + 1));
}

#[test]
fn bytes_are_the_floor() {
    // 28 an element either way, and five scalars.
    for weight in [DType::F32, DType::Bf16] {
        let c = counters(|device| adamw(device, 4096, weight));
        assert_eq!(c.unique_bytes_read + c.unique_bytes_written, 4096 * 28 + 20);
    }
}

#[test]
fn instructions_stay_in_their_budget() {
    // Thread instructions an element in the PTX, as measured and rounded up: a limit against growth, not worked out. The
    // formula alone is 16 operations.
    for (name, weight, budget) in [("f32", DType::F32, 31.0), ("bf16", DType::Bf16, 40.0)] {
        let taken = instructions_an_element(4096, 16_384, |device, elements| adamw(device, elements, weight));
        hold(name, taken, budget);
    }
    // 20 bytes an element at 4.3 TB/s leave time for 144 on an H200.
    for (name, weight, budget) in [("f32", DType::F32, 85.0), ("bf16", DType::Bf16, 93.0)] {
        let on = |device: &mut Device, elements| adamw_of(device, elements, weight, DType::Bf16);
        hold(&format!("{name} with bf16 moments"), instructions_an_element(4096, 16_384, on), budget);
    }
}

/// With bf16 moments.
fn half(elements: u32, weight: DType) -> Counters {
    counters(|device| adamw_of(device, elements, weight, DType::Bf16))
}

#[test]
fn moments_in_half_precision_move_eight_bytes_a_lane() {
    // 256 groups of four, eight warps; the sixth scalar is the update's number.
    let c = half(1024, DType::Bf16);
    // weight, remainder, m and v are 256 bytes a warp, eight sectors; grad 512.
    assert_eq!(traffic(&c.global_reads), (8 * (6 + 5), 8 * (6 + 16 + 4 * 8), 8 * (24 + 512 + 4 * 256)));
    assert_eq!(traffic(&c.global_writes), (8 * 4, 8 * 4 * 8, 8 * 4 * 256));
    assert_eq!(c.global_writes.efficiency(), 1.0);
    // 20 an element either way instead of 28, and six scalars.
    assert_eq!((c.unique_bytes_read, c.unique_bytes_written), (1024 * 12 + 24, 1024 * 8));
    let c = half(4096, DType::F32);
    assert_eq!((c.unique_bytes_read, c.unique_bytes_written), (4096 * 12 + 24, 4096 * 8));
    assert_eq!((c.barriers, c.shared_requests, warps(&c, Class::Local)), (0, 0, 0));
}

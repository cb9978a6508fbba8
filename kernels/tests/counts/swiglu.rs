//! SwiGLU's gradient.

use crate::on::swiglu_backward;
use crate::{counters, hold, instructions_an_element, traffic, warps};
use octo_ptx::count::Class;

#[test]
fn a_warp_takes_thirty_two_eights() {
    // Two rows of 512: 64 eights, two warps each.
    let c = counters(|device| swiglu_backward(device, 2, 512, 1024));
    // The near and the far half of gate and up, and the gradient: its lanes take eights in the order 0, 16, 1, 17 …, so
    // that each eight lanes reach twice 64 bytes: four sectors, as if they were in order.
    assert_eq!(traffic(&c.global_reads), (4 * 3, 4 * 3 * 16, 4 * 3 * 512));
    assert_eq!(c.unique_bytes_read, 2 * (2048 + 1024));
    assert_eq!(traffic(&c.global_writes), (4 * 2, 4 * 2 * 16, 4 * 2 * 512));
    assert_eq!(c.unique_bytes_written, 2 * 2048);
    assert_eq!((c.global_reads.wide_share(), c.global_writes.wide_share()), (1.0, 1.0));
    assert_eq!((c.global_reads.efficiency(), c.global_writes.efficiency()), (1.0, 1.0));
    // Four words there and four back.
    assert_eq!(warps(&c, Class::Shuffle), 4 * 8);
    // 2^x and 1/x for each of a lane's eight.
    assert_eq!(warps(&c, Class::Special), 4 * 8 * 2);
    assert_eq!((c.barriers, c.shared_requests, warps(&c, Class::Local)), (0, 0, 0));
}

#[test]
fn instructions_are_those_read_off_the_listing() {
    // `swiglu_backward_bf16`, nothing left out: 44 to the first load, 8 and 17 to the others, 196 of arithmetic and the
    // near half's store, 5 for the far half's, the return. The block's other four warps have no row and leave after 18.
    let c = counters(|device| swiglu_backward(device, 2, 512, 1024));
    assert_eq!(c.warp_total(), 4 * (44 + 8 + 17 + 196 + 5 + 1) + 4 * (18 + 1));
}

#[test]
fn the_end_of_a_row_costs_what_is_there() {
    // Five eights: ten pieces of gate and up, all near: lanes 0 to 7 take four sectors, 8 and 9 one.
    let c = counters(|device| swiglu_backward(device, 1, 40, 80));
    // Of the gradient lanes 0, 2, 4 and 6 take 64 bytes, two sectors, and lane 8 the fifth eight: one more.
    assert_eq!(traffic(&c.global_reads), (2, 5 + 3, 160 + 80));
    assert_eq!(traffic(&c.global_writes), (1, 5, 160));
    assert_eq!((c.unique_bytes_read, c.unique_bytes_written), (240, 160));
}

#[test]
fn rows_off_sixteen_bytes_go_one_by_one() {
    // A row of eight between gaps of one element: a thread, eight turns of three reads and two writes.
    let c = counters(|device| swiglu_backward(device, 2, 8, 17));
    // Two threads in step. dproduct's rows are 16 bytes apart and share a sector; gate's and up's are 34 apart: at bytes
    // 2i and 34 + 2i of gate, 16 + 2i and 50 + 2i of up, never in one sector.
    assert_eq!(traffic(&c.global_reads), (8 * 3, 8 * (1 + 2 + 2), 2 * 8 * 3 * 2));
    assert_eq!(traffic(&c.global_writes), (8 * 2, 8 * (2 + 2), 2 * 8 * 2 * 2));
    assert_eq!((c.unique_bytes_read, c.unique_bytes_written), (2 * (32 + 16), 2 * 32));
}

#[test]
fn instructions_stay_in_their_budget() {
    // Thread instructions an element in the PTX, as measured and rounded up: a limit against growth, not worked out. The
    // formula alone is 12 operations.
    let taken = instructions_an_element(4 * 2048, 12 * 2048, |device, elements| {
        swiglu_backward(device, elements / 2048, 2048, 4096)
    });
    hold("backward", taken, 34.0);
}

//! Decoding by segments: warps that wait for their own copies alone, and what passes from warp to warp.

use crate::device::Device;
use crate::on::some;
use crate::plant::*;
use octo_kernels::Launch;
use octo_kernels::attention::attention;
use octo_kernels::tuning::{Capability, Tuning};
use octo_ops::{Attention, DType, PAGE_TOKENS, View};
use octo_ptx::check::{Hazard, Missing};
use octo_ptx::sim::Fault;
use octo_ptx::{Kernel, Operation};

/// A context of three segments, the last of two keys, walked by two blocks for each of two key-value heads.
fn several(device: &mut Device) -> (Launch, View) {
    segments(device, 2050)
}

/// A context of one segment, which is the row.
fn whole(device: &mut Device) -> (Launch, View) {
    segments(device, 200)
}

/// Twelve rows of each of two key-value heads: what the kernel does for more than eight stands first in it.
fn segments(device: &mut Device, keys: u32) -> (Launch, View) {
    *device = std::mem::replace(device, Device::new(0)).and_workspace();
    let (kv_heads, heads, head_dim, pages) = (2, 24, 64, keys.div_ceil(PAGE_TOKENS));
    let mut matrix = |name: &str, dtype, shape: [u32; 2], value: &dyn Fn(u32, u32) -> f32| {
        let view = device.matrix(name, dtype, shape, shape[1]);
        device.write(&view, value);
        view
    };
    let slots = [pages * kv_heads * PAGE_TOKENS, head_dim];
    let [k, v] = ["k", "v"].map(|name| {
        let view = matrix(name, DType::Bf16, slots, &some);
        View::new(view.buffer, 0, DType::Bf16, &[pages, kv_heads, PAGE_TOKENS, head_dim])
    });
    let bounds = matrix("cu_seqlens", DType::U32, [1, 2], &|_, j| j as f32);
    let positions = matrix("positions", DType::U32, [1, 1], &|_, _| (keys - 1) as f32);
    let op = Attention {
        q: matrix("q", DType::Bf16, [1, heads * head_dim], &some),
        k,
        v,
        cu_seqlens: View::new(bounds.buffer, 0, DType::U32, &[2]),
        positions: Some(View::new(positions.buffer, 0, DType::U32, &[1])),
        page_table: Some(matrix("page_table", DType::U32, [1, pages], &|_, j| j as f32)),
        out: device.matrix("out", DType::Bf16, [1, heads * head_dim], heads * head_dim),
        lse: device.matrix("lse", DType::F32, [1, heads], heads),
        head_dim,
        scale: 0.125,
    };
    let tuning = Tuning::new(Capability { multiprocessors: 1, ..Capability::A100 });
    let walk = attention(&op, device, &tuning).unwrap().remove(0);
    assert_eq!((walk.grid[0], walk.block), (2, [256, 1, 1]), "{}", walk.entry);
    (walk, op.out)
}

fn race(fault: &Fault, want: Missing) -> bool {
    matches!(fault, Fault::Race { hazard, .. } if matches!(**hazard, Hazard::Race { missing, .. } if missing == want))
}

fn between(fault: &Fault) -> bool {
    race(fault, Missing::Barrier)
}

fn not_awaited(fault: &Fault) -> bool {
    matches!(fault, Fault::Race { hazard, .. } if matches!(**hazard, Hazard::CopyNotAwaited { exited: false, .. }))
}

fn is_warp_barrier(operation: &Operation) -> bool {
    matches!(operation, Operation::WarpBarrier { .. })
}

/// What else a missing barrier looks like: it would have ordered two lanes of a warp too, and made others wait for copies.
fn met_otherwise(fault: &Fault) -> bool {
    READ_TOO_EARLY(fault) || not_awaited(fault) || race(fault, Missing::WarpBarrier)
}

fn planted(name: &'static str, plant: fn(&mut Kernel), is: fn(&Fault) -> bool, at: &'static str) -> Planted {
    Planted { name, on: several, plant, at, is, or: met_otherwise }
}

/// The barriers as they stand: after a segment, after the queries, after the maxima, at each stage of values, before the sums
/// of a row are read.
fn without_barrier<const N: usize>(kernel: &mut Kernel) {
    remove(kernel, N, is_barrier);
}

#[test]
fn a_missing_barrier_of_the_block_is_a_race_between_warps() {
    all_are_reported(&[
        // It orders the lanes of a warp, too.
        planted(
            "after a segment",
            without_barrier::<0>,
            |fault| between(fault) || race(fault, Missing::WarpBarrier) || not_awaited(fault),
            "",
        ),
        planted("after the queries", without_barrier::<1>, not_awaited, "ldmatrix"),
        planted("after the maxima", without_barrier::<2>, between, ""),
        planted(
            "at a stage of values",
            without_barrier::<3>,
            |fault| between(fault) || not_awaited(fault),
            "",
        ),
        Planted { on: whole, ..planted("before a row is divided", without_barrier::<4>, between, "") },
    ]);
}

#[test]
fn a_warp_that_does_not_wait_for_its_own_keys_is_reported() {
    all_are_reported(&[
        planted(
            "the first fill of the ring is read at once",
            |kernel| remove(kernel, 0, is_wait),
            not_awaited,
            "ldmatrix",
        ),
        planted("a later fill is read at once", |kernel| remove(kernel, 2, is_wait), not_awaited, "ldmatrix"),
        planted(
            "lanes do not wait for each other's copies",
            |kernel| {
                // Before a slot is filled anew, and after the wait for the next.
                remove(kernel, 1, is_warp_barrier);
                remove(kernel, 0, is_warp_barrier);
            },
            |fault| not_awaited(fault) || race(fault, Missing::WarpBarrier),
            "",
        ),
    ]);
}

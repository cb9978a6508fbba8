//! What the kernels move, against the floors that their heads state.

use crate::device::{Device, rough};
use octo_kernels::bias_backward::bias_backward;
use octo_kernels::copy_pages::copy_pages;
use octo_kernels::embed::embed;
use octo_kernels::embed_backward::embed_backward;
use octo_kernels::feed_tokens::feed_tokens;
use octo_kernels::grad_norm::grad_norm;
use octo_kernels::loss_sum::loss_sum;
use octo_kernels::rms_norm_backward::rms_norm_backward;
use octo_kernels::rope_backward::rope_backward;
use octo_ops::{BiasBackward, CopyPages, DType, Embed, EmbedBackward, FeedTokens, GradNorm, LossSum};
use octo_ops::{RmsNormBackward, RopeBackward};
use octo_ptx::count::Counters;

/// Sectors asked for are at most a twentieth more than the floor's bytes, and shared memory has no conflicts.
fn within(counters: &Counters, read: u64, written: u64) {
    assert_eq!(counters.bank_conflicts(), 0);
    let [reads, writes] = [&counters.global_reads, &counters.global_writes].map(|t| 32 * t.sectors);
    assert!(20 * reads <= 21 * read, "{reads} bytes read for {read}");
    assert!(20 * writes <= 21 * written, "{writes} bytes written for {written}");
}

fn bf16(device: &mut Device, shape: &[u32], salt: u32) -> octo_ops::View {
    device.tensor(DType::Bf16, shape, 0, rough(salt))
}

#[test]
fn picking_rows_moves_each_once() {
    let mut device = Device::new();
    let op = Embed {
        ids: device.tensor(DType::U32, &[64], 0, |t| (t % 11) as f32),
        weight: bf16(&mut device, &[11, 2048], 1),
        out: bf16(&mut device, &[64, 2048], 2),
    };
    let launches = embed(&op, &device);
    let done = device.run(launches);
    // The id is read by each of a row's eight warps.
    within(&done[0].1, 64 * (2048 * 2 + 8 * 32), 64 * 2048 * 2);
    assert_eq!(done[0].1.global_writes.wide_share(), 1.0);
}

#[test]
fn gradients_of_picked_rows_move_dx_and_the_rows_named_once() {
    let mut device = Device::new();
    let op = EmbedBackward {
        ids: device.tensor(DType::U32, &[64], 0, |t| (t % 4) as f32),
        dx: bf16(&mut device, &[64, 4096], 1),
        dweight: device.tensor(DType::F32, &[8, 4096], 0, rough(2)),
        accumulate: true,
    };
    let launches = embed_backward(&op, &device);
    let done = device.run(launches);
    let add = &done[1].1;
    let (floor, rows) = (64 * 4096 * 2 + 4 * 4096 * 4, 4 * 4096 * 4);
    assert_eq!(add.global_writes.useful_bytes, rows);
    assert_eq!(32 * add.global_writes.sectors, rows);
    assert_eq!(add.global_writes.wide_share(), 1.0);
    // Every block looks who is first; ids and order come from L1 and L2, beside what is unavoidable.
    assert!(add.unique_bytes_read <= floor + 2 * 64 * 4, "{} for {floor}", add.unique_bytes_read);
}

#[test]
fn gradients_through_the_norm_move_rows_once() {
    for (hidden, parts) in [(1024, 64), (4096, 64), (8192, 64)] {
        let mut device = Device::new();
        let op = RmsNormBackward {
            dy: bf16(&mut device, &[64, hidden], 1),
            x: bf16(&mut device, &[64, hidden], 2),
            weight: bf16(&mut device, &[hidden], 3),
            rstd: device.tensor(DType::F32, &[64], 0, |_| 1.0),
            dx: bf16(&mut device, &[64, hidden], 4),
            dweight: device.tensor(DType::F32, &[hidden], 0, rough(5)),
            accumulate_dx: true,
            accumulate: true,
        };
        let launches = rms_norm_backward(&op, &device);
        let done = device.run(launches);
        let rows = 64 * u64::from(hidden) * 2;
        // dy, x and the old dx, and the weight twice a row, from L1; what a part leaves goes in halves of sectors.
        let warps = if hidden <= 1024 { 1 } else { 8 };
        within(&done[0].1, 5 * rows + 64 * 32 * warps, rows + 2 * parts * u64::from(hidden) * 4);
        assert_eq!(done[0].1.global_writes.wide_share(), 1.0);
        let sums = u64::from(hidden) * 4;
        within(&done[1].1, (parts + 1) * sums, sums);
    }
}

#[test]
fn column_sums_read_rows_once() {
    let mut device = Device::new();
    let op = BiasBackward {
        dy: bf16(&mut device, &[256, 512], 1),
        dbias: device.tensor(DType::F32, &[512], 0, rough(2)),
        accumulate: true,
    };
    let launches = bias_backward(&op, &device);
    let done = device.run(launches);
    within(&done[0].1, 256 * 512 * 2, 4 * 512 * 4);
    assert_eq!(done[0].1.global_reads.wide_share(), 1.0);
    within(&done[1].1, 5 * 512 * 4, 512 * 4);
}

#[test]
fn rotating_back_moves_rows_once_each_way() {
    for head_dim in [64, 128] {
        let mut device = Device::new();
        let op = RopeBackward {
            rope: device.tensor(DType::F32, &[64, head_dim], 0, rough(1)),
            positions: device.tensor(DType::U32, &[64], 0, |t| t as f32),
            dqk: bf16(&mut device, &[64, 8 * head_dim], 2),
        };
        let launches = rope_backward(&op, &device);
        let done = device.run(launches);
        let counters = &done[0].1;
        let rows = 64 * 8 * u64::from(head_dim) * 2;
        assert_eq!((32 * counters.global_writes.sectors, counters.global_writes.efficiency()), (rows, 1.0));
        assert_eq!(counters.global_writes.wide_share(), 1.0);
        // The table is read for every head, from L1.
        assert_eq!(counters.unique_bytes_read, rows + 64 * u64::from(head_dim) * 4 + 64 * 4);
    }
}

#[test]
fn a_norm_reads_the_gradient_once() {
    let mut device = Device::new();
    let op = GradNorm {
        grad: device.tensor(DType::F32, &[1 << 20], 0, rough(1)),
        step_block: device.tensor(DType::F32, &[6], 0, |_| 1.0),
        result: device.tensor(DType::F32, &[4], 0, |_| 1.0),
    };
    let launches = grad_norm(&op, &device);
    let done = device.run(launches);
    assert_eq!(done[0].1.global_reads.wide_share(), 1.0);
    within(&done[0].1, 4 << 20, 32 * 1024);
}

#[test]
fn a_sum_of_losses_reads_each_once() {
    let mut device = Device::new();
    let op = LossSum {
        loss: device.tensor(DType::F32, &[8192], 0, rough(1)),
        result: device.tensor(DType::F32, &[4], 0, |_| 1.0),
        accumulate: true,
    };
    let launches = loss_sum(&op, &device);
    let counters = &device.run(launches)[0].1;
    // What was there, and the sum, are a sector each.
    assert_eq!((counters.global_reads.sectors, counters.global_writes.sectors), (8192 / 8 + 1, 1));
    assert_eq!((counters.unique_bytes_read, counters.unique_bytes_written), (4 * 8192 + 4, 4));
    assert_eq!((counters.bank_conflicts(), counters.barriers), (0, 1));
}

/// Warp instructions of `_order`, and how often a warp compares 32 ids with its four positions.
fn ordering(tokens: u32) -> (u64, u64) {
    let mut device = Device::new();
    let op = EmbedBackward {
        ids: device.tensor(DType::U32, &[tokens], 0, |t| (t % 97) as f32),
        dx: bf16(&mut device, &[tokens, 4], 1),
        dweight: device.tensor(DType::F32, &[97, 4], 0, rough(2)),
        accumulate: true,
    };
    let launches = embed_backward(&op, &device);
    let done = device.run(launches);
    (done[0].1.warp_total(), u64::from(tokens / 4 * (tokens / 32)))
}

#[test]
fn an_order_takes_no_more_instructions_a_comparison_than_stated() {
    let [few, many] = [1024, 2048].map(ordering);
    let taken = (many.0 - few.0) as f64 / (many.1 - few.1) as f64;
    assert!((19.0..=20.0).contains(&taken), "{taken}");
}

#[test]
fn copied_pages_move_once_each_way() {
    let mut device = Device::new();
    let list = |device: &mut Device, pages: [u32; 2]| device.words(DType::U32, &[2], &pages);
    let op = CopyPages {
        from: list(&mut device, [1, 2]),
        to: list(&mut device, [5, 6]),
        pages: bf16(&mut device, &[2, 8, 8192], 1),
    };
    let launches = copy_pages(&op, &device);
    let done = device.run(launches);
    // Two pages in each of two layers are four blocks; each of a block's eight warps reads both ends.
    let bytes = 2 * 2 * 8192 * 2;
    within(&done[0].1, bytes + 4 * 8 * 2 * 32, bytes);
    assert_eq!(done[0].1.global_writes.wide_share(), 1.0);
}

#[test]
fn fed_tokens_are_picked_once() {
    let mut device = Device::new();
    let op = FeedTokens {
        tokens: device.tensor(DType::U32, &[256], 0, |t| (t * 7 % 256) as f32),
        source: device.tensor(DType::U32, &[256], 0, |t| (255 - t) as f32),
        ids: device.tensor(DType::U32, &[256], 0, |_| 0.0),
    };
    let launches = feed_tokens(&op, &device);
    let done = device.run(launches);
    within(&done[0].1, 2 * 256 * 4, 256 * 4);
}

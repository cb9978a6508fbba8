//! What the kernels make a GPU do, against figures worked by hand and against the budgets of `cuda/attention.cu`.

use crate::device::Device;
use crate::problem::{Heads, Queries, one, packed, paged, tuning, whole};
use octo_kernels::tuning::{AttentionTile, Row, attention_rows};
use octo_ptx::count::{Class, Counters};

fn in_rows(row: &Row<AttentionTile>, heads: Heads, asked: &[Queries]) -> Counters {
    packed(&mut Device::new(3), &tuning(Some(&row.entry)), heads, asked).1.counters
}

fn warps(counters: &Counters, class: Class) -> u64 {
    counters.warp_instructions[class as usize]
}

fn row(entry: &str) -> &'static Row<AttentionTile> {
    attention_rows().iter().find(|row| row.entry == entry).unwrap()
}

/// A document of 128 tokens under one head of 128 elements: one block, eight warps, one block of keys in two parts. The
/// first four warps see no key of the second part.
#[test]
fn a_block_of_128_queries_and_128_keys_does_what_was_worked_out_by_hand() {
    let c = in_rows(row("attention_sm80_hd128_128x64_s4"), [1, 1, 128], &[whole(1, 128)]);
    let parts = 4 + 4 * 2;
    // Scores: 8 steps × 8 eights of keys; output: 4 steps × 16 eights of columns.
    assert_eq!(warps(&c, Class::Tensor), parts * (8 * 8 + 4 * 16));
    assert_eq!(c.mma_flops, 4096 * warps(&c, Class::Tensor));
    // Fragments of a part: 8 × 4 of keys, 4 × 8 of values; of the queries 8 a warp. Queries, keys and values are 2,048
    // chunks each. Every request is four wavefronts.
    assert_eq!(c.shared_requests, parts * (8 * 4 + 4 * 8) + 8 * 8 + 3 * 2048 / 32);
    assert_eq!(c.shared_wavefronts, 4 * c.shared_requests);
    // Queries, keys, values, and the bounds of the document.
    assert_eq!(c.unique_bytes_read, 3 * 32768 + 8);
    assert!(c.global_reads.sectors <= 3 * 1024 + 4 * 8);
    // The output and 512 bytes of log-sum-exp.
    assert_eq!(c.unique_bytes_written, 32768 + 512);
    assert_eq!(c.global_writes.sectors, 1024 + 16);
    // Queries, and each stage.
    assert_eq!(c.barriers, 1 + 4);
    assert_eq!(warps(&c, Class::Local), 0);
}

/// One tile full of queries that all see `blocks` blocks of keys, the last one in part.
fn full_tile(row: &Row<AttentionTile>, blocks: u32) -> Counters {
    let AttentionTile { rows, head_dim, .. } = row.tile;
    let asked = [Queries { document: 1, first: blocks * 128 - rows, count: rows }];
    let tuning = tuning(Some(&row.entry));
    paged(&mut Device::new(3), &tuning, [1, 1, head_dim], &asked).1.remove(0).counters
}

#[test]
fn the_main_loop_takes_no_more_instructions_an_mma_than_stated() {
    for row in attention_rows() {
        let [few, many] = [3, 7].map(|blocks| full_tile(row, blocks));
        let of = |class| warps(&many, class) - warps(&few, class);
        let taken = (many.warp_total() - few.warp_total()) as f64 / of(Class::Tensor) as f64;
        let budget = match (row.tile.head_dim, row.tile.rows) {
            (64, 128) => 7.3,
            (64, _) => 9.55,
            (128, 128) => 4.7,
            (128, _) => 6.95,
            (_, 64) => 4.55,
            _ => 6.35,
        };
        assert!(taken <= budget, "{}: {taken:.3} instructions an mma, stated {budget}", row.entry);
        assert!(taken > budget - 0.1, "{}: {taken:.3} is better than the stated {budget}", row.entry);
        assert_eq!(of(Class::Local), 0, "{}", row.entry);
    }
}

#[test]
fn keys_and_values_are_read_once_a_tile_in_whole_sectors() {
    for row in attention_rows() {
        let AttentionTile { rows, head_dim, stage_keys, .. } = row.tile;
        let c = full_tile(row, 5);
        let needed = u64::from((rows + 2 * 5 * 128) * head_dim * 2);
        // A warp looks up the page of each stage, the positions of the block's rows and of its own, and its document.
        let sectors_a_warp = 2 * 5 * 128 / stage_keys + rows / 8 + 16;
        let overhead = u64::from(rows / 16 * sectors_a_warp);
        let sectors = c.global_reads.sectors;
        assert!(sectors <= needed / 32 + overhead, "{}: {sectors} sectors for {needed} bytes", row.entry);
        assert!(c.unique_bytes_read < needed + 4096, "{}", row.entry);
        assert_eq!(c.global_writes.efficiency(), 1.0, "{}", row.entry);
        // Outputs go 16 bytes at a time, a log-sum-exp is 4.
        assert_eq!(c.unique_bytes_written, u64::from(rows * (2 * head_dim + 4)), "{}", row.entry);
    }
}

/// Sums of the output, four numbers an access: written after the first segment, read after the second.
#[test]
fn only_contexts_of_several_segments_touch_local_memory() {
    for row in attention_rows() {
        let local = |blocks| warps(&full_tile(row, blocks), Class::Local);
        let accesses = u64::from(row.tile.rows / 16 * row.tile.head_dim / 8);
        assert_eq!([local(8), local(9), local(17)], [0, 2 * accesses, 4 * accesses], "{}", row.entry);
    }
}

#[test]
fn no_access_to_shared_memory_conflicts() {
    for row in attention_rows() {
        for heads in [[2, 1, row.tile.head_dim], [1, 1, row.tile.head_dim - 16]] {
            let c = in_rows(row, heads, &[whole(1, 150), whole(2, 9)]);
            assert_eq!(c.bank_conflicts(), 0, "{} {heads:?}", row.entry);
            let tuning = tuning(Some(&row.entry));
            let c = paged(&mut Device::new(3), &tuning, heads, &[one(1, 150)]).1.remove(0).counters;
            assert_eq!(c.bank_conflicts(), 0, "{} {heads:?}", row.entry);
        }
    }
}

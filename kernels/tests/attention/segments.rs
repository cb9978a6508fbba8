//! Decoding with the segments of a context walked by blocks of their own: the bits are those of one block that walks them
//! all, and what it takes is what `cuda/attention_segments.cu` and `cuda/attention_merge.cu` state.

use crate::device::Device;
use crate::problem::{Bits, Heads, Queries, one, packed, paged, paged_in, tuning, whole};
use octo_kernels::tuning::{AttentionSegmentTile, Capability, Row, Tuning, attention_segment_rows};
use octo_ptx::count::{Class, Counters};

const HEADS: [Heads; 5] = [[4, 2, 64], [7, 1, 128], [2, 1, 80], [2, 2, 192], [12, 1, 64]];

/// The last keys of blocks and segments, and their neighbours.
const EDGES: [u32; 10] = [1, 127, 128, 129, 1023, 1024, 1025, 2047, 2048, 2049];

/// A table for a device of so many multiprocessors.
fn of_size(multiprocessors: u32) -> Tuning {
    Tuning::new(Capability { multiprocessors, ..Capability::A100 })
}

fn apart(tuning: &Tuning, heads: Heads, asked: &[Queries]) -> Bits {
    let (bits, reports) = paged(&mut Device::new(5).and_workspace(), tuning, heads, asked);
    assert_eq!(reports.len(), 2, "{heads:?} {asked:?}");
    bits
}

/// The same by blocks that walk all keys.
fn in_one_go(heads: Heads, asked: &[Queries]) -> Bits {
    let width = heads[2].next_multiple_of(64).next_power_of_two();
    let entry = format!("attention_sm80_hd{width}_16x{}_s4", if width == 256 { 32 } else { 64 });
    let (bits, reports) = paged(&mut Device::new(5), &tuning(Some(&entry)), heads, asked);
    assert_eq!(reports.len(), 1);
    bits
}

#[test]
fn segments_walked_apart_give_the_bits_of_one_block_at_every_edge() {
    let asked = EDGES.map(|context| one(1, context - 1));
    for heads in HEADS {
        assert!(apart(&tuning(None), heads, &asked) == in_one_go(heads, &asked), "{heads:?}");
    }
}

#[test]
fn a_segment_without_others_is_the_row() {
    // Groups of one, of eight rows or more, of sixteen; narrow heads.
    for heads in [[1, 1, 64], [7, 1, 64], [9, 1, 128], [16, 1, 64], [6, 2, 80], [2, 1, 192]] {
        let asked = [one(1, 0), one(1, 63), one(2, 64), one(1, 128), one(3, 500), one(1, 1023)];
        let (bits, reports) = paged(&mut Device::new(5), &tuning(None), heads, &asked);
        assert_eq!(reports.len(), 1, "{heads:?}");
        assert_eq!(reports[0].counters.bank_conflicts(), 0, "{heads:?}");
        assert!(bits == in_one_go(heads, &asked), "{heads:?}");
    }
}

#[test]
fn the_number_of_blocks_that_share_a_context_changes_nothing() {
    // Five segments to two, three and five blocks a tile.
    let asked = [one(1, 4100), one(2, 2500), one(3, 7)];
    let heads = [4, 2, 64];
    let expected = in_one_go(heads, &asked);
    for multiprocessors in [2, 4, 132] {
        assert!(apart(&of_size(multiprocessors), heads, &asked) == expected, "{multiprocessors}");
    }
}

#[test]
fn a_row_alone_equals_the_row_in_a_crowd_and_in_packed_documents() {
    for heads in [[4, 2, 64], [2, 1, 128]] {
        let documents = [whole(3, 37), whole(1, 1100), whole(2, 9)];
        let (rows, _) = packed(&mut Device::new(5), &tuning(None), heads, &documents);
        let asked = [one(2, 8), one(1, 1099), one(1, 1024), one(4, 2060), one(1, 1023), one(1, 700)];
        let crowd = apart(&tuning(None), heads, &asked);
        for (i, q) in asked.iter().enumerate().filter(|(_, q)| q.document == 1) {
            assert_eq!(crowd[i], rows[37 + q.first as usize], "{heads:?}: {q:?}");
        }
        for i in [1, 3] {
            assert_eq!(apart(&tuning(None), heads, &asked[i..=i])[0], crowd[i], "{heads:?}: {:?}", asked[i]);
        }
    }
}

#[test]
fn chunks_of_several_queries_may_be_walked_apart_too() {
    for (heads, count) in [([2, 1, 128], 8), ([1, 1, 64], 5), ([4, 1, 64], 4)] {
        let asked = [Queries { document: 1, first: 1020, count }, one(2, 1500)];
        assert!(apart(&tuning(None), heads, &asked) == in_one_go(heads, &asked), "{heads:?}");
    }
}

/// What a launch of each kind takes for one row of so many keys, over a table of `room` pages.
fn taken(row: &Row<AttentionSegmentTile>, heads: [u32; 2], keys: u32, room: u32) -> [Counters; 2] {
    let heads = [heads[0], heads[1], row.tile.head_dim];
    let mut device = Device::new(3).and_workspace();
    let (_, reports) = paged_in(&mut device, &tuning(None), heads, &[one(1, keys - 1)], room);
    let counters: Vec<Counters> = reports.into_iter().map(|report| report.counters).collect();
    counters.try_into().unwrap_or_else(|_| panic!("{heads:?}"))
}

fn warps(counters: &Counters, class: Class) -> u64 {
    counters.warp_instructions[class as usize]
}

#[test]
fn the_main_loop_takes_no_more_instructions_an_mma_than_stated() {
    let taken = attention_segment_rows().iter().map(|row| {
        let [few, many] = [3, 7].map(|blocks| taken(row, [16, 1], blocks * 128, 64)[0].clone());
        assert_eq!(warps(&many, Class::Local), warps(&few, Class::Local), "{}", row.entry);
        let tensor = warps(&many, Class::Tensor) - warps(&few, Class::Tensor);
        (many.warp_total() - few.warp_total()) as f64 / tensor as f64
    });
    let taken: Vec<f64> = taken.collect();
    let close = |(taken, stated): (&f64, f64)| *taken <= stated && *taken > stated - 0.1;
    assert!(taken.iter().zip([15.35, 11.55, 9.5]).all(close), "{taken:.3?} instructions an mma");
}

#[test]
fn keys_and_values_are_read_once_for_all_heads_of_a_group_and_segments_leave_what_is_stated() {
    for row in attention_segment_rows() {
        let (d, keys, segments) = (u64::from(row.tile.head_dim), 2048 + 512, 3);
        let [walk, merge] = taken(row, [8, 2], keys, 64);
        // Queries, keys and values in bf16; bounds, positions, and the pages of 64 keys once a stage.
        let needed = (8 + 2 * 2 * u64::from(keys)) * d * 2;
        assert!(walk.unique_bytes_read <= needed + 4 * 64, "{}: {} bytes", row.entry, walk.unique_bytes_read);
        assert!(32 * walk.global_reads.sectors <= needed + needed / 20, "{}", row.entry);
        // Every row's share of every segment, whole sectors but for the eight bytes of its state.
        assert_eq!(walk.unique_bytes_written, 8 * segments * (4 * d + 8), "{}", row.entry);
        assert_eq!(walk.global_writes.sectors, 8 * segments * (d / 8 + 1), "{}", row.entry);
        assert_eq!([walk.bank_conflicts(), merge.bank_conflicts()], [0; 2], "{}", row.entry);
        // They are read again by a warp for each 128 columns, with the bounds and the position.
        assert!(merge.unique_bytes_read <= 8 * segments * (4 * d + 8) + 12, "{}", row.entry);
        let warps = 8 * d.div_ceil(128);
        let sectors = 8 * segments * d / 8 + warps * (2 * segments + 4);
        assert!(
            merge.global_reads.sectors <= sectors,
            "{}: {} {sectors}",
            row.entry,
            merge.global_reads.sectors
        );
        assert_eq!(merge.unique_bytes_written, 8 * (2 * d + 4), "{}", row.entry);
    }
}

#[test]
fn blocks_past_a_context_leave_at_once() {
    for row in attention_segment_rows() {
        let [near, far] = [17, 64 * 16].map(|room| taken(row, [1, 1], 100, room)[0].clone());
        // Two segments and sixty-four: each warp of a block more finds its document and the positions of its rows, and ends.
        let a_warp = (far.warp_total() - near.warp_total()) as f64 / 62.0 / 8.0;
        assert!(a_warp < 170.0, "{}: {a_warp}", row.entry);
        assert_eq!(far.unique_bytes_read, near.unique_bytes_read, "{}", row.entry);
    }
}

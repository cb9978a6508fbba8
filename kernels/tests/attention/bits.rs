//! What may not change a bit: the rows beside a row, where keys lie, the tile, the order in which blocks and warps run.

use crate::device::Device;
use crate::problem::{Bits, Heads, Queries, one, packed, packed_apart, paged, tuning, whole};
use octo_kernels::tuning::attention_rows;

const HEADS: [Heads; 4] = [[4, 2, 64], [3, 1, 128], [2, 1, 80], [1, 1, 192]];

fn in_rows(heads: Heads, asked: &[Queries]) -> Bits {
    packed(&mut Device::new(7), &tuning(None), heads, asked).0
}

fn in_pages(heads: Heads, asked: &[Queries]) -> Bits {
    paged(&mut Device::new(7).and_workspace(), &tuning(None), heads, asked).0
}

#[test]
fn a_row_alone_equals_the_row_in_a_crowd() {
    for heads in HEADS {
        let crowd = in_rows(heads, &[whole(1, 3), whole(2, 150), whole(3, 1), whole(4, 40)]);
        let at = [0, 3, 153, 154];
        for (document, position) in [(1, 0), (1, 2), (2, 0), (2, 63), (2, 128), (2, 149), (3, 0), (4, 39)] {
            let alone = in_pages(heads, &[one(document, position)]);
            let row = at[document as usize - 1] + position as usize;
            assert_eq!(alone[0], crowd[row], "{heads:?}: document {document}, position {position}");
        }
    }
}

#[test]
fn a_document_equals_itself_wherever_it_lies_in_a_batch() {
    for heads in HEADS {
        let alone = in_rows(heads, &[whole(2, 75)]);
        let between = in_rows(heads, &[whole(1, 33), whole(5, 0), whole(2, 75), whole(3, 130)]);
        assert_eq!(alone, between[33..33 + 75], "{heads:?}");
    }
}

#[test]
fn decoding_from_pages_equals_packed_rows_at_every_edge_of_blocks_and_segments() {
    let contexts = [1, 127, 128, 129, 1023, 1024, 1025, 2047, 2048, 2049];
    for heads in [[2, 1, 64], [1, 1, 128]] {
        let rows = in_rows(heads, &[whole(1, 2049)]);
        let asked: Vec<Queries> = contexts.iter().map(|&context| one(1, context - 1)).collect();
        for (context, decoded) in contexts.iter().zip(in_pages(heads, &asked)) {
            assert_eq!(decoded, rows[*context as usize - 1], "{heads:?}: context {context}");
        }
    }
}

#[test]
fn prefill_in_chunks_over_pages_equals_packed_rows() {
    for heads in HEADS {
        let rows = in_rows(heads, &[whole(1, 200)]);
        let chunks = [(0, 1), (1, 63), (64, 65), (129, 71)];
        for (first, count) in chunks {
            let chunk = in_pages(heads, &[one(2, 5), Queries { document: 1, first, count }]);
            assert_eq!(chunk[1..], rows[first as usize..(first + count) as usize], "{heads:?}: from {first}");
        }
    }
}

#[test]
fn every_tile_that_takes_a_head_gives_the_same_bits() {
    for heads in [[4, 2, 64], [2, 1, 128], [2, 2, 16]] {
        let asked = [whole(1, 20), whole(2, 140)];
        let expected = in_rows(heads, &asked);
        for row in attention_rows().iter().filter(|row| row.tile.head_dim >= heads[2]) {
            let tuning = tuning(Some(&row.entry));
            let (bits, _) = packed(&mut Device::new(7), &tuning, heads, &asked);
            assert!(bits == expected, "{} {heads:?}", row.entry);
        }
    }
}

#[test]
fn the_order_of_blocks_and_warps_changes_nothing() {
    for row in attention_rows() {
        let heads = [2, 1, row.tile.head_dim];
        let of = |seed| {
            paged(&mut Device::new(seed), &tuning(Some(&row.entry)), heads, &[one(1, 130), whole(2, 70)]).0
        };
        assert!(of(1) == of(2), "{}", row.entry);
    }
}

/// Row times stride leaves 32 bits.
#[test]
fn rows_further_apart_than_four_gibibytes() {
    for heads in HEADS {
        let asked = [whole(1, 2), whole(2, 3)];
        let (bits, _) = packed_apart(&mut Device::new(1), &tuning(None), heads, &asked, (1 << 31) - 64);
        assert_eq!(bits, in_rows(heads, &asked), "{heads:?}");
    }
}

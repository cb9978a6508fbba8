//! What may not change a bit of a gradient: the documents beside a document, tiles, the order in which blocks and warps run.

use crate::backward::{WIDTHS, fixed, gradients};
use crate::problem::{Bits, Heads, Queries, tuning, whole};

const HEADS: [Heads; 4] = [[4, 2, 64], [3, 1, 128], [2, 1, 80], [1, 1, 192]];

fn bits(heads: Heads, asked: &[Queries]) -> Bits {
    gradients(7, &tuning(None), heads, asked, 0).bits
}

#[test]
fn a_document_alone_equals_it_in_a_crowd() {
    for heads in HEADS {
        let crowd = bits(heads, &[whole(1, 33), whole(5, 0), whole(2, 75), whole(3, 1), whole(4, 130)]);
        assert!(bits(heads, &[whole(2, 75)]) == crowd[33..108], "{heads:?}");
        assert!(bits(heads, &[whole(3, 1)]) == crowd[108..109], "{heads:?}");
        assert!(bits(heads, &[whole(4, 130)]) == crowd[109..], "{heads:?}");
    }
}

#[test]
fn every_tile_that_takes_a_head_gives_the_same_bits() {
    for heads in [[4, 2, 64], [1, 1, 16], [3, 1, 128]] {
        let asked = [whole(1, 20), whole(2, 140)];
        let expected = bits(heads, &asked);
        for width in WIDTHS.into_iter().filter(|&width| width >= heads[2]) {
            assert!(gradients(7, &fixed(width), heads, &asked, 0).bits == expected, "{width} {heads:?}");
        }
    }
}

#[test]
fn the_order_of_blocks_and_warps_changes_nothing() {
    for heads in HEADS {
        let of = |seed| gradients(seed, &tuning(None), heads, &[whole(1, 70), whole(2, 135)], 0).bits;
        assert!(of(1) == of(2), "{heads:?}");
    }
}

/// Row times stride leaves 32 bits.
#[test]
fn rows_further_apart_than_four_gibibytes() {
    for heads in HEADS {
        let asked = [whole(1, 2), whole(2, 3)];
        let apart = gradients(1, &tuning(None), heads, &asked, (1 << 31) - 64).bits;
        assert!(apart == bits(heads, &asked), "{heads:?}");
    }
}

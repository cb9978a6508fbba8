//! What the kernels of gradients make a GPU do, against figures worked by hand and against the budgets of
//! `cuda/attention_backward.cu`.

use crate::backward::{WIDTHS, gradients, of_width};
use crate::problem::{tuning, whole};
use octo_kernels::tuning::AttentionGradient;
use octo_ptx::count::{Class, Counters};

fn warps(counters: &Counters, class: Class) -> u64 {
    counters.warp_instructions[class as usize]
}

/// A document of 128 tokens under one head of 128 elements: one block of eight warps for each kernel, two stages. Warp w has
/// rows (or keys) 16w to 16w + 15; of four slices of 32 keys (or rows) it skips those that hide: 1, 1, 2, 2, 3, 3, 4, 4 are
/// left (or 4, 4, 3, 3, 2, 2, 1, 1).
const SLICES: u64 = 20;

#[test]
fn dq_of_128_queries_and_128_keys_does_what_was_worked_out_by_hand() {
    let [c, _] = gradients(3, &tuning(None), [1, 1, 128], &[whole(1, 128)], 0).counters;
    // Scores, and dout by values: 8 steps × 4 eights of keys each; dq: 2 steps × 16 eights of columns.
    assert_eq!(warps(&c, Class::Tensor), SLICES * (2 * 8 * 4 + 2 * 16));
    assert_eq!(c.mma_flops, 4096 * warps(&c, Class::Tensor));
    // Fragments, of two eights each; 8 of queries, dout and out a warp; chunks of these, keys and values. Every request
    // is four wavefronts.
    assert_eq!(c.shared_requests, SLICES * (2 * 8 * 2 + 2 * 8) + 8 * 3 * 8 + 5 * 2048 / 32);
    assert_eq!(c.shared_wavefronts, 4 * c.shared_requests);
    // The same five matrices, the log-sum-exps and the bounds of the document.
    assert_eq!(c.unique_bytes_read, 5 * 32768 + 512 + 8);
    // dq, and eight bytes a row.
    assert_eq!(c.unique_bytes_written, 32768 + 1024);
    assert_eq!(c.global_writes.efficiency(), 1.0);
    // What is owned has come; has been read; each stage.
    assert_eq!(c.barriers, 1 + 1 + 2);
    assert_eq!(warps(&c, Class::Local), 0);
}

#[test]
fn dk_and_dv_of_128_keys_and_128_queries_do_what_was_worked_out_by_hand() {
    let [_, c] = gradients(3, &tuning(None), [1, 1, 128], &[whole(1, 128)], 0).counters;
    // As for dq, with two gradients.
    assert_eq!(warps(&c, Class::Tensor), SLICES * (2 * 8 * 4 + 2 * 2 * 16));
    // Fragments as for dq, values again for each slice, and what is known of eight rows at a time, sixteen bytes a lane; 8
    // fragments of keys a warp; chunks of keys, values, queries and dout; eight bytes for each of 128 rows.
    let (fours, twos) = (SLICES * (2 * 8 * 2 + 2 * 2 * 8 + 8 + 4) + 8 * 8 + 4 * 2048 / 32, 128 / 32);
    assert_eq!(c.shared_requests, fours + twos);
    assert_eq!(c.shared_wavefronts, 4 * fours + 2 * twos);
    assert_eq!(c.unique_bytes_read, 4 * 32768 + 1024 + 8);
    assert_eq!(c.unique_bytes_written, 2 * 32768);
    assert_eq!(c.global_writes.efficiency(), 1.0);
    // What is owned has come; each stage.
    assert_eq!(c.barriers, 1 + 2);
    assert_eq!(warps(&c, Class::Local), 0);
}

/// Documents of one, two and three times 128 tokens have one, two and three blocks of 128 × 128 scores on the diagonal and
/// none, one and three below it: the second difference is one such block, where nothing hides.
#[test]
fn the_main_loops_take_no_more_of_instructions_and_shared_memory_than_stated() {
    for width in WIDTHS {
        let counted = |n: u32| gradients(3, &tuning(None), [1, 1, width], &[whole(1, 128 * n)], 0).counters;
        let [one, two, three] = [1, 2, 3].map(counted);
        for (kernel, row) in of_width(width).into_iter().enumerate() {
            let second = |of: &dyn Fn(&Counters) -> u64| {
                (of(&three[kernel]) + of(&one[kernel]) - 2 * of(&two[kernel])) as f64
            };
            let tensor = second(&|c| warps(c, Class::Tensor));
            let a_mma = |of: &dyn Fn(&Counters) -> u64| second(of) / tensor;
            // Two products, and one or two gradients; where blocks share the columns each computes the products.
            let (products, instructions, wavefronts) = match (row.tile.gradient, width) {
                (AttentionGradient::Queries, 64) => (3, 4.05, 1.2),
                (AttentionGradient::Keys, 64) => (4, 4.1, 1.8),
                (AttentionGradient::Queries, 128) => (3, 3.25, 2.2),
                (AttentionGradient::Keys, 128) => (4, 3.4, 2.55),
                (AttentionGradient::Queries, _) => (3, 3.6, 3.7),
                (AttentionGradient::Keys, _) => (6, 4.4, 3.8),
            };
            assert_eq!(tensor, f64::from(products * 128 * 128 * width / 2048), "{}", row.entry);
            for (taken, budget, what) in [
                (a_mma(&|c| c.warp_total()), instructions, "instructions"),
                (a_mma(&|c| c.shared_wavefronts), wavefronts, "wavefronts"),
            ] {
                assert!(taken <= budget, "{}: {taken:.3} {what} an mma, stated {budget}", row.entry);
                assert!(taken > budget - 0.1, "{}: {taken:.3} {what} is better than {budget}", row.entry);
            }
            assert_eq!(second(&|c| warps(c, Class::Local)), 0.0, "{}", row.entry);
        }
    }
}

#[test]
fn no_access_to_shared_memory_conflicts() {
    for width in WIDTHS {
        for heads in [[3, 1, width], [1, 1, width - 16]] {
            let counters = gradients(3, &tuning(None), heads, &[whole(1, 150), whole(2, 9)], 0).counters;
            assert_eq!(counters.map(|c| c.bank_conflicts()), [0, 0], "{heads:?}");
        }
    }
}

//! What may not change a bit: the tile, the rows beside a row, the order in which blocks and warps run.

use crate::device::Device;
use crate::problem::{ROUGH, Values, run, shape};
use octo_kernels::tuning::rows;

const N: u32 = 80;
/// Ends inside a step, inside a stage of every tile.
const K: u32 = 328;

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

#[test]
fn a_row_alone_equals_the_row_in_a_crowd_on_every_tile() {
    for op in ["linear_residual", "gate_up_swiglu", "qkv_rope", "head_logits"] {
        let mut crowd = None;
        for row in rows().iter().filter(|row| row.op == op) {
            let of = |first_row: u32, m: u32| {
                let values = Values { first_row, ..ROUGH };
                bits(&run(&mut Device::new(7), row, shape(m, N, K), &values, false).out)
            };
            let crowd: &Vec<Vec<u32>> = crowd.get_or_insert_with(|| of(0, 130));
            for (first, m) in
                [(0, 130), (0, 1), (1, 1), (15, 1), (64, 1), (129, 1), (3, 7), (9, 16), (100, 17)]
            {
                let part = &crowd[first as usize..(first + m) as usize];
                assert_eq!(of(first, m), part, "{}: rows {first}, {m} of them", row.entry);
            }
        }
    }
}

#[test]
fn every_tile_of_an_op_gives_the_same_bits() {
    for op in ["linear_backward_input", "linear_backward_weight"] {
        let results: Vec<_> = rows()
            .iter()
            .filter(|row| row.op == op)
            .map(|row| bits(&run(&mut Device::new(7), row, shape(70, N, K), &ROUGH, true).out))
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{op}");
    }
}

#[test]
fn heads_are_the_columns_of_the_plain_product() {
    let of = |op: &str| {
        let row = rows().iter().find(|row| row.op == op).unwrap();
        run(&mut Device::new(7), row, shape(17, N, K), &ROUGH, false).out
    };
    let rounded = |row: Vec<f32>| row.into_iter().map(|sum| half::bf16::from_f32(sum).to_f32()).collect();
    let plain: Vec<Vec<f32>> = of("head_logits").into_iter().map(rounded).collect();
    assert_eq!(bits(&of("qkv_rope")), bits(&plain));
}

#[test]
fn a_columns_bits_do_not_depend_on_the_columns_beside_it() {
    for row in rows() {
        let of = |n: u32| bits(&run(&mut Device::new(7), row, shape(5, n, K), &ROUGH, false).out);
        let (few, many) = (of(16), of(272));
        assert!(few.iter().zip(&many).all(|(few, many)| *few == many[..few.len()]), "{}", row.entry);
    }
}

#[test]
fn the_order_of_blocks_and_warps_changes_nothing() {
    for row in rows() {
        let s = shape(row.tile.m + 1, row.tile.n + 16, 3 * row.tile.k);
        let of = |seed| bits(&run(&mut Device::new(seed), row, s, &ROUGH, true).out);
        assert_eq!(of(1), of(2), "{}", row.entry);
    }
}

use super::table::{GEMMS, Product};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[test]
fn entries_are_unique() {
    let products = rows().iter().chain(head_parts_rows()).map(|row| row.entry.as_str());
    let attention = attention_rows().iter().map(|row| row.entry.as_str());
    let attention = attention.chain(attention_segment_rows().iter().map(|row| row.entry.as_str()));
    let backward = attention_backward_rows().iter().map(|row| row.entry.as_str());
    let entries: BTreeSet<&str> = products.chain(attention).chain(backward).collect();
    let attention = attention_rows().len() + attention_segment_rows().len();
    let products = rows().len() + head_parts_rows().len();
    assert_eq!(entries.len(), products + attention + attention_backward_rows().len());
}

#[test]
fn rows_of_an_op_give_the_same_bits() {
    for row in rows() {
        assert!(rows().iter().filter(|other| other.op == row.op).all(|other| other.bits == row.bits));
    }
}

#[test]
fn every_tile_fits_the_smallest_ampere_and_its_promised_neighbours() {
    let attention = attention_rows()
        .iter()
        .map(|Row { entry, tile, .. }| (entry, tile.shared_bytes(), tile.resident, tile.threads()));
    let products = rows()
        .iter()
        .map(|Row { entry, tile, .. }| (entry, tile.shared_bytes(), tile.resident, tile.threads()));
    let backward = attention_backward_rows()
        .iter()
        .map(|Row { entry, tile, .. }| (entry, tile.shared_bytes(), tile.resident, tile.threads()));
    let segments = attention_segment_rows()
        .iter()
        .map(|Row { entry, tile, .. }| (entry, tile.shared_bytes(), tile.resident, tile.threads()));
    for (entry, bytes, resident, threads) in products.chain(attention).chain(segments).chain(backward) {
        // A block may take 99 KiB on 8.6 and 8.9; a multiprocessor of an A100 has 164 KiB and 64 Ki registers,
        // each block costs 1 KiB of its own.
        assert!(bytes <= 99 * 1024, "{entry}: {bytes}");
        assert!(resident * (bytes + 1024) <= 164 * 1024, "{entry}");
        assert!(resident * threads * 64 <= 65536, "{entry}");
    }
}

#[test]
fn dispatch_chooses_as_the_reasons_say() {
    let tuning = Tuning::new(Capability::A100);
    let tile = |op, m, n| {
        let tile = tuning.row(op, m, n).unwrap().tile;
        (tile.m, tile.n)
    };
    assert_eq!(tile("linear_residual", 1, 2048), (16, 16));
    assert_eq!(tile("linear_residual", 16, 8192), (16, 64));
    assert_eq!(tile("linear_residual", 17, 2048), (32, 32));
    assert_eq!(tile("linear_residual", 32, 8192), (32, 64));
    assert_eq!(tile("linear_residual", 33, 8192), (64, 64));
    assert_eq!(tile("linear_residual", 64, 896), (64, 64));
    assert_eq!(tile("linear_residual", 256, 1024), (64, 64));
    assert_eq!(tile("linear_residual", 256, 2048), (128, 64));
    assert_eq!(tile("linear_residual", 256, 3456), (128, 64));
    assert_eq!(tile("linear_residual", 1024, 3456), (128, 128));
    assert_eq!(tile("linear_residual", 8192, 6912), (128, 256));
    assert_eq!(tile("gate_up_swiglu", 1, 9728), (16, 64));
    assert_eq!(tile("qkv_rope", 1, 3072), (16, 32));
    assert_eq!(tile("head_logits", 1, 128_256), (16, 64));
    assert_eq!(tile("head_logits", 512, 128_256), (128, 256));
    assert_eq!(tile("linear_backward_input", 1, 64), (64, 64));
    assert_eq!(tile("linear_backward_weight", 4096, 14336), (128, 256));
}

#[test]
fn attention_takes_the_narrowest_head_and_covers_the_rows() {
    let mut tuning = Tuning::new(Capability::A100);
    let tile = |tuning: &Tuning, head_dim, rows| {
        let tile = tuning.attention(head_dim, rows).unwrap().tile;
        (tile.head_dim, tile.rows)
    };
    assert_eq!(tile(&tuning, 64, 1), (64, 16));
    assert_eq!(tile(&tuning, 16, 17), (64, 128));
    assert_eq!(tile(&tuning, 80, 16), (128, 16));
    assert_eq!(tile(&tuning, 128, 1 << 40), (128, 128));
    assert_eq!(tile(&tuning, 136, 4096), (256, 64));
    tuning.fix("attention", "attention_sm80_hd128_128x64_s4").unwrap();
    assert_eq!(tile(&tuning, 64, 1), (128, 128));
    let wide = tuning.attention(256, 1).unwrap_err();
    assert_eq!(wide, TuningError::HeadTooWide { op: "attention", head_dim: 256, most: 128 });
    assert!(tuning.fix("attention", "linear_residual_sm80_nt_64x64x64_s4").is_err());
}

#[test]
fn segments_are_dealt_out_where_blocks_are_few() {
    let mut tuning = Tuning::new(Capability::A100);
    let apart = |tuning: &Tuning, rows, blocks, segments| {
        let tile = tuning.attention(128, rows).unwrap().tile;
        tuning.attention_segments(&tile, blocks, segments).map(|(row, apart)| (row.entry.as_str(), apart))
    };
    let entry = "attention_segments_sm80_hd128_16x16_s2";
    // Four turns of 108 multiprocessors with a block each.
    assert_eq!(apart(&tuning, 4, 8, 128), Some((entry, 54)));
    assert_eq!(apart(&tuning, 4, 8, 5), Some((entry, 5)));
    assert_eq!(apart(&tuning, 4, 216, 128), Some((entry, 2)));
    assert_eq!(apart(&tuning, 4, 432, 128), None);
    assert_eq!(apart(&tuning, 4, 8, 1), Some((entry, 1)));
    assert_eq!(apart(&tuning, 4, 432, 1), None);
    // Packed rows have no pages.
    assert_eq!(apart(&tuning, 4, 8, 0), None);
    // Tall tiles walk all keys, and so does what a user has fixed.
    assert_eq!(apart(&tuning, 17, 8, 128), None);
    tuning.fix("attention", "attention_sm80_hd128_16x64_s4").unwrap();
    assert_eq!(apart(&tuning, 4, 8, 128), None);
}

#[test]
fn few_rows_share_the_multiprocessors_and_many_have_a_block_each() {
    let tuning = Tuning::new(Capability::A100);
    assert_eq!(tuning.head_slices(1, 1002), Some([63, 16]));
    assert_eq!(tuning.head_slices(32, 1002), Some([3, 334]));
    assert_eq!(tuning.head_slices(54, 1002), Some([2, 501]));
    assert_eq!(tuning.head_slices(55, 1002), None);
    assert_eq!(tuning.head_slices(1, 16), None);
    assert_eq!(tuning.head_slices(0, 1002), None);
    let wide = Tuning::new(Capability { multiprocessors: 1000, ..Capability::A100 });
    assert_eq!(wide.head_slices(1, 1 << 20), Some([256, 4096]));
}

#[test]
fn gradients_of_attention_take_the_narrowest_head_and_are_fixed_apart() {
    use AttentionGradient::{Keys, Queries};
    let mut tuning = Tuning::new(Capability::A100);
    let width = |tuning: &Tuning, gradient, head_dim| {
        let row = tuning.attention_backward(gradient, head_dim).unwrap();
        assert_eq!(row.tile.gradient, gradient);
        row.tile.head_dim
    };
    for (head_dim, wide) in [(16, 64), (64, 64), (80, 128), (128, 128), (136, 256)] {
        assert_eq!([Queries, Keys].map(|gradient| width(&tuning, gradient, head_dim)), [wide; 2]);
    }
    for head_dim in [256, 128] {
        let row = Tuning::new(Capability::A100).attention_backward(Keys, head_dim).unwrap();
        tuning.fix("attention_backward", &row.entry).unwrap();
        assert_eq!([Queries, Keys].map(|gradient| width(&tuning, gradient, 8)), [64, head_dim]);
    }
    let wide = tuning.attention_backward(Keys, 136).unwrap_err().to_string();
    assert_eq!(wide, "attention_backward: heads of 136 elements are wider than the kernel takes (128)");
}

#[test]
fn an_override_serves_every_shape_or_is_refused() {
    let mut tuning = Tuning::new(Capability::A100);
    tuning.fix("linear_residual", "linear_residual_sm80_nt_64x64x64_s4").unwrap();
    assert_eq!(tuning.row("linear_residual", 1, 16).unwrap().tile.m, 64);
    let wrong = tuning.fix("gate_up_swiglu", "linear_residual_sm80_nt_64x64x64_s4").unwrap_err();
    assert!(wrong.to_string().contains("gate_up_swiglu_sm80_nt_64x64x64_s4"), "{wrong}");
    let small = Capability { shared_bytes: 48 * 1024, ..Capability::A100 };
    let wrong = Tuning::new(small).fix("gate_up_swiglu", "gate_up_swiglu_sm80_nt_128x128x32_s4").unwrap_err();
    assert!(matches!(wrong, TuningError::TooLarge { needed: 65536, .. }), "{wrong}");
}

#[test]
fn a_device_before_ampere_is_refused() {
    let volta = Capability { version: (7, 0), ..Capability::A100 };
    assert!(Tuning::new(volta).row("linear_residual", 1, 1).is_err());
}

proptest! {
    #[test]
    fn every_shape_has_a_row_that_is_not_taller_than_it_needs(m in 1u32..100_000, n in 1u32..300_000) {
        for Product { op, .. } in GEMMS {
            let tile = Tuning::new(Capability::A100).row(op, m, n).unwrap().tile;
            prop_assert!(tile.m <= m.next_power_of_two().max(64));
        }
    }
}

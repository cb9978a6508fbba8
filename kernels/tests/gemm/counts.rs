//! What the kernels make a GPU do, against figures worked by hand and against the budgets of `cuda/gemm.cu`.

use crate::device::Device;
use crate::problem::{EXACT, run, shape};
use octo_kernels::tuning::{Row, Tile, rows};
use octo_ptx::count::{Class, Counters};

fn counters(row: &Row, m: u32, n: u32, k: u32, flag: bool) -> Counters {
    run(&mut Device::new(3), row, shape(m, n, k), &EXACT, flag).report.counters
}

fn row(entry: &str) -> &'static Row {
    rows().iter().find(|row| row.entry == entry).unwrap()
}

fn warps(counters: &Counters, class: Class) -> u64 {
    counters.warp_instructions[class as usize]
}

/// One block of 128 × 128 outputs and 128 terms: four stages of 32, four warps.
#[test]
fn a_block_of_128_by_128_by_128_does_what_was_worked_out_by_hand() {
    let c = counters(row("linear_residual_sm80_nt_128x128x32_s4"), 128, 128, 128, false);
    assert_eq!(c.mma_flops, 2 * 128 * 128 * 128);
    // A warp's 64 × 64 outputs are 4 × 8 blocks, over 8 steps.
    assert_eq!(warps(&c, Class::Tensor), 4 * 4 * 8 * 8);
    // A step's fragments are 4 + 4 ldmatrix; those of one step more are read past the end. A thread copies 4 + 4
    // chunks a stage; three stages more are copied, as zeros.
    let (read, copied) = (4 * 8 * (8 + 1), 4 * 8 * (4 + 3));
    // Eight rows of 16 bytes are a wavefront: four of them each.
    assert_eq!(c.shared_requests, read + copied);
    assert_eq!(c.shared_wavefronts, 4 * (read + copied));
    assert_eq!(c.bank_conflicts(), 0);
    // Both operands and the residual are 32 KiB of whole sectors each, read once; the result is as large.
    assert_eq!(c.global_reads.sectors, 3 * 1024);
    assert_eq!(c.global_reads.requests, 4 * 8 * 4 + 4 * 16);
    assert_eq!(c.global_reads.useful_bytes, 3 * 32768);
    assert_eq!(c.unique_bytes_read, 3 * 32768);
    assert_eq!(c.global_writes.sectors, 1024);
    assert_eq!(c.global_writes.requests, 4 * 16);
    assert_eq!(c.unique_bytes_written, 32768);
    // Before the first stage and in each.
    assert_eq!(c.barriers, 1 + 4);
    // A warp's 64 × 64 bf16 are 16 groups of four pieces: four shuffles each for the residual and for the result.
    assert_eq!(warps(&c, Class::Shuffle), 4 * 16 * 8);
    assert_eq!(warps(&c, Class::Local), 0);
}

/// `linear_residual_sm80_nt_128x128x32_s4`, everything aligned and inside: 344 up to the loop, 133 a stage, then four times
/// eight parts of a warp's outputs, each with a jump over its ragged way. The first four times lay addresses out.
#[test]
fn instructions_are_those_read_off_the_listing() {
    let c = counters(row("linear_residual_sm80_nt_128x128x32_s4"), 128, 128, 128, false);
    let first = 38 + 21 + 22 + 20 + 218 + 36 + 39 + 32 + 8;
    let further = 25 + 19 + 22 + 18 + 212 + 32 + 36 + 32 + 8;
    assert_eq!(c.warp_total(), 4 * (344 + 4 * 133 + first + 3 * further + 1));
}

/// Instructions that one mma more brings, from two lengths of k.
fn instructions_an_mma(row: &Row) -> f64 {
    let Tile { m, n, k, .. } = row.tile;
    let [few, many] = [8, 24].map(|stages| counters(row, m, n, stages * k, false));
    let (instructions, products) =
        (many.warp_total() - few.warp_total(), warps(&many, Class::Tensor) - warps(&few, Class::Tensor));
    instructions as f64 / products as f64
}

#[test]
fn the_main_loop_takes_no_more_instructions_an_mma_than_stated() {
    let mut wrong = Vec::new();
    for row in rows() {
        let layout = row.defines.iter().find(|(name, _)| *name == "LAYOUT").unwrap().1.as_str();
        let budget = match (row.tile.m, row.tile.n, layout) {
            (16, 16, _) => 12.8,
            (16, 32, _) => 7.8,
            (16, 64, _) if row.op == "qkv_rope" => 7.4,
            (16, 64, _) => 7.5,
            (32, 32, _) => 5.2,
            (32, 64, _) if row.op == "qkv_rope" => 3.6,
            (32, 64, _) => 3.75,
            (64, 64, "NN") => 3.45,
            (64, 64, _) if row.op == "qkv_rope" => 3.4,
            (64, 64, _) => 3.25,
            (128, 64, _) if row.op == "qkv_rope" => 2.6,
            (128, 64, _) => 2.5,
            (128, 128, "NT") => 2.1,
            (128, 128, "NN") => 2.25,
            (128, 128, _) => 2.35,
            (128, 256, "NT") => 2.0,
            _ => 2.2,
        };
        let taken = instructions_an_mma(row);
        if !(taken <= budget && taken > budget - 0.1) {
            wrong.push(format!("{}: {taken:.3} instructions an mma, stated {budget}", row.entry));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_access_to_shared_memory_conflicts() {
    for row in rows() {
        let Tile { m, n, k, .. } = row.tile;
        for (m, n, k) in [(m, n, 4 * k), (m + 9, n + 40, 2 * k + 8)] {
            let c = counters(row, m, n.next_multiple_of(16), k, true);
            assert_eq!(c.bank_conflicts(), 0, "{}", row.entry);
        }
    }
}

#[test]
fn a_product_reads_and_writes_no_more_than_its_tiles_need() {
    for row in rows().iter().filter(|row| row.op != "qkv_rope") {
        let tile = row.tile;
        let (m, n, k) = (2 * tile.m, 2 * tile.n, 16 * tile.k);
        let c = counters(row, m, n, k, true);
        let outputs = u64::from(m * n);
        // Bytes an output of what is read besides the operands, and of what is written.
        let (read, written) = match row.op {
            "linear_residual" => (2, 2),
            "gate_up_swiglu" => (0, 3),
            "linear_backward_input" => (0, 2),
            "head_logits" => (0, 4),
            _ => (4, 4),
        };
        let panels = tile.blocks(m, n) * u64::from((tile.m + tile.n) * k * 2);
        let (needed, asked) = (panels + outputs * read, 32 * c.global_reads.sectors);
        assert_eq!(c.global_reads.useful_bytes, needed, "{}", row.entry);
        assert!(asked as f64 <= 1.05 * needed as f64, "{}: {asked} bytes for {needed}", row.entry);
        assert_eq!(c.global_writes.useful_bytes, outputs * written, "{}", row.entry);
        assert_eq!(c.global_reads.wide_share(), 1.0, "{}", row.entry);
        assert_eq!(c.global_writes.wide_share(), 1.0, "{}", row.entry);
        // A warp eight columns wide writes half sectors, a 512th of what the block reads here: with one column of warps
        // each output, with four the products of gate and up, a third of the bytes.
        let efficiency = match (tile.n, row.op) {
            (16, _) => 0.5,
            (64, "gate_up_swiglu") if tile.m == 16 => 0.75,
            _ => 1.0,
        };
        assert_eq!(c.global_writes.efficiency(), efficiency, "{}", row.entry);
        assert_eq!(c.unique_bytes_written, outputs * written, "{}", row.entry);
    }
}

#[test]
fn heads_cost_the_table_besides_and_are_written_in_whole_sectors() {
    for row in rows().iter().filter(|row| row.op == "qkv_rope") {
        let tile = row.tile;
        let (m, n, k) = (2 * tile.m, 4 * tile.n, 16 * tile.k);
        let c = counters(row, m, n, k, false);
        let kv_heads = (n / 64 - 1) / 2;
        // Of the table a thread reads two numbers for each pair of q and k that it turns, and the position of each of its
        // rows; a warp's eight rows turn by one row of the table here.
        let turned = u64::from(m * (n - 64 * kv_heads)) * 4 / 8;
        let panels = tile.blocks(m, n) * u64::from((tile.m + tile.n) * k * 2);
        let positions = u64::from(m * n / (tile.n / tile.warps[1])) * 4;
        assert_eq!(c.global_reads.useful_bytes, panels + turned + positions, "{}", row.entry);
        assert_eq!(c.global_writes.useful_bytes, 2 * u64::from(m * n), "{}", row.entry);
        assert_eq!(c.global_writes.wide_share(), 1.0, "{}", row.entry);
        // A warp with one sixteen of columns has half a sector of either half of a head.
        let efficiency = if tile.m == 16 { 0.5 } else { 1.0 };
        assert_eq!(c.global_writes.efficiency(), efficiency, "{}", row.entry);
        // The whole table is one row.
        assert_eq!(c.unique_bytes_read, u64::from((m + n) * k * 2 + 64 * 4 + m * 4), "{}", row.entry);
    }
}

#[test]
fn rows_that_are_not_there_cost_no_traffic() {
    let row = row("linear_residual_sm80_nt_16x64x64_s6");
    let c = counters(row, 1, 64, 512, false);
    // One row of x, 64 of the weight, and 128 bytes of residual; 1 KiB a row is 32 sectors.
    assert_eq!(c.global_reads.sectors, 32 + 64 * 32 + 4);
    assert_eq!(c.global_writes.sectors, 4);
}

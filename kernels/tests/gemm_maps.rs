//! The index maps of `cuda/include/gemm_tile.cuh` as plain functions: where a chunk lies in a panel, which chunk a lane
//! copies, which row a lane names to ldmatrix, and which element of the product each register then holds.

use octo_kernels::tuning::{Row, rows};
use std::collections::BTreeSet;

/// `Panel` with `columns` bf16 a row.
#[derive(Clone, Copy)]
struct Panel {
    rows: u32,
    columns: u32,
}

impl Panel {
    fn chunks(self) -> u32 {
        self.columns / 8
    }

    fn offset(self, row: u32, chunk: u32) -> u32 {
        let key = if self.chunks() == 4 { (row >> 1) & 3 } else { row & 7 };
        row * self.columns * 2 + ((chunk ^ key) << 4)
    }
}

/// One operand of a row of the table: its panel, whether k is contiguous, its extent within a warp, its warps.
#[derive(Clone, Copy)]
struct Operand {
    panel: Panel,
    k_major: bool,
    is_a: bool,
    extent: u32,
    warps: u32,
    threads: u32,
    k: u32,
}

fn operands() -> impl Iterator<Item = Operand> {
    rows().iter().flat_map(|row| [operand(row, true), operand(row, false)])
}

fn operand(row: &Row, is_a: bool) -> Operand {
    let layout = &row.defines.iter().find(|(name, _)| *name == "LAYOUT").unwrap().1;
    let k_major = layout == "NT" || (layout == "NN" && is_a);
    let tile = row.tile;
    let (own, warps) = if is_a { (tile.m, tile.warps[0]) } else { (tile.n, tile.warps[1]) };
    let (rows, columns) = if k_major { (own, tile.k) } else { (tile.k, own) };
    let panel = Panel { rows, columns };
    Operand { panel, k_major, is_a, extent: own / warps, warps, threads: tile.threads(), k: tile.k }
}

/// `FragmentReader`: the byte that `lane` names for sixteen `i` of step `step`, by way of the permuted address that it
/// keeps and an immediate offset.
fn named(o: Operand, warp: u32, lane: u32, step: u32, i: u32) -> u32 {
    let own_half = match (o.extent < 16, o.is_a) {
        (true, _) => 0,
        (_, true) => (lane >> 3) & 1,
        (_, false) => lane >> 4,
    };
    let k_half = if o.is_a { lane >> 4 } else { (lane >> 3) & 1 };
    let first = warp * o.extent;
    let (row, chunk) = if o.k_major {
        ((lane & 7) + 8 * own_half + first, k_half)
    } else {
        ((lane & 7) + 8 * k_half, own_half + first / 8)
    };
    let (varied, fixed) = if o.k_major { (step, i) } else { (i, step) };
    (o.panel.offset(row, chunk) ^ (varied * 32)) + fixed * 16 * o.panel.columns * 2
}

/// The element (own index, k) at a byte of the panel.
fn element(o: Operand, byte: u32) -> (u32, u32) {
    let row = byte / (o.panel.columns * 2);
    let chunk = (0..o.panel.chunks()).find(|&chunk| o.panel.offset(row, chunk) == byte & !15).unwrap();
    let column = chunk * 8 + byte % 16 / 2;
    if o.k_major { (row, column) } else { (column, row) }
}

fn banks(bytes: impl Iterator<Item = u32>) -> usize {
    bytes.map(|byte| byte % 128 / 16).collect::<BTreeSet<u32>>().len()
}

#[test]
fn every_chunk_has_a_place_of_its_own() {
    for Operand { panel, .. } in operands() {
        let places: BTreeSet<u32> = (0..panel.rows)
            .flat_map(|row| (0..panel.chunks()).map(move |chunk| panel.offset(row, chunk)))
            .collect();
        assert_eq!(places.len() as u32, panel.rows * panel.chunks());
        assert_eq!(places.last(), Some(&(panel.rows * panel.columns * 2 - 16)));
    }
}

#[test]
fn a_stage_is_copied_once_whole_and_without_conflicts() {
    for Operand { panel, threads, .. } in operands() {
        let pass = threads / panel.chunks();
        let mut written = BTreeSet::new();
        for i in 0..panel.rows / pass {
            let places: Vec<u32> = (0..threads)
                .map(|thread| {
                    let (first, chunk) = (thread / panel.chunks(), thread % panel.chunks());
                    panel.offset(first, chunk) + i * pass * panel.columns * 2
                })
                .collect();
            // Eight lanes of 16 bytes are one pass over the banks.
            assert!(places.chunks(8).all(|eight| banks(eight.iter().copied()) == 8));
            written.extend(places);
        }
        assert_eq!(written.len() as u32, panel.rows * panel.chunks());
    }
}

#[test]
fn reading_fragments_touches_every_bank_once() {
    for o in operands() {
        for warp in 0..o.warps {
            for step in 0..o.k / 16 {
                for i in 0..o.extent.div_ceil(16) {
                    for matrix in 0..4 {
                        let lanes = matrix * 8..matrix * 8 + 8;
                        assert_eq!(banks(lanes.map(|lane| named(o, warp, lane, step, i))), 8);
                    }
                }
            }
        }
    }
}

/// mma.m16n8k16: register r of lane holds this (own index, k) and the next k; `b` has two registers for each eight of
/// its columns.
fn wanted(is_a: bool, lane: u32, register: u32) -> (u32, u32) {
    let (g, t) = (lane / 4, lane % 4);
    let (own_half, k_half) = if is_a { (register % 2, register / 2) } else { (register / 2, register % 2) };
    (g + 8 * own_half, 2 * t + 8 * k_half)
}

#[test]
fn every_register_holds_the_element_that_mma_wants_there() {
    for o in operands() {
        let matrices = if o.extent < 16 { 2 } else { 4 };
        for (warp, step) in (0..o.warps).flat_map(|warp| (0..o.k / 16).map(move |step| (warp, step))) {
            for (i, lane) in (0..o.extent.div_ceil(16)).flat_map(|i| (0..32).map(move |lane| (i, lane))) {
                for register in 0..matrices {
                    for half in 0..2 {
                        // ldmatrix: row l/4, elements 2·(l%4) and +1 of what lanes 8r to 8r+7 name; transposed: those
                        // rows' element l/4.
                        let (row, column) = if o.k_major {
                            (lane / 4, 2 * (lane % 4) + half)
                        } else {
                            (2 * (lane % 4) + half, lane / 4)
                        };
                        let byte = named(o, warp, register * 8 + row, step, i) + column * 2;
                        let (own, k) = wanted(o.is_a, lane, register);
                        let expected = (warp * o.extent + i * 16 + own, step * 16 + k + half);
                        assert_eq!(element(o, byte), expected, "lane {lane} register {register}");
                    }
                }
            }
        }
    }
}

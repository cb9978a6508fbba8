//! Barriers left out, or reached by some threads only.

use crate::on::{NARROW, norm, product};
use crate::plant::*;
use octo_ptx::check::{Hazard, Missing};
use octo_ptx::sim::Fault;
use octo_ptx::{Compare, Kernel, Operand, Operation, Register, Special};

fn missing(fault: &Fault, want: Missing) -> bool {
    matches!(fault, Fault::Race { hazard, .. } if matches!(**hazard, Hazard::Race { missing, .. } if missing == want))
}

/// What another warp copies is on its way, and that warp has not waited for it.
fn anothers_copy(fault: &Fault) -> bool {
    matches!(fault, Fault::Race { hazard, .. } if matches!(**hazard,
        Hazard::CopyNotAwaited { copy, access, .. } if copy.thread / 32 != access.thread / 32))
}

/// What else a missing barrier looks like: it would have ordered two lanes of a warp too, and made others wait for copies.
fn met_otherwise(fault: &Fault) -> bool {
    let Fault::Race { hazard, .. } = fault else { return READ_TOO_EARLY(fault) };
    matches!(**hazard, Hazard::CopyNotAwaited { .. } | Hazard::Race { missing: Missing::WarpBarrier, .. })
}

/// Whether fewer than 16 bytes of a thread's first chunk exist.
fn chunk_is_cut(kernel: &Kernel) -> Register {
    let sixteen = Operand::Immediate(16);
    let at = find(kernel, 0, 0, |line| matches!(line, Operation::Select { b, .. } if *b == sixteen));
    let Operation::Select { p: Operand::Register(p), .. } = kernel.body[at].operation else { unreachable!() };
    p
}

/// Whether a thread's first eight lies past the row's end.
fn eight_is_past(kernel: &Kernel) -> Register {
    let ge = |line: &Operation| matches!(line, Operation::SetPredicate { compare: Compare::Ge, .. });
    let Operation::SetPredicate { p, .. } = kernel.body[find(kernel, 0, 1, ge)].operation else {
        unreachable!()
    };
    p
}

fn is_shuffle(operation: &Operation) -> bool {
    matches!(operation, Operation::Shuffle { .. })
}

#[test]
fn a_missing_barrier_is_a_race_between_warps() {
    let planted = |name, on, plant, at| Planted {
        name,
        on,
        plant,
        at,
        is: |fault| missing(fault, Missing::Barrier),
        or: met_otherwise,
    };
    all_are_reported(&[
        Planted {
            // A warp's own lanes read what its first has written, too.
            is: |fault| missing(fault, Missing::Barrier) || missing(fault, Missing::WarpBarrier),
            ..planted(
                "norm",
                |device| norm(device, 1, 2048, 2048, false),
                |kernel| remove(kernel, 0, is_barrier),
                "ld.shared",
            )
        },
        Planted {
            is: anothers_copy,
            ..planted(
                "product, before the loop",
                |device| product(device, NARROW, 16, 64, 512),
                |kernel| remove(kernel, 0, is_barrier),
                "ldmatrix",
            )
        },
        Planted {
            is: |fault| anothers_copy(fault) || missing(fault, Missing::Barrier),
            ..planted(
                "product, in the loop",
                |device| product(device, NARROW, 16, 64, 1024),
                |kernel| remove(kernel, 1, is_barrier),
                "",
            )
        },
        planted(
            "norm, warps without work do not wait",
            |device| norm(device, 1, 1280, 1280, false),
            |kernel| guard(kernel, find(kernel, 0, 0, is_barrier), eight_is_past(kernel), true),
            "ld.shared",
        ),
    ]);
}

#[test]
fn a_barrier_in_divergent_code_says_which_lanes_wait_for_which() {
    // A row of eight terms is one chunk of eight: of each eight lanes the first has something to copy.
    let planted = |name, plant, is| Planted {
        name,
        on: |device| product(device, NARROW, 16, 64, 8),
        plant,
        at: "bar.sync",
        is,
        or: NOTHING_ELSE,
    };
    all_are_reported(&[
        planted(
            "those with nothing to copy wait alone",
            |kernel| guard(kernel, find(kernel, 0, 0, is_barrier), chunk_is_cut(kernel), false),
            |fault| matches!(fault, Fault::Divergent { lanes: 0xfefe_fefe, missing: 0x0101_0101, .. }),
        ),
        planted(
            "those with something to copy wait alone",
            |kernel| guard(kernel, find(kernel, 0, 0, is_barrier), chunk_is_cut(kernel), true),
            |fault| matches!(fault, Fault::Divergent { lanes: 0x0101_0101, missing: 0xfefe_fefe, .. }),
        ),
    ]);
}

#[test]
fn a_barrier_that_cannot_complete_says_who_waits() {
    let planted = |name, plant, is| Planted {
        name,
        on: |device| norm(device, 1, 2048, 2048, false),
        plant,
        at: "bar.sync",
        is,
        or: NOTHING_ELSE,
    };
    all_are_reported(&[
        planted(
            "a barrier for each warp",
            |kernel| {
                let at = find(kernel, 0, 0, is_barrier);
                let Operation::Barrier { barrier, .. } = &mut kernel.body[at].operation else {
                    unreachable!()
                };
                *barrier = Operand::Special(Special::Warpid);
            },
            |fault| matches!(fault, Fault::BarrierStuck { arrived: 32, expected: 256, waiting, .. } if waiting.len() == 8),
        ),
        planted(
            "more threads than the block has",
            |kernel| {
                let at = find(kernel, 0, 0, is_barrier);
                let Operation::Barrier { threads, .. } = &mut kernel.body[at].operation else {
                    unreachable!()
                };
                *threads = Some(Operand::Immediate(288));
            },
            |fault| matches!(fault, Fault::BarrierMisuse { barrier: 0, why, .. } if why.contains("256")),
        ),
    ]);
}

#[test]
fn warp_wide_instructions_need_the_lanes_they_name() {
    all_are_reported(&[
        Planted {
            name: "a shuffle of the lanes that have columns",
            on: |device| norm(device, 4, 64, 64, false),
            plant: |kernel| guard(kernel, find(kernel, 0, 0, is_shuffle), eight_is_past(kernel), true),
            at: "shfl.sync",
            is: |fault| matches!(fault, Fault::Divergent { .. }),
            or: NOTHING_ELSE,
        },
        Planted {
            name: "a shuffle whose mask leaves out half the warp",
            on: |device| norm(device, 4, 64, 64, false),
            plant: |kernel| {
                let at = find(kernel, 0, 0, is_shuffle);
                let Operation::Shuffle { mask, .. } = &mut kernel.body[at].operation else { unreachable!() };
                *mask = Operand::Immediate(0xffff);
            },
            at: "shfl.sync",
            is: |fault| matches!(fault, Fault::NotMember { lane: 16, mask: 0xffff, .. }),
            or: NOTHING_ELSE,
        },
        Planted {
            name: "ldmatrix by the lanes whose chunk exists",
            on: |device| product(device, NARROW, 16, 64, 8),
            plant: |kernel| guard(kernel, find(kernel, 0, 0, is_load_matrix), chunk_is_cut(kernel), true),
            at: "ldmatrix",
            is: |fault| matches!(fault, Fault::Divergent { .. }),
            or: NOTHING_ELSE,
        },
    ]);
}

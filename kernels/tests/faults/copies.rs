//! `cp.async` that nobody waited for, or that lands where others still read.

use crate::on::{NARROW, product};
use crate::plant::*;
use octo_ptx::check::{AccessKind, Hazard};
use octo_ptx::sim::Fault;
use octo_ptx::{Kernel, Operand, Operation};

fn not_awaited(fault: &Fault) -> bool {
    matches!(fault, Fault::Race { hazard, .. } if matches!(**hazard, Hazard::CopyNotAwaited { exited: false, .. }))
}

fn wait_for_fewer(kernel: &mut Kernel, n: usize) {
    let at = find(kernel, 0, n, is_wait);
    let Operation::CopyWait { pending: Some(pending) } = &mut kernel.body[at].operation else {
        unreachable!()
    };
    *pending += 1;
}

fn is_commit(operation: &Operation) -> bool {
    matches!(operation, Operation::CopyCommit)
}

#[test]
fn reading_what_is_still_on_its_way_names_the_copy_and_the_reader() {
    let planted = |name, plant| Planted {
        name,
        on: |device| product(device, NARROW, 16, 64, 1024),
        plant,
        at: "ldmatrix",
        is: not_awaited,
        or: NOTHING_ELSE,
    };
    all_are_reported(&[
        planted("no wait before the loop", |kernel| remove(kernel, 0, is_wait)),
        planted("no wait in the loop", |kernel| remove(kernel, 1, is_wait)),
        planted("one group too many pending before the loop", |kernel| wait_for_fewer(kernel, 0)),
        planted("one group too many pending in the loop", |kernel| wait_for_fewer(kernel, 1)),
        planted("the first group is not closed", |kernel| remove(kernel, 0, is_commit)),
        planted("groups of the loop are not closed", |kernel| remove(kernel, 5, is_commit)),
    ]);
}

#[test]
fn copying_into_a_stage_that_is_read_is_reported_with_the_copy() {
    all_are_reported(&[Planted {
        name: "the ring's first stage is written too soon",
        on: |device| product(device, NARROW, 16, 64, 1024),
        plant: |kernel| {
            // Where the loop's first copy goes: the last of six stages of 10,240 bytes.
            let last = [Operand::Immediate(51_200)];
            let at = find(kernel, 0, 0, |line| matches!(line, Operation::Move { a, .. } if **a == last));
            let Operation::Move { a, .. } = &mut kernel.body[at].operation else { unreachable!() };
            a[0] = Operand::Immediate(0);
        },
        at: "cp.async",
        is: |fault| match fault {
            Fault::Race { hazard, .. } => match **hazard {
                Hazard::CopyNotAwaited { .. } => true,
                Hazard::Race { second, .. } => second.kind == AccessKind::Copy,
                _ => false,
            },
            _ => false,
        },
        or: NOTHING_ELSE,
    }]);
}

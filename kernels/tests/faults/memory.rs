//! Addresses off their alignment, and reads of what nothing wrote.

use crate::device::Device;
use crate::on::{NARROW, fill, norm, product};
use crate::plant::*;
use octo_ops::DType;
use octo_ptx::sim::Fault;
use octo_ptx::{Binary, Kernel, Operation};

#[test]
fn vectors_off_their_alignment_are_refused() {
    let planted = |name, on, plant, at, is| Planted { name, on, plant, at, is, or: NOTHING_ELSE };
    all_are_reported(&[
        planted(
            "norm: eights of seven elements",
            |device| norm(device, 1, 2048, 2048, false),
            |kernel| constant(kernel, 0, Binary::MulWide, 8, 7),
            "ld.global",
            |fault| matches!(fault, Fault::Misaligned { access: "load", space: "global", bytes: 16, .. }),
        ),
        planted(
            "random fill: groups of eight bytes",
            |device| fill(device, 64, DType::F32),
            |kernel| constant(kernel, 0, Binary::Shl, 4, 3),
            "st.global.v4",
            |fault| matches!(fault, Fault::Misaligned { access: "store", space: "global", bytes: 16, .. }),
        ),
        planted(
            "product: rows of a matrix half a chunk on",
            |device| product(device, NARROW, 16, 64, 64),
            |kernel| {
                let at = find(kernel, 0, 0, is_load_matrix);
                let Operation::LoadMatrix { address, .. } = &mut kernel.body[at].operation else {
                    unreachable!()
                };
                address.offset += 8;
            },
            "ldmatrix",
            |fault| matches!(fault, Fault::Misaligned { access: "load", space: "shared", bytes: 16, .. }),
        ),
        planted(
            "product: copies four bytes on",
            |device| product(device, NARROW, 16, 64, 64),
            |kernel| {
                let at = find(kernel, 0, 0, is_copy);
                let Operation::CopyAsync { to, .. } = &mut kernel.body[at].operation else { unreachable!() };
                to.offset += 4;
            },
            "cp.async",
            |fault| {
                matches!(
                    fault,
                    Fault::Misaligned { access: "asynchronous copy", space: "shared", bytes: 16, .. }
                )
            },
        ),
    ]);
}

/// A read of that memory that nothing wrote.
fn unwritten(fault: &Fault, wanted: &str, operand: &str) -> bool {
    matches!(fault, Fault::Uninitialized { space, near: Some(near), .. }
        if *space == wanted && near.name.contains(operand))
}

#[test]
fn reading_what_nothing_wrote_names_the_memory() {
    let planted = |name, on, plant, at, is| Planted { name, on, plant, at, is, or: NOTHING_ELSE };
    all_are_reported(&[
        planted(
            "norm: the warps' sums are not stored",
            |device| norm(device, 1, 2048, 2048, false),
            |kernel| remove(kernel, 0, is_store),
            "ld.shared",
            |fault| unwritten(fault, "shared", "part"),
        ),
        planted(
            "norm: the sum with the residual is not stored",
            |device| norm(device, 1, 7, 7, true),
            |kernel| remove(kernel, 0, is_store),
            "ld.global",
            |fault| unwritten(fault, "global", "sum"),
        ),
        planted(
            "norm: wide rows keep no sum",
            |device| norm(device, 1, 8200, 8200, true),
            // Four of the cached eights, then those of the loop.
            |kernel| remove(kernel, 4, is_store),
            "ld.global",
            |fault| unwritten(fault, "global", "sum"),
        ),
        planted(
            "product: a chunk is not copied",
            |device| product(device, NARROW, 16, 64, 64),
            |kernel| remove(kernel, 1, is_copy),
            "ldmatrix",
            |fault| unwritten(fault, "shared", ""),
        ),
    ]);
}

#[test]
fn a_result_that_was_not_stored_cannot_be_copied_to_the_host() {
    let without_result: fn(&mut Kernel) = |kernel| {
        for line in &mut kernel.body {
            if matches!(&line.operation, Operation::Store { a, .. } if a.len() == 4) {
                line.operation = Operation::Nothing;
            }
        }
    };
    let mut device = Device::with(0, without_result);
    let (launch, y) = norm(&mut device, 2, 64, 64, false);
    device.launch(&launch).unwrap();
    let fault = device.try_read(&y).unwrap_err();
    assert!(matches!(&fault, Fault::HostUninitialized { near, .. } if near.name == "y"), "{fault}");
}

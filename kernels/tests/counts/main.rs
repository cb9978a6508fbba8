//! What the streaming kernels make a GPU do, against figures worked by hand. A sector is 32 bytes; a warp's access of 16
//! bytes a lane, unbroken, is one request for 16 of them. The products' figures are in `tests/gemm/counts.rs`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod adamw;
#[path = "../support/device.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod device;
#[path = "../faults/on.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod on;
#[path = "../gemm/problem.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod problem;
mod random_fill;
mod rms_norm;
mod swiglu;

use device::Device;
use octo_kernels::Launch;
use octo_ops::View;
use octo_ptx::count::{Class, Counters, Traffic};

/// Counters of one launch.
fn counters(on: impl Fn(&mut Device) -> (Launch, View)) -> Counters {
    let mut device = Device::new(3);
    let (launch, _) = on(&mut device);
    device.launch(&launch).unwrap_or_else(|fault| panic!("{fault}")).counters
}

/// Requests, sectors, useful bytes.
fn traffic(of: &Traffic) -> (u64, u64, u64) {
    (of.requests, of.sectors, of.useful_bytes)
}

fn warps(counters: &Counters, class: Class) -> u64 {
    counters.warp_instructions[class as usize]
}

/// Holds thread instructions an element to a budget: not above it, and not so far below that it says nothing.
fn hold(name: &str, taken: f64, budget: f64) {
    assert!(taken <= budget && taken > 0.95 * budget, "{name}: {taken:.3} an element, stated {budget}");
}

/// Thread instructions an element that more elements bring; `on` makes a launch of so many elements.
fn instructions_an_element(few: u32, many: u32, on: impl Fn(&mut Device, u32) -> (Launch, View)) -> f64 {
    let total = |elements| counters(|device| on(device, elements)).warp_total() * 32;
    (total(many) - total(few)) as f64 / f64::from(many - few)
}

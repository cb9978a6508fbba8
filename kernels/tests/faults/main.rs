//! Faults planted into the kernels that ship: each is found, and reported as what it is. One file a family.
//!
//! A fault is a change of the parsed module (`plant.rs`) under a real launcher (`on.rs`); beside every planted one the
//! kernel as it ships runs on the same operands and gives no alarm.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../support/apart.rs"]
mod apart;
mod barriers;
mod bounds;
mod clean;
mod copies;
#[path = "../support/device.rs"]
mod device;
mod memory;
mod on;
mod plant;
#[path = "../gemm/problem.rs"]
#[allow(dead_code, reason = "the products' tests use more of it")]
mod problem;
mod races;
mod scopes;
mod segments;
mod values;
mod wrapped;

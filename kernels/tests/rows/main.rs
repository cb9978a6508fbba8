//! Kernels that go through rows, as launches on the simulated GPU: do their two ways give the same bits, what do they move,
//! and what becomes of indices that point nowhere?
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod budgets;
mod device;
mod head;
mod policy;
mod values;

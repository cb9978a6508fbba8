//! The vocabulary of the engine: dtypes, views, ops.
//!
//! An op is plain data: named operands, constants, and in its own file under `ops/` the checks, the formula
//! as a reference in f64, its cost and its test cases. A backend is memory plus `run(&Op)`. What this crate
//! does not hold: anything that executes on a device, and anything that knows a model.
//!
//! Read `table.rs` first (what ops there are), then one file of `ops/`.

mod backend;
mod blocks;
mod case;
mod dtype;
mod error;
mod grid;
mod host;
pub mod master;

mod ops;
pub mod philox;
mod real;
pub mod rounding;
mod sampling;
mod spec;
pub mod support;
mod table;
mod view;

pub use backend::{
    Backend, BackendError, DeviceInfo, DeviceLibrary, Forward, KernelUse, PRODUCTS, Precision, Program,
    SLOTS, Slot,
};
pub use blocks::{StepBlock, StepResult};
pub use case::{Arithmetic, Case, CaseBuilder, Tensor};
pub use dtype::DType;
pub(crate) use error::times;
pub use error::{ANY, OpError};
pub use grid::{GridCase, grid};
pub use host::HostMemory;
pub use ops::INTERLEAVE;
pub use real::{Cut, Real};
pub use rounding::Rounding;
pub use sampling::{SamplingRow, cumulative_weights};
pub use spec::{Access, Cost, Operand, Spec};
pub(crate) use spec::{matrix, product};
pub use table::*;
pub use view::{BufferId, View};

/// Which bits ops give, as `docs/numerics.md` defines them: raised whenever the definition of a result changes. A
/// run that is resumed under another version goes on with other roundings, and has to be told so.
pub const NUMERICS_VERSION: u32 = 2;

/// Tokens in a page of the KV cache.
pub const PAGE_TOKENS: u32 = 64;

//! The vocabulary of the engine: dtypes, views, ops.

mod dtype;
pub mod philox;
mod view;

pub use dtype::DType;
pub use view::{BufferId, View};

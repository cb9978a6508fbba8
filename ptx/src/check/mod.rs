//! Races: which two accesses of memory have nothing between them that orders them.

mod block;
mod global;
mod hazard;

pub use block::BlockCheck;
pub use global::{Blocks, Footprint, GlobalCheck, GridCheck, Trace};
pub use hazard::{Access, AccessKind, Hazard, Missing, Party};

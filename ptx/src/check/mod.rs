//! Races: which two accesses of memory have nothing between them that orders them?

mod block;
mod copies;
mod global;
mod grid;
mod hazard;
mod knowledge;
mod message;
mod order;
mod pages;
mod shadow;
mod touch;

pub use block::BlockCheck;
pub use global::{Blocks, GlobalCheck, Trace};
pub use grid::{Footprint, GridCheck};
pub use hazard::{Access, AccessKind, Hazard, Missing, Party};

#[cfg(test)]
mod oracle;

//! Conformance of a backend with the f64 references of the ops.
//!
//! A case runs on a queue eagerly and as a captured program; both must give the same bits, leave inputs as
//! they were, and come as close to the truth as the limit below allows. What this crate does not hold: the
//! cases (beside each op in `octo-ops`) and anything about speed.
//!
//! Read `conformance.rs` first.

mod conformance;

pub use conformance::{Failure, check};

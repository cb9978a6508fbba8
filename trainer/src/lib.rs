//! The training loop: data to batches, batches to steps, steps to metrics, samples and a model.
//!
//! A run is a function of its recipe, its data and the device's kind: neither clock nor thread count enters
//! a result. What this crate does not hold: how a recipe is read (`octo-recipe`), what a step computes
//! (`octo-model`), and anything printed; whoever calls gets told through an [`Observer`].
//!
//! Read `run.rs` first.

mod corpus;
mod error;
mod folder;
mod metrics;
mod observer;
mod run;
mod samples;
mod setup;
mod unigram;
mod validation;

pub use corpus::open_batches;
pub use error::TrainError;
pub use metrics::StepMetrics;
pub use observer::{Observer, Outcome, ValidationOutcome};
pub use run::train;

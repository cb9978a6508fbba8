//! The training loop: data to batches, batches to steps, steps to metrics, samples and a model.
//!
//! A run is a function of its recipe, its data and the device's kind: neither clock nor thread count enters
//! a result. What this crate does not hold: how a recipe is read (`octo-recipe`), what a step computes
//! (`octo-model`), and anything printed; whoever calls gets told through an [`Observer`].
//!
//! Read `run.rs` first. `keeper.rs` is what another loop takes of a run: folder, checkpoints, telemetry.

mod checkpoint;
mod corpus;
mod error;
mod folder;
mod forecast;
mod keeper;
mod memory;
mod metrics;
mod observer;
mod options;
mod resume;
mod run;
mod samples;
mod setup;
mod sinks;
mod status;
mod stream;
mod telemetry;
mod tensorboard;
mod unigram;
mod validation;

pub use checkpoint::FirstCheckpoint;
pub use corpus::generated;
pub use error::TrainError;
pub use forecast::{Disk, Forecast, TokenRate, forecast};
pub use keeper::{Keeper, Opened, Outlook, Saved};
pub use memory::turns::REGION;
pub use memory::{MemoryPlan, Part, Remedy, Shortage};
pub use metrics::{Figures, StepMetrics, TIME_FIELDS, flops_per_token, mfu};
pub use observer::{Observer, Outcome, ValidationOutcome};
pub use options::{Plant, Stop, TrainOptions};
pub use run::train;
pub use setup::{adamw, moments};
pub use sinks::{SinkReport, Sinks};
pub use status::{Pace, RunState, Status, StatusFile, utc};
pub use stream::open_batches;
pub use telemetry::{Beginning, Telemetry};
pub use tensorboard::TensorBoard;

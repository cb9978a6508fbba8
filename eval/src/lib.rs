//! What does a model score on a benchmark?
//!
//! This crate answers: which prompts a task makes of a user's file of rows ([`Catalogue`], [`Items`]); what a generator writes
//! to them, each response kept as soon as it is there ([`Work::run`], [`ResponseLog`]); which responses are right by whose
//! rules, and what that comes to ([`Score`]); how all of that is told ([`results`], [`table`], [`summary`]) and compared
//! ([`compare`]). Tasks are data, TOML files: those in `tasks/` are part of the program.
//!
//! It does not open models or devices: a [`Generator`] is lent to it, so that a loop that trains can have the weights in its
//! memory evaluated. Whether two answers are the same is `octo-verify`'s. It reads no clock: times are the caller's.
//!
//! Read `task.rs` first, then `item.rs`, `run.rs` and `score.rs`.

mod catalogue;
pub mod checkpoints;
pub mod compare;
mod error;
mod generator;
mod item;
mod judge;
mod metrics;
mod random;
mod reader;
mod responses;
pub mod results;
mod run;
mod score;
pub mod summary;
pub mod table;
mod task;

pub use catalogue::Catalogue;
pub use error::EvalError;
pub use generator::{Ask, Engine, Finish, GenerateError, Generator, Response};
pub use item::{Item, Items, Source};
pub use judge::{Filter, GoldCheck, Judged, check_golds};
pub use responses::{ResponseLog, StoredResponses, fingerprint};
pub use run::{Observer, Settings, Work};
pub use score::{Disagreement, FilterScore, Measure, Score};
pub use task::{KEYS, Metric, Task};

//! Training recipes.
//!
//! This crate answers: what does a recipe file say, is all of it meaningful, and if not, where is every mistake
//! and what would mend it? It reads TOML into a [`Recipe`], a tree of plain values with every default filled in
//! and every path absolute, and writes that back ([`Recipe::to_toml`]). It says what a recipe comes to ([`plan`]),
//! where a step stands in it ([`Recipe::at`], [`Recipe::lr`]), and whether a run may go on with another one
//! ([`changes`], [`accept`]). It also holds the learning-rate [`Schedule`], because a recipe is checked against its
//! arithmetic.
//!
//! It does not open data, models or tokenizers: whether a template compiles or a tokenizer fits is for those who
//! use them. Other files of settings (evaluation tasks) are read by the same [`tree`] and speak of mistakes in the same
//! words.
//!
//! Read first: `table.rs`, the one table of every key with its type, default and meaning (`docs/recipe.md` is
//! made from it); then `recipe.rs`, the tree; then `build.rs`, which goes from one to the other, and `flat.rs`, which
//! goes back.

mod accept;
mod build;
mod changes;
#[cfg(test)]
mod changes_tests;
mod count;
#[cfg(test)]
mod docs;
mod error;
#[cfg(test)]
mod fixtures;
mod flat;
mod fuzz;
mod host;
mod keys;
mod layers;
mod plan;
mod recipe;
mod rl;
#[cfg(test)]
mod rl_tests;
mod schedule;
mod section;
#[cfg(test)]
mod shipped_tests;
mod sources;
mod stages;
mod steps;
mod table;
#[cfg(test)]
mod tests;
pub mod tree;
mod write;

pub use accept::{BESIDE_THE_RECIPE, Refused, accept};
pub use build::Options;
pub use changes::{Change, changes};
pub use error::{Place, Problem, RecipeError, RecipeErrors};
pub use fuzz::fuzz_recipe;
pub use host::{Host, ThisMachine};
pub use keys::{Bounds, Class, Key, Kind, Presence, Table};
pub use plan::{Plan, SourcePlan, StagePlan, plan};
pub use recipe::{
    Checkpoints, Data, Device, Forward, Generator, Log, Memory, ModelSource, ModelStart, Moments,
    OnNonFinite, Optimizer, OptimizerState, Order, Origin, Recipe, Recompute, Run, Samples, Share, Sink,
    Source, Stage, Validation, Weights,
};
pub use rl::{
    Advantage, AlarmAction, Alarms, Fields, HeldOut, ImportanceKind, KlKind, KlPlace, LossKind,
    Normalisation, OldLogprobs, Program, PromptTemplate, Prompts, Reward, RewardKind, Rl, RlImportance, RlKl,
    RlLoss, RlSampling, RlValidation, TaskName,
};
pub use schedule::{Schedule, Shape};
pub use section::nearest;
pub use table::TABLES;

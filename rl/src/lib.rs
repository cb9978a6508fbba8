//! Reinforcement with verifiable rewards: rewards, advantages, policy losses, the loop.
//!
//! One copy of the weights: the sampler reads the arena that AdamW writes, and trainer and sampler compute the same bits,
//! so the policy that is trained is the one that sampled. What this crate does not hold: how tokens are drawn
//! (`octo-infer`), what a gradient step computes (`octo-model`), whether an answer is right (`octo-verify`), how state
//! is saved (`octo-trainer`).
//!
//! Read `run.rs` first, then `objective.rs`, which turns log-probabilities and advantages into what the backward pass needs.
//! `advantage.rs` and `loss/` hold the algorithms, each a function with its formula and source; `reward/` what responses
//! are worth.

mod advantage;
mod alarms;
mod error;
mod gather;
mod holding;
mod importance;
mod kl;
mod learn;
mod loss;
mod metrics;
mod normalise;
mod objective;
mod packing;
mod prompts;
mod report;
mod reward;
mod rollout;
mod run;
mod validation;

pub use advantage::{
    Estimator, Scored, advantages, dr_grpo, grpo, has_signal, reinforce_plus_plus,
    reinforce_plus_plus_baseline, rloo,
};
pub use error::RlError;
pub use importance::Importance;
pub use kl::KlEstimator;
pub use loss::{Clip, Clipping, PolicyLoss, Term, cispo, gspo, ppo_clip};
pub use metrics::{RlMetrics, is_time_field};
pub use normalise::{Normalise, Totals};
pub use objective::{Figures, Objective, Sequence, Weights};
pub use prompts::{Prompt, PromptCounts, PromptSet};
pub use reward::{Judge, Judged, Rating, Response, cosine, overlong, repetition};
pub use run::{RlOutcome, Watcher, reinforce};

//! The figures of a step, under nanotron's names.

use serde::Serialize;

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepMetrics {
    /// Optimizer steps taken, this one included.
    pub step: u64,
    /// Steps of the whole run.
    #[serde(skip)]
    pub total_steps: u64,
    /// Tokens trained on so far.
    pub consumed_tokens: u64,
    /// Mean loss a target, in nats.
    pub lm_loss: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Tokens a second over the last step. A time field: two equal runs differ here.
    pub tokens_per_sec: f64,
    /// Held-out losses measured after this step, as `val_loss/<name>`.
    #[serde(flatten)]
    pub validation: std::collections::BTreeMap<String, f64>,
}

//! What a run tells while it goes on, and at its end.

use crate::StepMetrics;
use std::path::PathBuf;

/// Hears of a run's progress; a terminal, a log, or nothing.
pub trait Observer {
    /// A line at the head of the run: device, model, data.
    fn note(&mut self, line: &str);
    /// Preparation that takes a while, and how many tokens it has come to.
    fn preparing(&mut self, what: &str, tokens: u64);
    /// A step's figures are known.
    fn step(&mut self, metrics: &StepMetrics);
    /// A held-out set was measured after a step.
    fn validation(&mut self, step: u64, name: &str, loss: f64);
    /// A sample was drawn after a step.
    fn sample(&mut self, step: u64, prompt: &str, text: &str);
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Optimizer steps taken.
    pub steps: u64,
    /// Loss of the last step; `None` where nothing was left to do.
    pub last_loss: Option<f64>,
    /// Held-out losses after the last step.
    pub validation: Vec<ValidationOutcome>,
    /// The Hugging Face directory of the trained model.
    pub model: PathBuf,
}

/// A held-out set after the last step.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationOutcome {
    /// Its name.
    pub name: String,
    /// Mean loss a token, in nats.
    pub loss: f64,
    /// The same of a unigram model of the training data, for comparison.
    pub unigram: f64,
}

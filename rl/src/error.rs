//! Why an RL run failed.

use octo_eval::EvalError;
use octo_infer::InferError;
use octo_model::TransferError;
use octo_queue::QueueError;
use octo_rows::{Origin, RowsError};
use octo_text::TextError;
use octo_trainer::TrainError;
use std::path::PathBuf;

/// Why an RL run did not start or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RlError {
    /// The recipe is one for `train`.
    #[error("this recipe has no [rl]: run `octo-engine train` with it")]
    NotRl,
    /// A row does not have what a prompt needs.
    #[error("{origin}: there is no {what} where verl's rows have it; say where it is in [rl.fields]")]
    Field {
        /// The row.
        origin: Origin,
        /// The question or the answer.
        what: &'static str,
    },
    /// No prompt is left.
    #[error(
        "{path}: {read} rows give no prompt: {filtered} are left out by `where`, {too_long} have more than \
         {max_prompt_tokens} tokens"
    )]
    NoPrompts {
        /// Where they should come from.
        path: String,
        /// Rows read.
        read: u64,
        /// Rows the filter left out.
        filtered: u64,
        /// Prompts that are too long.
        too_long: u64,
        /// The limit.
        max_prompt_tokens: u64,
    },
    /// A gold answer cannot be compared with anything.
    #[error(
        "{origin}: the gold answer {gold:?} is not the same as itself ({why}): no response could be right; mend the row or \
         leave it out with `where`"
    )]
    Gold {
        /// Its row.
        origin: Origin,
        /// The answer.
        gold: String,
        /// What the verifier says.
        why: String,
    },
    /// The prompt template does not work.
    #[error("the prompt template {name}: {reason}")]
    Template {
        /// Which.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A pattern of a format reward is none.
    #[error("the reward `{name}`: {reason}")]
    Pattern {
        /// Which reward.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A reward program does not answer as it should, before the first step.
    #[error("the reward `{name}` fails on {probe}: {why}; the run has not begun")]
    Probe {
        /// Which reward.
        name: String,
        /// What it was asked.
        probe: &'static str,
        /// What it did.
        why: String,
    },
    /// A thread of rewards cannot be started, or has died.
    #[error("rewards cannot be worked out: {0}")]
    Judge(String),
    /// The prompts are not those that the run has been trained on.
    #[error(
        "the prompts are not what they were when the run was saved; give them back their content, or begin a new run"
    )]
    PromptsChanged,
    /// Too many rewards failed: a guard stopped the run.
    #[error(
        "step {step}: {failed} of {all} rewards failed, more than rl.max_failure_rate allows; the state before the step is \
         saved. The last: {why}"
    )]
    Failures {
        /// The rollout step, from 1.
        step: u64,
        /// Samples without a reward.
        failed: usize,
        /// All of them.
        all: usize,
        /// What one of them failed of.
        why: String,
    },
    /// A gradient was not finite: a guard stopped the run.
    #[error(
        "step {step}, update {update}: the gradient norm is {grad_norm}; the weights were left as they were. The newest \
         checkpoint is the last good one"
    )]
    NotFinite {
        /// The rollout step, from 1.
        step: u64,
        /// The optimizer step, from 1.
        update: u64,
        /// The norm.
        grad_norm: f64,
    },
    /// An alarm stopped the run; its state is saved.
    #[error("step {step}: {what}; the state is saved{}", resume(.from, *.seed, .dir))]
    Collapse {
        /// The rollout step, from 1.
        step: u64,
        /// What was seen.
        what: String,
        /// The newest checkpoint from before the window of the alarm.
        from: Option<PathBuf>,
        /// Another seed than the run's.
        seed: u64,
        /// Another folder than the run's.
        dir: PathBuf,
    },
    /// The run was asked to stop, and has saved its state.
    #[error("stopped after step {step} of {steps}, which is saved: the same command goes on from there")]
    Interrupted {
        /// Steps done.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
    },
    /// Rows of prompts.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The tokenizer.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Rollouts.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// A task that the run is measured by.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The run's folder, model, device or checkpoints.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The device.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl From<TransferError> for RlError {
    fn from(error: TransferError) -> RlError {
        RlError::Train(error.into())
    }
}

/// How to go on from before a collapse.
fn resume(from: &Option<PathBuf>, seed: u64, dir: &std::path::Path) -> String {
    match from {
        None => String::new(),
        Some(from) => format!(
            ". To go on from before it, with another seed, in another folder: --set model.from={} --set \
             model.optimizer_state=load --set run.seed={seed} --set run.dir={}",
            from.display(),
            dir.display()
        ),
    }
}

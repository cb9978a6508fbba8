//! Why a run failed.

use crate::Shortage;
use octo_durable::DurableError;
use octo_infer::InferError;
use octo_model::{ModelError, TransferError};
use octo_queue::{OpenError, QueueError};
use octo_rows::RowsError;
use octo_shards::ShardsError;
use octo_text::TextError;
use std::path::PathBuf;

/// Why a run did not start or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe is one of an RL run.
    #[error("this recipe has [rl] and no stages: run `octo-engine rl` with it")]
    ForRl,
    /// Another process began the run between this one's look at the folder and its lock.
    #[error("{path} was begun by another process meanwhile; start again to go on with it", path = .0.display())]
    StartedMeanwhile(PathBuf),
    /// The run was asked to stop, and has saved its state.
    #[error("stopped after step {step} of {steps}, which is saved: the same command goes on from there")]
    Interrupted {
        /// Steps done.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
    },
    /// A part of a checkpoint's state cannot be used.
    #[error("{path}: {reason}", path = .path.display())]
    BadState {
        /// The part.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Every checkpoint of the run was damaged.
    #[error(
        "{run}: all {damaged} checkpoints are damaged and lie in its folder damaged/ now; \
         --fresh starts the run over", run = .run.display()
    )]
    NoWholeCheckpoint {
        /// The run's folder.
        run: PathBuf,
        /// How many.
        damaged: usize,
    },
    /// A source no longer holds what the run has trained on.
    #[error("source `{name}` does not hold what it held when the run was saved; give it back its content")]
    SourceChanged {
        /// Which.
        name: String,
    },
    /// The disk is too small for the run's checkpoints.
    #[error(
        "{path}: checkpoints need {need} bytes more and {free} are free; make room or lower `checkpoints.keep`",
        path = .path.display()
    )]
    NoRoom {
        /// Where they go.
        path: PathBuf,
        /// Bytes they will take.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// The thread that writes checkpoints panicked.
    #[error("the checkpoint writer broke down (a bug in octo-engine: please report it)")]
    SaverDied,
    /// The recipe differs from the run's so far in what may not change, or not unasked.
    #[error(transparent)]
    Refused(#[from] octo_recipe::Refused),
    /// The recipe of the run so far cannot be read.
    #[error(transparent)]
    Recipe(#[from] octo_recipe::RecipeErrors),
    /// A checkpoint cannot hold weights of that type.
    #[error(
        "a checkpoint's weights are float32 or bfloat16, not {dtype}; give --dtype bfloat16 (its f32 masters lie beside)"
    )]
    CheckpointDtype {
        /// The type asked for.
        dtype: &'static str,
    },
    /// A branch is to take the optimizer's state along from where there is none.
    #[error(
        "{path}: there is no optimizer state beside this model; set model.optimizer_state = \"fresh\", or give a \
         folder checkpoints/step-… of a run", path = .path.display()
    )]
    NoOptimizerState {
        /// The model.
        path: PathBuf,
    },
    /// The stage trains on a source that the recipe does not have.
    #[error("the stage's source `{0}` is not among data.sources")]
    NoSource(String),
    /// A tokenizer has ids that the model has no row for.
    #[error(
        "the tokenizer has {tokens} ids, but the model's vocabulary has {vocab}; \
         does the tokenizer belong to this model?"
    )]
    Vocabulary {
        /// Highest id of the tokenizer plus one.
        tokens: usize,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// The device has no arithmetic for weights of that type.
    #[error(
        "[model] weights = \"{wanted}\" cannot be had on device `{device}`, which computes in bf16; leave it out, or take \
         `--set run.device=cpu` (the optimizer keeps f32 masters either way)"
    )]
    Weights {
        /// What the recipe asks for.
        wanted: &'static str,
        /// The device.
        device: &'static str,
    },
    /// The device has not the memory for the run.
    #[error(transparent)]
    NoMemory(Box<Shortage>),
    /// A sequence is longer than the model allows.
    #[error("sequence_length {sequence_length} exceeds the model's max_position_embeddings {positions}")]
    Positions {
        /// Tokens of a sequence.
        sequence_length: u64,
        /// The model's limit.
        positions: u32,
    },
    /// Documents should end with a token that the tokenizer does not have.
    #[error(
        "source `{source_name}`: add_eos is on, but the tokenizer has no end-of-sequence token; set add_eos = false"
    )]
    NoEos {
        /// The source.
        source_name: String,
    },
    /// A value of the recipe is too large to be counted by the device.
    #[error("{what} = {value} is too large")]
    TooLarge {
        /// Which.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// Loss or gradient norm is not finite: a guard stopped the run.
    #[error(
        "step {step}: loss {loss} or gradient norm {grad_norm} is not finite; the weights were left as they \
         were before it. Its sequences hold {documents}. To leave the step out: --set 'data.skip_steps=[\"{step}\"]' --accept-change \
         skip_steps"
    )]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// Its loss.
        loss: f64,
        /// Its gradient norm.
        grad_norm: f64,
        /// Where its data came from.
        documents: String,
    },
    /// A program that is to get the metrics does not start.
    #[error(
        "log.sinks: `{command}` cannot be started: {source}; give a program that exists, and its arguments"
    )]
    Sink {
        /// The program and its arguments.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The run's folder cannot be made, or a row not be written as JSON.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the run.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A model directory or config.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Rows of a source.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// Tokens of a source.
    #[error(transparent)]
    Shards(#[from] ShardsError),
    /// Samples.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// No device.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The device.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl From<TransferError> for TrainError {
    fn from(error: TransferError) -> TrainError {
        match error {
            TransferError::Model(error) => TrainError::Model(error),
            TransferError::Queue(error) => TrainError::Queue(error),
            other => TrainError::Queue(QueueError::Misuse { what: other.to_string() }),
        }
    }
}

/// A count that must fit a device's 32-bit shapes.
pub(crate) fn count(what: &'static str, value: u64) -> Result<u32, TrainError> {
    u32::try_from(value).map_err(|_| TrainError::TooLarge { what, value })
}

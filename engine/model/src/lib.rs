//! Models: Hugging Face directories in and out, the parameter table, forward and backward.
//!
//! Answers: what shape is this model, where does each parameter lie in the flat arena, which bytes of which
//! file are it, and which ops make up its passes and its training step. Does not answer how a tokenizer cuts
//! text, nor when a checkpoint is whole on disk, nor what a device does with an op.
//!
//! Read first: `params.rs` (the arena), then `net.rs` (the forward pass) and `train.rs` (a step as three
//! captured programs); for files `config.rs`, `hf/read.rs` and `hf/write.rs`.

mod config;
mod error;
pub mod hf;
pub mod init;
mod net;
mod params;
mod rope;
mod snapshot;
mod train;
mod transfer;

pub use config::{Family, ModelConfig};
pub use error::ModelError;
pub use hf::{ModelDir, WeightDType};
pub use net::{BlockViews, Net, Paged, Rows};
pub use params::{BUCKET_ALIGN, Bucket, Flat, LayerParams, Param, ParamTable, Source, TENSOR_ALIGN};
pub use rope::Rope;
pub use snapshot::{Section, Snapshot};
pub use train::{
    AdamWConfig, MicroBatch, Moments, PolicyForward, PolicyShape, Recompute, Shape, StepReport, Trainer,
    TrainerOptions,
};
pub use transfer::TransferError;

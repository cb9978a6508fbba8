//! Models: Hugging Face directories in and out, the parameter table, rotary tables, random starts.
//!
//! Answers: what shape is this model, where does each parameter lie in the flat arena, which bytes of which
//! file are it. Does not answer how a tokenizer cuts text, nor when a checkpoint is whole on disk.
//!
//! Read first: `params.rs` (the arena), then `config.rs`, then `hf/read.rs` and `hf/write.rs`.

mod config;
mod error;
pub mod hf;
pub mod init;
mod params;
mod rope;

pub use config::{Family, ModelConfig};
pub use error::ModelError;
pub use hf::{ModelDir, WeightDType};
pub use params::{BUCKET_ALIGN, Bucket, Flat, LayerParams, Param, ParamTable, Source, TENSOR_ALIGN};
pub use rope::Rope;

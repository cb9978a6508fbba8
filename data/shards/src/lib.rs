//! Tokens in order: documents, windows, batches.
//!
//! This crate answers: which tokens are a source's documents, and which ids, labels, positions and attention
//! cuts does micro-batch m of step s hold. It does not read files (that is `octo-rows`) and knows nothing of
//! models but the size of their vocabulary.
//!
//! Read `batches.rs` first: its opening says how the order works. Token ids are held in memory behind
//! `TokenizedSource::tokens`; tokenised files on disk would be another way to make one.

mod batches;
mod error;
mod permutation;
mod source;
mod window;

pub use batches::{BatchOptions, Batches, EvaluationBatches, Order};
pub use error::ShardsError;
pub use source::{TokenizeOptions, TokenizeProgress, TokenizedSource};
pub use window::{Batch, IGNORED_LABEL, SequenceOrigin};

//! Tokens in order: documents, tokenised files, mixtures, windows, batches.
//!
//! This crate answers: which tokens are a source's documents, in memory ([`TokenizedSource`]) or in files that
//! nanotron reads too ([`ShardSet`]); and which ids, labels, positions and attention cuts does micro-batch m of
//! step s hold ([`Batches`]). It does not read rows (that is `octo-rows`) and knows nothing of models but the
//! size of their vocabulary.
//!
//! Read `batches.rs` first: its opening says how the order works; then `mixture.rs` for several sources, and
//! `nanoset/mod.rs` for the files.

mod batches;
mod encode;
mod error;
mod evaluation;
mod inspect;
mod mixture;
#[cfg(test)]
mod mixture_tests;
mod nanoset;
mod permutation;
mod prefetch;
mod source;
mod token_source;
mod window;

pub use batches::{BatchOptions, Batches, MixturePart, Order};
pub use encode::TokenizeOptions;
pub use error::ShardsError;
pub use evaluation::EvaluationBatches;
pub use inspect::{PieceView, SequenceView, describe};
pub use nanoset::card::{CardFile, CardRows, InputFile, ShardCard};
pub use nanoset::set::ShardSet;
pub use nanoset::verify::{Verified, verify};
pub use nanoset::write::{ShardJob, ShardProgress, TOKENS_PER_FILE};
pub use permutation::Permutation;
pub use prefetch::Prefetcher;
pub use source::{TokenizeProgress, TokenizedSource};
pub use token_source::{DocumentOrigin, TokenSource};
pub use window::{Batch, IGNORED_LABEL, SequenceOrigin};

//! What can go wrong between documents and batches.

use octo_rows::{Origin, RowsError};
use octo_text::TextError;

/// An error of this crate. Each message says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardsError {
    /// A row could not be read or written out.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A document could not be tokenised.
    #[error("{origin}: {source}")]
    Tokenize {
        /// The document.
        origin: Origin,
        /// Why not.
        source: TextError,
    },
    /// A document has a token that the model has no embedding for.
    #[error(
        "{origin}: token {token} ({text:?}) is outside the model's vocabulary of {vocab_size}; \
         this tokenizer does not fit this model"
    )]
    OutsideVocabulary {
        /// The document.
        origin: Origin,
        /// The token id.
        token: u32,
        /// The token as the tokenizer spells it.
        text: String,
        /// Rows of the model's embedding.
        vocab_size: usize,
    },
    /// `add_eos` with a tokenizer that names no end-of-sequence token.
    #[error(
        "the tokenizer names no end-of-sequence token; give it an `eos_token` in tokenizer_config.json, \
         or set `add_eos = false`"
    )]
    NoEos,
    /// `add_bos` with a tokenizer whose post-processor adds none.
    #[error("the tokenizer's post-processor adds no bos; remove `add_bos`")]
    NoBos,
    /// A source holds less than one window.
    #[error(
        "{tokens} tokens in {documents} documents are too few for one sequence: a sequence length of \
         {sequence_length} needs {}; shorten `sequence_length` or add data", sequence_length + 1
    )]
    TooFewTokens {
        /// Tokens there are.
        tokens: u64,
        /// Documents there are.
        documents: u64,
        /// Tokens of a sequence.
        sequence_length: usize,
    },
    /// A batch is not whole sequences or micro-batches, or one of its parts is empty.
    #[error("{reason}; change `{key}`")]
    Shape {
        /// What does not fit.
        reason: String,
        /// The key to change.
        key: &'static str,
    },
}

//! Generation and scoring: KV pages, batches, sampling.
//!
//! Requests are token ids, a sampling policy and a seed; nothing here knows strings. Prompts are prefilled in
//! chunks together with the decoding of others, and a request's tokens and log-probabilities depend on
//! nothing but itself. What this crate does not hold: tokenizers, stop strings, chat templates.
//!
//! Read `rollout.rs` first, then `scheduler.rs` (which rows a pass has), `session.rs` (one pass over the cache)
//! and `pages.rs`.

mod batch;
mod generate;
mod pages;
mod request;
mod rollout;
mod scheduler;
mod score;
mod session;
mod supports;

pub use generate::generate;
pub use request::{Completion, FinishReason, Request, Sampling};
pub use rollout::{Event, Rollout, Work};
pub use scheduler::{Load, RequestId};
pub use score::score;
pub use session::{Limits, Session, Token};
pub use supports::Supports;

use octo_queue::QueueError;

/// Why generation or scoring failed. The message does not name the request: see [`InferError::request`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// The device failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// There is nothing to continue.
    #[error("the prompt is empty; give at least one token (for example the bos token)")]
    EmptyPrompt {
        /// Index of the request.
        request: usize,
    },
    /// A token that the model does not know.
    #[error(
        "token {token} at position {position} is not in the model's vocabulary of {vocab}; \
         does the tokenizer belong to this model?"
    )]
    Token {
        /// Index of the request.
        request: usize,
        /// The id.
        token: u32,
        /// Where in the request.
        position: usize,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A prompt that leaves no place for a token after it.
    #[error("the prompt of {tokens} tokens fills the context of {context}; shorten the prompt")]
    NoRoom {
        /// Index of the request.
        request: usize,
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that fit.
        context: usize,
    },
    /// A sequence to score with more tokens than the cache holds for one request.
    #[error("{tokens} tokens do not fit the context of {context}; shorten the sequence")]
    TooLong {
        /// Index of the request.
        request: usize,
        /// Tokens of the sequence.
        tokens: usize,
        /// Tokens that fit.
        context: usize,
    },
    /// A request that wants supports of a session that has no room for them.
    #[error("this session does not tell what draws could have been; allocate it with support")]
    NoSupport {
        /// Index of the request.
        request: usize,
    },
    /// A sampling parameter outside its range.
    #[error("{parameter} is {value}; expected {expected}")]
    Sampling {
        /// Index of the request.
        request: usize,
        /// Parameter name.
        parameter: &'static str,
        /// Its value.
        value: f64,
        /// The range.
        expected: &'static str,
    },
}

impl InferError {
    /// Index of the request at fault, from 0; `None` where the device failed.
    pub fn request(&self) -> Option<usize> {
        match *self {
            InferError::Queue(_) => None,
            InferError::EmptyPrompt { request }
            | InferError::Token { request, .. }
            | InferError::NoRoom { request, .. }
            | InferError::TooLong { request, .. }
            | InferError::NoSupport { request }
            | InferError::Sampling { request, .. } => Some(request),
        }
    }
}

/// Fails unless every token is in the vocabulary.
pub(crate) fn check_tokens(request: usize, tokens: &[u32], vocab: usize) -> Result<(), InferError> {
    match tokens.iter().position(|&t| t as usize >= vocab) {
        None => Ok(()),
        Some(position) => Err(InferError::Token { request, token: tokens[position], position, vocab }),
    }
}

//! Text to tokens and back.
//!
//! This crate answers: which token ids is this text, which text are these ids (whole, or token by token as
//! a model writes them), has a stop string been written, which text is a conversation, and how is a tokenizer trained. It does not read
//! data sets, know models or write files.
//!
//! Read `tokenizer.rs` first; `pattern.rs` says why the split into words is our own.

mod bytes;
mod chat;
mod continuation;
mod error;
mod pattern;
mod pretokenize;
#[cfg(test)]
mod samples;
mod stop;
mod stream;
mod tokenizer;
mod train;

pub use chat::{ChatTemplate, Message};
pub use continuation::Continuation;
pub use error::TextError;
pub use stop::{StopEvent, StopStrings};
pub use stream::TokenStreamDecoder;
pub use tokenizer::Tokenizer;
pub use train::{BpeOptions, SPLIT_PATTERN, train_bpe};

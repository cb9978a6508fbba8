//! What can go wrong between text and tokens.

use std::path::PathBuf;

/// An error of this crate. Each message says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder holds no `tokenizer.json`.
    #[error("`{}` holds no tokenizer.json{hint}", folder.display())]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
        /// What to do, when the folder shows it; starts with `: ` or is empty.
        hint: &'static str,
    },
    /// A file is larger than any tokenizer is.
    #[error("`{}` has {bytes} bytes; a tokenizer of more than {limit} is not read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The longest length that is read.
        limit: u64,
    },
    /// A file was read, but is no tokenizer that can be used.
    #[error("`{}` is not a usable tokenizer: {reason}", path.display())]
    BadTokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer could not encode a text.
    #[error("the tokenizer cannot encode a text of {bytes} bytes: {reason}")]
    Encode {
        /// Length of the text.
        bytes: usize,
        /// Why not.
        reason: String,
    },
    /// The tokenizer could not decode token ids.
    #[error("the tokenizer cannot decode {tokens} tokens: {reason}")]
    Decode {
        /// Number of token ids.
        tokens: usize,
        /// Why not.
        reason: String,
    },
    /// A vocabulary was asked for that cannot hold its fixed part.
    #[error(
        "a vocabulary of {asked} tokens is too small: 256 bytes and {special_tokens} special tokens \
         need at least {}", 256 + special_tokens
    )]
    VocabularyTooSmall {
        /// The size asked for.
        asked: usize,
        /// How many special tokens were asked for.
        special_tokens: usize,
    },
    /// A vocabulary was asked for that is larger than token ids may be.
    #[error("a vocabulary of {asked} tokens is too large: at most {limit} are possible")]
    VocabularyTooLarge {
        /// The size asked for.
        asked: usize,
        /// The most that is possible.
        limit: usize,
    },
    /// A special token cannot be used.
    #[error("the special token {token:?} cannot be used: {reason}")]
    BadSpecialToken {
        /// The token.
        token: String,
        /// Why not.
        reason: &'static str,
    },
    /// A chat template that is none, or that refuses a conversation or fails on it.
    #[error("the model's chat template: {reason}")]
    ChatTemplate {
        /// What the template engine says.
        reason: String,
    },
    /// A stop string is empty, so that it would stop everything at once.
    #[error("stop string {index} is empty: it would stop before the first token; remove it")]
    EmptyStop {
        /// Which of them, from 0.
        index: usize,
    },
}

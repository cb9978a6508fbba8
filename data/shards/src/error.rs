//! What can go wrong between documents and batches.

use crate::nanoset::card::CardRows;
use crate::nanoset::set::UNFINISHED;
use octo_durable::DurableError;
use octo_rows::{Origin, RowsError};
use octo_text::TextError;
use std::path::PathBuf;

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
    /// A source is asked for tokens that it does not have.
    #[error("tokens {start} to {} were asked for of a source of {tokens}", start + *count as u64)]
    OutsideSource {
        /// The first token asked for.
        start: u64,
        /// Tokens asked for.
        count: usize,
        /// Tokens there are.
        tokens: u64,
    },
    /// Something is wrong with one source of several.
    #[error("source `{name}`: {source}")]
    Source {
        /// Its name.
        name: String,
        /// What is wrong.
        source: Box<ShardsError>,
    },
    /// A share that is none.
    #[error("source `{name}`: a share of {share} is {reason}")]
    Share {
        /// The source.
        name: String,
        /// Its share as given.
        share: f64,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
    /// A mixture of no source at all.
    #[error("a mixture names no source; give it at least one")]
    EmptyMixture,
    /// A path gives no tokenised file.
    #[error("`{path}` gives no tokenised data: {reason}")]
    NoShards {
        /// The path as written.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file of tokens has no index.
    #[error(
        "`{}` has no index: `{}` does not exist; documents cannot be told apart without it, so make the file again \
         (datatrove: save_index=True)", path.display(), index.display()
    )]
    NoIndex {
        /// The file of tokens.
        path: PathBuf,
        /// Where its index should be.
        index: PathBuf,
    },
    /// Tokenised files that contradict each other or themselves.
    #[error("`{}` is damaged or not what it seems: {reason}; take another copy or make it again", path.display())]
    BadShards {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the numbers.
        reason: String,
    },
    /// A tokenised file has an id that the model has no embedding for.
    #[error(
        "`{}`: token {at} has the id {token}, outside the vocabulary of {vocab_size}; these shards were made with \
         another tokenizer, or are damaged", path.display()
    )]
    ShardOutsideVocabulary {
        /// The file.
        path: PathBuf,
        /// Which token of it, from 0.
        at: u64,
        /// Its id.
        token: u32,
        /// Rows of the model's embedding.
        vocab_size: usize,
    },
    /// Shards that another tokenizer made.
    #[error(
        "`{}` was tokenised with another tokenizer than this one: with `{tokenizer}` of {vocab_size} ids, whose \
         tokenizer.json differs; tokenise the data again, or train with that tokenizer", folder.display()
    )]
    OtherTokenizer {
        /// The folder of shards.
        folder: PathBuf,
        /// The name of its tokenizer.
        tokenizer: String,
        /// Ids of its tokenizer.
        vocab_size: usize,
    },
    /// A file is not what it was when it was opened.
    #[error(
        "`{}` changed while it was being read: {how}; put the file back as it was and start again from the last \
         checkpoint", path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// How.
        how: String,
    },
    /// Shards whose making was cut off.
    #[error(
        "`{}` is not finished: run `data tokenize` again to go on with it, or delete it (`{UNFINISHED}` marks \
         unfinished shards)", folder.display()
    )]
    Unfinished {
        /// The folder.
        folder: PathBuf,
    },
    /// Unfinished shards of another job stand where these should.
    #[error(
        "`{}` was begun otherwise: {}; give another --output, or --fresh to begin anew", folder.display(),
        differences.join("; ")
    )]
    OtherJob {
        /// The unfinished folder.
        folder: PathBuf,
        /// What is not the same.
        differences: Vec<String>,
    },
    /// Another process writes the same shards.
    #[error("`{}` is being written by another process; wait for it, or give another --output", folder.display())]
    Busy {
        /// The unfinished folder.
        folder: PathBuf,
    },
    /// Inputs without a document.
    #[error(
        "no documents: of {} rows the filter kept {}, and {} of those had no text; check the inputs, the template and \
         the filter", rows.read, rows.read - rows.filtered, rows.empty
    )]
    NoDocuments {
        /// What became of the rows.
        rows: CardRows,
    },
    /// More files than names have digits for.
    #[error("the tokens fill more than {files} files; give a larger --tokens-per-file")]
    TooManyFiles {
        /// The most files.
        files: usize,
    },
    /// A tokenizer name that would break the lines of the metadata.
    #[error(
        "`{name}` cannot stand in the metadata: a tokenizer's name has no `|` and no line break; give another"
    )]
    TokenizerName {
        /// The name.
        name: String,
    },
    /// The system gives no threads.
    #[error("cannot start threads: {source}; give a smaller --threads, or raise the limit of processes")]
    Threads {
        /// What it says.
        source: std::io::Error,
    },
    /// Files that could not be written, or a folder that is damaged.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The thread that makes batches ahead is gone.
    #[error("the thread that makes batches has panicked; this is a bug: please report what stands above")]
    Panicked,
    /// A batch is not whole sequences or micro-batches, or one of its parts is empty.
    #[error("{reason}; change `{key}`")]
    Shape {
        /// What does not fit.
        reason: String,
        /// The key to change.
        key: &'static str,
    },
}

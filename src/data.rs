//! `data`: prepare data.

mod inspect;
mod tokenize;
mod train_tokenizer;

use anyhow::Result;

/// What to do with data.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Train a byte-level BPE tokenizer on text.
    TrainTokenizer(train_tokenizer::Args),
    /// Tokenise data files once, into shards that training reads from disk (and nanotron too).
    Tokenize(tokenize::Args),
    /// Show what a batch of a recipe or a document of shards holds.
    Inspect(inspect::Args),
}

/// Runs `data …`.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::TrainTokenizer(args) => train_tokenizer::run(args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Inspect(args) => inspect::run(args),
    }
}

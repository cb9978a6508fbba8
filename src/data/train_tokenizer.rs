//! `data train-tokenizer`: train a byte-level BPE tokenizer on text.

use crate::io::say;
use anyhow::{Context, Result, anyhow};
use octo_durable::{Disk, write_bytes};
use octo_rows::{Documents, Filter, Rows, Split, Template, WordProblems};
use octo_text::{BpeOptions, train_bpe};
use std::path::PathBuf;

/// Arguments of `data train-tokenizer`.
#[derive(clap::Args)]
pub struct Args {
    /// Files, folders or patterns (.jsonl, .txt).
    #[arg(required_unless_present = "generated")]
    input: Vec<String>,
    /// Train on so many generated word problems instead of files.
    #[arg(long, value_name = "ROWS", conflicts_with = "input")]
    generated: Option<u64>,
    /// Seed of generated word problems.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Template that makes a document of a row.
    #[arg(long, default_value = "{{ text }}")]
    text: String,
    /// Condition a row must meet.
    #[arg(long = "where", value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Number of tokens, special tokens and the 256 bytes included.
    #[arg(long, value_name = "N")]
    vocab_size: usize,
    /// Special tokens; the first ends a document.
    #[arg(long = "special", value_name = "TOKEN", default_value = "<|endoftext|>")]
    special_tokens: Vec<String>,
    /// Where to write tokenizer.json.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// Runs `data train-tokenizer`.
pub fn run(args: Args) -> Result<()> {
    let mut failed = None;
    let mut sources = Vec::new();
    let template = || Template::new(&args.text);
    let filter = || args.filter.as_deref().map(Filter::new).transpose();
    match args.generated {
        Some(rows) => {
            let rows = WordProblems::new(args.seed, Split::Train, rows);
            sources.push(Documents::new(rows, template()?, filter()?));
        }
        None => {
            for path in &args.input {
                sources.push(Documents::of_files(Rows::open(path)?, template()?, filter()?));
            }
        }
    }
    // The trainer takes plain texts: the first broken row ends them and is reported below.
    let texts = sources.into_iter().flatten().map_while(|document| match document {
        Ok(document) => Some(document.text),
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    let mut options = BpeOptions::new(args.vocab_size);
    options.special_tokens = args.special_tokens;
    let tokenizer = train_bpe(texts, &options);
    if let Some(error) = failed {
        return Err(error.into());
    }
    let tokenizer = tokenizer.map_err(|e| anyhow!(e)).context("training the tokenizer")?;
    write_bytes(&Disk, &args.output, tokenizer.json().as_bytes())?;
    say(&format!("{} tokens in {}", tokenizer.vocab_size(), args.output.display()))
}

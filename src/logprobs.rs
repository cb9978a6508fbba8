//! `logprobs`: log-probabilities of given texts or tokens.

use crate::io::{LineWriter, name_row, read_lines, say};
use crate::model::{ModelArgs, Needs};
use anyhow::{Context, Result, bail};
use octo_text::Tokenizer;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Arguments of `logprobs`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Lines {"tokens": [...]} or {"text": "..."}; `-` reads standard input.
    #[arg(long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// Write lines {"tokens": [...], "logprobs": [...]} here, `-` for standard output; a summary by default.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    tokens: Option<Vec<u32>>,
    text: Option<String>,
}

#[derive(Serialize)]
struct Scored<'a> {
    tokens: &'a [u32],
    logprobs: &'a [f32],
}

/// Runs `logprobs`.
pub fn run(args: Args) -> Result<()> {
    let rows: Vec<Row> = read_lines(&args.input)?;
    let (dir, tokenizer) = args.model.open()?;
    let sequences = rows
        .into_iter()
        .enumerate()
        .map(|(i, row)| tokens(row, tokenizer.as_ref()).with_context(|| format!("row {}", i + 1)))
        .collect::<Result<Vec<_>>>()?;
    let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
    let needs = Needs { context: longest, total: longest, requests: 1 };
    let mut loaded = args.model.load(&dir, tokenizer, &needs)?;
    let mut output = LineWriter::open(args.output.as_deref())?;
    let mut outcome = Ok(());
    octo_infer::score(&mut loaded.queue, &loaded.net, &mut loaded.session, &sequences, |i, logprobs| {
        if outcome.is_ok() {
            outcome = tell(&mut output, i, &sequences[i], &logprobs);
        }
    })
    .map_err(|error| name_row(error, 1))?;
    outcome
}

fn tell(output: &mut LineWriter, row: usize, tokens: &[u32], logprobs: &[f32]) -> Result<()> {
    if output.is_open() {
        return output.write(&Scored { tokens, logprobs });
    }
    let sum: f64 = logprobs.iter().map(|&l| f64::from(l)).sum();
    let mean = sum / logprobs.len().max(1) as f64;
    say(&format!("row {}: {} tokens, log-probability {sum:.3}, {mean:.4} a token", row + 1, tokens.len()))
}

fn tokens(row: Row, tokenizer: Option<&Tokenizer>) -> Result<Vec<u32>> {
    match (row.tokens, row.text) {
        (Some(tokens), None) => Ok(tokens),
        (None, Some(text)) => {
            let tokenizer = tokenizer.context("the model directory has no tokenizer.json; give tokens")?;
            Ok(tokenizer.encode(&text, true)?)
        }
        _ => bail!("give either `tokens` or `text`"),
    }
}

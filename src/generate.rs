//! `generate`: continue prompts.

use crate::io::{LineWriter, name_row, read_lines, say};
use crate::model::{ModelArgs, Needs};
use anyhow::{Context, Result, bail};
use octo_infer::{FinishReason, Request, Sampling};
use octo_text::{Continuation, Tokenizer};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Arguments of `generate`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// One prompt on the command line, instead of --input.
    #[arg(long, conflicts_with = "input", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Lines {"prompt": "..."} or {"tokens": [...]}; `-` reads standard input.
    #[arg(long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// Write lines {"tokens", "text", "logprobs", "finish_reason"} here, `-` for standard output; text by default.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Most tokens of a continuation.
    #[arg(long, default_value_t = 256, value_name = "N")]
    max_new_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token.
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    temperature: f32,
    /// Keep so many of the likeliest tokens; 0 keeps all.
    #[arg(long, default_value_t = 0, value_name = "K")]
    top_k: u32,
    /// Keep so much of the probability.
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    top_p: f32,
    /// Drop tokens below this fraction of the likeliest one's probability.
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    min_p: f32,
    /// Samples of each prompt.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Seed; prompt i uses seed + i, so that a prompt's samples do not depend on its company.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// End a continuation before this text; may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Do not end at the model's end-of-text tokens.
    #[arg(long)]
    ignore_eos: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    tokens: Option<Vec<u32>>,
    prompt: Option<String>,
}

#[derive(Serialize)]
struct Generated<'a> {
    tokens: &'a [u32],
    text: &'a str,
    logprobs: &'a [f32],
    finish_reason: &'static str,
}

/// Continuations of one call: each keeps its prompt and tokens in memory until all are done.
const MAX_REQUESTS: usize = 1 << 20;

/// Runs `generate`.
pub fn run(args: Args) -> Result<()> {
    let rows = match &args.prompt {
        Some(prompt) => vec![Row { tokens: None, prompt: Some(prompt.clone()) }],
        None => read_lines(&args.input)?,
    };
    let (dir, tokenizer) = args.model.open()?;
    if !args.stop.is_empty() && tokenizer.is_none() {
        bail!("--stop needs a tokenizer.json in the model directory");
    }
    let prompts = rows
        .into_iter()
        .enumerate()
        .map(|(i, row)| tokens(row, tokenizer.as_ref()).with_context(|| format!("row {}", i + 1)))
        .collect::<Result<Vec<_>>>()?;
    let count = prompts.len().saturating_mul(args.n as usize);
    if count > MAX_REQUESTS {
        bail!("{} prompts times --n {} are more than {MAX_REQUESTS} continuations", prompts.len(), args.n);
    }
    let lengths = prompts.iter().map(|p| p.len().saturating_add(args.max_new_tokens));
    let needs = Needs {
        context: lengths.clone().max().unwrap_or(0),
        total: lengths.fold(0, usize::saturating_add).saturating_mul(args.n as usize),
        requests: count,
    };
    let mut loaded = args.model.load(&dir, tokenizer, &needs)?;
    let stop_tokens = if args.ignore_eos { Vec::new() } else { loaded.eos.clone() };
    let requests = requests(&args, prompts, stop_tokens);
    let mut texts: Vec<Continuation> = requests
        .iter()
        .map(|_| Ok(Continuation::new(loaded.tokenizer.as_ref(), &args.stop)?))
        .collect::<Result<_>>()?;
    let completions = octo_infer::generate(
        &mut loaded.queue,
        &loaded.net,
        &mut loaded.session,
        &requests,
        |request, token| texts[request].push(token, requests[request].stop_tokens.contains(&token)),
    )
    .map_err(|error| name_row(error, args.n as usize))?;
    let mut output = LineWriter::open(args.output.as_deref())?;
    for (text, completion) in texts.into_iter().zip(&completions) {
        let text = text.finish()?;
        let finish_reason = match completion.finish {
            FinishReason::Length => "length",
            FinishReason::Stop => "stop",
        };
        if output.is_open() {
            output.write(&Generated {
                tokens: &completion.tokens,
                text: &text,
                logprobs: &completion.logprobs,
                finish_reason,
            })?;
        } else if loaded.tokenizer.is_some() {
            say(&text)?;
        } else {
            say(&format!("{:?}", completion.tokens))?;
        }
    }
    Ok(())
}

fn requests(args: &Args, prompts: Vec<Vec<u32>>, stop_tokens: Vec<u32>) -> Vec<Request> {
    let sampling =
        Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, min_p: args.min_p };
    let each = |(i, prompt): (usize, Vec<u32>)| {
        let stop_tokens = stop_tokens.clone();
        (0..args.n).map(move |sample| Request {
            prompt: prompt.clone(),
            max_new_tokens: args.max_new_tokens,
            sampling,
            seed: args.seed.wrapping_add(i as u64),
            sample,
            stop_tokens: stop_tokens.clone(),
            support: false,
        })
    };
    prompts.into_iter().enumerate().flat_map(each).collect()
}

fn tokens(row: Row, tokenizer: Option<&Tokenizer>) -> Result<Vec<u32>> {
    match (row.tokens, row.prompt) {
        (Some(tokens), None) => Ok(tokens),
        (None, Some(prompt)) => {
            let tokenizer = tokenizer.context("the model directory has no tokenizer.json; give tokens")?;
            Ok(tokenizer.encode(&prompt, true)?)
        }
        _ => bail!("give either `tokens` or `prompt`"),
    }
}

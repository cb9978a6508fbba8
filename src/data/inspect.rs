//! `data inspect`: what a batch or a document holds.

use crate::io::say;
use anyhow::{Context, Result, anyhow, bail};
use octo_recipe::{Options, Recipe, ThisMachine};
use octo_shards::{Batches, PieceView, SequenceView, ShardSet, TokenSource, describe};
use octo_text::Tokenizer;
use octo_trainer::{Observer, StepMetrics, open_batches};
use std::path::PathBuf;

/// Characters shown of each end of a text.
const SHOWN: usize = 240;

/// Arguments of `data inspect`.
#[derive(clap::Args)]
pub struct Args {
    /// A recipe: show a micro-batch that it trains on.
    #[arg(required_unless_present = "shards")]
    recipe: Option<PathBuf>,
    /// Override a key of the recipe, e.g. --set stages.0.steps=10; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "shards")]
    sets: Vec<String>,
    /// Optimizer step, from 1, as metrics and messages count.
    #[arg(long, value_name = "S", default_value_t = 1, conflicts_with = "shards", value_parser = clap::value_parser!(u64).range(1..))]
    step: u64,
    /// Micro-batch of the step, from 0.
    #[arg(long, value_name = "M", default_value_t = 0, conflicts_with = "shards")]
    micro: usize,
    /// Tokenised files: a .ds file, a folder or a pattern.
    #[arg(long, value_name = "PATH", requires = "tokenizer", conflicts_with = "recipe")]
    shards: Option<String>,
    /// The tokenizer of the shards.
    #[arg(long, value_name = "PATH", requires = "shards")]
    tokenizer: Option<PathBuf>,
    /// Show this document of the shards, from 0; may be given several times.
    #[arg(long, value_name = "N", requires = "shards")]
    document: Vec<u64>,
    /// Show texts whole, not their ends alone.
    #[arg(long)]
    full: bool,
}

/// Runs `data inspect`.
pub fn run(args: Args) -> Result<()> {
    let text = match (&args.shards, &args.tokenizer, &args.recipe) {
        (Some(shards), Some(tokenizer), _) => documents(shards, &Tokenizer::load(tokenizer)?, &args)?,
        (_, _, Some(recipe)) => {
            let options = Options { sets: args.sets.clone(), no_paths: false };
            let recipe =
                Recipe::load(&ThisMachine, recipe, &options).map_err(|errors| anyhow!("{errors}"))?;
            if args.step > recipe.total_steps() {
                bail!("--step {} is none: the last step is {}", args.step, recipe.total_steps());
            }
            let (batches, within, tokenizer) = open_batches(&recipe, args.step - 1, &mut Quiet)?;
            micro_batch(&batches, within, &tokenizer, &args)?
        }
        _ => bail!("give a recipe, or --shards with --tokenizer"),
    };
    say(text.trim_end())
}

/// A micro-batch of a recipe.
fn micro_batch(batches: &Batches, within: u64, tokenizer: &Tokenizer, args: &Args) -> Result<String> {
    let count = batches.micro_batches();
    if args.micro >= count {
        bail!("--micro {} is none: the last micro-batch of a step is {}", args.micro, count - 1);
    }
    let batch = batches.batch(within, args.micro)?;
    let length = batches.options().sequence_length;
    let mut out = format!(
        "step {}, micro-batch {} of {count}: {} sequences of {length} tokens, {} labels\n",
        args.step,
        args.micro,
        batch.ids.len() / length,
        batch.targets,
    );
    let views =
        describe(&batch, length, |ids| tokenizer.decode(ids, false).unwrap_or_else(|e| e.to_string()));
    for (number, SequenceView { origin, pieces }) in views.iter().enumerate() {
        let Some(origin) = origin else { continue };
        let name = &batches.mixture()[origin.source].name;
        out += &format!(
            "\nsequence {number}: source {name}, epoch {}, window {}\n",
            origin.epoch, origin.window
        );
        for piece in pieces {
            let place = batches.document(origin, piece.tokens.start - number * length)?;
            let place = place.map(|place| format!(", {place}")).unwrap_or_default();
            out += &format!("  {}{place}\n{}", extent(piece), indented(&piece.text, args.full));
        }
    }
    Ok(out)
}

/// Where a piece lies and what is masked of it.
fn extent(piece: &PieceView) -> String {
    let tokens = &piece.tokens;
    let last = piece.first_position as usize + tokens.len() - 1;
    let ignored = match piece.ignored.as_slice() {
        [] => String::new(),
        [one] => format!(", no label at {one}"),
        [first, .., last] => format!(", no label at {} places from {first} to {last}", piece.ignored.len()),
    };
    format!("tokens {}..{}, positions {}..={last}{ignored}", tokens.start, tokens.end, piece.first_position)
}

/// What shards are, and documents of them.
fn documents(path: &str, tokenizer: &Tokenizer, args: &Args) -> Result<String> {
    let shards = ShardSet::open(path, tokenizer.vocab_size(), Some(tokenizer.content_hash()))?;
    let names: Vec<String> = shards.tokenizers().iter().map(|name| format!("`{name}`")).collect();
    let mut out = format!(
        "{} file{}, {} documents, {} tokens; tokenised with {}\n",
        shards.files().len(),
        if shards.files().len() == 1 { "" } else { "s" },
        shards.documents(),
        shards.tokens(),
        if names.is_empty() { "an unnamed tokenizer".to_owned() } else { names.join(", ") },
    );
    let documents = if args.document.is_empty() { &[0][..] } else { &args.document };
    let source = TokenSource::Shards(shards);
    for &document in documents {
        let range = source.document(document)?.with_context(|| {
            format!("there is no document {document}; the last is {}", source.documents().saturating_sub(1))
        })?;
        let mut tokens = vec![0; usize::try_from(range.end - range.start)?];
        source.read(range.start, &mut tokens)?;
        let place = source.origin(document).map(|place| format!(", {place}")).unwrap_or_default();
        out += &format!("\ndocument {document}{place}: {} tokens\n", tokens.len());
        out += &indented(&tokenizer.decode(&tokens, false)?, args.full);
    }
    Ok(out)
}

/// A text with a bar before each line; the middle of a long one is left out.
fn indented(text: &str, full: bool) -> String {
    let characters = text.chars().count();
    let shown = if full || characters <= 2 * SHOWN + 40 {
        text.to_owned()
    } else {
        let head: String = text.chars().take(SHOWN).collect();
        let tail: String = text.chars().skip(characters - SHOWN).collect();
        format!("{head}\n… {} characters …\n{tail}", characters - 2 * SHOWN)
    };
    shown.split('\n').map(|line| format!("  | {line}\n")).collect()
}

/// Says nothing of the preparations.
struct Quiet;

impl Observer for Quiet {
    fn note(&mut self, _: &str) {}
    fn preparing(&mut self, _: &str, _: u64) {}
    fn step(&mut self, _: &StepMetrics) {}
    fn validation(&mut self, _: u64, _: &str, _: f64) {}
    fn sample(&mut self, _: u64, _: &str, _: &str) {}
}

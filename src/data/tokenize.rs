//! `data tokenize`: data files to shards.

use crate::io::say;
use anyhow::Result;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use octo_rows::Rows;
use octo_shards::{ShardJob, ShardProgress, TOKENS_PER_FILE};
use octo_text::Tokenizer;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `data tokenize`.
#[derive(clap::Args)]
pub struct Args {
    /// A tokenizer.json, or a folder that holds one.
    #[arg(long, value_name = "PATH")]
    tokenizer: PathBuf,
    /// What the shards say their tokenizer is, for other readers (nanotron); its folder or file by default.
    #[arg(long, value_name = "NAME")]
    tokenizer_name: Option<String>,
    /// Data files, folders or patterns, in this order.
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    input: Vec<String>,
    /// The folder to make.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Template that makes a document of a row.
    #[arg(long, default_value = "{{ text }}")]
    text: String,
    /// Condition a row must meet.
    #[arg(long = "where", value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Begin each document with the bos of the tokenizer's post-processor; by default where it adds one.
    #[arg(long)]
    add_bos: bool,
    /// Begin documents with no bos, whatever the tokenizer does.
    #[arg(long, conflicts_with = "add_bos")]
    no_bos: bool,
    /// Do not end documents with the end-of-sequence token.
    #[arg(long)]
    no_eos: bool,
    /// Most tokens of a file; a killed run goes on behind its last whole file.
    #[arg(long, value_name = "N", default_value_t = TOKENS_PER_FILE, value_parser = clap::value_parser!(u64).range(1..))]
    tokens_per_file: u64,
    /// Threads; all of the machine's by default. The files do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Begin anew instead of going on with what a killed run left.
    #[arg(long)]
    fresh: bool,
}

/// Runs `data tokenize`.
pub fn run(args: Args) -> Result<()> {
    let tokenizer = Tokenizer::load(&args.tokenizer)?;
    let mut inputs = Vec::new();
    for path in &args.input {
        inputs.extend(Rows::files(path)?.into_iter().map(|file| file.path));
    }
    let job = ShardJob {
        tokenizer_name: args.tokenizer_name.unwrap_or_else(|| name_of(&args.tokenizer)),
        inputs,
        text: args.text,
        filter: args.filter,
        add_bos: args.add_bos || !args.no_bos && tokenizer.bos_id().is_some(),
        add_eos: !args.no_eos,
        tokens_per_file: args.tokens_per_file,
        output: args.output,
        threads: args.threads.map(|n| n as usize),
        tokenizer,
    };
    let mut progress = Progress::new();
    let card = job.run(args.fresh, &mut |now| progress.tell(now))?;
    let rates = progress.finish();
    say(&format!(
        "rows     {} read, {} filtered, {} empty\nshards   {} documents, {} tokens in {} file{}: {}{rates}",
        card.rows.read,
        card.rows.filtered,
        card.rows.empty,
        card.documents,
        card.tokens,
        card.files.len(),
        if card.files.len() == 1 { "" } else { "s" },
        job.output.display(),
    ))
}

/// What `AutoTokenizer.from_pretrained` would take, from wherever it is called.
fn name_of(path: &Path) -> String {
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let is_usual = whole.file_name().is_some_and(|name| name == "tokenizer.json");
    whole.parent().filter(|_| is_usual).unwrap_or(&whole).display().to_string()
}

/// A bar on a terminal; a line a file where there is none.
struct Progress {
    bar: ProgressBar,
    drawn: bool,
    /// When this start began, and how far the job was then.
    began: Option<(Instant, ShardProgress)>,
    last: ShardProgress,
}

impl Progress {
    fn new() -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = "{bar:30} {bytes}/{total_bytes}  {msg}  {elapsed} elapsed, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let drawn = std::io::stderr().is_terminal();
        Progress { bar, drawn, began: None, last: ShardProgress::default() }
    }

    fn tell(&mut self, now: ShardProgress) {
        let first = *self.began.get_or_insert_with(|| (Instant::now(), now));
        let more_files = now.files > self.last.files;
        self.last = now;
        if self.drawn {
            if self.bar.length().is_none() {
                self.bar.set_length(now.inputs_bytes);
                // What an earlier start has done says nothing of this one's speed.
                self.bar.set_position(now.input_bytes);
                self.bar.reset_eta();
            }
            self.bar.set_position(now.input_bytes);
            self.bar.set_message(format!("{} tokens{}", now.tokens, rates(first, now)));
        } else if more_files {
            // Progress that cannot be shown must not stop the work.
            let _ = writeln!(
                std::io::stderr(),
                "{} file{}: {} documents, {} tokens{}",
                now.files,
                if now.files == 1 { "" } else { "s" },
                now.documents,
                now.tokens,
                rates(first, now)
            );
        }
    }

    /// Takes the bar away; returns the rates of this start.
    fn finish(&self) -> String {
        self.bar.finish_and_clear();
        self.began.map(|first| rates(first, self.last)).unwrap_or_default()
    }
}

/// `, 5.1 MB/s of text, 1300000 tokens/s` since a start.
fn rates((began, first): (Instant, ShardProgress), now: ShardProgress) -> String {
    let seconds = began.elapsed().as_secs_f64();
    if seconds < 1e-3 {
        return String::new();
    }
    let rate = |now: u64, first: u64| (now.saturating_sub(first) as f64 / seconds) as u64;
    format!(
        ", {}/s of text, {} tokens/s",
        HumanBytes(rate(now.text_bytes, first.text_bytes)),
        rate(now.tokens, first.tokens)
    )
}

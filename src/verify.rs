//! `verify`: is this answer right?

use crate::io::{LineWriter, read_lines, say};
use anyhow::{Result, bail};
use octo_verify::{Config, Extraction, Verdict, verify, verify_all};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Arguments of `verify`.
#[derive(clap::Args)]
pub struct Args {
    /// The right answer, in LaTeX or plain notation.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "answer",
        conflicts_with = "input",
        allow_hyphen_values = true
    )]
    gold: Option<String>,
    /// The answer, or a whole response that holds it.
    #[arg(long, value_name = "TEXT", requires = "gold", allow_hyphen_values = true)]
    answer: Option<String>,
    /// Lines {"gold": "...", "answer": "..."}; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Write lines {"equal": ..., "verdict": ..., "gold": ..., "answer": ...} here; standard output by default.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Count nothing but a \boxed{} answer, as a reward should.
    #[arg(long)]
    boxed_only: bool,
    /// Say why.
    #[arg(long)]
    explain: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    gold: String,
    answer: String,
}

#[derive(Serialize)]
struct Line<'a> {
    equal: bool,
    verdict: &'static str,
    gold: &'a str,
    answer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

/// Runs `verify`.
pub fn run(args: Args) -> Result<()> {
    let extraction = Extraction { boxed_only: args.boxed_only, ..Extraction::default() };
    let config = Config { extraction, ..Config::default() };
    if let (Some(gold), Some(answer)) = (&args.gold, &args.answer) {
        let outcome = verify(gold, answer, &config);
        say(outcome.verdict.name())?;
        if args.explain {
            say(&format!("answer   {}\nbecause  {}", outcome.answer, outcome.why))?;
        }
        return Ok(());
    }
    let Some(input) = &args.input else { bail!("give --gold and --answer, or --input FILE") };
    let rows: Vec<Row> = read_lines(input)?;
    let pairs: Vec<(&str, &str)> = rows.iter().map(|row| (row.gold.as_str(), row.answer.as_str())).collect();
    let outcomes = verify_all(&pairs, &config);
    let standard_output = PathBuf::from("-");
    let mut output = LineWriter::open(Some(args.output.as_deref().unwrap_or(&standard_output)))?;
    for (row, outcome) in rows.iter().zip(&outcomes) {
        output.write(&Line {
            equal: outcome.verdict == Verdict::Equal,
            verdict: outcome.verdict.name(),
            gold: &row.gold,
            answer: &outcome.answer,
            why: args.explain.then_some(&outcome.why),
        })?;
    }
    Ok(())
}

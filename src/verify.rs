//! `verify`: is this answer right?

use crate::io::{LineWriter, read_lines, say};
use anyhow::{Context, Result, bail};
use octo_verify::{Benchmark, Config, Extraction, Mode, Verdict, verify, verify_each};
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
    /// By whose rules: ours, those of the package Math-Verify, or those of the OctoThinker paper's scorer.
    #[arg(long, value_name = "MODE", default_value = "strict")]
    mode: ModeName,
    /// The benchmark whose scorer is followed in mode octothinker: gsm8k, math, olympiad, amc, sat, ocw, mmlu-stem,
    /// mathqa, svamp, asdiv, mawps or tabmwp.
    #[arg(long, value_name = "NAME", value_parser = benchmark)]
    benchmark: Option<Benchmark>,
    /// Lines {"gold": "...", "answer": "..."}, each with a "mode" and a "benchmark" of its own if it likes; `-` reads
    /// standard input.
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

#[derive(Clone, Copy, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum ModeName {
    Strict,
    MathVerify,
    #[value(name = "octothinker")]
    #[serde(rename = "octothinker")]
    OctoThinker,
}

fn benchmark(name: &str) -> Result<Benchmark> {
    Benchmark::ALL.into_iter().find(|benchmark| benchmark.name() == name).with_context(|| {
        let known: Vec<&str> = Benchmark::ALL.iter().map(|benchmark| benchmark.name()).collect();
        format!("no benchmark `{name}`; there are {}", known.join(", "))
    })
}

fn mode(name: ModeName, benchmark: Option<Benchmark>) -> Result<Mode> {
    Ok(match name {
        ModeName::Strict => Mode::Strict,
        ModeName::MathVerify => Mode::MathVerify,
        ModeName::OctoThinker => Mode::OctoThinker(
            benchmark.context("mode octothinker follows a benchmark's scorer; name it, as in `gsm8k`")?,
        ),
    })
}

#[derive(Deserialize)]
struct Row {
    gold: String,
    answer: String,
    mode: Option<ModeName>,
    benchmark: Option<String>,
    /// Whatever else the row says, handed on.
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Line<'a> {
    equal: bool,
    verdict: &'static str,
    gold: &'a str,
    answer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

/// Runs `verify`.
pub fn run(args: Args) -> Result<()> {
    let extraction = Extraction { boxed_only: args.boxed_only, ..Extraction::default() };
    let config = Config { extraction, ..Config::default() };
    let judged_by = |mode: Mode| Config { mode, ..config.clone() };
    if let (Some(gold), Some(answer)) = (&args.gold, &args.answer) {
        let outcome = verify(gold, answer, &judged_by(mode(args.mode, args.benchmark)?));
        say(outcome.verdict.name())?;
        if args.explain {
            say(&format!("answer   {}\nbecause  {}", outcome.answer, outcome.why))?;
        }
        return Ok(());
    }
    let Some(input) = &args.input else { bail!("give --gold and --answer, or --input FILE") };
    let rows: Vec<Row> = read_lines(input)?;
    let configs: Vec<Config> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let named = row.benchmark.as_deref().map(benchmark).transpose();
            named
                .and_then(|named| mode(row.mode.unwrap_or(args.mode), named.or(args.benchmark)))
                .map(judged_by)
                .with_context(|| format!("row {}", index + 1))
        })
        .collect::<Result<_>>()?;
    let questions: Vec<(&str, &str, &Config)> = rows
        .iter()
        .zip(&configs)
        .map(|(row, config)| (row.gold.as_str(), row.answer.as_str(), config))
        .collect();
    let outcomes = verify_each(&questions);
    let standard_output = PathBuf::from("-");
    let mut output = LineWriter::open(Some(args.output.as_deref().unwrap_or(&standard_output)))?;
    for (row, outcome) in rows.iter().zip(&outcomes) {
        // Judged lines may be judged again.
        let mut other = row.other.clone();
        other.retain(|name, _| !["equal", "verdict", "why"].contains(&name.as_str()));
        output.write(&Line {
            equal: outcome.verdict == Verdict::Equal,
            verdict: outcome.verdict.name(),
            gold: &row.gold,
            answer: &outcome.answer,
            why: args.explain.then_some(&outcome.why),
            other,
        })?;
    }
    Ok(())
}

//! Pairs of a gold answer and a response with known truth, as JSON lines: `pairs COUNT SEED [verdicts]`.
//!
//! With `verdicts` each line also has what modes `strict` and `math-verify` say.

mod generator;

use octo_verify::{Config, Mode, verify};
use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|a| a.parse::<u64>().ok());
    let verdicts = arguments.get(2).is_some_and(|a| a == "verdicts");
    let (Some(count), Some(seed), true) =
        (number(0), number(1), arguments.len() == 2 + usize::from(verdicts))
    else {
        return Err(std::io::Error::other("say how many pairs and from which seed: `pairs 50000 1`"));
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for pair in generator::pairs(count, seed) {
        let mut row = serde_json::json!({
            "form": pair.form,
            "gold": pair.gold,
            "answer": pair.answer,
            "equal": pair.equal,
        });
        if verdicts {
            for mode in [Mode::Strict, Mode::MathVerify] {
                let config = Config { mode, ..Config::default() };
                row[mode.name()] = verify(&pair.gold, &pair.answer, &config).verdict.name().into();
            }
        }
        writeln!(out, "{row}")?;
    }
    out.flush()
}

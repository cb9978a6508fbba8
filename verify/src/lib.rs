//! Is this answer right?
//!
//! [`verify`] says whether a response holds the gold answer: [`extract`] finds what the response answers, a lexer and a
//! parser turn both into trees of typed values, and these are compared by exact arithmetic, residues at random points and
//! evaluation with error bounds. All of it is bounded by a count of work, never by time, so a verdict is a pure function of
//! its arguments. It does not know benchmarks or prompts; those are the evaluation's.
//!
//! Read `compare.rs` first, then `parser/mod.rs`.

mod ball;
mod compare;
mod exact;
mod extract;
mod fuel;
mod lexer;
mod modular;
mod node;
mod numeric;
mod parser;
mod solutions;
mod words;

pub use extract::{Candidate, Class, Extraction, extract};
use fuel::{Fuel, Stop};
use rayon::prelude::*;

/// What is said of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is the gold answer.
    Equal,
    /// It is another answer.
    NotEqual,
    /// The response holds no answer, or one that could not be parsed; or gold could not be.
    Unparsed,
    /// The work allowed was used up first.
    Budget,
}

impl Verdict {
    /// Name in output lines.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Equal => "equal",
            Verdict::NotEqual => "not equal",
            Verdict::Unparsed => "unparsed",
            Verdict::Budget => "out of budget",
        }
    }
}

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is said.
    pub verdict: Verdict,
    /// The part of the response that was taken for its answer; empty if there is none.
    pub answer: String,
    /// How that was found; `None` where the whole response is the answer.
    pub class: Option<Class>,
    /// Why, in one sentence.
    pub why: String,
}

/// How answers are found and how much work a verdict may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where an answer is looked for.
    pub extraction: Extraction,
    /// Work allowed, in units of about ten nanoseconds.
    pub fuel: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config { extraction: Extraction::default(), fuel: 1_500_000 }
    }
}

/// Whether a response holds the gold answer.
///
/// `gold` is parsed as a whole, with or without delimiters. A response that is nothing but an answer is compared as a whole;
/// else its first candidate is.
pub fn verify(gold: &str, response: &str, config: &Config) -> Outcome {
    let fuel = Fuel::new(config.fuel);
    let outcome = |verdict, answer: &str, class, why: String| Outcome {
        verdict,
        answer: answer.to_owned(),
        class,
        why,
    };
    let parsed_gold = match parser::parse(gold, &fuel) {
        Ok(parsed) => parsed,
        Err(stop) => return outcome(verdict(&stop), "", None, format!("the gold answer: {stop}")),
    };
    let whole = response.trim();
    let candidates = if config.extraction.boxed_only || whole.contains("\\boxed") || whole.len() > 512 {
        None
    } else {
        parser::parse(whole, &fuel).ok().map(|parsed| (whole.to_owned(), None, parsed))
    };
    let (answer, class, parsed) = match candidates {
        Some(found) => found,
        None => {
            let Some(candidate) = extract(response, &config.extraction).into_iter().next() else {
                return outcome(Verdict::Unparsed, "", None, "the response holds no answer".into());
            };
            match parser::parse(&candidate.text, &fuel) {
                Ok(parsed) => (candidate.text, Some(candidate.class), parsed),
                Err(stop) => {
                    let why = format!("the answer: {stop}");
                    return outcome(verdict(&stop), &candidate.text, Some(candidate.class), why);
                }
            }
        }
    };
    match compare::same(&parsed_gold, &parsed, &fuel) {
        Ok(true) => outcome(Verdict::Equal, &answer, class, "both sides have the same value".into()),
        Ok(false) => {
            outcome(Verdict::NotEqual, &answer, class, "the values differ, or their kinds do".into())
        }
        Err(stop) => outcome(verdict(&stop), &answer, class, stop.to_string()),
    }
}

fn verdict(stop: &Stop) -> Verdict {
    match stop {
        Stop::Unparsed(_) => Verdict::Unparsed,
        Stop::Budget => Verdict::Budget,
    }
}

/// [`verify`] over many pairs (gold, response) on all threads of the pool; outcomes in their order.
pub fn verify_all(pairs: &[(&str, &str)], config: &Config) -> Vec<Outcome> {
    pairs.par_iter().map(|(gold, response)| verify(gold, response, config)).collect()
}

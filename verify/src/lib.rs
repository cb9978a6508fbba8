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
mod mode;
mod modular;
mod node;
mod numeric;
mod parser;
mod solutions;
mod words;

pub use extract::{Candidate, Class, Extraction, extract};
use fuel::Stop;
pub use mode::Mode;
pub use mode::octothinker::{Benchmark, Item, octothinker};
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
    /// By whose rules.
    pub mode: Mode,
    /// Where an answer is looked for; mode `octothinker` has places of its own.
    pub extraction: Extraction,
    /// Work allowed, in units of about ten nanoseconds.
    pub fuel: u64,
    /// Whether a matrix of one row or one column is the tuple of its elements, in mode `strict`.
    pub vectors: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config { mode: Mode::default(), extraction: Extraction::default(), fuel: 1_500_000, vectors: true }
    }
}

impl Outcome {
    fn new(verdict: Verdict, answer: &str, class: Option<Class>, why: &str) -> Outcome {
        Outcome { verdict, answer: answer.to_owned(), class, why: why.to_owned() }
    }

    /// What is said where no verdict was reached.
    fn stopped(stop: &Stop, which: &str, answer: &str, class: Option<Class>) -> Outcome {
        let verdict = match stop {
            Stop::Unparsed(_) => Verdict::Unparsed,
            Stop::Budget => Verdict::Budget,
        };
        Outcome::new(verdict, answer, class, &format!("{which}{stop}"))
    }
}

/// Whether a response holds the gold answer.
///
/// `gold` is parsed as a whole, with or without delimiters. A response that is nothing but an answer is compared as a whole;
/// else its first candidate is.
pub fn verify(gold: &str, response: &str, config: &Config) -> Outcome {
    match config.mode {
        Mode::Strict => mode::strict::verify(gold, response, config),
        Mode::MathVerify => mode::math_verify::verify(gold, response, config),
        Mode::OctoThinker(benchmark) => {
            octothinker(benchmark, &Item { gold: &[gold], question: "", choices: &[] }, response, config)
        }
    }
}

/// [`verify`] over many pairs (gold, response), each with its own rules, on all threads of the pool; outcomes in their order.
pub fn verify_each(questions: &[(&str, &str, &Config)]) -> Vec<Outcome> {
    questions.par_iter().map(|(gold, response, config)| verify(gold, response, config)).collect()
}

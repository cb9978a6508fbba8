//! Mode `strict`: what rewards and our own scores use.

use crate::compare::{self, Judge, decimal};
use crate::extract::{Class, candidates, prose};
use crate::fuel::{Fuel, Stop};
use crate::lexer::{Reading, second_reading};
use crate::parser::{self, Parsed};
use crate::{Config, Outcome, Verdict};

/// Responses up to this length may be nothing but an answer.
const WHOLE: usize = 512;

/// What is taken for a response's answer.
struct Answer {
    text: String,
    class: Option<Class>,
    parsed: Result<Parsed, Stop>,
}

pub(crate) fn verify(gold: &str, response: &str, config: &Config) -> Outcome {
    let fuel = Fuel::new(config.fuel);
    let parsed_gold = match parser::parse(gold, Reading::default(), &fuel) {
        Ok(parsed) => parsed,
        Err(stop) => return Outcome::stopped(&stop, "the gold answer: ", "", None),
    };
    let Some(answer) = answer(response, config, &fuel) else {
        return Outcome::new(Verdict::Unparsed, "", None, "the response holds no answer");
    };
    let judge = Judge { vectors: config.vectors, ..Judge::exact(&fuel) };
    let first = match &answer.parsed {
        Ok(parsed) => compare::same(&parsed_gold, parsed, &judge),
        Err(stop) => Err(stop.clone()),
    };
    let same = match first {
        Ok(true) | Err(Stop::Budget) => first,
        other => match second(gold, &parsed_gold, &answer, &judge) {
            Ok(true) => Ok(true),
            _ => other,
        },
    };
    let (text, class) = (&answer.text, answer.class);
    match same {
        Ok(true) => Outcome::new(Verdict::Equal, text, class, "both sides have the same value"),
        Ok(false) => Outcome::new(Verdict::NotEqual, text, class, "the values differ, or their kinds do"),
        Err(stop) => {
            let which = if answer.parsed.is_err() { "the answer: " } else { "" };
            Outcome::stopped(&stop, which, text, class)
        }
    }
}

/// Where a response says that it gives its answer, there; else the whole of it, if it is nothing but an answer; else the
/// last place that may be one.
fn answer(response: &str, config: &Config, fuel: &Fuel) -> Option<Answer> {
    let parse = |text: &str| parser::parse(text, Reading::default(), fuel);
    let candidate = candidates(response, &config.extraction).next();
    let class = candidate.as_ref().map(|c| c.class);
    let told = class.is_some_and(|class| class < Class::Mathematics);
    let whole = response.trim();
    // Words around mathematics are no answer.
    let answers = !told && whole.len() <= WHOLE && !(class == Some(Class::Mathematics) && prose(whole));
    if answers
        && !config.extraction.boxed_only
        && let Ok(parsed) = parse(whole)
    {
        return Some(Answer { text: whole.to_owned(), class: None, parsed: Ok(parsed) });
    }
    let candidate = candidate?;
    let parsed = parse(&candidate.text);
    Some(Answer { text: candidate.text, class: Some(candidate.class), parsed })
}

/// The comparison once more where one side, and only one, can be read in a second way: `3,14` beside a decimal.
fn second(gold: &str, parsed_gold: &Parsed, answer: &Answer, judge: &Judge) -> Result<bool, Stop> {
    match (second_reading(gold), second_reading(&answer.text)) {
        (None, Some(reading)) => {
            compare::same(parsed_gold, &parser::parse(&answer.text, reading, judge.fuel)?, judge)
        }
        (Some(reading), None) => match &answer.parsed {
            Ok(parsed) if !reading.comma || decimal(&parsed.node) => {
                compare::same(&parser::parse(gold, reading, judge.fuel)?, parsed, judge)
            }
            _ => Ok(false),
        },
        // Two lists are two lists, but `1e-4` and `1E-4` are one number.
        (Some(Reading { exponent: true, .. }), Some(Reading { exponent: true, .. })) => {
            let reading = Reading { comma: false, exponent: true };
            let gold = parser::parse(gold, reading, judge.fuel)?;
            compare::same(&gold, &parser::parse(&answer.text, reading, judge.fuel)?, judge)
        }
        _ => Ok(false),
    }
}

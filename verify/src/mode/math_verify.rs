//! Mode `math-verify`: what the package Math-Verify 0.8 says, its mistakes included, so that numbers compare.
//!
//! Told from its answers alone. Both sides are parsed by our own parser; what the package cannot read, what it reads
//! otherwise and what it compares otherwise stands here, one function a habit.

use crate::compare::{self, Judge};
use crate::extract::extract;
use crate::fuel::Fuel;
use crate::lexer::Reading;
use crate::parser;
use crate::{Config, Outcome, Verdict};

pub(crate) fn verify(gold: &str, response: &str, config: &Config) -> Outcome {
    let fuel = Fuel::new(config.fuel);
    let parsed_gold = match parser::parse(gold, Reading::default(), &fuel) {
        Ok(parsed) => parsed,
        Err(stop) => return Outcome::stopped(&stop, "the gold answer: ", "", None),
    };
    let Some(candidate) = extract(response, &config.extraction).into_iter().next() else {
        return Outcome::new(Verdict::Unparsed, "", None, "the response holds no answer");
    };
    let (text, class) = (&candidate.text, Some(candidate.class));
    let parsed = match parser::parse(text, Reading::default(), &fuel) {
        Ok(parsed) => parsed,
        Err(stop) => return Outcome::stopped(&stop, "the answer: ", text, class),
    };
    let judge = Judge { package: true, ..Judge::exact(&fuel) };
    match compare::same(&parsed_gold, &parsed, &judge) {
        Ok(true) => Outcome::new(Verdict::Equal, text, class, "the package calls them equal"),
        Ok(false) => Outcome::new(Verdict::NotEqual, text, class, "the package tells them apart"),
        Err(stop) => Outcome::stopped(&stop, "", text, class),
    }
}

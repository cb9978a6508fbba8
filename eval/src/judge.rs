//! One response beside the gold answer, by each of the rules.

use crate::{EvalError, Item, Items, Task};
use octo_rows::{Origin, Row};
use octo_verify::{Benchmark, Config, Extraction, Mode, Verdict, octothinker, verify};
use rayon::prelude::*;
use serde_json::Value;
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// By whose rules a response is judged; a filter in the words of lm-evaluation-harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Our own.
    Strict,
    /// The package Math-Verify's.
    MathVerify,
    /// The OctoThinker paper's, for a benchmark.
    OctoThinker(Benchmark),
}

impl Filter {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Filter::Strict => "strict",
            Filter::MathVerify => "math-verify",
            Filter::OctoThinker(_) => "octothinker",
        }
    }

    /// The filter of a name.
    ///
    /// # Errors
    /// What to do instead.
    pub fn named(name: &str, benchmark: Option<Benchmark>) -> Result<Filter, String> {
        match (name, benchmark) {
            ("strict", _) => Ok(Filter::Strict),
            ("math-verify", _) => Ok(Filter::MathVerify),
            ("octothinker", Some(benchmark)) => Ok(Filter::OctoThinker(benchmark)),
            ("octothinker", None) => {
                Err("name the paper's scorer with `benchmark`, or leave this mode out".into())
            }
            _ => Err("give strict, math-verify or octothinker".into()),
        }
    }
}

/// What a rule says of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// The part of the response that was taken for its answer.
    pub answer: String,
}

impl Judged {
    /// Whether the response is right.
    pub fn right(&self) -> bool {
        self.verdict == Verdict::Equal
    }
}

impl Task {
    /// How `octo-verify` is to look at responses.
    fn config(&self, filter: Filter) -> Config {
        let mode = match filter {
            Filter::Strict => Mode::Strict,
            Filter::MathVerify => Mode::MathVerify,
            Filter::OctoThinker(benchmark) => Mode::OctoThinker(benchmark),
        };
        let boxed_only = self.boxed_only && filter == Filter::Strict;
        Config { mode, extraction: Extraction { boxed_only, ..Extraction::default() }, ..Config::default() }
    }

    /// What a rule says of a response to an item.
    pub fn judge(&self, item: &Item, response: &str, filter: Filter) -> Judged {
        let config = self.config(filter);
        if let Filter::OctoThinker(benchmark) = filter {
            let gold: Vec<&str> = item.gold.iter().map(String::as_str).collect();
            let choices: Vec<&str> = item.choices.iter().map(String::as_str).collect();
            let asked = octo_verify::Item { gold: &gold, question: &item.question, choices: &choices };
            let outcome = octothinker(benchmark, &asked, response, &config);
            return Judged { verdict: outcome.verdict, answer: outcome.answer };
        }
        // Of several gold answers each is right; what is told otherwise is said of the first.
        let mut first = None;
        for gold in &item.gold {
            let delimited = match filter {
                Filter::MathVerify => delimited(gold),
                _ => Cow::Borrowed(gold.as_str()),
            };
            let outcome = verify(&delimited, response, &config);
            let judged = Judged { verdict: outcome.verdict, answer: outcome.answer };
            if judged.right() {
                return judged;
            }
            first.get_or_insert(judged);
        }
        first.unwrap_or(Judged { verdict: Verdict::Unparsed, answer: String::new() })
    }
}

/// A gold answer as that package wants it: LaTeX between dollars, which benchmarks leave out.
fn delimited(gold: &str) -> Cow<'_, str> {
    let there = ["$", "\\(", "\\[", "\\boxed", "\\begin"].iter().any(|mark| gold.contains(mark));
    if there { Cow::Borrowed(gold) } else { Cow::Owned(format!("${gold}$")) }
}

/// Whether gold answers verify against themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldCheck {
    /// By whose rules.
    pub filter: Filter,
    /// Items whose gold answer, said as the task's `answer` has it, is right.
    pub right: usize,
    /// The others: id, gold answer, what was said of it.
    pub wrong: Vec<(String, String, Judged)>,
}

/// Says every gold answer as the task's `answer` has it and judges that by each of the task's modes.
///
/// # Errors
/// When the template of `answer` fails.
pub fn check_golds(task: &Task, items: &Items, filters: &[Filter]) -> Result<Vec<GoldCheck>, EvalError> {
    let said: Vec<String> = items.items.iter().map(|item| said(task, item)).collect::<Result<_, _>>()?;
    let check = |filter: &Filter| {
        let judged: Vec<Judged> =
            items.items.par_iter().zip(&said).map(|(item, said)| task.judge(item, said, *filter)).collect();
        let right = judged.iter().filter(|judged| judged.right()).count();
        let wrong = items.items.iter().zip(judged).filter(|(_, judged)| !judged.right());
        let wrong = wrong.map(|(item, judged)| (item.id.clone(), item.target().to_owned(), judged)).collect();
        GoldCheck { filter: *filter, right, wrong }
    };
    Ok(filters.iter().map(check).collect())
}

/// A response that says the gold answer.
fn said(task: &Task, item: &Item) -> Result<String, EvalError> {
    let Some(answer) = &task.answer else { return Ok(item.target().to_owned()) };
    let mut fields = item.doc.clone();
    fields.insert("gold".to_owned(), Value::String(item.target().to_owned()));
    let origin = Origin { file: Arc::from(Path::new("answer")), line: item.index as u64 + 1 };
    let row = Row { fields, origin, unread: Arc::default() };
    answer.render(&row).map_err(|source| EvalError::Rows { task: task.name.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogue;

    #[test]
    fn a_bare_gold_answer_is_latex_to_every_rule() {
        let mut task = Catalogue::default().tasks(&["math500".into()]).unwrap().remove(0);
        task.set_modes(&["strict".into(), "math-verify".into(), "octothinker".into()]).unwrap();
        let item = |gold: &str| Item {
            index: 0,
            id: "0".into(),
            doc: serde_json::Map::new(),
            prompt: String::new(),
            gold: vec![gold.to_owned()],
            question: String::new(),
            choices: Vec::new(),
        };
        for gold in ["x=5", "1,-2", "6 - 5i", "\\frac{1}{2}", "$(2,4)$"] {
            let said = format!(
                "Final Answer: The final answer is ${}$. I hope it is correct.",
                gold.trim_matches('$')
            );
            for filter in &task.modes {
                assert!(task.judge(&item(gold), &said, *filter).right(), "{gold} {filter:?}");
            }
            let other = "Final Answer: The final answer is $7$. I hope it is correct.";
            assert!(
                task.modes.iter().all(|filter| !task.judge(&item(gold), other, *filter).right()),
                "{gold}"
            );
        }
    }

    #[test]
    fn of_several_gold_answers_each_is_right() {
        let task = Catalogue::default().tasks(&["aime24".into()]).unwrap().remove(0);
        let item = Item {
            index: 0,
            id: "0".into(),
            doc: serde_json::Map::new(),
            prompt: String::new(),
            gold: vec!["3".into(), "4".into()],
            question: String::new(),
            choices: Vec::new(),
        };
        let right = |said: &str| task.judge(&item, said, Filter::Strict).right();
        assert!(right("\\boxed{3}") && right("\\boxed{4}") && !right("\\boxed{5}"));
        // Nothing but a box counts here.
        assert!(!right("The answer is 3."));
    }
}

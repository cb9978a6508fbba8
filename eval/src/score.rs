//! From responses to figures.

use crate::metrics::{ks, majority, mean, middle, pass_at, resampled, standard_error};
use crate::{EvalError, Filter, Finish, Item, Items, Judged, Metric, Response, Task};
use octo_verify::{Config, Verdict, verify};
use rayon::prelude::*;

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its standard error; `None` where there is none.
    pub error: Option<f64>,
    /// Where its middle 95 % lie when items are drawn anew.
    pub interval: Option<(f64, f64)>,
}

/// What a task comes to by one of its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterScore {
    /// The rule.
    pub filter: Filter,
    /// What it says of each response of each item.
    pub judged: Vec<Vec<Judged>>,
    /// The figures.
    pub measures: Vec<Measure>,
}

/// A response of which two rules say different things.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// Position of the item.
    pub item: usize,
    /// Which of its responses.
    pub sample: usize,
}

/// What a task comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// By each of the task's rules, in the task's order.
    pub filters: Vec<FilterScore>,
    /// Responses to each item.
    pub samples: usize,
    /// Responses of which one rule says that they are right and another that they are not.
    pub disagreements: Vec<Disagreement>,
}

impl Score {
    /// Judges every response by each of the task's rules, on all cores.
    ///
    /// # Errors
    /// When there are no items, or fewer responses than the task's metric needs.
    pub fn of(task: &Task, items: &Items, responses: &[Vec<Response>]) -> Result<Score, EvalError> {
        let samples = responses.first().map_or(0, Vec::len);
        if samples < task.metric.samples() as usize {
            let (task, needs, metric) = (&task.name, task.metric.samples(), task.metric.name());
            return Err(EvalError::Setting(match samples {
                0 => format!("{task}: no items"),
                _ => format!("{task}: {metric} needs {needs} responses to each item; there are {samples}"),
            }));
        }
        let filters: Vec<FilterScore> =
            task.modes.iter().map(|filter| by_filter(task, &items.items, responses, *filter)).collect();
        let mut disagreements = Vec::new();
        for item in 0..responses.len() {
            for sample in 0..samples {
                let first = filters[0].judged[item][sample].right();
                if filters.iter().any(|filter| filter.judged[item][sample].right() != first) {
                    disagreements.push(Disagreement { item, sample });
                }
            }
        }
        Ok(Score { filters, samples, disagreements })
    }

    /// The figure of overviews: the task's metric by its first rule.
    pub fn headline(&self, metric: Metric) -> Option<&Measure> {
        self.filters.first()?.measure(&metric.name())
    }
}

impl FilterScore {
    /// A figure by its name.
    pub fn measure(&self, name: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.name == name)
    }
}

fn by_filter(task: &Task, items: &[Item], responses: &[Vec<Response>], filter: Filter) -> FilterScore {
    let judged: Vec<Vec<Judged>> = items
        .par_iter()
        .zip(responses)
        .map(|(item, responses)| responses.iter().map(|r| task.judge(item, &r.text, filter)).collect())
        .collect();
    let samples = responses.first().map_or(0, Vec::len);
    let mut measures = Vec::new();
    let right: Vec<usize> = judged.iter().map(|j| j.iter().filter(|j| j.right()).count()).collect();
    let shares: Vec<f64> = right.iter().map(|right| *right as f64 / samples as f64).collect();
    measures.push(of_items("exact_match", &shares));
    if samples > 1 {
        measures.push(of_items(&format!("avg@{samples}"), &shares));
        let mut wanted = ks(samples);
        wanted.extend(Some(task.metric.samples() as usize).filter(|k| *k > 1 && !wanted.contains(k)));
        wanted.sort_unstable();
        for k in &wanted {
            let values: Vec<f64> = right.iter().map(|right| pass_at(samples, *right, *k)).collect();
            measures.push(of_items(&format!("pass@{k}"), &values));
        }
        let groups: Vec<Vec<Option<usize>>> = judged.par_iter().map(|judged| groups(judged)).collect();
        for k in wanted.iter().filter(|k| **k > 1) {
            let voted = |(groups, judged): (&Vec<Option<usize>>, &Vec<Judged>)| {
                f64::from(u8::from(majority(groups, *k).is_some_and(|first| judged[first].right())))
            };
            let values: Vec<f64> = groups.iter().zip(&judged).map(voted).collect();
            measures.push(of_items(&format!("maj@{k}"), &values));
        }
    }
    let unparsed = |judged: &Vec<Judged>| {
        let lost = |j: &&Judged| matches!(j.verdict, Verdict::Unparsed | Verdict::Budget);
        judged.iter().filter(lost).count() as f64 / samples as f64
    };
    measures.push(plain("unparsed", &judged.iter().map(unparsed).collect::<Vec<_>>()));
    measures.extend(lengths(responses, &judged));
    FilterScore { filter, judged, measures }
}

/// A figure that is a mean over items.
fn of_items(name: &str, values: &[f64]) -> Measure {
    let interval = middle(&resampled(values));
    Measure { name: name.to_owned(), value: mean(values), error: standard_error(values), interval }
}

fn plain(name: &str, values: &[f64]) -> Measure {
    Measure { name: name.to_owned(), value: mean(values), error: None, interval: None }
}

/// For each response the first one of the same answer; `None` where there is no answer.
fn groups(judged: &[Judged]) -> Vec<Option<usize>> {
    let config = Config::default();
    let mut firsts: Vec<usize> = Vec::new();
    let mut groups = Vec::with_capacity(judged.len());
    for (at, answer) in judged.iter().map(|j| j.answer.trim()).enumerate() {
        if answer.is_empty() {
            groups.push(None);
            continue;
        }
        let same = |first: &&usize| {
            let known = judged[**first].answer.trim();
            known == answer || verify(known, answer, &config).verdict == Verdict::Equal
        };
        let first = firsts.iter().find(same).copied();
        if first.is_none() {
            firsts.push(at);
        }
        groups.push(Some(first.unwrap_or(at)));
    }
    groups
}

/// How long responses are, all and right ones, and how many were cut; in characters where nobody counted tokens.
fn lengths(responses: &[Vec<Response>], judged: &[Vec<Judged>]) -> Vec<Measure> {
    let all: Vec<&Response> = responses.iter().flatten().collect();
    let counted = all.iter().all(|response| response.tokens.is_some());
    let name = if counted { "response_tokens" } else { "response_characters" };
    let length = |response: &Response| match response.tokens.filter(|_| counted) {
        Some(tokens) => tokens as f64,
        None => response.text.chars().count() as f64,
    };
    let correct: Vec<f64> = all
        .iter()
        .zip(judged.iter().flatten())
        .filter(|(_, judged)| judged.right())
        .map(|(response, _)| length(response))
        .collect();
    let mut measures = vec![plain(name, &all.iter().map(|r| length(r)).collect::<Vec<_>>())];
    if !correct.is_empty() {
        measures.push(plain(&format!("{name}_correct"), &correct));
    }
    let finishes: Option<Vec<f64>> =
        all.iter().map(|r| Some(f64::from(u8::from(r.finish? == Finish::Length)))).collect();
    measures.extend(finishes.map(|finishes| plain("truncated", &finishes)));
    measures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogue;
    use serde_json::Map;

    fn items(golds: &[&str]) -> Items {
        let item = |(index, gold): (usize, &&str)| Item {
            index,
            id: index.to_string(),
            doc: Map::new(),
            prompt: "?".into(),
            gold: vec![(*gold).to_owned()],
            question: String::new(),
            choices: Vec::new(),
        };
        let items: Vec<Item> = golds.iter().enumerate().map(item).collect();
        Items { found: items.len(), items, file: "x".into(), shots: 0, examples: None, own_examples: false }
    }

    fn responses(texts: &[&[&str]]) -> Vec<Vec<Response>> {
        let response = |text: &&str| Response {
            text: (*text).to_owned(),
            tokens: Some(text.len()),
            finish: Some(if text.ends_with("...") { Finish::Length } else { Finish::Stop }),
        };
        texts.iter().map(|texts| texts.iter().map(response).collect()).collect()
    }

    #[test]
    fn figures_are_what_counting_by_hand_gives() {
        let task = Catalogue::default().tasks(&["gsm8k".into()]).unwrap().remove(0);
        let texts: [&[&str]; 2] = [
            &["The answer is 1,234.", "The answer is 1234.", "The answer is 5.", "The answer is 1234.0."],
            &["The answer is 2.", "The answer is 2.0.", "It is three...", "The answer is 3."],
        ];
        let score = Score::of(&task, &items(&["1234", "3"]), &responses(&texts)).unwrap();
        let value = |filter: usize, name: &str| score.filters[filter].measure(name).unwrap().value;
        assert_eq!((score.samples, score.filters.len()), (4, 2));
        // Strict: three of four, and one of four.
        assert_eq!(value(0, "exact_match"), 0.5);
        assert_eq!(value(0, "avg@4"), 0.5);
        assert_eq!(value(0, "pass@1"), 0.5);
        assert_eq!(value(0, "pass@4"), 1.0);
        assert!((value(0, "pass@2") - (1.0 + 0.5) / 2.0).abs() < 1e-12);
        // 1,234 and 1234 and 1234.0 are one answer; 2 and 2.0 outvote 3.
        assert_eq!((value(0, "maj@4"), value(0, "maj@2")), (0.5, 0.5));
        // The paper's scorer loses the thousands separator.
        assert_eq!(value(1, "exact_match"), (2.0 / 4.0 + 1.0 / 4.0) / 2.0);
        assert_eq!(score.disagreements, [Disagreement { item: 0, sample: 0 }]);
        assert_eq!(value(0, "truncated"), 1.0 / 8.0);
        let lengths: f64 = texts.iter().flat_map(|t| t.iter()).map(|t| t.len() as f64).sum();
        assert_eq!(value(0, "response_tokens"), lengths / 8.0);
        assert!(score.headline(Metric::MajAt(4)).is_some());
    }

    #[test]
    fn the_order_of_threads_changes_nothing() {
        let task = Catalogue::default().tasks(&["gsm8k".into()]).unwrap().remove(0);
        let golds: Vec<String> = (0..50).map(|i| i.to_string()).collect();
        let golds: Vec<&str> = golds.iter().map(String::as_str).collect();
        let texts: Vec<Vec<Response>> =
            (0..50).map(|i| responses(&[&[&format!("It is {}.", i % 7)]]).remove(0)).collect();
        let score = Score::of(&task, &items(&golds), &texts).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| Score::of(&task, &items(&golds), &texts).unwrap()), score);
        assert_eq!(score.filters[0].measure("exact_match").unwrap().value, 7.0 / 50.0);
    }

    #[test]
    fn too_few_responses_for_a_metric_are_refused() {
        let mut task = Catalogue::default().tasks(&["gsm8k".into()]).unwrap().remove(0);
        task.metric = Metric::PassAt(8);
        let error = Score::of(&task, &items(&["1"]), &responses(&[&["1"]])).unwrap_err().to_string();
        assert!(error.contains("pass@8 needs 8 responses to each item; there are 1"), "{error}");
    }
}

//! Grade-school word problems with worked solutions, made by the program.
//!
//! A problem is a pure function of (seed, split, index). Whether a problem belongs to the held-out split is
//! decided by a hash of its story and its numbers, without names and things: a held-out problem never
//! stands in the training split, under no seed and with no other name in it.

mod draw;
mod stories;
mod tasks;

pub use tasks::{Task, TaskRows};

use crate::{Origin, Row, RowsError};
use draw::Draw;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use stories::{Problem, STORIES};
use xxhash_rust::xxh3::xxh3_64;

/// One problem in this many is held out.
const HELD_OUT_ONE_IN: u64 = 16;

/// Which problems to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// To learn from.
    Train,
    /// To measure with: none of them is ever in `Train`.
    HeldOut,
}

/// Rows `{"question": …, "answer": …}` of word problems: one to three steps of `+`, `-`, `*` and exact `/`
/// on small whole numbers, each step written as `3 * 6 = 18`, the last sentence `The answer is 18.`
#[derive(Clone, Debug)]
pub struct WordProblems {
    seed: u64,
    split: Split,
    next: u64,
    rows: u64,
}

impl WordProblems {
    /// The first `rows` problems of a seed.
    pub fn new(seed: u64, split: Split, rows: u64) -> WordProblems {
        WordProblems { seed, split, next: 0, rows }
    }

    /// The problem of an index, whatever `rows` is.
    pub fn row(&self, index: u64) -> Row {
        let split = match self.split {
            Split::Train => 0,
            Split::HeldOut => 1,
        };
        let mut draw = Draw::new(&[self.seed, split, index]);
        let problem = loop {
            let problem = draw_problem(&mut draw);
            if problem.split() == self.split {
                break problem;
            }
        };
        let fields = [("question", problem.question), ("answer", problem.answer)];
        Row {
            fields: fields.into_iter().map(|(name, text)| (name.to_string(), Value::String(text))).collect(),
            origin: Origin { file: Path::new("generated word problems").into(), line: index + 1 },
            unread: Arc::default(),
        }
    }
}

impl Iterator for WordProblems {
    type Item = Result<Row, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.rows {
            return None;
        }
        self.next += 1;
        Some(Ok(self.row(self.next - 1)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.rows - self.next).ok();
        (left.unwrap_or(usize::MAX), left)
    }
}

fn draw_problem(draw: &mut Draw) -> Problem {
    let story = draw.below(STORIES.len() as u64) as usize;
    let mut problem = STORIES[story](draw);
    problem.key.insert(0, story as u64);
    problem
}

impl Problem {
    fn split(&self) -> Split {
        let bytes: Vec<u8> = self.key.iter().flat_map(|n| n.to_le_bytes()).collect();
        if xxh3_64(&bytes).is_multiple_of(HELD_OUT_ONE_IN) { Split::HeldOut } else { Split::Train }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn problems(seed: u64, split: Split, rows: u64) -> Vec<(String, String)> {
        WordProblems::new(seed, split, rows)
            .map(|row| {
                let fields = row.unwrap().fields;
                let text = |name: &str| fields[name].as_str().unwrap().to_string();
                (text("question"), text("answer"))
            })
            .collect()
    }

    fn numbers(text: &str) -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit())
            .filter(|n| !n.is_empty())
            .map(|n| n.parse().unwrap())
            .collect()
    }

    /// The steps `a op b = c` of an answer.
    fn steps(answer: &str) -> Vec<(u64, char, u64, u64)> {
        let words: Vec<&str> = answer.split_whitespace().collect();
        words
            .windows(5)
            .filter(|w| w[3] == "=")
            .map(|w| {
                let number = |word: &str| numbers(word)[0];
                assert_eq!(w[1].len(), 1, "{answer}");
                (number(w[0]), w[1].chars().next().unwrap(), number(w[2]), number(w[4]))
            })
            .collect()
    }

    #[test]
    fn every_worked_step_is_right_and_leads_to_the_answer() {
        let mut longest = 0;
        for (question, answer) in problems(1, Split::Train, 20_000) {
            let steps = steps(&answer);
            assert_eq!(steps.len(), answer.matches(" = ").count(), "{answer}");
            assert!((1..=3).contains(&steps.len()), "{answer}");
            for &(a, op, b, c) in &steps {
                let right = match op {
                    '+' => a + b == c,
                    '-' => a >= b && a - b == c,
                    '*' => a * b == c,
                    '/' => a == b * c,
                    _ => false,
                };
                assert!(right && c <= 200, "{answer}");
            }
            let last = steps.last().unwrap().3;
            assert!(answer.ends_with(&format!(" The answer is {last}.")), "{answer}");
            // Every number of a step is from the question or from a step before.
            let mut known = numbers(&question);
            for (a, _, b, c) in steps {
                assert!(known.contains(&a) && known.contains(&b), "{question} {answer}");
                known.push(c);
            }
            longest = longest.max(question.len() + answer.len());
        }
        assert!(longest < 400, "{longest}");
    }

    #[test]
    fn every_story_reads_well() {
        let mut draw = Draw::new(&[5]);
        for (i, story) in STORIES.iter().enumerate() {
            for _ in 0..200 {
                let Problem { question, answer, key } = story(&mut draw);
                for text in [&question, &answer] {
                    let odd = ["  ", "{", "}", " .", " ,", "..", "?."];
                    assert!(odd.iter().all(|odd| !text.contains(odd)), "story {i}: {text}");
                    assert!(text.is_ascii() && text.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
                    // Things are spoken of in the plural.
                    assert!(!text.contains(" 1 ") && !text.contains(" 0 "), "story {i}: {text}");
                }
                assert!(question.ends_with('?'), "{question}");
                // The key is what the problem is, names and things aside.
                assert_eq!(key, numbers(&question), "story {i}: {question}");
            }
        }
    }

    #[test]
    fn problems_are_varied() {
        let problems = problems(1, Split::Train, 4000);
        let different: HashSet<&String> = problems.iter().map(|(question, _)| question).collect();
        assert!(different.len() > 3800, "{}", different.len());
        let by_steps = |n| problems.iter().filter(|(_, answer)| steps(answer).len() == n).count();
        assert!((1..=3).all(|n| by_steps(n) > 400), "{:?}", [by_steps(1), by_steps(2), by_steps(3)]);
        for op in [" + ", " - ", " * ", " / "] {
            assert!(problems.iter().filter(|(_, answer)| answer.contains(op)).count() > 400, "{op}");
        }
        assert!(STORIES.len() >= 12);
    }

    #[test]
    fn held_out_problems_are_never_trained_on() {
        let shape = |(question, _): &(String, String)| -> String {
            // Without names and things: the words that all problems of a story share, and its numbers.
            let lower = question.split_whitespace().filter(|w| w.chars().any(|c| c.is_ascii_digit()));
            lower.collect::<Vec<_>>().join(" ") + &question.split_whitespace().count().to_string()
        };
        let train: HashSet<(String, String)> =
            (0..3).flat_map(|seed| problems(seed, Split::Train, 20_000)).collect();
        let held_out = problems(9, Split::HeldOut, 2000);
        assert!(held_out.iter().all(|problem| !train.contains(problem)));
        // Not because they look different: other problems with the same shape are there.
        let shapes: HashSet<String> = train.iter().map(shape).collect();
        assert!(held_out.iter().filter(|p| shapes.contains(&shape(p))).count() > 0);
        for index in 0..500 {
            let mut draw = Draw::new(&[index]);
            let problem = draw_problem(&mut draw);
            let again = Problem { question: "other words".into(), ..problem.clone() };
            assert_eq!(problem.split(), again.split());
        }
    }

    #[test]
    fn a_problem_is_a_function_of_seed_split_and_index() {
        let all = problems(7, Split::Train, 50);
        assert_eq!(all, problems(7, Split::Train, 50));
        assert_eq!(all[..20], problems(7, Split::Train, 20)[..]);
        assert_ne!(all, problems(8, Split::Train, 50));
        // Recorded: the same on every machine.
        let text: String = all.iter().map(|(question, answer)| format!("{question}\n{answer}\n")).collect();
        assert_eq!(format!("{:016x}", xxh3_64(text.as_bytes())), "216f261206ff14d0");
    }
}

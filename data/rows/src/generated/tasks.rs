//! Small tasks with one right answer each, for models of a few hundred thousand weights.
//!
//! Rows are `{"question", "answer", "solution", "data_source"}`: `solution` is what a model should write, `answer` what it
//! should come to. A row is a pure function of (task, seed, split, index).

use super::draw::Draw;
use super::{HELD_OUT_ONE_IN, Split};
use crate::{Origin, Row, RowsError};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Which task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// `7+5=` is `2`: the last digit of a sum of two digits. There are a hundred, in their order before they repeat, and
    /// the held-out ones are the same.
    ModularAddition,
    /// `47+85=` is `231`: a sum of two numbers of two digits as three digits, the last first.
    ReversedAddition,
    /// `25713>` is `31752`: three to eight digits but 0, the last first.
    Reversal,
    /// `3/8+1/8=` is `4/8=\boxed{1/2}`: sums and differences of fractions over one denominator up to 12, first over it, then
    /// in lowest terms.
    Fractions,
}

impl Task {
    /// Its `data_source`.
    pub fn name(self) -> &'static str {
        match self {
            Task::ModularAddition => "modular-addition",
            Task::ReversedAddition => "reversed-addition",
            Task::Reversal => "reversal",
            Task::Fractions => "fractions",
        }
    }

    /// Question, solution and answer.
    fn draw(self, draw: &mut Draw, index: u64) -> [String; 3] {
        match self {
            Task::ModularAddition => {
                let (a, b) = (index / 10 % 10, index % 10);
                let sum = ((a + b) % 10).to_string();
                [format!("{a}+{b}="), sum.clone(), sum]
            }
            Task::ReversedAddition => {
                let (a, b) = (draw.number(0, 99), draw.number(0, 99));
                let sum: String = format!("{:03}", a + b).chars().rev().collect();
                [format!("{a:02}+{b:02}="), sum.clone(), sum]
            }
            Task::Reversal => {
                let digits: String =
                    (0..draw.number(3, 8)).map(|_| char::from(b'0' + draw.number(1, 9) as u8)).collect();
                let reversed: String = digits.chars().rev().collect();
                [format!("{digits}>"), reversed.clone(), reversed]
            }
            Task::Fractions => fractions(draw),
        }
    }
}

fn fractions(draw: &mut Draw) -> [String; 3] {
    let (a, b) = (draw.number(1, 20) as i64, draw.number(1, 20) as i64);
    let below = draw.number(2, 12) as i64;
    let (sign, above) = if draw.below(2) == 0 { ('+', a + b) } else { ('-', a - b) };
    let by = divisor(above.unsigned_abs(), below.unsigned_abs()) as i64;
    let answer = match (above / by, below / by) {
        (whole, 1) => whole.to_string(),
        (above, below) => format!("{above}/{below}"),
    };
    let solution = format!("{above}/{below}=\\boxed{{{answer}}}");
    [format!("{a}/{below}{sign}{b}/{below}="), solution, answer]
}

/// The greatest common divisor (Euclid, Elements, book VII, proposition 2).
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// The first rows of a task.
#[derive(Clone, Debug)]
pub struct TaskRows {
    task: Task,
    seed: u64,
    split: Split,
    next: u64,
    rows: u64,
}

impl TaskRows {
    /// The first `rows` rows of a seed.
    pub fn new(task: Task, seed: u64, split: Split, rows: u64) -> TaskRows {
        TaskRows { task, seed, split, next: 0, rows }
    }

    /// The row of an index, whatever `rows` is.
    pub fn row(&self, index: u64) -> Row {
        let split = u64::from(self.split == Split::HeldOut);
        let mut draw = Draw::new(&[self.task as u64, self.seed, split, index]);
        let [question, solution, answer] = loop {
            let drawn = self.task.draw(&mut draw, index);
            let held_out = xxh3_64(drawn[0].as_bytes()).is_multiple_of(HELD_OUT_ONE_IN);
            if self.task == Task::ModularAddition || held_out == (self.split == Split::HeldOut) {
                break drawn;
            }
        };
        let data_source = self.task.name().to_owned();
        let fields = [
            ("question", question),
            ("answer", answer),
            ("solution", solution),
            ("data_source", data_source),
        ];
        Row {
            fields: fields.into_iter().map(|(name, text)| (name.to_owned(), Value::String(text))).collect(),
            origin: Origin { file: Path::new("generated tasks").into(), line: index + 1 },
            unread: Arc::default(),
        }
    }
}

impl Iterator for TaskRows {
    type Item = Result<Row, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.rows {
            return None;
        }
        self.next += 1;
        Some(Ok(self.row(self.next - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const ALL: [Task; 4] = [Task::ModularAddition, Task::ReversedAddition, Task::Reversal, Task::Fractions];

    fn rows(task: Task, split: Split) -> Vec<[String; 3]> {
        let text = |row: &Row, name: &str| row.fields[name].as_str().unwrap().to_owned();
        TaskRows::new(task, 5, split, 300)
            .map(|row| ["question", "solution", "answer"].map(|name| text(row.as_ref().unwrap(), name)))
            .collect()
    }

    #[test]
    fn answers_are_right() {
        for [question, solution, _] in rows(Task::ModularAddition, Split::Train) {
            let digits: Vec<u32> = question.chars().filter_map(|c| c.to_digit(10)).collect();
            assert_eq!(solution, (digits.iter().sum::<u32>() % 10).to_string());
        }
        for [question, solution, _] in rows(Task::ReversedAddition, Split::Train) {
            let (a, b) = question.trim_end_matches('=').split_once('+').unwrap();
            let sum: u32 = solution.chars().rev().collect::<String>().parse().unwrap();
            assert_eq!(sum, a.parse::<u32>().unwrap() + b.parse::<u32>().unwrap());
        }
        for [question, solution, _] in rows(Task::Reversal, Split::HeldOut) {
            let digits = question.trim_end_matches('>');
            assert!((3..=8).contains(&digits.len()) && !digits.contains('0'));
            assert_eq!(solution, digits.chars().rev().collect::<String>());
        }
        for [question, solution, answer] in rows(Task::Fractions, Split::Train) {
            let numbers = |text: &str| -> Vec<f64> {
                let parts = text.split(['/', '+', '-', '=']).filter(|part| !part.is_empty());
                parts.map(|part| part.parse().unwrap()).collect()
            };
            let sign = if question.contains('+') { 1.0 } else { -1.0 };
            let parts = numbers(&question);
            let value = parts[0] / parts[1] + sign * parts[2] / parts[3];
            let (over, boxed) = solution.split_once("=\\boxed{").unwrap();
            assert_eq!(boxed.strip_suffix('}'), Some(&answer[..]));
            let (above, below) = over.split_once('/').unwrap();
            assert_eq!(below.parse::<f64>().unwrap(), parts[1]);
            assert!((above.parse::<f64>().unwrap() / parts[1] - value).abs() < 1e-9, "{question} {solution}");
            let (above, below) = answer.split_once('/').unwrap_or((&answer, "1"));
            let found = above.parse::<f64>().unwrap() / below.parse::<f64>().unwrap();
            assert!((found - value).abs() < 1e-9, "{question} {answer}");
        }
    }

    #[test]
    fn held_out_questions_are_never_trained_on() {
        for task in [Task::ReversedAddition, Task::Reversal, Task::Fractions] {
            let of = |split| rows(task, split).into_iter().map(|[q, ..]| q).collect::<HashSet<String>>();
            assert!(of(Split::Train).is_disjoint(&of(Split::HeldOut)), "{task:?}");
        }
    }

    #[test]
    fn a_row_is_a_function_of_its_index() {
        for task in ALL {
            let rows = TaskRows::new(task, 3, Split::Train, 20);
            let again: Vec<Row> = rows.clone().map(Result::unwrap).collect();
            assert_eq!(again.len(), 20);
            assert!(again.iter().enumerate().all(|(i, row)| *row == rows.row(i as u64)), "{task:?}");
        }
    }
}

//! Two models on the same items: is one better, or is it chance?

use crate::EvalError;
use crate::catalogue::read_text;
use crate::checkpoints::natural;
use crate::metrics::{mean, middle, resampled};
use crate::table::aligned;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Figures of a whole evaluation are small.
const MAX_BYTES: u64 = 256 << 20;

/// A file of figures, as [`crate::results::write`] makes it.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The file.
    pub path: PathBuf,
    /// The model's name.
    pub model: String,
    results: Value,
}

impl Figures {
    /// The files of figures in a model's folder, oldest first; none where it is no such folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
        let mut files = Vec::new();
        if folder.is_dir() {
            let read = |source| EvalError::Read { path: folder.to_owned(), source };
            for entry in std::fs::read_dir(folder).map_err(read)? {
                let path = entry.map_err(read)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.starts_with("results_") && name.ends_with(".json") {
                    files.push(path);
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn read(path: &Path) -> Result<Figures, EvalError> {
        let bad = |reason: String| EvalError::Results { path: path.to_owned(), reason };
        let text = read_text(path, MAX_BYTES)?;
        let value: Value =
            serde_json::from_str(&text).map_err(|e| bad(format!("these are no results: {e}")))?;
        let results = value.get("results").filter(|r| r.is_object()).cloned();
        let results = results.ok_or_else(|| bad("these are no results: they have no `results`".into()))?;
        let model = value.get("model_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Figures { path: path.to_owned(), model, results })
    }

    /// For each task and each of its filters the figure of its headline's metric: (task, filter, value).
    pub fn headlines(&self) -> Vec<(String, String, f64)> {
        let mut all = Vec::new();
        for (task, figures) in self.results.as_object().into_iter().flatten() {
            let headline = figures.get("headline").and_then(Value::as_str).unwrap_or("exact_match");
            let metric = headline.split(',').next().unwrap_or_default();
            for (key, value) in figures.as_object().into_iter().flatten() {
                if let (Some((name, filter)), Some(value)) = (key.split_once(','), value.as_f64())
                    && name == metric
                {
                    all.push((task.clone(), filter.to_owned(), value));
                }
            }
        }
        all
    }
}

/// One item's score in a file of samples.
#[derive(Deserialize)]
struct Sample {
    doc_id: usize,
    doc_hash: String,
    filter: String,
    exact_match: f64,
}

/// The scores of a task by a filter: those of each item.
type Scores = BTreeMap<(String, String), BTreeMap<usize, (String, f64)>>;

/// Two evaluations on one task by one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The task.
    pub task: String,
    /// The rule.
    pub filter: String,
    /// Items that both have.
    pub items: usize,
    /// Mean of the first.
    pub first: f64,
    /// Mean of the second.
    pub second: f64,
    /// Where the middle 95 % of the differences lie, second less first, when items are drawn anew.
    pub interval: (f64, f64),
    /// Items on which the first is better.
    pub first_better: usize,
    /// Items on which the second is better.
    pub second_better: usize,
    /// How likely a difference this large is where neither is better: twice the share of resampled differences on the other
    /// side of zero.
    pub p: f64,
}

/// Compares two evaluations, each a model's folder of results or a file of figures: their newest samples of every task that
/// both have.
///
/// # Errors
/// Files that are missing or no results; one task on different rows; no task in common.
pub fn compare(first: &Path, second: &Path) -> Result<Vec<Comparison>, EvalError> {
    let (a, b) = (scores(first)?, scores(second)?);
    let mut all = Vec::new();
    for ((task, filter), a) in &a {
        let Some(b) = b.get(&(task.clone(), filter.clone())) else { continue };
        let mut pairs = Vec::new();
        for (item, (hash, a)) in a {
            let Some((other, b)) = b.get(item) else { continue };
            if other != hash {
                let reason = format!("item {item} of {task} is another row than in {}", first.display());
                return Err(EvalError::Results { path: second.to_owned(), reason });
            }
            pairs.push((*a, *b));
        }
        if !pairs.is_empty() {
            all.push(paired(task, filter, &pairs));
        }
    }
    match all.is_empty() {
        true => Err(EvalError::Results {
            path: second.to_owned(),
            reason: format!("no task and item in common with {}", first.display()),
        }),
        false => Ok(all),
    }
}

fn paired(task: &str, filter: &str, pairs: &[(f64, f64)]) -> Comparison {
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| b - a).collect();
    let drawn = resampled(&differences);
    let share =
        |wrong: &dyn Fn(f64) -> bool| drawn.iter().filter(|d| wrong(**d)).count() as f64 / drawn.len() as f64;
    let p = 2.0 * share(&|d| d <= 0.0).min(share(&|d| d >= 0.0));
    Comparison {
        task: task.to_owned(),
        filter: filter.to_owned(),
        items: pairs.len(),
        first: mean(&pairs.iter().map(|(a, _)| *a).collect::<Vec<_>>()),
        second: mean(&pairs.iter().map(|(_, b)| *b).collect::<Vec<_>>()),
        interval: middle(&drawn).unwrap_or_default(),
        first_better: differences.iter().filter(|d| **d < 0.0).count(),
        second_better: differences.iter().filter(|d| **d > 0.0).count(),
        p: p.min(1.0),
    }
}

/// All scores of an evaluation: of each task those of the newest file of samples.
fn scores(path: &Path) -> Result<Scores, EvalError> {
    let missing = || EvalError::Results {
        path: path.to_owned(),
        reason: "no results here; give a model's folder of results, or one of its results_….json".to_owned(),
    };
    let (folder, only) = match path.is_dir() {
        true => (path.to_owned(), None),
        false => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let time =
                name.strip_prefix("results_").and_then(|n| n.strip_suffix(".json")).ok_or_else(missing)?;
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (folder.to_owned(), Some(format!("_{time}.jsonl")))
        }
    };
    let read = |source| EvalError::Read { path: folder.clone(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let wanted = only.as_ref().is_none_or(|ending| name.ends_with(ending.as_str()));
        if let Some(rest) =
            name.strip_prefix("samples_").and_then(|n| n.strip_suffix(".jsonl")).filter(|_| wanted)
            && let Some((task, time)) = rest.rsplit_once('_')
        {
            files.push((time.to_owned(), task.to_owned(), path));
        }
    }
    files.sort();
    // The newest file of a task is the last.
    let newest: BTreeMap<String, PathBuf> = files.into_iter().map(|(_, task, path)| (task, path)).collect();
    if newest.is_empty() {
        return Err(missing());
    }
    let mut scores = Scores::new();
    for (task, path) in newest {
        let read = |source| EvalError::Read { path: path.clone(), source };
        for (number, line) in BufReader::new(File::open(&path).map_err(read)?).lines().enumerate() {
            let sample: Sample =
                serde_json::from_str(&line.map_err(read)?).map_err(|e| EvalError::Results {
                    path: path.clone(),
                    reason: format!("line {}: no sample: {e}", number + 1),
                })?;
            let by_item = scores.entry((task.clone(), sample.filter)).or_default();
            by_item.insert(sample.doc_id, (sample.doc_hash, sample.exact_match));
        }
    }
    Ok(scores)
}

/// Comparisons as a table for a terminal.
pub fn table(comparisons: &[Comparison]) -> String {
    let mut sorted: Vec<&Comparison> = comparisons.iter().collect();
    sorted.sort_by(|a, b| natural(&a.task, &b.task).then_with(|| b.filter.cmp(&a.filter)));
    let rows: Vec<Vec<String>> = sorted
        .iter()
        .map(|c| {
            vec![
                c.task.clone(),
                c.filter.clone(),
                c.items.to_string(),
                format!("{:.4}", c.first),
                format!("{:.4}", c.second),
                format!("{:+.4}", c.second - c.first),
                format!("{:+.4} to {:+.4}", c.interval.0, c.interval.1),
                format!("{:.4}", c.p),
                c.first_better.to_string(),
                c.second_better.to_string(),
            ]
        })
        .collect();
    let head = ["task", "filter", "items", "A", "B", "B - A", "95 % interval", "p", "A better", "B better"];
    aligned(&head, &rows, &[2, 3, 4, 5, 7, 8, 9])
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_durable::{Disk, write_bytes};
    use serde_json::json;

    fn evaluation(right: impl Fn(usize) -> bool, hash: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let line = |i: usize| {
            let score = f64::from(u8::from(right(i)));
            json!({"doc_id": i, "doc_hash": format!("{hash}{i}"), "filter": "strict", "exact_match": score})
                .to_string()
        };
        let lines: Vec<String> = (0..200).map(line).collect();
        write_bytes(&Disk, &folder.path().join("samples_t_2026.jsonl"), lines.join("\n").as_bytes()).unwrap();
        folder
    }

    #[test]
    fn the_same_scores_are_no_difference_and_many_better_ones_are() {
        let a = evaluation(|i| i % 2 == 0, "x");
        let same = compare(a.path(), a.path()).unwrap().remove(0);
        assert_eq!((same.first, same.second, same.interval, same.p), (0.5, 0.5, (0.0, 0.0), 1.0));
        let better = evaluation(|i| i % 2 == 0 || i % 5 == 0, "x");
        let found = compare(a.path(), better.path()).unwrap().remove(0);
        assert_eq!((found.items, found.first_better, found.second_better), (200, 0, 20));
        assert!(found.p < 0.001 && found.interval.0 > 0.04 && found.interval.1 < 0.16, "{found:?}");
        // Two changed items each way are chance.
        let other = evaluation(|i| (i % 2 == 0) != (i < 4), "x");
        assert!(compare(a.path(), other.path()).unwrap()[0].p > 0.5);
    }

    #[test]
    fn other_rows_are_not_compared() {
        let (a, b) = (evaluation(|_| true, "x"), evaluation(|_| true, "y"));
        let error = compare(a.path(), b.path()).unwrap_err().to_string();
        assert!(error.contains("item 0 of t is another row"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let error = compare(a.path(), empty.path()).unwrap_err().to_string();
        assert!(error.contains("no results here"), "{error}");
    }
}

//! All results below a folder in one table: `evaluation_results.json` and `.csv`, a row for each model and filter, a column for
//! each task, in per cent, with their mean and the means without SAT and without OCW.

use crate::EvalError;
use crate::checkpoints::natural;
use crate::compare::Figures;
use crate::table::aligned;
use octo_durable::{Fs, write_file};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The means beside that of all columns: their names, and the task that each leaves out.
const WITHOUT: [(&str, &str); 2] = [("avg_wo_sat", "sat"), ("avg_wo_ocw", "ocw")];

/// One model by one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The model.
    pub model: String,
    /// The rule.
    pub filter: String,
    /// The tasks' figures in per cent.
    pub values: BTreeMap<String, f64>,
}

/// Scores of models on tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// A row for each model and filter, models in the order of their names.
    pub rows: Vec<Row>,
    /// All tasks, in the order of their names.
    pub tasks: Vec<String>,
}

impl Summary {
    /// Reads the newest results of each task of every model below `out`.
    ///
    /// # Errors
    /// Results that cannot be read.
    pub fn of(out: &Path) -> Result<Summary, EvalError> {
        let read = |source| EvalError::Read { path: out.to_owned(), source };
        let mut rows: BTreeMap<(String, String), BTreeMap<String, f64>> = BTreeMap::new();
        for entry in std::fs::read_dir(out).map_err(read)? {
            let folder = entry.map_err(read)?.path();
            for file in Figures::files(&folder)? {
                let figures = Figures::read(&file)?;
                for (task, filter, value) in figures.headlines() {
                    // Files come in the order of their times: later ones win.
                    let row = rows.entry((figures.model.clone(), filter)).or_default();
                    row.insert(task, 100.0 * value);
                }
            }
        }
        let tasks: BTreeSet<String> = rows.values().flat_map(|row| row.keys().cloned()).collect();
        let mut rows: Vec<Row> =
            rows.into_iter().map(|((model, filter), values)| Row { model, filter, values }).collect();
        rows.sort_by(|a, b| natural(&a.model, &b.model).then_with(|| b.filter.cmp(&a.filter)));
        Ok(Summary { rows, tasks: tasks.into_iter().collect() })
    }

    /// The means of a row: over all columns, and without the task of each name in [`WITHOUT`]; `None` where a column of the
    /// mean is empty, because means over different tasks do not compare.
    fn means(&self, row: &Row) -> Vec<(&'static str, Option<f64>)> {
        let mean = |without: Option<&str>| {
            let tasks = self.tasks.iter().filter(|task| Some(task.as_str()) != without);
            let values: Option<Vec<f64>> = tasks.map(|task| row.values.get(task).copied()).collect();
            values.filter(|v| !v.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64)
        };
        let present = |(_, task): &&(&str, &str)| self.tasks.iter().any(|known| known == task);
        let mut means = vec![("avg", mean(None))];
        means.extend(WITHOUT.iter().filter(present).map(|(name, task)| (*name, mean(Some(task)))));
        means
    }

    /// Writes both files into `out`.
    ///
    /// # Errors
    /// Whatever the system refuses.
    pub fn write(&self, fs: &dyn Fs, out: &Path) -> Result<(), EvalError> {
        let rounded = |value: f64| (value * 10_000.0).round() / 10_000.0;
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let mut all: Map<String, Value> =
                    row.values.iter().map(|(task, value)| (task.clone(), json!(rounded(*value)))).collect();
                all.extend(
                    self.means(row).into_iter().map(|(name, v)| (name.to_owned(), json!(v.map(rounded)))),
                );
                all.insert("model".into(), json!(row.model));
                all.insert("filter".into(), json!(row.filter));
                Value::Object(all)
            })
            .collect();
        write_file(fs, &out.join("evaluation_results.json"), |file| {
            serde_json::to_writer_pretty(&mut *file, &rows)?;
            file.write_all(b"\n")
        })?;
        let cells = self.cells(4);
        write_file(fs, &out.join("evaluation_results.csv"), |file| {
            for line in std::iter::once(self.head()).chain(cells) {
                let line: Vec<String> = line.iter().map(|cell| quoted(cell)).collect();
                writeln!(file, "{}", line.join(","))?;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn head(&self) -> Vec<String> {
        let means = std::iter::once("avg").chain(
            WITHOUT
                .iter()
                .filter(|(_, task)| self.tasks.iter().any(|known| known == task))
                .map(|(name, _)| *name),
        );
        let mut head = vec!["model".to_owned(), "filter".to_owned()];
        head.extend(self.tasks.iter().cloned());
        head.extend(means.map(str::to_owned));
        head
    }

    fn cells(&self, digits: usize) -> Vec<Vec<String>> {
        let shown = |value: Option<f64>| value.map(|v| format!("{v:.digits$}")).unwrap_or_default();
        let cells = |row: &Row| {
            let mut cells = vec![row.model.clone(), row.filter.clone()];
            cells.extend(self.tasks.iter().map(|task| shown(row.values.get(task).copied())));
            cells.extend(self.means(row).into_iter().map(|(_, mean)| shown(mean)));
            cells
        };
        self.rows.iter().map(cells).collect()
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        let head = self.head();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let numbers: Vec<usize> = (2..head.len()).collect();
        aligned(&head, &self.cells(2), &numbers)
    }
}

/// A cell of a CSV file.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_durable::{Disk, write_bytes};

    #[test]
    fn means_are_over_the_same_tasks_or_absent() {
        let out = tempfile::tempdir().unwrap();
        let put = |model: &str, time: &str, tasks: &[(&str, f64)]| {
            std::fs::create_dir_all(out.path().join(model)).unwrap();
            let results: Map<String, Value> = tasks
                .iter()
                .map(|(task, value)| {
                    let of = json!({"headline": "exact_match,strict", "exact_match,strict": value});
                    ((*task).to_owned(), of)
                })
                .collect();
            let all = json!({"results": results, "model_name": model}).to_string();
            let path = out.path().join(model).join(format!("results_{time}.json"));
            write_bytes(&Disk, &path, all.as_bytes()).unwrap();
        };
        put("10B", "2026-01-02T00-00-00", &[("sat", 0.5), ("gsm8k", 0.25), ("ocw", 0.0)]);
        put("2B", "2026-01-01T00-00-00", &[("sat", 0.5), ("gsm8k", 0.1)]);
        put("2B", "2026-01-03T00-00-00", &[("gsm8k", 0.2)]);
        let summary = Summary::of(out.path()).unwrap();
        assert_eq!(summary.tasks, ["gsm8k", "ocw", "sat"]);
        let models: Vec<&str> = summary.rows.iter().map(|row| row.model.as_str()).collect();
        assert_eq!(models, ["2B", "10B"]);
        summary.write(&Disk, out.path()).unwrap();
        let csv = std::fs::read_to_string(out.path().join("evaluation_results.csv")).unwrap();
        assert_eq!(
            csv,
            "model,filter,gsm8k,ocw,sat,avg,avg_wo_sat,avg_wo_ocw\n\
             2B,strict,20.0000,,50.0000,,,35.0000\n\
             10B,strict,25.0000,0.0000,50.0000,25.0000,12.5000,37.5000\n"
        );
        let json = std::fs::read_to_string(out.path().join("evaluation_results.json")).unwrap();
        let rows: Vec<Value> = serde_json::from_str(&json).unwrap();
        assert_eq!((&rows[1]["avg"], &rows[0]["avg"]), (&json!(25.0), &Value::Null));
    }
}

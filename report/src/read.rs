//! What a run has written into its `metrics.jsonl`.

use crate::{Metric, ReportError};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The longest line read: a step has some dozens of numbers.
const MOST_BYTES_A_LINE: u64 = 1 << 20;
/// The most names that are kept for the message about one that is missing.
const MOST_NAMES: usize = 1_000;
/// Numbers beyond this are no measurement, and their differences no number.
const MOST: f64 = 1e300;

/// The figures of a run, step by step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// What it is called in a figure: the name of its folder.
    pub name: String,
    /// What a reader should know about the file: an incomplete last line, steps that were taken twice.
    pub notes: Vec<String>,
    /// The folder that holds `metrics.jsonl`.
    pub folder: PathBuf,
    /// Optimizer steps, ascending.
    pub(crate) steps: Vec<u64>,
    /// Tokens trained on so far, for each of them; not a number where the line does not say.
    pub(crate) tokens: Vec<f64>,
    /// The fields asked for, by name: (index into `steps`, value).
    pub(crate) fields: BTreeMap<String, Vec<(usize, f64)>>,
    /// Names of all fields that there are.
    pub(crate) names: BTreeSet<String>,
}

/// Reads the fields that `metrics` show of the run in a folder, or of a `metrics.jsonl` itself.
///
/// A last line that a kill has torn is left out with a note. Where steps start again, as after a resume that
/// did not cut its metrics back, the later lines count. `null` and numbers beyond ±1e300 are gaps.
///
/// # Errors
/// What the system refuses; [`ReportError::NotARun`]; [`ReportError::Line`] for a broken line with others after
/// it; [`ReportError::NoSteps`].
pub fn read(path: &Path, metrics: &[Metric]) -> Result<Run, ReportError> {
    let file = if path.is_dir() { path.join("metrics.jsonl") } else { path.to_owned() };
    if path.is_dir() && !file.exists() {
        return Err(ReportError::NotARun(path.to_owned()));
    }
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut run = Run { name: name_of(folder, 1), folder: folder.to_owned(), ..Run::default() };
    let io = |source| ReportError::Io { path: file.clone(), source };
    let mut reader = BufReader::with_capacity(1 << 16, File::open(&file).map_err(io)?);
    let mut bytes = Vec::new();
    let mut broken: Option<(u64, String)> = None;
    for line in 1u64.. {
        bytes.clear();
        if reader.by_ref().take(MOST_BYTES_A_LINE).read_until(b'\n', &mut bytes).map_err(io)? == 0 {
            break;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        if let Some((line, what)) = broken {
            return Err(ReportError::Line { path: file, line, what });
        }
        broken = run.add(&bytes, line, metrics).err().map(|what| (line, what));
    }
    if let Some((line, what)) = broken {
        run.notes
            .push(format!("{}:{line}: the last line is incomplete and left out ({what})", file.display()));
    }
    if run.steps.is_empty() { Err(ReportError::NoSteps(file)) } else { Ok(run) }
}

/// Names runs of equal folder names by more of their paths, until they differ or there is no more.
pub fn distinct_names(runs: &mut [Run]) {
    for parts in 2..8 {
        let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
        for run in runs.iter_mut() {
            if names.iter().filter(|name| **name == run.name).count() > 1 {
                run.name = name_of(&run.folder, parts);
            }
        }
    }
}

/// The last parts of a folder's path.
fn name_of(folder: &Path, parts: usize) -> String {
    let whole = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let names: Vec<_> = whole.iter().skip(1).map(|part| part.to_string_lossy()).collect();
    match names[names.len().saturating_sub(parts)..].join("/") {
        name if name.is_empty() => folder.display().to_string(),
        name => name,
    }
}

impl Run {
    /// Steps written.
    #[must_use]
    pub fn last_step(&self) -> u64 {
        self.steps.last().copied().unwrap_or(0)
    }

    /// Tokens trained on, where the run says.
    #[must_use]
    pub fn last_tokens(&self) -> Option<u64> {
        self.tokens.last().filter(|t| t.is_finite()).map(|t| *t as u64)
    }

    fn add(&mut self, bytes: &[u8], number: u64, metrics: &[Metric]) -> Result<(), String> {
        let mut line = Line { run: self, metrics, step: None, tokens: f64::NAN, values: Vec::new() };
        let mut json = serde_json::Deserializer::from_slice(bytes);
        (&mut line).deserialize(&mut json).and_then(|()| json.end()).map_err(|e| said(&e))?;
        let Line { step, tokens, values, .. } = line;
        let step = step.ok_or("the line has no `step`")?;
        self.go_back_to(step, number);
        for (name, value) in values {
            self.fields.entry(name).or_default().push((self.steps.len(), value));
        }
        self.steps.push(step);
        self.tokens.push(tokens);
        Ok(())
    }

    /// Forgets what was written from a step on, where steps start again there.
    fn go_back_to(&mut self, step: u64, line: u64) {
        let last = self.last_step();
        if self.steps.is_empty() || step > last {
            return;
        }
        let kept = self.steps.partition_point(|s| *s < step);
        self.steps.truncate(kept);
        self.tokens.truncate(kept);
        for values in self.fields.values_mut() {
            values.truncate(values.partition_point(|(i, _)| *i < kept));
        }
        if self.notes.len() < 10 {
            self.notes.push(format!(
                "{}: line {line} goes back from step {last} to {step}; the later lines count",
                self.name
            ));
        }
    }
}

/// What serde_json says, without its line: it has seen only one.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) if error.column() > 0 => format!("{what} at column {}", error.column()),
        _ => text,
    }
}

/// A line while it is read: only what a figure needs is kept.
struct Line<'a> {
    run: &'a mut Run,
    metrics: &'a [Metric],
    step: Option<u64>,
    tokens: f64,
    values: Vec<(String, f64)>,
}

impl<'de> DeserializeSeed<'de> for &mut Line<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Line<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, the figures of a step")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if !self.run.names.contains(&name) && self.run.names.len() < MOST_NAMES {
                self.run.names.insert(name.clone());
            }
            if name == "step" {
                self.step = Some(map.next_value()?);
            } else if name == "consumed_tokens" {
                self.tokens = map.next_value::<Option<u64>>()?.map_or(f64::NAN, |tokens| tokens as f64);
            } else if self.metrics.iter().any(|metric| metric.line_of(&name).is_some()) {
                let value: Option<f64> =
                    map.next_value().map_err(|e| A::Error::custom(format!("`{name}`: {e}")))?;
                if let Some(value) = value.filter(|v| v.abs() < MOST) {
                    self.values.push((name, value));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn run_of(text: impl AsRef<[u8]>) -> Result<Run, ReportError> {
        let folder = tempfile::tempdir().unwrap();
        File::create(folder.path().join("metrics.jsonl")).unwrap().write_all(text.as_ref()).unwrap();
        read(folder.path(), &Metric::usual())
    }

    const TWO: &str = "{\"step\":1,\"consumed_tokens\":10,\"lm_loss\":5.5,\"lr\":null,\"stage\":\"a\"}\n\
                       {\"step\":2,\"lm_loss\":5,\"val_loss/a\":4,\"lr\":1e-3,\"more\":[1,{}]}\n";

    #[test]
    fn the_fields_asked_for_are_kept_and_all_names_known() {
        let run = run_of(TWO).unwrap();
        assert_eq!(run.steps, [1, 2]);
        assert_eq!(run.fields["lm_loss"], [(0, 5.5), (1, 5.0)]);
        assert_eq!(run.fields["lr"], [(1, 1e-3)]);
        assert_eq!(run.fields["val_loss/a"], [(1, 4.0)]);
        assert!(run.names.contains("more") && !run.fields.contains_key("more"));
        assert_eq!((run.tokens[0], run.tokens[1].is_nan()), (10.0, true));
        assert!(run.notes.is_empty());
    }

    #[test]
    fn a_torn_last_line_is_a_note_and_one_between_others_an_error() {
        for torn in ["{\"step\":3,\"lm_lo", "{\"step\":3,\"lm_loss\":\"x\"}\n", "\0\0\0\0", "{}\n\n"] {
            let run = run_of(format!("{TWO}{torn}")).unwrap();
            assert_eq!(run.steps, [1, 2]);
            assert_eq!(run.notes.len(), 1, "{torn}");
            assert!(run.notes[0].contains("metrics.jsonl:3: the last line is incomplete"), "{:?}", run.notes);
            let error = run_of(format!("{torn}\n{TWO}")).unwrap_err();
            assert!(matches!(error, ReportError::Line { line: 1, .. }), "{torn}: {error}");
        }
        let error = run_of(format!("{{\"step\":1,\"lr\":true}}\n{TWO}")).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl:1: `lr`: invalid type: boolean `true`"), "{error}");
    }

    #[test]
    fn steps_taken_twice_count_as_they_were_taken_last() {
        let line = |step: u64, loss: f64| format!("{{\"step\":{step},\"lm_loss\":{loss}}}\n");
        let text = [line(1, 9.0), line(2, 8.0), line(3, 7.0), line(2, 6.0), line(3, 5.0)].concat();
        let run = run_of(text).unwrap();
        assert_eq!(run.steps, [1, 2, 3]);
        assert_eq!(run.fields["lm_loss"], [(0, 9.0), (1, 6.0), (2, 5.0)]);
        assert_eq!(run.notes.len(), 1);
    }

    #[test]
    fn what_holds_no_run_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path(), &[]), Err(ReportError::NotARun(_))));
        assert!(matches!(read(&folder.path().join("none"), &[]), Err(ReportError::Io { .. })));
        assert!(matches!(run_of(""), Err(ReportError::NoSteps(_))));
        assert!(matches!(run_of("{\"step\""), Err(ReportError::NoSteps(_))));
        let long = format!("{{\"step\":1,\"x\":\"{}\"}}\n{TWO}", "y".repeat(2 << 20));
        assert!(matches!(run_of(long), Err(ReportError::Line { line: 1, .. })));
    }

    #[test]
    fn runs_of_one_name_are_told_apart_by_their_parents() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs: Vec<Run> = ["a/run", "b/run", "b/other"]
            .iter()
            .map(|path| {
                let path = folder.path().join(path);
                std::fs::create_dir_all(&path).unwrap();
                File::create(path.join("metrics.jsonl")).unwrap().write_all(TWO.as_bytes()).unwrap();
                read(&path.join("metrics.jsonl"), &[]).unwrap()
            })
            .collect();
        distinct_names(&mut runs);
        assert_eq!(runs.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["a/run", "b/run", "other"]);
        let mut same = vec![runs[0].clone(), runs[0].clone()];
        distinct_names(&mut same);
        assert_eq!(same[0].name, same[1].name);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_run_or_an_error(
            lines in prop::collection::vec(prop_oneof![Just(TWO.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..40)], 0..6),
        ) {
            if let Ok(run) = run_of(lines.concat()) {
                prop_assert!(run.steps.windows(2).all(|w| w[0] < w[1]));
            }
        }
    }
}

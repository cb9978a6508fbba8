//! Responses on disk: those that were written so far, so that a killed evaluation goes on where it was; and those that
//! another engine wrote.

use crate::{EvalError, Items, Response};
use octo_durable::{AppendLog, Fs};
use octo_recipe::nearest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// The longest line that is read.
const MAX_LINE: u64 = 64 << 20;

/// A hash of all that a response depends on besides its prompt, for the name of a log.
pub fn fingerprint(parts: &[&str]) -> String {
    let mut text = String::new();
    for part in parts {
        text += &format!("{}:{part};", part.len());
    }
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// The responses of one task, a line each, in the order in which they came. A line is on disk before the next response is
/// asked for, so that a kill loses none that was reported.
pub struct ResponseLog<'fs> {
    log: AppendLog<'fs>,
    found: HashMap<(usize, u32, String), Response>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    item: usize,
    sample: u32,
    /// Of the prompt: a response to another prompt is none to this item.
    prompt: String,
    response: Response,
}

impl<'fs> ResponseLog<'fs> {
    /// Opens or makes the log at `path`, whose name tells models and settings apart.
    ///
    /// # Errors
    /// When it cannot be read or written, or holds something else.
    pub fn open(fs: &'fs dyn Fs, path: &Path) -> Result<ResponseLog<'fs>, EvalError> {
        let log = AppendLog::open(fs, path)?;
        let mut found = HashMap::new();
        each_line(path, |_, text| {
            let line: Line = serde_json::from_str(text)
                .map_err(|e| format!("not a response: {e}; remove the file to have them written again"))?;
            found.insert((line.item, line.sample, line.prompt), line.response);
            Ok(())
        })?;
        Ok(ResponseLog { log, found })
    }

    /// The response that was written to this prompt of an item before.
    pub fn get(&self, item: usize, sample: u32, prompt: &str) -> Option<&Response> {
        self.found.get(&(item, sample, prompt.to_owned()))
    }

    /// Adds a response to the prompt of this hash.
    pub(crate) fn put(
        &mut self,
        item: usize,
        sample: u32,
        prompt: &str,
        response: &Response,
    ) -> Result<(), EvalError> {
        let line = Line { item, sample, prompt: prompt.to_owned(), response: response.clone() };
        let line = serde_json::to_string(&line).map_err(|e| EvalError::Generator(e.to_string()))?;
        Ok(self.log.append(&line)?)
    }

    /// Makes all of it last through a power cut.
    pub(crate) fn sync(&mut self) -> Result<(), EvalError> {
        Ok(self.log.sync()?)
    }
}

/// Runs `read` over the lines of a file that are not blank, each with its number from 1.
fn each_line(path: &Path, mut read: impl FnMut(usize, &str) -> Result<(), String>) -> Result<(), EvalError> {
    let failed = |source| EvalError::Read { path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    for number in 1.. {
        let at =
            |reason: String| EvalError::Responses { place: format!("{}:{number}", path.display()), reason };
        let mut line = String::new();
        let bytes = reader
            .by_ref()
            .take(MAX_LINE)
            .read_line(&mut line)
            .map_err(|error| at(format!("not a line of UTF-8 text: {error}")))?;
        if bytes == 0 {
            break;
        }
        if bytes as u64 == MAX_LINE {
            return Err(at(format!("the line is longer than {} MiB", MAX_LINE >> 20)));
        }
        if !line.trim().is_empty() {
            read(number, &line).map_err(at)?;
        }
    }
    Ok(())
}

/// Responses that another engine wrote, by task and item.
#[derive(Debug, Default)]
pub struct StoredResponses {
    file: String,
    tasks: BTreeMap<String, HashMap<String, (usize, Vec<Response>)>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredLine {
    task: String,
    id: Value,
    responses: Vec<String>,
    #[serde(default)]
    tokens: Option<Vec<usize>>,
    #[serde(default)]
    finish_reasons: Option<Vec<Finished>>,
}

/// As engines say it.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Finished {
    Stop,
    Length,
}

impl StoredResponses {
    /// Reads lines `{"task", "id", "responses": […]}`, with `"tokens"` and `"finish_reasons"` of each response where they
    /// are known.
    ///
    /// # Errors
    /// A line that is none of these, or the second of an item.
    pub fn load(path: &Path) -> Result<StoredResponses, EvalError> {
        let mut stored = StoredResponses { file: path.display().to_string(), ..StoredResponses::default() };
        each_line(path, |number, text| {
            let line: StoredLine = serde_json::from_str(text)
                .map_err(|e| format!("{e}; a line is {{\"task\": …, \"id\": …, \"responses\": [\"…\"]}}"))?;
            let count = line.responses.len();
            let fits = |length: Option<usize>| length.is_none_or(|length| length == count);
            if count == 0 {
                return Err("no responses; leave out items without any".into());
            }
            if !fits(line.tokens.as_ref().map(Vec::len)) || !fits(line.finish_reasons.as_ref().map(Vec::len))
            {
                return Err(format!("`tokens` and `finish_reasons` must be {count}, as `responses` are"));
            }
            let id = line.id.as_str().map_or_else(|| line.id.to_string(), str::to_owned);
            let finish = |at: usize| match line.finish_reasons.as_ref()?.get(at)? {
                Finished::Stop => Some(crate::Finish::Stop),
                Finished::Length => Some(crate::Finish::Length),
            };
            let responses = line.responses.into_iter().enumerate().map(|(at, text)| Response {
                text,
                tokens: line.tokens.as_ref().and_then(|tokens| tokens.get(at).copied()),
                finish: finish(at),
            });
            let items = stored.tasks.entry(line.task).or_default();
            match items.insert(id.clone(), (number, responses.collect())) {
                Some((first, _)) => Err(format!("item {id} again: its responses stand in line {first}")),
                None => Ok(()),
            }
        })?;
        Ok(stored)
    }

    /// Names of the tasks it has responses for.
    pub fn tasks(&self) -> Vec<String> {
        self.tasks.keys().cloned().collect()
    }

    /// The responses to a task's items, in their order; with `partial`, items without any are left out of `items`.
    ///
    /// # Errors
    /// Items without responses, responses without an item, or not as many responses to each.
    pub fn take(
        &mut self,
        task: &str,
        items: &mut Items,
        partial: bool,
    ) -> Result<Vec<Vec<Response>>, EvalError> {
        let at = |line: Option<usize>, reason: String| EvalError::Responses {
            place: line.map_or_else(|| self.file.clone(), |line| format!("{}:{line}", self.file)),
            reason,
        };
        let mut stored = self.tasks.remove(task).unwrap_or_default();
        let mut responses = Vec::new();
        let mut kept = Vec::new();
        let mut missing = Vec::new();
        for item in &items.items {
            match stored.remove(&item.id) {
                Some((line, found)) => {
                    responses.push((line, found));
                    kept.push(item.clone());
                }
                None => missing.push(item.id.clone()),
            }
        }
        if let Some((id, (line, _))) = stored.iter().min_by_key(|(_, (line, _))| *line) {
            let known: Vec<&str> = missing.iter().map(String::as_str).collect();
            let near =
                nearest(id, &known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let reason = format!("{task} has no item `{id}` in {}{near}", items.file);
            return Err(at(Some(*line), reason));
        }
        if let Some(first) = missing.first().filter(|_| !partial || kept.is_empty()) {
            let reason = format!(
                "{} of {} items of {task} have no responses, the first is `{first}`; give --partial to score the others \
                 alone",
                missing.len(),
                items.items.len()
            );
            return Err(at(None, reason));
        }
        let each = responses.first().map_or(0, |(_, found)| found.len());
        if let Some((line, found)) = responses.iter().find(|(_, found)| found.len() != each) {
            let reason = format!("{} responses, where the items before it have {each}", found.len());
            return Err(at(Some(*line), reason));
        }
        items.items = kept;
        Ok(responses.into_iter().map(|(_, found)| found).collect())
    }
}

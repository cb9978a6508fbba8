//! Results as files, with the keys of lm-evaluation-harness and our own beside them.
//!
//! `results_<time>.json` holds the figures, `samples_<task>_<time>.jsonl` a line for each item and filter,
//! `disagreements_<task>_<time>.jsonl` a line for each response on which two filters differ.

use crate::catalogue::read_text;
use crate::item::sha256;
use crate::{EvalError, FilterScore, Finish, Items, Response, Score, Task, Work};
use octo_durable::{Fs, write_file};
use octo_infer::Sampling;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// When an evaluation began. Times are the caller's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// For file names: `2026-11-21T18-05-33`.
    pub name: String,
    /// Seconds since 1970.
    pub seconds: u64,
}

impl Stamp {
    /// The stamp that was kept in a file, or else `now`, which is kept there: an evaluation that was killed and goes on writes
    /// the results that it would have written.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn kept(fs: &dyn Fs, path: &Path, now: Stamp) -> Result<Stamp, EvalError> {
        if !path.exists() {
            write_file(fs, path, |out| Ok(serde_json::to_writer(out, &now)?))?;
            return Ok(now);
        }
        let text = read_text(path, 1 << 16)?;
        serde_json::from_str(&text).map_err(|e| EvalError::Results {
            path: path.to_owned(),
            reason: format!("not the time of a start: {e}; remove the file"),
        })
    }
}

/// Whose responses these are.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The model as results name it.
    pub name: String,
    /// Facts about model, device and settings, which become `config`.
    pub config: Map<String, Value>,
    /// Facts about the tokenizer and whatever else stands beside the results.
    pub more: Map<String, Value>,
    /// How the evaluation was asked for: `hf`, say, or `responses`.
    pub source: String,
}

/// A scored task.
pub struct Scored<'a> {
    /// The task.
    pub task: &'a Task,
    /// Its items.
    pub items: &'a Items,
    /// Responses to them.
    pub responses: &'a [Vec<Response>],
    /// What they come to.
    pub score: &'a Score,
    /// How they were drawn; `None` where another engine wrote them.
    pub drawn: Option<Drawn>,
}

/// How responses were drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// How tokens were.
    pub sampling: Sampling,
    /// Most of them.
    pub max_new_tokens: usize,
    /// Seed.
    pub seed: u64,
}

impl Drawn {
    /// How a piece of work draws.
    pub fn of(work: &Work<'_>) -> Drawn {
        Drawn { sampling: work.sampling, max_new_tokens: work.max_new_tokens, seed: work.seed }
    }
}

/// Name of the file of figures.
pub fn file_name(stamp: &Stamp) -> String {
    format!("results_{}.json", stamp.name)
}

/// Writes samples and disagreements of each task, and the figures last: a folder that holds them holds all of it.
///
/// # Errors
/// Whatever the system refuses.
pub fn write(
    fs: &dyn Fs,
    folder: &Path,
    stamp: &Stamp,
    subject: &Subject,
    scored: &[Scored<'_>],
) -> Result<PathBuf, EvalError> {
    for scored in scored {
        let (task, name) = (&scored.task.name, &stamp.name);
        write_lines(fs, &folder.join(format!("samples_{task}_{name}.jsonl")), samples(scored))?;
        if scored.score.filters.len() > 1 {
            let path = folder.join(format!("disagreements_{task}_{name}.jsonl"));
            write_lines(fs, &path, disagreements(scored))?;
        }
    }
    let path = folder.join(file_name(stamp));
    let figures = figures(stamp, subject, scored);
    write_file(fs, &path, |out| {
        serde_json::to_writer_pretty(&mut *out, &figures)?;
        out.write_all(b"\n")
    })?;
    Ok(path)
}

fn write_lines(fs: &dyn Fs, path: &Path, lines: impl Iterator<Item = Value>) -> Result<(), EvalError> {
    write_file(fs, path, |out| {
        for line in lines {
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Everything but the single responses.
fn figures(stamp: &Stamp, subject: &Subject, scored: &[Scored<'_>]) -> Value {
    let mut all = subject.more.clone();
    let by_task = |value: &dyn Fn(&Scored<'_>) -> Value| -> Value {
        let pairs = scored.iter().map(|s| (s.task.name.clone(), value(s)));
        Value::Object(pairs.collect())
    };
    let set = |all: &mut Map<String, Value>, key: &str, value: Value| {
        all.insert(key.to_owned(), value);
    };
    set(&mut all, "results", by_task(&results));
    set(&mut all, "configs", by_task(&config));
    set(&mut all, "versions", by_task(&|s| json!(s.task.version)));
    set(&mut all, "n-shot", by_task(&|s| json!(shots(s))));
    set(
        &mut all,
        "higher_is_better",
        by_task(&|s| {
            let names =
                s.score.filters[0].measures.iter().filter(|m| m.interval.is_some()).map(|m| m.name.clone());
            Value::Object(names.map(|name| (name, json!(true))).collect())
        }),
    );
    set(
        &mut all,
        "n-samples",
        by_task(&|s| json!({"original": s.items.found, "effective": s.items.items.len()})),
    );
    set(&mut all, "group_subtasks", by_task(&|_| json!([])));
    set(&mut all, "task_hashes", by_task(&|s| json!(task_hash(s.items))));
    let mut settings = subject.config.clone();
    settings.insert("bootstrap_iters".into(), json!(crate::metrics::RESAMPLES));
    set(&mut all, "config", Value::Object(settings));
    set(&mut all, "model_source", json!(subject.source));
    set(&mut all, "model_name", json!(subject.name));
    set(&mut all, "model_name_sanitized", json!(subject.name.replace('/', "__")));
    set(&mut all, "date", json!(stamp.seconds));
    set(&mut all, "octo_engine_version", json!(env!("CARGO_PKG_VERSION")));
    Value::Object(all)
}

/// SHA-256 over the hashes of rows, prompts and gold answers.
fn task_hash(items: &Items) -> String {
    let mut all = String::new();
    for item in &items.items {
        all += &item.doc_hash();
        all += &item.prompt_hash();
        all += &sha256(item.target());
    }
    sha256(&all)
}

fn results(scored: &Scored<'_>) -> Value {
    let task = scored.task;
    let mut all = Map::new();
    all.insert("alias".into(), json!(task.name));
    all.insert("name".into(), json!(task.name));
    all.insert("sample_len".into(), json!(scored.items.items.len()));
    all.insert("samples".into(), json!(scored.score.samples));
    all.insert("headline".into(), json!(format!("{},{}", task.metric.name(), task.modes[0].name())));
    all.insert("disagreements".into(), json!(scored.score.disagreements.len()));
    if let Some(note) = note(scored) {
        all.insert("note".into(), json!(note));
    }
    for FilterScore { filter, measures, .. } in &scored.score.filters {
        let filter = filter.name();
        for measure in measures {
            let name = &measure.name;
            all.insert(format!("{name},{filter}"), json!(measure.value));
            if let Some((low, high)) = measure.interval {
                let error = measure.error.map_or(json!("N/A"), |error| json!(error));
                all.insert(format!("{name}_stderr,{filter}"), error);
                all.insert(format!("{name}_interval95,{filter}"), json!([low, high]));
            }
        }
    }
    Value::Object(all)
}

/// What a reader must know before comparing.
pub(crate) fn note(scored: &Scored<'_>) -> Option<&'static str> {
    (scored.items.own_examples && scored.drawn.is_some()).then_some(
        "the examples before the prompts are this program's own: not comparable with published few-shot numbers",
    )
}

/// Examples before each prompt; `None` where another engine was asked.
pub(crate) fn shots(scored: &Scored<'_>) -> Option<usize> {
    scored.drawn.map(|_| scored.items.shots)
}

fn config(scored: &Scored<'_>) -> Value {
    let task = scored.task;
    let golds: Vec<&str> = task.gold.iter().map(|gold| gold.source()).collect();
    let filters: Vec<Value> = task.modes.iter().map(|mode| json!({"name": mode.name()})).collect();
    json!({
        "task": task.name,
        "description": task.about,
        "dataset_path": scored.items.file,
        "doc_to_text": task.prompt.source(),
        "doc_to_target": golds.join("\n"),
        "fewshot_config": {
            "examples": scored.items.examples,
            "doc_to_text": task.example.as_ref().map(|e| e.source()),
            "preamble": task.preamble,
        },
        "num_fewshot": shots(scored),
        "output_type": "generate_until",
        "generation_kwargs": kwargs(scored),
        "repeats": scored.score.samples,
        "filter_list": filters,
        "metric_list": [{"metric": task.metric.name(), "aggregation": "mean", "higher_is_better": true}],
        "benchmark": task.benchmark.map(|benchmark| benchmark.name()),
        "extraction": if task.boxed_only { "boxed" } else { "anywhere" },
        "metadata": {"version": task.version},
    })
}

fn kwargs(scored: &Scored<'_>) -> Value {
    match scored.drawn {
        None => json!({"until": scored.task.stop}),
        Some(Drawn { sampling, max_new_tokens, seed }) => json!({
            "until": scored.task.stop,
            "max_gen_toks": max_new_tokens,
            "do_sample": sampling.temperature > 0.0,
            "temperature": decimal(sampling.temperature),
            "top_k": sampling.top_k,
            "top_p": decimal(sampling.top_p),
            "min_p": decimal(sampling.min_p),
            "seed": seed,
        }),
    }
}

/// The number that was written, not its neighbours in f64.
fn decimal(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |value| json!(value))
}

/// A line for each item and filter.
fn samples<'a>(scored: &'a Scored<'a>) -> impl Iterator<Item = Value> + 'a {
    let kwargs = kwargs(scored);
    let metric = scored.task.metric.name();
    let rows = scored.items.items.iter().zip(scored.responses).enumerate();
    rows.flat_map(move |(at, (item, responses))| {
        let texts: Vec<&str> = responses.iter().map(|r| r.text.as_str()).collect();
        // What another engine was asked is not known.
        let drawn = scored.drawn.is_some();
        let arguments = json!({"gen_args_0": {"arg_0": drawn.then_some(&item.prompt), "arg_1": kwargs}});
        let (doc_hash, prompt_hash) = (item.doc_hash(), drawn.then(|| item.prompt_hash()));
        let metric = metric.clone();
        scored.score.filters.iter().map(move |by| {
            let judged = &by.judged[at];
            let answers: Vec<&str> = judged.iter().map(|j| j.answer.as_str()).collect();
            let verdicts: Vec<&str> = judged.iter().map(|j| j.verdict.name()).collect();
            let right = judged.iter().filter(|j| j.right()).count() as f64 / judged.len().max(1) as f64;
            json!({
                "doc_id": item.index,
                "doc": item.doc,
                "target": item.target(),
                "arguments": arguments,
                "resps": [texts],
                "filtered_resps": answers,
                "filter": by.filter.name(),
                "metrics": [metric],
                "doc_hash": doc_hash,
                "prompt_hash": prompt_hash,
                "target_hash": sha256(item.target()),
                "exact_match": right,
                "id": item.id,
                "verdicts": verdicts,
                "response_tokens": responses.iter().map(|r| r.tokens).collect::<Vec<_>>(),
                "finish_reasons": responses.iter().map(|r| finish(r.finish)).collect::<Vec<_>>(),
            })
        })
    })
}

fn finish(finish: Option<Finish>) -> Option<&'static str> {
    finish.map(|finish| match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    })
}

/// A line for each response of which filters say different things.
fn disagreements<'a>(scored: &'a Scored<'a>) -> impl Iterator<Item = Value> + 'a {
    scored.score.disagreements.iter().map(move |d| {
        let item = &scored.items.items[d.item];
        let says: Map<String, Value> = scored
            .score
            .filters
            .iter()
            .map(|by| {
                let judged = &by.judged[d.item][d.sample];
                (
                    by.filter.name().to_owned(),
                    json!({"verdict": judged.verdict.name(), "answer": judged.answer}),
                )
            })
            .collect();
        json!({
            "doc_id": item.index,
            "id": item.id,
            "sample": d.sample,
            "gold": item.gold,
            "filters": says,
            "response": scored.responses[d.item][d.sample].text,
        })
    })
}

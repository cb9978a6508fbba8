//! A task: what its file says, checked and compiled.

use crate::EvalError;
use crate::judge::Filter;
use crate::reader::Reader;
use octo_infer::Sampling;
use octo_rows::{RowsError, Template};
use octo_verify::Benchmark;
use std::path::PathBuf;

/// Every key of a task file with what it means; docs/eval.md shows this table.
pub const KEYS: [(&str, &str); 25] = [
    ("about", "One line for people."),
    (
        "answer",
        "How a right response ends, a template over `gold`; `eval check` says it with every gold answer.",
    ),
    ("benchmark", "The paper's scorer that mode `octothinker` follows; without it there is no such mode."),
    ("choices", "The field with the list of options, where the paper's scorer looks at them."),
    (
        "data",
        "Where the rows are, in the folder of --data: a file or pattern, or several of which the first that is there counts.",
    ),
    ("example", "A solved example, a template over the fields of `examples`."),
    ("examples", "The solved examples: a set that is built in, or a file of rows beside the task file."),
    ("extends", "A task whose keys this one takes over where it does not say otherwise."),
    ("extraction", "Where mode `strict` looks for the answer: `anywhere`, or `boxed` for a \\boxed{} alone."),
    ("gold", "The right answer, a template over the row; of several, each is right."),
    ("gold_boxed", "Whether the right answer is what the last \\boxed{} of `gold` holds."),
    ("id", "A name of each item, a template over the row; by default its number, from 0."),
    ("items", "How many items were published: another number is an error."),
    ("max_new_tokens", "Most tokens of a response."),
    ("metric", "The one figure of overviews: exact_match, pass@K or maj@K."),
    ("modes", "By whose rules: strict, math-verify, octothinker; the first is the one of overviews."),
    ("preamble", "Text before the examples."),
    ("prompt", "The prompt, a template over the row."),
    ("question", "The question alone, a template over the row, where the paper's scorer looks at it."),
    ("samples", "Responses to each item."),
    ("shots", "How many of the examples stand before the prompt; all by default."),
    ("stop", "Texts that end a response."),
    ("tasks", "A group: the tasks it stands for, and no other key but `about`."),
    ("temperature", "Divides the logits; 0 takes the likeliest token."),
    ("version", "Raised whenever prompts or rules change."),
];

/// The figure of a task in overviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The share of right responses.
    ExactMatch,
    /// The chance that one of so many responses is right.
    PassAt(u32),
    /// Whether the answer most of so many responses give is right.
    MajAt(u32),
}

impl Metric {
    /// Its name, as in results.
    pub fn name(self) -> String {
        match self {
            Metric::ExactMatch => "exact_match".to_owned(),
            Metric::PassAt(k) => format!("pass@{k}"),
            Metric::MajAt(k) => format!("maj@{k}"),
        }
    }

    fn parse(name: &str) -> Option<Metric> {
        let k = |digits: &str| digits.parse().ok().filter(|k| *k > 0);
        match name.split_once('@') {
            None if name == "exact_match" => Some(Metric::ExactMatch),
            Some(("pass", digits)) => k(digits).map(Metric::PassAt),
            Some(("maj", digits)) => k(digits).map(Metric::MajAt),
            _ => None,
        }
    }

    /// Responses that it needs of each item.
    pub fn samples(self) -> u32 {
        match self {
            Metric::ExactMatch => 1,
            Metric::PassAt(k) | Metric::MajAt(k) => k,
        }
    }
}

/// What to ask, how, and what is right.
pub struct Task {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Version of prompts and rules.
    pub version: u32,
    /// Files of its rows, the first that is there.
    pub data: Vec<String>,
    /// How many items were published.
    pub items: Option<usize>,
    /// Name of an item.
    pub id: Option<Template>,
    /// Text before the examples.
    pub preamble: String,
    /// An example.
    pub example: Option<Template>,
    /// Set or file of the examples.
    pub examples: Option<String>,
    /// How many of them.
    pub shots: Option<usize>,
    /// The prompt.
    pub prompt: Template,
    /// The right answers.
    pub gold: Vec<Template>,
    /// Whether gold is the box in it.
    pub gold_boxed: bool,
    /// How a right response ends.
    pub answer: Option<Template>,
    /// The question alone.
    pub question: Option<Template>,
    /// The field with the options.
    pub choices: Option<String>,
    /// Texts that end a response.
    pub stop: Vec<String>,
    /// Most tokens of a response.
    pub max_new_tokens: usize,
    /// Responses to each item.
    pub samples: u32,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// By whose rules; at least one.
    pub modes: Vec<Filter>,
    /// The paper's scorer.
    pub benchmark: Option<Benchmark>,
    /// Whether nothing but a box counts in mode `strict`.
    pub boxed_only: bool,
    /// The figure of overviews.
    pub metric: Metric,
    /// Its file; `None` for one that is part of the program.
    pub file: Option<PathBuf>,
}

impl Task {
    /// Names of all keys.
    pub(crate) fn keys() -> Vec<&'static str> {
        KEYS.iter().map(|(name, _)| *name).collect()
    }

    /// Builds a task of what a file and those it extends say.
    pub(crate) fn build(name: &str, mut r: Reader, file: Option<PathBuf>) -> Result<Task, EvalError> {
        let benchmark = r.made("benchmark", benchmark);
        let modes = modes(&mut r, benchmark);
        let boxed_only = r.made("extraction", |text| match text {
            "anywhere" => Ok(false),
            "boxed" => Ok(true),
            _ => Err((format!("is {text:?}"), "give `anywhere` or `boxed`".into())),
        });
        let metric = r.made("metric", |text| {
            Metric::parse(text)
                .ok_or_else(|| (format!("is {text:?}"), "give `exact_match`, `pass@K` or `maj@K`".into()))
        });
        let data = r.texts("data").filter(|d| !d.is_empty());
        let data = data.or_else(|| r.missing("data", "a file name or a list of them", doc("data")));
        let prompt = r.made("prompt", template);
        let prompt = if r.has("prompt") { prompt } else { r.missing("prompt", "a template", doc("prompt")) };
        let gold = golds(&mut r);
        let temperature = r.number("temperature").unwrap_or(0.0);
        if !(temperature.is_finite() && temperature >= 0.0) {
            r.object::<()>("temperature", format!("is {temperature}"), "give 0 or more");
        }
        let stop = r.texts("stop").unwrap_or_default();
        if stop.iter().any(String::is_empty) {
            r.object::<()>(
                "stop",
                "holds an empty text, which would end every response at once",
                "remove it",
            );
        }
        let examples = r.text("examples").filter(|name| !name.is_empty());
        if examples.is_some() && !r.has("example") {
            r.object::<()>("examples", "has no template for one of them", "give `example`");
        }
        let task = Task {
            name: name.to_owned(),
            about: r.text("about").unwrap_or_default(),
            version: r.count("version", 0).unwrap_or(1) as u32,
            data: data.unwrap_or_default(),
            items: r.count("items", 1),
            id: r.made("id", template),
            preamble: r.text("preamble").unwrap_or_default(),
            example: r.made("example", template),
            examples,
            shots: r.count("shots", 0),
            gold: gold.unwrap_or_default(),
            gold_boxed: r.flag("gold_boxed").unwrap_or(false),
            answer: r.made("answer", template),
            question: r.made("question", template),
            choices: r.text("choices"),
            stop,
            max_new_tokens: r.count("max_new_tokens", 1).unwrap_or(1024),
            samples: r.count("samples", 1).unwrap_or(1) as u32,
            sampling: Sampling { temperature: temperature as f32, top_k: 0, top_p: 1.0, min_p: 0.0 },
            modes,
            benchmark,
            boxed_only: boxed_only.unwrap_or(false),
            metric: metric.unwrap_or(Metric::ExactMatch),
            file,
            prompt: match prompt {
                Some(prompt) => prompt,
                None => return Err(EvalError::TaskFile(r.errors())),
            },
        };
        if task.samples < task.metric.samples() {
            let advice = format!("give at least {} with `samples`", task.metric.samples());
            r.object::<()>("metric", format!("needs more responses than {}", task.samples), advice);
        }
        match r.is_sound() {
            true => Ok(task),
            false => Err(EvalError::TaskFile(r.errors())),
        }
    }

    /// Judges by these rules instead of the task's own, except that `octothinker` is left out where the task has no benchmark
    /// of the paper's.
    ///
    /// # Errors
    /// A name that no rule has, or none left.
    pub fn set_modes(&mut self, names: &[String]) -> Result<(), EvalError> {
        let mut modes = Vec::new();
        for name in names.iter().filter(|name| *name != "octothinker" || self.benchmark.is_some()) {
            let mode = Filter::named(name, self.benchmark)
                .map_err(|advice| EvalError::Setting(format!("no mode `{name}`; {advice}")))?;
            if !modes.contains(&mode) {
                modes.push(mode);
            }
        }
        if modes.is_empty() {
            let name = &self.name;
            let reason = "has no benchmark of the paper's, which mode octothinker follows; add another mode";
            return Err(EvalError::Setting(format!("{name} {reason}")));
        }
        self.modes = modes;
        Ok(())
    }
}

/// What a key means.
fn doc(key: &str) -> &'static str {
    KEYS.iter().find(|(name, _)| *name == key).map_or("", |(_, doc)| doc)
}

pub(crate) fn template(text: &str) -> Result<Template, (String, String)> {
    Template::new(text).map_err(|error| match error {
        RowsError::Syntax { reason, .. } => {
            (format!("is no template: {reason}"), "docs/row-templates.md shows templates".into())
        }
        other => (format!("is no template: {other}"), String::new()),
    })
}

fn golds(r: &mut Reader) -> Option<Vec<Template>> {
    if !r.has("gold") {
        return r.missing("gold", "a template or a list of them", doc("gold"));
    }
    let mut golds = Vec::new();
    for text in r.texts("gold")? {
        match template(&text) {
            Ok(gold) => golds.push(gold),
            Err((reason, advice)) => return r.object("gold", reason, advice),
        }
    }
    match golds.is_empty() {
        true => r.object("gold", "is empty", "give a template"),
        false => Some(golds),
    }
}

fn benchmark(name: &str) -> Result<Benchmark, (String, String)> {
    Benchmark::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
        let known: Vec<&str> = Benchmark::ALL.iter().map(|known| known.name()).collect();
        (
            format!("is {name:?}, which the paper's scorer does not know"),
            format!("give one of {}", known.join(", ")),
        )
    })
}

/// The modes named; by default `strict`, and `octothinker` where there is a benchmark.
fn modes(r: &mut Reader, benchmark: Option<Benchmark>) -> Vec<Filter> {
    let default = match benchmark {
        Some(benchmark) => vec![Filter::Strict, Filter::OctoThinker(benchmark)],
        None => vec![Filter::Strict],
    };
    let Some(names) = r.texts("modes") else { return default };
    let mut modes = Vec::new();
    for name in names {
        match Filter::named(&name, benchmark) {
            Ok(mode) if !modes.contains(&mode) => modes.push(mode),
            Ok(_) => {}
            Err(reason) => {
                r.object::<()>("modes", format!("names {name:?}"), reason);
            }
        }
    }
    if modes.is_empty() { default } else { modes }
}

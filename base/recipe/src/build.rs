//! From the tree to a [`Recipe`]: every key read once, then what keys must mean together.

use std::cell::RefCell;
use std::path::Path;

use crate::error::{RecipeError, RecipeErrors};
use crate::host::Host;
use crate::layers::Texts;
use crate::recipe::{
    Checkpoints, Device, Forward, Log, Memory, ModelSource, ModelStart, Moments, Optimizer, OptimizerState,
    Recipe, Recompute, Run, Samples, Sink, Weights,
};
use crate::section::{Reading, Section};
use crate::tree::Spot;
use crate::{rl, sources, stages};

/// Longer than this between two checkpoints is a mistake: a year of minutes.
const MINUTES_LIMIT: f64 = 366.0 * 24.0 * 60.0;

/// How a recipe is to be read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `KEY=VALUE` overrides, the last one winning: dotted keys with list elements by number
    /// (`stages.0.steps=10`), TOML values or bare words, relative paths from the working directory.
    pub sets: Vec<String>,
    /// Leave out whether paths exist, to check a recipe where its data is not.
    pub no_paths: bool,
}

impl Recipe {
    /// Reads the recipe at `path` with all it extends.
    ///
    /// # Errors
    /// Every mistake in it, each with its place.
    pub fn load(host: &dyn Host, path: &Path, options: &Options) -> Result<Recipe, RecipeErrors> {
        let mut texts = Texts::default();
        let tree = texts.gather(host, path, &options.sets);
        let reading = Reading { host, check_paths: !options.no_paths, texts: RefCell::new(texts) };
        let recipe = tree.and_then(|entries| {
            let start = Spot { text: 0, start: 0, end: 0 };
            build(&Section::root(&reading, &entries, start))
        });
        let texts = reading.texts.into_inner();
        match recipe {
            Some(recipe) if texts.is_sound() => Ok(recipe),
            _ => Err(texts.into_errors(path)),
        }
    }
}

fn build(root: &Section) -> Option<Recipe> {
    // Everything is read before anything is given up, so that every mistake is found.
    let for_rl = root.has("rl");
    let run = run(&root.table("run"), for_rl);
    let model = model(&root.table("model"));
    let data = root.table("data");
    let named = data.table("sources").named_tables();
    let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    let (stages, used) = stages::stages(root, &names, model.as_ref());
    let sources = sources::sources(&named, &used);
    let data = sources::data(&data);
    let optimizer = optimizer(&root.table("optimizer"), for_rl);
    let recompute = root.table("memory").choice("recompute", Recompute::from_name);
    let validation = sources::validations(root, &sources);
    let samples = root.table_if_present("samples").map(|table| samples(&table));
    let rl = for_rl.then(|| rl::rl(root, model.as_ref()));
    let checkpoints = checkpoints(&root.table("checkpoints"), for_rl);
    let log = log(&root.table("log"));
    Some(Recipe {
        run: run?,
        model: model?,
        data: data?,
        sources: sources.into_values().collect::<Option<_>>()?,
        stages: stages?,
        optimizer: optimizer?,
        memory: Memory { recompute: recompute?.value },
        validation: validation?,
        samples: samples.map_or(Some(None), |samples| samples.map(Some))?,
        rl: rl.map_or(Some(None), |rl| rl.map(Some))?,
        checkpoints: checkpoints?,
        log: log?,
    })
}

fn run(table: &Section, for_rl: bool) -> Option<Run> {
    let dir = table.path("dir");
    let seed = table.count("seed");
    let device = table.choice("device", Device::from_name);
    let threads = table.count("threads");
    let forward = table.choice("forward", Forward::from_name);
    // The policy that samples is to be the policy that is trained.
    let invariant = for_rl && !table.has("forward");
    Some(Run {
        dir: dir?.value,
        seed: seed?.value,
        device: device?.value,
        threads: threads.map(|threads| threads.value),
        forward: if invariant { Forward::Invariant } else { forward?.value },
    })
}

fn model(table: &Section) -> Option<ModelSource> {
    let start = match table.one_of("from") {
        Some("from") => table.path("from").map(|path| ModelStart::From(path.value)),
        Some(_) if table.has_table("config") => table.table_if_present("config").map(|config| shape(&config)),
        Some(_) => table.path("config").map(|path| ModelStart::ConfigFile(path.value)),
        None => None,
    };
    let tokenizer = table.path("tokenizer");
    let weights = table.choice("weights", Weights::from_name);
    let state = table.choice("optimizer_state", OptimizerState::from_name);
    let random = matches!(start, Some(ModelStart::Config(_) | ModelStart::ConfigFile(_)));
    if random && !table.has("tokenizer") {
        let error = RecipeError::Missing {
            key: table.shown("tokenizer"),
            expected: "the path of a tokenizer.json".to_owned(),
            doc: "A random start has no tokenizer of its own.",
        };
        table.reading.report(table.spot, error);
    }
    if let (true, Some(state)) = (random, &state)
        && state.value == OptimizerState::Load
    {
        let reason = "is \"load\", and a random start has no optimizer state";
        let advice = "remove it, or give a checkpoint of ours as `from`";
        table.reading.object(state.spot, &table.shown("optimizer_state"), reason, advice);
    }
    Some(ModelSource {
        start: start?,
        tokenizer: tokenizer.map(|tokenizer| tokenizer.value),
        weights: weights?.value,
        optimizer_state: state?.value,
    })
}

/// The inline shape of a random start.
fn shape(table: &Section) -> ModelStart {
    let mut config = table.as_json();
    if let Some(scaling) = table.table_if_present("rope_scaling") {
        config.insert("rope_scaling".to_owned(), scaling.as_json().into());
    }
    let whole = |name: &str| config.get(name).and_then(serde_json::Value::as_u64);
    let complain = |name: &str, reason: String, advice: &str| {
        table.reading.object(table.spot_of(name), &table.shown(name), reason, advice);
    };
    if let (Some(hidden), Some(heads), None) =
        (whole("hidden_size"), whole("num_attention_heads"), whole("head_dim"))
        && hidden % heads != 0
    {
        let reason = format!("is {heads}, which does not divide hidden_size {hidden}");
        complain("num_attention_heads", reason, "choose a divisor or give head_dim");
    }
    if let (Some(heads), Some(shared)) = (whole("num_attention_heads"), whole("num_key_value_heads"))
        && heads % shared != 0
    {
        let reason = format!("is {shared}, which does not divide num_attention_heads {heads}");
        complain("num_key_value_heads", reason, "choose a divisor");
    }
    ModelStart::Config(config)
}

/// verl's AdamW, which is PyTorch's: what an RL recipe has where it says nothing.
const RL_BETAS: [f64; 2] = [0.9, 0.999];
const RL_WEIGHT_DECAY: f64 = 0.01;

fn optimizer(table: &Section, for_rl: bool) -> Option<Optimizer> {
    let left_to_rl = |name: &str| for_rl && !table.has(name);
    let betas = table.pair("betas");
    let eps = table.number("eps");
    let weight_decay = table.number("weight_decay");
    let clip = table.number("clip");
    let moments = table.choice("moments", Moments::from_name);
    Some(Optimizer {
        betas: if left_to_rl("betas") { RL_BETAS } else { betas?.value },
        eps: eps?.value,
        weight_decay: if left_to_rl("weight_decay") { RL_WEIGHT_DECAY } else { weight_decay?.value },
        clip: Some(clip?.value).filter(|clip| *clip > 0.0),
        moments: moments?.value,
    })
}

fn samples(table: &Section) -> Option<Samples> {
    let prompts = table.texts("prompts");
    let every_steps = table.count("every_steps");
    let max_new_tokens = table.count("max_new_tokens");
    let temperature = table.number("temperature");
    let top_k = table.count("top_k");
    let top_p = table.number("top_p");
    let min_p = table.number("min_p");
    Some(Samples {
        prompts: prompts?.value,
        every_steps: every_steps?.value,
        max_new_tokens: max_new_tokens?.value,
        temperature: temperature?.value,
        top_k: top_k.map(|top_k| top_k.value),
        top_p: top_p?.value,
        min_p: min_p?.value,
    })
}

fn checkpoints(table: &Section, for_rl: bool) -> Option<Checkpoints> {
    for name in ["every_tokens", "milestones", "milestone_state"] {
        if for_rl && table.has(name) {
            let advice = "use every_steps, every_minutes or rl.keep_best";
            let reason = "counts tokens, and rollouts have no fixed number";
            table.reading.object(table.spot_of(name), &table.shown(name), reason, advice);
        }
    }
    let every_minutes = table.number("every_minutes");
    if let Some(minutes) = every_minutes
        && minutes.value > MINUTES_LIMIT
    {
        let reason = format!("is {:?}, more than a year", minutes.value);
        table.reading.object(minutes.spot, &table.shown("every_minutes"), reason, "0 turns it off");
    }
    let every_steps = table.count("every_steps");
    let every_tokens = table.count("every_tokens");
    let keep = table.count("keep");
    let milestones = table.count("milestones");
    let milestone_state = table.count("milestone_state");
    Some(Checkpoints {
        every_minutes: Some(every_minutes?.value).filter(|minutes| *minutes > 0.0),
        every_steps: every_steps.map(|steps| steps.value),
        every_tokens: every_tokens.map(|tokens| tokens.value),
        keep: keep?.value,
        milestones: milestones.map(|tokens| tokens.value),
        milestone_state: milestone_state.map(|tokens| tokens.value),
    })
}

fn log(table: &Section) -> Option<Log> {
    let every_steps = table.count("every_steps");
    let tensorboard = table.flag("tensorboard");
    let sinks: Vec<Option<Sink>> = table.tables("sinks").iter().map(sink).collect();
    Some(Log {
        every_steps: every_steps?.value,
        tensorboard: tensorboard?.value,
        sinks: sinks.into_iter().collect::<Option<_>>()?,
    })
}

fn sink(table: &Section) -> Option<Sink> {
    let command = table.texts("command")?;
    if command.value.first().is_some_and(String::is_empty) {
        let advice = "begin with the program's name or path";
        table.reading.object(command.spot, &table.shown("command"), "names no program", advice);
    }
    Some(Sink { command: command.value })
}

/// Reads the `name` of one of several tables, which all have different ones.
pub(crate) fn own_name(table: &Section, seen: &mut Vec<String>, what: &str) -> Option<String> {
    let name = table.text("name")?;
    let shown = table.shown("name");
    check_name(table, name.spot, &shown, &name.value);
    if seen.contains(&name.value) {
        let reason = format!("is `{}`, as another {what} is called", name.value);
        table.reading.object(name.spot, &shown, reason, "give each its own name");
    }
    seen.push(name.value.clone());
    Some(name.value)
}

/// Names become parts of metric and file names.
pub(crate) fn check_name(table: &Section, spot: Spot, shown: &str, name: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
        let shown = shown.trim_end_matches('.');
        let reason = "is not a plain name";
        let advice = "use up to 64 letters, digits, `-`, `_` and `.`, not beginning with `.`";
        table.reading.object(spot, shown, reason, advice);
    }
}

//! From the tree to a [`Recipe`]: every key read once, then what keys must mean together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{RecipeError, RecipeErrors, quoted};
use crate::host::Host;
use crate::layers::Texts;
use crate::recipe::{
    Device, Forward, Generator, Log, ModelSource, ModelStart, Optimizer, Order, Origin, Recipe, Run, Samples,
    Source, Stage, Validation, Weights,
};
use crate::schedule::{Schedule, Shape};
use crate::section::{At, Reading, Section, nearest};
use crate::tree::Spot;

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

/// Sources by name; `None` for one with a mistake in it, which has been reported.
type Sources = BTreeMap<String, Option<Source>>;

fn build(root: &Section) -> Option<Recipe> {
    // Everything is read before anything is given up, so that every mistake is found.
    let run = run(&root.table("run"));
    let model = model(&root.table("model"));
    let sources: Sources = root
        .table("data")
        .table("sources")
        .named_tables()
        .into_iter()
        .map(|(name, table)| {
            check_name(&table, table.spot, &table.shown(""), &name);
            let source = source(&table, name.clone());
            (name, source)
        })
        .collect();
    let stage = only_stage(root, &sources, model.as_ref());
    let optimizer = optimizer(&root.table("optimizer"));
    let validation = validations(root, &sources);
    let samples = root.table_if_present("samples").map(|table| samples(&table));
    let log = root.table("log").count("every_steps").map(|every| Log { every_steps: every.value });
    Some(Recipe {
        run: run?,
        model: model?,
        sources: sources.into_values().collect::<Option<_>>()?,
        stage: stage?,
        optimizer: optimizer?,
        validation: validation?,
        samples: samples.map_or(Some(None), |samples| samples.map(Some))?,
        log: log?,
    })
}

fn run(table: &Section) -> Option<Run> {
    let dir = table.path("dir");
    let seed = table.count("seed");
    let device = table.choice("device", Device::from_name);
    let threads = table.count("threads");
    let forward = table.choice("forward", Forward::from_name);
    Some(Run {
        dir: dir?.value,
        seed: seed?.value,
        device: device?.value,
        threads: threads.map(|threads| threads.value),
        forward: forward?.value,
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
    let random = matches!(start, Some(ModelStart::Config(_) | ModelStart::ConfigFile(_)));
    if random && !table.has("tokenizer") {
        let error = RecipeError::Missing {
            key: table.shown("tokenizer"),
            expected: "the path of a tokenizer.json".to_owned(),
            doc: "A random start has no tokenizer of its own.",
        };
        table.reading.report(table.spot, error);
    }
    Some(ModelSource {
        start: start?,
        tokenizer: tokenizer.map(|tokenizer| tokenizer.value),
        weights: weights?.value,
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

/// The rows of a source or a validation set.
fn source(table: &Section, name: String) -> Option<Source> {
    let origin = match table.one_of("path") {
        Some("path") => table.path("path").map(|path| Origin::Path(path.value)),
        Some(_) => table.table_if_present("generated").and_then(|generated| {
            let kind = generated.choice("kind", Generator::from_name);
            let rows = generated.count("rows");
            let seed = generated.count("seed");
            Some(Origin::Generated { kind: kind?.value, rows: rows?.value, seed: seed?.value })
        }),
        None => None,
    };
    let text = table.text("text");
    let filter = table.text("where");
    let add_eos = table.flag("add_eos");
    let add_bos = table.flag("add_bos");
    Some(Source {
        name,
        origin: origin?,
        text: text?.value,
        filter: filter.map(|filter| filter.value),
        add_eos: add_eos?.value,
        add_bos: add_bos.map(|add_bos| add_bos.value),
    })
}

fn only_stage(root: &Section, sources: &Sources, model: Option<&ModelSource>) -> Option<Stage> {
    let stages = root.tables("stages");
    if !root.has("stages") || (stages.is_empty() && root.is_empty_list("stages")) {
        let error = RecipeError::Missing {
            key: "stages".to_owned(),
            expected: "one `[[stages]]` table".to_owned(),
            doc: "What is trained, for how long and at which learning rate.",
        };
        root.reading.report(root.spot, error);
    }
    for (index, extra) in stages.iter().enumerate().skip(1) {
        let advice = "keep one stage for now, and continue from its model in a recipe of its own";
        root.reading.object(extra.spot, &format!("stages[{index}]"), "is one stage too many", advice);
    }
    stage(stages.first()?, sources, model)
}

fn stage(table: &Section, sources: &Sources, model: Option<&ModelSource>) -> Option<Stage> {
    let object = |spot, name: &str, reason: String, advice: &str| {
        table.reading.object(spot, &table.shown(name), reason, advice);
    };
    let name = table.text("name");
    if let Some(name) = &name {
        check_name(table, name.spot, &table.shown("name"), &name.value);
    }
    let sequence = table.count("sequence_length");
    let batch = table.count("batch_tokens");
    let micro = if table.has("micro_batch_tokens") { table.count("micro_batch_tokens") } else { batch };
    if let (Some(batch), Some(micro)) = (batch, micro)
        && batch.value % micro.value != 0
    {
        let reason = format!("is {}, not a multiple of micro_batch_tokens {}", batch.value, micro.value);
        object(
            batch.spot,
            "batch_tokens",
            reason,
            "a step is made of whole micro-batches: change one of them",
        );
    }
    if let (Some(micro), Some(sequence)) = (micro, sequence)
        && micro.value % sequence.value != 0
    {
        let name = if table.has("micro_batch_tokens") { "micro_batch_tokens" } else { "batch_tokens" };
        let reason = format!("is {}, not a multiple of sequence_length {}", micro.value, sequence.value);
        object(micro.spot, name, reason, "a batch is made of whole sequences: change one of them");
    }
    let longest = match model.map(|model| &model.start) {
        Some(ModelStart::Config(config)) => {
            config.get("max_position_embeddings").and_then(|longest| longest.as_u64())
        }
        _ => None,
    };
    if let (Some(sequence), Some(longest)) = (sequence, longest)
        && sequence.value > longest
    {
        let reason =
            format!("is {}, more than the model's max_position_embeddings {longest}", sequence.value);
        object(sequence.spot, "sequence_length", reason, "shorten it or raise max_position_embeddings");
    }
    let steps = match table.one_of("steps") {
        Some("steps") => table.count("steps"),
        Some(_) => table
            .count("tokens")
            .and_then(|tokens| Some(At { value: tokens.value.div_ceil(batch?.value), spot: tokens.spot })),
        None => None,
    };
    let source = mixture(table, sources);
    let order = table.choice("order", Order::from_name);
    let document_mask = table.flag("document_mask");
    let schedule = schedule(&table.table("schedule"), steps);
    Some(Stage {
        name: name?.value,
        sequence_length: sequence?.value,
        batch_tokens: batch?.value,
        micro_batch_tokens: micro?.value,
        source: source?,
        order: order?.value,
        document_mask: document_mask?.value,
        schedule: schedule?,
    })
}

/// The one source that is trained on.
fn mixture(table: &Section, sources: &Sources) -> Option<String> {
    let names: Vec<&str> = sources.keys().map(String::as_str).collect();
    let shown = table.shown("mixture");
    let reading = table.reading;
    let Some(shares) = table.shares("mixture") else {
        if !table.has("mixture") {
            match names[..] {
                [only] => return Some(only.to_owned()),
                [] => reading.object(
                    table.spot,
                    &shown,
                    "has no source to draw from",
                    "add a `[data.sources.NAME]`",
                ),
                _ => reading.object(
                    table.spot,
                    &shown,
                    format!("is missing, and there are {} sources", names.len()),
                    format!("name one: {}", quoted(&names, ", ")),
                ),
            }
        }
        return None;
    };
    for (name, share) in &shares.value {
        if !names.contains(&name.as_str()) {
            let advice = match nearest(name, &names) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None if names.is_empty() => "add a `[data.sources.NAME]`".to_owned(),
                None => format!("there is {}", quoted(&names, ", ")),
            };
            reading.object(share.spot, &shown, format!("names `{name}`, which is no source"), advice);
        }
    }
    match &shares.value[..] {
        [(only, _)] => Some(only.clone()),
        several => {
            let reason = format!("has {} sources", several.len());
            reading.object(shares.spot, &shown, reason, "one source for now: keep one of them");
            None
        }
    }
}

fn schedule(table: &Section, steps: Option<At<u64>>) -> Option<Schedule> {
    let shape = table.choice("shape", Shape::from_name);
    let lr = table.number("lr");
    let final_lr = table.number("final_lr");
    let warmup = table.count("warmup_steps");
    let constant = shape.is_some_and(|shape| shape.value == Shape::Constant);
    if let (true, Some(end)) = (constant, final_lr) {
        let advice = "remove it or choose another shape";
        table.reading.object(
            end.spot,
            &table.shown("final_lr"),
            "means nothing where the shape is constant",
            advice,
        );
    }
    if let (Some(warmup), Some(steps)) = (warmup, steps)
        && warmup.value > steps.value
    {
        let reason = format!("is {}, more than the stage's {} steps", warmup.value, steps.value);
        table.reading.object(warmup.spot, &table.shown("warmup_steps"), reason, "shorten it or train longer");
    }
    let lr = lr?.value;
    Some(Schedule {
        shape: shape?.value,
        lr,
        final_lr: if constant { lr } else { final_lr.map_or(0.0, |end| end.value) },
        warmup_steps: warmup?.value,
        steps: steps?.value,
    })
}

fn optimizer(table: &Section) -> Option<Optimizer> {
    let betas = table.pair("betas");
    let eps = table.number("eps");
    let weight_decay = table.number("weight_decay");
    let clip = table.number("clip");
    Some(Optimizer {
        betas: betas?.value,
        eps: eps?.value,
        weight_decay: weight_decay?.value,
        clip: Some(clip?.value).filter(|clip| *clip > 0.0),
    })
}

fn validations(root: &Section, sources: &Sources) -> Option<Vec<Validation>> {
    let mut seen: Vec<String> = Vec::new();
    let mut validations = Vec::new();
    for table in root.tables("validation") {
        let name = table.text("name");
        if let Some(name) = &name {
            let shown = table.shown("name");
            check_name(&table, name.spot, &shown, &name.value);
            if seen.contains(&name.value) {
                let reason = format!("is `{}`, as another validation set is called", name.value);
                table.reading.object(name.spot, &shown, reason, "give each its own name");
            }
            seen.push(name.value.clone());
        }
        let held_out = source(&table, name.map(|name| name.value).unwrap_or_default());
        if let Some(held_out) = &held_out {
            is_held_out(&table, held_out, sources);
        }
        let every_steps = table.count("every_steps");
        let max_tokens = table.count("max_tokens");
        validations.push((|| {
            Some(Validation {
                source: held_out.filter(|source| !source.name.is_empty())?,
                every_steps: every_steps?.value,
                max_tokens: max_tokens.map(|tokens| tokens.value),
            })
        })());
    }
    validations.into_iter().collect()
}

/// Generated rows are held out only where their seed is not that of a source.
fn is_held_out(table: &Section, held_out: &Source, sources: &Sources) {
    let Origin::Generated { kind, seed, .. } = held_out.origin else { return };
    let same = sources.values().flatten().find(|source| match source.origin {
        Origin::Generated { kind: other, seed: other_seed, .. } => (other, other_seed) == (kind, seed),
        Origin::Path(_) => false,
    });
    if let Some(same) = same {
        let reason = format!("makes the rows of the source `{}`: both have seed {seed}", same.name);
        let spot = table.spot_of("generated");
        table.reading.object(spot, &table.shown("generated"), reason, "give it another seed");
    }
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

/// Names become parts of metric and file names.
fn check_name(table: &Section, spot: Spot, shown: &str, name: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
        let shown = shown.trim_end_matches('.');
        let reason = "is not a plain name";
        let advice = "use up to 64 letters, digits, `-`, `_` and `.`, not beginning with `.`";
        table.reading.object(spot, shown, reason, advice);
    }
}

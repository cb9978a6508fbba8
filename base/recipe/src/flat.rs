//! A recipe as a list of keys and values, in the order of the table of keys: what is written out, hashed and
//! compared.

use std::fmt::{Display, Write};
use std::path::Path;

use serde_json::Value as Json;

use crate::keys::{Key, Table};
use crate::recipe::{Data, ModelSource, ModelStart, OnNonFinite, Origin, Recipe, Source, Stage};
use crate::schedule::Shape;

/// Tables of which each element is one thing.
const ELEMENTS: [&str; 3] = ["data.sources.*", "stages[]", "validation[]"];

/// One table of a recipe.
#[derive(Debug)]
pub(crate) struct Block {
    pub table: &'static Table,
    /// As in a file: `[run]`, `[[stages]]`.
    pub header: String,
    /// As people see it: `run`, `stages[0]`, `validation[held-out]`.
    pub shown: String,
    /// Of what stands in any number, the one that this table is or is part of, as people see it.
    pub element: Option<String>,
    pub lines: Vec<Line>,
}

/// One key and its value.
#[derive(Debug)]
pub(crate) struct Line {
    pub key: &'static Key,
    /// As TOML.
    pub value: String,
    /// As TOML, without what depends on the machine: the last part of a path.
    pub elsewhere: String,
}

impl Recipe {
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut out = Flat { blocks: Vec::new() };
        out.table("run", "[run]", "run");
        out.path("dir", &self.run.dir);
        out.plain("seed", self.run.seed);
        out.text("device", self.run.device.name());
        out.optional("threads", self.run.threads);
        out.text("forward", self.run.forward.name());
        out.model(&self.model);
        if self.rl.is_none() {
            out.data(&self.data);
        }
        for source in &self.sources {
            let name = key_name(&source.name);
            let header = format!("data.sources.{name}");
            let shown = format!("data.sources.{}", source.name);
            out.table("data.sources.*", &format!("[{header}]"), &shown);
            out.rows(source);
            out.plain("restart", source.restart);
            let nested = format!("[{header}.generated]");
            out.generated(source, "data.sources.*.generated", &nested, &shown);
        }
        for (index, stage) in self.stages.iter().enumerate() {
            out.stage(index, stage);
        }
        out.table("optimizer", "[optimizer]", "optimizer");
        let [first, second] = self.optimizer.betas;
        out.plain("betas", format_args!("[{first:?}, {second:?}]"));
        out.number("eps", self.optimizer.eps);
        out.number("weight_decay", self.optimizer.weight_decay);
        out.number("clip", self.optimizer.clip.unwrap_or(0.0));
        out.text("moments", self.optimizer.moments.name());
        out.table("memory", "[memory]", "memory");
        out.text("recompute", self.memory.recompute.name());
        out.watching(self);
        out.blocks
    }
}

pub(crate) struct Flat {
    blocks: Vec<Block>,
}

impl Flat {
    fn data(&mut self, data: &Data) {
        self.table("data", "[data]", "data");
        let ranges = data.skip_steps.iter().map(|range| match range.start() == range.end() {
            true => format!("\"{}\"", range.start()),
            false => format!("\"{}-{}\"", range.start(), range.end()),
        });
        self.list("skip_steps", ranges);
        match data.on_nonfinite {
            OnNonFinite::Stop => self.text("on_nonfinite", "stop"),
            OnNonFinite::Skip { at_most } => {
                self.text("on_nonfinite", "skip");
                self.plain("max_skips", at_most);
            }
        }
    }

    fn model(&mut self, model: &ModelSource) {
        self.table("model", "[model]", "model");
        match &model.start {
            ModelStart::From(path) => self.path("from", path),
            ModelStart::ConfigFile(path) => self.path("config", path),
            ModelStart::Config(_) => {}
        }
        if let Some(tokenizer) = &model.tokenizer {
            self.path("tokenizer", tokenizer);
        }
        self.text("weights", model.weights.name());
        self.text("optimizer_state", model.optimizer_state.name());
        if let ModelStart::Config(config) = &model.start {
            self.table("model.config", "[model.config]", "model.config");
            self.json(config);
            if let Some(Json::Object(scaling)) = config.get("rope_scaling") {
                let path = "model.config.rope_scaling";
                self.table(path, "[model.config.rope_scaling]", path);
                self.json(scaling);
            }
        }
    }

    fn stage(&mut self, index: usize, stage: &Stage) {
        self.table("stages[]", "[[stages]]", &format!("stages[{index}]"));
        self.text("name", &stage.name);
        self.plain("steps", stage.schedule.steps);
        self.plain("sequence_length", stage.sequence_length);
        self.plain("batch_tokens", stage.batch_tokens);
        self.plain("micro_batch_tokens", stage.micro_batch_tokens);
        let shares: Vec<String> = stage
            .mixture
            .iter()
            .map(|share| format!("{} = {:?}", key_name(&share.source), share.share))
            .collect();
        self.plain("mixture", format_args!("{{ {} }}", shares.join(", ")));
        self.text("order", stage.order.name());
        self.plain("document_mask", stage.document_mask);
        self.table("stages[].schedule", "[stages.schedule]", &format!("stages[{index}].schedule"));
        self.text("shape", stage.schedule.shape.name());
        self.number("lr", stage.schedule.lr);
        if stage.schedule.shape != Shape::Constant {
            self.number("final_lr", stage.schedule.final_lr);
        }
        self.plain("warmup_steps", stage.schedule.warmup_steps);
    }

    /// What measures, saves and tells, and changes no step.
    fn watching(&mut self, recipe: &Recipe) {
        for validation in &recipe.validation {
            let shown = format!("validation[{}]", validation.source.name);
            self.table("validation[]", "[[validation]]", &shown);
            self.text("name", &validation.source.name);
            self.plain("every_steps", validation.every_steps);
            self.optional("max_tokens", validation.max_tokens);
            self.rows(&validation.source);
            self.generated(&validation.source, "validation[].generated", "[validation.generated]", &shown);
        }
        if let Some(samples) = &recipe.samples {
            self.table("samples", "[samples]", "samples");
            self.list("prompts", samples.prompts.iter().map(|prompt| quoted(prompt)));
            self.plain("every_steps", samples.every_steps);
            self.plain("max_new_tokens", samples.max_new_tokens);
            self.number("temperature", samples.temperature);
            self.optional("top_k", samples.top_k);
            self.number("top_p", samples.top_p);
            self.number("min_p", samples.min_p);
        }
        if let Some(rl) = &recipe.rl {
            self.rl(rl);
        }
        self.table("checkpoints", "[checkpoints]", "checkpoints");
        self.number("every_minutes", recipe.checkpoints.every_minutes.unwrap_or(0.0));
        self.optional("every_steps", recipe.checkpoints.every_steps);
        self.optional("every_tokens", recipe.checkpoints.every_tokens);
        self.plain("keep", recipe.checkpoints.keep);
        self.optional("milestones", recipe.checkpoints.milestones);
        self.optional("milestone_state", recipe.checkpoints.milestone_state);
        self.table("log", "[log]", "log");
        self.plain("every_steps", recipe.log.every_steps);
        self.plain("tensorboard", recipe.log.tensorboard);
        for (index, sink) in recipe.log.sinks.iter().enumerate() {
            self.table("log.sinks[]", "[[log.sinks]]", &format!("log.sinks[{index}]"));
            self.list("command", sink.command.iter().map(|part| quoted(part)));
        }
    }

    pub(crate) fn table(&mut self, path: &str, header: &str, shown: &str) {
        if let Some(table) = Table::at(path) {
            let (header, shown) = (header.to_owned(), shown.to_owned());
            let within = |several: &&str| path.starts_with(*several);
            let element = match (ELEMENTS.contains(&path), ELEMENTS.iter().any(within)) {
                (true, _) => Some(shown.clone()),
                (false, true) => self.blocks.last().and_then(|block| block.element.clone()),
                (false, false) => None,
            };
            self.blocks.push(Block { table, header, shown, element, lines: Vec::new() });
        }
    }

    fn line(&mut self, name: &str, value: String, elsewhere: String) {
        if let Some(block) = self.blocks.last_mut()
            && let Some(key) = block.table.key(name)
        {
            block.lines.push(Line { key, value, elsewhere });
        }
    }

    pub(crate) fn plain(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        self.line(name, value.clone(), value);
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.plain(name, quoted(value));
    }

    /// The shortest digits that give the same number again.
    pub(crate) fn number(&mut self, name: &str, value: f64) {
        self.plain(name, format_args!("{value:?}"));
    }

    pub(crate) fn optional(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.plain(name, value);
        }
    }

    pub(crate) fn list(&mut self, name: &str, values: impl Iterator<Item = String>) {
        let values: Vec<String> = values.collect();
        self.plain(name, format_args!("[{}]", values.join(", ")));
    }

    pub(crate) fn path(&mut self, name: &str, path: &Path) {
        let last = path.file_name().map_or(path, Path::new);
        self.line(name, quoted(&path.to_string_lossy()), quoted(&last.to_string_lossy()));
    }

    fn rows(&mut self, source: &Source) {
        if let Origin::Path(path) = &source.origin {
            self.path("path", path);
        }
        self.text("text", &source.text);
        if let Some(filter) = &source.filter {
            self.text("where", filter);
        }
        self.plain("add_eos", source.add_eos);
        if let Some(add_bos) = source.add_bos {
            self.plain("add_bos", add_bos);
        }
    }

    fn generated(&mut self, source: &Source, path: &str, header: &str, shown: &str) {
        if let Origin::Generated { kind, rows, seed } = &source.origin {
            self.table(path, header, &format!("{shown}.generated"));
            self.text("kind", kind.name());
            self.plain("rows", rows);
            self.plain("seed", seed);
        }
    }

    /// The keys of the present table that `config` has, in the order of their declaration.
    fn json(&mut self, config: &serde_json::Map<String, Json>) {
        let table = self.blocks.last().map(|block| block.table);
        for key in table.into_iter().flat_map(Table::keys) {
            match config.get(key.name) {
                Some(Json::String(text)) => self.text(key.name, text),
                Some(Json::Number(number)) => match number.as_u64() {
                    Some(count) => self.plain(key.name, count),
                    None => self.number(key.name, number.as_f64().unwrap_or_default()),
                },
                Some(Json::Bool(flag)) => self.plain(key.name, flag),
                _ => {}
            }
        }
    }
}

/// A name as a TOML key.
fn key_name(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// Text as a TOML string on one line.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        let _ = match letter {
            '"' | '\\' => write!(quoted, "\\{letter}"),
            '\n' => write!(quoted, "\\n"),
            '\t' => write!(quoted, "\\t"),
            control if control.is_control() => write!(quoted, "\\u{:04X}", u32::from(control)),
            plain => write!(quoted, "{plain}"),
        };
    }
    quoted.push('"');
    quoted
}

//! A recipe as TOML, and the hash of what it makes a run compute.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value as Json;
use xxhash_rust::xxh3::xxh3_128;

use crate::keys::{Class, Kind, Table};
use crate::recipe::{ModelStart, Origin, Recipe, Source};
use crate::schedule::Shape;

impl Recipe {
    /// The resolved recipe: every default written out and every path absolute. Loaded again, from whichever
    /// folder, it gives an equal recipe.
    #[must_use]
    pub fn to_toml(&self) -> String {
        self.write(false)
    }

    /// A hash of what the recipe makes a run compute, as 32 hexadecimal digits. It leaves out `run.dir` and what
    /// a resumed run is free to change, and takes the last part of each path in place of the whole: the same
    /// recipe in another folder or on another machine has the same hash.
    #[must_use]
    pub fn content_hash(&self) -> String {
        format!("{:032x}", xxh3_128(self.write(true).as_bytes()))
    }

    fn write(&self, for_hash: bool) -> String {
        let mut out = Writer { out: String::new(), table: None, for_hash };
        out.table("run", "[run]");
        out.path("dir", &self.run.dir);
        out.plain("seed", self.run.seed);
        out.text("device", self.run.device.name());
        out.optional("threads", self.run.threads);
        out.text("forward", self.run.forward.name());

        out.table("model", "[model]");
        match &self.model.start {
            ModelStart::From(path) => out.path("from", path),
            ModelStart::ConfigFile(path) => out.path("config", path),
            ModelStart::Config(_) => {}
        }
        if let Some(tokenizer) = &self.model.tokenizer {
            out.path("tokenizer", tokenizer);
        }
        out.text("weights", self.model.weights.name());
        if let ModelStart::Config(config) = &self.model.start {
            out.table("model.config", "[model.config]");
            out.json(config);
            if let Some(Json::Object(scaling)) = config.get("rope_scaling") {
                out.table("model.config.rope_scaling", "[model.config.rope_scaling]");
                out.json(scaling);
            }
        }

        for source in &self.sources {
            let name = key_name(&source.name);
            out.table("data.sources.*", &format!("[data.sources.{name}]"));
            out.rows(source);
            out.generated(source, "data.sources.*.generated", &format!("[data.sources.{name}.generated]"));
        }

        let stage = &self.stage;
        out.table("stages[]", "[[stages]]");
        out.text("name", &stage.name);
        out.plain("steps", stage.schedule.steps);
        out.plain("sequence_length", stage.sequence_length);
        out.plain("batch_tokens", stage.batch_tokens);
        out.plain("micro_batch_tokens", stage.micro_batch_tokens);
        out.plain("mixture", format_args!("{{ {} = 1.0 }}", key_name(&stage.source)));
        out.text("order", stage.order.name());
        out.plain("document_mask", stage.document_mask);
        out.table("stages[].schedule", "[stages.schedule]");
        out.text("shape", stage.schedule.shape.name());
        out.number("lr", stage.schedule.lr);
        if stage.schedule.shape != Shape::Constant {
            out.number("final_lr", stage.schedule.final_lr);
        }
        out.plain("warmup_steps", stage.schedule.warmup_steps);

        out.table("optimizer", "[optimizer]");
        let [first, second] = self.optimizer.betas;
        out.plain("betas", format_args!("[{first:?}, {second:?}]"));
        out.number("eps", self.optimizer.eps);
        out.number("weight_decay", self.optimizer.weight_decay);
        out.number("clip", self.optimizer.clip.unwrap_or(0.0));

        if for_hash {
            return out.out; // what follows measures and tells, and changes no step
        }
        for validation in &self.validation {
            out.table("validation[]", "[[validation]]");
            out.text("name", &validation.source.name);
            out.plain("every_steps", validation.every_steps);
            out.optional("max_tokens", validation.max_tokens);
            out.rows(&validation.source);
            out.generated(&validation.source, "validation[].generated", "[validation.generated]");
        }
        if let Some(samples) = &self.samples {
            out.table("samples", "[samples]");
            let prompts: Vec<String> = samples.prompts.iter().map(|prompt| quoted(prompt)).collect();
            out.plain("prompts", format_args!("[{}]", prompts.join(", ")));
            out.plain("every_steps", samples.every_steps);
            out.plain("max_new_tokens", samples.max_new_tokens);
            out.number("temperature", samples.temperature);
            out.optional("top_k", samples.top_k);
            out.number("top_p", samples.top_p);
            out.number("min_p", samples.min_p);
        }
        out.table("log", "[log]");
        out.plain("every_steps", self.log.every_steps);
        out.out
    }
}

struct Writer {
    out: String,
    table: Option<&'static Table>,
    for_hash: bool,
}

impl Writer {
    fn table(&mut self, path: &str, header: &str) {
        self.table = Table::at(path);
        let gap = if self.out.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.out, "{gap}{header}"); // writing to a String cannot fail
    }

    fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        let key = self.table.and_then(|table| table.key(name));
        let counts = key.is_some_and(|key| key.class != Class::Free || key.kind == Kind::Path);
        if counts || !self.for_hash {
            let _ = writeln!(self.out, "{name} = {value}");
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.plain(name, quoted(value));
    }

    /// The shortest digits that give the same number again.
    fn number(&mut self, name: &str, value: f64) {
        self.plain(name, format_args!("{value:?}"));
    }

    fn optional(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.plain(name, value);
        }
    }

    fn path(&mut self, name: &str, path: &Path) {
        let path = if self.for_hash { path.file_name().map_or(path, Path::new) } else { path };
        self.text(name, &path.to_string_lossy());
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

    fn generated(&mut self, source: &Source, path: &str, header: &str) {
        if let Origin::Generated { kind, rows, seed } = &source.origin {
            self.table(path, header);
            self.text("kind", kind.name());
            self.plain("rows", rows);
            self.plain("seed", seed);
        }
    }

    /// The keys of the present table that `config` has, in the order of their declaration.
    fn json(&mut self, config: &serde_json::Map<String, Json>) {
        for key in self.table.into_iter().flat_map(Table::keys) {
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
fn quoted(text: &str) -> String {
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

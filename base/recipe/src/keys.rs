//! Every key a recipe may hold, declared once: type, default, what a resumed run may change, meaning.
//!
//! The reader looks here for names, types and defaults, the writer for what a content hash covers, and
//! `docs/recipe.md` is this table in prose. A key stands here only when something obeys it.

use crate::recipe::{Device, Forward, Generator, Order, Weights};
use crate::schedule::Shape;

/// One table of a recipe.
#[derive(Debug)]
pub struct Table {
    /// Where it stands: `optimizer`, `data.sources.*` (one for each name), `stages[]` (one for each element).
    pub path: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// What it may hold besides tables.
    pub keys: &'static [&'static [Key]],
}

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// Whether it may be left out, and what holds then.
    pub presence: Presence,
    /// What a resumed run may do with it.
    pub class: Class,
    /// What it means.
    pub doc: &'static str,
}

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A whole number of at least this, or text with a suffix (`"64k"`).
    Count(u64),
    /// A number.
    Number(Bounds),
    /// Two numbers.
    Pair(Bounds),
    /// `true` or `false`.
    Flag,
    /// Text that is not empty.
    Text,
    /// A list of texts, not empty.
    Texts,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The path of something that exists.
    Path,
    /// The path of something that the run makes.
    NewPath,
    /// The path of something that exists, or a table.
    PathOrTable,
    /// A table of source names, each with its share.
    Shares,
}

/// Which numbers will do. All are finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// At least 0.
    NotNegative,
    /// More than 0.
    Positive,
    /// At least 0 and less than 1.
    BelowOne,
    /// More than 0 and at most 1.
    UpToOne,
}

/// Whether a key may be left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Presence {
    /// It must be there.
    Required,
    /// Exactly one key of this group in its table must be there.
    OneOf(&'static [&'static str]),
    /// Left out, it has this value, written as in TOML.
    Default(&'static str),
    /// Left out, this holds.
    Optional(&'static str),
}

/// What a resumed run may do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Change it: no step already taken would have been another. Paths may change, their content may not.
    Free,
    /// Change it when asked by name, on the record.
    Accepted,
    /// Not change it.
    Never,
}

impl Bounds {
    pub(crate) fn admits(self, number: f64) -> bool {
        number.is_finite()
            && match self {
                Bounds::NotNegative => number >= 0.0,
                Bounds::Positive => number > 0.0,
                Bounds::BelowOne => (0.0..1.0).contains(&number),
                Bounds::UpToOne => number > 0.0 && number <= 1.0,
            }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Bounds::NotNegative => "at least 0",
            Bounds::Positive => "more than 0",
            Bounds::BelowOne => "at least 0 and less than 1",
            Bounds::UpToOne => "more than 0 and at most 1",
        }
    }
}

impl Kind {
    pub(crate) fn describe(self) -> String {
        match self {
            Kind::Count(0) => "a count".to_owned(),
            Kind::Count(least) => format!("a count of at least {least}"),
            Kind::Number(bounds) => format!("a number, {}", bounds.describe()),
            Kind::Pair(bounds) => format!("two numbers, {}", bounds.describe()),
            Kind::Flag => "true or false".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Texts => "a list of texts".to_owned(),
            Kind::Choice(names) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
                match quoted.split_last() {
                    Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                    _ => quoted.concat(),
                }
            }
            Kind::Path | Kind::NewPath => "a path".to_owned(),
            Kind::PathOrTable => "a path or a table".to_owned(),
            Kind::Shares => "a table of shares".to_owned(),
        }
    }

    /// How to write such a value, where a type alone does not say it.
    pub(crate) fn advice(self) -> Option<&'static str> {
        match self {
            Kind::Count(_) => {
                Some("write a whole number, as in 64_000, or text with a suffix, as in \"64k\"")
            }
            Kind::Shares => Some("write a name and its share, as in { NAME = 1.0 }"),
            Kind::Texts => Some("write [\"…\"]"),
            _ => None,
        }
    }
}

impl Table {
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().flat_map(|group| group.iter())
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }

    pub(crate) fn at(path: &str) -> Option<&'static Table> {
        TABLES.iter().find(|table| table.path == path)
    }
}

/// The path, as in [`Table::path`], of what stands under `name` in the table at `path`; `None` where no table may
/// stand there.
pub(crate) fn table_under(path: &str, name: &str) -> Option<String> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    [format!("{prefix}{name}"), format!("{prefix}{name}[]"), format!("{prefix}*")].into_iter().find(
        |candidate| {
            TABLES.iter().any(|table| {
                table
                    .path
                    .strip_prefix(candidate.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        },
    )
}

/// The names that may stand in the table at `path`, keys and tables alike.
pub(crate) fn names_in(path: &str) -> Vec<&'static str> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    let tables = TABLES.iter().filter_map(|table| {
        let name = table.path.strip_prefix(&prefix)?.split('.').next()?;
        let name = name.strip_suffix("[]").unwrap_or(name);
        (!name.is_empty() && name != "*").then_some(name)
    });
    let mut names: Vec<&str> =
        Table::at(path).into_iter().flat_map(Table::keys).map(|key| key.name).chain(tables).collect();
    names.sort_unstable();
    names.dedup();
    names
}

use Class::{Accepted, Free, Never};
use Presence::{Default, OneOf, Optional, Required};

const fn key(name: &'static str, kind: Kind, presence: Presence, class: Class, doc: &'static str) -> Key {
    Key { name, kind, presence, class, doc }
}

/// What a source and a validation set have in common.
static ROWS: &[Key] = &[
    key("path", Kind::Path, OneOf(&["path", "generated"]), Free, "A JSONL or text file."),
    key(
        "text",
        Kind::Text,
        Default("\"{{ text }}\""),
        Accepted,
        "The document made of a row: a minijinja template over its fields.",
    ),
    key(
        "where",
        Kind::Text,
        Optional("every row"),
        Accepted,
        "A minijinja expression: rows for which it is false are left out.",
    ),
    key(
        "add_eos",
        Kind::Flag,
        Default("true"),
        Accepted,
        "Whether each document ends with the end-of-sequence token.",
    ),
    key(
        "add_bos",
        Kind::Flag,
        Optional("as the tokenizer's post-processor does"),
        Accepted,
        "Whether each document begins with the beginning-of-sequence token.",
    ),
];

static GENERATED: &[Key] = &[
    key(
        "kind",
        Kind::Choice(Generator::NAMES),
        Required,
        Accepted,
        "What is made: `word-problems` gives rows with `question` and `answer`.",
    ),
    key("rows", Kind::Count(1), Required, Accepted, "How many rows."),
    key(
        "seed",
        Kind::Count(0),
        Default("1"),
        Accepted,
        "Which rows: training and held-out rows need different seeds.",
    ),
];

const GENERATED_DOC: &str = "Rows that the program makes up, instead of `path`.";

/// Every table, in the order of the documentation.
pub static TABLES: &[Table] = &[
    Table {
        path: "",
        doc: "What stands before the first table.",
        keys: &[&[key(
            "extends",
            Kind::Path,
            Optional("nothing"),
            Free,
            "A recipe that this one changes: tables are merged key by key, lists are replaced whole.",
        )]],
    },
    Table {
        path: "run",
        doc: "Where and how the run works.",
        keys: &[&[
            key("dir", Kind::NewPath, Required, Free, "The folder of everything the run writes."),
            key("seed", Kind::Count(0), Default("1"), Accepted, "Of data order and random starts."),
            key(
                "device",
                Kind::Choice(Device::NAMES),
                Default("\"auto\""),
                Accepted,
                "Where it computes; `auto` takes a GPU where there is one.",
            ),
            key(
                "threads",
                Kind::Count(1),
                Optional("all there are"),
                Free,
                "CPU threads. No result depends on it.",
            ),
            key(
                "forward",
                Kind::Choice(Forward::NAMES),
                Default("\"fastest\""),
                Accepted,
                "`invariant` keeps to kernels whose bits do not depend on what else is in the batch.",
            ),
        ]],
    },
    Table {
        path: "model",
        doc: "What is trained.",
        keys: &[&[
            key(
                "from",
                Kind::Path,
                OneOf(&["from", "config"]),
                Never,
                "A Hugging Face folder to start from.",
            ),
            key(
                "config",
                Kind::PathOrTable,
                OneOf(&["from", "config"]),
                Never,
                "A `config.json`, or a table of its keys, for a random start.",
            ),
            key(
                "tokenizer",
                Kind::Path,
                Optional("the model's own; required with `config`"),
                Never,
                "A `tokenizer.json`.",
            ),
            key(
                "weights",
                Kind::Choice(Weights::NAMES),
                Default("\"auto\""),
                Never,
                "How weights are held in memory.",
            ),
        ]],
    },
    Table {
        path: "model.config",
        doc: "The shape of a random start, by the names of a Hugging Face `config.json`.",
        keys: &[&[
            key("model_type", Kind::Choice(&["llama", "qwen2"]), Required, Never, "The family."),
            key(
                "vocab_size",
                Kind::Count(1),
                Required,
                Never,
                "Rows of the embedding: at least the tokenizer's ids.",
            ),
            key("hidden_size", Kind::Count(1), Required, Never, "Width of the residual stream."),
            key("intermediate_size", Kind::Count(1), Required, Never, "Width of the feed-forward part."),
            key("num_hidden_layers", Kind::Count(1), Required, Never, "Layers."),
            key("num_attention_heads", Kind::Count(1), Required, Never, "Query heads."),
            key(
                "num_key_value_heads",
                Kind::Count(1),
                Optional("`num_attention_heads`"),
                Never,
                "Key and value heads.",
            ),
            key(
                "head_dim",
                Kind::Count(2),
                Optional("`hidden_size / num_attention_heads`"),
                Never,
                "Width of a head.",
            ),
            key("max_position_embeddings", Kind::Count(1), Required, Never, "The longest sequence."),
            key(
                "rms_norm_eps",
                Kind::Number(Bounds::Positive),
                Default("1e-5"),
                Never,
                "Added to the mean square in norms.",
            ),
            key(
                "rope_theta",
                Kind::Number(Bounds::Positive),
                Default("10000.0"),
                Never,
                "Base of the rotary frequencies.",
            ),
            key(
                "tie_word_embeddings",
                Kind::Flag,
                Default("false"),
                Never,
                "Whether the head is the embedding.",
            ),
            key(
                "initializer_range",
                Kind::Number(Bounds::Positive),
                Default("0.02"),
                Never,
                "Standard deviation of random weights.",
            ),
        ]],
    },
    Table {
        path: "model.config.rope_scaling",
        doc: "Longer contexts by slower rotation; left out, there is none.",
        keys: &[&[
            key("rope_type", Kind::Choice(&["llama3"]), Required, Never, "The method."),
            key(
                "factor",
                Kind::Number(Bounds::Positive),
                Required,
                Never,
                "By how much low frequencies slow down.",
            ),
            key("low_freq_factor", Kind::Number(Bounds::Positive), Required, Never, "Where slowing is full."),
            key("high_freq_factor", Kind::Number(Bounds::Positive), Required, Never, "Where slowing begins."),
            key(
                "original_max_position_embeddings",
                Kind::Count(1),
                Required,
                Never,
                "The context before scaling.",
            ),
        ]],
    },
    Table { path: "data.sources.*", doc: "What may be trained on, each under its own name.", keys: &[ROWS] },
    Table { path: "data.sources.*.generated", doc: GENERATED_DOC, keys: &[GENERATED] },
    Table {
        path: "stages[]",
        doc: "What is done, in order. One stage for now.",
        keys: &[&[
            key("name", Kind::Text, Required, Free, "Its name."),
            key("steps", Kind::Count(1), OneOf(&["steps", "tokens"]), Accepted, "How many optimizer steps."),
            key(
                "tokens",
                Kind::Count(1),
                OneOf(&["steps", "tokens"]),
                Accepted,
                "How many tokens instead, rounded up to whole steps.",
            ),
            key("sequence_length", Kind::Count(1), Required, Accepted, "Tokens of a sequence."),
            key(
                "batch_tokens",
                Kind::Count(1),
                Required,
                Accepted,
                "Tokens of an optimizer step: a multiple of `micro_batch_tokens`.",
            ),
            key(
                "micro_batch_tokens",
                Kind::Count(1),
                Optional("`batch_tokens`"),
                Accepted,
                "Tokens of one forward and backward pass: a multiple of `sequence_length`. Smaller takes less memory.",
            ),
            key(
                "mixture",
                Kind::Shares,
                Optional("the only source"),
                Accepted,
                "The share of each source: `{ NAME = 1.0 }`. One source for now.",
            ),
            key(
                "order",
                Kind::Choice(Order::NAMES),
                Default("\"shuffled\""),
                Accepted,
                "`shuffled` anew in each epoch, or `sequential` as in the files.",
            ),
            key(
                "document_mask",
                Kind::Flag,
                Default("true"),
                Accepted,
                "Whether attention, positions and labels stop at document ends.",
            ),
        ]],
    },
    Table {
        path: "stages[].schedule",
        doc: "The learning rate. Warm-up is linear: step s, from 0, uses `lr · (s + 1) / warmup_steps`. The first step after it has `lr`, the last step of the stage `final_lr`.",
        keys: &[&[
            key(
                "shape",
                Kind::Choice(Shape::NAMES),
                Default("\"constant\""),
                Accepted,
                "The curve from `lr` to `final_lr`.",
            ),
            key("lr", Kind::Number(Bounds::NotNegative), Required, Accepted, "The peak."),
            key(
                "final_lr",
                Kind::Number(Bounds::NotNegative),
                Optional("0; not with `constant`"),
                Accepted,
                "The rate of the last step.",
            ),
            key(
                "warmup_steps",
                Kind::Count(0),
                Default("0"),
                Accepted,
                "Steps of warm-up, within the stage.",
            ),
        ]],
    },
    Table {
        path: "optimizer",
        doc: "AdamW.",
        keys: &[&[
            key(
                "betas",
                Kind::Pair(Bounds::BelowOne),
                Default("[0.9, 0.95]"),
                Accepted,
                "Decay of the first and second moments.",
            ),
            key(
                "eps",
                Kind::Number(Bounds::Positive),
                Default("1e-8"),
                Accepted,
                "Added to the root of the second moment.",
            ),
            key(
                "weight_decay",
                Kind::Number(Bounds::NotNegative),
                Default("0.1"),
                Accepted,
                "Of matrices alone: norms and biases have none.",
            ),
            key(
                "clip",
                Kind::Number(Bounds::NotNegative),
                Default("1.0"),
                Accepted,
                "The norm to which gradients are cut; 0 leaves them.",
            ),
        ]],
    },
    Table {
        path: "validation[]",
        doc: "What is measured on the way, and after the last step: `val_loss/NAME`. Any number.",
        keys: &[
            &[
                key("name", Kind::Text, Required, Free, "Its name."),
                key("every_steps", Kind::Count(1), Default("500"), Free, "Steps between two measurements."),
                key(
                    "max_tokens",
                    Kind::Count(1),
                    Optional("all there are"),
                    Free,
                    "The most tokens measured.",
                ),
            ],
            ROWS,
        ],
    },
    Table { path: "validation[].generated", doc: GENERATED_DOC, keys: &[GENERATED] },
    Table {
        path: "samples",
        doc: "What is written on the way, and after the last step, for a person to judge. Left out, there is none.",
        keys: &[&[
            key("prompts", Kind::Texts, Required, Free, "What the model continues."),
            key("every_steps", Kind::Count(1), Default("500"), Free, "Steps between two rounds."),
            key("max_new_tokens", Kind::Count(1), Default("64"), Free, "The most tokens of a continuation."),
            key(
                "temperature",
                Kind::Number(Bounds::NotNegative),
                Default("0.0"),
                Free,
                "0 takes the likeliest token.",
            ),
            key("top_k", Kind::Count(1), Optional("all"), Free, "How many of the likeliest tokens stay."),
            key(
                "top_p",
                Kind::Number(Bounds::UpToOne),
                Default("1.0"),
                Free,
                "The share of probability that stays.",
            ),
            key(
                "min_p",
                Kind::Number(Bounds::BelowOne),
                Default("0.0"),
                Free,
                "The least probability that stays, as a share of the likeliest token's.",
            ),
        ]],
    },
    Table {
        path: "log",
        doc: "How the run tells of itself.",
        keys: &[&[key(
            "every_steps",
            Kind::Count(1),
            Default("10"),
            Free,
            "Steps between two lines where there is no terminal for a progress bar. `metrics.jsonl` has every step.",
        )]],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_or_key_is_declared_twice() {
        for (at, table) in TABLES.iter().enumerate() {
            assert!(TABLES[at + 1..].iter().all(|other| other.path != table.path), "{}", table.path);
            let mut names: Vec<&str> = table.keys().map(|key| key.name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{}: {names:?}", table.path);
        }
    }

    #[test]
    fn groups_of_alternatives_name_each_other() {
        for table in TABLES {
            for key in table.keys() {
                if let OneOf(group) = key.presence {
                    assert!(group.contains(&key.name));
                    assert!(group.iter().all(|name| names_in(table.path).contains(name)));
                }
            }
        }
    }

    #[test]
    fn tables_are_found_under_names_lists_and_wildcards() {
        assert_eq!(table_under("", "run").as_deref(), Some("run"));
        assert_eq!(table_under("", "data").as_deref(), Some("data"));
        assert_eq!(table_under("data.sources", "gsm8k").as_deref(), Some("data.sources.*"));
        assert_eq!(table_under("", "stages").as_deref(), Some("stages[]"));
        assert_eq!(table_under("stages[]", "schedule").as_deref(), Some("stages[].schedule"));
        assert_eq!(table_under("optimizer", "eps"), None);
        assert_eq!(names_in("data"), ["sources"]);
        assert!(names_in("stages[]").contains(&"schedule"));
    }
}

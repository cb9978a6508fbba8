//! Every key a recipe may hold, declared once: type, default, what a resumed run may change, meaning.
//!
//! The reader looks here for names, types and defaults, the writer for what a content hash covers, and
//! `docs/recipe.md` is this table in prose. A key stands here only when something obeys it.

use crate::keys::Class::{Accepted, Free, Never};
use crate::keys::Presence::{Default, OneOf, Optional, Required};
use crate::keys::{Bounds, Class, Key, Kind, Presence, Table};
use crate::recipe::{
    Device, Forward, Generator, Moments, OnNonFinite, OptimizerState, Order, Recompute, Weights,
};
use crate::rl::table as rl;
use crate::schedule::Shape;

pub(crate) const fn key(
    name: &'static str,
    kind: Kind,
    presence: Presence,
    class: Class,
    doc: &'static str,
) -> Key {
    Key { name, kind, presence, class, doc }
}

/// What a source and a validation set have in common.
static ROWS: &[Key] = &[
    key(
        "path",
        Kind::Path,
        OneOf(&["path", "generated"]),
        Free,
        "A file, a folder or a pattern of files, of rows (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`, `.parquet`, `.txt`) or of tokenised shards (`.ds`), for which `text`, `where`, `add_eos` and `add_bos` mean nothing.",
    ),
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

pub(crate) static GENERATED: &[Key] = &[
    key(
        "kind",
        Kind::Choice(Generator::NAMES),
        Required,
        Accepted,
        "What is made: `word-problems` gives rows with `question` and `answer`; the others, which are small tasks, also with `solution` (what to write) and `data_source`.",
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

/// A learning rate.
pub(crate) static SCHEDULE: &[Key] = &[
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
    key("warmup_steps", Kind::Count(0), Default("0"), Accepted, "Steps of warm-up, within the stage."),
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
                "What to start from: a Hugging Face folder, or a checkpoint of ours (`…/checkpoints/step-…`, `…/checkpoints/latest`), whose sources go on where it stopped.",
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
            key(
                "optimizer_state",
                Kind::Choice(OptimizerState::NAMES),
                Default("\"fresh\""),
                Never,
                "`load` takes the optimizer's moments from the checkpoint of `from`; `fresh` begins at zero.",
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
    Table {
        path: "data",
        doc: "Steps to leave out. They are numbered from 1, as in messages and metrics: the data of a skipped step is passed over, and no weight moves.",
        keys: &[&[
            key(
                "skip_steps",
                Kind::Ranges,
                Default("[]"),
                Accepted,
                "Steps and ranges of steps that are skipped: `[\"500\", \"41200-41203\"]`.",
            ),
            key(
                "on_nonfinite",
                Kind::Choice(OnNonFinite::NAMES),
                Default("\"stop\""),
                Accepted,
                "What a loss or gradient that is not finite does: `stop` the run, or `skip` the step. Weights stay as they were.",
            ),
            key(
                "max_skips",
                Kind::Count(1),
                Optional("required with `skip`"),
                Accepted,
                "How many steps may be skipped so before the run stops all the same.",
            ),
        ]],
    },
    Table {
        path: "data.sources.*",
        doc: "What may be trained on, each under its own name. A source that no mixture names is not opened.",
        keys: &[
            ROWS,
            &[key(
                "restart",
                Kind::Flag,
                Default("false"),
                Accepted,
                "Whether each stage, and a branch, reads it from its beginning instead of going on where the last one stopped.",
            )],
        ],
    },
    Table { path: "data.sources.*.generated", doc: GENERATED_DOC, keys: &[GENERATED] },
    Table {
        path: "stages[]",
        doc: "What is done, in order. Any number.",
        keys: &[&[
            key("name", Kind::Text, Required, Free, "Its name, which no other stage has."),
            key(
                "steps",
                Kind::Count(1),
                OneOf(&["steps", "tokens"]),
                Accepted,
                "How many optimizer steps. Free to change where the schedule is `constant` and no step already taken lies behind the old or the new end.",
            ),
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
                "The share of each source in the tokens: `{ NAME = 0.7, OTHER = 0.3 }`. Shares sum to 1; sources repeat as needed.",
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
        keys: &[SCHEDULE],
    },
    Table {
        path: "optimizer",
        doc: "AdamW. Gradients are held in 32 bits.",
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
            key(
                "moments",
                Kind::Choice(Moments::NAMES),
                Default("\"auto\""),
                Accepted,
                "What both moments are held in: `f32`, eight bytes a parameter, or `bf16`, four, rounded up or down at random so that no step is lost on average. `auto` is `f32` where the run fits its device with it, whatever has to be computed again for that, and else `bf16`. Moments of a checkpoint that are held otherwise are converted when they are loaded.",
            ),
        ]],
    },
    Table {
        path: "memory",
        doc: "What the device keeps. No result depends on it.",
        keys: &[&[key(
            "recompute",
            Kind::Choice(Recompute::NAMES),
            Default("\"auto\""),
            Free,
            "What the backward pass computes again instead of having it kept: `none`; `norm_swiglu`, the norms and the product of SwiGLU; `ffn`, gate and up as well; `block`, all of a block. Each takes less memory and more time than the one before it. `auto` is the first with which the run fits its device.",
        )]],
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
                    "The most tokens measured, rounded up to whole micro-batches.",
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
    rl::RL,
    rl::GENERATED_PROMPTS,
    rl::FIELDS,
    rl::SAMPLING,
    rl::LOSS,
    rl::KL,
    rl::IMPORTANCE,
    rl::SCHEDULE_RL,
    rl::REWARDS,
    rl::VALIDATION,
    rl::GENERATED_VALIDATION,
    rl::ALARMS,
    Table {
        path: "checkpoints",
        doc: "What is saved on the way. The last step always is.",
        keys: &[&[
            key(
                "every_minutes",
                Kind::Number(Bounds::NotNegative),
                Default("30.0"),
                Free,
                "Minutes between two checkpoints; 0 is no such cadence.",
            ),
            key("every_steps", Kind::Count(1), Optional("no such cadence"), Free, "Steps between two."),
            key("every_tokens", Kind::Count(1), Optional("no such cadence"), Free, "Tokens between two."),
            key("keep", Kind::Count(1), Default("3"), Free, "How many of the newest stay."),
            key(
                "milestones",
                Kind::Count(1),
                Optional("none"),
                Free,
                "Tokens between two models that stay for ever: what is evaluated.",
            ),
            key(
                "milestone_state",
                Kind::Count(1),
                Optional("none"),
                Free,
                "Tokens between two checkpoints with optimizer state that stay for ever: what is branched from.",
            ),
        ]],
    },
    Table {
        path: "log",
        doc: "How the run tells of itself.",
        keys: &[&[
            key(
                "every_steps",
                Kind::Count(1),
                Default("10"),
                Free,
                "Steps between two lines where there is no terminal for a progress bar. `metrics.jsonl` has every step.",
            ),
            key("tensorboard", Kind::Flag, Default("true"), Free, "Whether TensorBoard events are written."),
        ]],
    },
    Table {
        path: "log.sinks[]",
        doc: "Programs that get each line of `metrics.jsonl` on standard input. Any number.",
        keys: &[&[key(
            "command",
            Kind::Texts,
            Required,
            Free,
            "The program and its arguments: `[\"python3\", \"sink.py\"]`. No shell reads them.",
        )]],
    },
];

//! What a recipe says: a tree of plain values, checked, complete and with absolute paths.

use std::path::PathBuf;

use crate::schedule::Schedule;

/// An enum whose values have one name each in a recipe.
macro_rules! choice {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$value_doc])* $value,)+ }

        impl $name {
            /// The names a recipe may use.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The name a recipe uses.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }

            /// The value of a name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$value),)+ _ => None }
            }
        }
    };
}
pub(crate) use choice;

/// A whole recipe. [`Recipe::load`] makes it; `docs/recipe.md` says what each value means.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Where and how the run works.
    pub run: Run,
    /// What is trained.
    pub model: ModelSource,
    /// What it may be trained on, ordered by name.
    pub sources: Vec<Source>,
    /// The one stage.
    pub stage: Stage,
    /// How weights move.
    pub optimizer: Optimizer,
    /// What is measured on the way.
    pub validation: Vec<Validation>,
    /// What is written on the way for a person to judge.
    pub samples: Option<Samples>,
    /// How the run tells of itself.
    pub log: Log,
}

impl Recipe {
    /// The source that the stage trains on.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == self.stage.source)
    }
}

/// `[run]`
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The folder of everything the run writes.
    pub dir: PathBuf,
    /// Of data order and random starts.
    pub seed: u64,
    /// Where it computes.
    pub device: Device,
    /// CPU threads; `None` is all there are.
    pub threads: Option<u64>,
    /// Which kernels may serve the forward pass.
    pub forward: Forward,
}

choice! {
    /// Where a run computes.
    pub enum Device {
        /// A GPU where there is one, else the CPU.
        Auto = "auto",
        /// CPU cores.
        Cpu = "cpu",
        /// An NVIDIA GPU.
        Cuda = "cuda",
        /// The simulated GPU.
        Sim = "sim",
    }
}

choice! {
    /// Which kernels may serve the forward pass.
    pub enum Forward {
        /// The fastest of them.
        Fastest = "fastest",
        /// Those whose bits do not depend on what else is in the batch.
        Invariant = "invariant",
    }
}

/// `[model]`
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSource {
    /// Where weights and shape come from.
    pub start: ModelStart,
    /// The tokenizer file; `None` is the model's own, and only beside [`ModelStart::From`].
    pub tokenizer: Option<PathBuf>,
    /// How weights are held.
    pub weights: Weights,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelStart {
    /// A Hugging Face folder with weights.
    From(PathBuf),
    /// Random weights in the shape of a `config.json`.
    ConfigFile(PathBuf),
    /// Random weights in the shape of this, which is what a `config.json` would hold.
    Config(serde_json::Map<String, serde_json::Value>),
}

choice! {
    /// How weights are held in memory.
    pub enum Weights {
        /// As the device does best.
        Auto = "auto",
        /// 32 bits.
        F32 = "f32",
        /// bf16, with what rounding cut off kept beside it for the optimizer.
        Bf16 = "bf16",
    }
}

/// `[data.sources.NAME]`, and the rows of a `[[validation]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Where its rows come from.
    pub origin: Origin,
    /// The template that makes a document of a row.
    pub text: String,
    /// The condition a row must meet (`where` in the recipe).
    pub filter: Option<String>,
    /// Whether a document ends with the end-of-sequence token.
    pub add_eos: bool,
    /// Whether it begins with the beginning-of-sequence token; `None` is as the tokenizer does on its own.
    pub add_bos: Option<bool>,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, folder or pattern.
    Path(PathBuf),
    /// Made by the program.
    Generated {
        /// What is made.
        kind: Generator,
        /// How many rows.
        rows: u64,
        /// Which ones: another seed gives other rows.
        seed: u64,
    },
}

choice! {
    /// What the program can make up.
    pub enum Generator {
        /// Sums in words: rows with `question` and `answer`.
        WordProblems = "word-problems",
    }
}

/// `[[stages]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Tokens of one sequence.
    pub sequence_length: u64,
    /// Tokens of one optimizer step.
    pub batch_tokens: u64,
    /// Tokens of one forward and backward pass: a whole part of the batch and a multiple of the sequence.
    pub micro_batch_tokens: u64,
    /// The name of the source it trains on.
    pub source: String,
    /// The order of its sequences.
    pub order: Order,
    /// Whether attention, positions and labels stop at document ends.
    pub document_mask: bool,
    /// How many optimizer steps there are, and the learning rate of each. A recipe's `tokens` has been rounded up
    /// to whole steps.
    pub schedule: Schedule,
}

choice! {
    /// The order in which a source is read.
    pub enum Order {
        /// Another order in each epoch, a function of seed, epoch and position.
        Shuffled = "shuffled",
        /// As it stands in the files.
        Sequential = "sequential",
    }
}

/// `[optimizer]`: AdamW.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    /// Decay of the first and second moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Of matrices alone.
    pub weight_decay: f64,
    /// The norm to which gradients are cut; `None` leaves them.
    pub clip: Option<f64>,
}

/// `[[validation]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// Its name and rows.
    pub source: Source,
    /// Steps between two measurements; the last step always measures.
    pub every_steps: u64,
    /// The most tokens measured; `None` is all there are.
    pub max_tokens: Option<u64>,
}

/// `[samples]`
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// What the model continues.
    pub prompts: Vec<String>,
    /// Steps between two rounds; the last step always samples.
    pub every_steps: u64,
    /// The most tokens of a continuation.
    pub max_new_tokens: u64,
    /// 0 takes the likeliest token.
    pub temperature: f64,
    /// How many of the likeliest tokens stay; `None` is all.
    pub top_k: Option<u64>,
    /// The share of probability that stays.
    pub top_p: f64,
    /// The least probability that stays, as a share of the likeliest token's.
    pub min_p: f64,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Steps between two lines where there is no terminal to draw a progress bar on.
    pub every_steps: u64,
}

//! What a recipe says: a tree of plain values, checked, complete and with absolute paths.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::rl::Rl;
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
    /// Which steps are left out.
    pub data: Data,
    /// What it may be trained on, ordered by name. What no mixture names need not exist.
    pub sources: Vec<Source>,
    /// What is done, in order; at least one, but for a recipe with [`Recipe::rl`].
    pub stages: Vec<Stage>,
    /// How weights move.
    pub optimizer: Optimizer,
    /// What the device keeps.
    pub memory: Memory,
    /// What is measured on the way.
    pub validation: Vec<Validation>,
    /// What is written on the way for a person to judge.
    pub samples: Option<Samples>,
    /// Reinforcement, in place of stages; a recipe has either.
    pub rl: Option<Rl>,
    /// What is saved on the way, and how long it stays.
    pub checkpoints: Checkpoints,
    /// How the run tells of itself.
    pub log: Log,
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
    /// Where the optimizer's moments come from.
    pub optimizer_state: OptimizerState,
}

choice! {
    /// Where the optimizer's moments come from.
    pub enum OptimizerState {
        /// They begin at zero.
        Fresh = "fresh",
        /// From the checkpoint of [`ModelStart::From`], which is one of ours.
        Load = "load",
    }
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelStart {
    /// A Hugging Face folder with weights, or a checkpoint of ours (`…/checkpoints/step-…` or `…/latest`).
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

/// `[data]` without its sources.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// Steps that are left out, numbered from 1 as messages and metrics number them: sorted, disjoint and not
    /// adjacent.
    pub skip_steps: Vec<RangeInclusive<u64>>,
    /// What a loss or gradient that is not finite does.
    pub on_nonfinite: OnNonFinite,
}

/// What a loss or gradient that is not finite does. Weights stay as they were in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNonFinite {
    /// Stops the run.
    Stop,
    /// Leaves the step out.
    Skip {
        /// After this many skipped steps the next one stops the run; at least 1.
        at_most: u64,
    },
}

impl OnNonFinite {
    /// The names a recipe may use.
    pub const NAMES: &'static [&'static str] = &["stop", "skip"];
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
    /// Whether each stage and each branch reads it from its beginning, and not from where the last one stopped.
    /// Always false for a validation set.
    pub restart: bool,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, folder or pattern, of rows or of tokenised shards.
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
        /// The last digit of a sum.
        ModularAddition = "modular-addition",
        /// Sums of two digits each, written from behind.
        ReversedAddition = "reversed-addition",
        /// Digits from behind.
        Reversal = "reversal",
        /// Sums of fractions, in a box.
        Fractions = "fractions",
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
    /// The sources it draws from, ordered by name. Shares are positive and sum to 1 within 1e-6.
    pub mixture: Vec<Share>,
    /// The order of its sequences.
    pub order: Order,
    /// Whether attention, positions and labels stop at document ends.
    pub document_mask: bool,
    /// How many optimizer steps there are, and the learning rate of each. A recipe's `tokens` has been rounded up
    /// to whole steps.
    pub schedule: Schedule,
}

/// What a stage draws from one source.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The name of the source.
    pub source: String,
    /// Its part of the tokens.
    pub share: f64,
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
    /// What the moments are held in.
    pub moments: Moments,
}

choice! {
    /// What AdamW's moments are held in.
    pub enum Moments {
        /// f32 where the run fits its device with them, else bf16.
        Auto = "auto",
        /// Eight bytes a parameter.
        F32 = "f32",
        /// Four, rounded at random.
        Bf16 = "bf16",
    }
}

/// `[memory]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What the backward pass computes again instead of having it kept.
    pub recompute: Recompute,
}

choice! {
    /// What the backward pass computes again instead of having it kept.
    pub enum Recompute {
        /// The least with which the run fits its device.
        Auto = "auto",
        /// Nothing.
        None = "none",
        /// Norms and the product of SwiGLU.
        NormSwiglu = "norm_swiglu",
        /// Gate and up too.
        Ffn = "ffn",
        /// All of a block.
        Block = "block",
    }
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

/// `[checkpoints]`. The last step is always saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoints {
    /// Minutes between two; `None` is no such cadence. At most a year.
    pub every_minutes: Option<f64>,
    /// Steps between two.
    pub every_steps: Option<u64>,
    /// Tokens between two.
    pub every_tokens: Option<u64>,
    /// How many of the newest stay; at least 1. Milestones are not counted.
    pub keep: u64,
    /// Tokens between two models that stay for ever.
    pub milestones: Option<u64>,
    /// Tokens between two models with optimizer state that stay for ever.
    pub milestone_state: Option<u64>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Steps between two lines where there is no terminal to draw a progress bar on.
    pub every_steps: u64,
    /// Whether TensorBoard events are written.
    pub tensorboard: bool,
    /// Programs that get each line of `metrics.jsonl`.
    pub sinks: Vec<Sink>,
}

/// `[[log.sinks]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// The program, which is not empty, and its arguments.
    pub command: Vec<String>,
}

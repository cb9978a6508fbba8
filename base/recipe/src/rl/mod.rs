//! What an RL recipe says under `[rl]`: rollouts, algorithm, rewards, what is watched.

use std::path::PathBuf;

use crate::recipe::{Order, Origin, choice};
use crate::schedule::Schedule;

mod flat;
mod read;
mod rewards;
pub(crate) mod table;

pub(crate) use read::rl;

/// `[rl]`
#[derive(Debug, Clone, PartialEq)]
pub struct Rl {
    /// Rollout steps.
    pub steps: u64,
    /// The rows that prompts are made of.
    pub prompts: Prompts,
    /// What a row's fields are called.
    pub fields: Fields,
    /// The order of prompts.
    pub order: Order,
    /// What a prompt looks like.
    pub template: PromptTemplate,
    /// Texts that end a response; not part of it.
    pub stop: Vec<String>,
    /// Longer prompts are left out.
    pub max_prompt_tokens: u64,
    /// Prompts of a rollout step.
    pub batch_prompts: u64,
    /// Prompts of an optimizer step; the last of a rollout step may have fewer.
    pub mini_batch_prompts: u64,
    /// Responses drawn to each prompt.
    pub samples_per_prompt: u64,
    /// The most tokens of a response, each from a rollout step on; the first from step 0, steps rise.
    pub max_response_tokens: Vec<(u64, u64)>,
    /// How often a rollout is trained on.
    pub epochs: u64,
    /// Tokens of one forward and backward pass; holds the longest prompt with the longest response.
    pub micro_batch_tokens: u64,
    /// Responses under way at once.
    pub max_streams: u64,
    /// How advantages follow from rewards.
    pub advantage: Advantage,
    /// The policy that ratios are taken against.
    pub old_logprobs: OldLogprobs,
    /// Whether responses that were cut off are left out of the loss.
    pub mask_truncated: bool,
    /// What the entropy of the policy counts in the loss.
    pub entropy_coefficient: f64,
    /// Draws further prompts in place of those whose samples do not differ: up to so many rounds a step.
    pub dynamic_sampling: Option<u64>,
    /// Share of failed rewards in a step above which the run stops.
    pub max_failure_rate: f64,
    /// The validation set whose best model is kept.
    pub keep_best: Option<String>,
    /// Responses of a step that are written to `samples.jsonl`.
    pub samples_per_step: u64,
    /// How tokens are drawn.
    pub sampling: RlSampling,
    /// The policy loss.
    pub loss: RlLoss,
    /// The distance from the reference.
    pub kl: RlKl,
    /// What tokens of another policy count.
    pub importance: RlImportance,
    /// The learning rate over optimizer steps.
    pub schedule: Schedule,
    /// What is rewarded; at least one.
    pub rewards: Vec<Reward>,
    /// What is measured on the way.
    pub validation: Vec<RlValidation>,
    /// What is watched for.
    pub alarms: Alarms,
}

/// Rows that prompts are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompts {
    /// Where they come from.
    pub origin: Origin,
    /// The condition a row must meet (`where` in the recipe).
    pub filter: Option<String>,
}

/// `[rl.fields]`: templates over a row; `None` is where verl has it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields {
    /// The question.
    pub question: Option<String>,
    /// The answer that is right.
    pub answer: Option<String>,
    /// The name by which rewards are chosen.
    pub data_source: Option<String>,
}

/// What a prompt looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptTemplate {
    /// The question as it is.
    None,
    /// The tokenizer's chat template.
    Chat,
    /// Question, answer, and a cue to think.
    Simple,
    /// A conversation that asks for a boxed answer, after Open-Reasoner-Zero.
    Orz,
    /// A file: a template over `question`, `messages` and the row's fields.
    File(PathBuf),
}

impl PromptTemplate {
    /// The names a recipe may use.
    pub const NAMES: &'static [&'static str] = &["none", "chat", "simple", "orz", "file"];

    /// The name a recipe uses.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            PromptTemplate::None => "none",
            PromptTemplate::Chat => "chat",
            PromptTemplate::Simple => "simple",
            PromptTemplate::Orz => "orz",
            PromptTemplate::File(_) => "file",
        }
    }
}

choice! {
    /// How advantages follow from rewards.
    pub enum Advantage {
        /// Against the mean of the prompt's samples, in units of their deviation.
        Grpo = "grpo",
        /// Against the mean alone.
        DrGrpo = "dr_grpo",
        /// Against the mean of the other samples.
        Rloo = "rloo",
        /// Whitened over the batch.
        ReinforcePlusPlus = "reinforce++",
        /// Against the mean, then whitened over the batch.
        ReinforcePlusPlusBaseline = "reinforce++_baseline",
    }
}

choice! {
    /// The policy that ratios are taken against.
    pub enum OldLogprobs {
        /// The one that sampled, by what the sampler said.
        Rollout = "rollout",
        /// The same, computed once more before the first update of a step.
        Step = "step",
        /// The one before the mini-batch's own update.
        MiniBatch = "mini_batch",
    }
}

/// `[rl.sampling]`
#[derive(Debug, Clone, PartialEq)]
pub struct RlSampling {
    /// Divides the logits; more than 0.
    pub temperature: f64,
    /// How many of the likeliest tokens stay; `None` is all.
    pub top_k: Option<u64>,
    /// The share of probability that stays.
    pub top_p: f64,
    /// The least probability that stays, as a share of the likeliest token's.
    pub min_p: f64,
}

choice! {
    /// Which policy loss.
    pub enum LossKind {
        /// The clipped surrogate of tokens.
        PpoClip = "ppo_clip",
        /// The clipped surrogate of sequences.
        Gspo = "gspo",
        /// The policy gradient under a clipped weight.
        Cispo = "cispo",
    }
}

choice! {
    /// How the losses of tokens become one number.
    pub enum Normalisation {
        /// The mean over all tokens of the optimizer step.
        TokenMean = "token_mean",
        /// The mean over sequences of each one's mean.
        SequenceMean = "sequence_mean",
        /// Divided by sequences and the longest response.
        ConstantLength = "constant_length",
    }
}

/// `[rl.loss]`
#[derive(Debug, Clone, PartialEq)]
pub struct RlLoss {
    /// Which.
    pub kind: LossKind,
    /// How far ratios may fall below 1.
    pub clip_low: f64,
    /// How far they may rise above 1.
    pub clip_high: f64,
    /// The bound for samples worse than their peers; `None` for none.
    pub dual_clip: Option<f64>,
    /// How tokens become one number.
    pub normalise: Normalisation,
}

choice! {
    /// An estimate of a divergence from single tokens.
    pub enum KlKind {
        /// The log-ratio.
        K1 = "k1",
        /// Half its square.
        K2 = "k2",
        /// e^−l − 1 + l.
        K3 = "k3",
    }
}

choice! {
    /// Where a divergence counts.
    pub enum KlPlace {
        /// In the loss.
        Loss = "loss",
        /// In the reward of each token.
        Reward = "reward",
    }
}

/// `[rl.kl]`
#[derive(Debug, Clone, PartialEq)]
pub struct RlKl {
    /// What it counts; 0 keeps no reference.
    pub coefficient: f64,
    /// The estimate.
    pub estimator: KlKind,
    /// Where it counts.
    pub place: KlPlace,
}

choice! {
    /// What a token drawn by another policy counts.
    pub enum ImportanceKind {
        /// As much as any.
        None = "none",
        /// By its ratio, up to a bound.
        Truncated = "truncated",
        /// By its ratio, nothing outside the bounds.
        Masked = "masked",
    }
}

/// `[rl.importance]`
#[derive(Debug, Clone, PartialEq)]
pub struct RlImportance {
    /// Which.
    pub kind: ImportanceKind,
    /// The least ratio that counts, where masked.
    pub low: f64,
    /// The largest ratio.
    pub high: f64,
}

/// `[[rl.rewards]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Reward {
    /// Its name in metrics.
    pub name: String,
    /// What it counts.
    pub weight: f64,
    /// The rows it is for, by `data_source`; empty for all.
    pub data_sources: Vec<String>,
    /// What it looks at.
    pub kind: RewardKind,
}

/// What a reward looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum RewardKind {
    /// 1 where the answer is right, else 0.
    Verify {
        /// Whether only `\boxed{}` counts as an answer.
        boxed_only: bool,
    },
    /// 1 where the response matches, else 0.
    Format {
        /// A regular expression.
        pattern: String,
    },
    /// 0 up to the longest response less the buffer, then down to −1.
    Overlong {
        /// Tokens over which it falls.
        buffer: u64,
    },
    /// By length and by whether the answer is right.
    Cosine {
        /// Rewards of right answers: of no length, and of the longest.
        right: [f64; 2],
        /// Rewards of wrong answers.
        wrong: [f64; 2],
    },
    /// 0 down to −1, by the share of n-grams of tokens that occurred before.
    Repetition {
        /// n.
        ngram: u64,
    },
    /// What a program says.
    Program(Program),
}

impl RewardKind {
    /// The names a recipe may use.
    pub const NAMES: &'static [&'static str] =
        &["verify", "format", "overlong", "cosine", "repetition", "program"];

    /// The name a recipe uses.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            RewardKind::Verify { .. } => "verify",
            RewardKind::Format { .. } => "format",
            RewardKind::Overlong { .. } => "overlong",
            RewardKind::Cosine { .. } => "cosine",
            RewardKind::Repetition { .. } => "repetition",
            RewardKind::Program(_) => "program",
        }
    }
}

/// A reward program and its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The program, which is not empty, and its arguments.
    pub command: Vec<String>,
    /// Names of variables it gets beside `PATH`, `HOME` and `LANG`.
    pub environment: Vec<String>,
    /// Seconds for one response.
    pub timeout_seconds: f64,
    /// Seconds of processor time before it is started anew.
    pub cpu_seconds: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// How many of it run at once.
    pub workers: u64,
}

/// `[[rl.validation]]`
#[derive(Debug, Clone, PartialEq)]
pub struct RlValidation {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub asked: HeldOut,
    /// Rollout steps between two measurements; before the first step and after the last it is always measured.
    pub every_steps: u64,
    /// The most prompts or items; `None` is all there are.
    pub max_prompts: Option<u64>,
    /// Responses drawn to each.
    pub samples: u64,
    /// 0 takes the likeliest token.
    pub temperature: f64,
}

/// What a validation set asks.
#[derive(Debug, Clone, PartialEq)]
pub enum HeldOut {
    /// Rows as those of training, judged by the run's rewards.
    Prompts(Prompts),
    /// A task of `octo-engine eval`, judged by its own rules.
    Task {
        /// Which.
        task: TaskName,
        /// The folder of its rows, or their file; `None` is the folder of the task's file.
        data: Option<PathBuf>,
    },
}

/// Which task of `octo-engine eval`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskName {
    /// One that is part of the program.
    Known(String),
    /// One of the user's.
    File(PathBuf),
}

choice! {
    /// What an alarm does.
    pub enum AlarmAction {
        /// Nothing.
        Off = "off",
        /// Says so.
        Warn = "warn",
        /// Saves and stops the run.
        Stop = "stop",
    }
}

/// `[rl.alarms]`
#[derive(Debug, Clone, PartialEq)]
pub struct Alarms {
    /// Rollout steps over which figures are averaged.
    pub window: u64,
    /// Responses pinned at the cap.
    pub length: AlarmAction,
    /// The share of responses that were cut off.
    pub length_clip_ratio: f64,
    /// Responses that repeat themselves.
    pub repetition: AlarmAction,
    /// The share of repeated n-grams.
    pub repetition_ratio: f64,
    /// The reward falls.
    pub reward: AlarmAction,
    /// To this share of the best so far.
    pub reward_fall: f64,
    /// The entropy leaves its bounds.
    pub entropy: AlarmAction,
    /// The lower.
    pub entropy_floor: f64,
    /// The upper; `None` for none.
    pub entropy_ceiling: Option<f64>,
}

impl Rl {
    /// The most tokens of a response in a rollout step, counted from 0.
    #[must_use]
    pub fn response_cap(&self, step: u64) -> u64 {
        let at = self.max_response_tokens.iter().rev().find(|(from, _)| *from <= step);
        at.map_or(0, |(_, cap)| *cap)
    }

    /// The most tokens of any response.
    #[must_use]
    pub fn longest_response(&self) -> u64 {
        self.max_response_tokens.iter().map(|(_, cap)| *cap).max().unwrap_or(0)
    }

    /// Optimizer steps of a rollout step, if no prompt is left out.
    #[must_use]
    pub fn updates_per_step(&self) -> u64 {
        self.batch_prompts.div_ceil(self.mini_batch_prompts.max(1)).saturating_mul(self.epochs)
    }
}

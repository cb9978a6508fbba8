//! The keys of `[rl]`, declared as all others are: see `table.rs`.

use super::{
    Advantage, AlarmAction, ImportanceKind, KlKind, KlPlace, LossKind, Normalisation, OldLogprobs,
    PromptTemplate, RewardKind,
};
use crate::keys::Class::{Accepted, Free};
use crate::keys::Presence::{Default, OneOf, Optional, Required};
use crate::keys::{Bounds, Key, Kind, Table};
use crate::recipe::Order;
use crate::table::{GENERATED, SCHEDULE, key};

const GENERATED_DOC: &str = "Rows that the program makes up, instead of `prompts`.";

/// What a validation set may be made of.
const HELD_OUT: &[&str] = &["prompts", "generated", "task", "task_file"];

/// The rows of training.
static PROMPTS: &[Key] = &[
    key(
        "prompts",
        Kind::Path,
        OneOf(&["prompts", "generated"]),
        Free,
        "A file, a folder or a pattern of files of rows: verl's parquet or JSONL as it is, or any rows with `[rl.fields]`.",
    ),
    key(
        "where",
        Kind::Text,
        Optional("every row"),
        Accepted,
        "A minijinja expression: rows for which it is false are left out.",
    ),
];

pub(crate) const RL: Table = Table {
    path: "rl",
    doc: "Reinforcement with verifiable rewards: `octo-engine rl RECIPE`. It takes the place of `[data]`, `[[stages]]`, `[[validation]]` and `[samples]`. In such a recipe `optimizer.betas` is `[0.9, 0.999]` and `optimizer.weight_decay` 0.01 where nothing is said, and `run.forward` is `\"invariant\"`. Steps are rollout steps.",
    keys: &[
        PROMPTS,
        &[
            key(
                "steps",
                Kind::Count(1),
                Required,
                Accepted,
                "Rollout steps. Free to change where the schedule is `constant`, but not to fewer than are done.",
            ),
            key(
                "order",
                Kind::Choice(Order::NAMES),
                Default("\"shuffled\""),
                Accepted,
                "`shuffled` anew in each epoch, or `sequential` as in the files.",
            ),
            key(
                "template",
                Kind::Choice(PromptTemplate::NAMES),
                Default("\"none\""),
                Accepted,
                "What a prompt looks like: the question as it is; the tokenizer's chat template; question and answer with a cue to think; a conversation that asks for a boxed answer, after Open-Reasoner-Zero; `template_file`.",
            ),
            key(
                "template_file",
                Kind::Path,
                Optional("only with `file`"),
                Accepted,
                "A minijinja template over `question`, `messages` and the fields of the row.",
            ),
            key(
                "stop",
                Kind::Texts,
                Optional("none"),
                Accepted,
                "Texts that end a response, beside the end-of-sequence token. The response keeps the tokens up to there.",
            ),
            key(
                "max_prompt_tokens",
                Kind::Count(1),
                Required,
                Accepted,
                "Longer prompts are left out, and counted.",
            ),
            key("batch_prompts", Kind::Count(1), Required, Accepted, "Prompts of a rollout step."),
            key(
                "mini_batch_prompts",
                Kind::Count(1),
                Optional("`batch_prompts`"),
                Accepted,
                "Prompts of an optimizer step.",
            ),
            key("samples_per_prompt", Kind::Count(1), Required, Accepted, "Responses to each prompt (G)."),
            key(
                "max_response_tokens",
                Kind::CountsFromSteps,
                Required,
                Accepted,
                "The most tokens of a response: a count, or a schedule by rollout step, `[[0, 2048], [100, 4096]]`.",
            ),
            key("epochs", Kind::Count(1), Default("1"), Accepted, "How often each rollout is trained on."),
            key(
                "micro_batch_tokens",
                Kind::Count(1),
                Optional("the longest prompt with the longest response"),
                Accepted,
                "Tokens of one forward and backward pass, in which whole sequences are packed.",
            ),
            key(
                "max_streams",
                Kind::Count(1),
                Default("256"),
                Free,
                "Responses under way at once. No result depends on it.",
            ),
            key(
                "advantage",
                Kind::Choice(Advantage::NAMES),
                Default("\"grpo\""),
                Accepted,
                "How much better a sample is than its peers: docs/rl.md has the formulas.",
            ),
            key(
                "old_logprobs",
                Kind::Choice(OldLogprobs::NAMES),
                Default("\"rollout\""),
                Accepted,
                "What ratios are taken against: what the sampler said; the same, computed by the trainer before the first update (`step`); the policy before each update, the rest being left to `[rl.importance]` (`mini_batch`).",
            ),
            key(
                "mask_truncated",
                Kind::Flag,
                Default("false"),
                Accepted,
                "Whether responses that were cut off are left out of the loss (they still count in their group).",
            ),
            key(
                "entropy_coefficient",
                Kind::Number(Bounds::NotNegative),
                Default("0.0"),
                Accepted,
                "The entropy of the policy, times this, is taken off the loss.",
            ),
            key(
                "dynamic_sampling",
                Kind::Count(1),
                Optional("off"),
                Accepted,
                "Groups whose rewards do not differ are replaced by further prompts, in up to so many rounds a step (DAPO).",
            ),
            key(
                "max_failure_rate",
                Kind::Number(Bounds::BelowOne),
                Default("0.1"),
                Free,
                "Share of rewards that may fail in a step. Above it the run saves and stops.",
            ),
            key(
                "keep_best",
                Kind::Text,
                Optional("none"),
                Free,
                "The `[[rl.validation]]` whose best model stays in `milestones/`.",
            ),
            key(
                "samples_per_step",
                Kind::Count(0),
                Default("8"),
                Free,
                "Responses of each step that are written to `samples.jsonl`.",
            ),
        ],
    ],
};

pub(crate) const GENERATED_PROMPTS: Table =
    Table { path: "rl.generated", doc: GENERATED_DOC, keys: &[GENERATED] };

pub(crate) const FIELDS: Table = Table {
    path: "rl.fields",
    doc: "Where a row has what, as minijinja templates over it. Left out, it is where verl has it: the last user message of `prompt` (or `prompt` itself, or `question`), `reward_model.ground_truth` (or `answer`), `data_source`.",
    keys: &[&[
        key("question", Kind::Text, Optional("as in verl's rows"), Accepted, "The question."),
        key("answer", Kind::Text, Optional("as in verl's rows"), Accepted, "The answer that is right."),
        key(
            "data_source",
            Kind::Text,
            Optional("as in verl's rows"),
            Accepted,
            "The name by which rewards are chosen.",
        ),
    ]],
};

pub(crate) const SAMPLING: Table = Table {
    path: "rl.sampling",
    doc: "How responses are drawn.",
    keys: &[&[
        key("temperature", Kind::Number(Bounds::Positive), Default("1.0"), Accepted, "Divides the logits."),
        key("top_k", Kind::Count(1), Optional("all"), Accepted, "How many of the likeliest tokens stay."),
        key(
            "top_p",
            Kind::Number(Bounds::UpToOne),
            Default("1.0"),
            Accepted,
            "The share of probability that stays.",
        ),
        key(
            "min_p",
            Kind::Number(Bounds::BelowOne),
            Default("0.0"),
            Accepted,
            "The least probability that stays, as a share of the likeliest token's.",
        ),
    ]],
};

pub(crate) const LOSS: Table = Table {
    path: "rl.loss",
    doc: "What the policy learns by.",
    keys: &[&[
        key(
            "kind",
            Kind::Choice(LossKind::NAMES),
            Default("\"ppo_clip\""),
            Accepted,
            "Which loss: docs/rl.md has the formulas.",
        ),
        key(
            "clip_low",
            Kind::Number(Bounds::NotNegative),
            Default("0.2"),
            Accepted,
            "How far ratios may fall below 1.",
        ),
        key(
            "clip_high",
            Kind::Number(Bounds::NotNegative),
            Default("0.2"),
            Accepted,
            "How far they may rise above 1.",
        ),
        key(
            "dual_clip",
            Kind::Number(Bounds::NotNegative),
            Default("3.0"),
            Accepted,
            "The loss of a sample worse than its peers is at most this many times its advantage; 0 is no bound.",
        ),
        key(
            "normalise",
            Kind::Choice(Normalisation::NAMES),
            Default("\"token_mean\""),
            Accepted,
            "The mean over the tokens of an optimizer step; over sequences of each one's mean; or the sum divided by sequences and the longest response there may be.",
        ),
    ]],
};

pub(crate) const KL: Table = Table {
    path: "rl.kl",
    doc: "The distance from the model that the run began with.",
    keys: &[&[
        key(
            "coefficient",
            Kind::Number(Bounds::NotNegative),
            Default("0.0"),
            Accepted,
            "What it counts. Above 0 the first weights stay in memory a second time.",
        ),
        key(
            "estimator",
            Kind::Choice(KlKind::NAMES),
            Default("\"k3\""),
            Accepted,
            "How it is estimated from single tokens.",
        ),
        key(
            "place",
            Kind::Choice(KlPlace::NAMES),
            Default("\"loss\""),
            Accepted,
            "Whether it is added to the loss or taken off the reward of each token.",
        ),
    ]],
};

pub(crate) const IMPORTANCE: Table = Table {
    path: "rl.importance",
    doc: "What tokens count that another policy drew: by π_old / π_sampler, where `old_logprobs` is not `rollout`.",
    keys: &[&[
        key(
            "kind",
            Kind::Choice(ImportanceKind::NAMES),
            Default("\"none\""),
            Accepted,
            "1; the ratio up to `high`; or the ratio within `low` and `high` and nothing outside.",
        ),
        key(
            "low",
            Kind::Number(Bounds::NotNegative),
            Default("0.5"),
            Accepted,
            "The least ratio that counts, where masked.",
        ),
        key("high", Kind::Number(Bounds::Positive), Default("2.0"), Accepted, "The largest."),
    ]],
};

pub(crate) const SCHEDULE_RL: Table = Table {
    path: "rl.schedule",
    doc: "The learning rate over optimizer steps, as in `[stages.schedule]`.",
    keys: &[SCHEDULE],
};

pub(crate) const REWARDS: Table = Table {
    path: "rl.rewards[]",
    doc: "What a response is rewarded for; the sum counts. At least one.",
    keys: &[&[
        key(
            "kind",
            Kind::Choice(RewardKind::NAMES),
            Required,
            Accepted,
            "What it looks at: whether the answer is right; whether the response matches a pattern; how long it is (`overlong`, `cosine`); how much it repeats; what a program says.",
        ),
        key(
            "name",
            Kind::Text,
            Optional("`kind`"),
            Accepted,
            "Its name in metrics, which no other reward has.",
        ),
        key("weight", Kind::Number(Bounds::Any), Default("1.0"), Accepted, "What it counts in the sum."),
        key(
            "data_sources",
            Kind::Texts,
            Optional("all rows"),
            Accepted,
            "The rows it is for, by their `data_source`.",
        ),
        key(
            "boxed_only",
            Kind::Flag,
            Default("true"),
            Accepted,
            "`verify`: whether only `\\boxed{…}` counts as an answer.",
        ),
        key(
            "pattern",
            Kind::Text,
            Default("'\\\\boxed\\{'"),
            Accepted,
            "`format`: a regular expression that the response must match somewhere.",
        ),
        key(
            "buffer",
            Kind::Count(1),
            Optional("required with `overlong`"),
            Accepted,
            "`overlong`: tokens before the longest response over which the reward falls from 0 to −1 (DAPO).",
        ),
        key(
            "right",
            Kind::Pair(Bounds::Any),
            Default("[1.0, 0.5]"),
            Accepted,
            "`cosine`: rewards of right answers, of no length and of the longest, with half a cosine between.",
        ),
        key(
            "wrong",
            Kind::Pair(Bounds::Any),
            Default("[-1.0, -0.5]"),
            Accepted,
            "`cosine`: rewards of wrong answers.",
        ),
        key(
            "ngram",
            Kind::Count(1),
            Default("4"),
            Accepted,
            "`repetition`: tokens of the runs that are compared; the reward is minus the share that occurred before.",
        ),
        key(
            "command",
            Kind::Texts,
            Optional("required with `program`"),
            Accepted,
            "`program`: the program and its arguments: `[\"python3\", \"reward.py\"]`. No shell reads them.",
        ),
        key(
            "environment",
            Kind::Texts,
            Optional("none"),
            Accepted,
            "`program`: names of variables it gets beside `PATH`, `HOME` and `LANG`.",
        ),
        key(
            "timeout_seconds",
            Kind::Number(Bounds::Positive),
            Default("10.0"),
            Accepted,
            "`program`: time for one response.",
        ),
        key(
            "cpu_seconds",
            Kind::Count(1),
            Default("3600"),
            Accepted,
            "`program`: processor time after which it is started anew.",
        ),
        key("memory_bytes", Kind::Count(1), Default("\"4G\""), Accepted, "`program`: memory it may ask for."),
        key("workers", Kind::Count(1), Default("2"), Free, "`program`: how many of it run at once."),
    ]],
};

pub(crate) const VALIDATION: Table = Table {
    path: "rl.validation[]",
    doc: "What is measured on the way, before the first step and after the last: `val/test_score/NAME`. Rows of prompts are judged by the first reward that is `verify` or `program`, tasks of `octo-engine eval` by the first of their own rules; responses to both have the most tokens of the step. Any number.",
    keys: &[&[
        key(
            "prompts",
            Kind::Path,
            OneOf(HELD_OUT),
            Free,
            "Rows as those of `[rl]`, in its template, judged by its rewards.",
        ),
        key(
            "task",
            Kind::Text,
            OneOf(HELD_OUT),
            Free,
            "A task that `octo-engine eval list` names, with its own prompts, stop texts and rules.",
        ),
        key(
            "task_file",
            Kind::Path,
            OneOf(HELD_OUT),
            Free,
            "A task file of your own: docs/eval.md has its keys.",
        ),
        key(
            "data",
            Kind::Path,
            Optional("required with `task`; the folder of `task_file`"),
            Free,
            "The folder with the task's rows under the names it knows, or the file of them.",
        ),
        key(
            "where",
            Kind::Text,
            Optional("every row"),
            Accepted,
            "A minijinja expression: rows for which it is false are left out. Not with a task.",
        ),
        key("name", Kind::Text, Required, Free, "Its name."),
        key("every_steps", Kind::Count(1), Default("20"), Free, "Rollout steps between two measurements."),
        key(
            "max_prompts",
            Kind::Count(1),
            Optional("all there are"),
            Free,
            "The most prompts or items, the first of the rows.",
        ),
        key(
            "samples",
            Kind::Count(1),
            Default("1"),
            Free,
            "Responses to each prompt; the score is their mean.",
        ),
        key(
            "temperature",
            Kind::Number(Bounds::NotNegative),
            Default("0.0"),
            Free,
            "0 takes the likeliest token.",
        ),
    ]],
};

pub(crate) const GENERATED_VALIDATION: Table =
    Table { path: "rl.validation[].generated", doc: GENERATED_DOC, keys: &[GENERATED] };

pub(crate) const ALARMS: Table = Table {
    path: "rl.alarms",
    doc: "Signs of collapse, by the mean of the last steps: each does nothing (`off`), says so (`warn`), or saves and stops the run with exit code 3 (`stop`).",
    keys: &[&[
        key("window", Kind::Count(1), Default("10"), Free, "Rollout steps that a mean is over."),
        key(
            "length",
            Kind::Choice(AlarmAction::NAMES),
            Default("\"warn\""),
            Free,
            "Responses run into the cap.",
        ),
        key(
            "length_clip_ratio",
            Kind::Number(Bounds::UpToOne),
            Default("0.9"),
            Free,
            "The share of responses cut off from which it goes off.",
        ),
        key(
            "repetition",
            Kind::Choice(AlarmAction::NAMES),
            Default("\"warn\""),
            Free,
            "Responses repeat themselves.",
        ),
        key(
            "repetition_ratio",
            Kind::Number(Bounds::UpToOne),
            Default("0.5"),
            Free,
            "The share of repeated runs of four tokens from which it goes off.",
        ),
        key("reward", Kind::Choice(AlarmAction::NAMES), Default("\"warn\""), Free, "The score falls."),
        key(
            "reward_fall",
            Kind::Number(Bounds::BelowOne),
            Default("0.1"),
            Free,
            "The share of its best mean so far at which it goes off.",
        ),
        key(
            "entropy",
            Kind::Choice(AlarmAction::NAMES),
            Default("\"warn\""),
            Free,
            "The entropy of the policy leaves its bounds.",
        ),
        key(
            "entropy_floor",
            Kind::Number(Bounds::NotNegative),
            Default("0.01"),
            Free,
            "The lower bound, in nats a token.",
        ),
        key("entropy_ceiling", Kind::Number(Bounds::Positive), Optional("none"), Free, "The upper bound."),
    ]],
};

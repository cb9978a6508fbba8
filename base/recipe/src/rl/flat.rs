//! `[rl]` as keys and values.

use super::{HeldOut, Prompts, Reward, RewardKind, Rl, RlValidation, TaskName};
use crate::flat::{Flat, quoted};
use crate::recipe::Origin;
use crate::schedule::Shape;

impl Flat {
    pub(crate) fn rl(&mut self, rl: &Rl) {
        self.table("rl", "[rl]", "rl");
        self.plain("steps", rl.steps);
        self.prompt_rows(&rl.prompts);
        self.text("order", rl.order.name());
        self.text("template", rl.template.name());
        if let super::PromptTemplate::File(path) = &rl.template {
            self.path("template_file", path);
        }
        self.texts("stop", &rl.stop);
        self.plain("max_prompt_tokens", rl.max_prompt_tokens);
        self.plain("batch_prompts", rl.batch_prompts);
        self.plain("mini_batch_prompts", rl.mini_batch_prompts);
        self.plain("samples_per_prompt", rl.samples_per_prompt);
        let caps = rl.max_response_tokens.iter().map(|(from, cap)| format!("[{from}, {cap}]"));
        self.list("max_response_tokens", caps);
        self.plain("epochs", rl.epochs);
        self.plain("micro_batch_tokens", rl.micro_batch_tokens);
        self.plain("max_streams", rl.max_streams);
        self.text("advantage", rl.advantage.name());
        self.text("old_logprobs", rl.old_logprobs.name());
        self.plain("mask_truncated", rl.mask_truncated);
        self.number("entropy_coefficient", rl.entropy_coefficient);
        self.optional("dynamic_sampling", rl.dynamic_sampling);
        self.number("max_failure_rate", rl.max_failure_rate);
        if let Some(best) = &rl.keep_best {
            self.text("keep_best", best);
        }
        self.plain("samples_per_step", rl.samples_per_step);
        self.generated_prompts(&rl.prompts, "rl.generated", "[rl.generated]", "rl.generated");
        self.table("rl.fields", "[rl.fields]", "rl.fields");
        let fields = [
            ("question", &rl.fields.question),
            ("answer", &rl.fields.answer),
            ("data_source", &rl.fields.data_source),
        ];
        for (name, text) in fields.iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
            self.text(name, text);
        }
        self.table("rl.sampling", "[rl.sampling]", "rl.sampling");
        self.number("temperature", rl.sampling.temperature);
        self.optional("top_k", rl.sampling.top_k);
        self.number("top_p", rl.sampling.top_p);
        self.number("min_p", rl.sampling.min_p);
        self.table("rl.loss", "[rl.loss]", "rl.loss");
        self.text("kind", rl.loss.kind.name());
        self.number("clip_low", rl.loss.clip_low);
        self.number("clip_high", rl.loss.clip_high);
        self.number("dual_clip", rl.loss.dual_clip.unwrap_or(0.0));
        self.text("normalise", rl.loss.normalise.name());
        self.table("rl.kl", "[rl.kl]", "rl.kl");
        self.number("coefficient", rl.kl.coefficient);
        self.text("estimator", rl.kl.estimator.name());
        self.text("place", rl.kl.place.name());
        self.table("rl.importance", "[rl.importance]", "rl.importance");
        self.text("kind", rl.importance.kind.name());
        self.number("low", rl.importance.low);
        self.number("high", rl.importance.high);
        self.table("rl.schedule", "[rl.schedule]", "rl.schedule");
        self.text("shape", rl.schedule.shape.name());
        self.number("lr", rl.schedule.lr);
        if rl.schedule.shape != Shape::Constant {
            self.number("final_lr", rl.schedule.final_lr);
        }
        self.plain("warmup_steps", rl.schedule.warmup_steps);
        for (index, reward) in rl.rewards.iter().enumerate() {
            self.reward(index, reward);
        }
        for (index, set) in rl.validation.iter().enumerate() {
            self.rl_validation(index, set);
        }
        self.table("rl.alarms", "[rl.alarms]", "rl.alarms");
        let alarms = &rl.alarms;
        self.plain("window", alarms.window);
        self.text("length", alarms.length.name());
        self.number("length_clip_ratio", alarms.length_clip_ratio);
        self.text("repetition", alarms.repetition.name());
        self.number("repetition_ratio", alarms.repetition_ratio);
        self.text("reward", alarms.reward.name());
        self.number("reward_fall", alarms.reward_fall);
        self.text("entropy", alarms.entropy.name());
        self.number("entropy_floor", alarms.entropy_floor);
        if let Some(ceiling) = alarms.entropy_ceiling {
            self.number("entropy_ceiling", ceiling);
        }
    }

    fn prompt_rows(&mut self, prompts: &Prompts) {
        if let Origin::Path(path) = &prompts.origin {
            self.path("prompts", path);
        }
        if let Some(filter) = &prompts.filter {
            self.text("where", filter);
        }
    }

    fn generated_prompts(&mut self, prompts: &Prompts, path: &str, header: &str, shown: &str) {
        if let Origin::Generated { kind, rows, seed } = &prompts.origin {
            self.table(path, header, shown);
            self.text("kind", kind.name());
            self.plain("rows", rows);
            self.plain("seed", seed);
        }
    }

    fn texts(&mut self, name: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.list(name, texts.iter().map(|text| quoted(text)));
        }
    }

    fn reward(&mut self, index: usize, reward: &Reward) {
        self.table("rl.rewards[]", "[[rl.rewards]]", &format!("rl.rewards[{index}]"));
        self.text("kind", reward.kind.name());
        self.text("name", &reward.name);
        self.number("weight", reward.weight);
        self.texts("data_sources", &reward.data_sources);
        match &reward.kind {
            RewardKind::Verify { boxed_only } => self.plain("boxed_only", boxed_only),
            RewardKind::Format { pattern } => self.text("pattern", pattern),
            RewardKind::Overlong { buffer } => self.plain("buffer", buffer),
            RewardKind::Cosine { right, wrong } => {
                for (name, [none, longest]) in [("right", right), ("wrong", wrong)] {
                    self.plain(name, format_args!("[{none:?}, {longest:?}]"));
                }
            }
            RewardKind::Repetition { ngram } => self.plain("ngram", ngram),
            RewardKind::Program(program) => {
                self.texts("command", &program.command);
                self.texts("environment", &program.environment);
                self.number("timeout_seconds", program.timeout_seconds);
                self.plain("cpu_seconds", program.cpu_seconds);
                self.plain("memory_bytes", program.memory_bytes);
                self.plain("workers", program.workers);
            }
        }
    }

    fn rl_validation(&mut self, index: usize, set: &RlValidation) {
        let shown = format!("rl.validation[{index}]");
        self.table("rl.validation[]", "[[rl.validation]]", &shown);
        self.text("name", &set.name);
        match &set.asked {
            HeldOut::Prompts(prompts) => self.prompt_rows(prompts),
            HeldOut::Task { task, data } => {
                match task {
                    TaskName::Known(name) => self.text("task", name),
                    TaskName::File(path) => self.path("task_file", path),
                }
                if let Some(data) = data {
                    self.path("data", data);
                }
            }
        }
        self.plain("every_steps", set.every_steps);
        self.optional("max_prompts", set.max_prompts);
        self.plain("samples", set.samples);
        self.number("temperature", set.temperature);
        if let HeldOut::Prompts(prompts) = &set.asked {
            let nested = format!("{shown}.generated");
            let header = "[rl.validation.generated]";
            self.generated_prompts(prompts, "rl.validation[].generated", header, &nested);
        }
    }
}

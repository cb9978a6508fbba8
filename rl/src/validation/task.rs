//! Tasks of `octo-engine eval`, run by its runner over the weights that are trained: with the task's prompts and stop texts,
//! judged by the first of its rules.

use super::{Sums, at};
use crate::RlError;
use crate::rollout::Sampler;
use crate::run::Device;
use octo_eval::{Catalogue, Engine, EvalError, Items, Metric, Observer, Settings, Source, Task, Work};
use octo_recipe::{RlValidation, TaskName};
use octo_text::Tokenizer;
use std::path::Path;

/// A task to measure with.
pub(super) struct HeldTask {
    task: Task,
    items: Items,
    samples: u32,
    temperature: f64,
    /// Tokens.
    pub longest_prompt: u64,
}

impl HeldTask {
    pub fn read(
        set: &RlValidation,
        name: &TaskName,
        data: Option<&Path>,
        tokenizer: &Tokenizer,
    ) -> Result<HeldTask, RlError> {
        let task = only(name)?;
        let mut source = Source { limit: set.max_prompts.map(|most| most as usize), ..Source::default() };
        match data {
            Some(data) if data.is_dir() => source.folder = Some(data.to_owned()),
            Some(data) => {
                source.files.insert(task.name.clone(), data.to_string_lossy().into_owned());
            }
            None => {}
        }
        let items = Items::load(&task, &source)?;
        if items.items.is_empty() {
            return Err(EvalError::Setting(format!("{}: no items in {}", task.name, items.file)).into());
        }
        let samples = u32::try_from(set.samples).unwrap_or(u32::MAX);
        let mut held = HeldTask { task, items, samples, temperature: set.temperature, longest_prompt: 0 };
        let work = held.work(tokenizer, 1, 0)?;
        held.longest_prompt = work.prompts.iter().map(Vec::len).max().unwrap_or(0) as u64;
        Ok(held)
    }

    fn work(&self, tokenizer: &Tokenizer, cap: usize, seed: u64) -> Result<Work<'_>, RlError> {
        let sampling = at(self.temperature);
        let settings = Settings {
            samples: Some(self.samples),
            temperature: Some(sampling.temperature),
            top_k: Some(sampling.top_k),
            top_p: Some(sampling.top_p),
            min_p: Some(sampling.min_p),
            max_new_tokens: Some(cap),
            seed,
        };
        Ok(Work::new(&self.task, &self.items, tokenizer, &settings)?)
    }

    pub fn measure(&self, device: &mut Device, sampler: &Sampler, seed: u64) -> Result<Sums, RlError> {
        let Device { queue, trainer, session, tokenizer } = device;
        let work = self.work(tokenizer, sampler.cap, seed)?;
        let (net, stop_tokens) = (trainer.net(), sampler.stop_tokens.as_slice());
        let mut engine = Engine { queue, net, session, tokenizer, stop_tokens };
        let mut sums = Sums::default();
        work.run(&mut engine, None, &mut sums)?;
        Ok(sums)
    }
}

impl Observer for Sums {
    fn response(&mut self, tokens: usize, right: bool) {
        self.add(f64::from(u8::from(right)), tokens);
    }
}

/// The one task of a name.
fn only(name: &TaskName) -> Result<Task, EvalError> {
    let (catalogue, name) = match name {
        TaskName::Known(name) => (Catalogue::default(), name.clone()),
        // What it extends may lie beside it.
        TaskName::File(path) => {
            (Catalogue::new(path.parent().map(Path::to_owned)), path.to_string_lossy().into_owned())
        }
    };
    let mut tasks = catalogue.tasks(std::slice::from_ref(&name))?;
    match (tasks.pop(), tasks.is_empty()) {
        // Means over responses are what is told, so that a metric of several is not needed.
        (Some(task), true) => Ok(Task { metric: Metric::ExactMatch, ..task }),
        _ => Err(EvalError::Setting(format!(
            "`{name}` is a group: give each of its tasks a [[rl.validation]] of its own"
        ))),
    }
}

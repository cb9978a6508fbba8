//! An RL run: rollouts, rewards, updates, and what is told and kept of them.

use crate::advantage::{Estimator, Scored, advantages};
use crate::alarms::History;
use crate::gather::{Asking, Gathered, gather};
use crate::holding::allocate;
use crate::learn::{Learner, Lesson, estimator, objective, under};
use crate::metrics::RlMetrics;
use crate::prompts::{Making, Prompt, PromptFormat};
use crate::reward::{Judge, check_golds};
use crate::rollout::{Sample, Sampler};
use crate::validation::{Held, Measured, score};
use crate::{RlError, report};
use octo_infer::{Sampling, Session};
use octo_model::hf::model_path;
use octo_model::{ModelConfig, ModelDir, Net, Trainer};
use octo_ops::DType;
use octo_queue::Queue;
use octo_recipe::{Advantage, KlPlace, ModelStart, Recipe, Rl, RlSampling};
use octo_rows::Split;
use octo_text::Tokenizer;
use octo_trainer::{Keeper, Observer, Opened, RunState, Saved, Stop, TrainError, TrainOptions};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

mod validating;
mod watching;

/// Hears of an RL run's progress.
pub trait Watcher: Observer {
    /// A rollout step's figures are known.
    fn rolled(&mut self, metrics: &RlMetrics);
    /// The same as an observer of runs.
    fn observer(&mut self) -> &mut dyn Observer;
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RlOutcome {
    /// Rollout steps taken.
    pub steps: u64,
    /// Mean score of the last step's responses; `None` where nothing was left to do.
    pub score: Option<f64>,
    /// The score on each validation set after the last step.
    pub validation: Vec<(String, f64)>,
    /// The Hugging Face directory of the trained model.
    pub model: PathBuf,
}

/// The model on its device.
pub(crate) struct Device {
    pub queue: Queue,
    pub trainer: Trainer,
    pub session: Session,
    pub tokenizer: Tokenizer,
}

/// What a checkpoint holds of the loop itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoopState {
    /// A hash of the prompts.
    prompts: String,
    /// Position of the next prompt.
    cursor: u64,
    alarms: History,
    best: Option<Best>,
}

/// The best model so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Best {
    step: u64,
    score: f64,
}

/// Trains a policy as a recipe says; goes on with a run that is found in its folder, and ends with the same bits as one that
/// was never stopped.
///
/// # Errors
/// Whatever is wrong with recipe, prompts, rewards, model or device, found before a new run's folder is made;
/// [`RlError::Interrupted`] when it was asked to stop and has saved its state; [`RlError::NotFinite`],
/// [`RlError::Failures`] and [`RlError::Collapse`] when a guard stopped it.
pub fn reinforce(
    recipe: &Recipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<RlOutcome, RlError> {
    let rl = recipe.rl.as_ref().ok_or(RlError::NotRl)?;
    let tokenizer = tokenizer(recipe)?;
    let format = PromptFormat::new(&rl.template, &tokenizer)?;
    let making = Making {
        fields: &rl.fields,
        format: &format,
        tokenizer: &tokenizer,
        max_prompt_tokens: rl.max_prompt_tokens,
    };
    let prompts = making.read(&rl.prompts, Split::Train, None)?;
    check_golds(&rl.rewards, &prompts.prompts)?;
    let counts = prompts.counts;
    watcher.note(&format!(
        "prompts  {} ({} rows read, {} filtered, {} of more than {} tokens left out)",
        prompts.prompts.len(),
        counts.read,
        counts.filtered,
        counts.too_long,
        rl.max_prompt_tokens,
    ));
    let held = rl.validation.iter().map(|set| Held::read(set, &making, rl)).collect::<Result<Vec<_>, _>>()?;
    let longest_held = held.iter().map(Held::longest_prompt).max().unwrap_or(0);
    let mut judge = Judge::start(&rl.rewards)?;
    judge.probe(&rl.rewards, &prompts.prompts)?;
    let mut reference = None;
    let allocate = &mut |queue: &mut Queue, recipe: &Recipe, config: &ModelConfig, dtype: DType| {
        let held = allocate(recipe, rl, longest_held, queue, config, dtype)?;
        reference = held.reference;
        Ok((held.trainer, held.session))
    };
    let (keeper, opened) = Keeper::open(recipe, options, watcher.observer(), allocate)?;
    let Opened { mut queue, trainer, session, tokenizer, recipe, step, consumed_tokens, state } = opened;
    if sampling(rl).is_cut() {
        let of_supports = |name: &str| ["infer drawn", "policy support"].contains(&name);
        let bytes: u64 =
            queue.in_regions().iter().filter(|(name, _)| of_supports(name)).map(|(_, b)| b).sum();
        let mib = bytes.div_ceil(1 << 20);
        watcher.note(&format!("cuts     {mib} MiB on the device for what they leave to be drawn from"));
    }
    if let Some(net) = &reference {
        fill(net, &recipe, &mut queue)?;
    }
    let hash = prompts.content_hash();
    let fresh = state.is_none();
    let state = match state.map(serde_json::from_value::<LoopState>) {
        None => LoopState { prompts: hash, cursor: 0, alarms: History::default(), best: None },
        Some(Ok(state)) if state.prompts == hash => state,
        Some(Ok(_)) => return Err(RlError::PromptsChanged),
        Some(Err(error)) => {
            let path = recipe.run.dir.join("checkpoints");
            return Err(TrainError::BadState { path, reason: error.to_string() }.into());
        }
    };
    let mut run = Run {
        rl,
        seed: recipe.run.seed,
        stop_tokens: stop_tokens(&trainer, &tokenizer),
        device: Device { queue, trainer, session, tokenizer },
        reference,
        prompts: prompts.prompts.into_iter().map(Arc::new).collect(),
        held,
        judge,
        keeper,
        watcher,
        stop: options.stop.clone(),
        recipe: &recipe,
        state,
        consumed_tokens,
        score: None,
        measured: Vec::new(),
    };
    let outcome = run.steps(step, fresh);
    let Run { keeper, watcher, score, measured, .. } = run;
    let ended = keeper.end(progress(&outcome), watcher.observer());
    outcome?;
    ended?;
    let name = format!("step-{:08}", rl.steps);
    Ok(RlOutcome {
        steps: rl.steps,
        score,
        validation: measured.into_iter().map(|set| (set.name, set.score)).collect(),
        model: recipe.run.dir.join("checkpoints").join(name).join("model"),
    })
}

/// How a run ended, for `status.json`.
fn progress(outcome: &Result<(), RlError>) -> RunState {
    match outcome {
        Ok(()) => RunState::Finished,
        Err(RlError::Interrupted { .. }) => RunState::Interrupted,
        Err(error @ (RlError::NotFinite { .. } | RlError::Failures { .. } | RlError::Collapse { .. })) => {
            RunState::StoppedByGuard(error.to_string())
        }
        Err(error) => RunState::Failed(error.to_string()),
    }
}

/// The tokenizer that a recipe names, or its model's.
fn tokenizer(recipe: &Recipe) -> Result<Tokenizer, RlError> {
    let path = match (&recipe.model.tokenizer, &recipe.model.start) {
        (Some(path), _) => path.clone(),
        (None, ModelStart::From(path)) => model_path(path),
        // A random start without a tokenizer is no recipe.
        (None, _) => PathBuf::new(),
    };
    Ok(Tokenizer::load(path)?)
}

/// What ends a response: the tokenizer's end and the model's.
fn stop_tokens(trainer: &Trainer, tokenizer: &Tokenizer) -> Vec<u32> {
    let mut tokens = trainer.net().config.eos_token_ids.clone();
    tokens.extend(tokenizer.eos_id());
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

/// How responses are drawn.
pub(crate) fn sampling(rl: &Rl) -> Sampling {
    let RlSampling { temperature, top_k, top_p, min_p } = rl.sampling;
    Sampling {
        temperature: temperature as f32,
        top_k: top_k.map_or(0, |k| u32::try_from(k).unwrap_or(u32::MAX)),
        top_p: top_p as f32,
        min_p: min_p as f32,
    }
}

/// The weights that the run began with.
fn fill(net: &Net, recipe: &Recipe, queue: &mut Queue) -> Result<(), RlError> {
    match &recipe.model.start {
        ModelStart::From(path) => {
            let dir = ModelDir::open(&model_path(path)).map_err(TrainError::from)?;
            net.load(queue, dir.weights(), None)?;
        }
        ModelStart::ConfigFile(_) | ModelStart::Config(_) => net.randomise(queue, recipe.run.seed, None)?,
    }
    Ok(())
}

struct Run<'a> {
    recipe: &'a Recipe,
    rl: &'a Rl,
    seed: u64,
    device: Device,
    /// The first weights, where a divergence from them counts.
    reference: Option<Net>,
    stop_tokens: Vec<u32>,
    prompts: Vec<Arc<Prompt>>,
    held: Vec<Held>,
    judge: Judge,
    keeper: Keeper,
    watcher: &'a mut dyn Watcher,
    stop: Stop,
    state: LoopState,
    consumed_tokens: u64,
    /// Of the last step.
    score: Option<f64>,
    /// The last validation.
    measured: Vec<Measured>,
}

impl Run<'_> {
    fn steps(&mut self, first: u64, fresh: bool) -> Result<(), RlError> {
        let steps = self.rl.steps;
        if fresh && !self.held.is_empty() {
            let mut metrics = RlMetrics { total_steps: steps, ..RlMetrics::default() };
            self.validate(0, &mut metrics)?;
            self.keeper.step(&metrics)?;
        }
        for step in first..steps {
            let Some(metrics) = self.step(step)? else {
                self.save(step, false)?;
                self.keeper.wait()?;
                return Err(RlError::Interrupted { step, steps });
            };
            let done = step + 1;
            self.keeper.step(&metrics)?;
            self.watcher.rolled(&metrics);
            let better = self.is_better(done);
            self.watch(done, &metrics)?;
            if better {
                self.keep_best(done)?;
            }
            if done == steps || self.keeper.is_due(done) {
                self.save(done, false)?;
            }
            self.keeper.poll()?;
        }
        self.save(steps, false)?;
        Ok(self.keeper.wait()?)
    }

    fn sampler(&self, step: u64) -> Sampler {
        let sampling = sampling(self.rl);
        Sampler {
            sampling,
            support: sampling.is_cut(),
            stop_tokens: self.stop_tokens.clone(),
            stop_strings: self.rl.stop.clone(),
            cap: self.rl.response_cap(step) as usize,
        }
    }

    /// One rollout step; `None` where the run was asked to stop before any weight had moved.
    fn step(&mut self, step: u64) -> Result<Option<RlMetrics>, RlError> {
        let rl = self.rl;
        let mut clock = report::Clock::start();
        let sampler = self.sampler(step);
        let asking = Asking { prompts: &self.prompts, order: rl.order, seed: self.seed };
        let (device, judge) = (&mut self.device, &mut self.judge);
        let gathered = gather(device, rl, &asking, self.state.cursor, &sampler, judge, &self.stop)?;
        clock.lap("gen");
        let Some(gathered) = gathered else { return Ok(None) };
        self.check_failures(step, &gathered)?;
        let Gathered { groups, cursor, .. } = &gathered;
        let cursor = *cursor;
        let sizes: Vec<usize> =
            groups.chunks(rl.mini_batch_prompts as usize).map(|c| c.iter().map(Vec::len).sum()).collect();
        let mut lessons = self.lessons(groups)?;
        clock.lap("adv");
        let learner = Learner { rl, objective: objective(rl), step };
        let learned = learner.learn(&mut self.device, &mut lessons, &sizes)?;
        clock.lap("update_actor");
        // From here on the step is done.
        self.state.cursor = cursor;
        let tokens: u64 =
            lessons.iter().map(|l| (l.sample.prompt.tokens.len() + l.sample.tokens.len()) as u64).sum();
        self.consumed_tokens += tokens;
        self.score = Some(self.mean_score(&lessons));
        let done = step + 1;
        let mut metrics = RlMetrics {
            step: done,
            total_steps: rl.steps,
            consumed_tokens: self.consumed_tokens,
            ..RlMetrics::default()
        };
        report::step(&mut metrics, rl, &sampler, &gathered, &lessons, &learned);
        metrics.put("training/global_step", done as f64);
        metrics.put("training/optimizer_step", self.device.trainer.updates() as f64);
        metrics.put("training/epoch", cursor as f64 / self.prompts.len() as f64);
        self.tell_samples(done, &lessons)?;
        if self.held.iter().any(|set| set.is_due(done, rl.steps)) {
            self.validate(done, &mut metrics)?;
            clock.lap("testing");
        }
        clock.tell(&mut metrics, tokens);
        Ok(Some(metrics))
    }

    /// Samples with what they are learned by.
    fn lessons(&mut self, groups: &[Vec<Sample>]) -> Result<Vec<Lesson>, RlError> {
        let rl = self.rl;
        let samples: Vec<&Sample> = groups.iter().flatten().collect();
        let references = match &self.reference {
            Some(net) => under(&mut self.device, net, &samples)?.into_iter().map(Some).collect(),
            None => vec![None; samples.len()],
        };
        let in_reward = rl.kl.place == KlPlace::Reward;
        let charges = |sample: &Sample, reference: &Option<Vec<f32>>| match reference {
            Some(reference) if in_reward => {
                let tokens = sample.logprobs.iter().zip(reference);
                tokens
                    .map(|(l, r)| rl.kl.coefficient * estimator(rl).at((*l).into(), (*r).into()).0)
                    .collect()
            }
            _ => vec![0.0; sample.tokens.len()],
        };
        let mut each = references.iter();
        let scored = |sample: &Sample, reference: &Option<Vec<f32>>| Scored {
            reward: sample.rating.as_ref().map_or(0.0, |rating| rating.total),
            charges: charges(sample, reference),
        };
        let scored: Vec<Vec<Scored>> = groups
            .iter()
            .map(|group| group.iter().map(|sample| scored(sample, each.next().unwrap_or(&None))).collect())
            .collect();
        let estimator = match rl.advantage {
            Advantage::Grpo => Estimator::Grpo,
            Advantage::DrGrpo => Estimator::DrGrpo,
            Advantage::Rloo => Estimator::Rloo,
            Advantage::ReinforcePlusPlus => Estimator::ReinforcePlusPlus,
            Advantage::ReinforcePlusPlusBaseline => Estimator::ReinforcePlusPlusBaseline,
        };
        let advantages = advantages(estimator, &scored);
        let lessons = samples.into_iter().zip(advantages.into_iter().flatten()).zip(references);
        Ok(lessons
            .map(|((sample, advantages), reference)| Lesson {
                sample: sample.clone(),
                advantages,
                reference,
                old: None,
            })
            .collect())
    }

    fn mean_score(&self, lessons: &[Lesson]) -> f64 {
        let scores = lessons.iter().filter_map(|lesson| lesson.sample.rating.as_ref().ok());
        let sum: f64 = scores.map(|rating| score(rating, &self.rl.rewards)).sum();
        sum / lessons.len().max(1) as f64
    }

    fn save(&mut self, done: u64, milestone: bool) -> Result<(), RlError> {
        let state = serde_json::to_value(&self.state)
            .map_err(|error| TrainError::Io { path: self.recipe.run.dir.clone(), source: error.into() })?;
        let saved = Saved { step: done, consumed_tokens: self.consumed_tokens, state, milestone };
        Ok(self.keeper.save(&mut self.device.queue, &self.device.trainer, &saved)?)
    }
}

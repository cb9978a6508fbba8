//! A run from its recipe, or from where an earlier start left it, to its last checkpoint.

use crate::checkpoint::{self, Content, RunState, Saver, Sections};
use crate::folder::{self, Folder};
use crate::resume;
use crate::setup::{self, Named, Ready, Start};
use crate::stream::{Before, Stream};
use crate::validation::{HeldOut, micro_batch};
use crate::{Observer, Outcome, StepMetrics, TrainError, TrainOptions, samples};
use octo_model::{StepReport, WeightDType};
use octo_ops::{DType, NUMERICS_VERSION};
use octo_recipe::{ModelStart, Recipe};
use octo_shards::Batch;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Trains as a recipe says; tells the observer as it goes. A run that is found in the recipe's folder is gone on
/// with from its newest whole checkpoint, and ends with the same bits as one that was never stopped.
///
/// # Errors
/// Whatever is wrong with recipe, model, data or device, found before a new run's folder is made;
/// [`TrainError::NotFinite`] when a guard stopped it; [`TrainError::Interrupted`] when it was asked to stop and
/// has saved its state.
pub fn train(
    recipe: &Recipe,
    options: &TrainOptions,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let path = &recipe.run.dir;
    let mut held = if folder::holds_a_run(path) { Some(Folder::take(path, options)?) } else { None };
    let mut recipe = recipe.clone();
    let found = match &held {
        // Unless it was just set aside.
        Some(_) if folder::holds_a_run(path) => resume::find(&mut recipe, options, observer)?,
        _ => None,
    };
    let recipe = &recipe;
    let queue = octo_queue::open(setup::device(recipe), recipe.run.threads.map(|n| n as usize))?;
    observer.note(&format!("device   {}; forward products invariant", queue.describe().description));
    let named = setup::open(recipe, found)?;
    let vocab = named.config.vocab_size as usize;
    let before = match &named.start {
        Start::Resume(_, checkpoint) | Start::Branch(_, checkpoint) => Some(checkpoint.data()?),
        Start::Directory(_) | Start::Random => None,
    };
    let before = match (&named.start, &before) {
        (Start::Resume(..), Some(state)) => Before::Run(state),
        (_, Some(state)) => Before::Branch(state),
        _ => Before::Nothing,
    };
    let stream = Stream::open(recipe, &named, before, observer)?;
    if let Before::Run(then) = before {
        stream.check(then)?;
    }
    let held_out = recipe
        .validation
        .iter()
        .map(|v| HeldOut::prepare(v, recipe, &named.tokenizer, vocab, observer))
        .collect::<Result<Vec<_>, _>>()?;
    let ready = setup::prepare(recipe, &named, queue)?;
    describe(recipe, &named, &ready, &stream, observer);
    let folder = match held.take() {
        Some(folder) => folder,
        None => {
            let folder = Folder::take(path, options)?;
            // Another start was quicker, and is done or dead already.
            if folder::holds_a_run(path) {
                return Err(TrainError::StartedMeanwhile(path.clone()));
            }
            folder
        }
    };
    Run::new(recipe, options, named, ready, stream, held_out, folder, observer)?.go()
}

struct Run<'a> {
    recipe: &'a Recipe,
    options: &'a TrainOptions,
    named: Named,
    ready: Ready,
    stream: Stream,
    held_out: Vec<HeldOut>,
    folder: Folder,
    saver: Saver,
    observer: &'a mut dyn Observer,
    /// Steps done when this start began.
    first: u64,
    /// Steps of the newest checkpoint.
    saved: Option<u64>,
    /// When that was.
    saved_at: Instant,
    /// Steps left out because their loss or gradient was not finite.
    skipped: u64,
    /// Loss of the last step known.
    last: Option<f64>,
}

/// A step whose figures are not known yet.
struct Pending {
    step: u64,
    lr: f64,
    began: Instant,
    data: Vec<Batch>,
}

impl<'a> Run<'a> {
    #[allow(clippy::too_many_arguments, reason = "what `train` has opened, once")]
    fn new(
        recipe: &'a Recipe,
        options: &'a TrainOptions,
        named: Named,
        ready: Ready,
        stream: Stream,
        held_out: Vec<HeldOut>,
        mut folder: Folder,
        observer: &'a mut dyn Observer,
    ) -> Result<Run<'a>, TrainError> {
        let checkpoint = match &named.start {
            Start::Resume(_, checkpoint) => Some(checkpoint),
            _ => None,
        };
        let first = resume::go_back(&mut folder, checkpoint)?;
        folder.begin(recipe, &resume::start(recipe, options, checkpoint))?;
        let (saver, why) =
            Saver::new(options.fs, &folder.checkpoints(), recipe.checkpoints.keep as usize, &ready.trainer)?;
        if let Some(why) = why {
            observer.note(&why);
        }
        Ok(Run {
            recipe,
            options,
            ready,
            stream,
            held_out,
            folder,
            saver,
            observer,
            first,
            saved: checkpoint.map(|c| c.run.step),
            saved_at: Instant::now(),
            skipped: checkpoint.map_or(0, |c| c.run.skipped),
            last: None,
            named,
        })
    }

    fn go(mut self) -> Result<Outcome, TrainError> {
        let mut pending: Option<Pending> = None;
        for step in self.first..self.recipe.total_steps() {
            let began = Instant::now();
            let data = self.stream.step(step);
            let lr = self.recipe.lr(step);
            let Some(report) = self.step(lr, &data)? else {
                return Err(self.interrupted(step, pending));
            };
            if let (Some(before), Some(report)) = (pending.take(), report) {
                self.tell(before, report, BTreeMap::new())?;
            }
            let now = Pending { step, lr, began, data };
            if self.has_a_break_after(step) {
                self.pause(now)?;
            } else {
                pending = Some(now);
            }
            if !self.saver.is_writing() {
                self.saver.wait()?;
            }
        }
        self.end()
    }

    /// One optimizer step, and the report of the one before it; `None` where the run was asked to stop first.
    fn step(&mut self, lr: f64, data: &[Batch]) -> Result<Option<Option<StepReport>>, TrainError> {
        let Ready { queue, trainer, .. } = &mut self.ready;
        trainer.begin(queue, lr, data.iter().map(|batch| batch.targets).sum())?;
        for (i, batch) in data.iter().enumerate() {
            if self.options.stop.is_asked_for() {
                return Ok(None);
            }
            trainer.pass(queue, i, &micro_batch(batch))?;
        }
        Ok(Some(trainer.update(queue)?))
    }

    /// Saves what is done, and says so.
    fn interrupted(&mut self, done: u64, pending: Option<Pending>) -> TrainError {
        let save = |run: &mut Run<'_>| -> Result<(), TrainError> {
            if let (Some(before), Some(report)) = (pending, run.ready.trainer.finish(&mut run.ready.queue)?) {
                run.tell(before, report, BTreeMap::new())?;
            }
            run.save(done)?;
            run.saver.wait().map(|_| ())
        };
        match save(self) {
            Ok(()) => TrainError::Interrupted { step: done, steps: self.recipe.total_steps() },
            Err(error) => error,
        }
    }

    /// Whether something is measured, drawn or written after this step, so that its figures are waited for.
    fn has_a_break_after(&self, step: u64) -> bool {
        let last = step + 1 == self.recipe.total_steps();
        let validates = self.held_out.iter().any(|set| (step + 1).is_multiple_of(set.every_steps));
        last || validates || self.samples_after(step) || self.saves_after(step)
    }

    fn samples_after(&self, step: u64) -> bool {
        let last = step + 1 == self.recipe.total_steps();
        self.recipe.samples.as_ref().is_some_and(|s| last || (step + 1).is_multiple_of(s.every_steps))
    }

    fn saves_after(&self, step: u64) -> bool {
        let c = &self.recipe.checkpoints;
        let last = step + 1 == self.recipe.total_steps();
        let by_steps = c.every_steps.is_some_and(|every| (step + 1).is_multiple_of(every));
        let by_tokens = self.passes_multiple(step, c.every_tokens);
        let minutes = |every: f64| self.saved_at.elapsed() >= Duration::from_secs_f64(every * 60.0);
        let by_time = c.every_minutes.is_some_and(minutes) && !self.saver.is_writing();
        last || by_steps || by_tokens || by_time
    }

    /// Whether this step takes the tokens trained on past a multiple of so many.
    fn passes_multiple(&self, step: u64, every: Option<u64>) -> bool {
        let tokens = |done| self.recipe.consumed_tokens(done);
        every.is_some_and(|every| tokens(step + 1) / every != tokens(step) / every)
    }

    /// Ends a step: its figures, held-out losses, samples, a checkpoint.
    fn pause(&mut self, step: Pending) -> Result<(), TrainError> {
        let Some(report) = self.ready.trainer.finish(&mut self.ready.queue)? else { return Ok(()) };
        let number = step.step;
        let last = number + 1 == self.recipe.total_steps();
        let mut validation = BTreeMap::new();
        if !report.halted {
            for set in &mut self.held_out {
                if last || (number + 1).is_multiple_of(set.every_steps) {
                    let loss = set.measure(&mut self.ready.queue, &mut self.ready.trainer)?;
                    self.observer.validation(number + 1, &set.name, loss);
                    validation.insert(format!("val_loss/{}", set.name), loss);
                }
            }
        }
        let saves = self.saves_after(number);
        self.tell(step, report, validation)?;
        if self.samples_after(number) {
            self.sample(number + 1)?;
        }
        if saves { self.save(number + 1) } else { Ok(()) }
    }

    /// Begins to save the state after so many steps, unless it lies in a checkpoint already.
    fn save(&mut self, done: u64) -> Result<(), TrainError> {
        if self.saved == Some(done) {
            return Ok(());
        }
        let Ready { queue, trainer, .. } = &mut self.ready;
        let dtype = trainer.net().weights.dtype;
        let mut sections = Sections::default();
        sections.put(
            "run",
            &RunState {
                version: RunState::VERSION,
                numerics: NUMERICS_VERSION,
                step: done,
                updates: trainer.updates(),
                skipped: self.skipped,
                consumed_tokens: self.recipe.consumed_tokens(done),
                weights: if dtype == DType::Bf16 { "bf16" } else { "f32" }.to_owned(),
                recipe: self.recipe.content_hash(),
            },
        )?;
        sections.put("data", &self.stream.state(done))?;
        sections.put("logs", &self.folder.logs()?)?;
        let content = Content {
            step: done,
            config: trainer.net().config.clone(),
            companions: self.named.companions.clone(),
            card: card(done, self.recipe),
            recipe: self.recipe.to_toml(),
            sections,
            dtype: if dtype == DType::Bf16 { WeightDType::Bf16 } else { WeightDType::F32 },
        };
        self.saver.save(queue, trainer, content)?;
        (self.saved, self.saved_at) = (Some(done), Instant::now());
        Ok(())
    }

    /// Writes a step's figures, or stops the run where they are not finite.
    fn tell(
        &mut self,
        step: Pending,
        report: StepReport,
        validation: BTreeMap<String, f64>,
    ) -> Result<(), TrainError> {
        if report.halted {
            return Err(TrainError::NotFinite {
                step: step.step + 1,
                loss: report.loss,
                grad_norm: report.grad_norm,
                documents: self.stream.documents(step.step, &step.data),
            });
        }
        let stage = &self.recipe.stages[self.recipe.at(step.step).0];
        let metrics = StepMetrics {
            step: step.step + 1,
            total_steps: self.recipe.total_steps(),
            consumed_tokens: self.recipe.consumed_tokens(step.step + 1),
            lm_loss: report.loss,
            lr: step.lr,
            grad_norm: report.grad_norm,
            tokens_per_sec: stage.batch_tokens as f64 / step.began.elapsed().as_secs_f64(),
            validation,
        };
        self.last = Some(report.loss);
        self.folder.metrics(&metrics)?;
        self.observer.step(&metrics);
        Ok(())
    }

    fn sample(&mut self, step: u64) -> Result<(), TrainError> {
        let (Some(wanted), Some(session)) = (&self.recipe.samples, &mut self.ready.session) else {
            return Ok(());
        };
        let (queue, net) = (&mut self.ready.queue, self.ready.trainer.net());
        let texts = samples::draw(queue, net, session, &self.named.tokenizer, self.recipe, wanted)?;
        for (prompt, text) in wanted.prompts.iter().zip(&texts) {
            self.folder.sample(step, prompt, text)?;
            self.observer.sample(step, prompt, text);
        }
        Ok(())
    }

    fn end(mut self) -> Result<Outcome, TrainError> {
        let steps = self.recipe.total_steps();
        if self.first >= steps {
            // Nothing was left to do: the summary of what there is.
            for set in &mut self.held_out {
                set.measure(&mut self.ready.queue, &mut self.ready.trainer)?;
            }
        }
        self.save(steps)?;
        self.saver.wait()?;
        let vocab = self.named.config.vocab_size as usize;
        let validation = self.held_out.iter().map(|set| set.outcome(self.stream.tokens(), vocab)).collect();
        let model = self.folder.checkpoints().join(checkpoint::name(steps)).join("model");
        Ok(Outcome { steps, last_loss: self.last, validation, model })
    }
}

/// The head of a run.
fn describe(recipe: &Recipe, named: &Named, ready: &Ready, stream: &Stream, observer: &mut dyn Observer) {
    let (c, net) = (&named.config, ready.trainer.net());
    let from = match named.start {
        Start::Directory(_) => "a directory's weights",
        Start::Random => "random weights",
        Start::Resume(..) => "the run's checkpoint",
        Start::Branch(..) => "the checkpoint of another run",
    };
    observer.note(&format!(
        "model    {:?}, {} parameters in {}, {} layers of {}, from {from}",
        c.family,
        net.params.parameter_count(),
        net.weights.dtype,
        c.num_hidden_layers,
        c.hidden_size,
    ));
    let bytes: u64 = ready.queue.memory().iter().map(|(_, bytes)| bytes).sum();
    observer.note(&format!(
        "memory   {:.2} GiB in {} buffers",
        bytes as f64 / (1u64 << 30) as f64,
        ready.queue.memory().len()
    ));
    for line in stream.lines(recipe) {
        observer.note(&line);
    }
}

/// The model's README: what it came from.
fn card(step: u64, recipe: &Recipe) -> String {
    let base = match &recipe.model.start {
        ModelStart::From(path) => {
            path.file_name().map_or_else(|| "a directory".into(), |name| name.to_string_lossy().into_owned())
        }
        _ => "random weights".into(),
    };
    format!(
        "# A model trained by octo-engine\n\n\
         - started from: {base}\n- optimizer steps: {step}\n- tokens: {}\n- recipe: {}\n",
        recipe.consumed_tokens(step),
        recipe.content_hash(),
    )
}

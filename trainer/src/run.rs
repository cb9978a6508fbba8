//! A run from its recipe, or from where an earlier start left it, to its last checkpoint.

use crate::checkpoint::{self, Saver};
use crate::folder::{self, Folder};
use crate::memory;
use crate::resume;
use crate::setup::{self, Named, Ready, Start};
use crate::sinks::SinkReport;
use crate::status::RunState;
use crate::stream::{Before, Stream};
use crate::telemetry::{Beginning, Telemetry};
use crate::unigram::Unigram;
use crate::validation::{HeldOut, micro_batch};
use crate::{Observer, Outcome, Plant, TrainError, TrainOptions};
use octo_durable::DurableError;
use octo_model::StepReport;
use octo_ops::View;
use octo_queue::Queue;
use octo_recipe::Recipe;
use octo_shards::Batch;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

mod breaks;
pub(crate) mod save;

/// How long sinks may take, at the run's end, for what has been sent to them.
pub(crate) const SINKS_MAY_TAKE: Duration = Duration::from_secs(10);

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
    if recipe.rl.is_some() {
        return Err(TrainError::ForRl);
    }
    let path = &recipe.run.dir;
    let mut held = if folder::holds_a_run(path) { Some(Folder::take(path, options)?) } else { None };
    let mut damaged = 0;
    loop {
        match begin(recipe.clone(), options, &mut held, &mut damaged, observer) {
            Ok(run) => return run.go(),
            Err(error) => match damaged_checkpoint(&error, path) {
                Some(checkpoint) if !options.strict_resume => {
                    checkpoint::put_away(options.fs, path, &checkpoint, &error, observer)?;
                    damaged += 1;
                }
                _ => return Err(error),
            },
        }
    }
}

/// The checkpoint of a run that turned out to be damaged while it was loaded.
pub(crate) fn damaged_checkpoint(error: &TrainError, run: &Path) -> Option<PathBuf> {
    match error {
        TrainError::Durable(DurableError::Damaged { path, .. }) => {
            path.starts_with(run.join("checkpoints")).then(|| path.clone())
        }
        _ => None,
    }
}

/// Everything up to the first step. `held` is the folder of a run that is there, until the run has it.
fn begin<'a>(
    mut recipe: Recipe,
    options: &'a TrainOptions,
    held: &mut Option<Folder>,
    damaged: &mut usize,
    observer: &'a mut dyn Observer,
) -> Result<Run<'a>, TrainError> {
    let path = recipe.run.dir.clone();
    let found = match held {
        // Unless it was just set aside.
        Some(_) if folder::holds_a_run(&path) => resume::find(&mut recipe, options, damaged, observer)?,
        _ => None,
    };
    let own = found.as_ref().map(|checkpoint| checkpoint.path.clone());
    let queue = octo_queue::open(setup::device(&recipe), recipe.run.threads.map(|n| n as usize))?;
    let device = queue.describe();
    observer.note(&format!("device   {}; {}", device.description, setup::products(&recipe, &device)));
    let damage = |error| checkpoint::or_damage(own.as_deref(), error);
    let mut named = setup::open(&recipe, found).map_err(damage)?;
    let vocab = named.config.vocab_size as usize;
    if let Start::Resume(_, checkpoint) = &named.start
        && let (then, now) = (&checkpoint.run.products, device.products().unwrap_or_default())
        && *then != now
    {
        let name = |library: &str| {
            if library.is_empty() { "the engine's own kernels".into() } else { library.to_owned() }
        };
        let (then, now) = (name(then), name(&now));
        observer
            .note(&format!("products were by {then} so far and are by {now} from here on: other roundings"));
    }
    let before = match &named.start {
        Start::Resume(_, checkpoint) | Start::Branch(_, checkpoint) => Some(checkpoint.data()?),
        Start::Directory(_) | Start::Random => None,
    };
    let before = match (&named.start, &before) {
        (Start::Resume(..), Some(state)) => Before::Run(state),
        (_, Some(state)) => Before::Branch(state),
        _ => Before::Nothing,
    };
    let stream = Stream::open(&recipe, &named, before, observer)?;
    if let Before::Run(then) = before {
        stream.check(then)?;
    }
    let held_out = recipe
        .validation
        .iter()
        .map(|v| HeldOut::prepare(v, &recipe, &named.tokenizer, vocab, observer))
        .collect::<Result<Vec<_>, _>>()?;
    let settled = memory::settle(&mut recipe, &named, &queue.describe())?;
    if let Some(shortage) = settled.shortage {
        return Err(TrainError::NoMemory(Box::new(shortage)));
    }
    observer.note(&format!("memory   {}", settled.plan));
    let mut ready = setup::allocate(&recipe, &named, settled.dtype, settled.recompute, queue)?;
    let began = Instant::now();
    setup::fill(&recipe, &mut named, &mut ready).map_err(damage)?;
    if matches!(named.start, Start::Resume(..)) {
        let gib = checkpoint::bytes_of_state(&ready.trainer) as f64 / (1u64 << 30) as f64;
        observer.note(&format!("load     {gib:.2} GiB in {:.1} s", began.elapsed().as_secs_f64()));
    }
    describe(&recipe, &named, &ready, &stream, observer);
    let folder = match held.take() {
        Some(folder) => folder,
        None => {
            let folder = Folder::take(&path, options)?;
            // Another start was quicker, and is done or dead already.
            if folder::holds_a_run(&path) {
                return Err(TrainError::StartedMeanwhile(path));
            }
            folder
        }
    };
    Run::new(recipe, options, named, ready, stream, held_out, folder, observer)
}

struct Run<'a> {
    recipe: Recipe,
    options: &'a TrainOptions,
    named: Named,
    ready: Ready,
    stream: Stream,
    held_out: Vec<HeldOut>,
    folder: Folder,
    saver: Saver,
    telemetry: Option<Telemetry<'static>>,
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
    took: Duration,
    data: Vec<Batch>,
}

impl<'a> Run<'a> {
    #[allow(clippy::too_many_arguments, reason = "what `train` has opened, once")]
    fn new(
        recipe: Recipe,
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
        folder.begin(&recipe, &resume::start(&recipe, options, checkpoint))?;
        let (saver, why) =
            Saver::new(options.fs, &folder.checkpoints(), recipe.checkpoints.keep as usize, &ready.trainer)?;
        if let Some(why) = why {
            observer.note(&why);
        }
        let stage = recipe.stages.get(recipe.at(first).0).map(|stage| stage.name.clone());
        let beginning = Beginning {
            step: first,
            total_steps: recipe.total_steps(),
            consumed_tokens: recipe.consumed_tokens(first),
            stage: stage.unwrap_or_default(),
            checkpoint: checkpoint.map(|c| (c.path.clone(), c.run.step)),
            tensorboard: recipe.log.tensorboard,
        };
        let sinks: Vec<Vec<String>> = recipe.log.sinks.iter().map(|sink| sink.command.clone()).collect();
        let telemetry = Telemetry::begin(options.fs, &recipe.run.dir, &sinks, beginning, SystemTime::now())?;
        Ok(Run {
            telemetry: Some(telemetry),
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

    /// All that is left of the run, and how it ended for whoever looks from outside.
    fn go(mut self) -> Result<Outcome, TrainError> {
        let outcome = self.steps();
        let state = match &outcome {
            Ok(_) => RunState::Finished,
            Err(TrainError::Interrupted { .. }) => RunState::Interrupted,
            Err(error @ TrainError::NotFinite { .. }) => RunState::StoppedByGuard(error.to_string()),
            Err(error) => RunState::Failed(error.to_string()),
        };
        if let Some(telemetry) = self.telemetry.take() {
            // How the run ended is the news, not that it could not be told.
            match telemetry.end(state, SystemTime::now(), SINKS_MAY_TAKE) {
                Ok(reports) => reports.iter().for_each(|report| note_sink(self.observer, report)),
                Err(error) if outcome.is_ok() => return Err(error),
                Err(_) => {}
            }
        }
        outcome
    }

    fn steps(&mut self) -> Result<Outcome, TrainError> {
        let mut pending: Option<Pending> = None;
        for step in self.first..self.recipe.total_steps() {
            let began = Instant::now();
            self.tell_stage(step)?;
            let skips = self.recipe.data.skips(step);
            if skips {
                self.observer.note(&format!("step {}: left out (data.skip_steps)", step + 1));
                self.tell_last(pending.take())?;
            } else {
                let (lr, data) = (self.recipe.lr(step), self.stream.step(step)?);
                let Some(report) = self.step(step, lr, &data)? else {
                    return Err(self.interrupted(step, pending));
                };
                if let (Some(before), Some(report)) = (pending.take(), report) {
                    self.tell(before, report, BTreeMap::new())?;
                }
                pending = Some(Pending { step, lr, took: began.elapsed(), data });
            }
            if self.has_a_break_after(step) {
                self.pause(step, pending.take())?;
            }
            if !self.saver.is_writing() {
                self.wait_for_saver()?;
            }
        }
        self.end()
    }

    /// Tells of a stage that begins with a step.
    fn tell_stage(&mut self, step: u64) -> Result<(), TrainError> {
        let (stage, within) = self.recipe.at(step);
        match (&mut self.telemetry, self.recipe.stages.get(stage)) {
            (Some(telemetry), Some(stage)) if within == 0 => telemetry.stage(&stage.name, SystemTime::now()),
            _ => Ok(()),
        }
    }

    /// Waits for a checkpoint under way, and tells of it.
    fn wait_for_saver(&mut self) -> Result<(), TrainError> {
        if let (Some(saved), Some(telemetry)) = (self.saver.wait()?, &mut self.telemetry) {
            let path = self.folder.checkpoints().join(checkpoint::name(saved.step));
            telemetry.saved(saved.rolling.then_some((&path, saved.step)), SystemTime::now())?;
        }
        Ok(())
    }

    /// Figures of a step that nothing comes after for now.
    fn tell_last(&mut self, pending: Option<Pending>) -> Result<(), TrainError> {
        match (pending, self.ready.trainer.finish(&mut self.ready.queue)?) {
            (Some(step), Some(report)) => self.tell(step, report, BTreeMap::new()),
            _ => Ok(()),
        }
    }

    /// One optimizer step, and the report of the one before it; `None` where the run was asked to stop first.
    fn step(&mut self, step: u64, lr: f64, data: &[Batch]) -> Result<Option<Option<StepReport>>, TrainError> {
        let Ready { queue, trainer, .. } = &mut self.ready;
        let plant = self.options.plant;
        let forward = match plant == Some(Plant::Forward(step + 1)) {
            true => Some(poison(queue, trainer.net().rope.slice_rows(0, 1))?),
            false => None,
        };
        trainer.begin(queue, lr, data.iter().map(|batch| batch.targets).sum())?;
        for (i, batch) in data.iter().enumerate() {
            if self.options.stop.is_asked_for() {
                return Ok(None);
            }
            let sources: Vec<u32> = batch.origins.iter().map(|origin| origin.source as u32).collect();
            trainer.pass(queue, i, &micro_batch(batch, &sources))?;
        }
        if let Some((view, bytes)) = forward {
            queue.upload(view, &bytes)?;
        }
        if plant == Some(Plant::Gradient(step + 1)) {
            let params = &trainer.net().params;
            poison(queue, params.view(trainer.gradients(), params.embedding()))?;
        }
        Ok(Some(trainer.update(queue)?))
    }

    /// Saves what is done, and says so.
    fn interrupted(&mut self, done: u64, pending: Option<Pending>) -> TrainError {
        let save = |run: &mut Run<'_>| -> Result<(), TrainError> {
            run.tell_last(pending)?;
            run.save(done, true, None)?;
            run.wait_for_saver()
        };
        match save(self) {
            Ok(()) => TrainError::Interrupted { step: done, steps: self.recipe.total_steps() },
            Err(error) => error,
        }
    }

    fn end(&mut self) -> Result<Outcome, TrainError> {
        let steps = self.recipe.total_steps();
        if self.first >= steps {
            // Nothing was left to do: the summary of what there is.
            for set in &mut self.held_out {
                set.measure(&mut self.ready.queue, &mut self.ready.trainer)?;
            }
        }
        self.save(steps, true, None)?;
        self.wait_for_saver()?;
        let vocab = self.named.config.vocab_size as usize;
        let unigram = Unigram::of(self.stream.last_mixture(), vocab)?;
        let validation = self.held_out.iter().map(|set| set.outcome(&unigram)).collect();
        let model = self.folder.checkpoints().join(checkpoint::name(steps)).join("model");
        Ok(Outcome { steps, last_loss: self.last, validation, model })
    }
}

/// Says what did not reach a sink.
pub(crate) fn note_sink(observer: &mut dyn Observer, report: &SinkReport) {
    if report.failure.is_some() || report.dropped > 0 {
        let why = report.failure.as_deref().unwrap_or("it was too slow");
        let dropped = report.dropped;
        observer.note(&format!("sink     {}: {dropped} lines did not reach it: {why}", report.command));
    }
}

/// Plants NaN. Returns what was there before, to be put back.
fn poison(queue: &mut Queue, view: View) -> Result<(View, Vec<u8>), TrainError> {
    let mut bytes = vec![0; view.span_bytes() as usize];
    queue.snapshot(view, &mut bytes)?;
    queue.upload(view, &vec![0xff; bytes.len()])?;
    Ok((view, bytes))
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
    for line in stream.lines(recipe) {
        observer.note(&line);
    }
}

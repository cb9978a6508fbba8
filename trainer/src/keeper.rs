//! What any loop over a model takes of a run: its folder with logs and checkpoints, and its telemetry.

use crate::checkpoint::{self, Checkpoint, Content, DataState, RunState, Saver, Sections};
use crate::folder::{self, Folder};
use crate::memory::turns;
use crate::run::save::{card, moments_dtype};
use crate::run::{SINKS_MAY_TAKE, damaged_checkpoint, note_sink};
use crate::setup::{self, Ready, Start};
use crate::status::RunState as Progress;
use crate::telemetry::{Beginning, Telemetry};
use crate::{Figures, MemoryPlan, Observer, Shortage, TrainError, TrainOptions, resume};
use octo_durable::{Fs, remove_folder};
use octo_infer::Session;
use octo_model::hf::Companions;
use octo_model::{ModelConfig, Trainer, WeightDType};
use octo_ops::{DType, NUMERICS_VERSION};
use octo_queue::Queue;
use octo_recipe::Recipe;
use octo_text::Tokenizer;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The section of a checkpoint's state that belongs to the loop.
const SECTION: &str = "loop";

/// Makes a trainer and a session on a queue, as this recipe says, for a model of this shape and dtype.
type Allocate<'a> =
    dyn FnMut(&mut Queue, &Recipe, &ModelConfig, DType) -> Result<(Trainer, Session), TrainError> + 'a;

/// A model whose weights, and where its run goes on whose optimizer state, are on the device.
pub struct Opened {
    /// The device.
    pub queue: Queue,
    /// The trainer.
    pub trainer: Trainer,
    /// For generation on the trainer's own weights.
    pub session: Session,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The recipe, with what an earlier start left to the machine as it was then.
    pub recipe: Recipe,
    /// Steps done.
    pub step: u64,
    /// Tokens trained on.
    pub consumed_tokens: u64,
    /// What the loop saved of itself; `None` at the start of a run.
    pub state: Option<Value>,
}

/// What is saved beside weights and moments.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Steps done.
    pub step: u64,
    /// Tokens trained on.
    pub consumed_tokens: u64,
    /// The loop's own.
    pub state: Value,
    /// Whether this model also stays in `milestones/`.
    pub milestone: bool,
}

/// What a run would hold on its device.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Steps that are done, where the folder holds a run with a checkpoint.
    pub done: u64,
    /// Weights of the model.
    pub parameters: u64,
    /// How they are held.
    pub weights: String,
    /// The device, or why there is none here.
    pub device: String,
    /// What lies on it.
    pub memory: MemoryPlan,
    /// Where that does not fit: what would.
    pub shortage: Option<Shortage>,
}

/// A run's folder, checkpoints and telemetry, for one process at a time.
pub struct Keeper {
    recipe: Recipe,
    folder: Folder,
    saver: Saver,
    telemetry: Telemetry<'static>,
    companions: Arc<Companions>,
    saved: Option<u64>,
    saved_at: Instant,
    fs: &'static dyn Fs,
}

impl Keeper {
    /// What [`Keeper::open`] would come to, of which nothing is written and a run in the recipe's folder only looked at.
    ///
    /// # Errors
    /// Whatever would keep it from opening, but for a device that is not there or too small.
    pub fn foresee(
        recipe: &Recipe,
        options: &TrainOptions,
        allocate: &mut Allocate<'_>,
    ) -> Result<Outlook, TrainError> {
        let mut recipe = recipe.clone();
        let holds_a_run = folder::holds_a_run(&recipe.run.dir) && !options.fresh;
        let found = if holds_a_run { checkpoint::newest(&recipe.run.dir)? } else { None };
        if holds_a_run {
            resume::judge(&mut recipe, options, found.as_ref())?;
        }
        let done = found.as_ref().map_or(0, |checkpoint| checkpoint.run.step);
        let named = setup::open(&recipe, found)?;
        // `auto` is known only once it is opened.
        let opened = octo_queue::open(setup::device(&recipe), recipe.run.threads.map(|n| n as usize));
        let (device, description) = match &opened {
            Ok(queue) => (queue.describe(), queue.describe().description),
            Err(error) => (setup::device(&recipe).unopened(), error.to_string()),
        };
        let dtype = setup::weight_dtype(&recipe, &named.start, &device)?;
        let mut parameters = 0;
        let (memory, shortage) = turns::settle(&mut recipe, &device, &mut |queue, recipe| {
            let (trainer, _) = allocate(queue, recipe, &named.config, dtype)?;
            parameters = trainer.net().params.parameter_count();
            Ok(())
        })?;
        Ok(Outlook { done, parameters, weights: dtype.to_string(), device: description, memory, shortage })
    }

    /// Begins a run, or goes on with the one that is found in the recipe's folder, as [`crate::train`] does.
    ///
    /// # Errors
    /// Whatever is wrong with recipe, model or device; a folder that another process writes to.
    pub fn open(
        recipe: &Recipe,
        options: &TrainOptions,
        observer: &mut dyn Observer,
        allocate: &mut Allocate<'_>,
    ) -> Result<(Keeper, Opened), TrainError> {
        let path = &recipe.run.dir;
        let mut held = if folder::holds_a_run(path) { Some(Folder::take(path, options)?) } else { None };
        let mut damaged = 0;
        loop {
            match begin(recipe.clone(), options, &mut held, &mut damaged, observer, allocate) {
                Ok(begun) => return Ok(begun),
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

    /// Writes a step's figures: `metrics.jsonl`, TensorBoard, `status.json`, sinks.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn step(&mut self, figures: &dyn Figures) -> Result<(), TrainError> {
        self.folder.metrics(figures)?;
        self.telemetry.step(figures, SystemTime::now())
    }

    /// Adds a line to `samples.jsonl`.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn sample(&mut self, line: &impl Serialize) -> Result<(), TrainError> {
        self.folder.sample_line(line)
    }

    /// Whether the recipe's cadence asks for a checkpoint after so many steps.
    pub fn is_due(&self, done: u64) -> bool {
        let c = &self.recipe.checkpoints;
        let by_steps = c.every_steps.is_some_and(|every| done.is_multiple_of(every));
        let minutes = |every: f64| self.saved_at.elapsed() >= Duration::from_secs_f64(every * 60.0);
        by_steps || (c.every_minutes.is_some_and(minutes) && !self.saver.is_writing())
    }

    /// Begins to save the state, unless that of this step is saved.
    ///
    /// # Errors
    /// What keeps it, or the checkpoint before it, from being written.
    pub fn save(&mut self, queue: &mut Queue, trainer: &Trainer, saved: &Saved) -> Result<(), TrainError> {
        let rolling = self.saved != Some(saved.step);
        if !rolling && !saved.milestone {
            return Ok(());
        }
        let net = trainer.net();
        let narrow = net.weights.dtype == DType::Bf16;
        let mut sections = Sections::default();
        sections.put(
            "run",
            &RunState {
                version: RunState::VERSION,
                numerics: NUMERICS_VERSION,
                step: saved.step,
                updates: trainer.updates(),
                skipped: 0,
                consumed_tokens: saved.consumed_tokens,
                weights: if narrow { "bf16" } else { "f32" }.to_owned(),
                recipe: self.recipe.content_hash(),
                products: queue.describe().products().unwrap_or_default(),
            },
        )?;
        sections.put("data", &DataState { sources: BTreeMap::new() })?;
        sections.put("logs", &self.folder.logs()?)?;
        sections.put(SECTION, &saved.state)?;
        let content = Content {
            step: saved.step,
            rolling,
            milestone: saved.milestone.then_some(false),
            config: net.config.clone(),
            companions: self.companions.clone(),
            card: card(saved.step, saved.consumed_tokens, &self.recipe),
            recipe: self.recipe.to_toml(),
            sections,
            dtype: if narrow { WeightDType::Bf16 } else { WeightDType::F32 },
            moments: Some(moments_dtype(trainer)),
        };
        self.telemetry.saving(SystemTime::now())?;
        self.saver.save(queue, trainer, content)?;
        if rolling {
            (self.saved, self.saved_at) = (Some(saved.step), Instant::now());
        }
        Ok(())
    }

    /// Waits for a checkpoint under way, and tells of it.
    ///
    /// # Errors
    /// What kept it from being written.
    pub fn wait(&mut self) -> Result<(), TrainError> {
        if let Some(saved) = self.saver.wait()? {
            let path = self.folder.checkpoints().join(checkpoint::name(saved.step));
            self.telemetry.saved(saved.rolling.then_some((&path, saved.step)), SystemTime::now())?;
        }
        Ok(())
    }

    /// As [`Keeper::wait`], if nothing is being written any more.
    ///
    /// # Errors
    /// As [`Keeper::wait`].
    pub fn poll(&mut self) -> Result<(), TrainError> {
        if self.saver.is_writing() { Ok(()) } else { self.wait() }
    }

    /// The newest checkpoint of at most so many steps.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn checkpoint_at(&self, step: u64) -> Result<Option<PathBuf>, TrainError> {
        let found = checkpoint::list(&self.folder.checkpoints())?;
        Ok(found.into_iter().find(|(at, _)| *at <= step).map(|(_, path)| path))
    }

    /// Removes the model that stayed in `milestones/` after so many steps.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn forget_milestone(&self, step: u64) -> Result<(), TrainError> {
        let milestones = self.folder.checkpoints().with_file_name("milestones");
        let path = milestones.join(checkpoint::name(step));
        if path.exists() {
            remove_folder(self.fs, &path)?;
        }
        Ok(())
    }

    /// Says how the run ended to whoever looks from outside.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn end(self, state: Progress, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let reports = self.telemetry.end(state, SystemTime::now(), SINKS_MAY_TAKE)?;
        reports.iter().for_each(|report| note_sink(observer, report));
        Ok(())
    }
}

fn begin(
    mut recipe: Recipe,
    options: &TrainOptions,
    held: &mut Option<Folder>,
    damaged: &mut usize,
    observer: &mut dyn Observer,
    allocate: &mut Allocate<'_>,
) -> Result<(Keeper, Opened), TrainError> {
    let path = recipe.run.dir.clone();
    let found = match held {
        Some(_) if folder::holds_a_run(&path) => resume::find(&mut recipe, options, damaged, observer)?,
        _ => None,
    };
    let own = found.as_ref().map(|checkpoint| checkpoint.path.clone());
    let state = own.as_ref().map(|own| Sections::read(own, SECTION)).transpose()?;
    let mut queue = octo_queue::open(setup::device(&recipe), recipe.run.threads.map(|n| n as usize))?;
    observer.note(&format!("device   {}; forward products invariant", queue.describe().description));
    let damage = |error| checkpoint::or_damage(own.as_deref(), error);
    let mut named = setup::open(&recipe, found).map_err(damage)?;
    let dtype = setup::weight_dtype(&recipe, &named.start, &queue.describe())?;
    let (plan, shortage) = turns::settle(&mut recipe, &queue.describe(), &mut |queue, recipe| {
        allocate(queue, recipe, &named.config, dtype).map(drop)
    })?;
    observer.note(&format!("memory   {plan}"));
    if let Some(shortage) = shortage {
        return Err(TrainError::NoMemory(Box::new(shortage)));
    }
    let (trainer, session) = allocate(&mut queue, &recipe, &named.config, dtype)?;
    queue.seal();
    let mut ready = Ready { queue, trainer, session: Some(session) };
    setup::fill(&recipe, &mut named, &mut ready).map_err(damage)?;
    let mut folder = match held.take() {
        Some(folder) => folder,
        None => {
            let folder = Folder::take(&path, options)?;
            if folder::holds_a_run(&path) {
                return Err(TrainError::StartedMeanwhile(path));
            }
            folder
        }
    };
    let checkpoint: Option<&Checkpoint> = match &named.start {
        Start::Resume(_, checkpoint) => Some(checkpoint),
        _ => None,
    };
    let step = resume::go_back(&mut folder, checkpoint)?;
    folder.begin(&recipe, &resume::start(&recipe, options, checkpoint))?;
    let keep = recipe.checkpoints.keep as usize;
    let (saver, why) = Saver::new(options.fs, &folder.checkpoints(), keep, &ready.trainer)?;
    if let Some(why) = why {
        observer.note(&why);
    }
    let consumed_tokens = checkpoint.map_or(0, |c| c.run.consumed_tokens);
    let beginning = Beginning {
        step,
        total_steps: recipe.total_steps(),
        consumed_tokens,
        stage: "rl".to_owned(),
        checkpoint: checkpoint.map(|c| (c.path.clone(), c.run.step)),
        tensorboard: recipe.log.tensorboard,
    };
    let sinks: Vec<Vec<String>> = recipe.log.sinks.iter().map(|sink| sink.command.clone()).collect();
    let telemetry = Telemetry::begin(options.fs, &recipe.run.dir, &sinks, beginning, SystemTime::now())?;
    let saved = checkpoint.map(|c| c.run.step);
    let Ready { queue, trainer, session } = ready;
    let Some(session) = session else {
        return Err(TrainError::Queue(octo_queue::QueueError::Misuse { what: "the session is gone".into() }));
    };
    let opened = Opened {
        queue,
        trainer,
        session,
        tokenizer: named.tokenizer,
        recipe: recipe.clone(),
        step,
        consumed_tokens,
        state,
    };
    let companions = named.companions;
    Ok((
        Keeper {
            recipe,
            folder,
            saver,
            telemetry,
            companions,
            saved,
            saved_at: Instant::now(),
            fs: options.fs,
        },
        opened,
    ))
}

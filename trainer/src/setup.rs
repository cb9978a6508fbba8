//! From a recipe to a model on a device: tokenizer, weights, programs, a session for samples.

use crate::TrainError;
use crate::checkpoint::Checkpoint;
use crate::error::count;
use octo_durable::Verifying;
use octo_infer::{Limits, Session};
use octo_model::hf::{Companions, ParamFiles, model_path};
use octo_model::{
    AdamWConfig, ModelConfig, ModelDir, Moments, Net, Recompute, Shape, Trainer, TrainerOptions, WeightDType,
};
use octo_ops::{DType, DeviceInfo, Forward};
use octo_queue::{DeviceKind, Queue};
use octo_recipe::{Device, ModelStart, OptimizerState, Recipe, Weights as WeightsChoice};
use octo_text::Tokenizer;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Where the weights of a run begin.
pub(crate) enum Start {
    /// A directory's weights.
    Directory(Box<ModelDir>),
    /// Random ones.
    Random,
    /// Those of another run's checkpoint, which this run branches off.
    Branch(Box<ModelDir>, Checkpoint),
    /// Those of the run's own checkpoint, with everything beside them.
    Resume(Box<ModelDir>, Checkpoint),
}

/// What a recipe names, opened but not yet on a device.
pub(crate) struct Named {
    pub config: ModelConfig,
    pub start: Start,
    pub tokenizer: Tokenizer,
    /// What goes beside the weights of every checkpoint.
    pub companions: Arc<Companions>,
}

/// A model ready to be trained.
pub(crate) struct Ready {
    pub queue: Queue,
    pub trainer: Trainer,
    /// For samples, when the recipe wants any.
    pub session: Option<Session>,
}

/// Opens the model and tokenizer of a recipe, or of the checkpoint that the run goes on from, and holds them
/// against each other.
pub(crate) fn open(recipe: &Recipe, checkpoint: Option<Checkpoint>) -> Result<Named, TrainError> {
    let (mut config, start, own_tokenizer) = match (checkpoint, &recipe.model.start) {
        (Some(checkpoint), _) => {
            let path = checkpoint.model();
            let dir = ModelDir::open(&path)?;
            (dir.config().clone(), Start::Resume(Box::new(dir), checkpoint), Some(path))
        }
        (None, ModelStart::From(path)) if path.join("state").is_dir() => {
            let checkpoint = Checkpoint::verified(path)?;
            if recipe.model.optimizer_state == OptimizerState::Load && !checkpoint.has_moments() {
                return Err(TrainError::NoOptimizerState { path: path.clone() });
            }
            let dir = ModelDir::open(&checkpoint.model())?;
            let model = checkpoint.model();
            (dir.config().clone(), Start::Branch(Box::new(dir), checkpoint), Some(model))
        }
        (None, ModelStart::From(path)) => {
            // A milestone is a checkpoint without state.
            let path = &model_path(path);
            let dir = ModelDir::open(path)?;
            if recipe.model.optimizer_state == OptimizerState::Load {
                return Err(TrainError::NoOptimizerState { path: path.clone() });
            }
            (dir.config().clone(), Start::Directory(Box::new(dir)), Some(path.clone()))
        }
        (None, ModelStart::ConfigFile(path)) => (ModelConfig::load(path)?, Start::Random, None),
        (None, ModelStart::Config(keys)) => {
            let value = Value::Object(keys.clone());
            (ModelConfig::from_value(value, "the recipe's model.config")?, Start::Random, None)
        }
    };
    let resumes = matches!(start, Start::Resume(..));
    let given = recipe.model.tokenizer.clone().filter(|_| !resumes);
    let companions = match (&own_tokenizer, &given) {
        // A model keeps everything that came with it: chat template, generation config, vocabulary files.
        (Some(path), None) => Some(Companions::of(path)?),
        _ => None,
    };
    let tokenizer = Tokenizer::load(given.or(own_tokenizer).unwrap_or_default())?;
    let companions = companions.unwrap_or_else(|| {
        let own = Companions::default().with("tokenizer.json", tokenizer.json());
        match tokenizer.config_json() {
            Some(json) => own.with("tokenizer_config.json", json),
            None => own,
        }
    });
    let vocab = config.vocab_size as usize;
    if tokenizer.vocab_size() > vocab {
        return Err(TrainError::Vocabulary { tokens: tokenizer.vocab_size(), vocab });
    }
    let sequence_length = recipe.stages.iter().map(|stage| stage.sequence_length).max().unwrap_or(0);
    if sequence_length > u64::from(config.max_position_embeddings) {
        let positions = config.max_position_embeddings;
        return Err(TrainError::Positions { sequence_length, positions });
    }
    if matches!(start, Start::Random) {
        let eos: Vec<u32> = tokenizer.eos_id().into_iter().collect();
        config.set_special_tokens(tokenizer.bos_id(), &eos);
    }
    Ok(Named { config, start, tokenizer, companions: Arc::new(companions) })
}

/// The dtype of the weights: `auto` is that of the directory, f32 for random starts, or else the device's own. A run keeps
/// the one it began with as long as its device has it.
pub(crate) fn weight_dtype(recipe: &Recipe, start: &Start, device: &DeviceInfo) -> Result<DType, TrainError> {
    let stored = match (recipe.model.weights, start) {
        (_, Start::Resume(_, checkpoint)) if checkpoint.run.weights == "bf16" => DType::Bf16,
        (_, Start::Resume(..)) | (WeightsChoice::Auto, Start::Random) => DType::F32,
        (WeightsChoice::F32, _) => match device.precision.weights.contains(&DType::F32) {
            true => DType::F32,
            false => return Err(TrainError::Weights { wanted: "f32", device: device.kind }),
        },
        (WeightsChoice::Bf16, _) => DType::Bf16,
        (WeightsChoice::Auto, Start::Directory(dir) | Start::Branch(dir, _)) => {
            match dir.weights().narrowest_dtype() {
                WeightDType::Bf16 => DType::Bf16,
                _ => DType::F32,
            }
        }
    };
    Ok(device.precision.weights_from(stored))
}

/// The device a recipe names.
pub(crate) fn device(recipe: &Recipe) -> DeviceKind {
    match recipe.run.device {
        Device::Auto => DeviceKind::Auto,
        Device::Cpu => DeviceKind::Cpu,
        Device::Cuda => DeviceKind::Cuda,
        Device::Sim => DeviceKind::Sim,
    }
}

/// The kernels that a recipe lets training's forward passes have.
fn forward(recipe: &Recipe) -> Forward {
    match recipe.run.forward {
        octo_recipe::Forward::Fastest => Forward::Fastest,
        octo_recipe::Forward::Invariant => Forward::Invariant,
    }
}

/// Which kernels serve matrix products on a device, in words.
pub(crate) fn products(recipe: &Recipe, device: &DeviceInfo) -> String {
    match (device.products(), forward(recipe)) {
        (None, _) => "forward products invariant".to_owned(),
        (Some(library), Forward::Invariant) => {
            format!("forward products invariant, backward products by {library}")
        }
        (Some(library), Forward::Fastest) => format!("products by {library}"),
    }
}

/// Allocates everything a run needs on the queue and captures the programs.
pub(crate) fn allocate(
    recipe: &Recipe,
    named: &Named,
    dtype: DType,
    recompute: Recompute,
    mut queue: Queue,
) -> Result<Ready, TrainError> {
    let longest = recipe.stages.iter().map(|stage| stage.sequence_length).max().unwrap_or(0);
    let positions = count("sequence_length", longest)?;
    let samples = sample_context(recipe, &named.config);
    let net = Net::allocate(&mut queue, named.config.clone(), dtype, positions.max(samples))?;
    let session = match &recipe.samples {
        None => None,
        Some(wanted) => {
            let requests = count("samples.prompts", wanted.prompts.len() as u64)?;
            let limits = Limits { rows: 512, requests, context: samples, cache_tokens: samples * requests };
            Some(Session::allocate(&mut queue, &net, limits)?)
        }
    };
    let shapes = shapes(recipe)?;
    let options = TrainerOptions { recompute, moments: moments(recipe), ..TrainerOptions::default() };
    let trainer = queue
        .with_forward(forward(recipe), |queue| Trainer::with(queue, net, adamw(recipe), &shapes, options))?;
    queue.seal();
    Ok(Ready { queue, trainer, session })
}

/// A recipe's AdamW.
pub fn adamw(recipe: &Recipe) -> AdamWConfig {
    let o = &recipe.optimizer;
    AdamWConfig {
        beta1: o.betas[0],
        beta2: o.betas[1],
        eps: o.eps,
        weight_decay: o.weight_decay,
        clip: o.clip.unwrap_or(f64::INFINITY),
    }
}

/// What a recipe's moments are held in, where `auto` has been decided: it is f32 else.
pub fn moments(recipe: &Recipe) -> Moments {
    match recipe.optimizer.moments {
        octo_recipe::Moments::Auto | octo_recipe::Moments::F32 => Moments::F32,
        octo_recipe::Moments::Bf16 => Moments::Bf16 { seed: recipe.run.seed },
    }
}

/// Fills the weights, and where the run goes on the optimizer's state. The bytes of a checkpoint are compared with
/// its manifest as they come in; what differs is an error in the end.
pub(crate) fn fill(recipe: &Recipe, named: &mut Named, ready: &mut Ready) -> Result<(), TrainError> {
    let Ready { queue, trainer, .. } = ready;
    let load = recipe.model.optimizer_state == OptimizerState::Load;
    match &mut named.start {
        Start::Resume(dir, checkpoint) => restore(queue, trainer, dir, checkpoint)?,
        Start::Branch(dir, checkpoint) if load => restore(queue, trainer, dir, checkpoint)?,
        Start::Branch(dir, checkpoint) => {
            let mut verifying = checkpoint.verifying.take();
            let see = &mut |path: &Path, bytes: &[u8]| see(&mut verifying, path, bytes);
            let masters = masters(trainer, checkpoint)?;
            let files = masters.as_ref().unwrap_or(dir.weights());
            trainer.net().load_and_see(queue, files, trainer.remainder(), see)?;
            // Moments are not taken along, and so not read.
            verifying.map_or(Ok(()), Verifying::finish_seen)?;
        }
        Start::Directory(dir) => trainer.net().load(queue, dir.weights(), trainer.remainder())?,
        Start::Random => trainer.net().randomise(queue, recipe.run.seed, trainer.remainder())?,
    }
    Ok(())
}

/// Takes up the state of a checkpoint.
fn restore(
    queue: &mut Queue,
    trainer: &mut Trainer,
    dir: &ModelDir,
    checkpoint: &mut Checkpoint,
) -> Result<(), TrainError> {
    let mut verifying = checkpoint.verifying.take();
    let see = &mut |path: &Path, bytes: &[u8]| see(&mut verifying, path, bytes);
    let state = checkpoint.state();
    let open = |stem| ParamFiles::open(&state, stem, trainer.net().params.clone());
    let moments = [open("moment1")?, open("moment2")?];
    let masters = masters(trainer, checkpoint)?;
    let masters = masters.as_ref().unwrap_or(dir.weights());
    let [first, second] = &moments;
    trainer.restore(queue, masters, [first, second], checkpoint.run.updates, see)?;
    Ok(verifying.map_or(Ok(()), Verifying::finish)?)
}

fn see(verifying: &mut Option<Verifying>, path: &Path, bytes: &[u8]) {
    if let Some(verifying) = verifying {
        verifying.see(path, bytes);
    }
}

/// The f32 masters of a checkpoint, where its weights are narrower than what this trainer keeps.
fn masters(trainer: &Trainer, checkpoint: &Checkpoint) -> Result<Option<ParamFiles>, TrainError> {
    if checkpoint.run.weights == "f32" {
        return Ok(None);
    }
    Ok(Some(ParamFiles::open(&checkpoint.state(), "masters", trainer.net().params.clone())?))
}

/// The shapes of the stages' micro-batches, each once.
fn shapes(recipe: &Recipe) -> Result<Vec<Shape>, TrainError> {
    let mut shapes: Vec<Shape> = Vec::new();
    for stage in &recipe.stages {
        let tokens = count("micro_batch_tokens", stage.micro_batch_tokens)?;
        let sequences = tokens / count("sequence_length", stage.sequence_length)?;
        let sources = count("sources", stage.mixture.len() as u64)?;
        match shapes.iter_mut().find(|shape| (shape.tokens, shape.sequences) == (tokens, sequences)) {
            Some(shape) => shape.sources = shape.sources.max(sources),
            // Every token may be a document of its own.
            None => shapes.push(Shape { tokens, documents: tokens, sequences, sources }),
        }
    }
    Ok(shapes)
}

/// Tokens that a sample may have, prompt included.
fn sample_context(recipe: &Recipe, config: &ModelConfig) -> u32 {
    match &recipe.samples {
        None => 0,
        // A token is at least a byte of the prompt.
        Some(samples) => {
            let prompt = samples.prompts.iter().map(String::len).max().unwrap_or(0) as u64;
            let wanted = samples.max_new_tokens.saturating_add(prompt + 2);
            u32::try_from(wanted).unwrap_or(u32::MAX).min(config.max_position_embeddings)
        }
    }
}

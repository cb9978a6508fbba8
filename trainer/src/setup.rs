//! From a recipe to a model on a device: tokenizer, weights, programs, a session for samples.

use crate::TrainError;
use crate::error::count;
use octo_infer::{Limits, Session};
use octo_model::{AdamWConfig, ModelConfig, ModelDir, Net, Shape, Trainer, WeightDType};
use octo_ops::DType;
use octo_queue::{DeviceKind, Queue};
use octo_recipe::{Device, ModelStart, Recipe, Weights as WeightsChoice};
use octo_text::Tokenizer;
use serde_json::Value;

/// Where the weights of a run begin.
pub(crate) enum Start {
    /// A directory's weights.
    Directory(Box<ModelDir>),
    /// Random ones.
    Random,
}

/// What a recipe names, opened but not yet on a device.
pub(crate) struct Named {
    pub config: ModelConfig,
    pub start: Start,
    pub tokenizer: Tokenizer,
}

/// A model ready to be trained.
pub(crate) struct Ready {
    pub queue: Queue,
    pub trainer: Trainer,
    /// For samples, when the recipe wants any.
    pub session: Option<Session>,
}

/// Opens the model and tokenizer of a recipe and holds them against each other.
pub(crate) fn open(recipe: &Recipe) -> Result<Named, TrainError> {
    let (mut config, start, own_tokenizer) = match &recipe.model.start {
        ModelStart::From(path) => {
            let dir = ModelDir::open(path)?;
            (dir.config().clone(), Start::Directory(Box::new(dir)), Some(path.clone()))
        }
        ModelStart::ConfigFile(path) => (ModelConfig::load(path)?, Start::Random, None),
        ModelStart::Config(keys) => {
            let value = Value::Object(keys.clone());
            (ModelConfig::from_value(value, "the recipe's model.config")?, Start::Random, None)
        }
    };
    let path = recipe.model.tokenizer.clone().or(own_tokenizer).unwrap_or_default();
    let tokenizer = Tokenizer::load(&path)?;
    let vocab = config.vocab_size as usize;
    if tokenizer.vocab_size() > vocab {
        return Err(TrainError::Vocabulary { tokens: tokenizer.vocab_size(), vocab });
    }
    let sequence_length = recipe.stages[0].sequence_length;
    if sequence_length > u64::from(config.max_position_embeddings) {
        let positions = config.max_position_embeddings;
        return Err(TrainError::Positions { sequence_length, positions });
    }
    if matches!(start, Start::Random) {
        let eos: Vec<u32> = tokenizer.eos_id().into_iter().collect();
        config.set_special_tokens(tokenizer.bos_id(), &eos);
    }
    Ok(Named { config, start, tokenizer })
}

/// The dtype of the weights: `auto` is that of the directory on the CPU, f32 for random starts.
pub(crate) fn weight_dtype(recipe: &Recipe, start: &Start) -> DType {
    match (recipe.model.weights, start) {
        (WeightsChoice::F32, _) | (WeightsChoice::Auto, Start::Random) => DType::F32,
        (WeightsChoice::Bf16, _) => DType::Bf16,
        (WeightsChoice::Auto, Start::Directory(dir)) => match dir.weights().narrowest_dtype() {
            WeightDType::Bf16 => DType::Bf16,
            _ => DType::F32,
        },
    }
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

/// Allocates everything a run needs on the queue, fills the weights, captures the programs.
pub(crate) fn prepare(recipe: &Recipe, named: &Named, mut queue: Queue) -> Result<Ready, TrainError> {
    let stage = &recipe.stages[0];
    let positions = count("sequence_length", stage.sequence_length)?;
    let samples = sample_context(recipe, &named.config);
    let dtype = weight_dtype(recipe, &named.start);
    let net = Net::allocate(&mut queue, named.config.clone(), dtype, positions.max(samples))?;
    let session = match &recipe.samples {
        None => None,
        Some(wanted) => {
            let requests = count("samples.prompts", wanted.prompts.len() as u64)?;
            let limits = Limits { rows: 512, requests, context: samples, cache_tokens: samples * requests };
            Some(Session::allocate(&mut queue, &net, limits)?)
        }
    };
    let o = &recipe.optimizer;
    let optimizer = AdamWConfig {
        beta1: o.betas[0],
        beta2: o.betas[1],
        eps: o.eps,
        weight_decay: o.weight_decay,
        clip: o.clip.unwrap_or(f64::INFINITY),
    };
    let tokens = count("micro_batch_tokens", stage.micro_batch_tokens)?;
    // Every token may be a document of its own.
    let trainer = Trainer::new(&mut queue, net, optimizer, Shape { tokens, documents: tokens })?;
    queue.seal();
    match &named.start {
        Start::Directory(dir) => trainer.net().load(&mut queue, dir.weights(), trainer.remainder())?,
        Start::Random => trainer.net().randomise(&mut queue, recipe.run.seed, trainer.remainder())?,
    }
    Ok(Ready { queue, trainer, session })
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

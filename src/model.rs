//! A model directory on a device, ready for inference.

use anyhow::{Context, Result};
use clap::Args;
use octo_infer::{Limits, Session};
use octo_model::hf::model_path;
use octo_model::{ModelDir, Net, WeightDType};
use octo_ops::DType;
use octo_queue::{DeviceKind, Queue, open};
use octo_text::Tokenizer;
use std::path::{Path, PathBuf};

/// Which model, where it runs.
#[derive(Args)]
pub struct ModelArgs {
    /// A Hugging Face model directory (config.json, safetensors, tokenizer.json), or a checkpoint of a run.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Where a model runs.
#[derive(Args)]
pub struct DeviceArgs {
    /// Where to compute: auto, cpu, cuda or sim.
    #[arg(long, default_value = "auto", value_parser = parse_device)]
    device: DeviceKind,
    /// CPU threads; all of the machine's by default. Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Most tokens of one request, prompt and continuation; the model's own limit by default.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
}

/// Parses a device name, naming the known ones otherwise.
pub fn parse_device(name: &str) -> Result<DeviceKind, String> {
    DeviceKind::NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, kind)| *kind)
        .ok_or_else(|| format!("not a device; devices are {}", DeviceKind::NAMES.map(|(n, _)| n).join(", ")))
}

/// A model that can generate and score.
pub struct Loaded {
    /// The device.
    pub queue: Queue,
    /// Weights.
    pub net: Net,
    /// Cache and activations.
    pub session: Session,
    /// The directory's tokenizer; a model without one takes tokens only.
    pub tokenizer: Option<Tokenizer>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

/// What the requests need at most.
pub struct Needs {
    /// Tokens of the longest request.
    pub context: usize,
    /// Tokens of all requests together.
    pub total: usize,
    /// Number of requests.
    pub requests: usize,
}

impl Needs {
    /// Tokens of cache for all requests together, none longer than the context: each may leave the rest of its
    /// last page empty.
    fn cache_tokens(&self, context: usize) -> usize {
        let rest_of_page = 64 * self.requests;
        self.total.min(context.saturating_mul(self.requests)).saturating_add(rest_of_page)
    }
}

/// Rows of one pass: enough for a matrix product to run at its rate.
const ROWS: u32 = 512;
/// Requests decoded together.
const REQUESTS: usize = 256;
/// Tokens of cache beyond which more requests wait for pages instead.
const CACHE_TOKENS: usize = 256 * 1024;

impl ModelArgs {
    /// The directory's config and tokenizer, which are needed to know what the requests need.
    pub fn open(&self) -> Result<(ModelDir, Option<Tokenizer>)> {
        open_model(&self.model)
    }

    /// Loads the weights onto the device, with a cache for what is needed.
    pub fn load(&self, dir: &ModelDir, tokenizer: Option<Tokenizer>, needs: &Needs) -> Result<Loaded> {
        self.device.load(self.device.open()?, dir, tokenizer, needs)
    }
}

/// The config and tokenizer of a model or checkpoint.
pub fn open_model(model: &Path) -> Result<(ModelDir, Option<Tokenizer>)> {
    let path = model_path(model);
    let dir = ModelDir::open(&path)?;
    let tokenizer = match path.join("tokenizer.json").exists() {
        true => Some(Tokenizer::load(&path)?),
        false => None,
    };
    if let Some(tokenizer) = &tokenizer {
        check_tokenizer(tokenizer, dir.config().vocab_size as usize)
            .with_context(|| format!("{}", model.display()))?;
    }
    Ok((dir, tokenizer))
}

impl DeviceArgs {
    /// The device.
    pub fn open(&self) -> Result<Queue> {
        Ok(open(self.device, self.threads.map(|n| n as usize))?)
    }

    /// Most tokens of one request.
    pub fn context(&self, dir: &ModelDir) -> u32 {
        self.context.unwrap_or(dir.config().max_position_embeddings)
    }

    /// Loads the weights onto the device, with a cache for what is needed.
    pub fn load(
        &self,
        mut queue: Queue,
        dir: &ModelDir,
        tokenizer: Option<Tokenizer>,
        needs: &Needs,
    ) -> Result<Loaded> {
        let limit = self.context(dir);
        let context = u32::try_from(needs.context).unwrap_or(u32::MAX).clamp(1, limit);
        let limits = Limits {
            rows: ROWS,
            requests: needs.requests.clamp(1, REQUESTS) as u32,
            context,
            cache_tokens: needs.cache_tokens(context as usize).min(CACHE_TOKENS) as u32,
        };
        let stored = match dir.weights().narrowest_dtype() {
            WeightDType::Bf16 => DType::Bf16,
            _ => DType::F32,
        };
        let dtype = queue.describe().precision.weights_from(stored);
        let net = Net::allocate(&mut queue, dir.config().clone(), dtype, context)?;
        let session = Session::allocate(&mut queue, &net, limits)?;
        queue.seal();
        net.load(&mut queue, dir.weights(), None)?;
        Ok(Loaded { queue, net, session, tokenizer, eos: dir.eos_token_ids().to_vec() })
    }
}

/// Fails when a tokenizer has tokens that the model has no row for.
pub fn check_tokenizer(tokenizer: &Tokenizer, vocab: usize) -> Result<()> {
    if tokenizer.vocab_size() > vocab {
        anyhow::bail!(
            "the tokenizer has ids up to {}, but the model's vocabulary has {vocab}; \
             does the tokenizer belong to this model?",
            tokenizer.vocab_size() - 1
        );
    }
    Ok(())
}

//! What a run of reinforcement holds on its device.
//!
//! Rollouts and updates take turns, and neither reads what the other has left: the cache of the one and the activations of
//! the other lie in one region, as large as the larger.

use crate::run::sampling;
use octo_infer::{Limits, Session};
use octo_model::{ModelConfig, Net, PolicyShape, Recompute, Trainer, TrainerOptions};
use octo_ops::DType;
use octo_queue::{Queue, record};
use octo_recipe::{Recipe, Rl};
use octo_trainer::{TrainError, adamw, moments};

/// A model, what trains it, what draws from it, and what it is held against.
pub(crate) struct Holding {
    pub trainer: Trainer,
    pub session: Session,
    /// The first weights, where a divergence from them counts.
    pub reference: Option<Net>,
}

/// How large everything is.
#[derive(Clone, Copy)]
struct Sizes {
    limits: Limits,
    policy: PolicyShape,
    recompute: Recompute,
}

/// Makes everything a run needs on its device. Prompts that it is measured by may be longer than those it is trained on:
/// `longest_held`.
pub(crate) fn allocate(
    recipe: &Recipe,
    rl: &Rl,
    longest_held: u64,
    queue: &mut Queue,
    config: &ModelConfig,
    dtype: DType,
) -> Result<Holding, TrainError> {
    let sizes = Sizes::of(recipe, rl, longest_held, config)?;
    let (mut planner, _) = record(queue.describe().precision);
    let (_, bytes) = build(recipe, rl, sizes, &mut planner, config, dtype, u64::MAX)?;
    Ok(build(recipe, rl, sizes, queue, config, dtype, bytes)?.0)
}

impl Sizes {
    fn of(recipe: &Recipe, rl: &Rl, longest_held: u64, config: &ModelConfig) -> Result<Sizes, TrainError> {
        let count = |what: &'static str, value: u64| {
            u32::try_from(value).map_err(|_| TrainError::TooLarge { what, value })
        };
        let longest = rl.max_prompt_tokens.saturating_add(rl.longest_response());
        let widest = rl.max_prompt_tokens.max(longest_held).saturating_add(rl.longest_response());
        let positions = config.max_position_embeddings;
        if widest > u64::from(positions) {
            return Err(TrainError::Positions { sequence_length: widest, positions });
        }
        let context = count("max_response_tokens", widest)?;
        let requests = rl.max_streams.min(rl.batch_prompts.saturating_mul(rl.samples_per_prompt));
        let requests = count("max_streams", requests)?;
        let cache_tokens = count("max_streams", u64::from(requests).saturating_mul(longest).max(widest))?;
        let tokens = count("micro_batch_tokens", rl.micro_batch_tokens)?;
        Ok(Sizes {
            // One row a request that decodes, and some for prompts.
            limits: Limits { rows: requests.max(512), requests, context, cache_tokens },
            // Every row may be a document of its own. Where responses are drawn from a part of the vocabulary, the trainer
            // has to know from which.
            policy: PolicyShape { tokens, documents: tokens, support: sampling(rl).is_cut() },
            recompute: match recipe.memory.recompute {
                // What is kept of a micro-batch is small beside the pages of its rollout.
                octo_recipe::Recompute::Auto | octo_recipe::Recompute::None => Recompute::None,
                octo_recipe::Recompute::NormSwiglu => Recompute::NormSwiglu,
                octo_recipe::Recompute::Ffn => Recompute::Ffn,
                octo_recipe::Recompute::Block => Recompute::Block,
            },
        })
    }
}

/// The same with a region of so many bytes; with it comes how many the larger phase takes.
fn build(
    recipe: &Recipe,
    rl: &Rl,
    sizes: Sizes,
    queue: &mut Queue,
    config: &ModelConfig,
    dtype: DType,
    bytes: u64,
) -> Result<(Holding, u64), TrainError> {
    let Sizes { limits, policy, recompute } = sizes;
    let model = |queue: &mut Queue| Net::allocate(queue, config.clone(), dtype, limits.context);
    let net = model(queue)?;
    let reference = (rl.kl.coefficient > 0.0).then(|| model(queue)).transpose()?;
    let region = queue.region("rollout or update", bytes)?;
    let session = queue.within(region, |queue| match policy.support {
        true => Session::allocate_with_support(queue, &net, limits),
        false => Session::allocate(queue, &net, limits),
    })?;
    let moments = moments(recipe);
    let options = TrainerOptions { recompute, policy: Some(policy), moments, region: Some(region) };
    let trainer = Trainer::with(queue, net, adamw(recipe), &[], options)?;
    Ok((Holding { trainer, session, reference }, queue.extent(region)))
}

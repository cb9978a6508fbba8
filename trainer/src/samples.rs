//! Text that a person can judge.

use crate::TrainError;
use octo_infer::{Request, Sampling, Session, generate};
use octo_model::Net;
use octo_queue::Queue;
use octo_recipe::{Recipe, Samples};
use octo_text::Tokenizer;
use std::ops::ControlFlow;

/// Continues each of the recipe's prompts; the result is a function of weights, prompts and the run's seed.
pub(crate) fn draw(
    queue: &mut Queue,
    net: &Net,
    session: &mut Session,
    tokenizer: &Tokenizer,
    recipe: &Recipe,
    samples: &Samples,
) -> Result<Vec<String>, TrainError> {
    let requests = samples
        .prompts
        .iter()
        .enumerate()
        .map(|(i, prompt)| request(i, prompt, tokenizer, recipe, samples))
        .collect::<Result<Vec<_>, TrainError>>()?;
    let completions = generate(queue, net, session, &requests, |_, _| ControlFlow::Continue(()))?;
    completions.iter().map(|c| Ok(tokenizer.decode(&c.tokens, true)?)).collect()
}

fn request(
    index: usize,
    prompt: &str,
    tokenizer: &Tokenizer,
    recipe: &Recipe,
    samples: &Samples,
) -> Result<Request, TrainError> {
    Ok(Request {
        prompt: tokenizer.encode(prompt, true)?,
        max_new_tokens: samples.max_new_tokens as usize,
        sampling: Sampling {
            temperature: samples.temperature as f32,
            top_k: samples.top_k.unwrap_or(0) as u32,
            top_p: samples.top_p as f32,
            min_p: samples.min_p as f32,
        },
        seed: recipe.run.seed.wrapping_add(index as u64),
        sample: 0,
        stop_tokens: tokenizer.eos_id().into_iter().collect(),
        support: false,
    })
}

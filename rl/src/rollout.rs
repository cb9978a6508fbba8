//! Rollouts: responses drawn from the very weights that are trained, each judged as soon as it has ended.

use crate::prompts::Prompt;
use crate::reward::{Judge, Judged, Response};
use crate::{RlError, run::Device};
use octo_infer::{Request, Sampling, Supports, generate};
use octo_text::{StopEvent, StopStrings, TokenStreamDecoder, Tokenizer};
use octo_trainer::Stop;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A response that is wanted. What comes of it depends on this, the weights and the [`Sampler`] alone.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub prompt: Arc<Prompt>,
    pub seed: u64,
    /// A number of its own among those of this seed.
    pub sample: u32,
}

/// How responses are drawn and where they end.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    pub sampling: Sampling,
    /// Whether samples come with what each token could have been.
    pub support: bool,
    pub stop_tokens: Vec<u32>,
    pub stop_strings: Vec<String>,
    /// The most tokens.
    pub cap: usize,
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub prompt: Arc<Prompt>,
    /// With what ended it.
    pub tokens: Vec<u32>,
    /// Log-probability of each under the distribution it was drawn from.
    pub logprobs: Vec<f32>,
    /// Which tokens each could have been, where the sampler asks for it.
    pub supports: Option<Arc<Supports>>,
    /// Without what ended it.
    pub text: String,
    /// Whether it was cut off.
    pub truncated: bool,
    pub rating: Judged,
}

/// A response under way.
struct Partial {
    tokens: Vec<u32>,
    /// Its text so far, where stop strings have to be found in it.
    watched: Option<(TokenStreamDecoder, StopStrings, String)>,
}

impl Partial {
    /// Takes a token; true where it completes a stop string.
    fn push(&mut self, token: u32) -> bool {
        self.tokens.push(token);
        let Some((decoder, stops, text)) = &mut self.watched else { return false };
        match stops.push(&decoder.push(token)) {
            StopEvent::Emit(more) => text.push_str(&more),
            StopEvent::Stopped(more) => {
                text.push_str(&more);
                return true;
            }
        }
        false
    }

    /// The text of a response that has ended so.
    fn text(&mut self, tokenizer: &Tokenizer, stopped_by_text: bool) -> Result<String, RlError> {
        match self.watched.take() {
            Some((_, _, text)) if stopped_by_text => Ok(text),
            _ => Ok(tokenizer.decode(&self.tokens, true)?),
        }
    }
}

/// Draws a response for each of `wanted`, in order, and has it judged; `None` where the run was asked to stop meanwhile.
pub(crate) fn roll_out(
    device: &mut Device,
    wanted: &[Wanted],
    sampler: &Sampler,
    judge: &mut Judge,
    stop: &Stop,
) -> Result<Option<Vec<Sample>>, RlError> {
    let Device { queue, trainer, session, tokenizer } = device;
    let request = |wanted: &Wanted| Request {
        prompt: wanted.prompt.tokens.clone(),
        max_new_tokens: sampler.cap,
        sampling: sampler.sampling,
        seed: wanted.seed,
        sample: wanted.sample,
        stop_tokens: sampler.stop_tokens.clone(),
        support: sampler.support,
    };
    let requests: Vec<Request> = wanted.iter().map(request).collect();
    let watch = || -> Result<_, RlError> {
        if sampler.stop_strings.is_empty() {
            return Ok(None);
        }
        let stops = StopStrings::new(sampler.stop_strings.clone())?;
        Ok(Some((TokenStreamDecoder::new(tokenizer, true), stops, String::new())))
    };
    let mut under_way = Vec::with_capacity(wanted.len());
    for _ in wanted {
        under_way.push(Partial { tokens: Vec::new(), watched: watch()? });
    }
    let mut texts = vec![String::new(); wanted.len()];
    let mut by_text = vec![false; wanted.len()];
    let mut failed = None;
    let completions = generate(queue, trainer.net(), session, &requests, |index, token| {
        if stop.is_asked_for() || failed.is_some() {
            return ControlFlow::Break(());
        }
        let partial = &mut under_way[index];
        let stopped = partial.push(token);
        let ended = stopped || sampler.stop_tokens.contains(&token) || partial.tokens.len() >= sampler.cap;
        if ended {
            let told = partial.text(tokenizer, stopped).and_then(|text| {
                texts[index].clone_from(&text);
                by_text[index] = stopped;
                let (prompt, tokens) = (Arc::clone(&wanted[index].prompt), partial.tokens.clone());
                judge.ask(index, Response { prompt, text, tokens, cap: sampler.cap })
            });
            failed = told.err();
        }
        if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let judged = judge.answers()?;
    if let Some(error) = failed {
        return Err(error);
    }
    if stop.is_asked_for() {
        return Ok(None);
    }
    let mut ratings: Vec<Judged> = wanted.iter().map(|_| Err("it was not judged".to_owned())).collect();
    for (index, rating) in judged {
        ratings[index] = rating;
    }
    let samples = completions.into_iter().zip(wanted).zip(texts).zip(by_text).zip(ratings);
    let sample = |((((completion, wanted), text), by_text), rating): (
        (((octo_infer::Completion, &Wanted), _), bool),
        _,
    )| {
        let ended =
            by_text || completion.tokens.last().is_some_and(|last| sampler.stop_tokens.contains(last));
        Sample {
            prompt: Arc::clone(&wanted.prompt),
            tokens: completion.tokens,
            logprobs: completion.sampled_logprobs,
            supports: completion.supports.map(Arc::new),
            text,
            truncated: !ended,
            rating,
        }
    };
    Ok(Some(samples.map(sample).collect()))
}

//! Continuations of many prompts: requests join and leave the batch as pages allow.

use crate::pages::PagePool;
use crate::session::{Chunk, Draw, Session};
use crate::{InferError, check_tokens};
use octo_model::Net;
use octo_ops::SamplingRow;
use octo_queue::Queue;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// How tokens are drawn; see [`SamplingRow`] for the order of the cuts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f32,
    /// Tokens kept; 0 for all.
    pub top_k: u32,
    /// Probability mass kept; 1 for all.
    pub top_p: f32,
    /// Fraction of the likeliest token's probability below which tokens go; 0 for none.
    pub min_p: f32,
}

/// One prompt to continue.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to draw.
    pub max_new_tokens: usize,
    /// How to draw.
    pub sampling: Sampling,
    /// Seed of the request. Its random numbers depend on this, `sample` and the position alone.
    pub seed: u64,
    /// Index among several samples of one prompt.
    pub sample: u32,
    /// Tokens that end the continuation (they are part of it).
    pub stop_tokens: Vec<u32>,
}

/// Why a continuation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// At `max_new_tokens` or the end of the context.
    Length,
    /// At a stop token, or because the caller said so.
    Stop,
}

/// A continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The drawn tokens.
    pub tokens: Vec<u32>,
    /// Log-probability of each under the model.
    pub logprobs: Vec<f32>,
    /// Log-probability of each under the distribution it was drawn from: after temperature and cuts.
    pub sampled_logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// A request in the batch.
struct Active {
    index: usize,
    /// Prompt and drawn tokens.
    tokens: Vec<u32>,
    prompt: usize,
    /// Tokens whose keys and values are in the cache.
    cached: usize,
    pages: Vec<u32>,
    logprobs: Vec<f32>,
    sampled_logprobs: Vec<f32>,
    /// Length at which it ends.
    limit: usize,
}

/// Continues all requests. `on_token` sees every drawn token as (request, token) and may end its request.
///
/// Completions come in the order of the requests; each depends on its own request alone, not on the others,
/// their number, or the session's limits.
pub fn generate(
    queue: &mut Queue,
    net: &Net,
    session: &mut Session,
    requests: &[Request],
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Completion>, InferError> {
    for (i, request) in requests.iter().enumerate() {
        check(i, request, session)?;
    }
    let mut done: Vec<Option<Completion>> = requests.iter().map(|_| None).collect();
    let mut waiting: VecDeque<usize> = (0..requests.len()).collect();
    let mut active: Vec<Active> = Vec::new();
    let mut pool = session.pool();
    loop {
        admit(&mut active, &mut waiting, &mut pool, requests, session);
        if active.is_empty() {
            break;
        }
        let takes = plan(&active, session.limits().rows as usize);
        let (chunks, how) = chunks(&active, &takes, requests);
        let mut draws = session.sample(queue, net, &chunks, &how)?.into_iter();
        let drew: Vec<bool> = how.iter().map(Option::is_some).collect();
        let mut drew = drew.into_iter();
        let mut staying = Vec::new();
        for (mut request, take) in active.drain(..).zip(takes) {
            request.cached += take;
            let draw = if take > 0 && drew.next() == Some(true) { draws.next() } else { None };
            match draw.and_then(|draw| advance(&mut request, draw, requests, &mut on_token)) {
                None => staying.push(request),
                Some(finish) => {
                    pool.give_back(request.pages);
                    done[request.index] = Some(Completion {
                        tokens: request.tokens.split_off(request.prompt),
                        logprobs: request.logprobs,
                        sampled_logprobs: request.sampled_logprobs,
                        finish,
                    });
                }
            }
        }
        active = staying;
    }
    Ok(done.into_iter().map(|c| c.unwrap_or_else(Completion::empty)).collect())
}

impl Completion {
    /// Of a request with nothing to draw.
    fn empty() -> Completion {
        let [logprobs, sampled_logprobs] = [Vec::new(), Vec::new()];
        Completion { tokens: Vec::new(), logprobs, sampled_logprobs, finish: FinishReason::Length }
    }
}

/// Lets waiting requests in, in order, while there is a place and there are pages for their whole length: a
/// request that has begun can always be finished.
fn admit(
    active: &mut Vec<Active>,
    waiting: &mut VecDeque<usize>,
    pool: &mut PagePool,
    requests: &[Request],
    session: &Session,
) {
    while let Some(&index) = waiting.front() {
        let request = &requests[index];
        let limit = request
            .prompt
            .len()
            .saturating_add(request.max_new_tokens)
            .min(session.limits().context as usize);
        if limit == request.prompt.len() {
            // Nothing to draw: it asks for no token, or its prompt fills the context.
            waiting.pop_front();
            continue;
        }
        if active.len() == session.limits().requests as usize {
            return;
        }
        let Some(pages) = pool.take(limit) else { return };
        waiting.pop_front();
        active.push(Active {
            index,
            tokens: request.prompt.clone(),
            prompt: request.prompt.len(),
            cached: 0,
            pages,
            logprobs: Vec::new(),
            sampled_logprobs: Vec::new(),
            limit,
        });
    }
}

/// Rows of each request in the next pass: one for each that decodes, the rest for prompts, first come first.
fn plan(active: &[Active], rows: usize) -> Vec<usize> {
    let pending = |request: &Active| request.tokens.len() - request.cached;
    let mut left = rows;
    let mut takes = vec![0; active.len()];
    for (take, _) in takes.iter_mut().zip(active).filter(|(_, request)| pending(request) == 1) {
        *take = 1.min(left);
        left -= *take;
    }
    for (take, request) in takes.iter_mut().zip(active).filter(|(_, request)| pending(request) > 1) {
        *take = pending(request).min(left);
        left -= *take;
    }
    takes
}

/// The chunks of a pass, and how to draw after those that reach the end of their tokens.
fn chunks<'a>(
    active: &'a [Active],
    takes: &[usize],
    requests: &[Request],
) -> (Vec<Chunk<'a>>, Vec<Option<SamplingRow>>) {
    let rows = active.iter().zip(takes).filter(|(_, take)| **take > 0);
    rows.map(|(request, &take)| {
        let end = request.cached + take;
        let chunk = Chunk {
            pages: &request.pages,
            tokens: &request.tokens[request.cached..end],
            start: request.cached,
        };
        (chunk, (end == request.tokens.len()).then(|| sampling_row(&requests[request.index], end)))
    })
    .unzip()
}

fn sampling_row(request: &Request, position: usize) -> SamplingRow {
    let Sampling { temperature, top_k, top_p, min_p } = request.sampling;
    SamplingRow {
        temperature,
        top_k,
        top_p,
        min_p,
        seed_low: request.seed as u32,
        seed_high: (request.seed >> 32) as u32,
        position: position as u32,
        sample: request.sample,
    }
}

/// Appends a drawn token; says whether and why the request has ended.
fn advance(
    active: &mut Active,
    draw: Draw,
    requests: &[Request],
    on_token: &mut impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Option<FinishReason> {
    active.tokens.push(draw.token);
    active.logprobs.push(draw.logprob);
    active.sampled_logprobs.push(draw.sampled_logprob);
    let told_to_stop = on_token(active.index, draw.token).is_break();
    if told_to_stop || requests[active.index].stop_tokens.contains(&draw.token) {
        Some(FinishReason::Stop)
    } else if active.tokens.len() >= active.limit {
        Some(FinishReason::Length)
    } else {
        None
    }
}

fn check(index: usize, request: &Request, session: &Session) -> Result<(), InferError> {
    if request.prompt.is_empty() {
        return Err(InferError::EmptyPrompt { request: index });
    }
    check_tokens(index, &request.prompt, session.vocab())?;
    let (tokens, context) = (request.prompt.len(), session.limits().context as usize);
    if tokens + request.max_new_tokens.min(1) > context {
        return Err(InferError::NoRoom { request: index, tokens, context });
    }
    let s = &request.sampling;
    let range = |parameter, value: f32, holds: bool, expected| {
        let value = value.into();
        if holds { Ok(()) } else { Err(InferError::Sampling { request: index, parameter, value, expected }) }
    };
    range("temperature", s.temperature, s.temperature.is_finite() && s.temperature >= 0.0, "0 or more")?;
    range("top_p", s.top_p, s.top_p > 0.0 && s.top_p <= 1.0, "more than 0, at most 1")?;
    range("min_p", s.min_p, (0.0..1.0).contains(&s.min_p), "0 or more, less than 1")
}

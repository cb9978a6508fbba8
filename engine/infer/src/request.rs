//! Requests and what comes of them.

use crate::{InferError, Session, Supports, check_tokens};
use octo_ops::SamplingRow;

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

impl Sampling {
    /// Whether there may be tokens that cannot be drawn.
    pub fn is_cut(&self) -> bool {
        self.temperature <= 0.0 || self.top_k > 0 || self.top_p < 1.0 || self.min_p > 0.0
    }
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
    /// Whether the completion tells which tokens each could have been. It takes a session of
    /// [`Session::allocate_with_support`].
    pub support: bool,
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
    /// Log-probability of each under the distribution that it was drawn from: after temperature and cuts. 0 where the
    /// likeliest is taken.
    pub sampled_logprobs: Vec<f32>,
    /// Version of the weights that each was drawn under: how often [`Rollout::advance_version`](crate::Rollout::advance_version) had been
    /// called.
    pub versions: Vec<u64>,
    /// Which tokens each could have been, where the request wants it.
    pub supports: Option<Supports>,
    /// Why it ended.
    pub finish: FinishReason,
}

impl Request {
    /// Length at which the continuation ends.
    pub(crate) fn limit(&self, session: &Session) -> usize {
        self.prompt.len().saturating_add(self.max_new_tokens).min(session.limits().context as usize)
    }

    /// How the token at a position is drawn.
    pub(crate) fn policy(&self, position: usize) -> SamplingRow {
        let Sampling { temperature, top_k, top_p, min_p } = self.sampling;
        SamplingRow {
            temperature,
            top_k,
            top_p,
            min_p,
            seed_low: self.seed as u32,
            seed_high: (self.seed >> 32) as u32,
            position: position as u32,
            sample: self.sample,
        }
    }

    /// Fails where the request makes no sense; `index` is what errors call it.
    pub(crate) fn check(&self, index: usize, session: &Session) -> Result<(), InferError> {
        if self.prompt.is_empty() {
            return Err(InferError::EmptyPrompt { request: index });
        }
        check_tokens(index, &self.prompt, session.vocab())?;
        let (tokens, context) = (self.prompt.len(), session.limits().context as usize);
        if tokens + self.max_new_tokens.min(1) > context {
            return Err(InferError::NoRoom { request: index, tokens, context });
        }
        if self.support && !session.has_support() {
            return Err(InferError::NoSupport { request: index });
        }
        let s = &self.sampling;
        let range = |parameter, value: f32, holds: bool, expected| {
            let value = value.into();
            if holds {
                Ok(())
            } else {
                Err(InferError::Sampling { request: index, parameter, value, expected })
            }
        };
        range("temperature", s.temperature, s.temperature.is_finite() && s.temperature >= 0.0, "0 or more")?;
        range("top_p", s.top_p, s.top_p > 0.0 && s.top_p <= 1.0, "more than 0, at most 1")?;
        range("min_p", s.min_p, (0.0..1.0).contains(&s.min_p), "0 or more, less than 1")
    }
}

//! Who writes the responses.

use crate::EvalError;
use octo_infer::{FinishReason, InferError, Request, Sampling, Session, generate};
use octo_model::Net;
use octo_queue::Queue;
use octo_text::{Continuation, TextError, Tokenizer};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// A prompt to be continued.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Token ids, beginning-of-text once.
    pub prompt: &'a [u32],
    /// Most tokens to draw.
    pub max_new_tokens: usize,
    /// How to draw.
    pub sampling: Sampling,
    /// Seed; random numbers depend on this, `sample` and the position alone.
    pub seed: u64,
    /// Index among the samples of one prompt.
    pub sample: u32,
    /// Texts that end the response and are no part of it.
    pub stop: &'a [String],
}

/// Why a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended it, or a stop string.
    Stop,
    /// It was cut: at the most tokens, or at the end of the context.
    Length,
}

/// What was written to a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The text.
    pub text: String,
    /// Its tokens; `None` where nobody counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// Why it ended; `None` where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
}

/// Something that continues prompts.
pub trait Generator {
    /// Continues all prompts and hands each response over, with its prompt's index, as soon as it is complete, in any order. What
    /// a response is may depend on its own [`Ask`] alone.
    ///
    /// # Errors
    /// Its own, and those of `done`, after which it may stop.
    fn generate(
        &mut self,
        asks: &[Ask<'_>],
        done: &mut dyn FnMut(usize, Response) -> Result<(), EvalError>,
    ) -> Result<(), GenerateError>;
}

/// Nobody: for work whose responses are all there.
impl Generator for () {
    fn generate(
        &mut self,
        asks: &[Ask<'_>],
        _done: &mut dyn FnMut(usize, Response) -> Result<(), EvalError>,
    ) -> Result<(), GenerateError> {
        match asks.is_empty() {
            true => Ok(()),
            false => Err(EvalError::Generator("there is none, and responses are missing".into()).into()),
        }
    }
}

/// Why no response came.
#[derive(Debug)]
pub enum GenerateError {
    /// The engine failed, at a prompt or altogether.
    Infer(InferError),
    /// Anything else.
    Other(EvalError),
}

impl From<EvalError> for GenerateError {
    fn from(error: EvalError) -> GenerateError {
        GenerateError::Other(error)
    }
}

/// The engine's model, wherever its weights come from.
pub struct Engine<'a> {
    /// The device.
    pub queue: &'a mut Queue,
    /// The weights.
    pub net: &'a Net,
    /// Cache and activations.
    pub session: &'a mut Session,
    /// Ids to text.
    pub tokenizer: &'a Tokenizer,
    /// Tokens that end a text.
    pub stop_tokens: &'a [u32],
}

/// A response as it grows; `None` once it has been handed over.
struct Growing {
    text: Option<Continuation>,
    tokens: usize,
    limit: usize,
}

impl Generator for Engine<'_> {
    fn generate(
        &mut self,
        asks: &[Ask<'_>],
        done: &mut dyn FnMut(usize, Response) -> Result<(), EvalError>,
    ) -> Result<(), GenerateError> {
        let context = self.session.limits().context as usize;
        let mut growing = Vec::with_capacity(asks.len());
        for ask in asks {
            let text = Continuation::new(Some(self.tokenizer), ask.stop).map_err(EvalError::from)?;
            let limit = ask.max_new_tokens.min(context.saturating_sub(ask.prompt.len()));
            growing.push(Growing { text: Some(text), tokens: 0, limit });
        }
        let requests: Vec<Request> = asks
            .iter()
            .map(|ask| Request {
                prompt: ask.prompt.to_vec(),
                max_new_tokens: ask.max_new_tokens,
                sampling: ask.sampling,
                seed: ask.seed,
                sample: ask.sample,
                stop_tokens: self.stop_tokens.to_vec(),
                support: false,
            })
            .collect();
        let mut failed = None;
        let stop_tokens = self.stop_tokens;
        let on_token = |index: usize, token: u32| {
            if failed.is_some() {
                return ControlFlow::Break(());
            }
            match growing[index].push(token, stop_tokens) {
                Ok(None) => ControlFlow::Continue(()),
                Ok(Some(response)) => {
                    failed = done(index, response).err();
                    ControlFlow::Break(())
                }
                Err(error) => {
                    failed = Some(error.into());
                    ControlFlow::Break(())
                }
            }
        };
        let completions = generate(self.queue, self.net, self.session, &requests, on_token)
            .map_err(GenerateError::Infer)?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        // Those that drew nothing were never told of.
        for (index, (growing, completion)) in growing.into_iter().zip(completions).enumerate() {
            if growing.text.is_some() {
                let finish = match completion.finish {
                    FinishReason::Stop => Finish::Stop,
                    FinishReason::Length => Finish::Length,
                };
                let tokens = Some(completion.tokens.len());
                done(index, Response { text: String::new(), tokens, finish: Some(finish) })?;
            }
        }
        Ok(())
    }
}

impl Growing {
    /// Takes a token; gives the response when that was its last.
    fn push(&mut self, token: u32, stop_tokens: &[u32]) -> Result<Option<Response>, TextError> {
        let Some(text) = &mut self.text else { return Ok(None) };
        self.tokens += 1;
        let is_end = stop_tokens.contains(&token);
        let stopped = text.push(token, is_end).is_break() || is_end;
        if !stopped && self.tokens < self.limit {
            return Ok(None);
        }
        let finish = if stopped { Finish::Stop } else { Finish::Length };
        let text = self.text.take().map(Continuation::finish).transpose()?.unwrap_or_default();
        Ok(Some(Response { text, tokens: Some(self.tokens), finish: Some(finish) }))
    }
}

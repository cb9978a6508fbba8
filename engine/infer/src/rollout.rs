//! Continuations of many prompts, one pass at a time: requests come, go and are cancelled between any two.

use crate::batch::{Chunk, Ids};
use crate::scheduler::{Capacity, Draw, Job, Pass, Scheduler, Span};
use crate::session::Draws;
use crate::session::Pending;
use crate::{Completion, FinishReason, InferError, Load, Request, RequestId, Session, Supports, Token};
use octo_model::Net;
use octo_ops::{PAGE_TOKENS, SamplingRow, support};
use octo_queue::{Queue, QueueError};
use std::collections::BTreeMap;

/// What a step tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token was drawn.
    Token {
        /// For whom.
        id: RequestId,
        /// The token.
        token: Token,
    },
    /// A request has ended. Its tokens were told before.
    Finished {
        /// Which.
        id: RequestId,
        /// All of it.
        completion: Completion,
    },
}

/// What passes have done so far; the basis of bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Passes.
    pub passes: u64,
    /// Rows computed.
    pub rows: u64,
    /// Tokens drawn.
    pub draws: u64,
    /// Keys that attention read, once for the rows of one request in a pass.
    pub keys: u64,
}

/// Requests under way on a session.
///
/// A completion depends on its own request alone: not on the others, their number or order, on when they come and go, or
/// on the session's limits. Requests of equal prompts that are submitted one after the other share the pages of their
/// prompt.
///
/// Where the session is pipelined a step asks for the next pass before it reads the draws of the last, so that the device
/// never waits for the host; a request that ends at a stop token then has one row more, which nobody reads.
pub struct Rollout<'s> {
    session: &'s mut Session,
    scheduler: Scheduler,
    active: BTreeMap<RequestId, Active>,
    /// Requests with nothing to draw, not told yet.
    empty: Vec<Event>,
    in_flight: Option<InFlight>,
    work: Work,
    submitted: u64,
    group: u64,
    last_prompt: Vec<u32>,
}

/// A request that has not ended.
struct Active {
    request: Request,
    /// Prompt and drawn tokens.
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    sampled_logprobs: Vec<f32>,
    versions: Vec<u64>,
    supports: Option<Supports>,
    limit: usize,
}

/// A pass whose draws have not been read.
struct InFlight {
    pending: Pending,
    draws: Vec<RequestId>,
    /// Of the weights.
    version: u64,
}

impl Active {
    fn completion(mut self, finish: FinishReason) -> Completion {
        Completion {
            tokens: self.tokens.split_off(self.request.prompt.len()),
            logprobs: self.logprobs,
            sampled_logprobs: self.sampled_logprobs,
            versions: self.versions,
            supports: self.supports,
            finish,
        }
    }
}

impl<'s> Rollout<'s> {
    /// No request yet. What the session's cache held is forgotten.
    pub fn new(session: &'s mut Session) -> Rollout<'s> {
        let limits = session.limits();
        let capacity = Capacity {
            rows: limits.rows.max(1) as usize,
            requests: limits.requests.max(1) as usize,
            pages: limits.pages(),
            page_tokens: PAGE_TOKENS as usize,
        };
        Rollout {
            session,
            scheduler: Scheduler::new(capacity),
            active: BTreeMap::new(),
            empty: Vec::new(),
            in_flight: None,
            work: Work::default(),
            submitted: 0,
            group: 0,
            last_prompt: Vec::new(),
        }
    }

    /// Adds a request; it begins when those before it have, and there is a place and there are pages.
    ///
    /// # Errors
    /// [`InferError`] where the request makes no sense; its number is that of the id it would have had.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, InferError> {
        let id = RequestId(self.submitted);
        request.check(id.0 as usize, self.session)?;
        self.submitted += 1;
        if request.prompt != self.last_prompt {
            self.group += 1;
            self.last_prompt.clone_from(&request.prompt);
        }
        let (prompt, limit) = (request.prompt.len(), request.limit(self.session));
        let tokens = request.prompt.clone();
        let supports = request.support.then(|| Supports::new(self.session.vocab() as u32));
        let active = Active {
            request,
            tokens,
            logprobs: Vec::new(),
            sampled_logprobs: Vec::new(),
            versions: Vec::new(),
            supports,
            limit,
        };
        if limit == prompt {
            // Nothing to draw: it asks for no token, or its prompt fills the context.
            self.empty.push(Event::Finished { id, completion: active.completion(FinishReason::Length) });
            return Ok(id);
        }
        self.scheduler.submit(id, Job { prompt, limit, group: self.group });
        self.active.insert(id, active);
        Ok(id)
    }

    /// Ends a request now; gives what it has drawn, or nothing if it has ended before.
    pub fn cancel(&mut self, id: RequestId) -> Option<Completion> {
        let active = self.active.remove(&id)?;
        self.scheduler.cancel(id);
        Some(active.completion(FinishReason::Stop))
    }

    /// Runs one pass and tells what was drawn, request by request in the order of a pass.
    ///
    /// # Errors
    /// [`InferError::Queue`] where the device failed; the rollout is of no use afterwards.
    pub fn step(&mut self, queue: &mut Queue, net: &Net) -> Result<Vec<Event>, InferError> {
        let mut events = std::mem::take(&mut self.empty);
        let begun = self.begin(queue, net)?;
        let done =
            if self.session.pipelined() { std::mem::replace(&mut self.in_flight, begun) } else { begun };
        if let Some(done) = done {
            self.read(queue, done, &mut events)?;
        }
        Ok(events)
    }

    /// Whether all that was submitted has ended and been told.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty() && self.empty.is_empty() && self.in_flight.is_none()
    }

    /// The weights have changed: requests under way go on under the new ones, with everything cached computed anew. Call
    /// it after the update, before the next step. Tells what the last pass under the old weights drew.
    ///
    /// # Errors
    /// [`InferError::Queue`] where the device failed.
    pub fn advance_version(&mut self, queue: &mut Queue) -> Result<Vec<Event>, InferError> {
        let mut events = std::mem::take(&mut self.empty);
        if let Some(done) = self.in_flight.take() {
            self.read(queue, done, &mut events)?;
        }
        self.scheduler.advance_version();
        Ok(events)
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        self.scheduler.load()
    }

    /// What has been done.
    pub fn work(&self) -> Work {
        self.work
    }

    /// What fits.
    pub fn limits(&self) -> crate::Limits {
        self.session.limits()
    }

    /// Plans a pass and starts it; `None` when there is nothing to do.
    fn begin(&mut self, queue: &mut Queue, net: &Net) -> Result<Option<InFlight>, QueueError> {
        let pass = self.scheduler.plan();
        if pass.spans.is_empty() {
            return Ok(None);
        }
        self.session.copy_pages(queue, &pass.copies)?;
        let chunks = chunks(&self.scheduler, &self.active, self.in_flight.as_ref(), &pass);
        let draws = policies(&self.active, &pass);
        // What is not cut needs no set: it is all tokens.
        let wants = |request: &Request| request.support && request.sampling.is_cut();
        let support = pass.draws.iter().any(|d| self.active.get(&d.id).is_some_and(|a| wants(&a.request)));
        let pending = self.session.begin(queue, net, &chunks, &draws, support)?;
        self.work.passes += 1;
        self.work.draws += pass.draws.len() as u64;
        for span in &pass.spans {
            self.work.rows += (span.end - span.start) as u64;
            self.work.keys += span.end as u64;
        }
        let version = self.scheduler.load().version;
        Ok(Some(InFlight { pending, draws: pass.draws.iter().map(|draw| draw.id).collect(), version }))
    }

    /// Reads the draws of a pass. Of a request that ended meanwhile they mean nothing.
    fn read(&mut self, queue: &mut Queue, done: InFlight, events: &mut Vec<Event>) -> Result<(), QueueError> {
        let Draws { tokens, supports } = self.session.finish(queue, done.pending)?;
        let mut rows = supports.chunks_exact(support::words(self.session.vocab() as u32).max(1) as usize);
        for (id, token) in done.draws.into_iter().zip(tokens) {
            let row = rows.next();
            let Some(active) = self.active.get_mut(&id) else { continue };
            active.tokens.push(token.id);
            active.logprobs.push(token.logprob);
            active.sampled_logprobs.push(token.sampled_logprob);
            active.versions.push(done.version);
            match (&mut active.supports, row) {
                (Some(supports), Some(row)) => supports.push(row),
                (Some(supports), None) => supports.push_whole(),
                (None, _) => {}
            }
            events.push(Event::Token { id, token });
            let finish = if active.request.stop_tokens.contains(&token.id) {
                FinishReason::Stop
            } else if active.tokens.len() >= active.limit {
                FinishReason::Length
            } else {
                continue;
            };
            if let Some(active) = self.active.remove(&id) {
                self.scheduler.cancel(id);
                events.push(Event::Finished { id, completion: active.completion(finish) });
            }
        }
        Ok(())
    }
}

/// The rows of a pass. `before` is the pass that has not been read, if there is one.
fn chunks<'a>(
    scheduler: &'a Scheduler,
    active: &'a BTreeMap<RequestId, Active>,
    before: Option<&InFlight>,
    pass: &Pass,
) -> Vec<Chunk<'a>> {
    let being_drawn: BTreeMap<RequestId, u32> =
        before.map_or(BTreeMap::new(), |before| before.draws.iter().copied().zip(0..).collect());
    let chunk = |span: &Span| {
        let known = active.get(&span.id).and_then(|active| active.tokens.get(span.start..span.end));
        // Where they are not all known, it is one row whose token the device has just drawn.
        let ids = match known {
            Some(ids) => Ids::Known(ids),
            None => Ids::Drawn(being_drawn.get(&span.id).copied().unwrap_or_default()),
        };
        Chunk { pages: scheduler.pages(span.id), start: span.start, ids }
    };
    pass.spans.iter().map(chunk).collect()
}

/// After which rows to draw, and how.
fn policies(active: &BTreeMap<RequestId, Active>, pass: &Pass) -> Vec<(u32, SamplingRow)> {
    let policy = |draw: &Draw| {
        let active = active.get(&draw.id)?;
        Some((draw.row as u32, active.request.policy(draw.position)))
    };
    pass.draws.iter().filter_map(policy).collect()
}

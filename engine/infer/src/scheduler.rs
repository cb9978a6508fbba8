//! Which rows the next pass has: a state machine over lengths, without tokens, queue or model.
//!
//! Requests are served in the order of their ids. At every moment those under way are older than all that wait, so
//! nobody overtakes. A pass gives one row to each request that decodes, oldest first, and what is left to prompts; the
//! oldest of all has a row in every pass.
//!
//! Pages are taken as they are needed. When none is left, the youngest request gives its pages back and waits again;
//! what it had is computed anew later, with the same bits. The oldest request can therefore always go on, and since
//! every request fits into the cache alone, all of them end.
//!
//! Requests of one group have the same prompt. One computes it; those that begin meanwhile follow it, draw from its last
//! row and share its pages, and those that begin later share its whole pages. A page held by several is copied before
//! one of them writes into it.

use crate::pages::PagePool;
use std::collections::BTreeMap;

/// Names a request: the number of requests submitted before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What there is to share out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Rows of a pass.
    pub rows: usize,
    /// Requests under way at once.
    pub requests: usize,
    /// Pages of the cache.
    pub pages: u32,
    /// Tokens of a page.
    pub page_tokens: usize,
}

/// What the scheduler knows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Tokens of the prompt, at least one.
    pub prompt: usize,
    /// Length at which the request ends, more than the prompt.
    pub limit: usize,
    /// Requests of one group have the same prompt.
    pub group: u64,
}

/// Rows of one request in a pass: its tokens at positions `start .. end`. Everything before is in its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub id: RequestId,
    pub start: usize,
    pub end: usize,
}

/// A token drawn after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Draw {
    pub id: RequestId,
    /// The row, counted over all spans, that it is drawn after.
    pub row: usize,
    /// The position it gets.
    pub position: usize,
}

/// One pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Pages to copy before, \[from, to\], one after the other.
    pub copies: Vec<[u32; 2]>,
    /// Rows, in this order.
    pub spans: Vec<Span>,
    /// Tokens to draw after.
    pub draws: Vec<Draw>,
    rows: usize,
}

/// A request under way.
#[derive(Clone, Debug)]
struct Running {
    job: Job,
    /// Tokens that are there or being drawn.
    length: usize,
    /// Tokens whose keys and values are in the pages once all planned passes have run.
    cached: usize,
    pages: Vec<u32>,
    /// Waits for another of its group to have computed the prompt.
    follows: bool,
    /// Number of the last pass that it has rows in.
    pass: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    job: Job,
    length: usize,
}

/// The state machine.
pub(crate) struct Scheduler {
    capacity: Capacity,
    pool: PagePool,
    running: BTreeMap<RequestId, Running>,
    waiting: BTreeMap<RequestId, Waiting>,
    /// Those that draw their last token in the pass planned last.
    ended: Vec<RequestId>,
    passes: u64,
    preemptions: u64,
}

impl Scheduler {
    /// Nothing to do yet. All numbers of the capacity are at least one.
    pub fn new(capacity: Capacity) -> Scheduler {
        Scheduler {
            capacity,
            pool: PagePool::new(capacity.pages),
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ended: Vec::new(),
            passes: 0,
            preemptions: 0,
        }
    }

    /// A new request; ids ascend. Refused (`false`) when the cache is too small for it alone.
    pub fn submit(&mut self, id: RequestId, job: Job) -> bool {
        let fits = self.pages_for(job.limit - 1) <= self.pool.len();
        if fits {
            self.waiting.insert(id, Waiting { job, length: job.prompt });
        }
        fits
    }

    /// Forgets a request, wherever it is.
    pub fn cancel(&mut self, id: RequestId) {
        self.waiting.remove(&id);
        let Some(gone) = self.running.remove(&id) else { return };
        // One that computes the prompt for others leaves its pages to the first of them.
        let leads = leads(&gone);
        let heir = self.running.values_mut().find(|r| leads && r.follows && r.job.group == gone.job.group);
        match heir {
            Some(heir) => {
                (heir.pages, heir.cached, heir.follows) = (gone.pages, gone.cached, false);
            }
            None => self.release(gone.pages),
        }
    }

    /// The weights change: nothing that is cached is used again, all under way begin anew with the tokens they have.
    pub fn advance_version(&mut self) {
        self.settle();
        while let Some(youngest) = self.running.keys().next_back().copied() {
            self.suspend(youngest);
        }
        self.pool.advance_version();
    }

    /// The pages of a request under way.
    pub fn pages(&self, id: RequestId) -> &[u32] {
        self.running.get(&id).map_or(&[], |r| &r.pages)
    }

    /// Counts of now.
    pub fn load(&self) -> Load {
        Load {
            running: self.running.len(),
            waiting: self.waiting.len(),
            pages_used: self.pool.len() - self.pool.free(),
            pages: self.pool.len(),
            preemptions: self.preemptions,
            version: self.pool.version(),
        }
    }

    /// The next pass, which is taken to run before all that are planned later. Empty when there is nothing to do.
    ///
    /// Requests whose last token it draws keep their pages until the next plan.
    pub fn plan(&mut self) -> Pass {
        self.settle();
        self.passes += 1;
        let mut pass = Pass::default();
        let before = self.preemptions;
        let mut id = self.running.keys().next().copied();
        // The oldest goes on even where its prompt is still to be computed and rows are few.
        let kept = usize::from(self.running.values().next().is_some_and(|oldest| !decodes(oldest)));
        while let Some(now) = id.filter(|_| pass.rows + kept < self.capacity.rows) {
            if self.running.get(&now).is_some_and(decodes) && self.make_writable(now, &mut pass.copies) {
                self.take_rows(now, 1, &mut pass);
            }
            id = self.running.range(now..).map(|(&id, _)| id).find(|&id| id > now);
        }
        if self.preemptions == before {
            self.admit();
        }
        // From here on nobody is sent back, so that what is planned stays planned.
        let prompts = self.running.iter().filter(|(_, r)| !r.follows && r.pass < self.passes);
        let prompts: Vec<(RequestId, usize)> = prompts.map(|(&id, r)| (id, r.length - r.cached)).collect();
        for (id, pending) in prompts {
            let left = self.capacity.rows - pass.rows;
            if left > 0 {
                self.take_rows(id, pending.min(left), &mut pass);
            }
        }
        pass
    }

    /// Takes leave of the requests that have drawn their last token.
    fn settle(&mut self) {
        for id in std::mem::take(&mut self.ended) {
            if let Some(gone) = self.running.remove(&id) {
                self.release(gone.pages);
            }
        }
    }

    /// Lets requests in, in order, while there is a place, there are pages for what they have, and every other under
    /// way could still take one.
    fn admit(&mut self) {
        while let Some((&id, &Waiting { job, length })) = self.waiting.first_key_value() {
            if self.running.len() >= self.capacity.requests {
                return;
            }
            let fresh = length == job.prompt;
            let of_group = || self.running.values().filter(|r| r.job.group == job.group);
            let follows = fresh && of_group().any(leads);
            // Whole pages of the prompt; one row at least is left to draw after.
            let most = (job.prompt / self.capacity.page_tokens).min((length - 1) / self.capacity.page_tokens);
            let shared =
                |r: &Running| if r.follows { 0 } else { most.min(r.cached / self.capacity.page_tokens) };
            let lender = of_group().max_by_key(|r| shared(r)).filter(|_| !follows);
            let lent: Vec<u32> = lender.map_or(Vec::new(), |r| r.pages[..shared(r)].to_vec());
            let need = if follows { 1 } else { self.pages_for(length).saturating_sub(lent.len()) };
            let reserve = self.running.values().filter(|r| self.will_grow(r)).count();
            if !self.running.is_empty() && self.pool.free() < need + reserve {
                return;
            }
            let mut pages = Vec::new();
            if !follows {
                pages = lent.into_iter().take_while(|&page| self.pool.share(page)).collect();
            }
            let cached = pages.len() * self.capacity.page_tokens;
            while !follows && pages.len() < self.pages_for(length) {
                let Some(page) = self.pool.take() else {
                    // The whole cache is free when nobody is under way, and enough was counted otherwise.
                    return self.release(pages);
                };
                pages.push(page);
            }
            self.waiting.remove(&id);
            self.running.insert(id, Running { job, length, cached, pages, follows, pass: 0 });
        }
    }

    /// Whether a request under way may need a page more than it has.
    fn will_grow(&self, r: &Running) -> bool {
        let shares = r.pages.last().is_some_and(|&page| self.pool.holders(page) > 1);
        r.follows || shares || r.pages.len() < self.pages_for(r.job.limit - 1)
    }

    /// Gives a request rows, and if they reach its end a token, and one to each that follows it.
    fn take_rows(&mut self, id: RequestId, rows: usize, pass: &mut Pass) {
        let (passes, page_tokens) = (self.passes, self.capacity.page_tokens);
        let Some(r) = self.running.get_mut(&id) else { return };
        let span = Span { id, start: r.cached, end: r.cached + rows };
        pass.rows += rows;
        pass.spans.push(span);
        (r.cached, r.pass) = (span.end, passes);
        if span.end < r.length {
            return;
        }
        let row = pass.rows - 1;
        let (job, pages) =
            (r.job, r.pages[..job_pages(r.job.prompt, page_tokens).min(r.pages.len())].to_vec());
        let was_prompt = span.end == job.prompt;
        let draws = self
            .running
            .iter_mut()
            .filter(|(other, r)| **other == id || (was_prompt && r.follows && r.job.group == job.group));
        for (&id, r) in draws {
            if r.follows {
                (r.pages, r.cached, r.follows, r.pass) = (pages.clone(), job.prompt, false, passes);
                for &page in &pages {
                    let shared = self.pool.share(page);
                    debug_assert!(shared, "the page of a prompt that was just computed");
                }
            }
            pass.draws.push(Draw { id, row, position: r.length });
            r.length += 1;
            if r.length == r.job.limit {
                self.ended.push(id);
            }
        }
    }

    /// Sees to it that the page of the next position is there and its own; `false` when the request itself had to make
    /// room for older ones.
    fn make_writable(&mut self, id: RequestId, copies: &mut Vec<[u32; 2]>) -> bool {
        loop {
            let Some(r) = self.running.get(&id) else { return false };
            let at = r.cached / self.capacity.page_tokens;
            let held = r.pages.get(at).copied();
            if held.is_some_and(|page| self.pool.holders(page) == 1) {
                return true;
            }
            match self.pool.take() {
                Some(page) => {
                    if let Some(r) = self.running.get_mut(&id) {
                        r.pages.truncate(at);
                        r.pages.push(page);
                    }
                    if let Some(shared) = held {
                        copies.push([shared, page]);
                        self.pool.give_back(shared);
                    }
                    return true;
                }
                None => {
                    let youngest = self.running.keys().next_back().copied();
                    self.preemptions += 1;
                    youngest.into_iter().for_each(|youngest| self.suspend(youngest));
                }
            }
        }
    }

    /// Sends a request back to those that wait.
    fn suspend(&mut self, id: RequestId) {
        if let Some(Running { job, length, pages, .. }) = self.running.remove(&id) {
            self.release(pages);
            self.waiting.insert(id, Waiting { job, length });
        }
    }

    fn release(&mut self, pages: Vec<u32>) {
        // The lowest are given out first again.
        pages.into_iter().rev().for_each(|page| self.pool.give_back(page));
    }

    fn pages_for(&self, tokens: usize) -> usize {
        job_pages(tokens, self.capacity.page_tokens)
    }
}

/// Whether a request computes a prompt that others of its group may wait for.
fn leads(r: &Running) -> bool {
    !r.follows && r.length == r.job.prompt && r.cached < r.job.prompt
}

/// Whether a request has drawn before and waits for one row to draw again.
fn decodes(r: &Running) -> bool {
    r.length > r.job.prompt && r.length - r.cached == 1
}

fn job_pages(tokens: usize, page_tokens: usize) -> usize {
    tokens.div_ceil(page_tokens)
}

/// How busy a scheduler is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests under way.
    pub running: usize,
    /// Requests that wait for a place or for pages.
    pub waiting: usize,
    /// Pages in use; one that several share counts once.
    pub pages_used: usize,
    /// Pages of the cache.
    pub pages: usize,
    /// How often a request had to give its pages back to an older one so far.
    pub preemptions: u64,
    /// How often the weights have changed.
    pub version: u64,
}

#[cfg(test)]
mod model;

//! The scheduler against a model of the cache that knows what every slot of every page holds.

use super::*;
use octo_ops::philox::philox4x32_10;
use proptest::prelude::*;
use std::collections::HashMap;

/// What a slot holds: under which weights it was written, for whom, and for which of its tokens.
type Entry = Option<(u64, Owner, usize)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Group(u64),
    Request(RequestId),
}

struct Known {
    job: Job,
    drawn: usize,
}

struct Model {
    scheduler: Scheduler,
    capacity: Capacity,
    cache: Vec<Vec<Entry>>,
    /// Requests that have neither ended nor been cancelled.
    alive: BTreeMap<RequestId, Known>,
    submitted: u64,
    rows: usize,
    copies: usize,
}

impl Model {
    fn new(capacity: Capacity) -> Model {
        Model {
            scheduler: Scheduler::new(capacity),
            capacity,
            cache: vec![vec![None; capacity.page_tokens]; capacity.pages as usize],
            alive: BTreeMap::new(),
            submitted: 0,
            rows: 0,
            copies: 0,
        }
    }

    fn submit(&mut self, job: Job) -> bool {
        let id = RequestId(self.submitted);
        self.submitted += 1;
        let fits = self.scheduler.submit(id, job);
        let pages = (job.limit - 1).div_ceil(self.capacity.page_tokens);
        assert_eq!(fits, pages <= self.capacity.pages as usize);
        if fits {
            self.alive.insert(id, Known { job, drawn: 0 });
        }
        fits
    }

    fn cancel(&mut self, nth: usize) {
        let id = self.alive.keys().nth(nth % self.alive.len().max(1)).copied();
        if let Some(id) = id {
            self.alive.remove(&id);
            self.scheduler.cancel(id);
            self.check_pages();
        }
    }

    fn owner(&self, id: RequestId, position: usize) -> Owner {
        let job = self.alive[&id].job;
        if position < job.prompt { Owner::Group(job.group) } else { Owner::Request(id) }
    }

    fn slot(&self, id: RequestId, position: usize) -> (u32, usize) {
        let page_tokens = self.capacity.page_tokens;
        (self.scheduler.pages(id)[position / page_tokens], position % page_tokens)
    }

    /// Plans a pass, holds it to the rules, and runs it on the model's cache.
    fn pass(&mut self) {
        let oldest = self.alive.keys().next().copied();
        let pass = self.scheduler.plan();
        let version = self.scheduler.pool.version();
        for [from, to] in &pass.copies {
            self.cache[*to as usize] = self.cache[*from as usize].clone();
        }
        self.copies += pass.copies.len();
        // Nobody overtakes, and the oldest always goes on.
        let longest_under_way = self.scheduler.running.keys().next_back();
        let first_waiting = self.scheduler.waiting.keys().next();
        assert!(longest_under_way.zip(first_waiting).is_none_or(|(running, waiting)| running < waiting));
        assert!(oldest.is_none_or(|oldest| pass.spans.iter().any(|span| span.id == oldest)));
        let rows: usize = pass.spans.iter().map(|span| span.end - span.start).sum();
        assert!(rows == pass.rows && rows <= self.capacity.rows);
        assert!(self.scheduler.running.len() <= self.capacity.requests);
        self.rows += rows;
        // Each row's keys go into a page that is its request's alone, each slot once.
        let mut written = HashMap::new();
        for span in &pass.spans {
            assert!(span.start < span.end);
            for position in span.start..span.end {
                let (page, offset) = self.slot(span.id, position);
                assert!(written.insert((page, offset), span.id).is_none(), "two rows go to one slot");
                let alone = self.scheduler.pool.holders(page) == 1;
                assert!(alone || position < self.alive[&span.id].job.prompt, "page {page} is others' too");
                self.cache[page as usize][offset] = Some((version, self.owner(span.id, position), position));
            }
        }
        // Each request reads its own keys, of the weights of now.
        let mut row = 0;
        for span in &pass.spans {
            for position in 0..span.end {
                let (page, offset) = self.slot(span.id, position);
                let expected = Some((version, self.owner(span.id, position), position));
                assert_eq!(self.cache[page as usize][offset], expected, "{span:?} reads position {position}");
                assert_eq!(self.scheduler.pool.written_under(page), version);
            }
            row += span.end - span.start;
            // Whoever draws here has its whole past in its pages.
            for draw in pass.draws.iter().filter(|draw| draw.row == row - 1) {
                let known = &self.alive[&draw.id];
                assert_eq!((draw.position, span.end), (known.job.prompt + known.drawn, draw.position));
                assert_eq!(known.job.group, self.alive[&span.id].job.group);
                assert!(draw.id == span.id || span.end == known.job.prompt, "{draw:?} after {span:?}");
            }
        }
        self.check_pages();
        let mut drawn = std::collections::HashSet::new();
        for draw in &pass.draws {
            assert!(drawn.insert(draw.id), "two draws of one request in a pass");
            let known = self.alive.get_mut(&draw.id).unwrap();
            known.drawn += 1;
            if known.job.prompt + known.drawn == known.job.limit {
                self.alive.remove(&draw.id);
            }
        }
    }

    /// No page is leaked, or held by more or fewer than the pool says.
    fn check_pages(&self) {
        let mut holders = vec![0; self.capacity.pages as usize];
        for r in self.scheduler.running.values() {
            r.pages.iter().for_each(|&page| holders[page as usize] += 1);
        }
        let free = holders.iter().filter(|&&n| n == 0).count();
        assert_eq!(free, self.scheduler.pool.free());
        for (page, &n) in holders.iter().enumerate() {
            assert_eq!(self.scheduler.pool.holders(page as u32), n, "page {page}");
        }
    }

    /// Passes until all that were submitted have ended.
    fn drain(&mut self) {
        // Each pass computes the oldest's next rows at least.
        let most: usize = self.alive.values().map(|known| known.job.limit).sum();
        for _ in 0..most {
            if self.alive.is_empty() {
                break;
            }
            self.pass();
        }
        assert!(self.alive.is_empty(), "{} requests do not end", self.alive.len());
        assert_eq!(self.scheduler.plan(), Pass::default());
        assert_eq!(self.scheduler.pool.free(), self.capacity.pages as usize);
    }
}

/// A million of random steps and fewer: requests come alone and in groups, are cancelled, the weights change.
fn walk(seed: u32, steps: u32) {
    let draw = |step: u32, of: u32| philox4x32_10([step, of, 0, 0], [seed, 77]).map(|word| word as usize);
    let [a, b, c, d] = draw(u32::MAX, 0);
    let capacity = Capacity {
        rows: 1 + a % 12,
        requests: 1 + b % 7,
        pages: 2 + (c % 14) as u32,
        page_tokens: 1 + d % 5,
    };
    let mut model = Model::new(capacity);
    let longest = capacity.pages as usize * capacity.page_tokens + 1;
    for step in 0..steps {
        let [what, a, b, c] = draw(step, 0);
        match what % 16 {
            // Never so many that walking over all of them costs more than the walk.
            0..=2 if model.alive.len() < 40 => {
                let prompt = 1 + a % (longest - 1);
                let limit = prompt + 1 + b % (longest + 1 - prompt);
                let samples = if what % 32 < 16 { 1 } else { 1 + c as u32 % 6 };
                (0..samples).for_each(|sample| {
                    let [more, ..] = draw(step, 1 + sample);
                    let limit = prompt + 1 + (limit - prompt - 1 + more) % (longest + 1 - prompt);
                    model.submit(Job { prompt, limit, group: step.into() });
                });
            }
            3 if a % 4 == 0 => model.cancel(b),
            4 if a % 64 == 0 => model.scheduler.advance_version(),
            _ => model.pass(),
        }
    }
    model.drain();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_page_is_leaked_doubled_or_stale_and_every_request_ends_in_its_turn(seed in any::<u32>()) {
        walk(seed, 300);
    }
}

/// The same walk at length: `cargo test --release -p octo-infer -- --ignored a_million`.
#[test]
#[ignore = "takes a minute; `cargo xtask long scheduler` runs it"]
fn a_million_random_steps_leak_no_page_and_end_every_request() {
    (0..100).for_each(|seed| walk(seed, 10_000));
}

fn capacity(rows: usize, requests: usize, pages: u32) -> Capacity {
    Capacity { rows, requests, pages, page_tokens: 4 }
}

fn groups(samples: u64, job: Job, capacity: Capacity) -> Model {
    let mut model = Model::new(capacity);
    (0..samples).for_each(|_| assert!(model.submit(job)));
    model
}

#[test]
fn a_group_computes_its_prompt_once() {
    let job = Job { prompt: 10, limit: 15, group: 0 };
    let mut model = groups(4, job, capacity(16, 8, 40));
    model.pass();
    let first = &model.scheduler;
    assert_eq!(first.running.len(), 4);
    assert_eq!(first.load().pages_used, 3, "one set of pages for four");
    model.pass();
    // The page with two tokens of the prompt: three copy it, the last to write has it to itself.
    assert_eq!((model.copies, model.scheduler.load().pages_used), (3, 6));
    model.drain();
    assert_eq!(model.rows, 10 + 4 * 4);
}

#[test]
fn who_joins_its_group_later_computes_the_prompts_last_page_alone() {
    let job = Job { prompt: 10, limit: 15, group: 0 };
    let mut model = groups(3, job, capacity(16, 2, 40));
    model.drain();
    // The third joins when both have ended, so nothing is left to share; then it is alone with ten rows.
    assert_eq!(model.rows, 10 + 2 * 4 + 10 + 4);
    let mut model = groups(2, job, capacity(16, 2, 40));
    model.submit(Job { limit: 12, ..job });
    model.submit(job);
    model.pass();
    model.pass();
    let before = model.rows;
    model.scheduler.cancel(RequestId(0));
    model.alive.remove(&RequestId(0));
    model.pass();
    // One row of request 1, and from position 8 on two of the prompt of request 2.
    assert_eq!(model.rows - before, 1 + 2);
    model.drain();
}

#[test]
fn who_followed_a_cancelled_request_goes_on_where_it_was() {
    let job = Job { prompt: 30, limit: 33, group: 0 };
    let mut model = groups(3, job, capacity(8, 4, 40));
    model.pass();
    model.pass();
    model.cancel(0);
    model.drain();
    assert_eq!(model.rows, 30 + 2 * 2, "the rows that the cancelled one had computed are not computed again");
}

#[test]
fn the_youngest_makes_room_and_comes_back() {
    let mut model = Model::new(capacity(8, 4, 6));
    for group in 0..3 {
        assert!(model.submit(Job { prompt: 4, limit: 17, group }));
    }
    model.drain();
    assert!(model.scheduler.load().preemptions > 0);
    assert!(!model.submit(Job { prompt: 4, limit: 26, group: 9 }), "25 cached tokens need seven pages");
    assert!(model.submit(Job { prompt: 4, limit: 25, group: 9 }));
    model.drain();
}

#[test]
fn prompts_go_in_beside_decoding_in_chunks() {
    let mut model = Model::new(capacity(5, 4, 40));
    model.submit(Job { prompt: 2, limit: 20, group: 0 });
    model.submit(Job { prompt: 11, limit: 20, group: 1 });
    let chunks: Vec<Vec<usize>> = (0..4)
        .map(|_| {
            let pass = model.scheduler.plan();
            pass.spans.iter().map(|span| span.end - span.start).collect()
        })
        .collect();
    assert_eq!(chunks, [vec![2, 3], vec![1, 4], vec![1, 4], vec![1, 1]]);
}

#[test]
fn new_weights_make_all_under_way_begin_anew() {
    let job = Job { prompt: 6, limit: 12, group: 0 };
    let mut model = groups(2, job, capacity(16, 4, 40));
    model.pass();
    model.pass();
    model.scheduler.advance_version();
    assert_eq!(model.scheduler.load().pages_used, 0);
    model.pass();
    // Both have drawn, so each has tokens of its own: eight rows each.
    assert_eq!(model.rows, 6 + 2 + 2 * 8);
    model.drain();
    assert_eq!(model.scheduler.load().version, 1);
}

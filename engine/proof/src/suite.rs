//! Many cases at once: threads share them out, memory bounds how many are under way.
//!
//! A case is the device's work, eager and replayed, and then the references', which need no device. On cores and on the
//! simulated GPU both parts of different cases go on at once, each on a thread of its own; a GPU has one case at a time, and
//! references of the cases before go on beside it. No verdict depends on the threads.

use crate::{Failure, run};
use octo_ops::{Case, GridCase, Op};
use octo_queue::{DeviceKind, available_memory, open};
use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A case that is there, or one that is made when its turn comes.
pub enum SuiteCase {
    /// With its op's name before its own.
    Ready(String, Box<Case>),
    /// Too large to be kept.
    Grid(GridCase),
}

impl SuiteCase {
    /// A case that is there.
    pub fn ready(case: Case) -> SuiteCase {
        SuiteCase::Ready(format!("{}/{}", case.op.name(), case.name), Box::new(case))
    }

    /// `op/dtype/shape`.
    pub fn name(&self) -> &str {
        match self {
            SuiteCase::Ready(name, _) => name,
            SuiteCase::Grid(case) => &case.name,
        }
    }

    /// What it computes; a large case takes no memory for this.
    pub fn op(&self) -> Op {
        match self {
            SuiteCase::Ready(_, case) => case.op,
            SuiteCase::Grid(case) => case.op(),
        }
    }

    fn case(&self) -> Cow<'_, Case> {
        match self {
            SuiteCase::Ready(_, case) => Cow::Borrowed(case.as_ref()),
            SuiteCase::Grid(case) => Cow::Owned(case.make()),
        }
    }
}

/// What came of a case.
#[derive(Debug)]
pub enum Verdict {
    /// Right.
    Right,
    /// Wrong, or the device failed.
    Wrong(Failure),
    /// Time ran out before it.
    Left,
}

/// How cases are run.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Where.
    pub device: DeviceKind,
    /// Threads in all, the simulated GPU's included; at least one.
    pub threads: usize,
    /// No case begins after this.
    pub until: Option<Instant>,
}

/// Memory that cases under way take together, about, where the system does not say what there is; else they take half.
const MEMORY: u64 = 4 << 30;

/// Bytes that an element of an operand takes while its case is under way: its value, the device's copy with what the
/// simulated GPU notes of each byte, and a reference's copies.
const ELEMENT_BYTES: u64 = 48;

impl Suite {
    /// Runs cases that the device computes and calls `each` on this thread with the number of a case, what came of it and
    /// how long it took, in the order in which that is known.
    ///
    /// # Errors
    /// The first of `each`, after which no case begins.
    pub fn run<E>(
        &self,
        cases: &[SuiteCase],
        mut each: impl FnMut(usize, Verdict, Duration) -> Result<(), E>,
    ) -> Result<(), E> {
        let workers = self.threads.min(cases.len()).max(1);
        // One case alone has all threads.
        let inside = (self.threads / workers).max(1);
        let (next, device) = (AtomicUsize::new(0), Mutex::new(()));
        let memory = Memory::of(available_memory().map_or(MEMORY, |bytes| bytes / 2));
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (tell, next, device, memory) = (tell.clone(), &next, &device, &memory);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = cases.get(number) else { return };
                        let began = Instant::now();
                        let verdict = self.judge(case, inside, device, memory);
                        // Nobody hears it once `each` has failed.
                        if tell.send((number, verdict, began.elapsed())).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(tell);
            told.into_iter().try_for_each(|(number, verdict, took)| each(number, verdict, took))
        })
    }

    fn judge(&self, source: &SuiteCase, threads: usize, device: &Mutex<()>, memory: &Memory) -> Verdict {
        let elements: u64 = source.op().operands().iter().map(|o| o.view.elements() as u64).sum();
        let taken = memory.take(elements * ELEMENT_BYTES);
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Verdict::Left;
        }
        let case = source.case();
        let one_at_a_time = (self.device == DeviceKind::Cuda).then(|| held(device));
        let outcome = run(&case, || open(self.device, Some(threads)));
        drop(one_at_a_time);
        let judged = outcome.and_then(|outcome| outcome.judge(&case));
        drop((case, taken));
        judged.map_or_else(Verdict::Wrong, |()| Verdict::Right)
    }
}

/// What a lock guards; a thread that panicked with it has ended its own case alone.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory that cases under way share; one that needs more than there is runs alone.
struct Memory {
    all: u64,
    taken: Mutex<u64>,
    given_back: Condvar,
}

impl Memory {
    fn of(all: u64) -> Memory {
        Memory { all, taken: Mutex::new(0), given_back: Condvar::new() }
    }

    /// Waits until there is so much, or everything.
    fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.all);
        let mut taken = held(&self.taken);
        while *taken + bytes > self.all {
            taken = self.given_back.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += bytes;
        Taken { memory: self, bytes }
    }
}

/// Memory of a case, given back when this is dropped.
struct Taken<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *held(&self.memory.taken) -= self.bytes;
        self.memory.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn cases(op: &str) -> Vec<SuiteCase> {
        Op::all_cases().into_iter().filter(|case| case.op.name() == op).map(SuiteCase::ready).collect()
    }

    fn verdicts(suite: Suite, cases: &[SuiteCase]) -> Vec<(usize, bool)> {
        let mut all = Vec::new();
        let outcome = suite.run(cases, |number, verdict, _| {
            all.push((number, matches!(verdict, Verdict::Right)));
            Ok::<(), Infallible>(())
        });
        outcome.unwrap();
        all.sort_unstable();
        all
    }

    #[test]
    fn every_case_has_its_own_verdict_whatever_the_threads() {
        let mut cases: Vec<SuiteCase> = cases("feed_tokens");
        // A case whose reference says something else than what the op reads.
        let SuiteCase::Ready(_, wrong) = &mut cases[1] else { panic!("a case that is there") };
        let Op::FeedTokens(op) = &mut wrong.op else { panic!("{:?}", wrong.op) };
        op.ids.offset += 1;
        for threads in [1, 2, 5] {
            let suite = Suite { device: DeviceKind::Cpu, threads, until: None };
            assert_eq!(verdicts(suite, &cases), [(0, true), (1, false), (2, true)]);
        }
    }

    #[test]
    fn nothing_begins_after_the_time_is_up_or_what_is_told_fails() {
        let cases = cases("feed_tokens");
        let suite = Suite { device: DeviceKind::Cpu, threads: 1, until: Some(Instant::now()) };
        let mut left = 0;
        let count = |_, verdict, _| {
            left += usize::from(matches!(verdict, Verdict::Left));
            Ok::<(), Infallible>(())
        };
        suite.run(&cases, count).unwrap();
        assert_eq!(left, cases.len());
        let suite = Suite { until: None, ..suite };
        assert_eq!(suite.run(&cases, |number, _, _| Err(number)), Err(0));
    }

    #[test]
    fn what_needs_more_than_there_is_waits_until_it_is_alone() {
        let memory = Memory::of(1000);
        let few = memory.take(1);
        std::thread::scope(|scope| {
            let all = scope.spawn(|| drop(memory.take(u64::MAX)));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!all.is_finished());
            drop(few);
        });
        assert_eq!(*held(&memory.taken), 0);
    }
}

//! Many cases at once: threads share them out, memory bounds how many are under way.
//!
//! A case is the device's work, eager and replayed, and then the references', which need no device. On cores and on the
//! simulated GPU different cases go on at once, each on a thread of its own; a GPU has one case at a time, on the thread that
//! asks, and references of the cases before go on beside it. No verdict depends on the threads.

use crate::{Failure, Outcome, run};
use octo_ops::{Case, GridCase, Op};
use octo_queue::{DeviceKind, available_memory, open};
use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
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

/// What is known of a case: its number, what came of it, how long it took.
type Told = (usize, Verdict, Duration);

impl Suite {
    /// Runs cases that the device computes and calls `each` on this thread with the number of a case, what came of it and
    /// how long it took, in the order in which that is known.
    ///
    /// # Errors
    /// The first of `each`, after which no case begins.
    pub fn run<E>(
        &self,
        cases: &[SuiteCase],
        each: impl FnMut(usize, Verdict, Duration) -> Result<(), E>,
    ) -> Result<(), E> {
        let memory = Memory::of(available_memory().map_or(MEMORY, |bytes| bytes / 2));
        match self.device {
            // A context is current on the thread that opened it.
            DeviceKind::Cuda => self.on_this_thread(cases, &memory, each),
            _ => self.on_every_thread(cases, &memory, each),
        }
    }

    /// Each thread has a device of its own and takes cases one by one.
    fn on_every_thread<E>(
        &self,
        cases: &[SuiteCase],
        memory: &Memory,
        mut each: impl FnMut(usize, Verdict, Duration) -> Result<(), E>,
    ) -> Result<(), E> {
        let workers = self.threads.min(cases.len()).max(1);
        // One case alone has all threads.
        let inside = (self.threads / workers).max(1);
        let next = AtomicUsize::new(0);
        let (tell, told) = mpsc::channel::<Told>();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (tell, next) = (tell.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(source) = cases.get(number) else { return };
                        let began = Instant::now();
                        let verdict = match self.begin(source, memory, inside) {
                            Some(begun) => begun.judge(),
                            None => Verdict::Left,
                        };
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

    /// The device works on this thread, on one case after the other; references of those before on the others.
    fn on_this_thread<E>(
        &self,
        cases: &[SuiteCase],
        memory: &Memory,
        mut each: impl FnMut(usize, Verdict, Duration) -> Result<(), E>,
    ) -> Result<(), E> {
        std::thread::scope(|scope| {
            // Both ends go with this closure, however it ends; then the threads do.
            let (hand, handed) = mpsc::channel::<(usize, Begun<'_>, Instant)>();
            let (tell, told) = mpsc::channel::<Told>();
            let handed = Arc::new(Mutex::new(handed));
            for _ in 0..self.threads.max(1) {
                let (tell, handed) = (tell.clone(), Arc::clone(&handed));
                scope.spawn(move || {
                    loop {
                        let next = held(&handed).recv();
                        let Ok((number, begun, began)) = next else { return };
                        let verdict = begun.judge();
                        if tell.send((number, verdict, began.elapsed())).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(tell);
            for (number, source) in cases.iter().enumerate() {
                let began = Instant::now();
                match self.begin(source, memory, self.threads) {
                    None => each(number, Verdict::Left, began.elapsed())?,
                    // The threads listen for as long as this end is held.
                    Some(begun) => drop(hand.send((number, begun, began))),
                }
                told.try_iter().try_for_each(|(number, verdict, took)| each(number, verdict, took))?;
            }
            drop(hand);
            told.into_iter().try_for_each(|(number, verdict, took)| each(number, verdict, took))
        })
    }

    /// The device's half of a case, once there is memory for it; none where time is up.
    fn begin<'a>(&self, source: &'a SuiteCase, memory: &'a Memory, threads: usize) -> Option<Begun<'a>> {
        let elements = source.op().operands().iter().map(|o| o.view.elements() as u64).sum::<u64>();
        let taken = memory.take(elements * ELEMENT_BYTES);
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        let case = source.case();
        let outcome = run(&case, || open(self.device, Some(threads)));
        Some(Begun { case, outcome, _taken: taken })
    }
}

/// A case that the device is done with.
struct Begun<'a> {
    case: Cow<'a, Case>,
    outcome: Result<Outcome, Failure>,
    _taken: Taken<'a>,
}

impl Begun<'_> {
    /// The half that needs no device.
    fn judge(self) -> Verdict {
        let judged = self.outcome.and_then(|outcome| outcome.judge(&self.case));
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

    /// What both ways of running cases come to, by number.
    fn verdicts(suite: Suite, cases: &[SuiteCase]) -> [Vec<(usize, &'static str)>; 2] {
        let all = Mutex::new(Vec::new());
        let each = |number, verdict, _| {
            let word = match verdict {
                Verdict::Right => "right",
                Verdict::Wrong(_) => "wrong",
                Verdict::Left => "left",
            };
            held(&all).push((number, word));
            Ok::<(), Infallible>(())
        };
        // So little memory that no two cases are under way at once.
        let memory = Memory::of(1);
        let sorted = || {
            let mut verdicts = std::mem::take(&mut *held(&all));
            verdicts.sort_unstable();
            verdicts
        };
        suite.on_every_thread(cases, &memory, each).unwrap();
        let here = sorted();
        suite.on_this_thread(cases, &memory, each).unwrap();
        [here, sorted()]
    }

    #[test]
    fn every_case_has_its_own_verdict_whatever_the_threads() {
        let mut cases: Vec<SuiteCase> = cases("feed_tokens");
        // Of a case whose operand is out of place the queue says so.
        let SuiteCase::Ready(_, wrong) = &mut cases[1] else { panic!("a case that is there") };
        let Op::FeedTokens(op) = &mut wrong.op else { panic!("{:?}", wrong.op) };
        op.ids.offset += 1;
        for threads in [1, 2, 5] {
            let suite = Suite { device: DeviceKind::Cpu, threads, until: None };
            let expected = vec![(0, "right"), (1, "wrong"), (2, "right")];
            assert_eq!(verdicts(suite, &cases), [expected.clone(), expected]);
        }
    }

    #[test]
    fn nothing_begins_after_the_time_is_up_or_what_is_told_fails() {
        let cases = cases("feed_tokens");
        let suite = Suite { device: DeviceKind::Cpu, threads: 1, until: Some(Instant::now()) };
        let expected = vec![(0, "left"), (1, "left"), (2, "left")];
        assert_eq!(verdicts(suite, &cases), [expected.clone(), expected]);
        let (suite, memory) = (Suite { until: None, ..suite }, Memory::of(1));
        assert_eq!(suite.on_every_thread(&cases, &memory, |number, _, _| Err(number)), Err(0));
        assert_eq!(suite.on_this_thread(&cases, &memory, |number, _, _| Err(number)), Err(0));
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

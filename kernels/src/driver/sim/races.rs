//! Who touched which bytes last: finds two pieces of work that touch the same bytes in no order.
//!
//! Pieces of work arrive in an order in which they may run. Of each range of bytes the last writer and all readers
//! since are kept (as in FastTrack; Flanagan and Freund, 2009); a newcomer must know of the writer, and
//! of the readers too if it writes. So a race is found in whatever order both happened to run.

use super::order::{Clock, Epoch};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// One piece of work in messages.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub epoch: Epoch,
    pub label: Arc<str>,
}

/// A conflict with earlier work.
#[derive(Debug)]
pub(super) struct Conflict {
    pub first: Arc<str>,
    pub range: Range<u64>,
}

#[derive(Clone, Debug)]
struct Segment {
    end: u64,
    writer: Option<Who>,
    readers: Vec<Who>,
}

/// The history of one address space.
pub(super) struct History {
    on: bool,
    segments: BTreeMap<u64, Segment>,
}

impl History {
    /// Nothing has been touched; without `on` nothing is kept or found.
    pub fn new(on: bool) -> History {
        History { on, segments: BTreeMap::new() }
    }

    /// Work that reads or writes a range.
    pub fn access(
        &mut self,
        range: Range<u64>,
        write: bool,
        who: &Who,
        clock: &Clock,
    ) -> Result<(), Conflict> {
        if !self.on {
            return Ok(());
        }
        self.each(range, |start, segment| {
            let readers = segment.readers.iter().filter(|_| write);
            if let Some(first) = segment.writer.iter().chain(readers).find(|w| !clock.knows(w.epoch)) {
                return Err(Conflict { first: first.label.clone(), range: start..segment.end });
            }
            segment.readers.retain(|reader| !clock.knows(reader.epoch));
            match write {
                true => segment.writer = Some(who.clone()),
                false => segment.readers.push(who.clone()),
            }
            Ok(())
        })
    }

    /// Nobody has touched these bytes: they were freed.
    pub fn forget(&mut self, range: Range<u64>) {
        self.split(range.start);
        self.split(range.end);
        let gone: Vec<u64> = self.segments.range(range).map(|(&start, _)| start).collect();
        gone.iter().for_each(|start| drop(self.segments.remove(start)));
    }

    /// Calls `f` for segments that cover exactly the range.
    fn each(
        &mut self,
        range: Range<u64>,
        mut f: impl FnMut(u64, &mut Segment) -> Result<(), Conflict>,
    ) -> Result<(), Conflict> {
        if range.is_empty() {
            return Ok(());
        }
        self.split(range.start);
        self.split(range.end);
        let mut at = range.start;
        while at < range.end {
            let next = self.segments.range(at..range.end).next().map_or(range.end, |(&start, _)| start);
            if next > at {
                self.segments.insert(at, Segment { end: next, writer: None, readers: Vec::new() });
            }
            if let Some(segment) = self.segments.get_mut(&at) {
                f(at, segment)?;
                at = segment.end;
            }
        }
        self.merge(range);
        Ok(())
    }

    /// Makes `at` a border between segments.
    fn split(&mut self, at: u64) {
        if let Some((_, segment)) = self.segments.range_mut(..at).next_back()
            && segment.end > at
        {
            let right = segment.clone();
            segment.end = at;
            self.segments.insert(at, right);
        }
    }

    /// Joins neighbours that one piece of work has made alike.
    fn merge(&mut self, range: Range<u64>) {
        let starts: Vec<u64> =
            self.segments.range(range.start.saturating_sub(1)..=range.end).map(|(&s, _)| s).collect();
        let mut left = self.segments.range(..range.start).next_back().map(|(&s, _)| s);
        for start in starts {
            let alike = left.is_some_and(|left| left != start && self.alike(left, start));
            if let (true, Some(left)) = (alike, left) {
                let end = self.segments.remove(&start).map(|s| s.end);
                if let (Some(segment), Some(end)) = (self.segments.get_mut(&left), end) {
                    segment.end = end;
                }
            } else {
                left = Some(start);
            }
        }
    }

    fn alike(&self, left: u64, right: u64) -> bool {
        let (Some(a), Some(b)) = (self.segments.get(&left), self.segments.get(&right)) else { return false };
        let same = |a: &Who, b: &Who| a.epoch == b.epoch;
        a.end == right
            && match (&a.writer, &b.writer) {
                (Some(a), Some(b)) => same(a, b),
                (None, None) => true,
                _ => false,
            }
            && a.readers.len() == b.readers.len()
            && a.readers.iter().zip(&b.readers).all(|(a, b)| same(a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn who(chain: u32, tick: u32) -> Who {
        Who { epoch: Epoch { chain, tick }, label: format!("{chain}/{tick}").into() }
    }

    #[test]
    fn only_unordered_accesses_with_a_write_conflict() {
        let mut history = History::new(true);
        let (a, b) = (who(0, 1), who(1, 1));
        let (mut on_a, mut on_b) = (Clock::default(), Clock::default());
        on_a.advance(a.epoch);
        on_b.advance(b.epoch);
        history.access(0..100, false, &a, &on_a).unwrap();
        history.access(50..150, false, &b, &on_b).unwrap();
        let conflict = history.access(90..120, true, &a, &on_a).unwrap_err();
        assert_eq!((&*conflict.first, conflict.range), ("1/1", 90..100));
        on_a.join(&on_b);
        history.access(90..120, true, &a, &on_a).unwrap();
        history.access(120..150, false, &b, &on_b).unwrap();
        assert!(history.access(119..150, false, &b, &on_b).is_err());
        history.forget(0..120);
        history.access(119..150, false, &b, &on_b).unwrap();
    }

    proptest! {
        #[test]
        fn ranges_behave_like_bytes(
            steps in prop::collection::vec((0u64..40, 0u64..20, any::<bool>(), 0u32..3, any::<bool>()), 1..60)
        ) {
            // The same rules, byte by byte.
            let mut bytes: Vec<(Option<Epoch>, Vec<Epoch>)> = vec![(None, Vec::new()); 64];
            let mut history = History::new(true);
            let mut clocks = vec![Clock::default(); 3];
            let mut ticks = [0u32; 3];
            for (start, length, write, chain, join) in steps {
                let at = chain as usize;
                if join {
                    let other = clocks[(at + 1) % 3].clone();
                    clocks[at].join(&other);
                }
                ticks[at] += 1;
                let me = who(chain, ticks[at]);
                clocks[at].advance(me.epoch);
                let clock = &clocks[at];
                let range = start..start + length;
                let conflict = bytes[start as usize..(start + length) as usize].iter().any(|(writer, readers)| {
                    let readers = readers.iter().filter(|_| write);
                    writer.iter().chain(readers).any(|epoch| !clock.knows(*epoch))
                });
                prop_assert_eq!(history.access(range, write, &me, clock).is_err(), conflict);
                if conflict {
                    break;
                }
                for (writer, readers) in &mut bytes[start as usize..(start + length) as usize] {
                    if write {
                        (*writer, *readers) = (Some(me.epoch), Vec::new());
                    } else {
                        readers.push(me.epoch);
                    }
                }
            }
        }
    }
}

//! Sets of bytes.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of bytes as ranges that neither touch nor overlap: start → end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a range.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&s, &e)) = self.0.range(..=end).next_back()
            && e >= start
        {
            self.0.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        self.0.insert(start, end);
    }

    /// The first byte of a range that is not in the set.
    pub fn first_missing(&self, range: Range<u64>) -> Option<u64> {
        if range.is_empty() {
            return None;
        }
        match self.0.range(..=range.start).next_back() {
            Some((_, &end)) if end >= range.end => None,
            Some((_, &end)) => Some(end.max(range.start)),
            None => Some(range.start),
        }
    }

    /// Whether any byte of a range is in the set.
    pub fn meets(&self, range: &Range<u64>) -> bool {
        let last = self.0.range(..range.end).next_back();
        !range.is_empty() && last.is_some_and(|(_, &end)| end > range.start)
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(&start, &end)| start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_a_set_of_bytes(
            inserted in prop::collection::vec((0u64..60, 0u64..12), 0..12), asked in (0u64..60, 0u64..20)
        ) {
            let (mut ranges, mut bytes) = (Ranges::default(), [false; 80]);
            for (start, length) in inserted {
                ranges.insert(start..start + length);
                bytes[start as usize..(start + length) as usize].fill(true);
            }
            let asked = asked.0..asked.0 + asked.1;
            prop_assert_eq!(ranges.meets(&asked), asked.clone().any(|at| bytes[at as usize]));
            prop_assert_eq!(ranges.first_missing(asked.clone()), asked.into_iter().find(|&at| !bytes[at as usize]));
            let listed: Vec<u64> = ranges.iter().flatten().collect();
            let held: Vec<u64> = (0..80).filter(|&at| bytes[at as usize]).collect();
            prop_assert_eq!(listed, held);
        }
    }
}

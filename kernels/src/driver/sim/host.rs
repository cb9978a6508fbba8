//! Page-locked host memory: bytes, which of them were ever written, and who touched them last.

use super::races::History;
use std::collections::BTreeMap;
use std::ops::Range;

/// One allocation.
pub(super) struct HostMemory {
    pub name: String,
    pub bytes: Vec<u8>,
    pub written: Ranges,
    pub history: History,
}

impl HostMemory {
    pub fn new(name: &str, bytes: usize, checks: bool) -> HostMemory {
        HostMemory {
            name: name.into(),
            bytes: vec![0; bytes],
            written: Ranges::default(),
            history: History::new(checks),
        }
    }

    /// `offset..offset + bytes`, if it lies inside.
    pub fn range(&self, offset: u64, bytes: u64) -> Option<Range<u64>> {
        let end = offset.checked_add(bytes)?;
        (end <= self.bytes.len() as u64).then_some(offset..end)
    }

    /// The bytes of a range that lies inside.
    pub fn slice(&mut self, range: &Range<u64>) -> &mut [u8] {
        &mut self.bytes[range.start as usize..range.end as usize]
    }
}

/// A set of bytes as ranges that neither touch nor overlap: start → end.
#[derive(Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

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
            prop_assert_eq!(ranges.first_missing(asked.clone()), asked.into_iter().find(|&at| !bytes[at as usize]));
        }
    }
}

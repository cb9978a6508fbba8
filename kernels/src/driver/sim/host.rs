//! Page-locked host memory: bytes, which of them were ever written, and who touched them last.

use super::races::History;
use crate::ranges::Ranges;
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

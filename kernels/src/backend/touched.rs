//! Which bytes of which buffers work touches.

use crate::ranges::Ranges;
use octo_ops::{BufferId, View};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of buffers. A view counts with the gaps between its rows: too much waiting, never too little.
#[derive(Clone, Default)]
pub(super) struct Touched(BTreeMap<BufferId, Ranges>);

impl Touched {
    pub fn insert(&mut self, view: &View) {
        self.insert_bytes(view.buffer, span(view));
    }

    pub fn insert_bytes(&mut self, buffer: BufferId, bytes: Range<u64>) {
        self.0.entry(buffer).or_default().insert(bytes);
    }

    pub fn extend(&mut self, other: &Touched) {
        for (&buffer, ranges) in &other.0 {
            let own = self.0.entry(buffer).or_default();
            ranges.iter().for_each(|range| own.insert(range));
        }
    }

    pub fn meets(&self, view: &View) -> bool {
        self.0.get(&view.buffer).is_some_and(|ranges| ranges.meets(&span(view)))
    }

    /// Whether a byte is in both.
    pub fn meets_any(&self, other: &Touched) -> bool {
        self.0.iter().any(|(buffer, own)| {
            let others = other.0.get(buffer);
            others.is_some_and(|others| own.iter().any(|range| others.meets(&range)))
        })
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl FromIterator<View> for Touched {
    fn from_iter<T: IntoIterator<Item = View>>(views: T) -> Touched {
        let mut touched = Touched::default();
        views.into_iter().for_each(|view| touched.insert(&view));
        touched
    }
}

fn span(view: &View) -> Range<u64> {
    view.offset..view.offset + view.span_bytes()
}

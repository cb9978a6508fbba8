//! Where panels and the words above them go.

use crate::font;

pub(crate) const WIDTH: f64 = 1200.0;
pub(crate) const MARGIN: f64 = 24.0;
/// Between two panels, and between what stands above each other.
pub(crate) const GAP: f64 = 28.0;

/// A part of the figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Area {
    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// Places for `count` panels below `top`: at most three a row, every row full, the shorter rows first.
pub(crate) fn panels(count: usize, top: f64) -> Vec<Area> {
    let height = if count == 1 { 480.0 } else { 300.0 };
    let rows = count.div_ceil(3).max(1);
    let mut areas = Vec::with_capacity(count);
    for row in 0..rows {
        let across = count / rows + usize::from(row >= rows - count % rows);
        let width = (WIDTH - 2.0 * MARGIN - GAP * (across.max(1) - 1) as f64) / across.max(1) as f64;
        for column in 0..across {
            let left = MARGIN + (width + GAP) * column as f64;
            areas.push(Area { left, top: top + (height + GAP) * row as f64, width, height });
        }
    }
    areas
}

/// Places for words in lines of at most `room`: (left, line) of each, and how many lines that takes. Each has
/// `before` in front of it and `after` behind.
pub(crate) fn flow(
    words: &[String],
    size: f64,
    room: f64,
    before: f64,
    after: f64,
) -> (Vec<(f64, usize)>, usize) {
    let (mut left, mut line) = (0.0, 0);
    let mut places = Vec::with_capacity(words.len());
    for word in words {
        // The reader's own font may be a little wider than ours.
        let width = before + font::width(word, size, false) * 1.08;
        if left > 0.0 && left + width > room {
            (left, line) = (0.0, line + 1);
        }
        places.push((left, line));
        left += width + after;
    }
    (places, if words.is_empty() { 0 } else { line + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_full() {
        let rows = |count| {
            let areas = panels(count, 0.0);
            let tops: Vec<f64> = areas.iter().map(|a| a.top).collect();
            tops.chunk_by(|a, b| a == b).map(<[f64]>::len).collect::<Vec<_>>()
        };
        assert_eq!(rows(1), [1]);
        assert_eq!(rows(3), [3]);
        assert_eq!(rows(4), [2, 2]);
        assert_eq!(rows(5), [2, 3]);
        assert_eq!(rows(7), [2, 2, 3]);
        assert_eq!(rows(9), [3, 3, 3]);
    }

    proptest! {
        #[test]
        fn panels_stay_on_the_page_and_off_each_other(count in 1usize..31) {
            let areas = panels(count, 50.0);
            prop_assert_eq!(areas.len(), count);
            for (i, a) in areas.iter().enumerate() {
                prop_assert!(a.left >= MARGIN && a.right() <= WIDTH - MARGIN + 1e-6 && a.top >= 50.0);
                for b in &areas[..i] {
                    prop_assert!(b.bottom() <= a.top || b.right() <= a.left);
                }
            }
        }

        #[test]
        fn words_do_not_meet(words in prop::collection::vec("[a-z]{1,30}", 0..40)) {
            let (places, lines) = flow(&words, 13.0, 600.0, 18.0, 20.0);
            prop_assert!(places.iter().all(|(_, line)| *line < lines));
            for (pair, words) in places.windows(2).zip(&words) {
                let right = pair[0].0 + 18.0 + font::width(words, 13.0, false);
                prop_assert!(pair[1].1 > pair[0].1 || pair[1].0 > right);
                prop_assert!(right <= 600.0);
            }
        }
    }
}

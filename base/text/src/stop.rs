//! Stop strings, found while text is being written.

use crate::TextError;

/// What may be shown after a piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopEvent {
    /// Text that is certainly before any stop string; may be empty.
    Emit(String),
    /// A stop string is complete: the last text before it, and nothing after.
    Stopped(String),
}

/// Finds the first of several stop strings in text that arrives in pieces, wherever the pieces are cut.
///
/// The stop string that is complete first wins; of two that end together the longer one, so that what is
/// shown holds no part of either. Only text that may still become a stop string is held back.
#[derive(Clone, Debug)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopStrings {
    /// A matcher for these strings; with none it passes everything on.
    ///
    /// # Errors
    /// When one of them is empty.
    pub fn new(stops: Vec<String>) -> Result<StopStrings, TextError> {
        match stops.iter().position(String::is_empty) {
            Some(index) => Err(TextError::EmptyStop { index }),
            None => Ok(StopStrings { stops, held: String::new(), stopped: false }),
        }
    }

    /// Takes the next piece of text. After a stop every further piece is [`StopEvent::Stopped`] and empty.
    pub fn push(&mut self, text: &str) -> StopEvent {
        if self.stopped {
            return StopEvent::Stopped(String::new());
        }
        self.held.push_str(text);
        // The first occurrence of each stop is the one that ends first.
        let first = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()).map(|start| (start + stop.len(), start)))
            .min();
        if let Some((_, start)) = first {
            self.stopped = true;
            self.held.truncate(start);
            return StopEvent::Stopped(std::mem::take(&mut self.held));
        }
        let safe = self.held.len() - self.may_become_a_stop();
        let rest = self.held.split_off(safe);
        StopEvent::Emit(std::mem::replace(&mut self.held, rest))
    }

    /// The text still held back when no more will come.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of the held text that begin a stop string.
    fn may_become_a_stop(&self) -> usize {
        let longest = self.stops.iter().map(|stop| stop.len() - 1).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        (from..self.held.len())
            .filter(|&start| self.held.is_char_boundary(start))
            .find(|&start| self.stops.iter().any(|stop| stop.starts_with(&self.held[start..])))
            .map_or(0, |start| self.held.len() - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The whole text at once: the stop that ends first, of those the longest.
    fn naive(stops: &[String], text: &str) -> (String, bool) {
        for end in 0..=text.len() {
            for start in 0..end {
                if stops.iter().any(|stop| text.as_bytes()[start..end] == *stop.as_bytes()) {
                    return (text[..start].to_string(), true);
                }
            }
        }
        (text.to_string(), false)
    }

    proptest! {
        #[test]
        fn a_stop_is_found_whatever_the_cut(
            stops in proptest::collection::vec("[abé]{1,4}", 0..4),
            pieces in proptest::collection::vec("[abcé]{0,5}", 0..8),
        ) {
            let mut matcher = StopStrings::new(stops.clone()).unwrap();
            let (mut shown, mut stopped) = (String::new(), false);
            for piece in &pieces {
                match matcher.push(piece) {
                    StopEvent::Emit(text) => shown += &text,
                    StopEvent::Stopped(text) => {
                        shown += &text;
                        stopped = true;
                    }
                }
            }
            shown += &matcher.finish();
            prop_assert_eq!((shown, stopped), naive(&stops, &pieces.concat()));
        }

        #[test]
        fn no_more_is_held_back_than_may_become_a_stop(
            stop in "[ab]{1,5}", pieces in proptest::collection::vec("[abc]{0,3}", 0..8),
        ) {
            let mut matcher = StopStrings::new(vec![stop.clone()]).unwrap();
            let (mut seen, mut shown) = (String::new(), 0);
            for piece in &pieces {
                let StopEvent::Emit(text) = matcher.push(piece) else { break };
                seen += piece;
                shown += text.len();
                let held = &seen[shown..];
                prop_assert!(stop.starts_with(held) && held != stop);
            }
        }
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        let error = StopStrings::new(vec!["a".into(), String::new()]).unwrap_err();
        assert!(matches!(error, TextError::EmptyStop { index: 1 }));
    }
}

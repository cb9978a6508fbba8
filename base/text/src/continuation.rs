//! The text of one continuation as it grows.

use crate::{StopEvent, StopStrings, TextError, TokenStreamDecoder, Tokenizer};
use std::ops::ControlFlow;

/// What a model writes, token by token, up to its first stop string.
#[derive(Clone, Debug)]
pub struct Continuation {
    decoder: Option<TokenStreamDecoder>,
    stops: StopStrings,
    text: String,
    stopped: bool,
}

impl Continuation {
    /// An empty text that ends before any of these strings; without a tokenizer it stays empty.
    ///
    /// # Errors
    /// When a stop string is empty.
    pub fn new(tokenizer: Option<&Tokenizer>, stops: &[String]) -> Result<Continuation, TextError> {
        Ok(Continuation {
            decoder: tokenizer.map(|t| TokenStreamDecoder::new(t, true)),
            stops: StopStrings::new(stops.to_vec())?,
            text: String::new(),
            stopped: false,
        })
    }

    /// Takes a token; an end-of-text token is no text. Breaks when a stop string is complete.
    pub fn push(&mut self, token: u32, is_end: bool) -> ControlFlow<()> {
        let Some(decoder) = self.decoder.as_mut().filter(|_| !is_end) else {
            return ControlFlow::Continue(());
        };
        let text = decoder.push(token);
        self.take(&text)
    }

    /// The text, with what was held back in case more would come.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn finish(mut self) -> Result<String, TextError> {
        if !self.stopped {
            let rest = self.decoder.as_mut().map(TokenStreamDecoder::finish).transpose()?;
            if self.take(&rest.unwrap_or_default()).is_continue() {
                self.text += &self.stops.finish();
            }
        }
        Ok(self.text)
    }

    fn take(&mut self, text: &str) -> ControlFlow<()> {
        match self.stops.push(text) {
            StopEvent::Emit(text) => {
                self.text += &text;
                ControlFlow::Continue(())
            }
            StopEvent::Stopped(text) => {
                self.text += &text;
                self.stopped = true;
                ControlFlow::Break(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::byte_level;

    #[test]
    fn a_text_ends_before_its_stop_string_and_keeps_what_only_began_one() {
        let ids = byte_level().encode("the answer\nQ: next", false).unwrap();
        let written = |stops: &[&str]| {
            let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
            let mut text = Continuation::new(Some(byte_level()), &stops).unwrap();
            let taken = ids.iter().take_while(|&&id| text.push(id, false).is_continue()).count();
            (text.finish().unwrap(), taken == ids.len())
        };
        assert_eq!(written(&["\nQ:"]), ("the answer".to_owned(), false));
        assert_eq!(written(&["next!"]), ("the answer\nQ: next".to_owned(), true));
    }

    #[test]
    fn an_end_token_is_no_text() {
        let mut text = Continuation::new(Some(byte_level()), &[]).unwrap();
        assert!(text.push(0, true).is_continue());
        assert_eq!(text.finish().unwrap(), "");
    }
}

//! A walk over the tokens.

use super::error::{Fault, Mistake, Result};
use super::lexer::{Kind, Number, Token, number};
use crate::Span;

/// The tokens and a place in them. The last token is the end, and is never passed.
pub(super) struct Cursor<'t> {
    pub text: &'t str,
    tokens: &'t [Token],
    at: usize,
}

impl<'t> Cursor<'t> {
    pub fn new(text: &'t str, tokens: &'t [Token]) -> Self {
        Cursor { text, tokens, at: 0 }
    }

    /// The token `ahead` places on.
    pub fn peek(&self, ahead: usize) -> Token {
        self.tokens[(self.at + ahead).min(self.tokens.len() - 1)]
    }

    /// The next token, passed.
    pub fn next(&mut self) -> Token {
        let token = self.peek(0);
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// The token's text.
    pub fn word(&self, token: &Token) -> &'t str {
        token.text(self.text)
    }

    /// The modifier's text without its dot, if the next token is one.
    pub fn peek_dot(&self) -> Option<&'t str> {
        let token = self.peek(0);
        (token.kind == Kind::Dot).then(|| &self.word(&token)[1..])
    }

    /// Passes `.name` if it is next.
    pub fn take_dot(&mut self, name: &str) -> bool {
        let found = self.peek_dot() == Some(name);
        if found {
            self.next();
        }
        found
    }

    /// Passes the mark if it is next.
    pub fn take(&mut self, mark: u8) -> bool {
        let found = self.peek(0).kind == Kind::Mark(mark);
        if found {
            self.next();
        }
        found
    }

    /// Passes the mark, or says that it lacks.
    pub fn need(&mut self, mark: u8) -> Result<Token> {
        match self.peek(0).kind == Kind::Mark(mark) {
            true => Ok(self.next()),
            false => Err(self.expected(&format!("`{}`", char::from(mark)))),
        }
    }

    /// Passes a name.
    pub fn need_word(&mut self, expected: &str) -> Result<Token> {
        match self.peek(0).kind == Kind::Word {
            true => Ok(self.next()),
            false => Err(self.expected(expected)),
        }
    }

    /// Passes an integer, which must be at most `most`.
    pub fn need_integer(&mut self, what: &'static str, most: u64) -> Result<u64> {
        let token = self.peek(0);
        if token.kind != Kind::Number {
            return Err(self.expected(what));
        }
        self.next();
        match number(&token, self.text)? {
            Number::Integer(value) if value <= most => Ok(value),
            Number::Integer(value) => Err(Fault::new(token.span, Mistake::Limit { what, value, most })),
            _ => Err(Fault::new(token.span, self.expected_instead(what, &token))),
        }
    }

    /// Passes a string; without its quotes.
    pub fn need_quoted(&mut self, expected: &str) -> Result<&'t str> {
        let token = self.peek(0);
        if token.kind != Kind::Quoted {
            return Err(self.expected(expected));
        }
        self.next();
        let word = self.word(&token);
        Ok(&word[1..word.len() - 1])
    }

    /// The next token is not what must stand here.
    pub fn expected(&self, expected: &str) -> Fault {
        let token = self.peek(0);
        Fault::new(token.span, self.expected_instead(expected, &token))
    }

    fn expected_instead(&self, expected: &str, token: &Token) -> Mistake {
        let found = match token.kind {
            Kind::End => "the end of the text".to_owned(),
            _ => format!("`{}`", short(self.word(token))),
        };
        Mistake::Expected { expected: expected.to_owned(), found }
    }
}

/// A word of the text for a message: its beginning if it is very long.
pub(super) fn short(word: &str) -> &str {
    let mut end = word.len().min(80);
    while !word.is_char_boundary(end) {
        end -= 1;
    }
    &word[..end]
}

/// From the start of one place to the end of another.
pub(super) fn through(first: Span, last: Span) -> Span {
    Span { end: last.end.max(first.end), ..first }
}

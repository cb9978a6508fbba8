//! Text to tokens. PTX ISA, section 4.3 and 4.5.
//!
//! A token is a place in the text and a kind; nothing is copied. Comments and white space end here.

use super::error::{Fault, Mistake, Result};
use crate::Span;

/// Kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or an instruction: `add`, `%r1`, `$L__BB0_1`, `_`.
    Word,
    /// A dot and a word: `.s32`, `.L1::no_allocate`.
    Dot,
    /// Begins with a digit.
    Number,
    /// In quotes.
    Quoted,
    /// One character.
    Mark(u8),
    /// Behind the last token.
    End,
}

/// A piece of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Span,
}

impl Token {
    /// The token's text.
    pub fn text<'t>(&self, text: &'t str) -> &'t str {
        &text[self.span.start as usize..self.span.end as usize]
    }
}

/// Splits a text; the last token is [`Kind::End`].
pub(super) fn lex(text: &str) -> Result<Vec<Token>> {
    let mut lexer = Lexer { text: text.as_bytes(), at: 0, line: 1 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank()?;
        let (start, line) = (lexer.at, lexer.line);
        let kind = lexer.token(text)?;
        tokens.push(Token { kind, span: Span { start: start as u32, end: lexer.at as u32, line } });
        if kind == Kind::End {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn fault(&self, start: usize, line: u32, mistake: Mistake) -> Fault {
        Fault::new(Span { start: start as u32, end: self.at.max(start) as u32, line }, mistake)
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) -> Result<()> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'\n', _) => {
                    self.line += 1;
                    self.at += 1;
                }
                (b' ' | b'\t' | b'\r', _) => self.at += 1,
                (b'/', b'/') => {
                    let rest = &self.text[self.at..];
                    self.at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                }
                (b'/', b'*') => {
                    let rest = &self.text[self.at + 2..];
                    let Some(length) = rest.windows(2).position(|pair| pair == b"*/") else {
                        let (start, line) = (self.at, self.line);
                        self.at += 2;
                        return Err(self.fault(start, line, Mistake::Unterminated { what: "a comment" }));
                    };
                    self.line += rest[..length].iter().filter(|&&byte| byte == b'\n').count() as u32;
                    self.at += length + 4;
                }
                _ => return Ok(()),
            }
        }
    }

    fn token(&mut self, text: &str) -> Result<Kind> {
        let (start, line) = (self.at, self.line);
        let Some(&first) = self.text.get(start) else { return Ok(Kind::End) };
        match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | b'%' => {
                self.at += 1;
                self.word();
                if first == b'%' && self.at == start + 1 {
                    return Err(self.fault(start, line, Mistake::Character('%')));
                }
                Ok(Kind::Word)
            }
            b'.' if is_word(self.peek(1)) => {
                self.at += 1;
                self.word();
                while self.peek(0) == b':' && self.peek(1) == b':' && is_word(self.peek(2)) {
                    self.at += 2;
                    self.word();
                }
                Ok(Kind::Dot)
            }
            b'0'..=b'9' => {
                self.number();
                Ok(Kind::Number)
            }
            b'"' => {
                self.at += 1;
                let rest = &self.text[self.at..];
                match rest.iter().position(|&byte| byte == b'"' || byte == b'\n') {
                    Some(length) if rest[length] == b'"' => {
                        self.at += length + 1;
                        Ok(Kind::Quoted)
                    }
                    _ => Err(self.fault(start, line, Mistake::Unterminated { what: "a string" })),
                }
            }
            b'{' | b'}' | b'(' | b')' | b'[' | b']' | b'<' | b'>' | b',' | b';' | b':' | b'=' | b'@'
            | b'!' | b'|' | b'+' | b'-' => {
                self.at += 1;
                Ok(Kind::Mark(first))
            }
            _ => {
                let character = text[start..].chars().next().unwrap_or_default();
                self.at += character.len_utf8();
                Err(self.fault(start, line, Mistake::Character(character)))
            }
        }
    }

    fn word(&mut self) {
        while is_word(self.peek(0)) {
            self.at += 1;
        }
    }

    /// A number with its letters; a point and a signed exponent belong to it if only digits stood before.
    fn number(&mut self) {
        let start = self.at;
        self.word();
        if !self.text[start..self.at].iter().all(u8::is_ascii_digit) && !self.ends_in_exponent(start) {
            return;
        }
        if self.peek(0) == b'.' && !self.ends_in_exponent(start) {
            self.at += 1;
            self.word();
        }
        if self.ends_in_exponent(start) && matches!(self.peek(0), b'+' | b'-') {
            self.at += 1;
            self.word();
        }
    }

    fn ends_in_exponent(&self, start: usize) -> bool {
        let text = &self.text[start..self.at];
        let (Some(last), digits) = (text.last(), &text[..text.len() - 1]) else { return false };
        matches!(last, b'e' | b'E')
            && !digits.is_empty()
            && digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')
}

/// A number of the text. PTX ISA, section 4.5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// An integer.
    Integer(u64),
    /// `0f…`: the bits of an f32.
    Single(u32),
    /// `0d…` or a decimal with a point or exponent: the bits of an f64.
    Double(u64),
}

/// Reads a [`Kind::Number`].
pub(super) fn number(token: &Token, text: &str) -> Result<Number> {
    let word = token.text(text);
    let wrong = || Fault::new(token.span, Mistake::Number(word.to_owned()));
    let bytes = word.as_bytes();
    let hexadecimal = |digits: &str, length: usize| {
        if digits.len() != length || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u64::from_str_radix(digits, 16).map_err(|_| wrong())
    };
    match bytes {
        [b'0', b'f' | b'F', ..] => return Ok(Number::Single(hexadecimal(&word[2..], 8)? as u32)),
        [b'0', b'd' | b'D', ..] => return Ok(Number::Double(hexadecimal(&word[2..], 16)?)),
        _ => {}
    }
    let hex = matches!(bytes, [b'0', b'x' | b'X', ..]);
    if !hex && bytes.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        let plain = bytes.iter().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(byte));
        let value: f64 = word.parse().map_err(|_| wrong())?;
        return if plain { Ok(Number::Double(value.to_bits())) } else { Err(wrong()) };
    }
    let digits = word.strip_suffix('U').unwrap_or(word);
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(wrong());
    }
    u64::from_str_radix(digits, radix)
        .map(Number::Integer)
        .map_err(|_| Fault::new(token.span, Mistake::TooLarge(word.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        lex(text).unwrap().iter().map(|token| token.text(text)).collect()
    }

    #[test]
    fn comments_and_blanks_separate_tokens_and_lines_are_counted_through_them() {
        let text = "add.s32 // x\n/* y\n z */%r1,_";
        assert_eq!(words(text), ["add", ".s32", "%r1", ",", "_", ""]);
        assert_eq!(lex(text).unwrap()[2].span.line, 3);
    }

    #[test]
    fn a_double_colon_belongs_to_its_modifier_and_a_single_one_does_not() {
        assert_eq!(words("ld.L1::no_allocate.u8"), ["ld", ".L1::no_allocate", ".u8", ""]);
        assert_eq!(words("$L:x"), ["$L", ":", "x", ""]);
    }

    #[test]
    fn numbers_of_every_kind_have_their_values() {
        let read = |text: &str| number(&lex(text).map_err(|_| ()).unwrap()[0], text).map_err(|_| ());
        assert_eq!(read("17"), Ok(Number::Integer(17)));
        assert_eq!(read("017"), Ok(Number::Integer(15)));
        assert_eq!(read("0"), Ok(Number::Integer(0)));
        assert_eq!(read("0x1eU"), Ok(Number::Integer(30)));
        assert_eq!(read("0b101"), Ok(Number::Integer(5)));
        assert_eq!(read("18446744073709551615"), Ok(Number::Integer(u64::MAX)));
        assert_eq!(read("0f3F800000"), Ok(Number::Single(0x3F80_0000)));
        assert_eq!(read("0d3FF0000000000000"), Ok(Number::Double(1.0f64.to_bits())));
        assert_eq!(read("1.5e-3"), Ok(Number::Double(1.5e-3f64.to_bits())));
        assert_eq!(read("2e5"), Ok(Number::Double(2e5f64.to_bits())));
        assert_eq!(read("2."), Ok(Number::Double(2f64.to_bits())));
        for wrong in ["0f3F8", "0f3F80000g", "0x", "12a", "09", "0b2", "18446744073709551616", "1.5x", "1e"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_token_names_its_place() {
        for (text, at) in [("add \u{e9}", 4), ("\n #", 2), ("a /* b", 2), ("\"abc\n\"", 0), ("% r", 0)] {
            assert_eq!(lex(text).unwrap_err().span.start, at, "{text}");
        }
    }
}

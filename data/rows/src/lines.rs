//! Lines of a file, one at a time, none longer than a limit.

use std::io::{BufRead, Error};

/// The most bytes of one line, or of one text document.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 256 << 20;

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole line, in the buffer.
    Whole {
        /// Offset of the first byte in the file.
        start: u64,
    },
    /// A line longer than the limit; reading cannot go on.
    TooLong,
    /// The end of the file.
    End,
}

/// Reads lines into one buffer that never grows beyond the limit.
pub(crate) struct LineReader<R> {
    input: R,
    limit: usize,
    offset: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> LineReader<R> {
    pub fn new(input: R, limit: usize) -> LineReader<R> {
        LineReader { input, limit, offset: 0, buffer: Vec::new() }
    }

    /// The bytes of the last line, without its line end, and without a byte-order mark at the file's start.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub fn next(&mut self) -> Result<Line, Error> {
        self.buffer.clear();
        let mut start = self.offset;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if available.is_empty() {
                if self.offset == start {
                    return Ok(Line::End);
                }
                break;
            }
            let end = available.iter().position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(available.len());
            if self.buffer.len() + taken > self.limit {
                return Ok(Line::TooLong);
            }
            self.buffer.extend_from_slice(&available[..taken]);
            let consumed = taken + usize::from(end.is_some());
            self.input.consume(consumed);
            self.offset += consumed as u64;
            if end.is_some() {
                break;
            }
        }
        if self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        if start == 0 && self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.buffer.drain(..BYTE_ORDER_MARK.len());
            start += BYTE_ORDER_MARK.len() as u64;
        }
        Ok(Line::Whole { start })
    }
}

/// What some editors put before UTF-8 text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufReader;

    fn lines(bytes: &[u8], buffer: usize, limit: usize) -> (Vec<(u64, Vec<u8>)>, Line) {
        let mut reader = LineReader::new(BufReader::with_capacity(buffer, bytes), limit);
        let mut out = Vec::new();
        loop {
            match reader.next().unwrap() {
                Line::Whole { start } => out.push((start, reader.bytes().to_vec())),
                end => return (out, end),
            }
        }
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_text_whatever_the_buffer(text in "[ab\r\n\u{FEFF}]{0,30}", buffer in 1usize..9) {
            let (found, end) = lines(text.as_bytes(), buffer, 1000);
            prop_assert_eq!(end, Line::End);
            let plain = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
            let expected: Vec<String> = plain.split_inclusive('\n').map(|l| {
                let l = l.strip_suffix('\n').unwrap_or(l);
                l.strip_suffix('\r').unwrap_or(l).to_string()
            }).collect();
            // A mark alone is a line of its own, and empty.
            let expected = if plain.is_empty() && !text.is_empty() { vec![String::new()] } else { expected };
            prop_assert_eq!(found.len(), expected.len());
            for ((start, bytes), expected) in found.iter().zip(&expected) {
                prop_assert_eq!(bytes, expected.as_bytes());
                prop_assert!(text.as_bytes()[*start as usize..].starts_with(bytes));
            }
        }
    }

    #[test]
    fn a_line_beyond_the_limit_is_never_held() {
        let (found, end) = lines(b"abc\nabcd\nabcde\nab\n", 3, 4);
        assert_eq!((found.len(), end), (2, Line::TooLong));
        // An endless line: memory stays at the limit.
        let mut reader = LineReader::new(BufReader::new(std::io::repeat(b'x')), 1 << 20);
        assert_eq!(reader.next().unwrap(), Line::TooLong);
        assert!(reader.buffer.capacity() <= 2 << 20);
    }
}

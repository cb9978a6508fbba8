//! What can be wrong with a text, and where.

use crate::{Span, Type};

/// Most characters of a line that an error quotes.
const QUOTED: usize = 160;

/// Why a text is not a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {}, column {column}: {mistake}\n    {text}", span.line)]
pub struct ParseError {
    /// What the mistake speaks of; lies on the text.
    pub span: Span,
    /// Byte of the line at which the span starts, from 1.
    pub column: u32,
    /// What is wrong.
    pub mistake: Mistake,
    /// The line's text, at most 160 bytes of it.
    pub text: String,
}

/// What is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum Mistake {
    #[error("the text has {bytes} bytes; {most} are read at most")]
    TooLong { bytes: usize, most: usize },
    #[error("{what} is not closed before the text ends")]
    Unterminated { what: &'static str },
    #[error("the character {0:?} stands for nothing in PTX")]
    Character(char),
    #[error(
        "`{0}` is not a number; write decimal, 0x…, 0b…, octal 0…, 0f and 8, or 0d and 16 hexadecimal digits"
    )]
    Number(String),
    #[error("`{0}` does not fit 64 bits")]
    TooLarge(String),
    #[error("expected {expected}, found {found}")]
    Expected { expected: String, found: String },
    #[error("{what} is {value}; at most {most} is supported")]
    Limit { what: &'static str, value: u64, most: u64 },
    #[error("{what} is not supported: {advice}")]
    Unsupported { what: String, advice: &'static str },
    #[error("`{name}` is declared twice in one scope")]
    Redeclared { name: String },
    #[error("`{name}` is a name of PTX's own and cannot be declared")]
    Reserved { name: String },
    #[error("nothing called `{name}` is declared here")]
    Undeclared { name: String },
    #[error("`{name}` is {what}, where {expected} must stand")]
    Wrong { name: String, what: &'static str, expected: &'static str },
    #[error("no label `{0}` is visible here")]
    Label(String),
    #[error("the instruction `{0}` is unknown")]
    Instruction(String),
    #[error("`{instruction}` cannot have `.{modifier}` here; expected {expected}")]
    Modifier { instruction: String, modifier: String, expected: String },
    #[error("`{instruction}` lacks a modifier: expected {expected}")]
    Incomplete { instruction: String, expected: String },
    #[error("`{instruction}` cannot be combined so: {why}")]
    Combination { instruction: String, why: &'static str },
    #[error("`{what}` needs .target sm_{needs} or higher, the module is for {target}")]
    Target { what: String, needs: u32, target: String },
    #[error("`{instruction}` takes {expected} operands, found {found}")]
    Operands { instruction: String, expected: String, found: usize },
    #[error("{found} cannot be an operand here; expected {expected}")]
    Operand { expected: String, found: String },
    #[error("register `{name}` is {register}, which {ty} does not fit")]
    RegisterType { name: String, register: &'static str, ty: &'static str },
    #[error("the constant {value} does not fit {}", ty.name())]
    Constant { value: String, ty: Type },
}

/// An error before the text is at hand: what, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub span: Span,
    pub mistake: Box<Mistake>,
}

/// Shorthand of the parser's own functions.
pub(super) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub fn new(span: Span, mistake: Mistake) -> Self {
        Fault { span, mistake: Box::new(mistake) }
    }

    /// The error as users see it.
    pub fn on(self, text: &str) -> ParseError {
        let start = self.span.start as usize;
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].split('\n').next().unwrap_or_default().trim_end();
        let mut end = line.len().min(QUOTED);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        ParseError {
            span: self.span,
            column: (start - line_start) as u32 + 1,
            mistake: *self.mistake,
            text: line[..end].trim_start().to_owned(),
        }
    }
}

//! What an operand looks like, before it is known what its instruction wants. PTX ISA, section 6.

use super::cursor::{Cursor, short};
use super::error::{Fault, Mistake, Result};
use super::lexer::{Kind, Number, Token, number};
use crate::Span;

/// An operand before it is known what the instruction wants.
#[derive(Clone, Debug)]
pub(super) struct Raw<'t> {
    pub span: Span,
    pub shape: Shape<'t>,
}

/// What an operand looks like.
#[derive(Clone, Debug)]
pub(super) enum Shape<'t> {
    /// `_`
    Sink,
    /// A name; with the axis of `%tid.x`.
    Name(&'t str, Option<&'t str>),
    /// `!p`
    Not(&'t str),
    /// `d|p`
    Pair(&'t str, &'t str),
    /// `name+4`
    Sum(&'t str, i64),
    /// An integer by magnitude and sign.
    Integer(u64, bool),
    /// `0f…`
    Single(u32),
    /// `0d…` or a decimal.
    Double(u64),
    /// `{…}`
    Vector(Vec<Raw<'t>>),
    /// `[name+4]`
    Memory(&'t str, i64),
    /// `[4]`
    Absolute(u64),
}

/// Reads one operand.
pub(super) fn operand<'t>(cursor: &mut Cursor<'t>) -> Result<Raw<'t>> {
    let first = cursor.peek(0);
    let shape = match first.kind {
        Kind::Mark(b'{') => {
            cursor.next();
            let mut elements = vec![scalar(cursor)?];
            while cursor.take(b',') {
                elements.push(scalar(cursor)?);
            }
            cursor.need(b'}')?;
            Shape::Vector(elements)
        }
        Kind::Mark(b'[') => {
            cursor.next();
            let shape = match cursor.peek(0).kind {
                Kind::Number => Shape::Absolute(cursor.need_integer("an address", u64::MAX)?),
                _ => {
                    let name = cursor.need_word("a register or a name")?;
                    Shape::Memory(cursor.word(&name), offset(cursor)?)
                }
            };
            cursor.need(b']')?;
            shape
        }
        _ => return scalar(cursor),
    };
    Ok(Raw { span: since(first, cursor), shape })
}

/// An operand that may be an element of a vector.
fn scalar<'t>(cursor: &mut Cursor<'t>) -> Result<Raw<'t>> {
    let first = cursor.next();
    let shape = match first.kind {
        Kind::Word => {
            let name = cursor.word(&first);
            if name == "WARP_SZ" {
                Shape::Integer(32, false)
            } else if cursor.take(b'|') {
                Shape::Pair(name, {
                    let second = cursor.need_word("a predicate")?;
                    cursor.word(&second)
                })
            } else if name == "_" {
                Shape::Sink
            } else if let Some(axis) = cursor.peek_dot() {
                cursor.next();
                Shape::Name(name, Some(axis))
            } else if cursor.peek(0).kind == Kind::Mark(b'+') {
                Shape::Sum(name, offset(cursor)?)
            } else {
                Shape::Name(name, None)
            }
        }
        Kind::Mark(b'!') => {
            let name = cursor.need_word("a predicate")?;
            Shape::Not(cursor.word(&name))
        }
        Kind::Mark(b'-') => literal(cursor, true)?,
        Kind::Number => constant(number(&first, cursor.text)?, false),
        _ => {
            let found = match first.kind {
                Kind::End => "the end of the text".to_owned(),
                _ => format!("`{}`", short(cursor.word(&first))),
            };
            return Err(Fault::new(
                first.span,
                Mistake::Expected { expected: "an operand".to_owned(), found },
            ));
        }
    };
    Ok(Raw { span: since(first, cursor), shape })
}

/// A number behind its sign.
fn literal<'t>(cursor: &mut Cursor<'t>, negative: bool) -> Result<Shape<'t>> {
    let token = cursor.peek(0);
    if token.kind != Kind::Number {
        return Err(cursor.expected("a number"));
    }
    cursor.next();
    match (number(&token, cursor.text)?, cursor.word(&token).as_bytes()) {
        // A sign before the bits of a number is no PTX.
        (Number::Single(_), _) | (Number::Double(_), [b'0', b'd' | b'D', ..]) => {
            Err(Fault::new(token.span, Mistake::Number(format!("-{}", cursor.word(&token)))))
        }
        (value, _) => Ok(constant(value, negative)),
    }
}

fn constant<'t>(value: Number, negative: bool) -> Shape<'t> {
    match value {
        Number::Integer(value) => Shape::Integer(value, negative && value != 0),
        Number::Single(bits) => Shape::Single(bits),
        Number::Double(bits) => Shape::Double(bits ^ (u64::from(negative) << 63)),
    }
}

/// `+4`, `+-4` or nothing.
fn offset(cursor: &mut Cursor<'_>) -> Result<i64> {
    if !cursor.take(b'+') {
        return Ok(0);
    }
    let negative = cursor.take(b'-');
    let value = cursor.need_integer("an offset in bytes", i64::MAX as u64)? as i64;
    Ok(if negative { -value } else { value })
}

/// From a token to the last one passed.
fn since(first: Token, cursor: &Cursor<'_>) -> Span {
    // Blanks before the next token are no part of the operand.
    let next = cursor.peek(0).span.start as usize;
    let end = cursor.text[..next].trim_end().len() as u32;
    Span { end: end.max(first.span.end), ..first.span }
}

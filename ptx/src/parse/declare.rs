//! Declarations of variables, parameters and registers. PTX ISA, sections 5.1 to 5.4.

use super::cursor::{Cursor, through};
use super::error::{Fault, Mistake, Result};
use super::lexer::{Kind, Number, number};
use super::names::{MOST_REGISTERS, Names};
use super::special::reserved;
use super::types::{TYPES, holds, integer};
use crate::{Kernel, Param, Space, Span, Type, Variable};
use Type::*;

/// Most bytes of a variable by space: what sm_90 has, and for device memory what one module may ask.
fn most_bytes(space: Space) -> u64 {
    match space {
        Space::Shared => 227 << 10,
        Space::Local => 512 << 10,
        Space::Const => 64 << 10,
        _ => 4 << 30,
    }
}

/// Most bytes of a kernel's parameters. PTX ISA 8.1 on.
const MOST_PARAMETERS: u64 = 32764;

/// Where the variables of one declaration lie.
#[derive(Clone, Copy)]
pub(super) struct Storage {
    pub space: Space,
    pub external: bool,
}

/// What stands before the names: `.align 16 .v4 .f32`.
struct Head {
    align: u32,
    ty: Type,
    elements: u64,
}

fn head(cursor: &mut Cursor<'_>) -> Result<Head> {
    let mut align = None;
    if cursor.take_dot("align") {
        let token = cursor.peek(0);
        let value = cursor.need_integer("an alignment", 1 << 16)?;
        if !value.is_power_of_two() {
            let (what, advice) = (format!(".align {value}"), "an alignment is a power of two");
            return Err(Fault::new(token.span, Mistake::Unsupported { what, advice }));
        }
        align = Some(value as u32);
    }
    let elements = match cursor.peek_dot() {
        Some("v2") => 2,
        Some("v4") => 4,
        _ => 1,
    };
    if elements > 1 {
        cursor.next();
    }
    let ty = data_type(cursor)?;
    let natural = ty.bits() / 8 * elements as u32;
    Ok(Head { align: align.unwrap_or(natural).max(ty.bits() / 8), ty, elements })
}

/// A type of memory.
fn data_type(cursor: &mut Cursor<'_>) -> Result<Type> {
    let ty = cursor.peek_dot().and_then(|word| TYPES.iter().find(|(name, _)| *name == word));
    match ty {
        Some(&(_, ty)) if !matches!(ty, Pred | B128 | F16 | F16x2 | Bf16 | Bf16x2) => {
            cursor.next();
            Ok(ty)
        }
        _ => Err(cursor.expected("a type of memory: .b8 to .b64, .u8 to .u64, .s8 to .s64, .f32 or .f64")),
    }
}

/// The rest of `.global .align 16 .b8 name[64] = {1, 2};` behind the space: names and variables.
pub(super) fn variables<'t>(
    cursor: &mut Cursor<'t>,
    storage: Storage,
    first: Span,
) -> Result<Vec<(&'t str, Variable)>> {
    let head = head(cursor)?;
    let mut found = Vec::new();
    loop {
        let token = cursor.need_word("the name of a variable")?;
        let name = cursor.word(&token);
        check_name(name, token.span)?;
        let sizes = dimensions(cursor)?;
        let unit = u64::from(head.ty.bits() / 8) * head.elements;
        let mut bytes = None;
        let (open, mut known) = (sizes.first() == Some(&None), sizes.iter().flatten());
        let product = known.try_fold(unit, |product, &size| product.checked_mul(size));
        let most = most_bytes(storage.space);
        let limit = |value| Fault::new(token.span, Mistake::Limit { what: "the size in bytes", value, most });
        let product =
            product.filter(|&product| product <= most).ok_or_else(|| limit(product.unwrap_or(u64::MAX)))?;
        let mut initial = Vec::new();
        if cursor.peek(0).kind == Kind::Mark(b'=') {
            if storage.external || !matches!(storage.space, Space::Global | Space::Const) {
                return Err(cursor.expected("no initial value: only .global and .const variables have one"));
            }
            cursor.next();
            initial = initializer(cursor, head.ty)?;
            if !open && initial.len() as u64 > product {
                return Err(limit(initial.len() as u64));
            }
        }
        match (open, storage.external) {
            (false, false) => bytes = Some(product),
            (true, true) if storage.space == Space::Shared && sizes.len() == 1 => {}
            (true, false) if !initial.is_empty() && sizes.len() == 1 => bytes = Some(initial.len() as u64),
            (true, _) => {
                return Err(cursor.expected("a size: only .extern .shared and initialised arrays lack one"));
            }
            (false, true) => {
                let (what, advice) = ("an external variable".to_owned(), "modules are not linked");
                return Err(Fault::new(token.span, Mistake::Unsupported { what, advice }));
            }
        }
        let span = through(first, cursor.peek(0).span);
        let space = storage.space;
        found
            .push((name, Variable { name: name.to_owned(), space, align: head.align, bytes, initial, span }));
        if !cursor.take(b',') {
            cursor.need(b';')?;
            return Ok(found);
        }
    }
}

fn check_name(name: &str, span: Span) -> Result<()> {
    match reserved(name) {
        true => Err(Fault::new(span, Mistake::Reserved { name: name.to_owned() })),
        false => Ok(()),
    }
}

/// `[4][8]`; the first may be empty.
fn dimensions(cursor: &mut Cursor<'_>) -> Result<Vec<Option<u64>>> {
    let mut sizes = Vec::new();
    while cursor.take(b'[') {
        if sizes.is_empty() && cursor.take(b']') {
            sizes.push(None);
            continue;
        }
        let token = cursor.peek(0);
        match cursor.need_integer("the number of elements", u64::MAX)? {
            0 => {
                let (what, advice) = ("an array of no elements".to_owned(), "an array has at least one");
                return Err(Fault::new(token.span, Mistake::Unsupported { what, advice }));
            }
            size => sizes.push(Some(size)),
        }
        cursor.need(b']')?;
    }
    Ok(sizes)
}

/// A value, or a list of values in braces, as bytes.
fn initializer(cursor: &mut Cursor<'_>, ty: Type) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if !cursor.take(b'{') {
        element(cursor, ty, &mut bytes)?;
        return Ok(bytes);
    }
    loop {
        element(cursor, ty, &mut bytes)?;
        if !cursor.take(b',') {
            cursor.need(b'}')?;
            return Ok(bytes);
        }
    }
}

fn element(cursor: &mut Cursor<'_>, ty: Type, bytes: &mut Vec<u8>) -> Result<()> {
    let negative = cursor.take(b'-');
    let token = cursor.peek(0);
    if token.kind != Kind::Number {
        return Err(
            cursor.expected("a number (addresses as initial values are not supported, nor nested lists)")
        );
    }
    cursor.next();
    let width = ty.bits() as usize / 8;
    let bits = match (number(&token, cursor.text)?, ty) {
        (Number::Integer(value), ty) if integer(ty) || matches!(ty, B8 | B16 | B32 | B64) => {
            if !holds(ty, value, negative) {
                let value = format!("{}{value}", if negative { "-" } else { "" });
                return Err(Fault::new(token.span, Mistake::Constant { value, ty }));
            }
            if negative { value.wrapping_neg() } else { value }
        }
        (Number::Single(bits), F32 | B32) if !negative => u64::from(bits),
        (Number::Double(bits), F64 | B64) if !negative => bits,
        (_, ty) => {
            let (expected, found) =
                (format!("a number of .{}", ty.name()), format!("`{}`", cursor.word(&token)));
            return Err(Fault::new(token.span, Mistake::Expected { expected, found }));
        }
    };
    bytes.extend_from_slice(&bits.to_le_bytes()[..width]);
    Ok(())
}

/// A kernel's parameters: `(.param .u64 a, .param .align 8 .b8 b[48])`, or nothing.
pub(super) fn parameters<'t>(cursor: &mut Cursor<'t>) -> Result<Vec<(&'t str, Span, Param)>> {
    let mut found = Vec::new();
    if !cursor.take(b'(') || cursor.take(b')') {
        return Ok(found);
    }
    let mut end = 0u64;
    loop {
        if !cursor.take_dot("param") {
            return Err(cursor.expected("`.param`"));
        }
        let head = head(cursor)?;
        if head.elements > 1 {
            return Err(cursor.expected("a scalar or an array of bytes"));
        }
        // `.ptr .global .align 16` says what a pointer points to; the parameter itself is as before.
        if cursor.take_dot("ptr") {
            if let Some("global" | "shared" | "local" | "const") = cursor.peek_dot() {
                cursor.next();
            }
            if cursor.take_dot("align") {
                cursor.need_integer("an alignment", 1 << 16)?;
            }
        }
        let token = cursor.need_word("the name of a parameter")?;
        let name = cursor.word(&token);
        check_name(name, token.span)?;
        let sizes = dimensions(cursor)?;
        let unit = u64::from(head.ty.bits() / 8);
        let count = match sizes[..] {
            [] => Some(1),
            [Some(count)] => Some(count),
            _ => None,
        };
        let size = count.and_then(|count| count.checked_mul(unit));
        let start = end.next_multiple_of(u64::from(head.align));
        let what = "the size of the parameters in bytes";
        match size.and_then(|size| size.checked_add(start)) {
            Some(new) if new <= MOST_PARAMETERS => end = new,
            new => {
                let (value, most) = (new.unwrap_or(u64::MAX), MOST_PARAMETERS);
                return Err(Fault::new(token.span, Mistake::Limit { what, value, most }));
            }
        }
        let (offset, bytes) = (start as u32, (end - start) as u32);
        found.push((name, token.span, Param { name: name.to_owned(), offset, bytes, align: head.align }));
        if !cursor.take(b',') {
            cursor.need(b')')?;
            return Ok(found);
        }
    }
}

/// The rest of `.reg .b32 %r<12>, t;` behind `.reg`.
pub(super) fn registers<'t>(
    cursor: &mut Cursor<'t>,
    names: &mut Names<'t>,
    kernel: &mut Kernel,
) -> Result<()> {
    let ty = cursor.peek_dot().and_then(|word| TYPES.iter().find(|(name, _)| *name == word));
    let ty = match ty {
        Some(&(_, ty)) if !matches!(ty, Bf16 | Bf16x2) => ty,
        _ => {
            return Err(cursor
                .expected("a type of registers: .pred, .b8 to .b128, .u…, .s…, .f16, .f16x2, .f32, .f64"));
        }
    };
    cursor.next();
    loop {
        let token = cursor.need_word("the name of a register")?;
        let name = cursor.word(&token);
        check_name(name, token.span)?;
        if cursor.take(b'<') {
            let count = cursor.need_integer("the number of registers", MOST_REGISTERS)?;
            cursor.need(b'>')?;
            names.declare_range(name, token.span, ty, count)?;
        } else {
            names.declare_register(name, token.span, ty, kernel)?;
        }
        if !cursor.take(b',') {
            cursor.need(b';')?;
            return Ok(());
        }
    }
}

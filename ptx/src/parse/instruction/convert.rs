//! `mov`, `cvt` and `cvta`. PTX ISA, section 9.7.9.

use super::super::error::Result;
use super::super::form::Form;
use super::super::operand::Shape;
use super::super::types::integer;
use super::ROUNDINGS;
use crate::{Operand, Operation, Rounding, Space, Type};
use Type::*;

/// `mov`: a value, an address, or the parts of a value.
pub(super) fn copy(form: &mut Form<'_, '_>) -> Result<Operation> {
    let ty = form.ty(&[Pred, B16, B32, B64, B128, U16, U32, U64, S16, S32, S64, F32, F64])?;
    form.end(2, 2)?;
    let vector = |at: usize| match &form.operands[at].shape {
        Shape::Vector(elements) => Some(elements.len()),
        _ => None,
    };
    let (parts, whole) = (vector(0).or(vector(1)), if vector(0).is_some() { 1 } else { 0 });
    if let Some(count) = parts {
        let part = match (ty, count) {
            (B16, 2) | (B32, 4) => B8,
            (B32, 2) | (B64, 4) => B16,
            (B64, 2) | (B128, 4) => B32,
            (B128, 2) => B64,
            _ => return Err(form.combination("a value has 2 or 4 parts, and a type of bits")),
        };
        return Ok(match whole {
            1 => Operation::Move {
                ty,
                a: vec![form.value(1, ty)?],
                d: form.registers(0, &[count], part, false, false)?,
            },
            _ => Operation::Move {
                ty,
                d: vec![Some(form.register(0, ty)?)],
                a: form.values(1, &[count], part, false, false)?,
            },
        });
    }
    let a = match form.symbol(1)? {
        Some((symbol, offset)) => {
            let wide = matches!(ty, B64 | U64 | S64);
            let narrow = matches!(ty, B32 | U32 | S32) && form.body.space(symbol) != Space::Global;
            if !wide && !narrow {
                return Err(form.combination("an address is 64 bits wide, or 32 outside .global"));
            }
            Operand::Address(symbol, offset)
        }
        None => form.value_or_special(1, ty, false)?,
    };
    Ok(Operation::Move { ty, d: vec![Some(form.register(0, ty)?)], a: vec![a] })
}

/// Rounding to an integer.
const INTEGER_ROUNDINGS: [(&str, Rounding); 4] =
    [("rni", Rounding::Nearest), ("rzi", Rounding::Zero), ("rmi", Rounding::Down), ("rpi", Rounding::Up)];

const CONVERTED: [Type; 12] = [U8, U16, U32, U64, S8, S16, S32, S64, F16, Bf16, F32, F64];

/// `cvt`
pub(super) fn convert(form: &mut Form<'_, '_>) -> Result<Operation> {
    let integer_rounding = form.one_of(&INTEGER_ROUNDINGS);
    let rounding = if integer_rounding.is_none() { form.one_of(&ROUNDINGS) } else { None };
    let relu = form.take("relu");
    let flush = form.take("ftz");
    let saturate = form.take("sat");
    if let Some(to) = [F16x2, Bf16x2].into_iter().find(|ty| form.peek() == Some(ty.name())) {
        form.ty(&[to])?;
        form.ty(&[F32])?;
        let (Some(rounding @ (Rounding::Nearest | Rounding::Zero)), false, false) =
            (rounding, flush, saturate)
        else {
            return Err(form.combination("a pair is rounded by .rn or .rz, with .relu or nothing else"));
        };
        form.end(3, 3)?;
        let d = form.register(0, to)?;
        return Ok(Operation::ConvertPair {
            to,
            rounding,
            relu,
            d,
            high: form.value(1, F32)?,
            low: form.value(2, F32)?,
        });
    }
    let (to, from) = (form.ty(&CONVERTED)?, form.ty(&CONVERTED)?);
    check(form, to, from, rounding, integer_rounding, relu, flush, saturate)?;
    form.end(2, 2)?;
    Ok(Operation::Convert {
        to,
        from,
        rounding,
        integer: integer_rounding,
        flush,
        saturate,
        relu,
        d: form.register_wider(0, to)?,
        a: form.value_or_special(1, from, true)?,
    })
}

/// Which modifiers a pair of types takes. PTX ISA, section 9.7.9.21.
#[allow(clippy::too_many_arguments, reason = "one check of one instruction's modifiers")]
fn check(
    form: &Form<'_, '_>,
    to: Type,
    from: Type,
    rounding: Option<Rounding>,
    integer_rounding: Option<Rounding>,
    relu: bool,
    flush: bool,
    saturate: bool,
) -> Result<()> {
    let refuse = |why| Err(form.combination(why));
    let (rounds, rounds_to_integer) = (rounding.is_some(), integer_rounding.is_some());
    let wanted = match (integer(to), integer(from)) {
        (true, true) => (false, false),
        (true, false) => (false, true),
        (false, true) => (true, false),
        (false, false) if to == from => (false, rounds_to_integer),
        // Every f16 and bf16 is an f32, and every f32 an f64.
        (false, false) => (to.bits() <= from.bits(), false),
    };
    if (rounds, rounds_to_integer) != wanted {
        return refuse(
            "these types need another rounding: .rn, .rz, .rm, .rp to a float that cannot hold all values; \
                       .rni, .rzi, .rmi, .rpi to an integer; otherwise none",
        );
    }
    if flush && to != F32 && from != F32 {
        return refuse("only .f32 has .ftz");
    }
    let narrowing = matches!((to, from), (F16 | Bf16, F32));
    if relu && (!narrowing || flush || saturate) {
        return refuse(".relu is for .f16 and .bf16 of .f32");
    }
    if (relu || to == Bf16) && !matches!(rounding, None | Some(Rounding::Nearest | Rounding::Zero)) {
        return refuse("only .rn and .rz go with .bf16 and with .relu");
    }
    if to == Bf16 && (saturate || flush) || from == Bf16 && saturate {
        return refuse(".bf16 has neither .ftz nor .sat");
    }
    if saturate && integer(to) && integer(from) && contains(to, from) {
        return refuse(".sat has nothing to do: every value fits");
    }
    let old = matches!((to, from), (Bf16, F32) | (F32, Bf16));
    if (to == Bf16 || from == Bf16) && !old {
        if to.bits() == 8 || from.bits() == 8 {
            return refuse(".bf16 is not converted from or to 8 bits");
        }
        form.needs(90)?;
    }
    Ok(())
}

/// Whether every integer of one type is one of the other.
fn contains(to: Type, from: Type) -> bool {
    match (to.signed(), from.signed()) {
        (true, false) => to.bits() > from.bits(),
        (false, true) => false,
        _ => to.bits() >= from.bits(),
    }
}

/// `cvta`
pub(super) fn convert_address(form: &mut Form<'_, '_>) -> Result<Operation> {
    let to_generic = !form.take("to");
    let space = form.need(&[
        ("global", Space::Global),
        ("shared", Space::Shared),
        ("shared::cta", Space::Shared),
        ("local", Space::Local),
        ("const", Space::Const),
        ("param", Space::Param),
    ])?;
    let ty = form.ty(&[U64])?;
    form.end(2, 2)?;
    let d = form.register(0, ty)?;
    let a = match form.symbol(1)? {
        Some((symbol, offset)) if to_generic && form.body.space(symbol) == space => {
            Operand::Address(symbol, offset)
        }
        Some(_) => return Err(form.combination("a name here must be a variable of the space that is left")),
        None => form.value(1, ty)?,
    };
    Ok(Operation::ConvertAddress { to_generic, space, ty, d, a })
}

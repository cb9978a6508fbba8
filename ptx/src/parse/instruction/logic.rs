//! Bits, comparisons and selection. PTX ISA, sections 9.7.6, 9.7.7 and part of 9.7.1.

use super::super::error::Result;
use super::super::form::Form;
use crate::{Binary, Combine, Compare, Operand, Operation, Rounding, Ternary, Type, Unary};
use Type::*;

fn binary(form: &mut Form<'_, '_>, op: Binary, ty: Type, second: Type) -> Result<Operation> {
    form.end(3, 3)?;
    Ok(Operation::Arithmetic {
        op,
        ty,
        rounding: Rounding::Nearest,
        flush: false,
        saturate: false,
        contractible: false,
        d: form.register(0, ty)?,
        a: form.value(1, ty)?,
        b: form.value(2, second)?,
    })
}

fn single(form: &mut Form<'_, '_>, op: Unary, ty: Type, d: Type) -> Result<Operation> {
    form.end(2, 2)?;
    let (d, a) = (form.register(0, d)?, form.value(1, ty)?);
    Ok(Operation::Unary { op, ty, rounding: Rounding::Nearest, flush: false, d, a })
}

fn triple(form: &mut Form<'_, '_>, op: Ternary, ty: Type, others: [Type; 2]) -> Result<Operation> {
    Ok(Operation::Ternary {
        op,
        ty,
        rounding: Rounding::Nearest,
        flush: false,
        saturate: false,
        d: form.register(0, ty)?,
        a: form.value(1, ty)?,
        b: form.value(2, others[0])?,
        c: form.value(3, others[1])?,
    })
}

/// `and`, `or`, `xor`
pub(super) fn bitwise(form: &mut Form<'_, '_>, op: Binary) -> Result<Operation> {
    let ty = form.ty(&[Pred, B16, B32, B64])?;
    binary(form, op, ty, ty)
}

/// `not`, `cnot`, `brev`
pub(super) fn unary(form: &mut Form<'_, '_>, op: Unary, types: &[Type]) -> Result<Operation> {
    let ty = form.ty(types)?;
    single(form, op, ty, ty)
}

/// `popc`, `clz`: the result is 32 bits wide.
pub(super) fn count(form: &mut Form<'_, '_>, op: Unary, types: &[Type]) -> Result<Operation> {
    let ty = form.ty(types)?;
    single(form, op, ty, U32)
}

/// `bfind`
pub(super) fn find_bit(form: &mut Form<'_, '_>) -> Result<Operation> {
    let shift = form.take("shiftamt");
    let ty = form.ty(&[U32, U64, S32, S64])?;
    single(form, Unary::Bfind { shift }, ty, U32)
}

/// `shl`, `shr`: the amount is 32 bits wide.
pub(super) fn shift(form: &mut Form<'_, '_>, op: Binary, types: &[Type]) -> Result<Operation> {
    let ty = form.ty(types)?;
    binary(form, op, ty, U32)
}

/// `shf`
pub(super) fn funnel_shift(form: &mut Form<'_, '_>) -> Result<Operation> {
    let left = form.need(&[("l", true), ("r", false)])?;
    let wrap = form.need(&[("clamp", false), ("wrap", true)])?;
    form.ty(&[B32])?;
    form.end(4, 4)?;
    triple(form, Ternary::Shf { left, wrap }, B32, [B32, U32])
}

/// `lop3`
pub(super) fn table(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.ty(&[B32])?;
    form.end(5, 5)?;
    let table = form.literal(4, "a table of eight bits, 0 to 255", |value| value < 256)? as u8;
    triple(form, Ternary::Lop3(table), B32, [B32, B32])
}

/// `prmt`
pub(super) fn permute(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.ty(&[B32])?;
    form.end(4, 4)?;
    triple(form, Ternary::Prmt, B32, [B32, B32])
}

/// `bfe`
pub(super) fn extract(form: &mut Form<'_, '_>) -> Result<Operation> {
    let ty = form.ty(&[U32, U64, S32, S64])?;
    form.end(4, 4)?;
    triple(form, Ternary::Bfe, ty, [U32, U32])
}

/// `bfi`
pub(super) fn insert(form: &mut Form<'_, '_>) -> Result<Operation> {
    let ty = form.ty(&[B32, B64])?;
    form.end(5, 5)?;
    Ok(Operation::Bfi {
        ty,
        d: form.register(0, ty)?,
        a: form.value(1, ty)?,
        b: form.value(2, ty)?,
        start: form.value(3, U32)?,
        length: form.value(4, U32)?,
    })
}

/// How the names of comparisons are to be understood.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// `eq`, `ne`: every type.
    Any,
    /// `lt` and its like: all but bits.
    Ordered,
    /// `lo` and its like: unsigned integers.
    Unsigned,
    /// `ltu`, `num` and their like: floats.
    Float,
}

const COMPARISONS: [(&str, (Compare, Kind)); 18] = [
    ("eq", (Compare::Eq, Kind::Any)),
    ("ne", (Compare::Ne, Kind::Any)),
    ("lt", (Compare::Lt, Kind::Ordered)),
    ("le", (Compare::Le, Kind::Ordered)),
    ("gt", (Compare::Gt, Kind::Ordered)),
    ("ge", (Compare::Ge, Kind::Ordered)),
    ("lo", (Compare::Lt, Kind::Unsigned)),
    ("ls", (Compare::Le, Kind::Unsigned)),
    ("hi", (Compare::Gt, Kind::Unsigned)),
    ("hs", (Compare::Ge, Kind::Unsigned)),
    ("equ", (Compare::Equ, Kind::Float)),
    ("neu", (Compare::Neu, Kind::Float)),
    ("ltu", (Compare::Ltu, Kind::Float)),
    ("leu", (Compare::Leu, Kind::Float)),
    ("gtu", (Compare::Gtu, Kind::Float)),
    ("geu", (Compare::Geu, Kind::Float)),
    ("num", (Compare::Num, Kind::Float)),
    ("nan", (Compare::Nan, Kind::Float)),
];

/// The types that are compared.
const COMPARED: [Type; 13] = [B16, B32, B64, U16, U32, U64, S16, S32, S64, F16, Bf16, F32, F64];

/// Takes the compared type and checks it with the comparison.
fn compared_type(form: &mut Form<'_, '_>, kind: Kind, flush: bool) -> Result<Type> {
    let ty = form.ty(if flush { &[F16, F32] } else { &COMPARED })?;
    let allowed = match kind {
        Kind::Any => true,
        Kind::Ordered => !matches!(ty, B16 | B32 | B64),
        Kind::Unsigned => matches!(ty, U16 | U32 | U64),
        Kind::Float => ty.float(),
    };
    if !allowed {
        return Err(form.combination("this type has no such comparison"));
    }
    if ty == Bf16 {
        form.needs(90)?;
    }
    Ok(ty)
}

/// `setp`
pub(super) fn set_predicate(form: &mut Form<'_, '_>) -> Result<Operation> {
    let (compare, kind) = form.need(&COMPARISONS)?;
    let combine = form.one_of(&[("and", Combine::And), ("or", Combine::Or), ("xor", Combine::Xor)]);
    let flush = form.take("ftz");
    let ty = compared_type(form, kind, flush)?;
    let count = 3 + usize::from(combine.is_some());
    form.end(count, count)?;
    let (p, q) = form.register_and_predicate(0, Pred)?;
    let combine = match combine {
        Some(combine) => {
            let (c, negated) = form.predicate(3)?;
            Some((combine, c, negated))
        }
        None => None,
    };
    let p = form.present(0, p)?;
    Ok(Operation::SetPredicate {
        compare,
        ty,
        flush,
        combine,
        p,
        q,
        a: form.value(1, ty)?,
        b: form.value(2, ty)?,
    })
}

/// `set`
pub(super) fn set(form: &mut Form<'_, '_>) -> Result<Operation> {
    let (compare, kind) = form.need(&COMPARISONS)?;
    let flush = form.take("ftz");
    let to = form.ty(&[U16, S16, U32, S32, F16, Bf16, F32])?;
    let ty = compared_type(form, kind, flush)?;
    // PTX ISA, section 9.7.6.2: halves go with any type on the other side but f32 results, 16-bit integer
    // results with halves only.
    let half = matches!(ty, F16 | Bf16);
    if matches!(to, U16 | S16) && !half || to == F32 && half {
        return Err(form.combination("these two types do not go together"));
    }
    if to == Bf16 {
        form.needs(90)?;
    }
    form.end(3, 3)?;
    Ok(Operation::Set {
        compare,
        to,
        ty,
        flush,
        d: form.register(0, to)?,
        a: form.value(1, ty)?,
        b: form.value(2, ty)?,
    })
}

/// `selp`
pub(super) fn select(form: &mut Form<'_, '_>) -> Result<Operation> {
    let ty = form.ty(&[B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64])?;
    form.end(4, 4)?;
    let p: Operand = form.value(3, Pred)?;
    Ok(Operation::Select { ty, d: form.register(0, ty)?, a: form.value(1, ty)?, b: form.value(2, ty)?, p })
}

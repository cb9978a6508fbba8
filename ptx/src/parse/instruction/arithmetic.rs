//! Integer and floating-point arithmetic. PTX ISA, sections 9.7.1 to 9.7.5.

use super::super::error::Result;
use super::super::form::Form;
use super::{INTEGERS, ROUNDINGS};
use crate::{Binary, Operation, Rounding, Ternary, Type, Unary};
use Type::*;

/// The modifiers of float arithmetic, in their order.
#[derive(Default)]
struct Float {
    rounding: Option<Rounding>,
    flush: bool,
    saturate: bool,
}

fn float_modifiers(form: &mut Form<'_, '_>) -> Float {
    Float { rounding: form.one_of(&ROUNDINGS), flush: form.take("ftz"), saturate: form.take("sat") }
}

/// Which of these modifiers a float type takes.
fn check_float(form: &Form<'_, '_>, ty: Type, with: &Float) -> Result<()> {
    let small = matches!(ty, F16 | F16x2 | Bf16 | Bf16x2);
    if small && !matches!(with.rounding, None | Some(Rounding::Nearest)) {
        return Err(form.combination("16-bit floats round to nearest only"));
    }
    if matches!(ty, F64 | Bf16 | Bf16x2) && (with.flush || with.saturate) {
        return Err(form.combination("this type has neither .ftz nor .sat"));
    }
    Ok(())
}

fn binary(
    form: &mut Form<'_, '_>,
    op: Binary,
    ty: Type,
    with: &Float,
    contractible: bool,
) -> Result<Operation> {
    form.end(3, 3)?;
    Ok(Operation::Arithmetic {
        op,
        ty,
        rounding: with.rounding.unwrap_or(Rounding::Nearest),
        flush: with.flush,
        saturate: with.saturate,
        contractible,
        d: form.register(0, if op == Binary::MulWide { doubled(ty) } else { ty })?,
        a: form.value(1, ty)?,
        b: form.value(2, ty)?,
    })
}

fn ternary(form: &mut Form<'_, '_>, op: Ternary, ty: Type, with: &Float) -> Result<Operation> {
    form.end(4, 4)?;
    let wide = if op == Ternary::MadWide { doubled(ty) } else { ty };
    Ok(Operation::Ternary {
        op,
        ty,
        rounding: with.rounding.unwrap_or(Rounding::Nearest),
        flush: with.flush,
        saturate: with.saturate,
        d: form.register(0, wide)?,
        a: form.value(1, ty)?,
        b: form.value(2, ty)?,
        c: form.value(3, wide)?,
    })
}

fn unary(
    form: &mut Form<'_, '_>,
    op: Unary,
    ty: Type,
    rounding: Option<Rounding>,
    flush: bool,
) -> Result<Operation> {
    form.end(2, 2)?;
    let rounding = rounding.unwrap_or(Rounding::Nearest);
    Ok(Operation::Unary { op, ty, rounding, flush, d: form.register(0, ty)?, a: form.value(1, ty)? })
}

/// The integer of twice the width.
fn doubled(ty: Type) -> Type {
    match ty {
        U16 => U32,
        S16 => S32,
        U32 => U64,
        _ => S64,
    }
}

/// `add`, `sub`
pub(super) fn add(form: &mut Form<'_, '_>, op: Binary) -> Result<Operation> {
    if form.peek() == Some("cc") {
        return carry(form, op == Binary::Sub, false);
    }
    let with = float_modifiers(form);
    let ty = form.ty(&[U16, U32, U64, S16, S32, S64, F16, F16x2, Bf16, Bf16x2, F32, F64])?;
    if !ty.float() && (with.rounding.is_some() || with.flush || with.saturate && ty != S32) {
        return Err(form.combination("integers have no rounding, and only .s32 has .sat"));
    }
    check_float(form, ty, &with)?;
    if matches!(ty, Bf16 | Bf16x2) {
        form.needs(90)?;
    }
    binary(form, op, ty, &with, ty.float() && with.rounding.is_none())
}

/// `add.cc`, `addc`, `sub.cc`, `subc`
pub(super) fn carry(form: &mut Form<'_, '_>, subtract: bool, carry_in: bool) -> Result<Operation> {
    let carry_out = form.take("cc");
    let ty = form.ty(&[U32, U64, S32, S64])?;
    form.end(3, 3)?;
    Ok(Operation::Carry {
        subtract,
        ty,
        carry_in,
        carry_out,
        d: form.register(0, ty)?,
        a: form.value(1, ty)?,
        b: form.value(2, ty)?,
    })
}

/// `mul`
pub(super) fn multiply(form: &mut Form<'_, '_>) -> Result<Operation> {
    let halves = [("lo", Binary::MulLo), ("hi", Binary::MulHi), ("wide", Binary::MulWide)];
    if let Some(op) = form.one_of(&halves) {
        let narrow = [U16, U32, S16, S32];
        let ty = form.ty(if op == Binary::MulWide { &narrow } else { &INTEGERS })?;
        return binary(form, op, ty, &Float::default(), false);
    }
    let with = float_modifiers(form);
    let ty = form.ty(&[F16, F16x2, Bf16, Bf16x2, F32, F64])?;
    check_float(form, ty, &with)?;
    if matches!(ty, Bf16 | Bf16x2) {
        form.needs(90)?;
    }
    binary(form, Binary::Mul, ty, &with, with.rounding.is_none())
}

/// `mad`: integers, and the older name of `fma`.
pub(super) fn multiply_add(form: &mut Form<'_, '_>) -> Result<Operation> {
    let halves = [("lo", Ternary::MadLo), ("hi", Ternary::MadHi), ("wide", Ternary::MadWide)];
    let Some(op) = form.one_of(&halves) else { return fused(form, &[F32, F64]) };
    let saturate = op == Ternary::MadHi && form.take("sat");
    let ty = match op {
        Ternary::MadWide => form.ty(&[U16, U32, S16, S32])?,
        _ if saturate => form.ty(&[S32])?,
        _ => form.ty(&INTEGERS)?,
    };
    ternary(form, op, ty, &Float { saturate, ..Float::default() })
}

/// `fma`
pub(super) fn fma(form: &mut Form<'_, '_>) -> Result<Operation> {
    fused(form, &[F16, F16x2, Bf16, Bf16x2, F32, F64])
}

fn fused(form: &mut Form<'_, '_>, types: &[Type]) -> Result<Operation> {
    let rounding = Some(form.need(&ROUNDINGS)?);
    let with = Float { rounding, flush: form.take("ftz"), saturate: form.take("sat") };
    let ty = form.ty(types)?;
    check_float(form, ty, &with)?;
    ternary(form, Ternary::Fma, ty, &with)
}

/// `div`
pub(super) fn divide(form: &mut Form<'_, '_>) -> Result<Operation> {
    if let Some(op) = form.one_of(&[("approx", Binary::DivApprox), ("full", Binary::DivFull)]) {
        let with = Float { flush: form.take("ftz"), ..Float::default() };
        let ty = form.ty(&[F32])?;
        return binary(form, op, ty, &with, false);
    }
    let rounding = form.one_of(&ROUNDINGS);
    let with = Float { rounding, flush: rounding.is_some() && form.take("ftz"), saturate: false };
    let ty = match (rounding, with.flush) {
        (None, _) => form.ty(&INTEGERS)?,
        (_, true) => form.ty(&[F32])?,
        (_, false) => form.ty(&[F32, F64])?,
    };
    binary(form, Binary::Div, ty, &with, false)
}

/// `rem`
pub(super) fn remainder(form: &mut Form<'_, '_>) -> Result<Operation> {
    let ty = form.ty(&INTEGERS)?;
    binary(form, Binary::Rem, ty, &Float::default(), false)
}

/// `sad`
pub(super) fn sum_of_differences(form: &mut Form<'_, '_>) -> Result<Operation> {
    let ty = form.ty(&INTEGERS)?;
    ternary(form, Ternary::Sad, ty, &Float::default())
}

/// `min`, `max`
pub(super) fn extremum(form: &mut Form<'_, '_>, op: fn(bool) -> Binary) -> Result<Operation> {
    let with = Float { flush: form.take("ftz"), ..Float::default() };
    let nan = form.take("NaN");
    let ty = match (with.flush, nan) {
        (true, _) => form.ty(&[F16, F16x2, F32])?,
        (false, true) => form.ty(&[F16, F16x2, Bf16, Bf16x2, F32])?,
        (false, false) => form.ty(&[U16, U32, U64, S16, S32, S64, F16, F16x2, Bf16, Bf16x2, F32, F64])?,
    };
    binary(form, op(nan), ty, &with, false)
}

/// `abs`, `neg`
pub(super) fn sign(form: &mut Form<'_, '_>, op: Unary) -> Result<Operation> {
    let flush = form.take("ftz");
    let any = [S16, S32, S64, F16, F16x2, Bf16, Bf16x2, F32, F64];
    let ty = form.ty(if flush { &[F16, F16x2, F32] } else { &any })?;
    unary(form, op, ty, None, flush)
}

/// `copysign d, a, b`: the sign of a, the rest of b.
pub(super) fn copy_sign(form: &mut Form<'_, '_>) -> Result<Operation> {
    let ty = form.ty(&[F32, F64])?;
    binary(form, Binary::CopySign, ty, &Float::default(), false)
}

/// `rcp`, `sqrt`: correctly rounded or approximate.
pub(super) fn root(form: &mut Form<'_, '_>, op: fn(bool) -> Unary) -> Result<Operation> {
    if form.take("approx") {
        let flush = form.take("ftz");
        let double = flush && matches!(op(true), Unary::Rcp { .. });
        let ty = form.ty(if double { &[F32, F64] } else { &[F32] })?;
        return unary(form, op(true), ty, None, flush);
    }
    let rounding = form.need(&ROUNDINGS)?;
    let flush = form.take("ftz");
    let ty = form.ty(if flush { &[F32] } else { &[F32, F64] })?;
    unary(form, op(false), ty, Some(rounding), flush)
}

/// Functions that exist as approximations only.
pub(super) fn approximation(form: &mut Form<'_, '_>, op: Unary) -> Result<Operation> {
    form.need_one("approx")?;
    let flush = op != Unary::Tanh && form.take("ftz");
    let ty = match (op, flush) {
        (Unary::Rsqrt, _) => form.ty(&[F32, F64])?,
        (Unary::Ex2, false) => form.ty(&[F32, F16, F16x2])?,
        (Unary::Ex2, true) => form.ty(&[F32, Bf16, Bf16x2])?,
        (Unary::Tanh, _) => form.ty(&[F32, F16, F16x2, Bf16, Bf16x2])?,
        _ => form.ty(&[F32])?,
    };
    if matches!(ty, Bf16 | Bf16x2) {
        form.needs(90)?;
    }
    unary(form, op, ty, None, flush)
}

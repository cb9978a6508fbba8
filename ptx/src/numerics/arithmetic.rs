//! Floating-point arithmetic: `add` to `copysign`, `fma`, `setp`. PTX ISA 8.4, sections 9.7.3, 9.7.4, 9.3.1.
//!
//! A function answers `None` where PTX has no such instruction (a saturating f64 add, an f16 add toward zero).
//! Operations on pairs work on each half. To nearest, f32 and f64 run on the host's IEEE arithmetic; the rest is
//! exact arithmetic with one rounding (`format.rs`). `.ftz` acts on operands and on the rounded result; whether
//! hardware decides before rounding is unconfirmed (it matters for results that round up to 2^-126).
//! `.sat` and `.relu` turn −0 into +0, and `.sat` a NaN too.

use super::approximate::{approximate, divide_approximately};
use super::format::{BF16, Exact, F16, F32, F64, Format, Value};
use crate::{Binary, Compare, Rounding, Type, Unary};

/// The bits of an f32 result: every NaN is 0x7fffffff.
#[inline]
pub fn canonical_f32(value: f32) -> u32 {
    if value.is_nan() { 0x7fff_ffff } else { value.to_bits() }
}

/// The format of a floating-point type, and whether it is a pair.
pub(super) const fn format_of(ty: Type) -> Option<(Format, bool)> {
    match ty {
        Type::F16 => Some((F16, false)),
        Type::F16x2 => Some((F16, true)),
        Type::Bf16 => Some((BF16, false)),
        Type::Bf16x2 => Some((BF16, true)),
        Type::F32 => Some((F32, false)),
        Type::F64 => Some((F64, false)),
        _ => None,
    }
}

/// Applies `f` to a value, or to both halves of a pair.
fn each(pair: bool, operands: [u64; 3], f: impl Fn([u64; 3]) -> Option<u64>) -> Option<u64> {
    if !pair {
        return f(operands);
    }
    let low = f(operands.map(|bits| bits & 0xffff))?;
    let high = f(operands.map(|bits| bits >> 16 & 0xffff))?;
    Some(high << 16 | low)
}

/// `.ftz`, where it is asked for.
pub(super) fn flushed(format: Format, flush: bool, bits: u64) -> u64 {
    if flush { format.flush(bits) } else { bits }
}

/// Clamps to \[0, 1\]; NaN becomes +0.
pub(super) fn saturated(format: Format, bits: u64) -> u64 {
    if format.is_nan(bits) || bits & format.sign() != 0 { 0 } else { bits.min(format.one()) }
}

/// Clamps negative values to +0; a NaN is canonical.
pub(super) fn rectified(format: Format, bits: u64) -> u64 {
    if format.is_nan(bits) {
        format.nan()
    } else if bits & format.sign() != 0 {
        0
    } else {
        bits
    }
}

/// Whether results of that format can be rounded that way: 16-bit types only to nearest.
fn rounds(format: Format, rounding: Rounding) -> bool {
    match rounding {
        Rounding::Nearest => true,
        Rounding::Zero | Rounding::Down | Rounding::Up => format.bits() >= 32,
        Rounding::NearestAway => false,
    }
}

/// `abs`, `neg`, `rcp`, `sqrt` and the approximations (`approximate.rs`). Approximate functions ignore
/// `rounding`. A NaN stays itself in f64 (`neg` flips its sign), else it becomes canonical: PTX leaves it open.
pub fn unary(op: Unary, ty: Type, rounding: Rounding, flush: bool, a: u64) -> Option<u64> {
    let (format, pair) = format_of(ty)?;
    if flush && (ty == Type::F64 || (format == BF16 && op != Unary::Ex2)) {
        return None;
    }
    each(pair, [a, 0, 0], |[a, _, _]| {
        let a = flushed(format, flush, a);
        let result = match op {
            Unary::Abs | Unary::Neg if format != F64 && format.is_nan(a) => format.nan(),
            Unary::Abs => a & !format.sign(),
            Unary::Neg => a ^ format.sign(),
            Unary::Rcp { approximate: false } if format.bits() >= 32 && rounds(format, rounding) => {
                divide(format, rounding, format.one(), a)
            }
            Unary::Sqrt { approximate: false } if format.bits() >= 32 && rounds(format, rounding) => {
                sqrt(format, rounding, a)
            }
            _ => approximate(op, format, a)?,
        };
        Some(flushed(format, flush, result))
    })
}

/// `add`, `sub`, `mul`, `div` (correctly rounded, `.approx`, `.full`), `min`, `max`, `copysign`.
pub fn arithmetic(
    op: Binary,
    ty: Type,
    rounding: Rounding,
    flush: bool,
    saturate: bool,
    a: u64,
    b: u64,
) -> Option<u64> {
    let (format, pair) = format_of(ty)?;
    if (flush || saturate) && !(format == F32 || format == F16) {
        return None;
    }
    let additive = matches!(op, Binary::Add | Binary::Sub | Binary::Mul);
    if saturate && !additive || !rounds(format, rounding) {
        return None;
    }
    each(pair, [a, b, 0], |[a, b, _]| {
        let (a, b) = (flushed(format, flush, a), flushed(format, flush, b));
        let wide = format.bits() >= 32;
        let result = match op {
            Binary::Add => add(format, rounding, a, b),
            Binary::Sub if format.is_nan(b) => format.nan_of(&[a, b]),
            Binary::Sub => add(format, rounding, a, b ^ format.sign()),
            Binary::Mul => multiply(format, rounding, a, b),
            Binary::Div if wide => divide(format, rounding, a, b),
            Binary::DivFull if format == F32 => divide(format, Rounding::Nearest, a, b),
            Binary::DivApprox if format == F32 => divide_approximately(a, b),
            Binary::Min { nan } if !(nan && format == F64) => least(format, nan, a, b, false),
            Binary::Max { nan } if !(nan && format == F64) => least(format, nan, a, b, true),
            // The sign comes from `a`, the value from `b`.
            Binary::CopySign if wide && !flush => (a & format.sign()) | (b & !format.sign()),
            _ => return None,
        };
        let result = flushed(format, flush, result);
        Some(if saturate { saturated(format, result) } else { result })
    })
}

/// `fma`: a × b + c with one rounding. `relu` is `.relu` of the 16-bit types.
#[allow(clippy::too_many_arguments, reason = "an instruction's modifiers and operands")]
pub fn fma(
    ty: Type,
    rounding: Rounding,
    flush: bool,
    saturate: bool,
    relu: bool,
    a: u64,
    b: u64,
    c: u64,
) -> Option<u64> {
    let (format, pair) = format_of(ty)?;
    let modified = flush || saturate;
    if modified && !(format == F32 || format == F16) || relu && format.bits() != 16 || relu && saturate {
        return None;
    }
    if !rounds(format, rounding) {
        return None;
    }
    each(pair, [a, b, c], |operands| {
        let [a, b, c] = operands.map(|bits| flushed(format, flush, bits));
        let result = flushed(format, flush, multiply_add(format, rounding, a, b, c));
        Some(if saturate {
            saturated(format, result)
        } else if relu {
            rectified(format, result)
        } else {
            result
        })
    })
}

/// `setp` and `set` of floating-point types. For a pair the low halves are compared.
pub fn compare(compare: Compare, ty: Type, flush: bool, a: u64, b: u64) -> bool {
    let Some((format, pair)) = format_of(ty) else { return false };
    let value = |bits: u64| {
        let bits = flushed(format, flush, if pair { bits & 0xffff } else { bits });
        if format == F64 { f64::from_bits(bits) } else { format.widen(bits) }
    };
    let (a, b) = (value(a), value(b));
    let nan = a.is_nan() || b.is_nan();
    match compare {
        Compare::Eq => a == b,
        Compare::Ne => !nan && a != b,
        Compare::Lt => a < b,
        Compare::Le => a <= b,
        Compare::Gt => a > b,
        Compare::Ge => a >= b,
        Compare::Equ => nan || a == b,
        Compare::Neu => a != b,
        Compare::Ltu => nan || a < b,
        Compare::Leu => nan || a <= b,
        Compare::Gtu => nan || a > b,
        Compare::Geu => nan || a >= b,
        Compare::Num => !nan,
        Compare::Nan => nan,
    }
}

/// The host's operation, where the rounding is its own.
fn native(
    format: Format,
    rounding: Rounding,
    operands: &[u64],
    single: impl Fn(&[f32]) -> f32,
    double: impl Fn(&[f64]) -> f64,
) -> Option<u64> {
    if rounding != Rounding::Nearest {
        return None;
    }
    let at = |i: usize| operands.get(i).copied().unwrap_or(0);
    let result = if format == F32 {
        let value = single(&[0, 1, 2].map(|i| f32::from_bits(at(i) as u32)));
        u64::from(value.to_bits())
    } else if format == F64 {
        double(&[0, 1, 2].map(|i| f64::from_bits(at(i)))).to_bits()
    } else {
        return None;
    };
    Some(if format.is_nan(result) { format.nan_of(operands) } else { result })
}

/// a + b.
pub(super) fn add(format: Format, rounding: Rounding, a: u64, b: u64) -> u64 {
    if let Some(result) = native(format, rounding, &[a, b], |v| v[0] + v[1], |v| v[0] + v[1]) {
        return result;
    }
    match (format.decode(a), format.decode(b)) {
        (Value::Finite(x), Value::Finite(y)) => format.encode(x.add(y, rounding == Rounding::Down), rounding),
        (Value::Nan, _) | (_, Value::Nan) => format.nan_of(&[a, b]),
        (Value::Infinity { negative: x }, Value::Infinity { negative: y }) if x != y => format.nan(),
        (Value::Infinity { negative }, _) | (_, Value::Infinity { negative }) => format.infinity(negative),
    }
}

/// a × b.
fn multiply(format: Format, rounding: Rounding, a: u64, b: u64) -> u64 {
    if let Some(result) = native(format, rounding, &[a, b], |v| v[0] * v[1], |v| v[0] * v[1]) {
        return result;
    }
    let negative = (a ^ b) & format.sign() != 0;
    match (format.decode(a), format.decode(b)) {
        (Value::Finite(x), Value::Finite(y)) => format.encode(x.mul(y), rounding),
        (Value::Nan, _) | (_, Value::Nan) => format.nan_of(&[a, b]),
        (Value::Finite(zero), _) | (_, Value::Finite(zero)) if zero.significand == 0 => format.nan(),
        _ => format.infinity(negative),
    }
}

/// a × b + c.
pub(super) fn multiply_add(format: Format, rounding: Rounding, a: u64, b: u64, c: u64) -> u64 {
    let operands = [a, b, c];
    if let Some(result) =
        native(format, rounding, &operands, |v| v[0].mul_add(v[1], v[2]), |v| v[0].mul_add(v[1], v[2]))
    {
        return result;
    }
    let negative = (a ^ b) & format.sign() != 0;
    match operands.map(|bits| format.decode(bits)) {
        [Value::Finite(x), Value::Finite(y), Value::Finite(z)] => {
            format.encode(x.mul(y).add(z, rounding == Rounding::Down), rounding)
        }
        [Value::Nan, ..] | [_, Value::Nan, _] | [.., Value::Nan] => format.nan_of(&operands),
        [Value::Finite(_), Value::Finite(_), Value::Infinity { negative }] => format.infinity(negative),
        [Value::Finite(zero), ..] | [_, Value::Finite(zero), _] if zero.significand == 0 => format.nan(),
        [.., Value::Infinity { negative: addend }] if addend != negative => format.nan(),
        _ => format.infinity(negative),
    }
}

/// a ÷ b.
fn divide(format: Format, rounding: Rounding, a: u64, b: u64) -> u64 {
    if let Some(result) = native(format, rounding, &[a, b], |v| v[0] / v[1], |v| v[0] / v[1]) {
        return result;
    }
    let negative = (a ^ b) & format.sign() != 0;
    match (format.decode(a), format.decode(b)) {
        (Value::Nan, _) | (_, Value::Nan) => format.nan_of(&[a, b]),
        (Value::Infinity { .. }, Value::Infinity { .. }) => format.nan(),
        (Value::Infinity { .. }, _) => format.infinity(negative),
        (_, Value::Infinity { .. }) => format.encode(Exact::zero(negative), rounding),
        (Value::Finite(x), Value::Finite(y)) => match (x.significand, y.significand) {
            (0, 0) => format.nan(),
            (0, _) => format.encode(Exact::zero(negative), rounding),
            (_, 0) => format.infinity(negative),
            _ => format.encode(x.div(y), rounding),
        },
    }
}

/// √a.
fn sqrt(format: Format, rounding: Rounding, a: u64) -> u64 {
    if let Some(result) = native(format, rounding, &[a], |v| v[0].sqrt(), |v| v[0].sqrt()) {
        return result;
    }
    match format.decode(a) {
        Value::Nan => format.nan_of(&[a]),
        Value::Finite(x) if x.significand == 0 => a,
        Value::Infinity { negative: true } => format.nan(),
        Value::Finite(x) if x.negative => format.nan(),
        Value::Infinity { .. } => a,
        Value::Finite(x) => format.encode(x.sqrt(), rounding),
    }
}

/// `min`, or `max` where `greatest`: −0 is below +0; a NaN gives way to a number unless `nan`.
fn least(format: Format, nan: bool, a: u64, b: u64, greatest: bool) -> u64 {
    match (format.is_nan(a), format.is_nan(b)) {
        (true, true) => return format.nan_of(&[a, b]),
        (true, false) | (false, true) if nan => return format.nan_of(&[a, b]),
        (true, false) => return b,
        (false, true) => return a,
        (false, false) => {}
    }
    // Order of the numbers: magnitudes upward for positive signs, downward for negative ones.
    let key = |bits: u64| {
        if bits & format.sign() != 0 { (bits & !format.sign()) as i64 ^ -1 } else { bits as i64 }
    };
    if (key(a) < key(b)) != greatest { a } else { b }
}

#[cfg(test)]
mod tests;

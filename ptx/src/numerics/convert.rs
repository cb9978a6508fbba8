//! `cvt`: every conversion between integers and floating-point types. PTX ISA 8.4, section 9.7.8.20.
//!
//! A destination of `.tf32` is written [`Type::B32`] from [`Type::F32`]; its 13 low bits are 0. Conversions to an
//! integer clamp to its range, as PTX says; a NaN becomes 0, or the lowest number of a signed type (its bit
//! pattern in an unsigned one) where f64, s64 or u64 is involved. Results of signed types are sign-extended to
//! 64 bits, so that any wider destination register holds what PTX says after a plain truncation.
//! A NaN converted to f64 keeps its payload; to every other type it is canonical.

use super::arithmetic::{flushed, format_of, rectified, saturated};
use super::format::{BF16, Exact, F32, F64, Format, TF32, Value};
use crate::{Rounding, Type};

/// The modifiers of one `cvt`, as in [`crate::Operation::Convert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conversion {
    /// Destination type.
    pub to: Type,
    /// Source type.
    pub from: Type,
    /// `.rn`, `.rz`, `.rm`, `.rp`, `.rna`.
    pub rounding: Option<Rounding>,
    /// `.rni`, `.rzi`, `.rmi`, `.rpi`.
    pub integer: Option<Rounding>,
    /// `.ftz`
    pub flush: bool,
    /// `.sat`
    pub saturate: bool,
    /// `.relu`
    pub relu: bool,
}

/// Converts one value; `None` where PTX has no such conversion, or its rounding is missing.
pub fn convert(conversion: &Conversion, a: u64) -> Option<u64> {
    let &Conversion { to, from, rounding, integer, flush, saturate, relu } = conversion;
    match (single(from), single(to)) {
        (Kind::Integer, Kind::Integer) => Some(resize(to, saturate, extended(from, a))),
        (Kind::Integer, Kind::Float(format)) => {
            let value = extended(from, a);
            let exact = Exact { negative: value < 0, significand: value.unsigned_abs(), exponent: 0 };
            let result = format.encode(exact, nearest_or_directed(rounding?)?);
            Some(finish(format, flush, saturate, relu, result))
        }
        (Kind::Float(format), Kind::Integer) => {
            let a = flushed(format, flush && format == F32, low(format, a));
            Some(to_integer(format, to, integer?, a))
        }
        (Kind::Float(source), Kind::Float(format)) => {
            let a = flushed(source, flush && source == F32, low(source, a));
            let result = match integer {
                Some(direction) => integral(source, direction, a),
                None => to_float(source, format, rounding, a)?,
            };
            if integer.is_some() && source != format {
                return None;
            }
            Some(finish(format, flush, saturate, relu, result))
        }
        (Kind::Float(F32), Kind::Other) if to == Type::B32 => {
            let rounding = rounding.filter(|r| !matches!(r, Rounding::Up | Rounding::Down))?;
            let result = match F32.decode(low(F32, a)) {
                Value::Finite(exact) => TF32.encode(exact, rounding),
                Value::Infinity { negative } => TF32.infinity(negative),
                Value::Nan => return Some(F32.nan()),
            };
            Some(if relu { rectified(TF32, result) } else { result } << 13)
        }
        _ => None,
    }
}

/// `cvt` of two f32 into a pair, [`Type::F16x2`] or [`Type::Bf16x2`]: `high` to the upper half.
pub fn convert_pair(to: Type, rounding: Rounding, relu: bool, high: u32, low: u32) -> Option<u32> {
    let format = match format_of(to) {
        Some((format, true)) if matches!(rounding, Rounding::Nearest | Rounding::Zero) => format,
        _ => return None,
    };
    let half = |a: u32| {
        let result = to_float(F32, format, Some(rounding), u64::from(a))?;
        Some(finish(format, false, false, relu, result) as u32)
    };
    Some(half(high)? << 16 | half(low)?)
}

enum Kind {
    Integer,
    Float(Format),
    Other,
}

/// The kind of a type that one value of `cvt` can have.
fn single(ty: Type) -> Kind {
    match (ty, format_of(ty)) {
        (_, Some((format, false))) => Kind::Float(format),
        (Type::U8 | Type::U16 | Type::U32 | Type::U64, _) => Kind::Integer,
        (Type::S8 | Type::S16 | Type::S32 | Type::S64, _) => Kind::Integer,
        _ => Kind::Other,
    }
}

/// The bits of a format, without what a wider register holds above.
fn low(format: Format, bits: u64) -> u64 {
    bits & (format.sign() | (format.sign() - 1))
}

fn nearest_or_directed(rounding: Rounding) -> Option<Rounding> {
    (rounding != Rounding::NearestAway).then_some(rounding)
}

/// `.ftz` and the clamps of a floating-point result.
fn finish(format: Format, flush: bool, saturate: bool, relu: bool, result: u64) -> u64 {
    let result = flushed(format, flush && format == F32, result);
    if saturate {
        saturated(format, result)
    } else if relu {
        rectified(format, result)
    } else {
        result
    }
}

/// The number that the low bits of an integer type hold.
fn extended(ty: Type, bits: u64) -> i128 {
    let unused = 64 - ty.bits();
    if ty.signed() {
        i128::from((bits << unused) as i64 >> unused)
    } else {
        i128::from(bits << unused >> unused)
    }
}

/// The range of an integer type.
fn range(ty: Type) -> (i128, i128) {
    if ty.signed() { (-1 << (ty.bits() - 1), (1 << (ty.bits() - 1)) - 1) } else { (0, (1 << ty.bits()) - 1) }
}

/// An integer in a type: clamped, or its low bits.
fn resize(ty: Type, saturate: bool, value: i128) -> u64 {
    let (least, greatest) = range(ty);
    let value = if saturate { value.clamp(least, greatest) } else { value };
    extended(ty, value as u64) as u64
}

/// A float rounded to an integer type, clamped.
fn to_integer(format: Format, to: Type, direction: Rounding, a: u64) -> u64 {
    let (least, greatest) = range(to);
    match format.decode(a) {
        Value::Nan if format == F64 || to.bits() == 64 => extended(to, 1 << (to.bits() - 1)) as u64,
        Value::Nan => 0,
        Value::Infinity { negative } => resize(to, true, if negative { least } else { greatest }),
        Value::Finite(exact) => {
            // At 2^65 and above every type clamps; below, the magnitude fits.
            let magnitude = if exact.exponent > 65 && exact.significand != 0 {
                1 << 65
            } else {
                exact.round_at(0, direction) as i128
            };
            resize(to, true, if exact.negative { -magnitude } else { magnitude })
        }
    }
}

/// A float rounded to an integral value of its own format.
fn integral(format: Format, direction: Rounding, a: u64) -> u64 {
    match format.decode(a) {
        Value::Nan => format.nan_of(&[a]),
        Value::Finite(exact) if exact.exponent < 0 => {
            let significand = exact.round_at(0, direction);
            format.encode(Exact { significand, exponent: 0, ..exact }, Rounding::Nearest)
        }
        _ => a,
    }
}

/// A float in another format, or in its own.
fn to_float(source: Format, format: Format, rounding: Option<Rounding>, a: u64) -> Option<u64> {
    if source == format {
        return Some(if format.is_nan(a) { format.nan_of(&[a]) } else { a });
    }
    if format == F64 {
        let wide = source.widen(a).to_bits();
        return Some(if F64.is_nan(wide) { F64.nan_of(&[wide]) } else { wide });
    }
    if format == F32 && source.bits() == 16 {
        let wide = source.widen(a) as f32;
        return Some(u64::from(super::canonical_f32(wide)));
    }
    let rounding = nearest_or_directed(rounding?)?;
    if source == F32 && format == BF16 && rounding == Rounding::Nearest {
        let nan = source.is_nan(a);
        return Some(if nan { format.nan() } else { (a + 0x7fff + (a >> 16 & 1)) >> 16 });
    }
    Some(match source.decode(a) {
        Value::Nan => format.nan(),
        Value::Infinity { negative } => format.infinity(negative),
        Value::Finite(exact) => format.encode(exact, rounding),
    })
}

#[cfg(test)]
mod tests;

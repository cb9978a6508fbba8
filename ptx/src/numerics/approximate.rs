//! The approximate instructions: `ex2`, `lg2`, `sin`, `cos`, `tanh`, `rsqrt`, and `.approx` of `rcp`, `sqrt`, `div`.
//! PTX ISA 8.4, sections 9.7.3.8 to 9.7.3.22, 9.7.4.9, 9.7.4.10.
//!
//! The model is the f32 (or 16-bit number) nearest to the true value; special operands are those of the manual's
//! tables. Hardware deviates from it by table lookups that NVIDIA does not publish. **Model unconfirmed**: until
//! recorded results lie in `ptx/golden/`, how far it may deviate is the statement of the manual of version 9.1
//! ([`approximation`], [`division`]); a comparison with hardware asks [`Approximation::admits`].

use super::elementary::{cos, exp2, log2, sin, tanh};
use super::format::{BF16, F16, F32, F64, Format, Value};
use crate::{Binary, Rounding, Type, Unary};

/// How far hardware may be from the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deviation {
    /// Numbers of the format between the two.
    Ulps(u64),
    /// Of the true value.
    Relative(f64),
    /// From the true value.
    Absolute(f64),
    /// The manual promises nothing.
    Unbounded,
}

/// What the manual states of one approximate instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Approximation {
    /// As PTX spells it.
    pub name: &'static str,
    /// Deviations up to a magnitude of the operand (of the divisor for a division), ascending; the last holds
    /// for all larger ones.
    pub bounds: &'static [(f64, Deviation)],
    /// Whether recorded hardware has been compared with the model.
    pub confirmed: bool,
}

const ALL: f64 = f64::INFINITY;

macro_rules! approximation {
    ($name:literal, $($bound:expr),+) => {{
        const APPROXIMATION: Approximation =
            Approximation { name: $name, bounds: &[$($bound),+], confirmed: false };
        Some(&APPROXIMATION)
    }};
}

/// 2^-20.5, 2^-14.7, 2^-22.9, 2^-9.9, 2^-10.987 of the manual, rounded up.
const CIRCLE: f64 = 6.744e-7;
const FIFTY_CIRCLES: f64 = 3.758e-5;
const RSQRT: f64 = 1.278e-7;
const EX2_HALF: f64 = 1.047e-3;
const TANH_HALF: f64 = 4.928e-4;

/// The statement about an approximate function of one operand; `None` where there is no such instruction.
pub fn approximation(op: Unary, ty: Type) -> Option<&'static Approximation> {
    use Deviation::{Absolute, Relative, Ulps, Unbounded};
    const UNIT: f64 = 1.0 / (1u64 << 22) as f64;
    const TWO_PI: f64 = std::f64::consts::TAU;
    match (op, ty) {
        (Unary::Ex2, Type::F32) => approximation!("ex2.approx.f32", (ALL, Ulps(2))),
        (Unary::Ex2, Type::F16 | Type::F16x2) => approximation!("ex2.approx.f16", (ALL, Relative(EX2_HALF))),
        (Unary::Ex2, Type::Bf16 | Type::Bf16x2) => {
            approximation!("ex2.approx.ftz.bf16", (ALL, Relative(1.0 / 128.0)))
        }
        (Unary::Lg2, Type::F32) => {
            approximation!(
                "lg2.approx.f32",
                (0.5, Relative(UNIT)),
                (2.0, Absolute(UNIT)),
                (ALL, Relative(UNIT))
            )
        }
        (Unary::Sin, Type::F32) => approximation!(
            "sin.approx.f32",
            (TWO_PI, Absolute(CIRCLE)),
            (50.0 * TWO_PI, Absolute(FIFTY_CIRCLES)),
            (ALL, Unbounded)
        ),
        (Unary::Cos, Type::F32) => approximation!(
            "cos.approx.f32",
            (TWO_PI, Absolute(CIRCLE)),
            (50.0 * TWO_PI, Absolute(FIFTY_CIRCLES)),
            (ALL, Unbounded)
        ),
        (Unary::Tanh, Type::F32) => approximation!("tanh.approx.f32", (ALL, Relative(1.0 / 2048.0))),
        (Unary::Tanh, Type::F16 | Type::F16x2) => {
            approximation!("tanh.approx.f16", (ALL, Absolute(TANH_HALF)))
        }
        (Unary::Tanh, Type::Bf16 | Type::Bf16x2) => {
            approximation!("tanh.approx.bf16", (ALL, Absolute(1.0 / 256.0)))
        }
        (Unary::Rcp { approximate: true }, Type::F32) => approximation!("rcp.approx.f32", (ALL, Ulps(1))),
        (Unary::Sqrt { approximate: true }, Type::F32) => {
            approximation!("sqrt.approx.f32", (ALL, Relative(0.5 * UNIT)))
        }
        (Unary::Rsqrt, Type::F32) => approximation!("rsqrt.approx.f32", (ALL, Relative(RSQRT))),
        (Unary::Rsqrt, Type::F64) => approximation!("rsqrt.approx.f64", (ALL, Unbounded)),
        _ => None,
    }
}

/// The statement about `div.approx.f32` and `div.full.f32`.
pub fn division(op: Binary) -> Option<&'static Approximation> {
    use Deviation::{Ulps, Unbounded};
    const LARGE: f64 = F32.widen(0x7e80_0000);
    const SMALL: f64 = F32.widen(0x007f_ffff);
    match op {
        Binary::DivApprox => {
            approximation!("div.approx.f32", (SMALL, Unbounded), (LARGE, Ulps(2)), (ALL, Ulps(0)))
        }
        Binary::DivFull => approximation!("div.full.f32", (ALL, Ulps(2))),
        _ => None,
    }
}

impl Approximation {
    /// The deviation allowed at an operand (the divisor of a division).
    pub fn deviation(&self, operand: f64) -> Deviation {
        let magnitude = operand.abs();
        let bound = self.bounds.iter().find(|(below, _)| magnitude <= *below);
        bound.or(self.bounds.last()).map_or(Deviation::Unbounded, |&(_, deviation)| deviation)
    }

    /// Whether hardware that answered `observed` where the model answers `model` keeps the manual's statement.
    /// One value of a floating-point type `ty`; for pairs ask for each half.
    pub fn admits(&self, ty: Type, operand: f64, model: u64, observed: u64) -> bool {
        let format = match ty {
            Type::F16 => F16,
            Type::Bf16 => BF16,
            Type::F32 => F32,
            Type::F64 => F64,
            _ => return false,
        };
        if format.is_nan(model) || format.is_nan(observed) {
            return format.is_nan(model) && format.is_nan(observed);
        }
        // Numbers in their order, so that neighbours differ by one, infinities after the largest numbers.
        let order = |bits: u64| {
            let magnitude = i128::from(bits & (format.sign() - 1));
            if bits & format.sign() != 0 { -magnitude } else { magnitude }
        };
        let apart = order(model).abs_diff(order(observed));
        let value = |bits: u64| if format == F64 { f64::from_bits(bits) } else { format.widen(bits) };
        let finite = value(model).is_finite() && value(observed).is_finite();
        let distance = (value(model) - value(observed)).abs();
        // The model itself is half a unit off the true value.
        let unit = (value(model) - value(model ^ 1)).abs() * 0.5;
        match self.deviation(operand) {
            Deviation::Unbounded => true,
            Deviation::Ulps(ulps) => apart <= u128::from(ulps),
            Deviation::Relative(_) | Deviation::Absolute(_) if !finite => model == observed,
            Deviation::Relative(error) => distance <= error * value(model).abs() + unit,
            Deviation::Absolute(error) => distance <= error + unit,
        }
    }
}

/// The model's value of an approximate function; `None` where there is no such instruction.
pub(super) fn approximate(op: Unary, format: Format, a: u64) -> Option<u64> {
    let x = if format == F64 { f64::from_bits(a) } else { format.widen(a) };
    let single = format == F32;
    let half = format == F16 || format == BF16;
    let value = match op {
        Unary::Ex2 if single || half => exp2(x.clamp(-1000.0, 1000.0)),
        Unary::Tanh if single || half => tanh(x),
        Unary::Lg2 if single && x <= 0.0 => {
            if x == 0.0 {
                f64::NEG_INFINITY
            } else {
                f64::NAN
            }
        }
        Unary::Lg2 if single && x == f64::INFINITY => x,
        Unary::Lg2 if single => log2(x),
        Unary::Sin | Unary::Cos if single && x.is_infinite() => f64::NAN,
        Unary::Sin if single => sin(x as f32),
        Unary::Cos if single => cos(x as f32),
        Unary::Rcp { approximate: true } if single => 1.0 / x,
        Unary::Sqrt { approximate: true } if single => x.sqrt(),
        Unary::Rsqrt if single || format == F64 => 1.0 / x.sqrt(),
        _ => return None,
    };
    if format.is_nan(a) || value.is_nan() {
        return Some(format.nan_of(&[a]));
    }
    if format == F64 {
        return Some(value.to_bits());
    }
    if format == F32 {
        return Some(u64::from((value as f32).to_bits()));
    }
    Some(match F64.decode(value.to_bits()) {
        Value::Nan => format.nan(),
        Value::Infinity { negative } => format.infinity(negative),
        Value::Finite(exact) => format.encode(exact, Rounding::Nearest),
    })
}

/// `div.approx.f32`: a × (1 / b), where a reciprocal too small for a normal number is 0: ∞ / b is then NaN, as the
/// manual says of divisors above 2^126.
pub(super) fn divide_approximately(a: u64, b: u64) -> u64 {
    let reciprocal = 1.0 / f32::from_bits(b as u32);
    let reciprocal = f32::from_bits(F32.flush(u64::from(reciprocal.to_bits())) as u32);
    u64::from(super::canonical_f32(f32::from_bits(a as u32) * reciprocal))
}

#[cfg(test)]
mod tests;

//! Binary floating-point formats: decoding to an exact value, exact operations, and the one rounding back.
//!
//! An exact value is sign × significand × 2^exponent. Operations whose result has no finite binary expansion, or
//! more bits than fit, keep at least two bits below any rounding position and set the lowest bit when something
//! was lost ("jamming"): a value strictly between two even significands becomes the odd one between them, so
//! every later rounding decision is the one of the true value (Hauser, SoftFloat).
//!
//! NaN results are canonical as NVIDIA's hardware writes them: 0x7fff, 0x7fffffff, and for f64 the payload of the
//! first NaN operand made quiet, or 0xfff8000000000000 where the operation itself is invalid (PTX ISA, section
//! 9.7.3, promises payloads for f64 and nothing for the others).

use crate::Rounding;

/// A format of IEEE 754's shape: sign, exponent, fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    exponent_bits: u32,
    fraction_bits: u32,
}

pub(super) const F16: Format = Format { exponent_bits: 5, fraction_bits: 10 };
pub(super) const BF16: Format = Format { exponent_bits: 8, fraction_bits: 7 };
/// 19 significant bits; held in the upper bits of 32.
pub(super) const TF32: Format = Format { exponent_bits: 8, fraction_bits: 10 };
pub(super) const F32: Format = Format { exponent_bits: 8, fraction_bits: 23 };
pub(super) const F64: Format = Format { exponent_bits: 11, fraction_bits: 52 };

/// A decoded number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Nan,
    Infinity { negative: bool },
    Finite(Exact),
}

/// ± significand × 2^exponent; a significand of 0 is a signed zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exact {
    pub negative: bool,
    pub significand: u128,
    pub exponent: i32,
}

impl Format {
    /// Bits of a number.
    pub const fn bits(self) -> u32 {
        1 + self.exponent_bits + self.fraction_bits
    }

    /// Bits of the fraction, without the leading one.
    pub const fn fraction_bits(self) -> u32 {
        self.fraction_bits
    }

    /// The sign bit alone.
    pub const fn sign(self) -> u64 {
        1 << (self.bits() - 1)
    }

    const fn fraction(self) -> u64 {
        (1 << self.fraction_bits) - 1
    }

    /// Infinity of that sign.
    pub const fn infinity(self, negative: bool) -> u64 {
        let magnitude = ((1 << self.exponent_bits) - 1) << self.fraction_bits;
        if negative { magnitude | self.sign() } else { magnitude }
    }

    /// One.
    pub const fn one(self) -> u64 {
        ((1 << (self.exponent_bits - 1)) - 1) << self.fraction_bits
    }

    /// The canonical NaN.
    pub const fn nan(self) -> u64 {
        if self.bits() == 64 { 0xfff8_0000_0000_0000 } else { self.sign() - 1 }
    }

    /// Whether the bits are a NaN.
    pub const fn is_nan(self, bits: u64) -> bool {
        bits & (self.sign() - 1) > self.infinity(false)
    }

    /// The NaN that an operation on `operands` returns.
    pub fn nan_of(self, operands: &[u64]) -> u64 {
        match operands.iter().find(|&&bits| self.is_nan(bits)) {
            Some(&bits) if self.bits() == 64 => bits | 1 << (self.fraction_bits - 1),
            _ => self.nan(),
        }
    }

    /// `.ftz`: a subnormal becomes the zero of its sign.
    pub const fn flush(self, bits: u64) -> u64 {
        if bits & self.infinity(false) == 0 { bits & self.sign() } else { bits }
    }

    /// Exponent of the lowest fraction bit of subnormals.
    const fn quantum(self) -> i32 {
        2 - (1 << (self.exponent_bits - 1)) - self.fraction_bits as i32
    }

    /// The number that the low bits hold.
    pub const fn decode(self, bits: u64) -> Value {
        let negative = bits & self.sign() != 0;
        let magnitude = bits & (self.sign() - 1);
        let biased = magnitude >> self.fraction_bits;
        let fraction = magnitude & self.fraction();
        if magnitude > self.infinity(false) {
            Value::Nan
        } else if magnitude == self.infinity(false) {
            Value::Infinity { negative }
        } else if biased == 0 {
            Value::Finite(Exact { negative, significand: fraction as u128, exponent: self.quantum() })
        } else {
            let significand = (fraction | 1 << self.fraction_bits) as u128;
            Value::Finite(Exact { negative, significand, exponent: self.quantum() + biased as i32 - 1 })
        }
    }

    /// The nearest number in the direction of `rounding`; beyond the largest finite one, infinity or that.
    pub fn encode(self, value: Exact, rounding: Rounding) -> u64 {
        let sign = if value.negative { self.sign() } else { 0 };
        if value.significand == 0 {
            return sign;
        }
        let length = 128 - value.significand.leading_zeros() as i32;
        let quantum = self.quantum().max(value.exponent + length - 1 - self.fraction_bits as i32);
        let kept = value.round_at(quantum, rounding) as u64;
        // The leading bit of `kept` is worth one in the exponent field, and so is a carry out of it.
        let biased = (quantum - self.quantum()) as u64;
        let infinity = self.infinity(false);
        let overflow = biased >= 1 << self.exponent_bits;
        if overflow || (biased << self.fraction_bits) + kept >= infinity {
            let inward = match rounding {
                Rounding::Nearest | Rounding::NearestAway => false,
                Rounding::Zero => true,
                Rounding::Down => !value.negative,
                Rounding::Up => value.negative,
            };
            return sign | if inward { infinity - 1 } else { infinity };
        }
        sign | ((biased << self.fraction_bits) + kept)
    }

    /// The value as f64, exactly; a NaN is any NaN. For formats other than f64.
    pub const fn widen(self, bits: u64) -> f64 {
        let lower = bits << (64 - self.bits());
        let sign = lower & 1 << 63;
        let magnitude = bits & (self.sign() - 1);
        if magnitude >= self.infinity(false) {
            let fraction = (magnitude & self.fraction()) << (52 - self.fraction_bits);
            return f64::from_bits(sign | 0x7ff << 52 | fraction);
        }
        if magnitude >> self.fraction_bits == 0 {
            let unit = f64::from_bits(((1023 + self.quantum()) as u64) << 52);
            let value = magnitude as f64 * unit;
            return f64::from_bits(value.to_bits() | sign);
        }
        let rebias = (1024 - (1 << (self.exponent_bits - 1))) as u64;
        f64::from_bits(sign | ((magnitude << (52 - self.fraction_bits)) + (rebias << 52)))
    }
}

impl Exact {
    /// Zero of that sign.
    pub const fn zero(negative: bool) -> Self {
        Self { negative, significand: 0, exponent: 0 }
    }

    /// The magnitude as a multiple of 2^`quantum`. It must fit: exponents above `quantum` shift left.
    pub fn round_at(self, quantum: i32, rounding: Rounding) -> u128 {
        let shift = quantum - self.exponent;
        if shift <= 0 {
            return self.significand << -shift;
        }
        // Significands stay below 2^127: beyond the width nothing is kept and less than a half is lost.
        let (kept, lost, half) = if shift > 127 {
            (0, u128::from(self.significand != 0), 2)
        } else {
            let kept = self.significand >> shift;
            (kept, self.significand - (kept << shift), 1 << (shift - 1))
        };
        let up = match rounding {
            Rounding::Nearest => lost > half || (lost == half && kept & 1 == 1),
            Rounding::NearestAway => lost >= half,
            Rounding::Zero => false,
            Rounding::Down => self.negative && lost != 0,
            Rounding::Up => !self.negative && lost != 0,
        };
        kept + u128::from(up)
    }

    /// The same value, jammed where bits are lost, with its leading bit at `position`.
    fn normalized(self, position: i32) -> Self {
        let top = 127 - self.significand.leading_zeros() as i32;
        let shift = position - top;
        let significand = if shift >= 0 { self.significand << shift } else { jam(self.significand, -shift) };
        Self { significand, exponent: self.exponent - shift, ..self }
    }

    /// self + other, jammed. `down` is whether the rounding is `.rm`: an exact cancellation is then −0.
    pub fn add(self, other: Self, down: bool) -> Self {
        if self.significand == 0 && other.significand == 0 {
            let same = self.negative == other.negative;
            return Self::zero(if same { self.negative } else { down });
        }
        if self.significand == 0 {
            return other;
        }
        if other.significand == 0 {
            return self;
        }
        // Leading bits at 125 leave room for a carry. Both significands have at most 106 bits, so that a
        // cancellation of leading bits happens only where nothing was jammed.
        let (mut large, mut small) = (self.normalized(125), other.normalized(125));
        if (large.exponent, large.significand) < (small.exponent, small.significand) {
            (large, small) = (small, large);
        }
        let aligned = jam(small.significand, large.exponent - small.exponent);
        if large.negative == small.negative {
            return Self { significand: large.significand + aligned, ..large };
        }
        if large.significand == aligned {
            return Self::zero(down);
        }
        Self { significand: large.significand - aligned, ..large }
    }

    /// self × other, exact for significands of up to 64 bits each.
    pub fn mul(self, other: Self) -> Self {
        Self {
            negative: self.negative != other.negative,
            significand: self.significand * other.significand,
            exponent: self.exponent + other.exponent,
        }
    }

    /// self ÷ other, jammed; neither is zero and `other` has at most 53 bits.
    pub fn div(self, other: Self) -> Self {
        let dividend = self.normalized(122);
        let quotient = dividend.significand / other.significand;
        let rest = dividend.significand - quotient * other.significand;
        Self {
            negative: self.negative != other.negative,
            significand: quotient | u128::from(rest != 0),
            exponent: dividend.exponent - other.exponent,
        }
    }

    /// The square root of a positive value, jammed.
    pub fn sqrt(self) -> Self {
        let mut value = self.normalized(126);
        if value.exponent % 2 != 0 {
            value = self.normalized(125);
        }
        let root = value.significand.isqrt();
        let significand = root | u128::from(root * root != value.significand);
        Self { negative: false, significand, exponent: value.exponent / 2 }
    }
}

/// A right shift that keeps, in the lowest bit, whether anything was lost.
fn jam(significand: u128, shift: i32) -> u128 {
    match shift {
        0 => significand,
        1..128 => {
            let kept = significand >> shift;
            kept | u128::from(kept << shift != significand)
        }
        _ => u128::from(significand != 0),
    }
}

//! Elementary functions in f64, right to a few units in its last place: the values behind the approximate
//! instructions.
//!
//! Written in additions and multiplications alone, so that the bits do not depend on a platform's mathematical
//! library. An f32 rounded from such a value is the nearest one except where the true value lies within about
//! 2^-27 of a unit from the middle of two.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, LN_2, LOG2_E, SQRT_2};

/// 2^x for −1000 ≤ x ≤ 1000.
pub(super) fn exp2(x: f64) -> f64 {
    let whole = nearest_integer(x);
    let unit = f64::from_bits(((1023 + whole as i64) as u64) << 52);
    (1.0 + exponential_less_one((x - whole) * LN_2)) * unit
}

/// e^y − 1 for |y| ≤ 0.6, by Taylor's series.
fn exponential_less_one(y: f64) -> f64 {
    const INVERSE_FACTORIALS: [f64; 18] = inverse_factorials();
    let series = INVERSE_FACTORIALS[1..].iter().rev();
    series.fold(0.0, |sum, coefficient| sum * y + coefficient) * y
}

/// 1 / n!, correctly rounded.
const fn inverse_factorials<const N: usize>() -> [f64; N] {
    let mut values = [1.0; N];
    let mut factorial = 1.0;
    let mut n = 1;
    while n < N {
        // Exact up to 22!.
        factorial *= n as f64;
        values[n] = 1.0 / factorial;
        n += 1;
    }
    values
}

/// The nearest integer, for |x| < 2^51: beyond 2^52 an f64 has no fraction.
fn nearest_integer(x: f64) -> f64 {
    const SHIFT: f64 = 1.5 * (1u64 << 52) as f64;
    (x + SHIFT) - SHIFT
}

/// log₂ x for normal x > 0.
pub(super) fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut significand = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if significand > SQRT_2 {
        significand *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh((m − 1) / (m + 1)), by its series.
    let ratio = (significand - 1.0) / (significand + 1.0);
    let square = ratio * ratio;
    const INVERSE_ODD: [f64; 12] = {
        let mut values = [1.0; 12];
        let mut n = 0;
        while n < 12 {
            values[n] = 1.0 / (2 * n + 1) as f64;
            n += 1;
        }
        values
    };
    let sum = INVERSE_ODD.iter().rev().fold(0.0, |sum, coefficient| sum * square + coefficient);
    f64::from(exponent) + 2.0 * ratio * sum * LOG2_E
}

/// sin x; any f32.
pub(super) fn sin(x: f32) -> f64 {
    let (quadrant, rest) = reduce(x);
    let value = if quadrant % 2 == 0 { sine(rest) } else { cosine(rest) };
    if matches!(quadrant % 4, 0 | 1) { value } else { -value }
}

/// cos x; any f32.
pub(super) fn cos(x: f32) -> f64 {
    let (quadrant, rest) = reduce(x);
    let value = if quadrant % 2 == 0 { cosine(rest) } else { sine(rest) };
    if matches!(quadrant % 4, 0 | 3) { value } else { -value }
}

/// tanh x.
pub(super) fn tanh(x: f64) -> f64 {
    let magnitude = x.abs();
    let value = if magnitude < 0.25 {
        let less_one = exponential_less_one(2.0 * magnitude);
        less_one / (less_one + 2.0)
    } else {
        // From 20 on the result is 1 in f32 and f64.
        1.0 - 2.0 / (exp2(magnitude.min(20.0) * (2.0 * LOG2_E)) + 1.0)
    };
    value.copysign(x)
}

/// The multiple of π/2 nearest to x, modulo 4, and x less that multiple.
///
/// x = m · 2^e with an integer m < 2^24, so x · 2/π modulo 4 is an integer product of m and those 128 bits of 2/π
/// that matter (Payne and Hanek, 1983).
fn reduce(x: f32) -> (u32, f64) {
    if f64::from(x).abs() <= FRAC_PI_4 {
        return (0, f64::from(x));
    }
    /// The first 256 bits of 2/π after the point.
    const TWO_OVER_PI: [u64; 4] =
        [0xa2f9_836e_4e44_1529, 0xfc27_57d1_f534_ddc0, 0xdb62_9599_3c43_9041, 0xfe51_63ab_debb_c561];
    let bits = x.to_bits();
    let significand = u128::from(bits & 0x7f_ffff | 0x80_0000);
    let exponent = (bits >> 23 & 0xff) as i32 - 150;
    // Bits of 2/π before the first that counts: those that become multiples of 4.
    let skipped = (exponent - 2).max(0) as usize;
    let word = |i: usize| u128::from(TWO_OVER_PI.get(skipped / 64 + i).copied().unwrap_or(0));
    let offset = skipped % 64;
    let window = (word(0) << 64 | word(1)) << offset | word(2) << offset >> 64;
    let window = window >> (2 - exponent).max(0);
    // Four turns of a quadrant are 2^128.
    let turns = significand.wrapping_mul(window);
    let quadrant = turns.wrapping_add(1 << 125) >> 126;
    let rest = turns.wrapping_sub(quadrant << 126) as i128 as f64;
    let unit = f64::from_bits((1023 - 126) << 52);
    let (quadrant, rest) = (quadrant as u32, rest * unit * FRAC_PI_2);
    if x < 0.0 { (4 - quadrant, -rest) } else { (quadrant, rest) }
}

/// Σ (−1)^i x^(n + 2i) / (n + 2i)! from i = 0 on, divided by x^n: sine for n = 1, cosine for n = 0.
fn alternating(n: usize, square: f64) -> f64 {
    const INVERSE_FACTORIALS: [f64; 22] = inverse_factorials();
    let series = INVERSE_FACTORIALS[n..].iter().step_by(2).rev();
    series.fold(0.0, |sum, coefficient| coefficient - sum * square)
}

/// sin x for |x| ≤ π/4.
fn sine(x: f64) -> f64 {
    x * alternating(1, x * x)
}

/// cos x for |x| ≤ π/4.
fn cosine(x: f64) -> f64 {
    alternating(0, x * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The platform's functions are an independent route: both are right to a few units of f64.
    fn close(name: &str, x: f64, ours: f64, theirs: f64) {
        let error = (ours - theirs).abs() / theirs.abs().max(f64::MIN_POSITIVE);
        assert!(
            ours == theirs || error < 2e-15,
            "{name}({x:e}): {ours:e} is not {theirs:e}, off by {error:e}"
        );
    }

    /// f32 of every sign and size, in steps over their bits.
    fn samples() -> impl Iterator<Item = f32> {
        (0..u32::MAX).step_by(9973).map(f32::from_bits).filter(|x| x.is_finite())
    }

    #[test]
    fn elementary_functions_agree_with_the_platforms() {
        for x in samples() {
            close("sin", f64::from(x), sin(x), f64::from(x).sin());
            close("cos", f64::from(x), cos(x), f64::from(x).cos());
            close("tanh", f64::from(x), tanh(f64::from(x)), f64::from(x).tanh());
            if x.abs() < 1000.0 {
                close("exp2", f64::from(x), exp2(f64::from(x)), f64::from(x).exp2());
            }
            if x > 0.0 {
                close("log2", f64::from(x), log2(f64::from(x)), f64::from(x).log2());
            }
        }
    }

    #[test]
    fn log2_keeps_its_digits_near_one() {
        for i in 1..2000 {
            for x in [f32::from_bits(1.0f32.to_bits() + i), f32::from_bits(1.0f32.to_bits() - i)] {
                close("log2", f64::from(x), log2(f64::from(x)), f64::from(x).log2());
            }
        }
    }
}

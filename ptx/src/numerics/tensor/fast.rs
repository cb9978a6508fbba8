//! The sums of the model for finite operands and f32 accumulators, eight columns at a time, in 32-bit integers.
//!
//! A product of significands, shifted to F fractional bits, is below 2^27; eight of them and an addend fit an i32.
//! The code is plain loops over eight columns, compiled once for the baseline and once for AVX2, whose shifts by
//! a different amount in each element it needs. Both give the same bits.

#![allow(clippy::needless_range_loop, reason = "loops over columns, several arrays in step, for vectors")]

use super::super::format::{BF16, F16, Format};

/// Exponent of a zero: below every other, so that it never is the largest and shifts out.
const NEVER: i32 = -1000;

/// Signs (0 or −1), magnitudes and exponents of a matrix.
struct Decoded<const COLUMNS: usize> {
    sign: [[i32; COLUMNS]; 16],
    magnitude: [[i32; COLUMNS]; 16],
    exponent: [[i32; COLUMNS]; 16],
}

/// As [`super::products`]; answers false, and leaves `sums` as they were, where something is not finite.
pub(super) fn products(
    format: Format,
    fractional: i32,
    k: usize,
    group: usize,
    left: &[[u32; 16]; 16],
    right: &[[u32; 8]; 16],
    sums: &mut [[u32; 8]; 16],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just asked.
        #[allow(unsafe_code, reason = "the only way to call code compiled for more than the baseline")]
        return unsafe { products_avx2(format, fractional, k, group, left, right, sums) };
    }
    portable(format, fractional, k, group, left, right, sums)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn products_avx2(
    format: Format,
    fractional: i32,
    k: usize,
    group: usize,
    left: &[[u32; 16]; 16],
    right: &[[u32; 8]; 16],
    sums: &mut [[u32; 8]; 16],
) -> bool {
    portable(format, fractional, k, group, left, right, sums)
}

#[inline(always)]
fn portable(
    format: Format,
    fractional: i32,
    k: usize,
    group: usize,
    left: &[[u32; 16]; 16],
    right: &[[u32; 8]; 16],
    sums: &mut [[u32; 8]; 16],
) -> bool {
    // Formats as constants, for the compiler; TF32 has the exponent of bf16 and the fraction of f16.
    let (left, right, special) = if format == BF16 {
        decode_both::<8, 7>(fractional, left, right)
    } else if format == F16 {
        decode_both::<5, 10>(fractional, left, right)
    } else {
        decode_both::<8, 10>(fractional, left, right)
    };
    let mut results = *sums;
    if special || not_finite(&results) {
        return false;
    }
    for first in (0..k).step_by(group) {
        match group.min(k) {
            16 => add_group::<16>(fractional, first, &left, &right, &mut results),
            8 => add_group::<8>(fractional, first, &left, &right, &mut results),
            _ => add_group::<4>(fractional, first, &left, &right, &mut results),
        }
        if not_finite(&results) && first + group < k {
            return false;
        }
    }
    *sums = results;
    true
}

/// Whether an f32 is an infinity or a NaN.
#[inline(always)]
fn not_finite(sums: &[[u32; 8]; 16]) -> bool {
    sums.iter().flatten().fold(false, |any, bits| any | (bits & 0x7f80_0000 == 0x7f80_0000))
}

/// A and B decoded, A's magnitudes scaled so that products have `fractional` fraction bits; and whether
/// something is not finite.
#[inline(always)]
fn decode_both<const EXPONENT: u32, const FRACTION: u32>(
    fractional: i32,
    left: &[[u32; 16]; 16],
    right: &[[u32; 8]; 16],
) -> (Decoded<16>, Decoded<8>, bool) {
    let (left, first) = decode::<EXPONENT, FRACTION, 16>(left, fractional as u32 - 2 * FRACTION);
    let (right, second) = decode::<EXPONENT, FRACTION, 8>(right, 0);
    (left, right, first | second)
}

#[inline(always)]
fn decode<const EXPONENT: u32, const FRACTION: u32, const COLUMNS: usize>(
    matrix: &[[u32; COLUMNS]; 16],
    scale: u32,
) -> (Decoded<COLUMNS>, bool) {
    let zero = [[0; COLUMNS]; 16];
    let mut decoded = Decoded { sign: zero, magnitude: zero, exponent: zero };
    let mut special = false;
    let greatest = (1 << EXPONENT) - 1;
    for row in 0..16 {
        for column in 0..COLUMNS {
            let bits = matrix[row][column] as i32;
            let biased = bits >> FRACTION & greatest;
            let fraction = bits & ((1 << FRACTION) - 1);
            let magnitude = fraction | i32::from(biased != 0) << FRACTION;
            special |= biased == greatest;
            decoded.sign[row][column] = -(bits >> (EXPONENT + FRACTION));
            decoded.magnitude[row][column] = magnitude << scale;
            let exponent = biased.max(1) - (greatest >> 1);
            decoded.exponent[row][column] = if magnitude == 0 { NEVER } else { exponent };
        }
    }
    (decoded, special)
}

/// One group of `TERMS` products from `first` on, added to all sums.
#[inline(always)]
fn add_group<const TERMS: usize>(
    fractional: i32,
    first: usize,
    left: &Decoded<16>,
    right: &Decoded<8>,
    sums: &mut [[u32; 8]; 16],
) {
    for (row, sums) in sums.iter_mut().enumerate() {
        let mut largest = [-126; 8];
        let mut addend = [0; 8];
        let mut addend_exponent = [0; 8];
        for n in 0..8 {
            let bits = sums[n] as i32;
            let biased = bits >> 23 & 0xff;
            let magnitude = (bits & 0x7f_ffff | i32::from(biased != 0) << 23) << (fractional - 23);
            let sign = bits >> 31;
            addend[n] = (magnitude ^ sign) - sign;
            // A zero's exponent is −126, the least that counts anyway.
            addend_exponent[n] = biased.max(1) - 127;
            largest[n] = largest[n].max(addend_exponent[n]);
        }
        for i in first..first + TERMS {
            for n in 0..8 {
                largest[n] = largest[n].max(left.exponent[row][i] + right.exponent[i][n]);
            }
        }
        // Eight products of less than 2^27 and an addend of less than 2^26 stay below 2^31: 16 terms take
        // two partial sums.
        let mut low = [0; 8];
        let mut high = [0; 8];
        for n in 0..8 {
            low[n] = cut(addend[n] >> 31, addend[n].abs(), largest[n] - addend_exponent[n]);
        }
        for i in first..first + TERMS.min(8) {
            for n in 0..8 {
                low[n] += term(left, right, row, i, n, largest[n]);
            }
        }
        for i in first + TERMS.min(8)..first + TERMS {
            for n in 0..8 {
                high[n] += term(left, right, row, i, n, largest[n]);
            }
        }
        for n in 0..8 {
            let unit = f64::from_bits(((1023 + largest[n] - fractional) as u64) << 52);
            let sum = (f64::from(low[n]) + f64::from(high[n])) * unit;
            sums[n] = toward_zero(sum);
        }
    }
}

#[inline(always)]
fn term(left: &Decoded<16>, right: &Decoded<8>, row: usize, i: usize, n: usize, largest: i32) -> i32 {
    let shift = largest - (left.exponent[row][i] + right.exponent[i][n]);
    cut(left.sign[row][i] ^ right.sign[i][n], left.magnitude[row][i] * right.magnitude[i][n], shift)
}

/// A magnitude below 2^31 shifted right, toward zero, with its sign (0 or −1).
#[inline(always)]
fn cut(sign: i32, magnitude: i32, shift: i32) -> i32 {
    let kept = ((magnitude as u32) >> shift.min(31)) as i32;
    (kept ^ sign) - sign
}

/// The f32 of an f64, cut toward zero; infinite from 2^128 on.
#[inline(always)]
fn toward_zero(value: f64) -> u32 {
    let bits = value.to_bits();
    // Below 2^-126 one bit more is lost for every binade, at most all: half of the least subnormal, which
    // is what then remains, is rounded to zero.
    let biased = (bits >> 52 & 0x7ff) as i32;
    let lost = (29 + (897 - biased).max(0)).min(52);
    (f64::from_bits(bits >> lost << lost) as f32).to_bits()
}

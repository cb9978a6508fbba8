//! The sums of the model for finite operands and f32 accumulators, eight columns at a time, in 32-bit integers.
//!
//! A product of significands, shifted to F fractional bits, is below 2^27; eight of them and an addend fit an i32.
//! The code is plain loops over eight columns, compiled once for the baseline and once for AVX2, whose shifts by
//! a different amount in each element it needs. Both give the same bits.

#![allow(clippy::needless_range_loop, reason = "loops over columns, several arrays in step, for vectors")]

use std::ops::Range;

use super::super::format::{BF16, F16, Format};

/// Exponent of a zero: below every other, so that it never is the largest and shifts out.
const NEVER: i32 = -1000;

/// Significands with their signs, and exponents, of a matrix.
struct Decoded<const COLUMNS: usize> {
    significand: [[i32; COLUMNS]; 16],
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

/// [`products`] for any processor.
#[inline(always)]
pub(super) fn portable(
    format: Format,
    fractional: i32,
    k: usize,
    group: usize,
    left: &[[u32; 16]; 16],
    right: &[[u32; 8]; 16],
    sums: &mut [[u32; 8]; 16],
) -> bool {
    let mut a = Decoded { significand: [[0; 16]; 16], exponent: [[0; 16]; 16] };
    let mut b = Decoded { significand: [[0; 8]; 16], exponent: [[0; 8]; 16] };
    // A's significands take the shift that gives products `fractional` fraction bits. Formats are constants,
    // for the compiler; TF32 has the exponent of bf16 and the fraction of f16.
    let special = if format == BF16 {
        decode::<8, 7, 16>(left, fractional - 14, &mut a) | decode::<8, 7, 8>(right, 0, &mut b)
    } else if format == F16 {
        decode::<5, 10, 16>(left, fractional - 20, &mut a) | decode::<5, 10, 8>(right, 0, &mut b)
    } else {
        decode::<8, 10, 16>(left, fractional - 20, &mut a) | decode::<8, 10, 8>(right, 0, &mut b)
    };
    let mut results = *sums;
    if special || not_finite(&results) {
        return false;
    }
    for first in (0..k).step_by(group) {
        let last = (first + group).min(k);
        add_group(fractional, first..last, &a, &b, &mut results);
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

/// Decodes a matrix, significands shifted left by `scale`; answers whether something is not finite.
#[inline(always)]
fn decode<const EXPONENT: u32, const FRACTION: u32, const COLUMNS: usize>(
    matrix: &[[u32; COLUMNS]; 16],
    scale: i32,
    decoded: &mut Decoded<COLUMNS>,
) -> bool {
    let mut special = false;
    let greatest = (1 << EXPONENT) - 1;
    for row in 0..16 {
        for column in 0..COLUMNS {
            let bits = matrix[row][column] as i32;
            let biased = bits >> FRACTION & greatest;
            let fraction = bits & ((1 << FRACTION) - 1);
            let magnitude = fraction | i32::from(biased != 0) << FRACTION;
            let sign = -(bits >> (EXPONENT + FRACTION));
            special |= biased == greatest;
            decoded.significand[row][column] = ((magnitude << scale) ^ sign) - sign;
            let exponent = biased.max(1) - (greatest >> 1);
            decoded.exponent[row][column] = if magnitude == 0 { NEVER } else { exponent };
        }
    }
    special
}

/// Adds one group of at most 16 products to all sums.
#[inline(always)]
fn add_group(
    fractional: i32,
    terms: Range<usize>,
    left: &Decoded<16>,
    right: &Decoded<8>,
    sums: &mut [[u32; 8]; 16],
) {
    for (row, sums) in sums.iter_mut().enumerate() {
        let mut addend_exponent = [0; 8];
        for n in 0..8 {
            // A zero's exponent is −126, the least that counts anyway.
            addend_exponent[n] = (sums[n] >> 23 & 0xff).max(1) as i32 - 127;
        }
        let mut largest = addend_exponent;
        for i in terms.clone() {
            for n in 0..8 {
                largest[n] = largest[n].max(left.exponent[row][i] + right.exponent[i][n]);
            }
        }
        let mut low = [0; 8];
        for n in 0..8 {
            let bits = sums[n] as i32;
            let leading = i32::from(bits << 1 >> 24 != 0) << 23;
            let magnitude = (bits & 0x7f_ffff | leading) << (fractional - 23);
            let sign = bits >> 31;
            low[n] = cut((magnitude ^ sign) - sign, largest[n] - addend_exponent[n]);
        }
        // Eight products of less than 2^27 and an addend of less than 2^26 stay below 2^31: 16 terms take
        // two partial sums.
        let middle = (terms.start + 8).min(terms.end);
        for i in terms.start..middle {
            for n in 0..8 {
                low[n] += term(left, right, row, i, n, largest[n]);
            }
        }
        let mut high = [0; 8];
        for i in middle..terms.end {
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
    cut(left.significand[row][i] * right.significand[i][n], shift)
}

/// A number shifted right by `shift` ≥ 0, toward zero; its magnitude is below 2^31.
#[inline(always)]
fn cut(number: i32, shift: i32) -> i32 {
    let sign = number >> 31;
    let kept = (number.unsigned_abs() >> shift.min(31)) as i32;
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

//! The sums of the model for 16-bit operands and f32 accumulators, straight from the registers of a warp: a row of D at
//! a time, in f32.
//!
//! The product of two significands of at most 11 bits is exact in f32. Times the power of two that makes the last bit
//! that counts a one it stays exact, and conversion to i32 cuts toward zero: three instructions a product, where integers
//! take ten ([`super::fast`]). That holds while nothing nears the ends of f32's range; what does is refused.
//!
//! Columns go in the order 0, 2, 4, 6, 1, 3, 5, 7: so do they lie in the registers of C and D, four lanes a row.

use super::super::format::{BF16, F16, Format};
use std::arch::x86_64::*;

/// Exponent of a zero: below every other, also with another added.
const NEVER: i32 = -1000;
/// Largest exponents, but for zeros, that f32 has room around: the least and the greatest.
const ROOM: [i32; 2] = [-63, 120];

/// As [`super::products`], for k of 8 or 16, from registers to registers. Answers false, and writes nothing, where it does
/// not serve: another format, no AVX2, something that is not finite, sums whose largest exponent is out of [`ROOM`].
pub(super) fn products(
    format: Format,
    fractional: i32,
    group: usize,
    [a, b, c]: [&[[u32; 32]]; 3],
    d: &mut [[u32; 32]],
) -> bool {
    if !(format == BF16 || format == F16) || group < 8 || !is_x86_feature_detected!("avx2") {
        return false;
    }
    // SAFETY: the processor has AVX2, as just asked.
    #[allow(unsafe_code, reason = "the only way to call code compiled for more than the baseline")]
    unsafe {
        match (format == BF16, group, b.len()) {
            // One register of B is k = 8: one group, however many terms a group may have.
            (true, _, 1) => run::<true, 8, 1>(fractional, a, b, c, d),
            (true, 8, _) => run::<true, 8, 2>(fractional, a, b, c, d),
            (true, _, _) => run::<true, 16, 1>(fractional, a, b, c, d),
            (false, _, 1) => run::<false, 8, 1>(fractional, a, b, c, d),
            (false, 8, _) => run::<false, 8, 2>(fractional, a, b, c, d),
            (false, _, _) => run::<false, 16, 1>(fractional, a, b, c, d),
        }
    }
}

/// Values and exponents of A, by row and column.
struct Left {
    value: [[f32; 16]; 16],
    exponent: [[i32; 16]; 16],
}

/// `GROUPS` groups of `TERMS` products, constants so that their loops are unrolled.
#[target_feature(enable = "avx2")]
fn run<const BRAIN: bool, const TERMS: usize, const GROUPS: usize>(
    fractional: i32,
    a: &[[u32; 32]],
    b: &[[u32; 32]],
    c: &[[u32; 32]],
    d: &mut [[u32; 32]],
) -> bool {
    let mut refused = _mm256_setzero_si256();
    let mut left = Left { value: [[0.0; 16]; 16], exponent: [[0; 16]; 16] };
    for (register, words) in a.iter().enumerate() {
        let (half, first) = (register % 2 * 8, register / 2 * 8);
        for (g, words) in words.chunks_exact(4).enumerate() {
            let (value, exponent, special) = decode::<BRAIN>(_mm256_cvtepu16_epi32(load4(words)));
            refused = _mm256_or_si256(refused, special);
            left.value[half + g][first..first + 8]
                .copy_from_slice(&bytemuck::must_cast::<_, [f32; 8]>(value));
            left.exponent[half + g][first..first + 8]
                .copy_from_slice(&bytemuck::must_cast::<_, [i32; 8]>(exponent));
        }
    }
    let mut value = [_mm256_setzero_ps(); 16];
    let mut exponent = [_mm256_setzero_si256(); 16];
    for (register, words) in b.iter().enumerate() {
        for (t, pairs) in places(words).into_iter().enumerate() {
            let elements = [_mm256_and_si256(pairs, all(0xffff)), _mm256_srli_epi32::<16>(pairs)];
            for (part, elements) in elements.into_iter().enumerate() {
                let row = 8 * register + 2 * t + part;
                let special;
                (value[row], exponent[row], special) = decode::<BRAIN>(elements);
                refused = _mm256_or_si256(refused, special);
            }
        }
    }
    let mut rows = [_mm256_setzero_si256(); 16];
    for (row, result) in rows.iter_mut().enumerate() {
        let (half, lanes) = (row / 8 * 2, row % 8 * 4..row % 8 * 4 + 4);
        let mut sums = _mm256_set_m128i(load4(&c[half + 1][lanes.clone()]), load4(&c[half][lanes]));
        let infinite = _mm256_and_si256(sums, all(0x7f80_0000));
        refused = _mm256_or_si256(refused, _mm256_cmpeq_epi32(infinite, all(0x7f80_0000)));
        for group in 0..GROUPS {
            let exponents = &left.exponent[row][group * TERMS..][..TERMS];
            let values = &left.value[row][group * TERMS..][..TERMS];
            let right = group * TERMS;
            // A zero never is the largest; a subnormal has the least exponent.
            let biased = _mm256_and_si256(_mm256_srli_epi32::<23>(sums), all(0xff));
            let addend = _mm256_sub_epi32(_mm256_max_epi32(biased, all(1)), all(127));
            let zero = _mm256_cmpeq_epi32(_mm256_slli_epi32::<1>(sums), _mm256_setzero_si256());
            let mut largest = _mm256_blendv_epi8(addend, all(NEVER), zero);
            for (i, &left) in exponents.iter().enumerate() {
                let product = _mm256_add_epi32(all(left), exponent[right + i]);
                largest = _mm256_max_epi32(largest, product);
            }
            let [least, greatest] = ROOM.map(|end| all(end));
            let nothing = _mm256_cmpgt_epi32(all(NEVER / 2), largest);
            let small = _mm256_andnot_si256(nothing, _mm256_cmpgt_epi32(least, largest));
            let room = _mm256_or_si256(small, _mm256_cmpgt_epi32(largest, greatest));
            refused = _mm256_or_si256(refused, room);
            let largest = _mm256_max_epi32(largest, least);
            let scale = power(_mm256_sub_epi32(all(fractional), largest));
            let unit = power(_mm256_sub_epi32(largest, all(fractional)));
            // Eight products of less than 2^27 and an addend of less than 2^26 stay below 2^31.
            let mut parts = [_mm256_setzero_si256(); 2];
            parts[0] = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_castsi256_ps(sums), scale));
            for (i, &left) in values.iter().enumerate() {
                let product = _mm256_mul_ps(_mm256_set1_ps(left), value[right + i]);
                let cut = _mm256_cvttps_epi32(_mm256_mul_ps(product, scale));
                let part = &mut parts[i / 8];
                *part = _mm256_add_epi32(*part, cut);
            }
            sums = _mm256_castps_si256(_mm256_mul_ps(toward_zero(parts), unit));
        }
        *result = sums;
    }
    if _mm256_testz_si256(refused, refused) == 0 {
        return false;
    }
    for (row, sums) in rows.into_iter().enumerate() {
        let (half, lanes) = (row / 8 * 2, row % 8 * 4..row % 8 * 4 + 4);
        store4(&mut d[half][lanes.clone()], _mm256_castsi256_si128(sums));
        store4(&mut d[half + 1][lanes], _mm256_extracti128_si256::<1>(sums));
    }
    true
}

/// Values, exponents, and where they are not finite, of eight elements in the low halves of words.
#[target_feature(enable = "avx2")]
fn decode<const BRAIN: bool>(bits: __m256i) -> (__m256, __m256i, __m256i) {
    let magnitude = _mm256_and_si256(bits, all(0x7fff));
    let (value, biased, greatest, bias) = if BRAIN {
        let value = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits));
        (value, _mm256_srli_epi32::<7>(magnitude), 0xff, 127)
    } else {
        // Moved to f32's place the exponent lacks the difference of the biases; subnormals gain theirs with it.
        let moved = _mm256_castsi256_ps(_mm256_slli_epi32::<13>(magnitude));
        let value = _mm256_mul_ps(moved, power(all(127 - 15)));
        let sign = _mm256_slli_epi32::<16>(_mm256_xor_si256(bits, magnitude));
        (_mm256_or_ps(value, _mm256_castsi256_ps(sign)), _mm256_srli_epi32::<10>(magnitude), 0x1f, 15)
    };
    let exponent = _mm256_sub_epi32(_mm256_max_epi32(biased, all(1)), all(bias));
    let zero = _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256());
    (value, _mm256_blendv_epi8(exponent, all(NEVER), zero), _mm256_cmpeq_epi32(biased, all(greatest)))
}

/// The sum of both parts, cut toward zero to the 24 bits of an f32.
#[target_feature(enable = "avx2")]
fn toward_zero([low, high]: [__m256i; 2]) -> __m256 {
    let kept = _mm256_castsi256_pd(_mm256_set1_epi64x(-1 << 29));
    let half = |low, high| {
        let sum = _mm256_add_pd(_mm256_cvtepi32_pd(low), _mm256_cvtepi32_pd(high));
        _mm256_cvtpd_ps(_mm256_and_pd(sum, kept))
    };
    let first = half(_mm256_castsi256_si128(low), _mm256_castsi256_si128(high));
    let second = half(_mm256_extracti128_si256::<1>(low), _mm256_extracti128_si256::<1>(high));
    _mm256_set_m128(second, first)
}

/// For each place t within a group of lanes, the words of its lanes 4g + t, columns g in this file's order.
#[target_feature(enable = "avx2")]
fn places(words: &[u32; 32]) -> [__m256i; 4] {
    let mut two = words.chunks_exact(8).map(|eight| _mm256_set_m128i(load4(&eight[4..]), load4(&eight[..4])));
    let mut next = || two.next().unwrap_or(_mm256_setzero_si256());
    let (v0, v1, v2, v3) = (next(), next(), next(), next());
    let (low01, high01) = (_mm256_unpacklo_epi32(v0, v1), _mm256_unpackhi_epi32(v0, v1));
    let (low23, high23) = (_mm256_unpacklo_epi32(v2, v3), _mm256_unpackhi_epi32(v2, v3));
    [
        _mm256_unpacklo_epi64(low01, low23),
        _mm256_unpackhi_epi64(low01, low23),
        _mm256_unpacklo_epi64(high01, high23),
        _mm256_unpackhi_epi64(high01, high23),
    ]
}

/// 2 to the powers given, which are those of normal numbers.
#[target_feature(enable = "avx2")]
fn power(exponents: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(exponents, all(127))))
}

#[target_feature(enable = "avx2")]
fn all(word: i32) -> __m256i {
    _mm256_set1_epi32(word)
}

/// Four words; what is shorter is a bug and counts as zeros.
#[target_feature(enable = "avx2")]
fn load4(words: &[u32]) -> __m128i {
    bytemuck::must_cast(<[u32; 4]>::try_from(words).unwrap_or_default())
}

#[target_feature(enable = "avx2")]
fn store4(words: &mut [u32], vector: __m128i) {
    words.copy_from_slice(&bytemuck::must_cast::<_, [u32; 4]>(vector));
}

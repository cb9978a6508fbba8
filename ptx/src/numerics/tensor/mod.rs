//! Tensor-core sums: what `mma.sync` computes. PTX ISA 8.4, section 9.7.13.4.14, leaves the order and the width
//! of the sums open; this follows the published models of the hardware. **Model unconfirmed** here: no record of
//! hardware lies in `ptx/golden/` yet.
//!
//! The model of floating-point types, "truncating fused dot product":
//! 1. The k dimension is cut into groups, ascending; a group's result is the next one's C.
//! 2. Within a group the products are exact and not normalised: 1.5 × 1.5 keeps the exponent 0 and two integer
//!    bits. Subnormals keep the smallest normal exponent.
//! 3. Every product and C is aligned to the largest exponent among the nonzero ones (at least −126) and cut
//!    toward zero below F fractional bits of it.
//! 4. The aligned terms are added exactly, and the sum is cut toward zero to f32 (to nearest, ties to even, for
//!    f16). A sum of zero is +0. At 2^128 and beyond it is infinite.
//!
//! | | F | terms in a group of 16-bit types | of tf32 |
//! |---|---|---|---|
//! | Ampere | 24 | 8 | 4 |
//! | Hopper | 25 | 16 | 8 |
//!
//! tf32 operands are cut to 19 bits. A NaN operand, 0 × ∞ or ∞ − ∞ gives the canonical NaN. s8 products are added
//! in wrapping 32-bit integers.
//!
//! Sources: Fasi, Higham, Mikaitis, Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science
//! 7:e330, 2021 (subnormals, truncation, one alignment); Xie et al., "MMA-Sim", arXiv:2511.10909, 2025 (groups,
//! F, NaN, overflow, f16 results, the least exponent); Khattak and Mikaitis, "Accurate models of NVIDIA tensor
//! cores", arXiv:2512.07004, 2025 (products not normalised). The sign of a sum of negative zeros is a guess.
//!
//! Three ways, from fast to exact everywhere: 16-bit operands of ordinary size in f32 ([`direct`], AVX2); finite operands
//! in 32-bit integers, eight columns at a time ([`fast`]); all else, and the tests, the scalar [`dot`]. Accumulators of the
//! first two are f32. All give the same bits.

#[cfg(target_arch = "x86_64")]
mod direct;
mod fast;
#[cfg(test)]
mod tests;

use super::format::{BF16, Exact, F16, F32, Format, TF32, Value};
use super::fragment::{Fragment, Source, gather, scatter};
use crate::{Matrix, Rounding};

/// Whose tensor cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// sm_80: A100.
    #[default]
    Ampere,
    /// sm_90: H100, H200.
    Hopper,
}

impl Architecture {
    /// Fractional bits that an aligned term keeps.
    const fn fractional_bits(self) -> i32 {
        match self {
            Architecture::Ampere => 24,
            Architecture::Hopper => 25,
        }
    }

    /// Products added at once, for operands of that many bits.
    const fn group(self, bits: usize) -> usize {
        match self {
            Architecture::Ampere => 128 / bits,
            Architecture::Hopper => 256 / bits,
        }
    }
}

/// The sources of A, B and of C and D, of floating-point types; tf32 without its 13 low bits.
struct Layout {
    left: [[Source; 16]; 16],
    right: [[Source; 8]; 16],
    accumulator: [[Source; 8]; 16],
}

impl Layout {
    const fn new(k: usize, bits: usize, accumulator_bits: usize) -> Self {
        Self {
            left: Fragment::A { k, bits }.sources(if bits == 32 { 13 } else { 0 }),
            right: Fragment::B { k, bits }.sources(if bits == 32 { 13 } else { 0 }),
            accumulator: Fragment::Accumulator { bits: accumulator_bits }.sources(0),
        }
    }
}

/// `mma.sync.aligned` of m16n8k8 and m16n8k16 (bf16, f16), m16n8k4 and m16n8k8 (tf32), m16n8k16 and m16n8k32 (s8):
/// D = A × B + C over the registers of a warp, `[register][lane]`, elements as [`Fragment`] says. `types` are
/// those of D, A, B, C. Answers false, and writes nothing, where PTX has no such shape or the register counts
/// are not its own.
pub fn mma(
    shape: [u32; 3],
    types: [Matrix; 4],
    architecture: Architecture,
    a: &[[u32; 32]],
    b: &[[u32; 32]],
    c: &[[u32; 32]],
    d: &mut [[u32; 32]],
) -> bool {
    use Matrix::{Bf16, F16 as Half, F32 as Single, S8, S32, Tf32};
    static K8: Layout = Layout::new(8, 16, 32);
    static K16: Layout = Layout::new(16, 16, 32);
    static K8_HALF: Layout = Layout::new(8, 16, 16);
    static K16_HALF: Layout = Layout::new(16, 16, 16);
    static K4_TF32: Layout = Layout::new(4, 32, 32);
    static K8_TF32: Layout = Layout::new(8, 32, 32);

    let [16, 8, k] = shape else { return false };
    let (layout, format, out) = match (types, k) {
        ([Single, Bf16, Bf16, Single], 8) => (&K8, BF16, F32),
        ([Single, Bf16, Bf16, Single], 16) => (&K16, BF16, F32),
        ([Single, Half, Half, Single], 8) => (&K8, F16, F32),
        ([Single, Half, Half, Single], 16) => (&K16, F16, F32),
        ([Half, Half, Half, Half], 8) => (&K8_HALF, F16, F16),
        ([Half, Half, Half, Half], 16) => (&K16_HALF, F16, F16),
        ([Single, Tf32, Tf32, Single], 4) => (&K4_TF32, TF32, F32),
        ([Single, Tf32, Tf32, Single], 8) => (&K8_TF32, TF32, F32),
        ([S32, S8, S8, S32], 16 | 32) => return integers(k as usize, a, b, c, d),
        _ => return false,
    };
    let k = k as usize;
    let bits = if format == TF32 { 32 } else { 16 };
    if !fits(k, bits, out.bits() as usize, [a, b, c, d]) {
        return false;
    }
    let group = architecture.group(bits);
    let fractional = architecture.fractional_bits();
    #[cfg(target_arch = "x86_64")]
    if out == F32 && direct::products(format, fractional, group, [a, b, c], d) {
        return true;
    }
    let mask = if bits == 32 { 0x7_ffff } else { 0xffff };
    let left = gather(&layout.left, mask, a);
    let right = gather(&layout.right, mask, b);
    let mut sums = gather(&layout.accumulator, u32::MAX >> (32 - out.bits()), c);
    if out == F16 || !fast::products(format, fractional, k, group, &left, &right, &mut sums) {
        products(format, out, fractional, k, group, &left, &right, &mut sums);
    }
    scatter(&layout.accumulator, &sums, d);
    true
}

/// Whether the register counts of A, B, C and D are those of the shape.
fn fits(k: usize, bits: usize, accumulator_bits: usize, matrices: [&[[u32; 32]]; 4]) -> bool {
    let accumulator = Fragment::Accumulator { bits: accumulator_bits };
    let fragments = [Fragment::A { k, bits }, Fragment::B { k, bits }, accumulator, accumulator];
    fragments.iter().zip(matrices).all(|(fragment, registers)| fragment.registers() == registers.len())
}

/// Every sum by [`dot`], group after group.
#[allow(clippy::too_many_arguments, reason = "the model's constants and the three matrices")]
fn products(
    format: Format,
    out: Format,
    fractional: i32,
    k: usize,
    group: usize,
    left: &[[u32; 16]; 16],
    right: &[[u32; 8]; 16],
    sums: &mut [[u32; 8]; 16],
) {
    for (left, sums) in left.iter().zip(sums) {
        for (column, sum) in sums.iter_mut().enumerate() {
            for first in (0..k).step_by(group) {
                let terms = first..(first + group).min(k);
                let terms = terms.map(|i| (u64::from(left[i]), u64::from(right[i][column])));
                *sum = dot(format, out, fractional, terms, u64::from(*sum)) as u32;
            }
        }
    }
}

/// One group: the products of `terms` and `c` (in the format `out`), as the model says.
fn dot(
    format: Format,
    out: Format,
    fractional: i32,
    terms: impl Iterator<Item = (u64, u64)> + Clone,
    c: u64,
) -> u64 {
    // What is not finite: the exact products fit f64, and so no finite sum of them becomes infinite.
    let special = terms.clone().fold(out.widen(c), |sum, (x, y)| sum + format.widen(x) * format.widen(y));
    if special.is_nan() {
        return out.nan();
    }
    if special.is_infinite() {
        return out.infinity(special < 0.0);
    }
    let finite = |format: Format, bits| match format.decode(bits) {
        Value::Finite(exact) => exact,
        _ => Exact::zero(false),
    };
    // Significands as integers: the exponent of a term is that of its integer bits.
    let scaled = |exact: Exact, fraction_bits: i32| (exact, exact.exponent + fraction_bits, fraction_bits);
    let products = terms.map(|(x, y)| {
        let product = finite(format, x).mul(finite(format, y));
        scaled(product, 2 * format.fraction_bits() as i32)
    });
    let addend = scaled(finite(out, c), out.fraction_bits() as i32);
    let all = products.chain([addend]).filter(|(exact, ..)| exact.significand != 0);
    let largest = all.clone().fold(-126, |largest, (_, exponent, _)| largest.max(exponent));
    let mut sum = 0i64;
    for (exact, exponent, fraction_bits) in all {
        let magnitude = (exact.significand as i64) << (fractional - fraction_bits);
        let magnitude = magnitude >> (largest - exponent).min(63);
        sum += if exact.negative { -magnitude } else { magnitude };
    }
    let exact = Exact {
        negative: sum < 0,
        significand: u128::from(sum.unsigned_abs()),
        exponent: largest - fractional,
    };
    if out == F16 {
        return F16.encode(exact, Rounding::Nearest);
    }
    let length = 128 - exact.significand.leading_zeros() as i32;
    if exact.exponent + length > 128 {
        return F32.infinity(exact.negative);
    }
    F32.encode(exact, Rounding::Zero)
}

/// `mma` of s8: sums wrap.
fn integers(k: usize, a: &[[u32; 32]], b: &[[u32; 32]], c: &[[u32; 32]], d: &mut [[u32; 32]]) -> bool {
    static LEFT: [[[Source; 32]; 16]; 2] =
        [Fragment::A { k: 16, bits: 8 }.sources(0), Fragment::A { k: 32, bits: 8 }.sources(0)];
    static RIGHT: [[[Source; 8]; 32]; 2] =
        [Fragment::B { k: 16, bits: 8 }.sources(0), Fragment::B { k: 32, bits: 8 }.sources(0)];
    static ACCUMULATOR: [[Source; 8]; 16] = Fragment::Accumulator { bits: 32 }.sources(0);

    if !fits(k, 8, 32, [a, b, c, d]) {
        return false;
    }
    let left = gather(&LEFT[k / 32], 0xff, a);
    let right = gather(&RIGHT[k / 32], 0xff, b);
    let mut sums = gather(&ACCUMULATOR, u32::MAX, c);
    let signed = |bits: u32| i32::from(bits as i8);
    for (left, sums) in left.iter().zip(&mut sums) {
        for (&x, right) in left.iter().zip(&right) {
            for (sum, &y) in sums.iter_mut().zip(right) {
                *sum = sum.wrapping_add((signed(x) * signed(y)) as u32);
            }
        }
    }
    scatter(&ACCUMULATOR, &sums, d);
    true
}

//! The model against plain products, published vectors, f64 sums, and its two paths against each other.

use proptest::prelude::*;

use super::*;

const BOTH: [Architecture; 2] = [Architecture::Ampere, Architecture::Hopper];

/// Registers of a matrix given by element; elements are bit patterns.
fn pack(fragment: Fragment, element: impl Fn(usize, usize) -> u32) -> Vec<[u32; 32]> {
    let mut registers = vec![[0; 32]; fragment.registers()];
    let bits = 32 / fragment.packed();
    for (register, lanes) in registers.iter_mut().enumerate() {
        for (lane, value) in lanes.iter_mut().enumerate() {
            for part in 0..fragment.packed() {
                let place = fragment.place(lane, register, part);
                let element = element(place.row, place.column);
                *value |= if bits == 32 { element } else { (element & ((1 << bits) - 1)) << (bits * part) };
            }
        }
    }
    registers
}

/// One element of such registers.
fn at(fragment: Fragment, registers: &[[u32; 32]], row: usize, column: usize) -> u32 {
    for (register, lanes) in registers.iter().enumerate() {
        for (lane, value) in lanes.iter().enumerate() {
            for part in 0..fragment.packed() {
                let place = fragment.place(lane, register, part);
                if (place.row, place.column) == (row, column) {
                    let bits = 32 / fragment.packed();
                    return if bits == 32 { *value } else { value >> (bits * part) & ((1 << bits) - 1) };
                }
            }
        }
    }
    unreachable!("no such element")
}

/// A small integer as the bits of an element type.
fn number(ty: Matrix, value: i32) -> u32 {
    match ty {
        Matrix::F16 => u32::from(half::f16::from_f32(value as f32).to_bits()),
        Matrix::Bf16 => u32::from(half::bf16::from_f32(value as f32).to_bits()),
        Matrix::Tf32 | Matrix::F32 => (value as f32).to_bits(),
        Matrix::S8 | Matrix::S32 => value as u32,
    }
}

fn bits(ty: Matrix) -> usize {
    match ty {
        Matrix::S8 => 8,
        Matrix::F16 | Matrix::Bf16 => 16,
        Matrix::Tf32 | Matrix::F32 | Matrix::S32 => 32,
    }
}

use Matrix::{Bf16, F16 as Half, F32 as Single, S8, S32, Tf32};

const SHAPES: [(usize, [Matrix; 4]); 10] = [
    (8, [Single, Bf16, Bf16, Single]),
    (16, [Single, Bf16, Bf16, Single]),
    (8, [Single, Half, Half, Single]),
    (16, [Single, Half, Half, Single]),
    (8, [Half, Half, Half, Half]),
    (16, [Half, Half, Half, Half]),
    (4, [Single, Tf32, Tf32, Single]),
    (8, [Single, Tf32, Tf32, Single]),
    (16, [S32, S8, S8, S32]),
    (32, [S32, S8, S8, S32]),
];

/// Small integers are exact in every type, so every shape must give the plain product.
#[test]
fn products_of_integers_are_exact_in_every_shape() {
    for (k, types) in SHAPES {
        let value = |row: usize, column: usize, seed: usize| {
            ((row * 31 + column * 17 + row * column * 5 + seed) % 13) as i32 - 6
        };
        let (x, y) = (Fragment::A { k, bits: bits(types[1]) }, Fragment::B { k, bits: bits(types[2]) });
        let z = Fragment::Accumulator { bits: bits(types[0]) };
        let a = pack(x, |row, column| number(types[1], value(row, column, 1)));
        let b = pack(y, |row, column| number(types[2], value(row, column, 2)));
        let c = pack(z, |row, column| number(types[3], value(row, column, 3)));
        for architecture in BOTH {
            let mut d = vec![[7; 32]; z.registers()];
            assert!(mma([16, 8, k as u32], types, architecture, &a, &b, &c, &mut d), "{types:?} k{k}");
            for row in 0..16 {
                for column in 0..8 {
                    let product: i32 = (0..k).map(|i| value(row, i, 1) * value(i, column, 2)).sum();
                    let expected = number(types[0], product + value(row, column, 3));
                    assert_eq!(at(z, &d, row, column), expected, "{types:?} k{k} at {row}, {column}");
                }
            }
        }
    }
}

#[test]
fn shapes_and_counts_that_are_not_ptx_are_refused() {
    let types = [Single, Bf16, Bf16, Single];
    let (four, two) = ([[0; 32]; 4], [[0; 32]; 2]);
    let mut d = [[0; 32]; 4];
    assert!(mma([16, 8, 16], types, Architecture::Ampere, &four, &two, &four, &mut d));
    for shape in [[8, 8, 16], [16, 16, 16], [16, 8, 32], [16, 8, 8], [0, 0, 0]] {
        assert!(!mma(shape, types, Architecture::Ampere, &four, &two, &four, &mut d), "{shape:?}");
    }
    assert!(!mma(
        [16, 8, 16],
        [Single, Bf16, Half, Single],
        Architecture::Ampere,
        &four,
        &two,
        &four,
        &mut d
    ));
    assert!(!mma([16, 8, 16], types, Architecture::Ampere, &two, &two, &four, &mut d));
    assert!(!mma([16, 8, 16], [S32, S8, S8, S32], Architecture::Ampere, &four, &two, &four, &mut d));
}

#[test]
fn integer_sums_wrap() {
    let types = [S32, S8, S8, S32];
    let a = pack(Fragment::A { k: 16, bits: 8 }, |_, _| 127);
    let b = pack(Fragment::B { k: 16, bits: 8 }, |_, _| 127);
    let c = vec![[i32::MAX as u32; 32]; 4];
    let mut d = vec![[0; 32]; 4];
    assert!(mma([16, 8, 16], types, Architecture::Ampere, &a, &b, &c, &mut d));
    assert_eq!(d[0][0] as i32, i32::MIN + 16 * 127 * 127 - 1);
}

/// One dot product in row 0, column 0; all else zero.
fn one(architecture: Architecture, pairs: &[(f32, f32)], c: f32) -> f32 {
    let bf16 = |value: f32| {
        let bits = half::bf16::from_f32(value);
        assert_eq!(bits.to_f32(), value, "not a bf16");
        u32::from(bits.to_bits())
    };
    let pair = |i: usize| pairs.get(i).copied().unwrap_or((0.0, 0.0));
    let a = pack(Fragment::A { k: 16, bits: 16 }, |row, i| if row == 0 { bf16(pair(i).0) } else { 0 });
    let b = pack(Fragment::B { k: 16, bits: 16 }, |i, n| if n == 0 { bf16(pair(i).1) } else { 0 });
    let z = Fragment::Accumulator { bits: 32 };
    let c = pack(z, |row, n| if row + n == 0 { c.to_bits() } else { 0 });
    let mut d = vec![[0; 32]; 4];
    assert!(mma([16, 8, 16], [Single, Bf16, Bf16, Single], architecture, &a, &b, &c, &mut d));
    f32::from_bits(at(z, &d, 0, 0))
}

fn power(exponent: i32) -> f32 {
    2.0f32.powi(exponent)
}

/// The published vector: 1.5 × 1.5 keeps small terms that 2.25 × 1 (not normalised: exponent 1) loses.
#[test]
fn products_are_not_normalised() {
    let small = [(power(-23), 1.0), (power(-24), 1.0), (power(-24), 1.0)];
    let with = |first: (f32, f32)| {
        let pairs: Vec<_> = std::iter::once(first).chain(small).collect();
        one(Architecture::Ampere, &pairs, 0.0)
    };
    assert_eq!(with((1.5, 1.5)), 2.25 + power(-22));
    assert_eq!(with((2.25, 1.0)), 2.25);
}

/// Below F fractional bits of the largest term nothing counts, however much there is of it.
#[test]
fn terms_are_cut_before_they_are_added() {
    for (architecture, fractional) in [(Architecture::Ampere, 24), (Architecture::Hopper, 25)] {
        let pairs = |exponent: i32| -> Vec<_> {
            std::iter::once((1.0, 1.0)).chain(std::iter::repeat_n((power(exponent), 1.0), 7)).collect()
        };
        assert_eq!(one(architecture, &pairs(-fractional - 1), 0.0), 1.0);
        // Seven times the last bit that counts, cut to f32 in the end.
        let kept = (7.0 * power(-fractional) * power(23)).floor() * power(-23);
        assert_eq!(one(architecture, &pairs(-fractional), 0.0), 1.0 + kept);
        // Toward zero for negative sums too.
        let negative: Vec<_> = pairs(-fractional).iter().map(|(x, y)| (-x, *y)).collect();
        assert_eq!(one(architecture, &negative, 0.0), -1.0 - kept);
    }
}

/// The largest significands everywhere: on Hopper the aligned sum exceeds 31 bits.
#[test]
fn the_largest_sums_do_not_wrap() {
    let most = 255.0 / 128.0;
    for architecture in BOTH {
        for sign in [1.0, -1.0] {
            let sum = one(architecture, &[(most, sign * most); 16], sign * most);
            assert_eq!(sum, sign * (16.0 * most * most + most), "{architecture:?}");
        }
    }
}

/// Ampere adds k16 as two groups, Hopper as one: a sum that cancels across the middle tells them apart.
#[test]
fn ampere_adds_two_groups_and_hopper_one() {
    let mut pairs = [(0.0, 0.0); 16];
    pairs[0] = (1.0, 1.0);
    pairs[1] = (power(-24), 1.0);
    pairs[8] = (-1.0, 1.0);
    assert_eq!(one(Architecture::Ampere, &pairs, 0.0), 0.0);
    assert_eq!(one(Architecture::Hopper, &pairs, 0.0), power(-24));
}

#[test]
fn subnormals_count_and_what_overflows_is_infinite() {
    for architecture in BOTH {
        assert_eq!(one(architecture, &[(power(-133), 1.0)], 0.0), power(-133));
        assert_eq!(one(architecture, &[(power(-75), power(-74))], 0.0), power(-149));
        assert_eq!(one(architecture, &[(power(-75), power(-75))], 0.0), 0.0);
        assert_eq!(one(architecture, &[(power(127), 1.0), (power(127), 1.0)], 0.0), f32::INFINITY);
        assert_eq!(one(architecture, &[(power(127), -2.0)], 0.0), f32::NEG_INFINITY);
        // Finite on the way: the exact products cancel although neither fits f32.
        assert_eq!(one(architecture, &[(power(127), 2.0), (power(127), -2.0)], 5.0), 0.0);
        assert_eq!(one(architecture, &[(1.0, 1.0)], f32::MAX), f32::MAX);
        let zero = one(architecture, &[(1.0, 1.0), (-1.0, 1.0)], -0.0);
        assert_eq!(zero.to_bits(), 0);
    }
}

#[test]
fn what_is_not_finite_follows_ieee_and_nan_is_canonical() {
    let infinity = f32::INFINITY;
    for architecture in BOTH {
        assert_eq!(one(architecture, &[(infinity, 2.0)], 1.0), infinity);
        assert_eq!(one(architecture, &[(1.0, 2.0)], -infinity), -infinity);
        for (pairs, c) in [
            ([(infinity, 0.0), (1.0, 1.0)], 0.0),
            ([(infinity, 1.0), (infinity, -1.0)], 0.0),
            ([(infinity, 1.0), (1.0, 1.0)], -infinity),
            ([(1.0, 1.0), (1.0, 1.0)], f32::NAN),
        ] {
            assert_eq!(one(architecture, &pairs, c).to_bits(), 0x7fff_ffff, "{pairs:?} + {c}");
        }
        // An overflow of the first group meets the second as an infinity where there are two.
        let mut pairs = [(0.0, 0.0); 16];
        pairs[0] = (power(127), 2.0);
        pairs[8] = (power(127), -2.0);
        let expected = if architecture == Architecture::Ampere { infinity } else { 0.0 };
        assert_eq!(one(architecture, &pairs, 0.0), expected);
    }
}

/// Sums in the host's f64 differ from the model by no more than what is cut: one unit of the aligned terms
/// each, and one of the result, a group.
fn error_bound(architecture: Architecture, terms: &[f64]) -> f64 {
    let largest = terms.iter().fold(f64::MIN_POSITIVE, |largest, term| largest.max(term.abs()));
    let groups = if architecture == Architecture::Ampere { 2.0 } else { 1.0 };
    // A group's sums reach 17 times its largest term.
    groups * largest * (17.0 + 64.0) * f64::from(power(-23)) + f64::from(power(-149))
}

fn elements(count: usize) -> impl Strategy<Value = Vec<u32>> {
    let pattern = prop_oneof![
        8 => 0u32..0x1_0000,
        6 => (0u32..2, 120u32..134, 0u32..128).prop_map(|(s, e, f)| s << 15 | e << 7 | f),
        1 => Just(0u32),
        1 => Just(0x8000u32),
    ];
    prop::collection::vec(pattern, count)
}

fn addends() -> impl Strategy<Value = Vec<u32>> {
    let pattern = prop_oneof![
        4 => any::<u32>(),
        6 => (0u32..2, 100u32..150, 0u32..1 << 23).prop_map(|(s, e, f)| s << 31 | e << 23 | f),
        1 => Just(0u32),
    ];
    prop::collection::vec(pattern, 128)
}

fn finite(bits: u32, greatest: u32, shift: u32) -> u32 {
    if bits >> shift & greatest == greatest { bits & !(1 << shift) } else { bits }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The path of eight columns is the scalar model, for every format, group and pattern of bits.
    #[test]
    fn both_paths_give_the_same_bits(
        x in elements(256), y in elements(128), z in addends(), finite_only in any::<bool>()
    ) {
        for (format, bits) in [(BF16, 16), (F16, 16), (TF32, 32)] {
            // f16 and tf32 read the same patterns; where wanted, without infinities and NaN.
            let (greatest, shift) = if format == F16 { (31, 10) } else { (255, format.fraction_bits()) };
            let widened = |bits: u32| if format == TF32 { bits << 3 } else { bits };
            let shaped = |bits: u32| {
                if finite_only { finite(widened(bits), greatest, shift) } else { widened(bits) }
            };
            let left = std::array::from_fn(|m| std::array::from_fn(|i| shaped(x[m * 16 + i])));
            let right = std::array::from_fn(|i| std::array::from_fn(|n| shaped(y[i * 8 + n])));
            let start: [[u32; 8]; 16] = std::array::from_fn(|m| {
                std::array::from_fn(|n| {
                    if finite_only { finite(z[m * 8 + n], 255, 23) } else { z[m * 8 + n] }
                })
            });
            for architecture in BOTH {
                for k in [4, 8, 16] {
                    let (fractional, group) = (architecture.fractional_bits(), architecture.group(bits));
                    let (mut expected, mut result) = (start, start);
                    products(format, F32, fractional, k, group, &left, &right, &mut expected);
                    let mut portable = start;
                    fast::portable(format, fractional, k, group, &left, &right, &mut portable);
                    let done = fast::products(format, fractional, k, group, &left, &right, &mut result);
                    prop_assert_eq!(&portable, &result, "AVX2 and the baseline");
                    if done {
                        prop_assert_eq!(&result, &expected, "{:?} {:?} k{}", format, architecture, k);
                    } else {
                        prop_assert_eq!(&result, &start);
                    }
                }
            }
        }
    }

    /// The path straight from registers is the scalar model wherever it serves, and it serves ordinary numbers.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_direct_path_gives_the_models_bits(
        x in elements(256), y in elements(128), z in addends(), ordinary in any::<bool>(), apart in 0u32..3
    ) {
        for (format, ty) in [(BF16, Bf16), (F16, Half)] {
            let (greatest, shift, bias) = if format == F16 { (31, 10, 15) } else { (255, 7, 127) };
            // Exponents around 1, or anywhere; A's and B's set apart so that products reach the ends of the room.
            let shaped = |bits: u32, by: i32| {
                if !ordinary {
                    return finite(bits, greatest, shift);
                }
                let exponent = bias + by + (bits >> shift) as i32 % 8;
                bits & !(greatest << shift) | (exponent as u32) << shift
            };
            let by = if format == F16 { 0 } else { [0, -32, 55][apart as usize] };
            let left = std::array::from_fn(|m| std::array::from_fn(|i| shaped(x[m * 16 + i], by)));
            let right = std::array::from_fn(|i| std::array::from_fn(|n| shaped(y[i * 8 + n], by)));
            let start: [[u32; 8]; 16] = std::array::from_fn(|m| {
                std::array::from_fn(|n| {
                    let c = z[m * 8 + n];
                    if ordinary { c & 0x807f_ffff | (120 + c % 16) << 23 } else { finite(c, 255, 23) }
                })
            });
            for architecture in BOTH {
                for k in [8, 16] {
                    let (fractional, group) = (architecture.fractional_bits(), architecture.group(16));
                    let mut expected = start;
                    products(format, F32, fractional, k, group, &left, &right, &mut expected);
                    let a = pack(Fragment::A { k, bits: 16 }, |m, i| left[m][i]);
                    let b = pack(Fragment::B { k, bits: 16 }, |i, n| right[i][n]);
                    let z = Fragment::Accumulator { bits: 32 };
                    let c = pack(z, |m, n| start[m][n]);
                    let mut d = vec![[0x5555_5555; 32]; 4];
                    let done = direct::products(format, fractional, group, [&a, &b, &c], &mut d);
                    if ordinary && apart == 0 && is_x86_feature_detected!("avx2") {
                        prop_assert!(done, "{:?} are ordinary", format);
                    }
                    for row in 0..16 {
                        for column in 0..8 {
                            let expected = if done { expected[row][column] } else { 0x5555_5555 };
                            prop_assert_eq!(at(z, &d, row, column), expected, "{:?} k{} {},{}", ty, k, row, column);
                        }
                    }
                }
            }
        }
    }

    /// Against plain f64 arithmetic, with the error that truncation allows.
    #[test]
    fn sums_are_those_of_f64_up_to_what_is_cut(x in elements(16), y in elements(16), z in any::<f32>()) {
        let bf16 = |bits: &u32| {
            let value = f32::from_bits(finite(*bits, 255, 7) << 16);
            // Moderate exponents, so that nothing overflows.
            f32::from_bits(value.to_bits() & 0xbfff_ffff | 0x2000_0000)
        };
        prop_assume!(z.is_finite());
        let z = f32::from_bits(z.to_bits() & 0xbfff_ffff | 0x2000_0000);
        let pairs: Vec<_> = x.iter().map(bf16).zip(y.iter().map(bf16)).collect();
        let mut terms: Vec<_> = pairs.iter().map(|(x, y)| f64::from(*x) * f64::from(*y)).collect();
        terms.push(f64::from(z));
        let exact: f64 = terms.iter().sum();
        for architecture in BOTH {
            let error = (f64::from(one(architecture, &pairs, z)) - exact).abs();
            let bound = error_bound(architecture, &terms);
            prop_assert!(error <= bound, "off by {error:e}, allowed {bound:e}");
        }
    }
}

//! Every operation against the oracle in every format and rounding, 16-bit types against `half` over all values.

use half::{bf16, f16};
use proptest::prelude::*;

use super::super::oracle::{self, DIRECTED, Fixed, Shape, patterns, round, round_fixed};
use super::*;

const FORMATS: [(Format, Shape, Option<Type>); 4] = [
    (F16, oracle::F16, Some(Type::F16)),
    (BF16, oracle::BF16, Some(Type::Bf16)),
    (F32, oracle::F32, Some(Type::F32)),
    (F64, oracle::F64, Some(Type::F64)),
];

/// a × b + c exactly, for finite operands: sign and magnitude; an exact zero has the sign PTX gives it.
fn exact_sum(shape: Shape, rounding: Rounding, a: u64, b: u64, c: u64) -> (bool, Fixed) {
    let negative = |bits: u64| bits & shape.sign() != 0;
    let value = |bits: u64| shape.value(shape.magnitude(bits));
    let ((x, x_exponent), (y, y_exponent), (z, z_exponent)) = (value(a), value(b), value(c));
    let product = Fixed::new(x * y, x_exponent + y_exponent);
    let addend = Fixed::new(z, z_exponent);
    let (first, second) = (negative(a) != negative(b), negative(c));
    if first == second {
        return (first, product.add(&addend));
    }
    let difference = product.apart(&addend);
    if difference.is_zero() {
        return (rounding == Rounding::Down, difference);
    }
    (if product.order(&addend).is_gt() { first } else { second }, difference)
}

/// What f64 says of operands that are not all finite; rounding plays no part there.
fn special(format: Format, value: f64, operands: &[u64]) -> u64 {
    if value.is_nan() {
        return if format == F64 { format.nan_of(operands) } else { format.nan() };
    }
    if value.is_infinite() {
        return format.infinity(value < 0.0);
    }
    if value == 0.0 {
        return if value.is_sign_negative() { format.sign() } else { 0 };
    }
    // A finite operand beside an infinity never is the result, except for min and max.
    unreachable!("{value}")
}

fn wide(format: Format, bits: u64) -> f64 {
    if format == F64 { f64::from_bits(bits) } else { format.widen(bits) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8000))]

    #[test]
    fn sums_and_products_round_as_the_exact_value(
        which in 0..4usize,
        (a, b, c) in (patterns(oracle::F64), patterns(oracle::F64), patterns(oracle::F64)),
        (d, e, f) in (patterns(oracle::F32), patterns(oracle::F32), patterns(oracle::F32)),
        (g, h, i) in (patterns(oracle::F16), patterns(oracle::F16), patterns(oracle::F16)),
        (j, k, l) in (patterns(oracle::BF16), patterns(oracle::BF16), patterns(oracle::BF16)),
    ) {
        let (format, shape, _) = FORMATS[which];
        let [a, b, c] = [[g, h, i], [j, k, l], [d, e, f], [a, b, c]][which];
        let (x, y, z) = (wide(format, a), wide(format, b), wide(format, c));
        let one = format.one();
        for rounding in DIRECTED {
            let down = rounding == Rounding::Down;
            let check = |name: &str, result: u64, expected: u64| {
                prop_assert_eq!(result, expected, "{} {:?} {:?} of {:x} {:x} {:x}", name, shape, rounding, a, b, c);
                Ok(())
            };
            let sum = if shape.finite(a) && shape.finite(b) {
                let (negative, magnitude) = exact_sum(shape, rounding, a, one, b);
                round_fixed(shape, negative, rounding, &magnitude)
            } else {
                special(format, x + y, &[a, b])
            };
            check("add", add(format, rounding, a, b), sum)?;
            let product = if shape.finite(a) && shape.finite(b) {
                // −0 as the addend keeps the sign of a zero product.
                let zero = if (a ^ b) & format.sign() != 0 { format.sign() } else { 0 };
                let (negative, magnitude) = exact_sum(shape, rounding, a, b, zero);
                round_fixed(shape, negative, rounding, &magnitude)
            } else {
                special(format, x * y, &[a, b])
            };
            check("mul", multiply(format, rounding, a, b), product)?;
            let fused = if [a, b, c].iter().all(|bits| shape.finite(*bits)) {
                let (negative, magnitude) = exact_sum(shape, rounding, a, b, c);
                if magnitude.is_zero() && down != negative && (a ^ b) & format.sign() == c & format.sign() {
                    if negative { format.sign() } else { 0 }
                } else {
                    round_fixed(shape, negative, rounding, &magnitude)
                }
            } else if shape.finite(c) || !shape.finite(a) || !shape.finite(b) {
                // A product of finite numbers could overflow f64 here, an infinite one is itself.
                special(format, x * y + if shape.finite(c) { 0.0 } else { z }, &[a, b, c])
            } else {
                special(format, z, &[a, b, c])
            };
            check("fma", multiply_add(format, rounding, a, b, c), fused)?;
        }
    }

    #[test]
    fn quotients_and_roots_round_as_the_exact_value(
        which in 0..4usize,
        (a, b) in (patterns(oracle::F64), patterns(oracle::F64)),
        (c, d) in (patterns(oracle::F32), patterns(oracle::F32)),
        (e, f) in (patterns(oracle::F16), patterns(oracle::F16)),
        (g, h) in (patterns(oracle::BF16), patterns(oracle::BF16)),
    ) {
        let (format, shape, _) = FORMATS[which];
        let [a, b] = [[e, f], [g, h], [c, d], [a, b]][which];
        let (x, y) = (wide(format, a), wide(format, b));
        let ((p, p_exponent), (q, q_exponent)) =
            (shape.value(shape.magnitude(a)), shape.value(shape.magnitude(b)));
        let negative = (a ^ b) & format.sign() != 0;
        for rounding in DIRECTED {
            let quotient = if shape.finite(a) && shape.finite(b) && p != 0 && q != 0 {
                // candidate · b against a.
                let dividend = Fixed::new(p, p_exponent);
                round(shape, negative, rounding, |integer, exponent| {
                    Fixed::new(integer * q, exponent + q_exponent).order(&dividend)
                })
            } else {
                special(format, x / y, &[a, b])
            };
            prop_assert_eq!(
                divide(format, rounding, a, b), quotient, "div {:?} {:?} of {:x} {:x}", shape, rounding, a, b
            );
            let root = if shape.finite(a) && p != 0 && x > 0.0 {
                let square = Fixed::new(p, p_exponent);
                round(shape, false, rounding, |integer, exponent| {
                    Fixed::new(integer * integer, 2 * exponent).order(&square)
                })
            } else {
                special(format, x.sqrt(), &[a])
            };
            prop_assert_eq!(sqrt(format, rounding, a), root, "sqrt {:?} {:?} of {:x}", shape, rounding, a);
        }
    }

    /// To nearest, the exact arithmetic that serves the other roundings must agree with the host's.
    #[test]
    fn the_exact_route_is_the_hosts_to_nearest(
        (a, b, c) in (patterns(oracle::F64), patterns(oracle::F64), patterns(oracle::F64))
    ) {
        // What is not finite becomes subnormal or zero.
        let [a, b, c] = [a, b, c].map(|bits| if oracle::F64.finite(bits) { bits } else { bits & !(0x7ff << 52) });
        let decode = |bits: u64| match F64.decode(bits) {
            Value::Finite(exact) => exact,
            _ => Exact::zero(false),
        };
        let (x, y, z) = (f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
        let (p, q, r) = (decode(a), decode(b), decode(c));
        let nearest = |exact: Exact| F64.encode(exact, Rounding::Nearest);
        prop_assert_eq!(nearest(p.add(q, false)), (x + y).to_bits());
        prop_assert_eq!(nearest(p.mul(q)), (x * y).to_bits());
        prop_assert_eq!(nearest(p.mul(q).add(r, false)), x.mul_add(y, z).to_bits());
        if x != 0.0 && y != 0.0 {
            prop_assert_eq!(nearest(p.div(q)), (x / y).to_bits());
        }
        if x > 0.0 {
            prop_assert_eq!(nearest(p.sqrt()), x.sqrt().to_bits());
        }
    }

    /// `.ftz` is: operands flushed, plain arithmetic, result flushed. `.sat` clamps, and turns NaN into +0.
    #[test]
    fn flushing_and_saturation_wrap_the_plain_operation(
        a in patterns(oracle::F32), b in patterns(oracle::F32), c in patterns(oracle::F32)
    ) {
        let flush = |bits: u64| {
            let value = f32::from_bits(bits as u32);
            u64::from(if value.is_subnormal() { 0f32.copysign(value).to_bits() } else { bits as u32 })
        };
        for rounding in DIRECTED {
            for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Min { nan: true }] {
                let plain = arithmetic(op, Type::F32, rounding, false, false, flush(a), flush(b));
                let flushed = arithmetic(op, Type::F32, rounding, true, false, a, b);
                prop_assert_eq!(flushed, plain.map(flush));
            }
            let plain = fma(Type::F32, rounding, false, false, false, a, b, c).unwrap();
            let value = f32::from_bits(plain as u32);
            let clamped = if value > 0.0 { value.min(1.0) } else { 0.0 };
            let saturated = fma(Type::F32, rounding, false, true, false, a, b, c);
            prop_assert_eq!(saturated, Some(u64::from(clamped.to_bits())));
        }
    }

    #[test]
    fn comparisons_are_those_of_the_numbers(a in patterns(oracle::F32), b in patterns(oracle::F32)) {
        let (x, y) = (f32::from_bits(a as u32), f32::from_bits(b as u32));
        let nan = x.is_nan() || y.is_nan();
        let expected = [
            (Compare::Eq, x == y), (Compare::Ne, !nan && x != y), (Compare::Lt, x < y), (Compare::Le, x <= y),
            (Compare::Gt, x > y), (Compare::Ge, x >= y), (Compare::Equ, nan || x == y), (Compare::Neu, x != y),
            (Compare::Ltu, nan || x < y), (Compare::Leu, nan || x <= y), (Compare::Gtu, nan || x > y),
            (Compare::Geu, nan || x >= y), (Compare::Num, !nan), (Compare::Nan, nan),
        ];
        for (op, expected) in expected {
            prop_assert_eq!(compare(op, Type::F32, false, a, b), expected, "{:?} {:x} {:x}", op, a, b);
            let double = |value: f32| f64::from(value).to_bits();
            prop_assert_eq!(compare(op, Type::F64, false, double(x), double(y)), expected);
        }
        let flush = |value: f32| if value.is_subnormal() { 0.0 } else { value };
        prop_assert_eq!(compare(Compare::Eq, Type::F32, true, a, b), flush(x) == flush(y));
    }
}

/// Partners of the exhaustive tests: the ends of every range, and 60 others.
fn partners() -> impl Iterator<Item = u16> + Clone {
    let ends =
        [0, 1, 0x3ff, 0x400, 0x7f, 0x80, 0x3c00, 0x3f80, 0x7bff, 0x7c00, 0x7c01, 0x7f7f, 0x7f80, 0x7fff];
    let others = (0u16..60).map(|i| i.wrapping_mul(40_503).wrapping_add(i >> 3));
    ends.into_iter().flat_map(|bits| [bits, bits | 0x8000]).chain(others)
}

fn canonical(bits: u16, nan: bool) -> u64 {
    if nan { 0x7fff } else { u64::from(bits) }
}

/// f32 has more than twice the digits of f16 and bf16, and two more: rounding twice rounds once.
#[test]
fn sums_and_products_of_16_bits_are_those_of_half_for_all_operands() {
    for b in partners() {
        for a in 0..=u16::MAX {
            let (x, y) = (f16::from_bits(a), f16::from_bits(b));
            let (p, q) = (bf16::from_bits(a), bf16::from_bits(b));
            let (wide_x, wide_y, wide_p, wide_q) = (x.to_f32(), y.to_f32(), p.to_f32(), q.to_f32());
            let (a, b) = (u64::from(a), u64::from(b));
            let f16_of = |value: f32| canonical(f16::from_f32(value).to_bits(), value.is_nan());
            let bf16_of = |value: f32| canonical(bf16::from_f32(value).to_bits(), value.is_nan());
            let pair = (a << 16 | b, b << 16 | a);
            for (op, half, brain) in [
                (Binary::Add, f16_of(wide_x + wide_y), bf16_of(wide_p + wide_q)),
                (Binary::Mul, f16_of(wide_x * wide_y), bf16_of(wide_p * wide_q)),
            ] {
                let of = |ty| arithmetic(op, ty, Rounding::Nearest, false, false, a, b);
                assert_eq!(of(Type::F16), Some(half), "{op:?} f16 {a:x} {b:x}");
                assert_eq!(of(Type::Bf16), Some(brain), "{op:?} bf16 {a:x} {b:x}");
                if a % 64 == b % 64 {
                    let of = |ty| arithmetic(op, ty, Rounding::Nearest, false, false, pair.0, pair.1);
                    assert_eq!(of(Type::F16x2), Some(half << 16 | half));
                    assert_eq!(of(Type::Bf16x2), Some(brain << 16 | brain));
                }
            }
        }
    }
}

/// Below the other in the order −∞ … −0, +0 … ∞.
fn below(a: f32, b: f32) -> bool {
    a < b || (a == b && a.is_sign_negative() && b.is_sign_positive())
}

#[test]
fn least_greatest_sign_and_order_of_16_bits_for_all_operands() {
    for b in partners() {
        for a in 0..=u16::MAX {
            for (ty, x, y) in [
                (Type::F16, f16::from_bits(a).to_f32(), f16::from_bits(b).to_f32()),
                (Type::Bf16, bf16::from_bits(a).to_f32(), bf16::from_bits(b).to_f32()),
            ] {
                let (p, q) = (u64::from(a), u64::from(b));
                let of = |op| arithmetic(op, ty, Rounding::Nearest, false, false, p, q);
                let nan = x.is_nan() || y.is_nan();
                let (least, greatest) = match (x.is_nan(), y.is_nan()) {
                    (true, true) => (0x7fff, 0x7fff),
                    (true, false) => (q, q),
                    (false, true) => (p, p),
                    _ if below(x, y) => (p, q),
                    _ => (q, p),
                };
                assert_eq!(of(Binary::Min { nan: false }), Some(least), "{ty:?} min {a:x} {b:x}");
                assert_eq!(of(Binary::Max { nan: false }), Some(greatest), "{ty:?} max {a:x} {b:x}");
                let (least, greatest) = if nan { (0x7fff, 0x7fff) } else { (least, greatest) };
                assert_eq!(of(Binary::Min { nan: true }), Some(least));
                assert_eq!(of(Binary::Max { nan: true }), Some(greatest));
                assert_eq!(compare(Compare::Lt, ty, false, p, q), x < y);
                assert_eq!(compare(Compare::Geu, ty, false, p, q), nan || x >= y);
            }
        }
    }
}

#[test]
fn signs_and_fused_sums_of_16_bits_for_all_operands() {
    for a in 0..=u16::MAX {
        for (ty, format, value) in
            [(Type::F16, F16, f16::from_bits(a).to_f64()), (Type::Bf16, BF16, bf16::from_bits(a).to_f64())]
        {
            let bits = u64::from(a);
            assert!(format.widen(bits) == value || value.is_nan(), "{ty:?} {a:x}");
            assert_eq!(format.widen(bits).is_sign_negative(), a >> 15 == 1);
            let of = |op| unary(op, ty, Rounding::Nearest, false, bits);
            let signed = |bits| Some(canonical(bits, value.is_nan()));
            assert_eq!(of(Unary::Abs), signed(a & 0x7fff));
            assert_eq!(of(Unary::Neg), signed(a ^ 0x8000));
            // a × 1 + 0 is a (and +0 for −0); with .relu nothing negative remains.
            let fused = |relu| fma(ty, Rounding::Nearest, false, false, relu, bits, format.one(), 0);
            assert_eq!(fused(false), signed(if a == 0x8000 { 0 } else { a }));
            assert_eq!(fused(true), signed(if value < 0.0 || a == 0x8000 { 0 } else { a }));
        }
    }
}

#[test]
fn nan_results_are_canonical_and_f64_keeps_the_first_payload() {
    let nearest = |op, ty, a: u64, b: u64| arithmetic(op, ty, Rounding::Nearest, false, false, a, b);
    let single = 0xffc1_2345;
    assert_eq!(nearest(Binary::Add, Type::F32, single, 0), Some(0x7fff_ffff));
    assert_eq!(nearest(Binary::Sub, Type::F32, 0x7f80_0000, 0x7f80_0000), Some(0x7fff_ffff));
    assert_eq!(unary(Unary::Neg, Type::F32, Rounding::Nearest, false, single), Some(0x7fff_ffff));
    assert_eq!(canonical_f32(f32::NAN), 0x7fff_ffff);
    let (signalling, quiet) = (0x7ff0_0000_0000_0123, 0x7ff8_0000_0000_0123);
    assert_eq!(nearest(Binary::Add, Type::F64, 0, signalling), Some(quiet));
    assert_eq!(nearest(Binary::Mul, Type::F64, signalling, u64::MAX), Some(quiet));
    assert_eq!(nearest(Binary::Sub, Type::F64, 0, signalling), Some(quiet));
    assert_eq!(nearest(Binary::Div, Type::F64, 0, 0), Some(0xfff8_0000_0000_0000));
    assert_eq!(
        unary(Unary::Abs, Type::F64, Rounding::Nearest, false, signalling | 1 << 63),
        Some(signalling)
    );
}

#[test]
fn copysign_takes_the_sign_of_the_first_operand() {
    let bits = |value: f32| u64::from(value.to_bits());
    let of = arithmetic(Binary::CopySign, Type::F32, Rounding::Nearest, false, false, bits(-1.0), bits(2.0));
    assert_eq!(of, Some(bits(-2.0)));
}

#[test]
fn what_ptx_does_not_have_is_refused() {
    let refused =
        |op, ty, rounding, flush, saturate| arithmetic(op, ty, rounding, flush, saturate, 0, 0).is_none();
    let nearest = Rounding::Nearest;
    assert!(refused(Binary::Add, Type::S32, nearest, false, false));
    assert!(refused(Binary::Add, Type::F16, Rounding::Zero, false, false));
    assert!(refused(Binary::Add, Type::F32, Rounding::NearestAway, false, false));
    assert!(refused(Binary::Add, Type::F64, nearest, true, false));
    assert!(refused(Binary::Add, Type::F64, nearest, false, true));
    assert!(refused(Binary::Add, Type::Bf16x2, nearest, true, false));
    assert!(refused(Binary::Div, Type::F16, nearest, false, false));
    assert!(refused(Binary::DivFull, Type::F64, nearest, false, false));
    assert!(refused(Binary::Min { nan: true }, Type::F64, nearest, false, false));
    assert!(refused(Binary::Min { nan: false }, Type::F32, nearest, false, true));
    assert!(refused(Binary::And, Type::F32, nearest, false, false));
    assert!(unary(Unary::Popc, Type::F32, nearest, false, 0).is_none());
    assert!(unary(Unary::Rcp { approximate: false }, Type::F16, nearest, false, 0).is_none());
    assert!(unary(Unary::Ex2, Type::F64, nearest, false, 0).is_none());
    assert!(fma(Type::F32, nearest, false, false, true, 0, 0, 0).is_none());
    assert!(fma(Type::U32, nearest, false, false, false, 0, 0, 0).is_none());
}

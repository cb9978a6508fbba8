//! The manual's tables of special operands, exact points, all 16-bit operands, and what deviations admit.

use half::{bf16, f16};

use super::super::oracle::{self, Fixed, Shape};
use super::super::unary;
use super::*;

fn of(op: Unary, flush: bool, value: f32) -> f32 {
    let bits = unary(op, Type::F32, Rounding::Nearest, flush, u64::from(value.to_bits()));
    f32::from_bits(bits.unwrap() as u32)
}

const RCP: Unary = Unary::Rcp { approximate: true };
const SQRT: Unary = Unary::Sqrt { approximate: true };

#[test]
fn special_operands_are_those_of_the_manual() {
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    let table = [
        (Unary::Ex2, [(-infinity, 0.0), (-0.0, 1.0), (0.0, 1.0), (infinity, infinity)]),
        (Unary::Lg2, [(-infinity, nan), (-0.0, -infinity), (0.0, -infinity), (infinity, infinity)]),
        (Unary::Sin, [(-infinity, nan), (-0.0, -0.0), (0.0, 0.0), (infinity, nan)]),
        (Unary::Cos, [(-infinity, nan), (-0.0, 1.0), (0.0, 1.0), (infinity, nan)]),
        (Unary::Tanh, [(-infinity, -1.0), (-0.0, -0.0), (0.0, 0.0), (infinity, 1.0)]),
        (RCP, [(-infinity, -0.0), (-0.0, -infinity), (0.0, infinity), (infinity, 0.0)]),
        (SQRT, [(-infinity, nan), (-0.0, -0.0), (0.0, 0.0), (infinity, infinity)]),
        (Unary::Rsqrt, [(-infinity, nan), (-0.0, -infinity), (0.0, infinity), (infinity, 0.0)]),
    ];
    for (op, points) in table {
        for (value, expected) in points {
            let result = of(op, false, value);
            let canonical = if expected.is_nan() { 0x7fff_ffff } else { expected.to_bits() };
            assert_eq!(result.to_bits(), canonical, "{op:?} of {value}");
        }
        assert_eq!(of(op, false, -nan).to_bits(), 0x7fff_ffff, "{op:?}");
    }
    for op in [Unary::Lg2, SQRT, Unary::Rsqrt] {
        assert!(of(op, false, -1.0).is_nan());
    }
}

#[test]
fn exact_points_are_exact() {
    for i in -149..128 {
        let power = 2f64.powi(i) as f32;
        assert_eq!(of(Unary::Ex2, false, i as f32), power, "2^{i}");
        assert_eq!(of(Unary::Lg2, false, power), i as f32);
        if (-126..=126).contains(&i) {
            assert_eq!(of(RCP, false, power) * power, 1.0);
        }
        if i % 2 == 0 {
            assert_eq!(of(SQRT, false, power), 2f32.powi(i / 2));
            assert_eq!(of(Unary::Rsqrt, false, power), 2f32.powi(-i / 2));
        }
    }
    assert_eq!(of(Unary::Ex2, false, 128.0), f32::INFINITY);
    assert_eq!(of(Unary::Ex2, false, -150.0), 0.0);
}

#[test]
fn subnormals_are_kept_or_flushed() {
    let least = f32::from_bits(1);
    assert_eq!(of(Unary::Ex2, false, -149.0), least);
    assert_eq!(of(Unary::Ex2, true, -149.0), 0.0);
    assert_eq!(of(Unary::Lg2, false, least), -149.0);
    assert_eq!(of(Unary::Lg2, true, least), f32::NEG_INFINITY);
    assert_eq!(of(RCP, true, -least), f32::NEG_INFINITY);
    assert_eq!(of(RCP, false, f32::MAX), f32::from_bits(0x0020_0000));
    assert_eq!(of(RCP, true, -f32::MAX).to_bits(), 0x8000_0000);
    assert_eq!(of(Unary::Tanh, false, least), least);
    assert_eq!(of(Unary::Sin, false, least), least);
}

/// An f64 in a 16-bit format, rounded once.
fn rounded(shape: Shape, value: f64) -> u64 {
    let (bits, negative) = (value.abs().to_bits(), value.is_sign_negative());
    if value.is_infinite() {
        return shape.infinity() | if negative { shape.sign() } else { 0 };
    }
    let (integer, exponent) = oracle::F64.value(bits);
    oracle::round_fixed(shape, negative, Rounding::Nearest, &Fixed::new(integer, exponent))
}

/// Rounded values of the platform's f64 functions, for every operand of 16 bits.
#[test]
fn halves_are_the_nearest_to_the_true_value() {
    for bits in 0..=u16::MAX {
        let half = |op, ty| unary(op, ty, Rounding::Nearest, false, u64::from(bits)).unwrap();
        let (x, y) = (f16::from_bits(bits).to_f64(), bf16::from_bits(bits).to_f64());
        if !x.is_nan() {
            assert_eq!(half(Unary::Ex2, Type::F16), rounded(oracle::F16, x.exp2()), "2^{x}");
            assert_eq!(half(Unary::Tanh, Type::F16), rounded(oracle::F16, x.tanh()), "tanh {x}");
        }
        if !y.is_nan() {
            assert_eq!(half(Unary::Tanh, Type::Bf16), rounded(oracle::BF16, y.tanh()), "tanh {y}");
            let flush = |value: f64| if value.abs() < f64::from(f32::MIN_POSITIVE) { 0.0 } else { value };
            let ex2 = unary(Unary::Ex2, Type::Bf16, Rounding::Nearest, true, u64::from(bits));
            assert_eq!(ex2, Some(rounded(oracle::BF16, flush(flush(y).exp2()))), "2^{y}");
        }
        let pair = u64::from(bits) << 16 | 0x3c00;
        let ex2 = unary(Unary::Ex2, Type::F16x2, Rounding::Nearest, false, pair);
        assert_eq!(ex2, Some(half(Unary::Ex2, Type::F16) << 16 | 0x4000));
    }
}

#[test]
fn divisions_follow_the_manual_above_two_to_the_126() {
    let divide = |op, a: f32, b: f32| {
        let (a, b) = (u64::from(a.to_bits()), u64::from(b.to_bits()));
        let bits = super::super::arithmetic(op, Type::F32, Rounding::Nearest, false, false, a, b);
        f32::from_bits(bits.unwrap() as u32)
    };
    let large = 1.5 * 2f32.powi(126);
    assert_eq!(divide(Binary::DivApprox, 6.0, 2.0), 3.0);
    assert_eq!(divide(Binary::DivApprox, -6.0, large).to_bits(), 0x8000_0000);
    assert_eq!(divide(Binary::DivApprox, f32::INFINITY, large).to_bits(), 0x7fff_ffff);
    assert_eq!(divide(Binary::DivApprox, 6.0, 2f32.powi(126)), 6.0 * 2f32.powi(-126));
    assert_eq!(divide(Binary::DivFull, large, large), 1.0);
    assert_eq!(divide(Binary::DivFull, f32::INFINITY, large), f32::INFINITY);
}

#[test]
fn deviations_admit_what_the_manual_states_and_no_more() {
    let bits = |value: f32| u64::from(value.to_bits());
    let ex2 = approximation(Unary::Ex2, Type::F32).unwrap();
    assert!(!ex2.confirmed);
    let model = bits(of(Unary::Ex2, false, 0.3));
    assert!(ex2.admits(Type::F32, 0.3, model, model + 2) && ex2.admits(Type::F32, 0.3, model, model - 2));
    assert!(!ex2.admits(Type::F32, 0.3, model, model + 3));
    assert!(ex2.admits(Type::F32, f64::NAN, 0x7fff_ffff, 0x7fc0_0000));
    assert!(!ex2.admits(Type::F32, f64::NAN, 0x7fff_ffff, 0));
    // Around 1 the logarithm's error is absolute, elsewhere relative.
    let lg2 = approximation(Unary::Lg2, Type::F32).unwrap();
    let model = of(Unary::Lg2, false, 1.001);
    assert!(lg2.admits(Type::F32, 1.001, bits(model), bits(model + 2f32.powi(-22))));
    assert!(!lg2.admits(Type::F32, 1.001, bits(model), bits(model + 2f32.powi(-21))));
    assert!(!lg2.admits(Type::F32, 16.5, bits(4.0), bits(4.0 + 2f32.powi(-19))));
    assert!(lg2.admits(Type::F32, 16.5, bits(4.0), bits(4.0 + 2f32.powi(-20))));
    let sin = approximation(Unary::Sin, Type::F32).unwrap();
    assert_eq!(sin.deviation(-100.0), Deviation::Absolute(FIFTY_CIRCLES));
    assert_eq!(sin.deviation(1e6), Deviation::Unbounded);
    let full = division(Binary::DivFull).unwrap();
    assert!(full.admits(Type::F32, 3.0, bits(1.0), bits(1.0) + 2));
    assert!(
        division(Binary::Div).is_none()
            && approximation(Unary::Sqrt { approximate: false }, Type::F32).is_none()
    );
    // 2^-20.5 and the like, as the manual writes them.
    for (constant, exponent) in
        [(CIRCLE, -20.5), (FIFTY_CIRCLES, -14.7), (RSQRT, -22.9), (EX2_HALF, -9.9), (TANH_HALF, -10.987)]
    {
        let stated = 2f64.powf(exponent);
        assert!(constant >= stated && constant < stated * 1.001, "{constant:e} for {stated:e}");
    }
}

//! Conversions against the oracle, Rust's own casts and `half`; all values of 16-bit sources.

use half::{bf16, f16};
use proptest::prelude::*;

use super::super::oracle::{self, DIRECTED, Fixed, ROUNDINGS, Shape, patterns, round_fixed};
use super::*;

const FLOATS: [(Type, Shape); 4] = [
    (Type::F16, oracle::F16),
    (Type::Bf16, oracle::BF16),
    (Type::F32, oracle::F32),
    (Type::F64, oracle::F64),
];
const INTEGERS: [Type; 8] =
    [Type::S8, Type::S16, Type::S32, Type::S64, Type::U8, Type::U16, Type::U32, Type::U64];

fn plain(to: Type, from: Type) -> Conversion {
    Conversion { to, from, rounding: None, integer: None, flush: false, saturate: false, relu: false }
}

fn widened(ty: Type, bits: u64) -> f64 {
    match ty {
        Type::F16 => f16::from_bits(bits as u16).to_f64(),
        Type::Bf16 => bf16::from_bits(bits as u16).to_f64(),
        Type::F32 => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(bits),
    }
}

/// The canonical NaN, or the payload of a wider NaN where the destination is f64.
fn nan(to: Type, from: Type, bits: u64) -> u64 {
    match to {
        Type::F16 | Type::Bf16 => 0x7fff,
        Type::F32 => 0x7fff_ffff,
        _ => {
            let fraction = match from {
                Type::F16 => bits << 42 & ((1 << 52) - 1),
                Type::Bf16 => bits << 45 & ((1 << 52) - 1),
                Type::F32 => bits << 29 & ((1 << 52) - 1),
                _ => bits & ((1 << 52) - 1),
            };
            let sign = bits >> (from.bits() - 1) << 63;
            sign | 0x7ff8 << 48 | fraction
        }
    }
}

/// Float to float by the oracle.
fn expected(to: (Type, Shape), from: (Type, Shape), rounding: Rounding, bits: u64) -> u64 {
    let (shape, source) = (to.1, from.1);
    let magnitude = source.magnitude(bits);
    if magnitude > source.infinity() {
        return nan(to.0, from.0, bits);
    }
    let negative = bits & source.sign() != 0;
    if magnitude == source.infinity() {
        return shape.infinity() | if negative { shape.sign() } else { 0 };
    }
    let (integer, exponent) = source.value(magnitude);
    round_fixed(shape, negative, rounding, &Fixed::new(integer, exponent))
}

fn check_float(to: (Type, Shape), from: (Type, Shape), rounding: Rounding, bits: u64) {
    let conversion = Conversion { rounding: Some(rounding), ..plain(to.0, from.0) };
    let result = convert(&conversion, bits);
    assert_eq!(result, Some(expected(to, from, rounding, bits)), "{conversion:?} of {bits:x}");
}

#[test]
fn floats_from_all_16_bit_values() {
    for bits in 0..=u64::from(u16::MAX) {
        for from in [FLOATS[0], FLOATS[1]] {
            for to in FLOATS {
                // Widening is exact: one rounding tells as much as four.
                let narrowing = to.1.1 < from.1.1 || to.1.0 < from.1.0;
                let roundings = if narrowing { &DIRECTED[..] } else { &DIRECTED[..1] };
                for &rounding in roundings {
                    check_float(to, from, rounding, bits);
                }
            }
        }
    }
}

/// Half a unit of the result, and its neighbours, under every upper half of an f32.
#[test]
fn bf16_and_f16_of_f32_are_those_of_half_at_all_ties() {
    for high in 0..=u32::from(u16::MAX) {
        for low in [0, 1, 0xfff, 0x1000, 0x1001, 0x3000, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let bits = high << 16 | low;
            let value = f32::from_bits(bits);
            let canonical = |bits: u16| if value.is_nan() { 0x7fff } else { u64::from(bits) };
            let nearest = |to| {
                convert(
                    &Conversion { rounding: Some(Rounding::Nearest), ..plain(to, Type::F32) },
                    bits.into(),
                )
            };
            assert_eq!(nearest(Type::Bf16), Some(canonical(bf16::from_f32(value).to_bits())), "{bits:x}");
            assert_eq!(nearest(Type::F16), Some(canonical(f16::from_f32(value).to_bits())), "{bits:x}");
            let pair = convert_pair(Type::Bf16x2, Rounding::Nearest, false, bits, 0x3f80_0000);
            assert_eq!(pair.map(u64::from), Some(canonical(bf16::from_f32(value).to_bits()) << 16 | 0x3f80));
        }
    }
}

/// A float rounded to an integral value by the standard library.
fn integral_value(direction: Rounding, value: f64) -> f64 {
    match direction {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::NearestAway => value.round(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

/// Float to integer by Rust's saturating casts, sign-extended.
fn cast(to: Type, value: f64) -> u64 {
    match to {
        Type::S8 => value as i8 as u64,
        Type::S16 => value as i16 as u64,
        Type::S32 => value as i32 as u64,
        Type::S64 => value as i64 as u64,
        Type::U8 => value as u8 as u64,
        Type::U16 => value as u16 as u64,
        Type::U32 => value as u32 as u64,
        _ => value as u64,
    }
}

fn check_integer(to: Type, from: Type, direction: Rounding, bits: u64) {
    let value = widened(from, bits);
    let conversion = Conversion { integer: Some(direction), ..plain(to, from) };
    let expected = if value.is_nan() && (from == Type::F64 || to.bits() == 64) {
        match to {
            Type::S8 | Type::S16 | Type::S32 | Type::S64 => (i64::MIN >> (64 - to.bits())) as u64,
            _ => 1 << (to.bits() - 1),
        }
    } else {
        cast(to, integral_value(direction, value))
    };
    assert_eq!(convert(&conversion, bits), Some(expected), "{conversion:?} of {value:e}");
}

/// Float to an integral float of its own type.
fn check_integral(ty: Type, direction: Rounding, bits: u64) {
    let value = widened(ty, bits);
    let conversion = Conversion { integer: Some(direction), ..plain(ty, ty) };
    let result = convert(&conversion, bits).unwrap();
    if value.is_nan() {
        assert_eq!(result, nan(ty, ty, bits));
    } else {
        let rounded = widened(ty, result);
        let expected = integral_value(direction, value);
        assert_eq!(rounded.to_bits(), expected.to_bits(), "{conversion:?} of {value:e}: {rounded:e}");
    }
}

#[test]
fn integers_from_all_16_bit_floats() {
    for bits in 0..=u64::from(u16::MAX) {
        for from in [Type::F16, Type::Bf16] {
            for direction in DIRECTED {
                for to in INTEGERS {
                    check_integer(to, from, direction, bits);
                }
                check_integral(from, direction, bits);
            }
        }
    }
}

#[test]
fn floats_and_integers_from_all_16_bit_integers() {
    for bits in 0..=u64::from(u16::MAX) {
        for from in [Type::S16, Type::U16, Type::S8, Type::U8] {
            let value = match from {
                Type::S16 => i64::from(bits as i16),
                Type::U16 => i64::from(bits as u16),
                Type::S8 => i64::from(bits as i8),
                _ => i64::from(bits as u8),
            };
            let f16_exact = f16::from_f64(value as f64).to_bits();
            let nearest =
                |to| convert(&Conversion { rounding: Some(Rounding::Nearest), ..plain(to, from) }, bits);
            assert_eq!(nearest(Type::F16), Some(u64::from(f16_exact)), "{from:?} {value}");
            assert_eq!(nearest(Type::F32), Some(u64::from((value as f32).to_bits())));
            assert_eq!(nearest(Type::F64), Some((value as f64).to_bits()));
            for to in INTEGERS {
                let wrapped = match to {
                    Type::S8 => value as i8 as u64,
                    Type::S16 => value as i16 as u64,
                    Type::S32 => value as i32 as u64,
                    Type::U8 => u64::from(value as u8),
                    Type::U16 => u64::from(value as u16),
                    Type::U32 => u64::from(value as u32),
                    _ => value as u64,
                };
                assert_eq!(convert(&plain(to, from), bits), Some(wrapped), "{to:?} of {from:?} {value}");
                let clamped = convert(&Conversion { saturate: true, ..plain(to, from) }, bits);
                assert_eq!(clamped, Some(cast(to, value as f64)), "{to:?} of {from:?} {value}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn floats_from_f32_and_f64(a in patterns(oracle::F32), b in patterns(oracle::F64)) {
        for rounding in DIRECTED {
            for to in FLOATS {
                if to.0 != Type::F32 {
                    check_float(to, FLOATS[2], rounding, a);
                }
                if to.0 != Type::F64 {
                    check_float(to, FLOATS[3], rounding, b);
                }
            }
            for high in [false, true] {
                let (format, to) = if high { (Type::F16x2, FLOATS[0]) } else { (Type::Bf16x2, FLOATS[1]) };
                if matches!(rounding, Rounding::Nearest | Rounding::Zero) {
                    let pair = convert_pair(format, rounding, false, a as u32, 0x3f80_0000).unwrap();
                    prop_assert_eq!(u64::from(pair >> 16), expected(to, FLOATS[2], rounding, a));
                } else {
                    prop_assert_eq!(convert_pair(format, rounding, false, a as u32, 0), None);
                }
            }
        }
    }

    #[test]
    fn integers_from_f32_and_f64(a in patterns(oracle::F32), b in patterns(oracle::F64), exponent in 1000u64..1100) {
        // Numbers around the ends of the integer types too.
        let sized = b & 0x800f_ffff_ffff_ffff | exponent << 52;
        for direction in DIRECTED {
            for to in INTEGERS {
                check_integer(to, Type::F32, direction, a);
                check_integer(to, Type::F64, direction, b);
                check_integer(to, Type::F64, direction, sized);
                check_integer(to, Type::F32, direction, u64::from((f64::from_bits(sized) as f32).to_bits()));
            }
            check_integral(Type::F32, direction, a);
            check_integral(Type::F64, direction, b);
            check_integral(Type::F64, direction, sized);
        }
    }

    #[test]
    fn floats_from_wide_integers(bits in any::<u64>(), shift in 0u32..64) {
        let bits = bits >> shift;
        for from in [Type::S32, Type::U32, Type::S64, Type::U64] {
            let value = match from {
                Type::S32 => i128::from(bits as i32),
                Type::U32 => i128::from(bits as u32),
                Type::S64 => i128::from(bits as i64),
                _ => i128::from(bits),
            };
            for to in FLOATS {
                for rounding in DIRECTED {
                    let exact = Fixed::new(value.unsigned_abs(), 0);
                    let expected = round_fixed(to.1, value < 0, rounding, &exact);
                    let conversion = Conversion { rounding: Some(rounding), ..plain(to.0, from) };
                    prop_assert_eq!(convert(&conversion, bits), Some(expected), "{:?} of {}", conversion, value);
                }
            }
        }
    }

    #[test]
    fn tf32_has_ten_fraction_bits_in_the_place_of_an_f32s(a in patterns(oracle::F32)) {
        for rounding in ROUNDINGS {
            let conversion = Conversion { rounding: Some(rounding), ..plain(Type::B32, Type::F32) };
            let result = convert(&conversion, a);
            if matches!(rounding, Rounding::Up | Rounding::Down) {
                prop_assert_eq!(result, None);
            } else if f32::from_bits(a as u32).is_nan() {
                prop_assert_eq!(result, Some(0x7fff_ffff));
            } else {
                // A NaN of the destination cannot come out of a number.
                let expected = expected((Type::B32, oracle::TF32), FLOATS[2], rounding, a) << 13;
                prop_assert_eq!(result, Some(expected), "{:?} of {:x}", rounding, a);
            }
        }
    }

    /// `.ftz` flushes f32 operands and results, `.sat` clamps to [0, 1], `.relu` to [0, ∞].
    #[test]
    fn modifiers_act_on_the_plain_conversion(a in patterns(oracle::F32), b in patterns(oracle::F64)) {
        let flush = |bits: u64| if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits };
        let to_f16 = Conversion { rounding: Some(Rounding::Nearest), ..plain(Type::F16, Type::F32) };
        let base = convert(&to_f16, a).unwrap();
        let flushed = convert(&Conversion { flush: true, ..to_f16 }, a);
        prop_assert_eq!(flushed, convert(&to_f16, flush(a)));
        let value = widened(Type::F16, base);
        let clamped = if value > 0.0 { f16::from_f64(value.min(1.0)).to_bits() } else { 0 };
        prop_assert_eq!(convert(&Conversion { saturate: true, ..to_f16 }, a), Some(clamped.into()));
        let rectified = if value.is_nan() { 0x7fff } else if value > 0.0 { base } else { 0 };
        prop_assert_eq!(convert(&Conversion { relu: true, ..to_f16 }, a), Some(rectified));
        let narrow = Conversion { rounding: Some(Rounding::Zero), ..plain(Type::F32, Type::F64) };
        let flushed = convert(&Conversion { flush: true, ..narrow }, b);
        prop_assert_eq!(flushed, convert(&narrow, b).map(flush));
    }
}

#[test]
fn conversions_that_ptx_does_not_have_are_refused() {
    let nearest = Some(Rounding::Nearest);
    for conversion in [
        plain(Type::Bf16, Type::F32),
        plain(Type::F32, Type::S32),
        plain(Type::S32, Type::F32),
        plain(Type::Pred, Type::S32),
        plain(Type::B64, Type::F32),
        Conversion { rounding: Some(Rounding::NearestAway), ..plain(Type::F16, Type::F32) },
        Conversion { integer: nearest, ..plain(Type::F32, Type::F64) },
        Conversion { rounding: nearest, ..plain(Type::F16x2, Type::F32) },
        Conversion { rounding: nearest, ..plain(Type::B32, Type::F64) },
    ] {
        assert_eq!(convert(&conversion, 0), None, "{conversion:?}");
    }
}

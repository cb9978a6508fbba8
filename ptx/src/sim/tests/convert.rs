//! `cvt` through whole kernels: every 16-bit value, every conversion from and to 16 bits. What the results must be is held
//! by an independent oracle in `numerics/convert`; here by the host's arithmetic where it has the conversion, else by that.

use super::*;
use crate::numerics::{Conversion, convert, convert_pair};
use crate::{Rounding, Type};
use half::{bf16, f16};

/// Runs the body for all 65,536 values, a thread each: `%h1` is the value, `%r1` (or `%rd10` if `wide`) the result.
fn all(body: &str, wide: bool) -> Vec<u64> {
    let run = Run { grid: [1024, 1, 1], block: [64, 1, 1], out: 2 << 16, ..Run::default() };
    let store = if wide {
        "st.global.u64 [%rd5], %rd10;"
    } else {
        "cvt.u64.u32 %rd10, %r1; st.global.u64 [%rd5], %rd10;"
    };
    let body = format!(
        "mov.u32 %r50, %ctaid.x; mad.lo.u32 %r51, %r50, 64, %r0; cvt.u16.u32 %h1, %r51; mul.wide.u32 %rd4, %r51, 8;
         add.s64 %rd5, %rd2, %rd4;\n{body}\n{store}"
    );
    let words = run.words(&body, 2 << 16);
    words.chunks_exact(2).map(|two| u64::from(two[1]) << 32 | u64::from(two[0])).collect()
}

fn plain(to: Type, from: Type) -> Conversion {
    Conversion { to, from, rounding: None, integer: None, flush: false, saturate: false, relu: false }
}

const DIRECTIONS: [(&str, Rounding); 4] =
    [("n", Rounding::Nearest), ("z", Rounding::Zero), ("m", Rounding::Down), ("p", Rounding::Up)];

#[test]
fn all_16_bit_floats_widen_exactly() {
    let canonical = |value: f32| if value.is_nan() { 0x7fff_ffff } else { value.to_bits() };
    let singles = all("cvt.f32.f16 %f1, %h1; mov.b32 %r1, %f1;", false);
    let brains = all("cvt.f32.bf16 %f1, %h1; mov.b32 %r1, %f1;", false);
    let doubles = all("cvt.f64.f16 %d1, %h1; mov.b64 %rd10, %d1;", true);
    for bits in 0..=u16::MAX {
        let at = usize::from(bits);
        assert_eq!(singles[at], u64::from(canonical(f16::from_bits(bits).to_f32())), "f16 {bits:#x}");
        assert_eq!(brains[at], u64::from(canonical(bf16::from_bits(bits).to_f32())), "bf16 {bits:#x}");
        let double = f16::from_bits(bits).to_f64();
        assert!(
            double.is_nan() && f64::from_bits(doubles[at]).is_nan() || doubles[at] == double.to_bits(),
            "{bits:#x}"
        );
    }
}

#[test]
fn all_f16_become_integers_in_every_direction() {
    for (name, to) in [
        ("u8", Type::U8),
        ("s8", Type::S8),
        ("u16", Type::U16),
        ("s16", Type::S16),
        ("u32", Type::U32),
        ("s32", Type::S32),
        ("u64", Type::U64),
        ("s64", Type::S64),
    ] {
        for (suffix, direction) in DIRECTIONS {
            let wide = to.bits() == 64;
            // A result narrower than its register is extended by its sign.
            let (d, mask) = if wide { ("%rd10", u64::MAX) } else { ("%r1", u64::from(u32::MAX)) };
            let body = match to.bits() {
                16 => format!("cvt.r{suffix}i.{name}.f16 %h2, %h1; cvt.{}32.{name} %r1, %h2;", &name[..1]),
                _ => format!("cvt.r{suffix}i.{name}.f16 {d}, %h1;"),
            };
            let conversion = Conversion { integer: Some(direction), ..plain(to, Type::F16) };
            for (bits, got) in all(&body, wide).into_iter().enumerate() {
                assert_eq!(got, convert(&conversion, bits as u64).unwrap() & mask, "{body} of {bits:#x}");
                let value = f16::from_bits(bits as u16).to_f64();
                if suffix == "z" && to == Type::S32 && !value.is_nan() {
                    assert_eq!(got as u32 as i32, value as i32, "{bits:#x}");
                }
            }
        }
    }
    for (suffix, direction) in DIRECTIONS {
        let conversion = Conversion { integer: Some(direction), ..plain(Type::F16, Type::F16) };
        let body = format!("cvt.r{suffix}i.f16.f16 %h2, %h1; cvt.u32.u16 %r1, %h2;");
        for (bits, got) in all(&body, false).into_iter().enumerate() {
            assert_eq!(Some(got), convert(&conversion, bits as u64), "{body} of {bits:#x}");
        }
    }
}

#[test]
fn all_16_bit_integers_become_floats_in_every_direction() {
    for (name, from) in [("u16", Type::U16), ("s16", Type::S16)] {
        for (suffix, direction) in DIRECTIONS {
            let conversion = |to| Conversion { rounding: Some(direction), ..plain(to, from) };
            let halves = all(&format!("cvt.r{suffix}.f16.{name} %h2, %h1; cvt.u32.u16 %r1, %h2;"), false);
            let singles = all(&format!("cvt.r{suffix}.f32.{name} %f1, %h1; mov.b32 %r1, %f1;"), false);
            for bits in 0..=u16::MAX {
                let at = usize::from(bits);
                let value = if from == Type::U16 { f32::from(bits) } else { f32::from(bits as i16) };
                assert_eq!(singles[at], u64::from(value.to_bits()), "{name} {bits:#x}");
                assert_eq!(
                    Some(halves[at]),
                    convert(&conversion(Type::F16), bits.into()),
                    "{name} {bits:#x}"
                );
                if suffix == "n" {
                    assert_eq!(halves[at], u64::from(f16::from_f32(value).to_bits()), "{name} {bits:#x}");
                }
            }
        }
    }
}

#[test]
fn every_16_bit_float_and_what_lies_about_its_ties_comes_from_f32() {
    // The upper half of a f32 runs over all bf16, the lower over the ties between two of them and their neighbours; for
    // f16 the same, its ties lying at bit 12.
    for low in [0u32, 1, 0x0fff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x7fff, 0x8000, 0x8001, 0xffff] {
        let from =
            format!("cvt.u32.u16 %r2, %h1; shl.b32 %r2, %r2, 16; or.b32 %r2, %r2, {low}; mov.b32 %f1, %r2;");
        for (name, to) in [("f16", Type::F16), ("bf16", Type::Bf16)] {
            for (suffix, direction) in &DIRECTIONS[..if to == Type::F16 { 4 } else { 2 }] {
                let conversion = Conversion { rounding: Some(*direction), ..plain(to, Type::F32) };
                let body = format!("{from} cvt.r{suffix}.{name}.f32 %h2, %f1; cvt.u32.u16 %r1, %h2;");
                for (high, got) in all(&body, false).into_iter().enumerate() {
                    let bits = (high as u32) << 16 | low;
                    assert_eq!(Some(got), convert(&conversion, bits.into()), "{body} of {bits:#x}");
                    let value = f32::from_bits(bits);
                    if *suffix == "n" && !value.is_nan() {
                        let host = match to {
                            Type::F16 => f16::from_f32(value).to_bits(),
                            _ => bf16::from_f32(value).to_bits(),
                        };
                        assert_eq!(got, u64::from(host), "{body} of {bits:#x}");
                    }
                }
            }
        }
        // Pairs: the first operand becomes the upper half.
        let body = format!("{from} neg.f32 %f2, %f1; cvt.rn.bf16x2.f32 %r1, %f1, %f2;");
        for (high, got) in all(&body, false).into_iter().enumerate() {
            let bits = (high as u32) << 16 | low;
            if !f32::from_bits(bits).is_nan() {
                let pair = convert_pair(Type::Bf16x2, Rounding::Nearest, false, bits, bits ^ 1 << 31);
                assert_eq!(Some(got as u32), pair, "{bits:#x}");
            }
        }
    }
}

//! Special values through every float instruction: zeros of both signs, denormals, infinities, NaN. Against the host's
//! IEEE arithmetic where that has the operation, else against what PTX ISA 8.4, section 9.7.3, writes for such operands.

use super::*;

const SINGLES: [u32; 16] = [
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x4049_0fdb,
    0xc2b1_7218,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xff80_0001,
];

/// A NaN as PTX gives it, else the bits.
fn bits(value: f32) -> u32 {
    if value.is_nan() { 0x7fff_ffff } else { value.to_bits() }
}

/// Runs the body for every pair, a thread each: `%f1` and `%f2` are the pair, `%f3` the result.
fn of_pairs(body: &str) -> Vec<(f32, f32, u32)> {
    let pairs: Vec<(u32, u32)> = SINGLES.iter().flat_map(|&a| SINGLES.map(|b| (a, b))).collect();
    let run = Run { out: 256, ..Run::threads(256) }.input(pairs.iter().flat_map(|&(a, b)| [a, b]));
    let body = format!(
        "mul.wide.u32 %rd4, %r0, 8; add.s64 %rd5, %rd3, %rd4; ld.global.v2.f32 {{%f1, %f2}}, [%rd5];
         {body}
         st.global.f32 [%rd0], %f3;"
    );
    let results = run.words(&body, 256);
    pairs.into_iter().zip(results).map(|((a, b), d)| (f32::from_bits(a), f32::from_bits(b), d)).collect()
}

fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

/// The smaller; a number rather than a NaN, −0 rather than +0.
fn smaller(a: f32, b: f32) -> f32 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if a == b => {
            if a.is_sign_negative() {
                a
            } else {
                b
            }
        }
        _ => {
            if a < b {
                a
            } else {
                b
            }
        }
    }
}

#[test]
fn arithmetic_of_special_values_is_ieees() {
    type Wanted = fn(f32, f32) -> f32;
    let table: [(&str, Wanted); 20] = [
        ("add.rn.f32 %f3, %f1, %f2;", |a, b| a + b),
        ("add.rn.ftz.f32 %f3, %f1, %f2;", |a, b| flush(flush(a) + flush(b))),
        ("sub.rn.f32 %f3, %f1, %f2;", |a, b| a - b),
        ("mul.rn.f32 %f3, %f1, %f2;", |a, b| a * b),
        ("mul.rn.ftz.f32 %f3, %f1, %f2;", |a, b| flush(flush(a) * flush(b))),
        ("fma.rn.f32 %f3, %f1, %f2, %f1;", |a, b| a.mul_add(b, a)),
        ("div.rn.f32 %f3, %f1, %f2;", |a, b| a / b),
        ("div.rn.ftz.f32 %f3, %f1, %f2;", |a, b| flush(flush(a) / flush(b))),
        ("rcp.rn.f32 %f3, %f1;", |a, _| 1.0 / a),
        ("sqrt.rn.f32 %f3, %f1;", |a, _| a.sqrt()),
        ("sqrt.rn.ftz.f32 %f3, %f1;", |a, _| flush(a).sqrt()),
        ("min.f32 %f3, %f1, %f2;", smaller),
        ("max.f32 %f3, %f1, %f2;", |a, b| -smaller(-a, -b)),
        (
            "min.NaN.f32 %f3, %f1, %f2;",
            |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { smaller(a, b) },
        ),
        (
            "max.NaN.f32 %f3, %f1, %f2;",
            |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { -smaller(-a, -b) },
        ),
        // Saturation turns a NaN into +0.
        ("add.rn.sat.f32 %f3, %f1, %f2;", |a, b| if a + b > 0.0 { (a + b).min(1.0) } else { 0.0 }),
        ("mul.rn.sat.f32 %f3, %f1, %f2;", |a, b| if a * b > 0.0 { (a * b).min(1.0) } else { 0.0 }),
        ("cvt.rni.f32.f32 %f3, %f1;", |a, _| a.round_ties_even()),
        ("cvt.rzi.f32.f32 %f3, %f1;", |a, _| a.trunc()),
        ("setp.num.f32 %p1, %f1, %f2; selp.f32 %f3, 0f3f800000, 0f00000000, %p1;", |a, b| {
            if a.is_nan() || b.is_nan() { 0.0 } else { 1.0 }
        }),
    ];
    for (body, wanted) in table {
        for (a, b, got) in of_pairs(body) {
            assert_eq!(got, bits(wanted(a, b)), "{body} of {a:e}, {b:e}");
        }
    }
}

#[test]
fn signs_change_and_magnitudes_do_not_even_of_nothing() {
    for (a, _, got) in of_pairs("neg.f32 %f3, %f1;") {
        assert!(a.is_nan() && f32::from_bits(got).is_nan() || got == a.to_bits() ^ 1 << 31, "neg {a:e}");
    }
    for (a, _, got) in of_pairs("abs.f32 %f3, %f1;") {
        assert!(a.is_nan() && f32::from_bits(got).is_nan() || got == a.to_bits() & !(1 << 31), "abs {a:e}");
    }
    // The sign is that of the first operand.
    for (a, b, got) in of_pairs("copysign.f32 %f3, %f1, %f2;") {
        assert!(b.is_nan() || got == b.copysign(a).to_bits(), "copysign {a:e} {b:e}");
    }
}

#[test]
fn approximations_of_special_values_are_those_of_the_manual() {
    use f32 as F;
    let (inf, nan) = (F::INFINITY, F::NAN);
    let tiny = F::from_bits(1);
    let table: [(&str, &[(f32, f32)]); 9] = [
        (
            "ex2.approx.f32",
            &[(-inf, 0.0), (-0.0, 1.0), (0.0, 1.0), (tiny, 1.0), (inf, inf), (nan, nan), (3.0, 8.0)],
        ),
        (
            "lg2.approx.f32",
            &[(-inf, nan), (-1.0, nan), (-0.0, -inf), (0.0, -inf), (tiny, -149.0), (inf, inf), (nan, nan)],
        ),
        (
            "rsqrt.approx.f32",
            &[(-inf, nan), (-1.0, nan), (-0.0, -inf), (0.0, inf), (inf, 0.0), (nan, nan), (4.0, 0.5)],
        ),
        ("rcp.approx.f32", &[(-inf, -0.0), (-0.0, -inf), (0.0, inf), (inf, 0.0), (nan, nan), (-4.0, -0.25)]),
        (
            "sqrt.approx.f32",
            &[(-inf, nan), (-1.0, nan), (-0.0, -0.0), (0.0, 0.0), (inf, inf), (nan, nan), (4.0, 2.0)],
        ),
        ("sin.approx.f32", &[(-inf, nan), (inf, nan), (-0.0, -0.0), (0.0, 0.0), (nan, nan)]),
        ("cos.approx.f32", &[(-inf, nan), (inf, nan), (-0.0, 1.0), (0.0, 1.0), (tiny, 1.0), (nan, nan)]),
        ("tanh.approx.f32", &[(-inf, -1.0), (inf, 1.0), (-0.0, -0.0), (0.0, 0.0), (nan, nan)]),
        // Flushing takes a denormal for zero, with its sign.
        ("lg2.approx.ftz.f32", &[(tiny, -inf), (-tiny, -inf), (1.0, 0.0)]),
    ];
    for (name, cases) in table {
        for &(a, wanted) in cases {
            let body = format!("mov.f32 %f1, 0f{:08x}; {name} %f2, %f1; mov.b32 %r1, %f2;", a.to_bits());
            assert_eq!(one(&body), bits(wanted), "{name} of {a:e}");
        }
    }
}

#[test]
fn doubles_are_the_hosts() {
    let numbers: [f64; 12] = [
        0.0,
        -0.0,
        f64::from_bits(1),
        f64::MIN_POSITIVE,
        1.0,
        -1.5,
        std::f64::consts::PI,
        f64::MAX,
        f64::MIN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    type Wanted = fn(f64, f64) -> f64;
    let table: [(&str, Wanted); 6] = [
        ("add.rn.f64 %d3, %d1, %d2;", |a, b| a + b),
        ("mul.rn.f64 %d3, %d1, %d2;", |a, b| a * b),
        ("fma.rn.f64 %d3, %d1, %d2, %d2;", |a, b| a.mul_add(b, b)),
        ("div.rn.f64 %d3, %d1, %d2;", |a, b| a / b),
        ("rcp.rn.f64 %d3, %d1;", |a, _| 1.0 / a),
        ("sqrt.rn.f64 %d3, %d1;", |a, _| a.sqrt()),
    ];
    for (body, wanted) in table {
        for a in numbers {
            for b in numbers {
                let body = format!(
                    "mov.f64 %d1, 0d{:016x}; mov.f64 %d2, 0d{:016x}; {body} mov.b64 %rd10, %d3;",
                    a.to_bits(),
                    b.to_bits()
                );
                let (got, wanted) = (f64::from_bits(one_wide(&body)), wanted(a, b));
                assert!(
                    got.is_nan() && wanted.is_nan() || got.to_bits() == wanted.to_bits(),
                    "{body}: {got:e} {wanted:e}"
                );
            }
        }
    }
}

#[test]
fn sixteen_bit_arithmetic_rounds_once_and_keeps_zeros_and_infinities() {
    use half::{bf16, f16};
    let halves = [0u16, 0x8000, 1, 0x03ff, 0x0400, 0x3c00, 0xbc01, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00];
    let canonical = |value: f16| if value.is_nan() { 0x7fff } else { value.to_bits() };
    for a in halves {
        for b in halves {
            let (x, y) = (f16::from_bits(a).to_f64(), f16::from_bits(b).to_f64());
            // Products and sums of two f16 are exact in f64, and so is a product plus a third.
            for (name, exact) in [("add.rn", x + y), ("sub.rn", x - y), ("mul.rn", x * y)] {
                let body = format!(
                    "mov.b16 %h1, {a}; mov.b16 %h2, {b}; {name}.f16 %h3, %h1, %h2; mov.b32 %r2, {{%h1, %h2}};
                     mov.b32 %r3, {{%h2, %h2}}; {name}.f16x2 %r4, %r2, %r3; mov.b32 {{%h4, %h5}}, %r4;
                     mov.b32 %r1, {{%h3, %h4}};"
                );
                let wanted = u32::from(canonical(f16::from_f64(exact)));
                assert_eq!(one(&body), wanted << 16 | wanted, "{name} of {a:#x}, {b:#x}");
            }
            let body = format!(
                "mov.b16 %h1, {a}; mov.b16 %h2, {b}; fma.rn.f16 %h3, %h1, %h2, %h2; cvt.u32.u16 %r1, %h3;"
            );
            assert_eq!(
                one(&body),
                u32::from(canonical(f16::from_f64(x.mul_add(y, y)))),
                "fma of {a:#x}, {b:#x}"
            );
        }
    }
    let brains = [0u16, 0x8000, 1, 0x007f, 0x0080, 0x3f80, 0xbf81, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0];
    for a in brains {
        for b in brains {
            let (x, y) = (bf16::from_bits(a).to_f64(), bf16::from_bits(b).to_f64());
            let body = format!(
                "mov.b16 %h1, {a}; mov.b16 %h2, {b}; mov.b16 %h4, 0x8000; fma.rn.bf16 %h3, %h1, %h2, %h4;
                 cvt.u32.u16 %r1, %h3;"
            );
            // −0 as the addend keeps the sign of a zero product.
            let wanted = bf16::from_f64(x * y - 0.0);
            let wanted = if wanted.is_nan() { 0x7fff } else { wanted.to_bits() };
            assert_eq!(one(&body), u32::from(wanted), "fma of {a:#x}, {b:#x}");
        }
    }
}

//! Register operations end to end: operand widths, constants, carries, guards, special registers.

use super::*;

#[test]
fn addresses_are_computed_in_64_bits() {
    assert_eq!(one_wide("mov.u32 %r1, 0xffffffff; mul.wide.u32 %rd10, %r1, 16;"), 0xf_ffff_fff0);
    assert_eq!(one_wide("mov.u32 %r1, -3; mul.wide.s32 %rd10, %r1, 16;"), -48i64 as u64);
    assert_eq!(
        one_wide("mov.u32 %r1, 0x80000000; mov.u64 %rd4, 5; mad.wide.u32 %rd10, %r1, 4, %rd4;"),
        0x2_0000_0005
    );
    assert_eq!(one_wide("mov.u32 %r1, -1; cvt.s64.s32 %rd10, %r1;"), u64::MAX);
    assert_eq!(one_wide("mov.u32 %r1, -1; cvt.u64.u32 %rd10, %r1;"), 0xffff_ffff);
    assert_eq!(one_wide("mov.u64 %rd4, 0x123456789; shl.b64 %rd10, %rd4, 36;"), 0x3456_7890_0000_0000);
    assert_eq!(one_wide("mov.u64 %rd4, -8; shr.s64 %rd10, %rd4, 1;"), -4i64 as u64);
    assert_eq!(one_wide("mov.u64 %rd4, 0x100000001; mul.lo.s64 %rd10, %rd4, %rd4;"), 0x2_0000_0001);
    assert_eq!(one_wide("mov.u64 %rd4, -1; mul.hi.u64 %rd10, %rd4, %rd4;"), u64::MAX - 1);
    assert_eq!(one("mov.u64 %rd4, 0x123456789; cvt.u32.u64 %r1, %rd4;"), 0x2345_6789);
}

#[test]
fn narrow_types_wrap_at_their_own_width_and_extend_by_their_sign() {
    assert_eq!(one("mov.u16 %h0, 0xffff; add.u16 %h1, %h0, 2; cvt.u32.u16 %r1, %h1;"), 1);
    assert_eq!(one("mov.u16 %h0, 0x8000; cvt.s32.s16 %r1, %h0;"), 0xffff_8000);
    assert_eq!(one("mov.u16 %h0, 0x8000; shr.s16 %h1, %h0, 15; cvt.u32.u16 %r1, %h1;"), 0xffff);
    assert_eq!(one("mov.u32 %r2, 0x1ff; cvt.u32.u8 %r1, %r2;"), 0xff);
    assert_eq!(one("mov.u32 %r2, 0x180; cvt.s32.s8 %r1, %r2;"), 0xffff_ff80);
    assert_eq!(one("mov.u16 %h0, 300; mov.u16 %h1, 300; mul.wide.u16 %r1, %h0, %h1;"), 90_000);
    assert_eq!(one("mov.u16 %h0, -2; mov.u16 %h1, 3; mul.wide.s16 %r1, %h0, %h1;"), -6i32 as u32);
    // Saturating: PTX clamps to the range of the destination.
    assert_eq!(one("mov.u32 %r2, 300; cvt.sat.u8.u32 %r1, %r2;"), 255);
    assert_eq!(one("mov.u32 %r2, 0x7fffffff; add.sat.s32 %r1, %r2, 1;"), 0x7fff_ffff);
}

#[test]
fn bit_operations_have_known_answers() {
    assert_eq!(one("mov.u32 %r2, 0x12345678; bfe.u32 %r1, %r2, 8, 12;"), 0x456);
    assert_eq!(one("mov.u32 %r2, 0x12345f78; bfe.s32 %r1, %r2, 8, 4;"), !0);
    assert_eq!(one("mov.u32 %r2, 0xab; mov.u32 %r3, 0x11111111; bfi.b32 %r1, %r2, %r3, 8, 8;"), 0x1111_ab11);
    assert_eq!(
        one("mov.u32 %r2, 0x33221100; mov.u32 %r3, 0x77665544; prmt.b32 %r1, %r2, %r3, 0x5410;"),
        0x5544_1100
    );
    assert_eq!(one("mov.u32 %r2, 0xf0f0f0f0; lop3.b32 %r1, %r2, 0xff00ff00, 0x0000ffff, 0x96;"), 0x0ff0_f00f);
    assert_eq!(one("mov.u32 %r2, 0x80000001; mov.u32 %r3, 0x7; shf.l.wrap.b32 %r1, %r2, %r3, 4;"), 0x78);
    assert_eq!(one("mov.u32 %r2, 0x00f0; clz.b32 %r1, %r2;"), 24);
    assert_eq!(one("mov.u64 %rd4, 0xf000000000; popc.b64 %r1, %rd4;"), 4);
    assert_eq!(one("mov.u32 %r2, 1; brev.b32 %r1, %r2;"), 0x8000_0000);
    assert_eq!(one("mov.u64 %rd4, 0x100000000; bfind.u64 %r1, %rd4;"), 32);
    assert_eq!(one("mov.u32 %r2, 7; cnot.b32 %r1, %r2;"), 0);
    assert_eq!(one("mov.u32 %r2, 5; mov.u32 %r3, -3; sad.s32 %r1, %r2, %r3, 100;"), 108);
}

#[test]
fn carries_run_through_a_chain() {
    // 128-bit sums and differences, 32 bits at a time.
    let body = |op: &str, a: u32, b: u32| {
        format!(
            "mov.u32 %r2, {a}; mov.u32 %r3, {b}; {op}.cc.u32 %r4, %r2, %r3; {op}c.cc.u32 %r5, 0, 0; {op}c.u32 %r1, 0, 0;"
        )
    };
    assert_eq!(one(&body("add", u32::MAX, 1)), 0);
    assert_eq!(one(&format!("{} mov.u32 %r1, %r5;", body("add", u32::MAX, 1))), 1);
    assert_eq!(one(&body("sub", 0, 1)), u32::MAX);
    assert_eq!(one(&body("sub", 1, 1)), 0);
    let wide = "mov.u64 %rd4, -1; add.cc.u64 %rd5, %rd4, 1; addc.u64 %rd10, 0, 0;";
    assert_eq!(one_wide(wide), 1);
}

#[test]
fn vectors_pack_and_unpack_low_part_first() {
    assert_eq!(one_wide("mov.u32 %r1, 1; mov.u32 %r2, 2; mov.b64 %rd10, {%r1, %r2};"), 0x2_0000_0001);
    assert_eq!(one("mov.u64 %rd4, 0x700000003; mov.b64 {%r2, %r1}, %rd4;"), 7);
    assert_eq!(one("mov.u64 %rd4, 0x700000003; mov.b64 {%r1, _}, %rd4;"), 3);
    assert_eq!(one("mov.u16 %h0, 0x1234; mov.u16 %h1, 0x5678; mov.b32 %r1, {%h0, %h1};"), 0x5678_1234);
    let four = "mov.u64 %rd4, 0x4444333322221111; mov.b64 {%h0, %h1, %h2, %h3}, %rd4; cvt.u32.u16 %r1, %h2;";
    assert_eq!(one(four), 0x3333);
}

#[test]
fn predicates_combine_and_guard() {
    // p = (tid < 8) and (tid odd), its complement combined alike.
    let body = "and.b32 %r2, %r0, 1; setp.eq.u32 %p1, %r2, 1; setp.lt.and.u32 %p2|%p3, %r0, 8, %p1;
                mov.u32 %r1, 0; @%p2 add.u32 %r1, %r1, 1; @%p3 add.u32 %r1, %r1, 2; @!%p1 mov.u32 %r1, 9;";
    let expected: Vec<u32> = (0..32)
        .map(|t| {
            if t % 2 == 0 {
                9
            } else if t < 8 {
                1
            } else {
                2
            }
        })
        .collect();
    assert_eq!(warp(body), expected);
    let logic = "setp.lt.u32 %p1, %r0, 4; setp.gt.u32 %p2, %r0, 1; xor.pred %p3, %p1, %p2; not.pred %p4, %p3;
                 selp.u32 %r1, 7, 5, %p4;";
    let expected: Vec<u32> = (0..32).map(|t| if (t < 4) ^ (t > 1) { 5 } else { 7 }).collect();
    assert_eq!(warp(logic), expected);
}

#[test]
fn floats_compare_with_nan_as_their_suffix_says() {
    let nan = 0x7fc0_0000u32;
    let compare = |op: &str, a: u32, b: u32| {
        let body = format!(
            "mov.b32 %f0, 0f{a:08x}; mov.b32 %f1, 0f{b:08x}; setp.{op}.f32 %p1, %f0, %f1; selp.u32 %r1, 1, 0, %p1;"
        );
        one(&body) == 1
    };
    let (a, b) = (1f32.to_bits(), 2f32.to_bits());
    for (op, less, equal, greater, unordered) in [
        ("eq", false, true, false, false),
        ("ne", true, false, true, false),
        ("lt", true, false, false, false),
        ("le", true, true, false, false),
        ("gt", false, false, true, false),
        ("ge", false, true, true, false),
        ("equ", false, true, false, true),
        ("neu", true, false, true, true),
        ("ltu", true, false, false, true),
        ("leu", true, true, false, true),
        ("gtu", false, false, true, true),
        ("geu", false, true, true, true),
        ("num", true, true, true, false),
        ("nan", false, false, false, true),
    ] {
        assert_eq!(compare(op, a, b), less, "{op}");
        assert_eq!(compare(op, a, a), equal, "{op}");
        assert_eq!(compare(op, b, a), greater, "{op}");
        assert_eq!(compare(op, nan, a), unordered, "{op}");
        assert_eq!(compare(op, a, nan), unordered, "{op}");
    }
}

#[test]
fn fast_paths_of_f32_give_the_bits_of_the_exact_functions() {
    use crate::numerics;
    use crate::{Binary, Rounding, Type};
    let special = [
        0u32,
        0x8000_0000,
        1,
        0x8000_0001,
        0x007f_ffff,
        0x0080_0000,
        0x3f80_0000,
        0xbf80_0001,
        0x7f7f_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0xffc0_0001,
        0x7f80_0001,
        0x3eaa_aaab,
        0x4b00_0001,
    ];
    let pairs: Vec<(u32, u32)> = special.iter().flat_map(|&a| special.iter().map(move |&b| (a, b))).collect();
    for chunk in pairs.chunks(32) {
        let mut input: Vec<u32> = chunk.iter().map(|pair| pair.0).collect();
        input.resize(32, 0);
        input.extend(chunk.iter().map(|pair| pair.1));
        input.resize(64, 0);
        let run = Run { out: 160, ..Run::default() }.input(input);
        let body = "ld.global.f32 %f0, [%rd1]; ld.global.f32 %f1, [%rd1+128];
            add.rn.f32 %f2, %f0, %f1; sub.rn.f32 %f3, %f0, %f1; mul.rn.f32 %f4, %f0, %f1; min.f32 %f5, %f0, %f1;
            fma.rn.f32 %f6, %f0, %f1, %f1;
            st.global.f32 [%rd0], %f2; st.global.f32 [%rd0+128], %f3; st.global.f32 [%rd0+256], %f4;
            st.global.f32 [%rd0+384], %f5; st.global.f32 [%rd0+512], %f6;";
        let words = run.words(body, 160);
        for (lane, &(a, b)) in chunk.iter().enumerate() {
            let (a, b) = (u64::from(a), u64::from(b));
            let exact =
                |op| numerics::arithmetic(op, Type::F32, Rounding::Nearest, false, false, a, b).unwrap();
            for (index, op) in
                [Binary::Add, Binary::Sub, Binary::Mul, Binary::Min { nan: false }].into_iter().enumerate()
            {
                assert_eq!(u64::from(words[32 * index + lane]), exact(op), "{op:?} {a:x} {b:x}");
            }
            let fma = numerics::fma(Type::F32, Rounding::Nearest, false, false, false, a, b, b).unwrap();
            assert_eq!(u64::from(words[128 + lane]), fma, "fma {a:x} {b:x}");
        }
    }
}

#[test]
fn special_registers_say_where_a_thread_is() {
    let run = Run { grid: [2, 3, 1], block: [8, 4, 2], out: 6 * 64 * 4, ..Run::default() };
    let body = "mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mad.lo.u32 %r3, %r2, 4, %r1; mad.lo.u32 %r3, %r3, 8, %r0;
        mov.u32 %r4, %ctaid.x; mov.u32 %r5, %ctaid.y; mad.lo.u32 %r6, %r5, 2, %r4; mad.lo.u32 %r7, %r6, 64, %r3;
        mul.wide.u32 %rd4, %r7, 16; add.s64 %rd4, %rd2, %rd4;
        mov.u32 %r8, %laneid; mov.u32 %r9, %warpid; mov.u32 %r10, %nctaid.y; mov.u32 %r11, %lanemask_lt;
        st.global.v4.u32 [%rd4], {%r8, %r9, %r10, %r11};";
    let words = run.words(body, 6 * 64 * 4);
    for (thread, four) in words.chunks_exact(4).enumerate() {
        let lane = thread as u32 % 32;
        assert_eq!(four, [lane, thread as u32 % 64 / 32, 3, (1 << lane) - 1]);
    }
}

#[test]
fn both_builds_of_the_arithmetic_give_the_same_bits() {
    let input: Vec<u32> = (0..64u32).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
    let body = "ld.global.u32 %r1, [%rd1]; ld.global.f32 %f1, [%rd1+128]; mov.b32 %f2, %r1;
        fma.rn.f32 %f3, %f1, %f2, %f1; mul.rn.f32 %f4, %f3, %f2; mov.b32 %r3, %f4; popc.b32 %r4, %r1; shl.b32 %r5, %r3, %r4;
        xor.b32 %r1, %r5, %r3; st.global.u32 [%rd0], %r1;";
    let words = |fast: bool| {
        let mut gpu = Gpu::new(Config::default());
        gpu.fast &= fast;
        let id = gpu.load(parse(&text(body)).unwrap()).unwrap();
        let kernel = gpu.kernel(id, "k").unwrap();
        let (out, inp) = (gpu.allocate("out", 128).unwrap(), gpu.allocate("in", 256).unwrap());
        gpu.write(inp, &input.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>()).unwrap();
        let params: Vec<u8> = [out, inp].iter().flat_map(|w| w.to_le_bytes()).collect();
        let grid = Grid { grid: [1; 3], block: [32, 1, 1], shared_bytes: 0, cooperative: false };
        gpu.launch(kernel, &grid, &params).unwrap();
        let mut bytes = [0; 128];
        gpu.read(out, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(words(true), words(false));
}

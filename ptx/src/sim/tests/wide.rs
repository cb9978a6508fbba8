//! 64-bit integer arithmetic, which is what addresses are made of: against 128-bit arithmetic of the host, for pairs of
//! numbers about 2³², 2⁶³ and 2⁶⁴.

use super::*;

const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x1234_5678_9abc_def0,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0x8000_0000_0000_0001,
    0xffff_ffff_0000_0000,
    0xffff_ffff_ffff_fff8,
    0xffff_ffff_ffff_ffff,
];

/// Runs the body for every pair, a thread each: `%rd10` and `%rd11` are the pair, `%rd12` the result.
fn of_pairs(body: &str) -> Vec<(u64, u64, u64)> {
    let pairs: Vec<(u64, u64)> = NUMBERS.iter().flat_map(|&a| NUMBERS.map(|b| (a, b))).collect();
    let input = pairs.iter().flat_map(|&(a, b)| [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]);
    let run = Run { out: 2 * 256, ..Run::threads(256) }.input(input);
    let body = format!(
        "mul.wide.u32 %rd4, %r0, 16; add.s64 %rd5, %rd3, %rd4; ld.global.v2.u64 {{%rd10, %rd11}}, [%rd5];
         cvt.u32.u64 %r1, %rd10; cvt.u32.u64 %r2, %rd11; mul.wide.u32 %rd6, %r0, 8; add.s64 %rd7, %rd2, %rd6;
         {body}
         st.global.u64 [%rd7], %rd12;"
    );
    let words = run.words(&body, 512);
    let results = words.chunks_exact(2).map(|two| u64::from(two[1]) << 32 | u64::from(two[0]));
    pairs.into_iter().zip(results).map(|((a, b), d)| (a, b, d)).collect()
}

type Wanted = fn(u64, u64) -> u64;

#[test]
fn sums_products_and_shifts_of_64_bits_are_those_of_the_integers() {
    let table: [(&str, Wanted); 24] = [
        ("add.s64 %rd12, %rd10, %rd11;", u64::wrapping_add),
        ("sub.s64 %rd12, %rd10, %rd11;", u64::wrapping_sub),
        ("mul.lo.s64 %rd12, %rd10, %rd11;", u64::wrapping_mul),
        ("mul.hi.u64 %rd12, %rd10, %rd11;", |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64),
        ("mul.hi.s64 %rd12, %rd10, %rd11;", |a, b| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64),
        ("mad.lo.u64 %rd12, %rd10, %rd11, %rd10;", |a, b| a.wrapping_mul(b).wrapping_add(a)),
        ("mad.hi.u64 %rd12, %rd10, %rd11, %rd10;", |a, b| {
            (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(a)
        }),
        ("mul.wide.u32 %rd12, %r1, %r2;", |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff)),
        ("mul.wide.s32 %rd12, %r1, %r2;", |a, b| (i64::from(a as i32) * i64::from(b as i32)) as u64),
        // The sum carries from the low half into the high one.
        ("mad.wide.u32 %rd12, %r1, %r2, %rd11;", |a, b| ((a & 0xffff_ffff) * (b & 0xffff_ffff)).wrapping_add(b)),
        ("mad.wide.s32 %rd12, %r1, %r2, %rd11;", |a, b| {
            ((i64::from(a as i32) * i64::from(b as i32)) as u64).wrapping_add(b)
        }),
        ("mul.hi.u32 %r3, %r1, %r2; cvt.u64.u32 %rd12, %r3;", |a, b| ((a & 0xffff_ffff) * (b & 0xffff_ffff)) >> 32),
        ("mul.hi.s32 %r3, %r1, %r2; cvt.s64.s32 %rd12, %r3;", |a, b| {
            ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u64
        }),
        ("cvt.s64.s32 %rd12, %r1;", |a, _| i64::from(a as i32) as u64),
        ("shl.b64 %rd12, %rd10, %r2;", |a, b| if b & 0xffff_ffff < 64 { a << (b & 63) } else { 0 }),
        ("shr.u64 %rd12, %rd10, %r2;", |a, b| if b & 0xffff_ffff < 64 { a >> (b & 63) } else { 0 }),
        ("shr.s64 %rd12, %rd10, %r2;", |a, b| ((a as i64) >> (b & 0xffff_ffff).min(63)) as u64),
        ("min.u64 %rd12, %rd10, %rd11;", u64::min),
        ("max.s64 %rd12, %rd10, %rd11;", |a, b| (a as i64).max(b as i64) as u64),
        ("setp.lt.u64 %p1, %rd10, %rd11; selp.b64 %rd12, 1, 0, %p1;", |a, b| u64::from(a < b)),
        ("setp.lt.s64 %p1, %rd10, %rd11; selp.b64 %rd12, 1, 0, %p1;", |a, b| u64::from((a as i64) < (b as i64))),
        // 32 bits at a time, the carry between them.
        (
            "mov.b64 {%r3, %r4}, %rd10; mov.b64 {%r5, %r6}, %rd11; add.cc.u32 %r7, %r3, %r5; addc.u32 %r8, %r4, %r6;
             mov.b64 %rd12, {%r7, %r8};",
            u64::wrapping_add,
        ),
        (
            "mov.b64 {%r3, %r4}, %rd10; mov.b64 {%r5, %r6}, %rd11; sub.cc.u32 %r7, %r3, %r5; subc.u32 %r8, %r4, %r6;
             mov.b64 %rd12, {%r7, %r8};",
            u64::wrapping_sub,
        ),
        (
            "setp.eq.u64 %p1, %rd11, 0; @%p1 mov.u64 %rd11, 3; div.u64 %rd13, %rd10, %rd11; rem.u64 %rd14, %rd10, %rd11;
             mad.lo.u64 %rd12, %rd13, %rd11, %rd14;",
            |a, _| a,
        ),
    ];
    for (body, wanted) in table {
        for (a, b, got) in of_pairs(body) {
            assert_eq!(got, wanted(a, b), "{body} of {a:#x}, {b:#x}");
        }
    }
}

#[test]
fn an_address_is_its_base_plus_its_offset_across_4_gib() {
    // The allocation begins at a multiple of 256; element 2³⁰ of 4 bytes lies 4 GiB on. Registers and immediate offsets of
    // either sign must reach the same word.
    let text = ".version 8.4 .target sm_80 .address_size 64 .visible .entry k(.param .u64 p) { .reg .b64 %rd<12>;
        .reg .b32 %r<8>; ld.param.u64 %rd1, [p]; mov.u32 %r1, 0x40000000; mov.u32 %r2, 7; mul.wide.u32 %rd2, %r1, 4;
        add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r2; ld.global.u32 %r3, [%rd3];
        mad.wide.u32 %rd4, %r1, 4, %rd1; add.s64 %rd5, %rd4, 4096; ld.global.u32 %r4, [%rd5+-4096];
        add.s64 %rd6, %rd4, -4; ld.global.u32 %r5, [%rd6+4]; mul.wide.s32 %rd7, %r1, -4; sub.s64 %rd8, %rd1, %rd7;
        ld.global.u32 %r6, [%rd8]; add.u32 %r3, %r3, %r4; add.u32 %r3, %r3, %r5; add.u32 %r3, %r3, %r6;
        st.global.u32 [%rd1], %r3; ret; }";
    let mut gpu = Gpu::new(Config::default());
    let id = gpu.load(parse(text).unwrap()).unwrap();
    let kernel = gpu.kernel(id, "k").unwrap();
    let base = gpu.allocate("huge", 1 << 33).unwrap();
    let grid = Grid { grid: [1; 3], block: [1; 3], shared_bytes: 0, cooperative: false };
    gpu.launch(kernel, &grid, &base.to_le_bytes()).unwrap();
    let mut word = [0; 4];
    gpu.read(base, &mut word).unwrap();
    assert_eq!(u32::from_le_bytes(word), 4 * 7);
}

//! Matrix instructions end to end.

use super::*;
use half::bf16;

#[test]
fn a_warp_multiplies_matrices_through_shared_memory() {
    // A is 16 × 16, B is 16 × 8 stored by rows (so that it is loaded transposed), both bf16 with small integers.
    let a: Vec<Vec<f32>> =
        (0..16).map(|i| (0..16).map(|k| ((i * 7 + k * 3) % 11) as f32 - 5.0).collect()).collect();
    let b: Vec<Vec<f32>> =
        (0..16).map(|k| (0..8).map(|j| ((k * 5 + j) % 7) as f32 - 3.0).collect()).collect();
    let elements: Vec<u16> =
        a.iter().chain(&b).flatten().map(|&value| bf16::from_f32(value).to_bits()).collect();
    let input: Vec<u32> =
        elements.chunks_exact(2).map(|pair| u32::from(pair[1]) << 16 | u32::from(pair[0])).collect();
    assert_eq!(input.len(), 192);
    // 768 bytes: 24 per thread in 8-byte copies.
    let body = ".shared .align 16 .b8 s[768];--- mov.u32 %r2, s; mul.lo.u32 %r3, %r0, 24; add.u32 %r4, %r2, %r3;
        cvt.u64.u32 %rd4, %r3; add.s64 %rd5, %rd3, %rd4; cp.async.ca.shared.global [%r4], [%rd5], 8;
        cp.async.ca.shared.global [%r4+8], [%rd5+8], 8; cp.async.ca.shared.global [%r4+16], [%rd5+16], 8;
        cp.async.commit_group; cp.async.wait_group 0; bar.sync 0;
        and.b32 %r5, %r0, 15; shl.b32 %r5, %r5, 5; shr.u32 %r6, %r0, 4; shl.b32 %r6, %r6, 4; add.u32 %r7, %r5, %r6;
        add.u32 %r7, %r7, %r2; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r7];
        and.b32 %r8, %r0, 15; shl.b32 %r8, %r8, 4; add.u32 %r8, %r8, %r2;
        ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r14, %r15}, [%r8+512];
        mov.f32 %f0, 0f00000000;
        mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r10, %r11, %r12, %r13}, {%r14, %r15},
            {%f0, %f0, %f0, %f0};
        shr.u32 %r20, %r0, 2; and.b32 %r21, %r0, 3; shl.b32 %r22, %r20, 5; shl.b32 %r23, %r21, 3; add.u32 %r22, %r22, %r23;
        cvt.u64.u32 %rd6, %r22; add.s64 %rd7, %rd2, %rd6; st.global.v2.f32 [%rd7], {%f1, %f2};
        st.global.v2.f32 [%rd7+256], {%f3, %f4};";
    let run = Run { out: 128, ..Run::default() }.input(input);
    let words = run.words(body, 128);
    for (i, row) in a.iter().enumerate() {
        for j in 0..8 {
            let expected: f32 = (0..16).map(|k| row[k] * b[k][j]).sum();
            assert_eq!(f32::from_bits(words[8 * i + j]), expected, "({i}, {j})");
        }
    }
    let (report, ..) = run.launch(body).unwrap();
    assert_eq!(report.counters.mma_flops, 2 * 16 * 8 * 16);
}

#[test]
fn matrices_are_transposed_in_registers() {
    let body = "shl.b32 %r2, %r0, 17; shl.b32 %r3, %r0, 1; or.b32 %r2, %r2, %r3; or.b32 %r2, %r2, 0x10000;
        movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r2;";
    // Element (i, j) is 8i + j before and 8j + i after.
    let expected: Vec<u32> = (0..32)
        .map(|t| {
            let (row, column) = (t / 4, 2 * (t % 4));
            (8 * (column + 1) + row) << 16 | (8 * column + row)
        })
        .collect();
    assert_eq!(warp(body), expected);
}

#[test]
fn matrix_instructions_need_the_whole_warp() {
    let fault = Run::default().fault(
        "setp.lt.u32 %p1, %r0, 16; @!%p1 bra E; movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r0; E: bar.sync 0;",
    );
    assert!(matches!(fault, Fault::Divergent { lanes: 0xffff, missing: 0xffff_0000, .. }), "{fault}");
}

/// Rows and columns of a lane's elements, as the manual gives them for each shape (PTX ISA 8.4, section 9.7.13.4): g is
/// lane / 4, t lane % 4, i the element's number in the lane.
type Place = fn(g: usize, t: usize, i: usize) -> (usize, usize);

struct Product {
    name: &'static str,
    k: usize,
    /// Elements of a lane in a, b, and c.
    elements: [usize; 3],
    a: Place,
    b: Place,
    /// Bits of an element of a and b, and of c and d.
    bits: [usize; 2],
    /// A small integer as an element of a or b, and of c or d.
    number: [fn(i32) -> u32; 2],
}

const HALF: fn(i32) -> u32 = |value| half::f16::from_f32(value as f32).to_bits().into();
const BRAIN: fn(i32) -> u32 = |value| bf16::from_f32(value as f32).to_bits().into();
const SINGLE: fn(i32) -> u32 = |value| (value as f32).to_bits();
const BYTE: fn(i32) -> u32 = |value| u32::from(value as u8);
const WORD: fn(i32) -> u32 = |value| value as u32;

const A_16_8: Place = |g, t, i| (g + i / 2 * 8, 2 * t + i % 2);
const B_16_8: Place = |g, t, i| (2 * t + i % 2, g);
const A_16_16: Place =
    |g, t, i| (if i / 2 % 2 == 0 { g } else { g + 8 }, 2 * t + i % 2 + if i >= 4 { 8 } else { 0 });
const B_16_16: Place = |g, t, i| (2 * t + i % 2 + if i >= 2 { 8 } else { 0 }, g);
const A_32: Place = |g, t, i| (if i % 2 == 0 { g } else { g + 8 }, t + if i >= 2 { 4 } else { 0 });
const B_32: Place = |g, t, i| (t + 4 * i, g);
const A_8_16: Place = |g, t, i| (if i < 4 { g } else { g + 8 }, 4 * t + i % 4);
const A_8_32: Place =
    |g, t, i| (if i / 4 % 2 == 0 { g } else { g + 8 }, 4 * t + i % 4 + if i >= 8 { 16 } else { 0 });
const B_8: Place = |g, t, i| (4 * t + i % 4 + if i >= 4 { 16 } else { 0 }, g);
/// Two columns of a row, then of the row eight further down.
const C: Place = |g, t, i| (if i < 2 { g } else { g + 8 }, 2 * t + i % 2);

const fn product(
    name: &'static str,
    k: usize,
    elements: [usize; 2],
    (a, b): (Place, Place),
    bits: [usize; 2],
    number: [fn(i32) -> u32; 2],
) -> Product {
    Product { name, k, elements: [elements[0], elements[1], 4], a, b, bits, number }
}

const PRODUCTS: [Product; 10] = [
    product("m16n8k8.row.col.f16.f16.f16.f16", 8, [4, 2], (A_16_8, B_16_8), [16, 16], [HALF, HALF]),
    product("m16n8k8.row.col.f32.f16.f16.f32", 8, [4, 2], (A_16_8, B_16_8), [16, 32], [HALF, SINGLE]),
    product("m16n8k8.row.col.f32.bf16.bf16.f32", 8, [4, 2], (A_16_8, B_16_8), [16, 32], [BRAIN, SINGLE]),
    product("m16n8k16.row.col.f16.f16.f16.f16", 16, [8, 4], (A_16_16, B_16_16), [16, 16], [HALF, HALF]),
    product("m16n8k16.row.col.f32.f16.f16.f32", 16, [8, 4], (A_16_16, B_16_16), [16, 32], [HALF, SINGLE]),
    product("m16n8k16.row.col.f32.bf16.bf16.f32", 16, [8, 4], (A_16_16, B_16_16), [16, 32], [BRAIN, SINGLE]),
    product("m16n8k4.row.col.f32.tf32.tf32.f32", 4, [2, 1], (A_32, B_32), [32, 32], [SINGLE, SINGLE]),
    product("m16n8k8.row.col.f32.tf32.tf32.f32", 8, [4, 2], (A_32, B_32), [32, 32], [SINGLE, SINGLE]),
    product("m16n8k16.row.col.s32.s8.s8.s32", 16, [8, 4], (A_8_16, B_8), [8, 32], [BYTE, WORD]),
    product("m16n8k32.row.col.s32.s8.s8.s32", 32, [16, 8], (A_8_32, B_8), [8, 32], [BYTE, WORD]),
];

#[test]
fn every_shape_of_mma_is_the_plain_product() {
    let value = |row: usize, column: usize, salt: usize| {
        ((row * 31 + column * 17 + row * column * 5 + salt) % 13) as i32 - 6
    };
    for shape in &PRODUCTS {
        let places = [shape.a, shape.b, C];
        let bits = [shape.bits[0], shape.bits[0], shape.bits[1]];
        let number = [shape.number[0], shape.number[0], shape.number[1]];
        // Word 32·register + lane, operand after operand.
        let mut input = Vec::new();
        let mut first = Vec::new();
        for operand in 0..3 {
            let packed = 32 / bits[operand];
            first.push(input.len() / 32);
            for register in 0..shape.elements[operand] / packed {
                for lane in 0..32 {
                    input.push((0..packed).fold(0, |word, part| {
                        let (row, column) = places[operand](lane / 4, lane % 4, register * packed + part);
                        word | number[operand](value(row, column, operand)) << (bits[operand] * part)
                    }));
                }
            }
        }
        let registers = input.len() / 32;
        let results = registers - first[2];
        let float = bits[2] == 32 && shape.name.contains(".f32");
        let list = |kind: &str, range: std::ops::Range<usize>| {
            let names: Vec<String> = range.map(|register| format!("%{kind}{register}")).collect();
            format!("{{{}}}", names.join(", "))
        };
        let mut body = String::new();
        for register in 0..registers {
            let at = 128 * register;
            let kind = if float && register >= first[2] { "f" } else { "r" };
            body += &format!("ld.global.b32 %{kind}{}, [%rd1+{at}];\n", register + 1);
        }
        let kind = if float { "f" } else { "r" };
        body += &format!(
            "mma.sync.aligned.{} {}, {}, {}, {};\n",
            shape.name,
            list(kind, 20..20 + results),
            list("r", 1..first[1] + 1),
            list("r", first[1] + 1..first[2] + 1),
            list(kind, first[2] + 1..registers + 1),
        );
        for register in 0..results {
            body += &format!("st.global.b32 [%rd0+{}], %{kind}{};\n", 128 * register, 20 + register);
        }
        let words = Run { out: 128, ..Run::default() }.input(input).words(&body, 32 * results);
        let packed = 32 / bits[2];
        for lane in 0..32 {
            for element in 0..4 {
                let (row, column) = C(lane / 4, lane % 4, element);
                let sum: i32 = (0..shape.k).map(|k| value(row, k, 0) * value(k, column, 1)).sum();
                let expected = number[2](sum + value(row, column, 2));
                let word = words[32 * (element / packed) + lane] >> (bits[2] * (element % packed));
                let got = if bits[2] == 32 { word } else { word & 0xffff };
                assert_eq!(got, expected, "{}: element {element} of lane {lane}", shape.name);
            }
        }
    }
}

#[test]
fn a_shape_of_mma_that_is_not_simulated_is_refused_when_it_is_loaded() {
    let body = "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r1, %r2}, {%r3}, {%r4}, {%r5, %r6};";
    let fault = Run::default().fault(body);
    assert!(matches!(&fault, Fault::Unsupported { text, .. } if text.contains("m8n8k16")), "{fault}");
}

#[test]
fn ldmatrix_hands_out_rows_or_columns_of_each_matrix() {
    // Four matrices of 8 × 8; element (i, j) of matrix m is 64m + 8i + j.
    let element = |m: usize, i: usize, j: usize| (64 * m + 8 * i + j) as u32;
    let input = (0..128usize).map(|word| ((2 * word as u32 + 1) << 16) | (2 * word as u32));
    for (count, suffix) in [(1usize, "x1"), (2, "x2"), (4, "x4")] {
        for transpose in [false, true] {
            let trans = if transpose { ".trans" } else { "" };
            let d = (1..=count).map(|r| format!("%r{}", r + 9)).collect::<Vec<_>>().join(", ");
            // Lane l writes words 4l to 4l + 3 and points at row l: the rows of matrix l / 8 lie one after another.
            let mut body = format!(
                ".shared .align 16 .b8 s[512];--- mov.u32 %r2, s; shl.b32 %r3, %r0, 4; add.u32 %r4, %r2, %r3;
                cvt.u64.u32 %rd4, %r3; add.s64 %rd5, %rd3, %rd4; ld.global.v4.u32 {{%r5, %r6, %r7, %r8}}, [%rd5];
                st.shared.v4.u32 [%r4], {{%r5, %r6, %r7, %r8}}; bar.sync 0;
                ldmatrix.sync.aligned.m8n8.{suffix}{trans}.shared.b16 {{{d}}}, [%r4];\n"
            );
            for register in 0..count {
                body += &format!("st.global.u32 [%rd0+{}], %r{};\n", 128 * register, register + 10);
            }
            let run = Run { out: 128, ..Run::default() }.input(input.clone());
            let words = run.words(&body, 32 * count);
            for (at, word) in words.into_iter().enumerate() {
                let (m, lane) = (at / 32, at % 32);
                let of = |part: usize| {
                    let (row, column) = (lane / 4, 2 * (lane % 4) + part);
                    if transpose { element(m, column, row) } else { element(m, row, column) }
                };
                assert_eq!(word, of(1) << 16 | of(0), "{suffix}{trans}: matrix {m}, lane {lane}");
            }
        }
    }
}

#[test]
fn stmatrix_puts_back_what_ldmatrix_takes() {
    // Of sm_90. Each lane's four registers, stored transposed and not, and read as the words they then are.
    for transpose in [false, true] {
        let trans = if transpose { ".trans" } else { "" };
        let body = format!(
            ".shared .align 16 .b8 s[512];--- mov.u32 %r2, s; shl.b32 %r3, %r0, 4; add.u32 %r4, %r2, %r3;
            ld.global.u32 %r10, [%rd1]; ld.global.u32 %r11, [%rd1+128]; ld.global.u32 %r12, [%rd1+256];
            ld.global.u32 %r13, [%rd1+384];
            stmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 [%r4], {{%r10, %r11, %r12, %r13}}; bar.sync 0;
            ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%r20, %r21, %r22, %r23}}, [%r4];
            st.global.u32 [%rd0], %r20; st.global.u32 [%rd0+128], %r21; st.global.u32 [%rd0+256], %r22;
            st.global.u32 [%rd0+384], %r23; ld.shared.u32 %r30, [%r4]; st.global.u32 [%rd0+512], %r30;"
        );
        let mut gpu =
            Gpu::new(Config { architecture: crate::numerics::Architecture::Hopper, ..Config::default() });
        let id = gpu.load(parse(&text(&body).replace("sm_80", "sm_90")).unwrap()).unwrap();
        let kernel = gpu.kernel(id, "k").unwrap();
        let (out, input) = (gpu.allocate("out", 640).unwrap(), gpu.allocate("in", 512).unwrap());
        let bytes: Vec<u8> = (0..256u16).flat_map(u16::to_le_bytes).collect();
        gpu.write(input, &bytes).unwrap();
        let params: Vec<u8> = [out, input].iter().flat_map(|word| word.to_le_bytes()).collect();
        let grid = Grid { grid: [1; 3], block: [32, 1, 1], shared_bytes: 0, cooperative: false };
        gpu.launch(kernel, &grid, &params).unwrap();
        let mut back = vec![0; 640];
        gpu.read(out, &mut back).unwrap();
        assert_eq!(back[..512], bytes);
        // The first word of row l: matrix l / 8, row l % 8, of which lane 4·row holds elements 0 and 1; transposed, lanes 0
        // and 4 hold column `row`'s, in the half that the row's parity says.
        for lane in 0..32usize {
            let word = u32::from_le_bytes(back[512 + 4 * lane..][..4].try_into().unwrap());
            let held = |m: usize, l: usize, part: usize| (2 * (32 * m + l) + part) as u32;
            let (m, row) = (lane / 8, lane % 8);
            let expected = if transpose {
                held(m, 4 + row / 2, row % 2) << 16 | held(m, row / 2, row % 2)
            } else {
                held(m, 4 * row, 1) << 16 | held(m, 4 * row, 0)
            };
            assert_eq!(word, expected, "{trans} row {lane}");
        }
    }
}

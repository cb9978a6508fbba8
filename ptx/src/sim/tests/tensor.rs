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

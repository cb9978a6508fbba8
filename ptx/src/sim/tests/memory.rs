//! Loads, stores, atomics and asynchronous copies end to end.

use super::*;

#[test]
fn elements_of_every_width_are_loaded_and_stored() {
    let run = Run::default().input([0x8081_8283, 0x1122_3344, 0xdead_beef, 0xcafe_f00d]);
    let word = |body: &str| run.words(&format!("{body}\nst.global.u32 [%rd0], %r1;"), 1)[0];
    assert_eq!(word("ld.global.u8 %r1, [%rd3+1];"), 0x82);
    assert_eq!(word("ld.global.s8 %r1, [%rd3+1];"), 0xffff_ff82);
    assert_eq!(word("ld.global.s16 %r1, [%rd3+2];"), 0xffff_8081);
    assert_eq!(word("ld.global.u16 %h0, [%rd3+2]; cvt.u32.u16 %r1, %h0;"), 0x8081);
    assert_eq!(word("ld.global.s32 %rd10, [%rd3]; shr.u64 %rd10, %rd10, 32; cvt.u32.u64 %r1, %rd10;"), !0);
    assert_eq!(word("ld.global.v4.u32 {%r2, %r1, %r3, %r4}, [%rd3];"), 0x1122_3344);
    assert_eq!(word("ld.global.v2.u64 {%rd10, %rd11}, [%rd3]; cvt.u32.u64 %r1, %rd11;"), 0xdead_beef);
    assert_eq!(word("ld.global.v2.u16 {%h0, %h1}, [%rd3+4]; cvt.u32.u16 %r1, %h1;"), 0x1122);
    assert_eq!(word("ld.global.v4.u8 {%r2, %r3, %r4, %r1}, [%rd3+4];"), 0x11);
    assert_eq!(word(".const .align 4 .u32 c[2] = {7, 8};--- ld.const.u32 %r1, [c+4];"), 8);
}

#[test]
fn parameters_are_read_by_name_and_by_address() {
    let body = "mov.b64 %rd4, out; ld.param.u64 %rd10, [%rd4+8]; sub.u64 %rd10, %rd10, %rd3;";
    assert_eq!(one_wide(body), 0);
    let body =
        "mov.b64 %rd4, out; cvta.param.u64 %rd5, %rd4; ld.u64 %rd10, [%rd5+8]; sub.u64 %rd10, %rd10, %rd3;";
    assert_eq!(one_wide(body), 0);
}

#[test]
fn generic_addresses_go_both_ways_and_reach_every_space() {
    let body = ".shared .align 8 .b8 s[16];--- .local .align 8 .b8 l[16];
        mov.u64 %rd4, s; cvta.shared.u64 %rd5, %rd4; setp.eq.u32 %p1, %r0, 0; mov.u32 %r2, 11;
        @%p1 st.u32 [%rd5+4], %r2; mov.u64 %rd6, l; cvta.local.u64 %rd7, %rd6; add.u32 %r3, %r0, 20; st.u32 [%rd7], %r3;
        bar.sync 0; cvta.to.shared.u64 %rd8, %rd5; ld.shared.u32 %r4, [%rd8+4]; ld.local.u32 %r5, [%rd6];
        // Half the lanes read local, half shared memory, in one instruction.
        setp.lt.u32 %p2, %r0, 16; add.u64 %rd5, %rd5, 4; selp.b64 %rd10, %rd5, %rd7, %p2; ld.u32 %r6, [%rd10];
        add.u32 %r1, %r4, %r5; mad.lo.u32 %r1, %r6, 1000, %r1;";
    let expected = (0..32).map(|t| 31 + t + 1000 * if t < 16 { 11 } else { 20 + t });
    assert_eq!(warp_with(body), expected.collect::<Vec<_>>());
}

/// As `warp`, with declarations before `---`.
fn warp_with(body: &str) -> Vec<u32> {
    Run::default().words(&format!("{body}\nst.global.u32 [%rd0], %r1;"), 32)
}

#[test]
fn module_variables_live_in_device_memory() {
    let body = ".global .align 4 .u32 counter = 5; .global .align 4 .b8 table[8];--- 
        mov.u64 %rd4, counter; ld.global.u32 %r2, [%rd4]; ld.global.u32 %r3, [table+4]; add.u32 %r1, %r2, %r3;";
    assert_eq!(warp_with(body), [5; 32]);
}

#[test]
fn atomics_return_what_was_there() {
    let body = "atom.global.add.u32 %r1, [%rd3], 2;";
    let mut words = warp(body);
    words.sort_unstable();
    assert_eq!(words, (0..32).map(|t| 2 * t).collect::<Vec<_>>());
    let (_, gpu, out) = Run::default()
        .launch(
            "mov.f32 %f0, 0f3f800000; st.global.f32 [%rd0], %f0; bar.sync 0; red.global.add.f32 [%rd2], %f0;",
        )
        .unwrap();
    let mut bytes = [0; 4];
    gpu.read(out, &mut bytes).unwrap();
    assert_eq!(f32::from_le_bytes(bytes), 33.0);
    let body = ".shared .align 8 .b8 s[8];--- mov.u32 %r2, s; setp.eq.u32 %p1, %r0, 0; mov.u64 %rd4, 0;
        @%p1 st.shared.u64 [%r2], %rd4; bar.sync 0; cvt.u64.u32 %rd5, %r0; atom.shared.max.u64 %rd6, [%r2], %rd5; bar.sync 0;
        ld.shared.u64 %rd7, [%r2]; cvt.u32.u64 %r1, %rd7;";
    assert_eq!(warp_with(body), [31; 32]);
}

const COPY: &str =
    ".shared .align 16 .b8 s[2048];--- mov.u32 %r2, s; shl.b32 %r3, %r0, 4; add.u32 %r4, %r2, %r3;
    cvt.u64.u32 %rd4, %r3; add.s64 %rd5, %rd3, %rd4;";

#[test]
fn copies_are_there_after_their_wait() {
    let run = Run { out: 128, ..Run::default() }.input(0..128);
    let body = format!(
        "{COPY} cp.async.cg.shared.global [%r4], [%rd5], 16; cp.async.commit_group; cp.async.wait_group 0;
         ld.shared.v4.u32 {{%r5, %r6, %r7, %r8}}, [%r4]; add.s64 %rd6, %rd2, %rd4;
         st.global.v4.u32 [%rd6], {{%r5, %r6, %r7, %r8}};"
    );
    assert_eq!(run.words(&body, 128), (0..128).collect::<Vec<_>>());
}

#[test]
fn copies_fill_with_zeros_past_their_source_bytes() {
    // Lane t copies min(t, 16) bytes; the first 16 are all that are initialised.
    let run = Run { out: 128, ..Run::default() }.input([0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d]);
    let body = format!(
        "{COPY} min.u32 %r9, %r0, 16; cp.async.cg.shared.global [%r4], [%rd3], 16, %r9; cp.async.wait_all;
         ld.shared.v4.u32 {{%r5, %r6, %r7, %r8}}, [%r4]; add.s64 %rd6, %rd2, %rd4;
         st.global.v4.u32 [%rd6], {{%r5, %r6, %r7, %r8}};"
    );
    let words = run.words(&body, 128);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (at, byte) in bytes.iter().enumerate() {
        let (lane, index) = (at / 16, at % 16);
        assert_eq!(usize::from(*byte), if index < lane { index + 1 } else { 0 });
    }
}

#[test]
fn a_copy_of_nothing_reads_nowhere() {
    let body = format!(
        "{COPY} mov.u64 %rd5, 16; cp.async.cg.shared.global [%r4], [%rd5], 16, 0; cp.async.wait_all;
        ld.shared.u32 %r1, [%r4];"
    );
    assert_eq!(warp_with(&body), [0; 32]);
}

#[test]
fn offsets_above_4_gib_reach_their_bytes() {
    let text = ".version 8.4 .target sm_80 .address_size 64 .visible .entry k(.param .u64 p) { .reg .b64 %rd<8>; .reg .b32 %r<4>;
        ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 0x40000000; add.s64 %rd3, %rd1, %rd2;
        st.global.u32 [%rd3+12], %r1; ret; }";
    let mut gpu = Gpu::new(Config::default());
    let id = gpu.load(parse(text).unwrap()).unwrap();
    let kernel = gpu.kernel(id, "k").unwrap();
    let base = gpu.allocate("huge", 1 << 40).unwrap();
    let grid = Grid { grid: [1; 3], block: [512, 1, 1], shared_bytes: 0, cooperative: false };
    let report = gpu.launch(kernel, &grid, &base.to_le_bytes()).unwrap();
    for thread in [0u64, 3, 4, 7, 511] {
        let mut bytes = [0; 4];
        gpu.read(base + (thread << 30) + 12, &mut bytes).unwrap();
        assert_eq!(u64::from(u32::from_le_bytes(bytes)), thread);
    }
    assert_eq!(report.footprint.written.len(), 512);
    assert_eq!(report.counters.unique_bytes_written, 2048);
}

#[test]
fn results_do_not_depend_on_host_threads() {
    let body = "mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 32, %r0; mul.wide.u32 %rd4, %r2, 4; add.s64 %rd5, %rd2, %rd4;
        mad.lo.u32 %r3, %r2, 7, 1; st.global.u32 [%rd5], %r3;";
    let run = |threads| {
        let config = Config { threads, ..Config::default() };
        let run = Run { grid: [50, 1, 1], out: 1600, config, ..Run::default() };
        let (report, gpu, out) = run.launch(body).unwrap();
        let mut bytes = vec![0; 6400];
        gpu.read(out, &mut bytes).unwrap();
        (report, bytes)
    };
    let (one, four) = (run(1), run(4));
    assert!(one == four);
    assert_eq!(one.0.footprint.written.len(), 1);
    assert_eq!(one.0.counters.global_writes.sectors, 50 * 4);
}

#[test]
fn chosen_blocks_run_and_the_others_stay_out() {
    // out[4 · block] = block.
    let body = "mov.u32 %r1, %ctaid.x; mul.wide.u32 %rd4, %r1, 4; add.s64 %rd5, %rd2, %rd4; st.global.u32 [%rd5], %r1;";
    let mut gpu = Gpu::new(Config::default());
    let module = gpu.load(parse(&text(body)).unwrap()).unwrap();
    let kernel = gpu.kernel(module, "k").unwrap();
    let out = gpu.allocate_zeroed("out", 64).unwrap();
    let params: Vec<u8> = [out, out].iter().flat_map(|word| word.to_le_bytes()).collect();
    let grid = Grid { grid: [8, 1, 1], block: [1, 1, 1], shared_bytes: 0, cooperative: false };
    let report = gpu.launch_blocks(kernel, &grid, &params, &[7, 2]).unwrap();
    assert_eq!(report.counters.global_writes.requests, 2);
    let mut words = [0; 32];
    gpu.read(out, &mut words).unwrap();
    let written: Vec<u8> = words.chunks_exact(4).map(|word| word[0]).collect();
    assert_eq!(written, [0, 0, 2, 0, 0, 0, 0, 7]);
    let refused = gpu.launch_blocks(kernel, &grid, &params, &[8]).unwrap_err().to_string();
    assert!(refused.contains("block 8 of a grid of 8"), "{refused}");
}

//! Barriers, shuffles, votes, with and without divergence.

use super::*;

const REVERSE: &str = ".shared .align 4 .b8 buffer[4096];---";

#[test]
fn a_barrier_lets_warps_exchange_values() {
    // Every schedule gives the same: thread t reads what thread 127 − t wrote.
    let body = format!(
        "{REVERSE} mov.u32 %r2, buffer; shl.b32 %r3, %r0, 2; add.u32 %r3, %r2, %r3; st.shared.u32 [%r3], %r0;
         bar.sync 0; sub.u32 %r4, 127, %r0; shl.b32 %r4, %r4, 2; add.u32 %r4, %r2, %r4; ld.shared.u32 %r1, [%r4];
         st.global.u32 [%rd0], %r1;"
    );
    for seed in 0..20 {
        let run = Run { out: 128, config: Config { seed, ..Config::default() }, ..Run::threads(128) };
        assert_eq!(run.words(&body, 128), (0..128).rev().collect::<Vec<_>>());
    }
}

#[test]
fn counted_barriers_pair_producers_with_consumers() {
    // Warp 0 arrives and goes on, warp 1 waits for it; warps 2 and 3 never come to barrier 1.
    let body = format!(
        "{REVERSE} mov.u32 %r2, buffer; setp.gt.u32 %p3, %r0, 63; @%p3 bra E; setp.gt.u32 %p1, %r0, 31; @%p1 bra W;
         st.shared.u32 [%r2], 77; bar.arrive 1, 64; bra E; W: bar.sync 1, 64; ld.shared.u32 %r1, [%r2];
         st.global.u32 [%rd0], %r1; E: bar.sync 0;"
    )
    .replace("st.shared.u32 [%r2], 77", "setp.eq.u32 %p4, %r0, 0; mov.u32 %r5, 77; @%p4 st.shared.u32 [%r2], %r5");
    for seed in 0..20 {
        let run = Run { config: Config { seed, ..Config::default() }, out: 128, ..Run::threads(128) };
        let (_, gpu, out) = run.launch(&body).unwrap_or_else(|fault| panic!("{fault}"));
        let mut bytes = [0; 4];
        gpu.read(out + 4 * 40, &mut bytes).unwrap();
        assert_eq!(bytes, [77, 0, 0, 0]);
    }
}

#[test]
fn barriers_reduce_predicates_over_the_block() {
    let body = "setp.lt.u32 %p1, %r0, 37; bar.red.popc.u32 %r1, 0, %p1; bar.red.and.pred %p2, 0, %p1;
        bar.red.or.pred %p3, 0, %p1; selp.u32 %r2, 1000, 0, %p2; selp.u32 %r3, 2000, 0, %p3; add.u32 %r1, %r1, %r2;
        add.u32 %r1, %r1, %r3; st.global.u32 [%rd0], %r1;";
    assert_eq!(Run { out: 96, ..Run::threads(96) }.words(body, 96), [2037; 96]);
}

#[test]
fn exited_threads_hold_up_no_barrier_of_the_whole_block() {
    let body = "mov.u32 %r1, 3; setp.ge.u32 %p1, %r0, 32; st.global.u32 [%rd0], %r1; @%p1 exit; bar.sync 0;";
    Run::threads(64).words(body, 64);
    // A counted barrier waits for them in vain.
    let body = "setp.ge.u32 %p1, %r0, 32; @%p1 exit; bar.sync 2, 64;";
    let fault = Run::threads(64).fault(body);
    let Fault::BarrierStuck { barrier, arrived, expected, exited, waiting, .. } = &fault else {
        panic!("{fault}")
    };
    assert_eq!((*barrier, *arrived, *expected, *exited, waiting.len()), (2, 32, 64, 32, 1));
}

#[test]
fn a_barrier_that_some_warps_skip_is_reported_with_who_waits() {
    // Warp 1 waits at another barrier.
    let body = "setp.ge.u32 %p1, %r0, 32; @%p1 bra W; bar.sync 0; bra E; W: bar.sync 1; E:";
    let fault = Run::threads(64).fault(body);
    let text = fault.to_string();
    assert!(text.contains("bar.sync 0") && text.contains("bar.sync 1"), "{text}");
    assert!(matches!(fault, Fault::BarrierStuck { .. }));
}

#[test]
fn an_aligned_barrier_in_divergent_code_is_reported() {
    let fault =
        Run::default().fault("setp.lt.u32 %p1, %r0, 16; @%p1 bra A; bar.sync 0; bra E; A: bar.sync 0; E:");
    let Fault::Divergent { lanes, missing, others, .. } = &fault else { panic!("{fault}") };
    assert_eq!((lanes | missing, lanes & missing, others.len()), (!0, 0, 1));
    let fault = Run::default().fault("setp.lt.u32 %p1, %r0, 16; @%p1 bar.sync 0; bar.sync 0;");
    assert!(matches!(fault, Fault::Divergent { lanes: 0xffff, missing: 0xffff_0000, .. }), "{fault}");
    // Without .aligned each thread counts for itself, wherever it is.
    let body =
        "setp.lt.u32 %p1, %r0, 16; @%p1 bra A; barrier.sync 0; bra E; A: barrier.sync 0; E: mov.u32 %r1, 1;";
    assert_eq!(one(body), 1);
}

#[test]
fn barrier_operands_are_checked() {
    for (body, want) in [
        ("mov.u32 %r2, 16; bar.sync %r2;", "16 barriers"),
        ("mov.u32 %r2, 48; bar.sync 0, %r2;", "multiple of 32"),
        ("mov.u32 %r2, 64; bar.sync 0, %r2;", "from 32 to 32"),
        ("barrier.sync %r0;", "different barriers"),
    ] {
        let text = Run::default().fault(body).to_string();
        assert!(text.contains(want), "{text}");
    }
}

#[test]
fn shuffles_follow_their_segments_and_clamps() {
    let shuffle = |mode: &str, b: &str, c: &str| {
        warp(&format!(
            "add.u32 %r2, %r0, 100; shfl.sync.{mode}.b32 %r1|%p1, %r2, {b}, {c}, -1; @!%p1 add.u32 %r1, %r1, 1000;"
        ))
    };
    let expect = |f: &dyn Fn(u32) -> u32| (0..32).map(f).collect::<Vec<_>>();
    assert_eq!(shuffle("bfly", "5", "31"), expect(&|t| 100 + (t ^ 5)));
    assert_eq!(shuffle("up", "3", "0"), expect(&|t| if t >= 3 { 97 + t } else { 1100 + t }));
    assert_eq!(shuffle("down", "3", "31"), expect(&|t| if t < 29 { 103 + t } else { 1100 + t }));
    assert_eq!(shuffle("idx", "9", "31"), expect(&|_| 109));
    // Width 8: c = (32 − 8) << 8 | clamp.
    assert_eq!(shuffle("up", "3", "0x1800"), expect(&|t| if t % 8 >= 3 { 97 + t } else { 1100 + t }));
    assert_eq!(shuffle("down", "3", "0x181f"), expect(&|t| if t % 8 < 5 { 103 + t } else { 1100 + t }));
    assert_eq!(shuffle("idx", "10", "0x181f"), expect(&|t| 100 + (t & !7) + 2));
    assert_eq!(shuffle("bfly", "16", "0x181f"), expect(&|t| if t < 16 { 1100 + t } else { 84 + t }));
}

#[test]
fn a_shuffle_waits_for_the_lanes_its_mask_names() {
    // The halves come to one shuffle by different ways, and each half shuffles within itself.
    let body = "setp.lt.u32 %p1, %r0, 16; @%p1 bra A; mov.u32 %r3, 0xffff0000; bra S; A: mov.u32 %r3, 0xffff;
        S: shfl.sync.bfly.b32 %r1, %r0, 1, 31, %r3;";
    assert_eq!(warp(body), (0..32).map(|t| t ^ 1).collect::<Vec<_>>());
    // Inside a branch with the mask of that branch.
    let body = "mov.u32 %r1, 50; setp.lt.u32 %p1, %r0, 16; @!%p1 bra E; shfl.sync.idx.b32 %r1, %r0, 3, 31, 0xffff; E:";
    assert_eq!(warp(body), (0..32).map(|t| if t < 16 { 3 } else { 50 }).collect::<Vec<_>>());
}

#[test]
fn a_shuffle_whose_lanes_cannot_come_is_divergent() {
    let body =
        "setp.lt.u32 %p1, %r0, 16; @!%p1 bra E; shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1; E: bar.sync 0;";
    let fault = Run::default().fault(body);
    let Fault::Divergent { site, lanes, missing, others } = &fault else { panic!("{fault}") };
    assert_eq!((*lanes, *missing), (0xffff, 0xffff_0000));
    assert!(site.text.starts_with("shfl.sync") && others[0].site.text.starts_with("bar.sync"), "{fault}");
}

#[test]
fn shuffles_refuse_strangers() {
    let fault = Run::default().fault("shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffff;");
    assert!(matches!(fault, Fault::NotMember { lane: 16, mask: 0xffff, .. }), "{fault}");
    let body = "setp.lt.u32 %p1, %r0, 16; @!%p1 bra E; shfl.sync.idx.b32 %r1, %r0, 20, 31, 0xffff; E:";
    let fault = Run::default().fault(body);
    assert!(matches!(fault, Fault::ShuffleSource { lane: 0, from: 20, lanes: 0xffff, .. }), "{fault}");
}

#[test]
fn votes_and_matches_see_the_lanes_of_their_mask() {
    assert_eq!(one("setp.lt.u32 %p1, %r0, 5; vote.sync.ballot.b32 %r1, %p1, -1;"), 0x1f);
    let vote = |mode: &str, at: u32| {
        one(&format!(
            "setp.lt.u32 %p1, %r0, {at}; vote.sync.{mode}.pred %p2, %p1, -1; selp.u32 %r1, 1, 0, %p2;"
        ))
    };
    assert_eq!([vote("all", 32), vote("all", 31), vote("any", 1), vote("any", 0)], [1, 0, 1, 0]);
    assert_eq!([vote("uni", 32), vote("uni", 0), vote("uni", 3)], [1, 1, 0]);
    let body = "setp.lt.u32 %p1, %r0, 5; setp.lt.u32 %p3, %r0, 16; mov.u32 %r1, 0; @!%p3 bra E;
        vote.sync.ballot.b32 %r1, !%p1, 0xffff; E:";
    assert_eq!(one(body), 0xffe0);
    assert_eq!(warp("and.b32 %r2, %r0, 3; match.any.sync.b32 %r1, %r2, -1;")[6], 0x4444_4444);
    let all = "mov.u64 %rd4, 9; match.all.sync.b64 %r1|%p1, %rd4, -1; @!%p1 mov.u32 %r1, 1;";
    assert_eq!(one(all), !0);
    assert_eq!(one("match.all.sync.b32 %r1|%p1, %r0, -1; @!%p1 add.u32 %r1, %r1, 3;"), 3);
}

#[test]
fn warps_reduce_integers() {
    let redux = |op: &str| one(&format!("sub.s32 %r2, %r0, 3; redux.sync.{op} %r1, %r2, -1;"));
    assert_eq!(redux("add.s32"), (0..32).sum::<u32>() - 96);
    assert_eq!(
        [redux("min.s32"), redux("min.u32"), redux("max.s32"), redux("max.u32")],
        [-3i32 as u32, 0, 28, !0]
    );
    assert_eq!([redux("and.b32"), redux("or.b32")], [0, !0]);
}

#[test]
fn a_warp_barrier_joins_lanes_from_different_places() {
    let body = "setp.lt.u32 %p1, %r0, 16; @%p1 bra A; bar.warp.sync -1; mov.u32 %r1, 2; bra E;
        A: bar.warp.sync -1; mov.u32 %r1, 1; E:";
    assert_eq!(warp(body), (0..32).map(|t| if t < 16 { 1 } else { 2 }).collect::<Vec<_>>());
    let fault =
        Run::default().fault("setp.lt.u32 %p1, %r0, 16; @!%p1 bra E; bar.warp.sync -1; E: bar.sync 0;");
    assert!(matches!(fault, Fault::Divergent { lanes: 0xffff, .. }), "{fault}");
}

#[test]
fn blocks_that_wait_for_each_other_need_to_be_resident() {
    // A grid barrier: each block counts itself and waits for all.
    let body = "setp.ne.u32 %p1, %r0, 0; @%p1 bra E; atom.global.add.u32 %r2, [%rd3], 1; fence.acq_rel.gpu;
        S: ld.acquire.gpu.global.u32 %r3, [%rd3]; setp.lt.u32 %p2, %r3, 6; @%p2 bra S; E: bar.sync 0;";
    let config = Config { instruction_limit: 50_000, resident_blocks: Some(2), ..Config::default() };
    let run = Run { grid: [6, 1, 1], config, ..Run::default() };
    let fault = run.fault(body);
    assert!(matches!(fault, Fault::NotResident { resident: 2, blocks: 6, waiting: 4, .. }), "{fault}");
    Run { cooperative: true, ..run }.launch(body).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn parted_lanes_exchange_among_themselves_in_every_mode() {
    // Even lanes go one way and odd ones another; each half shuffles, votes, matches and adds with its own mask, at its own
    // instruction, and they meet again.
    let way = |mask: u32, step: u32| {
        format!(
            "shfl.sync.bfly.b32 %r1, %r0, 2, 31, {mask}; shfl.sync.up.b32 %r2|%p1, %r0, {step}, 0, {mask};
             shfl.sync.down.b32 %r3|%p2, %r0, {step}, 31, {mask}; shfl.sync.idx.b32 %r4, %r0, %r0, 31, {mask};
             setp.lt.u32 %p3, %r0, 9; vote.sync.ballot.b32 %r5, %p3, {mask}; vote.sync.all.pred %p4, %p3, {mask};
             vote.sync.any.pred %p5, %p3, {mask}; redux.sync.add.s32 %r6, %r0, {mask}; shr.u32 %r20, %r0, 3;
             match.any.sync.b32 %r7, %r20, {mask}; activemask.b32 %r8; selp.u32 %r9, 1, 0, %p5; @%p4 add.u32 %r9, %r9, 8;"
        )
    };
    let (even, odd) = (0x5555_5555u32, 0xaaaa_aaaau32);
    let body = format!(
        "and.b32 %r20, %r0, 1; setp.eq.u32 %p10, %r20, 1; @%p10 bra ODD;\n{}\nbra.uni END;\nODD: {}\nEND: activemask.b32 %r10;
         mul.wide.u32 %rd4, %r0, 36; add.s64 %rd5, %rd0, %rd4; st.global.u32 [%rd5], %r1; st.global.u32 [%rd5+4], %r2;
         st.global.u32 [%rd5+8], %r3; st.global.u32 [%rd5+12], %r4; st.global.u32 [%rd5+16], %r5;
         st.global.u32 [%rd5+20], %r6; st.global.u32 [%rd5+24], %r7; st.global.u32 [%rd5+28], %r8;
         st.global.u32 [%rd5+32], %r9; st.global.u32 [%rd5+36], %r10;",
        way(even, 2),
        way(odd, 4)
    );
    let words = Run { out: 320, ..Run::default() }.words(&body, 320);
    for (lane, got) in words.chunks_exact(10).enumerate() {
        let (lane, mask, step) =
            (lane as u32, if lane % 2 == 0 { even } else { odd }, if lane % 2 == 0 { 2 } else { 4 });
        let sum: u32 = (0..32).filter(|other| mask >> other & 1 == 1).sum();
        let wanted = [
            lane ^ 2,
            if lane >= step { lane - step } else { lane },
            if lane + step < 32 { lane + step } else { lane },
            lane,
            mask & 0x1ff,
            sum,
            mask & 0xff << (lane / 8 * 8),
            mask,
            1,
            !0,
        ];
        assert_eq!(got, wanted, "lane {lane}");
    }
}

#[test]
fn a_loop_that_lanes_leave_votes_among_those_that_stay() {
    // Turn i has the lanes from i on: their mask is kept by ballot before they part.
    let body = "mov.u32 %r2, 0; mov.u32 %r1, 0; mov.u32 %r3, -1;
        L: setp.lt.u32 %p1, %r2, %r0; vote.sync.ballot.b32 %r4, %p1, %r3; @!%p1 bra E; mov.u32 %r3, %r4;
        popc.b32 %r5, %r3; add.u32 %r1, %r1, %r5; shfl.sync.idx.b32 %r6, %r2, 31, 31, %r3; setp.ne.u32 %p2, %r6, %r2; @%p2 trap;
        add.u32 %r2, %r2, 1; bra L; E: bar.warp.sync -1;";
    // In turn i, lanes i + 1 to 31 stay: 31 − i of them.
    let expected: Vec<u32> = (0..32).map(|t| (0..t).map(|i| 31 - i).sum()).collect();
    assert_eq!(warp(body), expected);
}

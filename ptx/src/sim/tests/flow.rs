//! Lanes that part and meet.

use super::*;

#[test]
fn both_sides_of_a_branch_run_and_meet_again() {
    let body = "setp.lt.u32 %p1, %r0, 10; mov.u32 %r1, 0; @%p1 bra A; add.u32 %r1, %r1, 2; bra B;
        A: add.u32 %r1, %r1, 1; B: activemask.b32 %r2; popc.b32 %r2, %r2; shl.b32 %r2, %r2, 8; or.b32 %r1, %r1, %r2;";
    let expected: Vec<u32> = (0..32).map(|t| 32 << 8 | if t < 10 { 1 } else { 2 }).collect();
    assert_eq!(warp(body), expected);
}

#[test]
fn lanes_leave_a_loop_one_by_one_and_go_on_together() {
    // Collatz steps of tid + 1, with a break out of the middle.
    let body = "add.u32 %r2, %r0, 1; mov.u32 %r1, 0;
        L: setp.eq.u32 %p1, %r2, 1; @%p1 bra E; add.u32 %r1, %r1, 1; and.b32 %r3, %r2, 1; setp.eq.u32 %p2, %r3, 1;
        @%p2 bra O; shr.u32 %r2, %r2, 1; bra.uni L; O: mad.lo.u32 %r2, %r2, 3, 1; bra L;
        E: activemask.b32 %r4; setp.ne.u32 %p3, %r4, -1; @%p3 trap;";
    let steps = |mut n: u32| {
        let mut steps = 0;
        while n != 1 {
            n = if n % 2 == 1 { 3 * n + 1 } else { n / 2 };
            steps += 1;
        }
        steps
    };
    assert_eq!(warp(body), (1..=32).map(steps).collect::<Vec<_>>());
}

#[test]
fn nested_loops_with_breaks_to_different_depths_work() {
    // for i in 0..5 { for j in 0..7 { if i·j == tid { out = 100i + j; goto done } if j > i + 2 { break } } }
    let body = "mov.u32 %r1, 9999; mov.u32 %r2, 0;
        I: setp.ge.u32 %p1, %r2, 5; @%p1 bra D; mov.u32 %r3, 0;
        J: setp.ge.u32 %p2, %r3, 7; @%p2 bra N; mul.lo.u32 %r4, %r2, %r3; setp.eq.u32 %p3, %r4, %r0; @%p3 bra H;
        add.u32 %r5, %r2, 2; setp.gt.u32 %p4, %r3, %r5; @%p4 bra N; add.u32 %r3, %r3, 1; bra J;
        N: add.u32 %r2, %r2, 1; bra I;
        H: mad.lo.u32 %r1, %r2, 100, %r3; D: bar.warp.sync -1;";
    let model = |tid: u32| {
        for i in 0..5 {
            for j in 0..7 {
                if i * j == tid {
                    return 100 * i + j;
                }
                if j > i + 2 {
                    break;
                }
            }
        }
        9999
    };
    assert_eq!(warp(body), (0..32).map(model).collect::<Vec<_>>());
}

#[test]
fn irreducible_flow_works() {
    // A loop of two blocks, entered at either: odd threads at Y, even ones at X. Each pass through X adds 1, through
    // Y 100, until the budget of tid + 1 passes is used.
    let body =
        "mov.u32 %r1, 0; add.u32 %r2, %r0, 1; and.b32 %r3, %r0, 1; setp.eq.u32 %p1, %r3, 1; @%p1 bra Y;
        X: setp.eq.u32 %p2, %r2, 0; @%p2 bra E; sub.u32 %r2, %r2, 1; add.u32 %r1, %r1, 1;
        Y: setp.eq.u32 %p2, %r2, 0; @%p2 bra E; sub.u32 %r2, %r2, 1; add.u32 %r1, %r1, 100; bra X; E:";
    let model = |tid: u32| {
        let (mut left, mut sum, mut at_x) = (tid + 1, 0, tid.is_multiple_of(2));
        while left > 0 {
            sum += if at_x { 1 } else { 100 };
            left -= 1;
            at_x = !at_x;
        }
        sum
    };
    assert_eq!(warp(body), (0..32).map(model).collect::<Vec<_>>());
}

#[test]
fn a_table_of_branches_sends_each_lane_its_way() {
    let body = "rem.u32 %r2, %r0, 3; T: .branchtargets A, B, C; brx.idx %r2, T;
        A: mov.u32 %r1, 10; bra E; B: mov.u32 %r1, 20; bra E; C: mov.u32 %r1, 30;
        E: activemask.b32 %r3; setp.ne.u32 %p1, %r3, -1; @%p1 trap;";
    assert_eq!(warp(body), (0..32).map(|t| 10 * (t % 3 + 1)).collect::<Vec<_>>());
    let fault = Run::default().fault("T: .branchtargets A; brx.idx %r0, T; A:");
    assert!(matches!(&fault, Fault::Operand { site, .. } if site.thread == Some([1, 0, 0])), "{fault}");
}

#[test]
fn early_exit_leaves_the_others_running() {
    let body = "mov.u32 %r1, 7; st.global.u32 [%rd0], %r1; setp.gt.u32 %p1, %r0, 4; @%p1 exit;
        mov.u32 %r1, 8; bar.sync 0; st.global.u32 [%rd0], %r1;";
    let words = Run::threads(64).words(body, 64);
    assert_eq!(words, (0..64).map(|t| if t > 4 { 7 } else { 8 }).collect::<Vec<_>>());
}

#[test]
fn uniform_branches_must_be() {
    let fault = Run::default().fault("setp.lt.u32 %p1, %r0, 3; @%p1 bra.uni A; A:");
    let Fault::NotUniform { site, lanes, taken } = &fault else { panic!("{fault}") };
    assert_eq!((*lanes, *taken, site.thread), (!0, 7, Some([0, 0, 0])));
    assert!(site.text.contains("bra.uni"), "{site}");
    assert_eq!(one("setp.lt.u32 %p1, %r0, 64; mov.u32 %r1, 1; @%p1 bra.uni A; mov.u32 %r1, 2; A:"), 1);
}

#[test]
fn a_lane_that_spins_lets_the_others_of_its_warp_run() {
    // Lane 0 loops until lane 31, whose path comes later in the text, has set the flag.
    let body = "setp.eq.u32 %p1, %r0, 0; @%p1 bra S; bra T;
        S: ld.volatile.global.u32 %r2, [%rd3]; setp.eq.u32 %p2, %r2, 0; @%p2 bra S; bra E;
        T: setp.ne.u32 %p3, %r0, 31; @%p3 bra E; mov.u32 %r3, 5; st.volatile.global.u32 [%rd3], %r3;
        E: mov.u32 %r1, 1;";
    assert_eq!(warp(body), vec![1; 32]);
}

#[test]
fn an_endless_loop_is_a_fault_with_its_place() {
    let run = Run { config: Config { instruction_limit: 10_000, ..Config::default() }, ..Run::default() };
    let fault = run.fault("L: add.u32 %r1, %r1, 1; bra L;");
    assert!(matches!(&fault, Fault::InstructionLimit { limit: 10_000, .. }), "{fault}");
}

#[test]
fn partial_warps_have_only_their_lanes() {
    let body = "activemask.b32 %r1; st.global.u32 [%rd0], %r1;";
    assert_eq!(Run::threads(40).words(body, 40)[39], 0xff);
    let body = "vote.sync.ballot.b32 %r1, 1, -1; st.global.u32 [%rd0], %r1;";
    assert_eq!(Run::threads(5).words(body, 5), [0x1f; 5]);
}

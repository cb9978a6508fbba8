//! What is wrong is reported as what it is, with its place.

use super::*;
use crate::{Operation, Unary};

#[test]
fn a_store_past_the_end_names_the_thread_and_the_allocation() {
    let run = Run { out: 31, ..Run::default() };
    let fault = run.fault("st.global.u32 [%rd0], %r0;");
    let Fault::OutOfBounds { site, access, space, bytes, near, .. } = &fault else { panic!("{fault}") };
    assert_eq!((site.thread, *access, *space, *bytes), (Some([31, 0, 0]), "store", "global", 4));
    assert_eq!((near.as_ref().unwrap().name.as_str(), near.as_ref().unwrap().bytes), ("out", 124));
    let text = fault.to_string();
    assert!(text.contains("0 bytes after the end of \"out\""), "{text}");
    assert!(text.contains("`st.global.u32 [%rd0], %r0;`"), "{text}");
}

#[test]
fn a_load_before_the_beginning_is_out_of_bounds() {
    let text = Run::default().fault("ld.global.u32 %r1, [%rd3+-4];").to_string();
    assert!(text.contains("4 bytes before \"in\""), "{text}");
}

#[test]
fn a_vector_that_begins_inside_and_ends_outside_is_out_of_bounds() {
    let fault = Run::default().input([0; 6]).fault("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd3+16];");
    assert!(matches!(&fault, Fault::OutOfBounds { bytes: 16, .. }), "{fault}");
}

#[test]
fn misaligned_vectors_are_refused() {
    let fault = Run::default().fault("ld.global.v2.u32 {%r1, %r2}, [%rd1];");
    let Fault::Misaligned { site, bytes: 8, .. } = &fault else { panic!("{fault}") };
    assert_eq!(site.thread, Some([1, 0, 0]));
    let fault =
        Run::default().fault(".shared .align 8 .b8 s[64];--- mov.u32 %r2, s; ld.shared.u64 %rd4, [%r2+4];");
    assert!(matches!(fault, Fault::Misaligned { space: "shared", .. }), "{fault}");
}

#[test]
fn reads_of_memory_nothing_wrote_are_reported_in_every_space() {
    let fault = Run::default().fault("ld.global.u32 %r1, [%rd0];");
    assert!(
        matches!(&fault, Fault::Uninitialized { space: "global", near: Some(near), .. } if near.name == "out")
    );
    let shared = ".shared .align 4 .b8 tile[256];--- mov.u32 %r2, tile;";
    let fault = Run::default().fault(&format!("{shared} ld.shared.u32 %r1, [%r2+8];"));
    assert!(
        matches!(&fault, Fault::Uninitialized { space: "shared", near: Some(near), .. } if near.name == "tile"),
        "{fault}"
    );
    let fault = Run::default().fault(".local .align 4 .b8 l[16]; ld.local.u32 %r1, [l];");
    assert!(matches!(fault, Fault::Uninitialized { space: "local", .. }), "{fault}");
    // Half a word is written.
    let fault = Run::default()
        .fault(&format!("{shared} mov.u16 %h0, 1; st.shared.u16 [%r2], %h0; ld.shared.u32 %r1, [%r2];"));
    assert!(matches!(fault, Fault::Uninitialized { .. } | Fault::Race { .. }), "{fault}");
}

#[test]
fn shared_memory_ends_where_the_launch_says() {
    let dynamic = ".extern .shared .align 16 .b8 dyn[];--- mov.u32 %r2, dyn; shl.b32 %r3, %r0, 2; add.u32 %r3, %r2, %r3;
        st.shared.u32 [%r3], %r0;";
    Run { shared: 128, ..Run::default() }.launch(dynamic).unwrap();
    let fault = Run { shared: 120, ..Run::default() }.fault(dynamic);
    let Fault::OutOfBounds { site, space: "shared", near: Some(near), .. } = &fault else {
        panic!("{fault}")
    };
    assert_eq!((site.thread, near.name.as_str(), near.bytes), (Some([30, 0, 0]), "dyn", 120));
    let text = Run::default().fault("mov.u32 %r2, 0; ld.shared.u32 %r1, [%r2];").to_string();
    assert!(text.contains("shared address 0x0 is out of bounds"), "{text}");
}

#[test]
fn freed_memory_is_named_as_such() {
    let mut gpu = Gpu::new(Config::default());
    let id = gpu.load(parse(&text("ld.global.u32 %r1, [%rd1];")).unwrap()).unwrap();
    let kernel = gpu.kernel(id, "k").unwrap();
    let gone = gpu.allocate("gone", 128).unwrap();
    gpu.fill(gone, 0, 128).unwrap();
    gpu.free(gone).unwrap();
    let params: Vec<u8> = [gone, gone].iter().flat_map(|word| word.to_le_bytes()).collect();
    let grid = Grid { grid: [1; 3], block: [32, 1, 1], shared_bytes: 0, cooperative: false };
    let fault = *gpu.launch(kernel, &grid, &params).unwrap_err();
    assert!(matches!(&fault, Fault::UseAfterFree { near, .. } if near.name == "gone"), "{fault}");
}

#[test]
fn races_name_both_threads() {
    // A block-wide exchange without its barrier.
    let body = ".shared .align 4 .b8 s[256];--- mov.u32 %r2, s; shl.b32 %r3, %r0, 2; add.u32 %r3, %r2, %r3;
        st.shared.u32 [%r3], %r0; xor.b32 %r4, %r0, 32; shl.b32 %r4, %r4, 2; add.u32 %r4, %r2, %r4; ld.shared.u32 %r1, [%r4];";
    let fault = Run::threads(64).fault(body);
    match &fault {
        Fault::Race { first, second, near, .. } => {
            assert!(first.thread.is_some() && second.thread.is_some() && first.thread != second.thread);
            assert_eq!(near.as_ref().unwrap().name, "s");
        }
        Fault::Uninitialized { .. } => {}
        other => panic!("{other}"),
    }
    // Two blocks write one word.
    let run = Run { grid: [2, 1, 1], ..Run::default() };
    let fault = run.fault("mov.u32 %r1, %ctaid.x; st.global.u32 [%rd0], %r1;");
    let Fault::Race { first, second, .. } = &fault else { panic!("{fault}") };
    assert_ne!(first.block, second.block);
}

#[test]
fn a_copy_that_nobody_waited_for_is_a_hazard() {
    let body = ".shared .align 16 .b8 s[512];--- mov.u32 %r2, s; shl.b32 %r3, %r0, 4; add.u32 %r4, %r2, %r3;
        cp.async.cg.shared.global [%r4], [%rd3], 16; cp.async.commit_group; ld.shared.u32 %r1, [%r4];";
    let fault = Run::default().fault(body);
    let text = fault.to_string();
    assert!(text.contains("cp.async not awaited"), "{text}");
    // Without the race checks the bytes simply are not there.
    let run = Run { config: Config { checks: false, ..Config::default() }, ..Run::default() };
    assert!(matches!(run.fault(body), Fault::Uninitialized { space: "shared", .. }));
}

#[test]
fn what_a_driver_refuses_is_refused() {
    let launch = |run: Run| match *run.launch("mov.u32 %r1, 0;").map(|_| ()).unwrap_err() {
        Fault::Launch { why, .. } => why,
        other => panic!("{other}"),
    };
    assert!(launch(Run { grid: [0, 1, 1], ..Run::default() }).contains("0"));
    assert!(launch(Run { grid: [1, 70_000, 1], ..Run::default() }).contains("65535"));
    assert!(launch(Run::threads(1025)).contains("1024"));
    assert!(launch(Run { shared: 200 << 10, ..Run::default() }).contains("at most"));
    assert!(
        launch(Run { grid: [100_000, 1, 1], cooperative: true, ..Run::default() }).contains("cooperative")
    );
}

#[test]
fn modules_of_a_newer_architecture_and_unknown_names_are_refused() {
    let mut gpu = Gpu::new(Config::default());
    let newer = text("").replace("sm_80", "sm_90a");
    assert!(matches!(gpu.load(parse(&newer).unwrap()), Err(Fault::Target { .. })));
    let id = gpu.load(parse(&text("")).unwrap()).unwrap();
    assert!(matches!(gpu.kernel(id, "other"), Err(Fault::NoKernel { have, .. }) if have == ["k"]));
}

#[test]
fn what_is_not_simulated_is_refused_at_load_with_its_text() {
    let mut module = parse(&text("not.b32 %r1, %r2;")).unwrap();
    let body = &mut module.kernels[0].body;
    let line = body.iter_mut().find(|line| matches!(line.operation, Operation::Unary { .. })).unwrap();
    let Operation::Unary { op, .. } = &mut line.operation else { unreachable!() };
    *op = Unary::Tanh;
    let fault = Gpu::new(Config::default()).load(module).unwrap_err();
    let Fault::Unsupported { kernel, text, why, .. } = &fault else { panic!("{fault}") };
    assert!(kernel == "k" && text == "not.b32 %r1, %r2;" && why.contains("Tanh"), "{fault}");
}

#[test]
fn trap_says_where() {
    let fault = Run::default().fault("setp.eq.u32 %p1, %r0, 9; @%p1 trap;");
    assert!(matches!(&fault, Fault::Trap { site } if site.thread == Some([9, 0, 0])), "{fault}");
}

#[test]
fn faults_carry_the_line_of_the_cuda_source() {
    let body = "st.global.u32 [%rd0+4096], %r0;";
    let text =
        text(body).replace(body, &format!(".loc 1 42 7\n{body}")) + "\n.file 1 \"/src/kernels/norm.cu\"\n";
    let mut gpu = Gpu::new(Config::default());
    let id = gpu.load(parse(&text).unwrap()).unwrap();
    let kernel = gpu.kernel(id, "k").unwrap();
    let out = gpu.allocate("out", 256).unwrap();
    let params: Vec<u8> = [out, out].iter().flat_map(|word| word.to_le_bytes()).collect();
    let grid = Grid { grid: [1; 3], block: [32, 1, 1], shared_bytes: 0, cooperative: false };
    let message = gpu.launch(kernel, &grid, &params).unwrap_err().to_string();
    assert!(message.contains("(norm.cu:42)"), "{message}");
}

#[test]
fn the_first_fault_in_order_is_reported_however_many_host_threads() {
    let body = "mov.u32 %r1, %ctaid.x; setp.gt.u32 %p1, %r1, 20; @%p1 trap;";
    let fault = |threads| {
        let config = Config { threads, ..Config::default() };
        Run { grid: [64, 1, 1], config, ..Run::default() }.fault(body)
    };
    let one = fault(1);
    for _ in 0..10 {
        assert_eq!(fault(4), one);
    }
}

#[test]
fn without_checks_the_footprint_still_holds_every_page() {
    // Two stores, 4 KiB of words apart and more.
    let body = "st.global.u32 [%rd0], %r0; st.global.u32 [%rd0+65536], %r0;";
    let run = Run { config: Config { checks: false, ..Config::default() }, out: 1 << 15, ..Run::default() };
    let (report, _, out) = run.launch(body).unwrap();
    assert_eq!(report.footprint.written, [out..out + 128, out + 65536..out + 65664]);
    // And what is copied asynchronously.
    let body = ".shared .align 16 .b8 s[512];--- mov.u32 %r2, s; shl.b32 %r3, %r0, 2; add.u32 %r4, %r2, %r3;
        cp.async.ca.shared.global [%r4], [%rd1], 4; cp.async.wait_all;";
    let (report, _, _) = run.launch(body).unwrap();
    assert_eq!(report.footprint.bytes_read(), 128);
}

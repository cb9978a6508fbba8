//! Whole modules: what NVRTC wrote, every listed form of every instruction, and what is refused.

#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

mod support;

use octo_ptx::{Kernel, Mistake, Module, Operand, Operation, Source, Space, Symbol, Type, parse};
use std::collections::HashSet;
use std::path::Path;
use support::{files, placeless};

/// Reads what must be right.
fn module(text: &str) -> Module {
    parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A module of one kernel with that body.
fn kernel(body: &str) -> String {
    format!(".version 8.4\n.target sm_80\n.address_size 64\n.entry k()\n{{\n{body}\n}}\n")
}

fn body(text: &str) -> Kernel {
    module(&kernel(text)).kernels.remove(0)
}

#[track_caller]
fn refused(text: &str, line: u32, column: u32, message: &str) {
    let error = parse(text).unwrap_err();
    assert!(error.mistake.to_string().contains(message), "{error}");
    assert_eq!((error.span.line, error.column), (line, column), "{error}");
}

/// Reads, prints and reads again.
#[track_caller]
fn comes_back(text: &str) -> Module {
    let first = module(text);
    let printed = first.to_string();
    let second = module(&printed);
    assert_eq!(placeless(&first), placeless(&second), "{printed}");
    assert_eq!(printed, second.to_string());
    first
}

#[test]
fn what_nvrtc_writes_is_read_and_printing_changes_nothing() {
    let files = files("ptx", "ptx");
    assert!(files.len() >= 12);
    for file in files {
        let read = comes_back(&std::fs::read_to_string(&file).unwrap());
        assert!(!read.kernels.is_empty(), "{}", file.display());
        for kernel in &read.kernels {
            for instruction in &kernel.body {
                let text = &read.text[instruction.span.start as usize..instruction.span.end as usize];
                assert!(text.ends_with(';') && !text.contains('\n'), "{text}");
                let line = read.text.lines().nth(instruction.span.line as usize - 1).unwrap();
                assert!(line.contains(text), "{line}");
                let source = file.with_extension("cu");
                let name = Path::new("/ptx").join(source.file_name().unwrap());
                assert_eq!(Path::new(&read.files[instruction.source.unwrap().file as usize]), name);
            }
        }
    }
}

/// Each line of a file is a mark and instructions. `+`: right; `-`: wrong for ptxas too; `^`: right from sm_90
/// on; `~`: ptxas reads it, but it has no meaning here or is not in the order of PTX ISA. `ptx/make.py forms`
/// asks ptxas about each mark.
#[test]
fn every_listed_form_is_read_as_its_mark_says() {
    let head = std::fs::read_to_string(&files("forms", "ptx")[0]).unwrap();
    let mut operations = HashSet::new();
    let mut count = 0;
    for file in files("forms", "txt") {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let (mark, form) = line.split_once(' ').unwrap();
            let text = |target| format!("{}{form}\nL: ret;\n}}\n", head.replace("TARGET", target));
            let (right, target) = match mark {
                "+" => (true, "sm_80"),
                "^" => (true, "sm_90a"),
                _ => (false, "sm_80"),
            };
            if mark == "^" {
                let error = parse(&text("sm_80")).unwrap_err();
                assert!(matches!(error.mistake, Mistake::Target { needs: 90, .. }), "{form}: {error}");
            }
            if right {
                let read = comes_back(&text(target));
                let body = &read.kernels[0].body;
                operations
                    .extend(body.iter().map(|instruction| std::mem::discriminant(&instruction.operation)));
            } else {
                let error = parse(&text(target)).err().unwrap_or_else(|| panic!("{form} is read"));
                let lines = head.lines().count() as u32;
                assert!(error.span.line >= lines, "{form}: {error}");
            }
            count += 1;
        }
    }
    assert!(count > 1600, "{count} forms");
    assert_eq!(operations.len(), 37, "the forms hold every operation");
}

#[test]
fn parameters_lie_where_the_launch_puts_them() {
    let text = ".version 8.4 .target sm_80 .address_size 64 .visible .entry k(
        .param .u8 a, .param .u64 .ptr .global .align 16 b, .param .align 16 .b8 c[40], .param .f32 d[3], .param .u16 e)
        .maxntid 64, 2 .minnctapersm 3 .maxnreg 128 { ld.param.u64 %r, [c+8]; }";
    let text = text.replace("{ ld", "{ .reg .b64 %r; ld");
    let read = comes_back(&text);
    let kernel = &read.kernels[0];
    let places: Vec<_> = kernel.params.iter().map(|param| (param.offset, param.bytes, param.align)).collect();
    assert_eq!(places, [(0, 1, 1), (8, 8, 8), (16, 40, 16), (56, 12, 4), (68, 2, 2)]);
    assert_eq!((kernel.max_threads, kernel.required_threads), (Some([64, 2, 1]), None));
    assert_eq!((kernel.min_blocks, kernel.max_registers), (Some(3), Some(128)));
    let Operation::Load { space, address, .. } = &kernel.body[0].operation else { panic!() };
    assert_eq!(
        (*space, address.base, address.offset),
        (Space::Param, Operand::Address(Symbol::Param(2), 0), 8)
    );
}

#[test]
fn variables_have_their_sizes_alignments_and_first_bytes() {
    let text = ".version 8.4 .target sm_80 .address_size 64
        .extern .shared .align 128 .b8 dynamic[];
        .visible .global .align 8 .b8 bytes[4] = {1, 2, -1};
        .const .u32 words[2][3] = {1, 2, 0xffffffff};
        .weak .global .f64 x = 0d3FF0000000000000;
        .global .v4 .f32 vector;
        .global .b16 open[] = {1, 2, 3};
        .entry k { .shared .align 4 .b8 s[16], t[8]; .local .b64 depot; ret; }";
    let read = comes_back(text);
    let found: Vec<_> = read.variables.iter().map(|v| (v.name.as_str(), v.space, v.align, v.bytes)).collect();
    assert_eq!(
        found,
        [
            ("dynamic", Space::Shared, 128, None),
            ("bytes", Space::Global, 8, Some(4)),
            ("words", Space::Const, 4, Some(24)),
            ("x", Space::Global, 8, Some(8)),
            ("vector", Space::Global, 16, Some(16)),
            ("open", Space::Global, 2, Some(6)),
        ]
    );
    assert_eq!(read.variables[1].initial, [1, 2, 255]);
    assert_eq!(read.variables[2].initial, [1, 0, 0, 0, 2, 0, 0, 0, 255, 255, 255, 255]);
    assert_eq!(read.variables[3].initial, 1f64.to_le_bytes());
    let found: Vec<_> =
        read.kernels[0].variables.iter().map(|v| (v.name.as_str(), v.space, v.bytes)).collect();
    let (shared, local) = (Space::Shared, Space::Local);
    assert_eq!(found, [("s", shared, Some(16)), ("t", shared, Some(8)), ("depot", local, Some(8))]);
}

#[test]
fn constants_have_the_bits_that_the_type_asks_for() {
    let read = body(
        ".reg .b32 %r; .reg .b64 %rd; .reg .f32 %f; .reg .f64 %fd; .reg .b16 %rs; .reg .pred %p;
         mov.u32 %r, -1; mov.u32 %r, 0xffffffff; mov.b32 %r, 0f3F800000; mov.f32 %f, 0d3FF0000000000000;
         mov.f32 %f, -1.5; mov.f64 %fd, 0f3F800000; mov.b64 %rd, -5; mov.s16 %rs, -32768; mov.pred %p, -1;
         mov.pred %p, 0; mov.u64 %rd, 18446744073709551615; mov.u32 %r, WARP_SZ; mov.u32 %r, 0x10U;",
    );
    let found: Vec<_> = read
        .body
        .iter()
        .map(|instruction| match &instruction.operation {
            Operation::Move { a, .. } => a[0],
            other => panic!("{other:?}"),
        })
        .collect();
    let one = u64::from(1f32.to_bits());
    let wanted = [
        u64::MAX,
        0xFFFF_FFFF,
        one,
        one,
        u64::from((-1.5f32).to_bits()),
        1f64.to_bits(),
        -5i64 as u64,
        -32768i64 as u64,
        1,
        0,
        u64::MAX,
        32,
        16,
    ];
    assert_eq!(found, wanted.map(Operand::Immediate));
}

#[test]
fn a_branch_goes_to_the_nearest_label_around_it() {
    let read = body(
        "L: { L: bra L; bra M; { bra L; bra N; N: } } bra L; M:
         T: .branchtargets L, M, L; .reg .u32 %r; brx.idx %r, T; brx.idx.uni %r, T;",
    );
    let found: Vec<_> = read
        .body
        .iter()
        .map(|instruction| match &instruction.operation {
            Operation::Branch { target, .. } => vec![*target],
            Operation::BranchIndexed { targets, .. } => targets.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found, [vec![0], vec![5], vec![0], vec![4], vec![0], vec![0, 5, 0], vec![0, 5, 0]]);
}

#[test]
fn a_label_at_the_end_is_behind_the_last_instruction() {
    let read = comes_back(&kernel("bra END; END:"));
    assert_eq!(read.kernels[0].body[0].operation, Operation::Branch { uniform: false, target: 1 });
}

#[test]
fn names_of_inner_scopes_hide_outer_ones_and_stay_apart_in_print() {
    let text = ".version 8.4 .target sm_80 .address_size 64 .global .b32 t; .entry k(.param .u32 p) {
        .reg .b32 a; .shared .b8 s[4];
        { .reg .b64 a; .reg .b32 t, p; .shared .b8 s[8]; mov.u64 a, s; mov.u32 t, p; st.shared.u32 [s], t; }
        mov.u32 a, s; ld.param.u32 a, [p]; st.global.u32 [t], a; }";
    let read = comes_back(text);
    let kernel = &read.kernels[0];
    assert_eq!(kernel.register_names, ["a", "a$1", "t$1", "p$1"]);
    assert_eq!(kernel.registers, [Type::B32, Type::B64, Type::B32, Type::B32]);
    let names: Vec<_> = kernel.variables.iter().map(|variable| variable.name.as_str()).collect();
    assert_eq!(names, ["s", "s$1"]);
}

#[test]
fn an_instruction_knows_the_last_loc_before_it() {
    let read = module(&format!(
        "{}.file 1 \"a.cu\"\n.file 2 \"b.cuh\", 7, 8\n.section .debug_str {{ L: .b8 1, 2 {{ }} }}\n",
        kernel(
            "ret;\n.loc 1 5 3\nret;\n.loc 2 9 1, function_name $L_x, inlined_at 1 6 3\nret;\n.loc 3 1 1\nret;"
        )
    ));
    let sources: Vec<_> = read.kernels[0].body.iter().map(|instruction| instruction.source).collect();
    let at = |file, line, column| Some(Source { file, line, column });
    assert_eq!(sources, [None, at(1, 5, 3), at(2, 9, 1), at(3, 1, 1)]);
    assert_eq!(read.files, ["", "a.cu", "b.cuh", ""]);
}

#[test]
fn a_name_in_a_generic_access_makes_it_one_of_its_space() {
    let read = body(".shared .b32 s; .reg .b32 %r; ld.u32 %r, [s];");
    assert!(matches!(read.body[0].operation, Operation::Load { space: Space::Shared, .. }));
}

#[test]
fn contractible_arithmetic_is_told_from_rounded() {
    let read =
        body(".reg .f32 %f; .reg .b32 %r; add.f32 %f, %f, %f; add.rn.f32 %f, %f, %f; add.s32 %r, %r, %r;");
    let found: Vec<_> = read
        .body
        .iter()
        .map(|i| matches!(i.operation, Operation::Arithmetic { contractible: true, .. }))
        .collect();
    assert_eq!(found, [true, false, false]);
}

#[test]
fn a_mistake_names_its_place_and_what_would_be_right() {
    refused("", 1, 1, "expected `.version`");
    refused(".version 8.5\n.target sm_80", 1, 10, "7.0 to 8.4 is read");
    refused(".version 8.4\n.target sm_75", 2, 9, "sm_80 and newer");
    refused(".version 8.4\n.target sm_80\n.address_size 32", 3, 15, "64 bits");
    refused(&kernel("  add.s32 %r1, %r2, 5;"), 6, 11, "nothing called `%r1`");
    refused(&kernel(".reg .b64 %rd<2>;\n add.s32 %rd1, 1, 5;"), 7, 10, "register `%rd1` is b64, which s32");
    refused(&kernel("frobnicate.u32 5;"), 6, 1, "`frobnicate` is unknown");
    refused(&kernel("bra.div L;"), 6, 4, "`bra.div` cannot have `.div`");
    refused(&kernel("call foo, (a);"), 6, 11, "expected an operand");
    refused(&kernel("call.uni foo;"), 6, 1, "every function must be inlined");
    refused(&kernel("bar.sync 0, 1, 2;"), 6, 1, "takes 1 to 2 operands, found 3");
    refused(&kernel("bra L;"), 6, 5, "no label `L`");
    refused(&kernel("ret"), 7, 1, "expected an operand, found `}`");
    refused(&kernel("{"), 8, 1, "the end of the text");
    refused(&kernel(".reg .b32 %tid;"), 6, 11, "PTX's own");
    refused(&kernel(".reg .b32 %laneid;"), 6, 11, "PTX's own");
    refused(&kernel(".param .b32 x;"), 6, 1, "every function must be inlined");
    let header = ".version 8.4 .target sm_80 .address_size 64\n";
    refused(&format!("{header}.visible .func f() {{ }}"), 2, 1, "a device function (.func)");
    refused(&format!("{header}.extern .global .b32 x;"), 2, 22, "modules are not linked");
    refused(&format!("{header}.global .b8 x[];"), 2, 16, "a size");
    refused(&format!("{header}.global .u64 x = y;"), 2, 18, "addresses as initial values");
    refused(&format!("{header}.global .u8 x = 256;"), 2, 17, "does not fit u8");
    refused(&format!("{header}.global .b8 x[2] = {{1, 2, 3}};"), 2, 13, "at most 2");
    refused(&format!("{header}.entry k {{ }} .entry k {{ }}"), 2, 21, "declared twice");
    refused(&format!("{header}.entry k(.param .u32 a, .param .u32 a) {{ }}"), 2, 37, "declared twice");
    refused(&format!("{header}.entry k .maxntid 1 .maxntid 2 {{ }}"), 2, 21, "declared twice");
    refused(&format!("{header}.entry k .reqnctapercluster 2 {{ }}"), 2, 10, "expected `.maxntid`");
}

#[test]
fn declarations_that_would_need_much_memory_are_refused() {
    refused(&kernel(".reg .b32 %r<4000000000>;"), 6, 14, "the number of registers is 4000000000");
    refused(&kernel(".shared .b8 x[999999999999];"), 6, 13, "the size in bytes");
    refused(&kernel(".local .b64 x[4294967296][4294967296][16];"), 6, 13, "the size in bytes");
    refused(&kernel(&"{".repeat(1000)), 6, 64, "the depth of scopes");
    let header = ".version 8.4 .target sm_80 .address_size 64\n";
    refused(&format!("{header}.file 4000000000 \"x\""), 2, 7, "the index of a file");
    refused(&format!("{header}.entry k(.param .b8 x[99999999999]) {{}}"), 2, 21, "the parameters");
    let targets = "L, ".repeat(2000);
    let branches = "brx.idx %r, T; ".repeat(60);
    let text = kernel(&format!(".reg .u32 %r; L: T: .branchtargets {targets} L; {branches}"));
    assert!(matches!(parse(&text).unwrap_err().mistake, Mistake::Limit { .. }));
}

#[test]
fn a_range_of_registers_that_nobody_names_costs_nothing() {
    let read = body(".reg .b32 %r<16000000>; mov.u32 %r15999999, 1;");
    assert_eq!(read.register_names, ["%r15999999"]);
}

//! Libraries beside the driver: found, used, left alone, and what is said of them. The one that stands for CUDA's driver
//! stands for them too, under their names.

use super::cuda::library;
use super::folder::{Folder, Outcome};
use super::training::timeless;
use std::path::{Path, PathBuf};

const CUBLASLT: &str = "libcublasLt.so.12";
const NVTX: &str = "libnvToolsExt.so.1";

/// The driver's library and others of these names: links to it, so that the loader makes one of them.
fn libraries(folder: &Folder, names: &[&str]) -> PathBuf {
    let lib = library(folder);
    for name in names {
        std::fs::hard_link(lib.join("libcuda.so.1"), lib.join(name)).unwrap();
    }
    lib
}

fn run(folder: &Folder, lib: &Path, args: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = folder.command(args);
    command.env("LD_LIBRARY_PATH", lib).env("OCTO_LOG", "octo_kernels=info").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Steps of training in a folder of their own.
fn train(folder: &Folder, lib: &Path, dir: &str, forward: &str, variables: &[(&str, &str)]) -> Outcome {
    let (run_dir, forward) = (format!("run.dir={dir}"), format!("run.forward={forward}"));
    let sets = [run_dir.as_str(), "run.device=cuda", &forward, "stages.0.steps=2"];
    let mut args = vec!["train", "recipe.toml"];
    sets.iter().for_each(|set| args.extend(["--set", set]));
    run(folder, lib, &args, variables)
}

#[test]
fn training_on_the_library_of_products_has_the_bits_of_the_kernels_below_it() {
    let folder = Folder::tiny();
    let lib = libraries(&folder, &[CUBLASLT]);
    let off = [("OCTO_LIB_CUBLASLT", "off")];
    let none = [("OCTO_LIBCUDA_CUBLASLT", "none")];
    for (dir, forward, variables, says, asked) in [
        ("off", "fastest", &off[..], "forward products invariant", ""),
        ("fastest", "fastest", &[], "products by cuBLASLt 12.4.5", "nn nt tn"),
        ("invariant", "invariant", &[], "forward products invariant, backward products by cuBLASLt", "nn nt"),
        ("none", "fastest", &none[..], "products by cuBLASLt", ""),
    ] {
        let outcome = train(&folder, &lib, dir, forward, variables);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        let all = outcome.stdout + &outcome.stderr;
        assert!(all.contains(says), "{all}");
        for kind in ["nn", "nt", "tn"] {
            let asked_for = format!("cuBLASLt: {kind} ");
            let chosen = all.lines().any(|line| line.contains(&asked_for) && line.contains("workspace"));
            assert_eq!(chosen, asked.contains(kind), "{dir}: {kind} in {all}");
        }
    }
    for dir in ["fastest", "invariant", "none"] {
        for file in ["checkpoints/latest/model/model.safetensors", "samples.jsonl"] {
            assert!(
                folder.read(&format!("{dir}/{file}")) == folder.read(&format!("off/{file}")),
                "{dir}/{file}"
            );
        }
        assert_eq!(timeless(&folder, dir), timeless(&folder, "off"), "{dir}");
    }
    // A checkpoint knows its library: going on without it is said.
    let longer = [("OCTO_LIB_CUBLASLT", "off")];
    let sets = ["run.dir=fastest", "run.device=cuda", "run.forward=fastest", "stages.0.steps=3"];
    let mut args = vec!["train", "recipe.toml", "--accept-change", "stages.0.steps"];
    sets.iter().for_each(|set| args.extend(["--set", set]));
    let outcome = run(&folder, &lib, &args, &longer);
    let all = outcome.stdout + &outcome.stderr;
    assert!(
        all.contains("products were by cuBLASLt 12.4.5 so far and are by the engine's own kernels"),
        "{all}"
    );
}

#[test]
fn ops_on_the_library_are_right_eagerly_and_in_captures() {
    let folder = Folder::new();
    let lib = libraries(&folder, &[CUBLASLT]);
    for filter in ["linear_backward_input/bf16", "linear_backward_weight/bf16"] {
        let outcome = run(&folder, &lib, &["selftest", "--device", "cuda", filter], &[]);
        assert!(outcome.code == 0 && !outcome.stdout.contains("WRONG"), "{}", outcome.stdout);
        let algorithms = outcome.stderr.lines().filter(|line| line.contains("workspace 4096 bytes")).count();
        assert!(algorithms >= 6, "{}", outcome.stderr);
    }
    // Forward products keep to the kernels whose bits depend on no batch.
    let outcome = run(&folder, &lib, &["selftest", "--device", "cuda", "linear_residual/bf16/7"], &[]);
    assert!(outcome.code == 0 && !outcome.stderr.contains("workspace"), "{}", outcome.stderr);
}

#[test]
fn a_library_that_fails_is_one_clear_error() {
    let folder = Folder::new();
    let lib = libraries(&folder, &[CUBLASLT]);
    let test = ["selftest", "--device", "cuda", "linear_backward_input/bf16/7"];
    for (planted, says) in [
        ("cublasLtCreate:1", "cublasLtCreate: CUBLAS_STATUS_NOT_INITIALIZED; OCTO_LIB_CUBLASLT=off"),
        ("cublasLtMatmulAlgoGetHeuristic:14", "cublasLtMatmulAlgoGetHeuristic: CUBLAS_STATUS_INTERNAL_ERROR"),
        ("cublasLtMatmul:13", "cublasLtMatmul: CUBLAS_STATUS_EXECUTION_FAILED"),
        ("cublasLtMatrixLayoutCreate:3", "cublasLtMatrixLayoutCreate: CUBLAS_STATUS_ALLOC_FAILED"),
    ] {
        let outcome = run(&folder, &lib, &test, &[("OCTO_LIBCUDA_CUBLASLT", planted)]);
        let all = outcome.stdout + &outcome.stderr;
        assert!(outcome.code == 1 && all.contains(says), "{planted}: {all}");
    }
    let named = [("OCTO_LIB_CUBLASLT", "/nowhere/lib.so")];
    let auto = ["selftest", "--device", "auto", "linear_backward_input/bf16/7"];
    let outcome = run(&folder, &lib, &auto, &named);
    assert!(
        outcome.code == 1 && outcome.stderr.contains("device `cuda` cannot be used"),
        "{}",
        outcome.stderr
    );
    let outcome = run(&folder, &lib, &test, &named);
    assert!(
        outcome.code == 1 && outcome.stderr.contains("cuBLASLt cannot be loaded: /nowhere/lib.so ("),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("correct OCTO_LIB_CUBLASLT, or set it to `off`"), "{}", outcome.stderr);
}

#[test]
fn doctor_says_which_libraries_there_are_and_what_kernels_take() {
    let folder = Folder::new();
    let lib = libraries(&folder, &[CUBLASLT]);
    let outcome = run(&folder, &lib, &["doctor", "--device", "cuda"], &[("OCTO_LIB_NVTX", "off")]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let said = outcome.stdout;
    assert!(said.contains("  cuBLASLt 12.4.5: libcublasLt.so.12 (of the system)\n"), "{said}");
    assert!(
        said.contains("  no NVTX, off by OCTO_LIB_NVTX: a profile names kernels but no phases"),
        "{said}"
    );
    assert!(
        said.contains("adamw_bf16") && said.ends_with(" 0 of which take something else than stated\n"),
        "{said}"
    );
    assert!(
        outcome.stderr.contains("rms_norm: info: "),
        "what the assembler says of a module: {}",
        outcome.stderr
    );
    let other = [("OCTO_LIBCUDA_REGISTERS", "77")];
    let said = run(&folder, &lib, &["doctor", "--device", "cuda"], &other).stdout;
    let last = said.lines().last().unwrap();
    let differing: usize = said.lines().filter(|line| line.ends_with("  differs")).count();
    assert!(differing > 50 && last.contains(&format!("kernels, {differing} of which")), "{last}");
    let outcome = run(&folder, &lib, &["selftest", "--device", "cuda", "rms_norm/bf16/7x129"], &other);
    assert!(outcome.stderr.contains("77 registers, 0 bytes local"), "{}", outcome.stderr);
}

/// Lines of ranges, which end as they began.
fn ranges(folder: &Folder) -> Vec<String> {
    let lines: Vec<String> =
        String::from_utf8(folder.read("ranges.txt")).unwrap().lines().map(str::to_owned).collect();
    let mut open = Vec::new();
    for line in &lines {
        let (name, depth) = (line.trim_start(), (line.len() - line.trim_start().len()) / 2);
        match name {
            "end" => assert_eq!(open.pop(), Some(depth), "{line}"),
            _ => {
                assert_eq!(open.len(), depth, "{line}");
                open.push(depth);
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
    lines
}

#[test]
fn ranges_name_phases_layers_and_ops_and_close_where_something_fails() {
    let folder = Folder::tiny();
    let lib = libraries(&folder, &[CUBLASLT, NVTX]);
    let told = folder.path("ranges.txt");
    let told = [("OCTO_LIBCUDA_RANGES", told.to_str().unwrap())];
    let outcome = train(&folder, &lib, "graphs", "fastest", &told);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let lines = ranges(&folder);
    for name in
        ["micro-batch", "update", "score", "prefill", "  layer 1", "    attention", "decode", "sample"]
    {
        assert!(lines.iter().any(|line| line == name), "{name}");
    }
    assert!(!lines.iter().any(|line| line.trim() == "backward"), "a program that is replayed is one range");

    std::fs::remove_file(told[0].1).unwrap();
    let eager = [told[0], ("OCTO_EAGER", "1")];
    let outcome = train(&folder, &lib, "eager", "fastest", &eager);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let lines = ranges(&folder);
    for name in [
        "micro-batch",
        "  forward",
        "    layer 0",
        "      qkv_rope",
        "  backward",
        "      swiglu_backward",
        "  adamw",
    ] {
        assert!(lines.iter().any(|line| line == name), "{name}");
    }
    let model = "checkpoints/latest/model/model.safetensors";
    assert!(folder.read(&format!("graphs/{model}")) == folder.read(&format!("eager/{model}")), "eager bits");

    std::fs::remove_file(told[0].1).unwrap();
    let failing = [eager[0], eager[1], ("OCTO_LIBCUDA_CUBLASLT", "cublasLtMatmul:13")];
    let outcome = train(&folder, &lib, "failing", "fastest", &failing);
    assert!(outcome.code == 1 && outcome.stderr.contains("EXECUTION_FAILED"), "{}", outcome.stderr);
    assert!(ranges(&folder).iter().any(|line| line.trim() == "linear_residual"));
}

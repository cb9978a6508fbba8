//! `--device cuda` through the real loader, on a driver library whose GPU is simulated.

use super::folder::{Folder, RECIPE};
use super::training::timeless;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that holds the library under the name that the loader looks for.
pub fn library(folder: &Folder) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().unwrap().join("libocto_libcuda.so");
    let lib = folder.path("lib");
    std::fs::create_dir(&lib).unwrap();
    std::fs::copy(&built, lib.join("libcuda.so.1")).unwrap_or_else(|e| panic!("{}: {e}", built.display()));
    lib
}

fn selftest(lib: &Path, filter: &str, variables: &[(&str, &str)]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_octo-engine"));
    command.args(["selftest", "--device", "cuda", filter]);
    command.env("LD_LIBRARY_PATH", lib).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn kernels_load_launch_and_replay_through_the_driver_library() {
    let folder = Folder::new();
    let lib = library(&folder);
    for (filter, says) in [
        ("rms_norm/bf16/7x129", "rms_norm                 2 right\n"),
        // Needs more shared memory than a kernel gets unasked.
        ("linear_residual/bf16/", "linear_residual          9 right"),
        ("adamw/", "right\n"),
    ] {
        let (ok, out, error) = selftest(&lib, filter, &[]);
        assert!(ok && out.contains(says) && !out.contains("WRONG"), "{filter}: {out}{error}");
        assert!(out.starts_with("cuda: simulated A100 (sm_80), 108 multiprocessors, 80 GiB\n"), "{out}");
    }
}

#[test]
fn kernels_that_were_assembled_for_another_driver_are_assembled_again() {
    let folder = Folder::new();
    let lib = library(&folder);
    // Whole by its header, and no code that the library knows.
    let mut code = b"\x7fELF\x02\x01".to_vec();
    code.resize(64, 0);
    let ptx = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("ptx/sm_80/swiglu.ptx")).unwrap();
    folder.put(&format!("cubins/sm_80/swiglu-{:016x}.cubin", xxhash_rust::xxh3::xxh3_64(&ptx)), code);
    let cubins = folder.path("cubins");
    let variables = [("OCTO_CUBINS", cubins.to_str().unwrap()), ("OCTO_LOG", "octo_kernels=info")];
    let (ok, out, error) = selftest(&lib, "swiglu/bf16", &variables);
    assert!(ok && !out.contains("WRONG"), "{out}{error}");
    assert!(error.contains("kernels assembled beforehand: "), "{error}");
    assert!(error.contains("swiglu: assembled anew, since the driver does not take its cubin"), "{error}");
}

#[test]
fn a_machine_whose_gpu_cannot_be_used_is_one_clear_error() {
    let folder = Folder::new();
    let lib = library(&folder);
    for (variable, value, says) in [
        ("OCTO_LIBCUDA_VERSION", "12010", "the driver is for CUDA 12.1; 12.4 or newer (R550) is needed"),
        ("OCTO_LIBCUDA_DEVICES", "0", "there is no GPU 0: the driver shows 0"),
    ] {
        let (ok, _, error) = selftest(&lib, "rms_norm", &[(variable, value)]);
        assert!(!ok && error.contains(says), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn memory_that_runs_out_is_named() {
    let folder = Folder::new();
    let lib = library(&folder);
    // Two queues are open, with a workspace of 640 MiB each.
    let memory = (2u64 * (640 << 20) + 5000).to_string();
    let (ok, out, _) = selftest(&lib, "random_fill/bf16/5000", &[("OCTO_LIBCUDA_MEMORY", &memory)]);
    assert!(!ok && out.contains("no memory for 10000 bytes"), "{out}");
}

#[test]
fn every_op_is_timed_through_the_driver_library() {
    let folder = Folder::new();
    let lib = library(&folder);
    let mut command = folder.command([
        "bench",
        "--device",
        "cuda",
        "--model",
        "tiny",
        "--output",
        "bench.jsonl",
        "rms_norm",
    ]);
    assert!(command.env("LD_LIBRARY_PATH", lib).output().unwrap().status.success());
    let lines = folder.lines("bench.jsonl");
    assert_eq!(lines.len(), 4);
    for line in lines {
        assert!(line["case"].as_str().unwrap().starts_with("rms_norm/tiny/"));
        let samples: Vec<f64> =
            line["microseconds"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        assert!(samples.len() == 7 && samples.is_sorted() && samples[0] > 0.0, "{samples:?}");
        assert!(line["bytes"].as_u64().unwrap() > 0);
    }
}

#[test]
fn a_model_trains_and_generates_through_the_driver_library_as_on_the_simulated_gpu() {
    let folder = Folder::tiny();
    let lib = library(&folder);
    let run = |args: &[&str]| {
        let output = folder.command(args).env("LD_LIBRARY_PATH", &lib).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // `auto` finds the library's GPU, and what a run would come to is told for that.
    let plan = run(&["train", "recipe.toml", "--set", "run.device=auto", "--dry-run"]);
    assert!(plan.contains(" parameters in bf16\n") && plan.contains("device   cuda: simulated"), "{plan}");
    for (dir, device) in [("cuda", "auto"), ("sim", "sim")] {
        let (dir, device) = (format!("run.dir={dir}"), format!("run.device={device}"));
        run(&["train", "recipe.toml", "--set", &dir, "--set", &device, "--set", "stages.0.steps=3"]);
    }
    for file in ["checkpoints/latest/model/model.safetensors", "samples.jsonl"] {
        let [cuda, sim] = ["cuda", "sim"].map(|dir| folder.read(&format!("{dir}/{file}")));
        assert!(cuda == sim, "{file}");
    }
    assert_eq!(timeless(&folder, "cuda"), timeless(&folder, "sim"));
    let generate = |device| {
        let model = "sim/checkpoints/latest/model";
        let policy = ["--temperature", "1.2", "--top-k", "40", "--max-new-tokens", "6"];
        let args = ["generate", "--model", model, "--prompt", "Tom", "--device", device];
        run(&[&args[..], &policy].concat())
    };
    let drawn = generate("cuda");
    assert!(!drawn.trim().is_empty());
    assert_eq!(drawn, generate("sim"));
}

#[test]
fn the_bundles_script_does_each_part_once() {
    let folder = Folder::new();
    let lib = library(&folder);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("xtask/src/bundle/run.sh");
    folder.put("bundle/run.sh", std::fs::read(script).unwrap());
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_octo-engine"), folder.path("bundle/octo-engine")).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new("bash");
        command.arg(folder.path("bundle/run.sh")).args(args).current_dir(folder.path(""));
        let output = command.env("LD_LIBRARY_PATH", &lib).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, out) = run(&["doctor", "--budget", "60", "results"]);
    assert!(code == Some(0) && out.contains("cuda: simulated A100 (sm_80)"), "{out}");
    let (code, out) = run(&["doctor", "results"]);
    assert_eq!((code, out.as_str()), (Some(0), "== doctor: done before\n"));
    // In the place of the quick start, which takes a real GPU: a model of its kind that a simulated one trains in seconds.
    folder.tokenizer();
    folder.put("bundle/quickstart.toml", RECIPE.replace("tokenizer.json", "../tokenizer.json"));
    let (code, out) = run(&["train", "bits", "--budget", "300", "results"]);
    assert!(
        code == Some(0) && out.contains("4 prompts decoded together score to the bit in one pass each"),
        "{out}"
    );
    assert_eq!(folder.lines("results/train.jsonl").len(), 10);
    let recipe = format!(
        "extends = \"{}\"\n[rl]\nsteps = 2\nbatch_prompts = 1\nsamples_per_prompt = 4\n",
        crate::rl::ladder("bandit.toml").display()
    );
    folder.put("bundle/quickstart-rl.toml", recipe);
    let (code, out) = run(&["rl", "--budget", "300", "results"]);
    assert!(code == Some(0) && out.contains("say the same in 2 of 2 steps"), "{out}");
    assert_eq!(folder.lines("results/rl.jsonl").len(), 2);
    let (code, out) = run(&["selftest", "--budget", "5", "results"]);
    assert!(code == Some(0) && out.contains("no time left"), "{out}");
    assert_eq!(run(&["doctor", "results", "elsewhere"]).0, Some(2));
    assert_eq!(run(&[]).0, Some(2));
}

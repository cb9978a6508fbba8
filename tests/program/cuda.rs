//! `--device cuda` through the real loader, on a driver library whose GPU is simulated.

use super::folder::Folder;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that holds the library under the name that the loader looks for.
fn library(folder: &Folder) -> PathBuf {
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
    let (ok, out, _) = selftest(&lib, "random_fill/bf16/5000", &[("OCTO_LIBCUDA_MEMORY", "1000")]);
    assert!(!ok && out.contains("no memory for 10000 bytes"), "{out}");
}

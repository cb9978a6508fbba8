//! Which crate may use which, held over the manifests: arrows run downward only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What each crate may use of ours beside the base crates, which anyone may use. `octo` is `src/`.
const ARROWS: &[(&str, &[&str])] = &[
    ("xtask", &["octo-kernels", "octo-ops", "octo-ptx", "octo-trainer"]),
    (
        "octo",
        &[
            "octo-eval",
            "octo-infer",
            "octo-libcuda",
            "octo-model",
            "octo-ops",
            "octo-proof",
            "octo-queue",
            "octo-report",
            "octo-rl",
            "octo-rows",
            "octo-shards",
            "octo-trainer",
            "octo-verify",
        ],
    ),
    (
        "octo-rl",
        &[
            "octo-eval",
            "octo-infer",
            "octo-model",
            "octo-ops",
            "octo-queue",
            "octo-rows",
            "octo-shards",
            "octo-trainer",
            "octo-verify",
        ],
    ),
    ("octo-eval", &["octo-infer", "octo-model", "octo-queue", "octo-rows", "octo-verify"]),
    ("octo-trainer", &["octo-infer", "octo-model", "octo-ops", "octo-queue", "octo-rows", "octo-shards"]),
    ("octo-report", &[]),
    ("octo-shards", &["octo-rows"]),
    ("octo-rows", &[]),
    ("octo-proof", &["octo-kernels", "octo-ops", "octo-queue"]),
    ("octo-infer", &["octo-model", "octo-ops", "octo-queue"]),
    ("octo-model", &["octo-ops", "octo-queue"]),
    ("octo-queue", &["octo-cpu", "octo-kernels", "octo-ops"]),
    ("octo-cpu", &["octo-ops"]),
    ("octo-libcuda", &["octo-kernels", "octo-ops", "octo-ptx"]),
    ("octo-kernels", &["octo-ops", "octo-ptx"]),
    ("octo-ptx", &[]),
    ("octo-ops", &[]),
    ("octo-recipe", &[]),
    ("octo-durable", &[]),
    ("octo-text", &[]),
    ("octo-verify", &[]),
];

/// Crates that anyone may use; of each other only where the table below says so.
const BASE: [&str; 3] = ["octo-durable", "octo-recipe", "octo-text"];

/// The only crates that may lift the ban on unsafe code.
const MAY_BE_UNSAFE: [&str; 6] =
    ["octo-cpu", "octo-durable", "octo-kernels", "octo-libcuda", "octo-ptx", "octo-queue"];

struct Crate {
    name: String,
    dir: PathBuf,
    manifest: Table,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn table(path: &Path) -> Table {
    read_to_string(path).unwrap().parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every member of the workspace.
fn crates() -> Vec<Crate> {
    let workspace = table(&root().join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let each = |member: &Value| {
        let dir = root().join(member.as_str().unwrap());
        let manifest = table(&dir.join("Cargo.toml"));
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        Crate { name, dir, manifest }
    };
    members.iter().map(each).collect()
}

impl Crate {
    /// Ours that it names in a table of dependencies.
    fn ours(&self, section: &str) -> BTreeSet<String> {
        let names = self.manifest.get(section).and_then(Value::as_table).into_iter().flat_map(Table::keys);
        names.filter(|name| name.starts_with("octo-")).cloned().collect()
    }

    /// Its Rust files; of the root package the folders that are its own.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for folder in ["src", "tests", "benches", "examples"] {
            collect(&self.dir.join(folder), &mut files);
        }
        files
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = read_dir(dir) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_crate_has_its_arrows_and_no_others() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for member in crates() {
        let name = member.name.as_str();
        let Some(arrows) = allowed.get(name) else {
            panic!("{name} is new: give it its arrows in tests/program/architecture.rs")
        };
        for used in member.ours("dependencies") {
            let base = BASE.contains(&used.as_str()) && !BASE.contains(&name);
            assert!(base || arrows.contains(&used.as_str()), "{name} may not use {used}");
        }
    }
}

#[test]
fn tests_use_what_their_crate_may_use_or_base() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for member in crates() {
        for used in member.ours("dev-dependencies") {
            let fine =
                BASE.contains(&used.as_str()) || allowed[member.name.as_str()].contains(&used.as_str());
            assert!(fine, "the tests of {} may not use {used}", member.name);
        }
    }
}

#[test]
fn the_table_of_arrows_has_no_cycle_and_names_no_stranger() {
    let known: Vec<String> = crates().into_iter().map(|c| c.name).collect();
    // Each crate stands above everything that it may use, so that no arrow can lead back.
    let place = |name: &str| ARROWS.iter().position(|(n, _)| *n == name);
    for (name, arrows) in ARROWS {
        assert!(known.iter().any(|k| k == name), "{name} is no member of the workspace");
        for used in *arrows {
            assert!(place(used) > place(name), "{name} uses {used}, which stands above it");
        }
    }
}

#[test]
fn a_crate_is_named_after_its_folder() {
    let own = |c: &&Crate| c.dir != root().join(".") && c.name != "xtask";
    for member in crates().iter().filter(own) {
        let folder = member.dir.file_name().unwrap().to_str().unwrap();
        assert_eq!(member.name, format!("octo-{folder}"));
    }
}

#[test]
fn every_crate_keeps_the_lints_of_the_workspace() {
    // The repository's tasks are never shipped: they may print and stop where they are.
    for member in crates().into_iter().filter(|c| c.name != "xtask") {
        let inherits = member.manifest.get("lints").and_then(|l| l.get("workspace")).and_then(Value::as_bool);
        assert_eq!(inherits, Some(true), "{}: [lints] workspace = true", member.name);
        assert!(member.manifest.get("features").is_none(), "{}: no crate of ours has features", member.name);
    }
}

#[test]
fn plain_cargo_test_tests_every_crate() {
    let workspace = &table(&root().join("Cargo.toml"))["workspace"];
    let list = |key: &str| {
        let values = workspace[key].as_array().unwrap().iter();
        values.map(|v| v.as_str().unwrap().to_owned()).filter(|name| name != "xtask").collect::<BTreeSet<_>>()
    };
    assert_eq!(list("default-members"), list("members"));
}

#[test]
fn unsafe_code_stays_where_it_is_allowed() {
    for member in crates() {
        for path in member.files() {
            let lifted = read_to_string(&path).unwrap().lines().any(|line| {
                let attribute = line.trim_start();
                attribute.starts_with("#")
                    && attribute.contains("allow(")
                    && attribute.contains("unsafe_code")
            });
            let fine = !lifted || MAY_BE_UNSAFE.contains(&member.name.as_str());
            assert!(fine, "{} lifts the ban on unsafe code", path.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    for member in crates() {
        for path in member.files() {
            let lines = read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 700, "{}: {lines} lines; a file is one idea", path.display());
        }
    }
}

#[test]
fn every_library_says_what_it_answers() {
    for member in crates().iter().filter(|c| c.dir.join("src/lib.rs").exists()) {
        let text = read_to_string(member.dir.join("src/lib.rs")).unwrap();
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let head = head.join(" ").to_lowercase();
        assert!(head.contains("read "), "{}: which file to read first?", member.name);
        let limits = [" not ", " nothing "].iter().any(|word| head.contains(word));
        assert!(limits, "{}: what does it not answer?", member.name);
    }
}

//! `cargo xtask ptx`: kernels/cuda → ptx/sm_80, and whether what is committed is what the sources give.
//!
//! NVRTC compiles (`nvrtc.rs`), ptxas assembles for each target and reports what a kernel takes (`ptxas.rs`), the heads
//! of the sources are held to these figures (`stated.rs`). Both tools come from a virtual environment below `target/`
//! (`tools.rs`). Nothing else in this repository needs them: the PTX is committed. `docs/kernels.md` says the rest.

mod nvrtc;
mod ptxas;
mod stated;
mod tools;

use anyhow::{Context, bail};
use nvrtc::Nvrtc;
use octo_durable::{Disk, write_bytes};
use octo_kernels::driver::cubin_file;
use octo_kernels::source::{self, Unit};
use ptxas::{Ptxas, Resources};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Folder of the kernels, from the root.
const SOURCES: &str = "kernels/cuda";
/// Folder of the PTX, from the root.
const SHIPPED: &str = "ptx/sm_80";
/// What an entry takes, from the root.
const RESOURCES: &str = "ptx/sm_80/resources.tsv";
/// The list of modules, from the root.
const LIST: &str = "ptx/src/shipped.rs";
/// The target that the PTX is written for, and the newest that drivers translate it to.
const TARGETS: [&str; 2] = ["sm_80", "sm_90"];

#[derive(clap::Args)]
pub struct Options {
    /// Write nothing; fail where a committed file is not what the sources give.
    #[arg(long)]
    check: bool,
    /// Only install the compilers below target/, which needs Python and a network the first time.
    #[arg(long, conflicts_with = "check")]
    tools: bool,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let root = root()?;
    // Messages of the compiler then name files as a reader of the repository knows them.
    std::env::set_current_dir(&root).with_context(|| format!("cannot enter {}", root.display()))?;
    let tools = tools::install(&root.join("target/ptx-tools"), &root.join("xtask/requirements.txt"))?;
    if options.tools {
        return Ok(());
    }
    let made = compile(&root, &Nvrtc::load(&tools.nvrtc)?, &Ptxas::new(tools.ptxas))?;
    if options.check { compare(&made) } else { write(&made) }
}

/// Assembles the committed PTX for every target into files below `folder`, as the driver looks for them; their bytes.
pub fn cubins(folder: &Path) -> anyhow::Result<u64> {
    let root = root()?;
    let tools = tools::install(&root.join("target/ptx-tools"), &root.join("xtask/requirements.txt"))?;
    let ptxas = Ptxas::new(tools.ptxas);
    let (folder, modules) = (std::path::absolute(folder)?, root.join(SHIPPED));
    let mut work = Vec::new();
    for target in TARGETS {
        let of_target = folder.join(target);
        // What is there may be of other PTX.
        match std::fs::remove_dir_all(&of_target) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", of_target.display()));
            }
            _ => std::fs::create_dir_all(&of_target)
                .with_context(|| format!("cannot make {}", of_target.display()))?,
        }
        for unit in source::units(&root.join(SOURCES))? {
            work.push((target, of_target.clone(), unit.name));
        }
    }
    let bytes = work.par_iter().map(|(target, folder, name)| {
        let path = modules.join(format!("{name}.ptx"));
        let ptx =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = folder.join(cubin_file(name, &ptx));
        ptxas.assemble_to(&ptx, target, &file)?;
        Ok(std::fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len())
    });
    bytes.collect::<anyhow::Result<Vec<u64>>>().map(|bytes| bytes.into_iter().sum())
}

/// The repository: two folders above this package's manifest.
fn root() -> anyhow::Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().context("xtask has no folder above it")?;
    root.canonicalize().with_context(|| format!("{} is gone; build xtask where it lies", root.display()))
}

/// Files by path from the root.
type Files = BTreeMap<PathBuf, String>;

fn compile(root: &Path, nvrtc: &Nvrtc, ptxas: &Ptxas) -> anyhow::Result<Files> {
    let folder = Path::new(SOURCES);
    let units = source::units(folder)?;
    let mut files = Files::new();
    let mut resources: BTreeMap<String, [Resources; TARGETS.len()]> = BTreeMap::new();
    let mut by_source: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    // In parallel: a unit takes seconds, most of them ptxas's.
    let made: Vec<Made> =
        units.par_iter().map(|unit| make(unit, root, nvrtc, ptxas)).collect::<anyhow::Result<_>>()?;
    for (unit, Made { module, ptx, taken: [first, mut second] }) in units.iter().zip(made) {
        for (entry, taken) in first {
            let on_second =
                second.remove(&entry).with_context(|| format!("{entry} is lost on {}", TARGETS[1]))?;
            by_source.entry(&unit.source).or_default().insert(entry.clone());
            if resources.insert(entry.clone(), [taken, on_second]).is_some() {
                bail!("two modules have an entry {entry}");
            }
        }
        if !unit.defines.is_empty() && !resources.contains_key(&unit.name) {
            bail!("{module}: a row of the tuning table must make the entry it names, and this one does not");
        }
        files.insert(module.into(), ptx);
    }
    for (source, entries) in by_source {
        let path = format!("{SOURCES}/{source}.cu");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let taken = entries.iter().filter_map(|entry| Some((entry.as_str(), resources.get(entry)?[0])));
        stated::hold(&text, &taken.collect()).with_context(|| path.clone())?;
    }
    files.insert(RESOURCES.into(), table(&resources));
    files.insert(LIST.into(), list(&units));
    Ok(files)
}

/// A module, and what its entries take on each target.
struct Made {
    module: String,
    ptx: String,
    taken: [BTreeMap<String, Resources>; TARGETS.len()],
}

fn make(unit: &Unit, root: &Path, nvrtc: &Nvrtc, ptxas: &Ptxas) -> anyhow::Result<Made> {
    let module = format!("{SHIPPED}/{}.ptx", unit.name);
    let path = format!("{SOURCES}/{}.cu", unit.source);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let compiled = nvrtc.compile(&path, &text, &unit.flags())?;
    let ptx = format!("{}\n{}", source::first_line(Path::new(SOURCES), unit)?, from_root(&compiled, root)?);
    let [first, second] = TARGETS.map(|target| ptxas.assemble(&ptx, target));
    let taken = [first.context(module.clone())?, second.context(module.clone())?];
    Ok(Made { module, ptx, taken })
}

/// The PTX with the paths of `.file` counted from the root, as on every other machine.
fn from_root(ptx: &str, root: &Path) -> anyhow::Result<String> {
    let above = format!("\"{}/", root.display());
    let mut text = String::with_capacity(ptx.len());
    for line in ptx.lines() {
        if line.trim_start().starts_with(".file") {
            let Some((head, path)) = line.split_once(&above) else {
                bail!("the compiler names a file outside of {}: {line}", root.display());
            };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{head}\"{path}");
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    Ok(text)
}

/// What each entry takes, a line an entry; registers also on the second target.
fn table(resources: &BTreeMap<String, [Resources; TARGETS.len()]>) -> String {
    let mut text = format!(
        "entry\tregisters\tspill_stores\tspill_loads\tstack\tstatic_shared\tregisters_{}\n",
        TARGETS[1]
    );
    for (entry, [on, later]) in resources {
        let Resources { registers, spill_stores, spill_loads, stack, shared } = on;
        let _ = writeln!(
            text,
            "{entry}\t{registers}\t{spill_stores}\t{spill_loads}\t{stack}\t{shared}\t{}",
            later.registers
        );
    }
    text
}

/// The Rust file that embeds every module.
fn list(units: &[Unit]) -> String {
    let mut text = String::from(
        "//! The PTX that ships, embedded. Written by `cargo xtask ptx`; do not edit.\n\n\
         /// A PTX module.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq)]\n\
         pub struct Shipped {\n    \
             /// Its file's stem.\n    \
             pub name: &'static str,\n    \
             /// Its text; the first line says what it was compiled from.\n    \
             pub text: &'static str,\n\
         }\n\n\
         macro_rules! shipped {\n    \
             ($folder:literal { $($name:literal)* }) => {\n        \
                 &[$(Shipped { name: $name, text: include_str!(concat!(\"../\", $folder, \"/\", $name, \".ptx\")) }),*]\n    \
             };\n\
         }\n\n\
         /// Modules for compute capability 8.0 and higher, sorted by name.\n\
         #[rustfmt::skip]\n\
         pub static SM_80: &[Shipped] = shipped! { \"sm_80\" {\n",
    );
    for unit in units {
        let _ = writeln!(text, "    \"{}\"", unit.name);
    }
    text.push_str("} };\n");
    text
}

/// Committed modules that no source makes any more.
fn left_over(made: &Files) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let folder = Path::new(SHIPPED);
    for entry in folder.read_dir().with_context(|| format!("cannot read {SHIPPED}"))? {
        let path = entry.with_context(|| format!("cannot read {SHIPPED}"))?.path();
        if path.extension().is_some_and(|extension| extension == "ptx") && !made.contains_key(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn write(made: &Files) -> anyhow::Result<()> {
    let mut written = 0;
    for (path, text) in made {
        if std::fs::read(path).ok().as_deref() != Some(text.as_bytes()) {
            write_bytes(&Disk, path, text.as_bytes())?;
            eprintln!("wrote {}", path.display());
            written += 1;
        }
    }
    for path in left_over(made)? {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        eprintln!("removed {}", path.display());
        written += 1;
    }
    eprintln!("{} files, {written} changed", made.len());
    Ok(())
}

fn compare(made: &Files) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (path, text) in made {
        match std::fs::read_to_string(path) {
            Err(_) => wrong.push(format!("{} is missing", path.display())),
            Ok(committed) if committed == *text => {}
            Ok(committed) => {
                let line = committed.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
                let [is, should] = [&committed, text].map(|t| t.lines().nth(line).unwrap_or("(the end)"));
                wrong.push(format!("{}:{} is `{is}`, its source gives `{should}`", path.display(), line + 1));
            }
        }
    }
    for path in left_over(made)? {
        wrong.push(format!("{} has no source", path.display()));
    }
    if !wrong.is_empty() {
        bail!("{}\nrun `cargo xtask ptx` and commit what it writes", wrong.join("\n"));
    }
    eprintln!("{} files are what their sources give", made.len());
    Ok(())
}

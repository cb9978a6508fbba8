//! `cargo xtask gpu-bundle`: a folder that runs on any x86-64 machine with an NVIDIA driver.
//!
//! The program, its kernels assembled beforehand, `run.sh`, the quick starts' recipes, the source of the atlas and PyTorch's
//! side; no build on that machine but the atlas, where it has nvcc.

use crate::ptx;
use anyhow::{Context, bail};
use octo_durable::{Disk, write_bytes};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the folder may weigh: it travels to machines through narrow doors.
const MOST_BYTES: u64 = 40 << 20;

#[derive(clap::Args)]
pub struct Options {
    /// The folder to make.
    #[arg(default_value = "target/gpu-bundle")]
    out: PathBuf,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no folder above it")?;
    let built = Command::new("cargo")
        .current_dir(root)
        .args(["build", "--release", "--locked", "--bin", "octo-engine", "--message-format", "short"])
        .status()
        .context("cannot start cargo")?;
    if !built.success() {
        bail!("the release binary does not build");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let ladder = options.out.join("ladder");
    std::fs::create_dir_all(&ladder).with_context(|| format!("cannot make {}", ladder.display()))?;
    let mut bytes = ptx::cubins(&options.out.join("cubins"))?;
    for (from, name, mode) in [
        (target.join("release/octo-engine"), "octo-engine", 0o755),
        (root.join("xtask/src/bundle/run.sh"), "run.sh", 0o755),
        (root.join("benches/gpu/atlas.cu"), "atlas.cu", 0o644),
        (root.join("benches/peers/gpu.py"), "peers.py", 0o644),
        (root.join("recipes/quickstart.toml"), "quickstart.toml", 0o644),
        (root.join("recipes/quickstart-rl.toml"), "quickstart-rl.toml", 0o644),
        (root.join("recipes/ladder/modular-addition.toml"), "ladder/modular-addition.toml", 0o644),
        (root.join("recipes/ladder/characters.json"), "ladder/characters.json", 0o644),
        (root.join("recipes/quickstart-tokenizer.json"), "quickstart-tokenizer.json", 0o644),
    ] {
        let to = options.out.join(name);
        let contents = std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        bytes += contents.len() as u64;
        write_bytes(&Disk, &to, &contents)?;
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", to.display()))?;
    }
    // Names of functions stay for profilers; what only a debugger reads would double the size.
    let program = options.out.join("octo-engine");
    let stripped = Command::new("strip").arg("--strip-debug").arg(&program).status();
    if stripped.is_ok_and(|status| status.success()) {
        let whole = std::fs::metadata(target.join("release/octo-engine"))?.len();
        bytes = bytes - whole + std::fs::metadata(&program)?.len();
    }
    if bytes > MOST_BYTES {
        bail!(
            "{} has {:.1} MiB, more than {}: leave something out (MOST_BYTES in xtask/src/bundle.rs says why)",
            options.out.display(),
            bytes as f64 / 1_048_576.0,
            MOST_BYTES >> 20,
        );
    }
    println!("{}: {:.1} MiB; there: ./run.sh first OUT", options.out.display(), bytes as f64 / 1_048_576.0);
    Ok(())
}

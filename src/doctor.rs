//! `doctor`: is this what was written, and what is this machine?

use crate::io::say;
use crate::model::parse_device;
use anyhow::{Result, bail};
use octo_durable::{DurableError, MANIFEST_NAME, free_bytes, verify};
use octo_model::ModelDir;
use octo_model::hf::model_path;
use octo_queue::{DeviceKind, Queue, open};
use octo_shards::ShardSet;
use std::path::{Path, PathBuf};

/// Arguments of `doctor`.
#[derive(clap::Args)]
pub struct Args {
    /// A run, a checkpoint, a model directory or tokenised shards to verify, every byte of it; without one, this
    /// machine is described.
    path: Option<PathBuf>,
    /// Describe this device alone (auto, cpu, cuda, sim): the libraries it uses, and what each of its kernels takes
    /// beside what was stated when it was compiled.
    #[arg(long, value_parser = parse_device, conflicts_with = "path")]
    device: Option<DeviceKind>,
}

/// Runs `doctor`.
pub fn run(args: Args) -> Result<()> {
    match args.path {
        None => match args.device {
            None => machine(),
            Some(kind) => device(kind),
        },
        Some(path) if path.join("checkpoints").is_dir() => whole_run(&path),
        Some(path) if path.join(MANIFEST_NAME).exists() => folder(&path),
        Some(path) if ShardSet::is_at(&path.to_string_lossy()) => shards(&path),
        Some(path) => model(&path),
    }
}

fn machine() -> Result<()> {
    say(&open(DeviceKind::Cpu, None)?.describe().description)?;
    match open(DeviceKind::Cuda, None) {
        Ok(queue) => described(&queue)?,
        Err(error) => say(&format!("cuda: {error}"))?,
    }
    let here = std::env::current_dir()?;
    say(&format!(
        "disk: {:.1} GiB free in {}",
        free_bytes(&here)? as f64 / (1u64 << 30) as f64,
        here.display()
    ))
}

/// A device and the libraries beside it.
fn described(queue: &Queue) -> Result<()> {
    let device = queue.describe();
    say(&device.description)?;
    device.libraries.iter().try_for_each(|library| say(&format!("  {library}")))
}

/// A device, and a line for each of its kernels.
fn device(kind: DeviceKind) -> Result<()> {
    let mut queue = open(kind, None)?;
    described(&queue)?;
    let kernels = queue.kernels()?;
    if kernels.is_empty() {
        return say("no kernels to load");
    }
    say(
        "registers, bytes of local memory and of static shared memory of every kernel; in brackets what is stated",
    )?;
    for kernel in &kernels {
        let registers = kernel.registers.map_or_else(|| "?".to_owned(), |registers| registers.to_string());
        let stated = match kernel.stated {
            Some([registers, local, shared]) => format!("({registers} {local} {shared})"),
            None => "(nothing)".to_owned(),
        };
        let differs = if kernel.differs() { "  differs" } else { "" };
        say(&format!(
            "  {:48} {registers:>3} {:>5} {:>6}  {stated}{differs}",
            kernel.entry, kernel.local_bytes, kernel.shared_bytes
        ))?;
    }
    let differing = kernels.iter().filter(|kernel| kernel.differs()).count();
    let assembled = kernels.iter().all(|kernel| kernel.registers.is_some());
    say(&match assembled {
        true => format!("{} kernels, {differing} of which take something else than stated", kernels.len()),
        false => format!("{} kernels, which no assembler has seen", kernels.len()),
    })
}

/// Every checkpoint and milestone of a run.
fn whole_run(path: &Path) -> Result<()> {
    let mut bad = 0;
    for kind in ["checkpoints", "milestones"] {
        let Ok(entries) = std::fs::read_dir(path.join(kind)) else { continue };
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.retain(|folder| folder.is_dir() && !folder.is_symlink());
        folders.sort();
        for folder in folders {
            match verify(&folder) {
                Ok(manifest) => say(&whole(&folder, &manifest))?,
                Err(error @ DurableError::Damaged { .. }) => {
                    bad += 1;
                    say(&error.to_string())?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    if bad > 0 {
        bail!("{}: {bad} damaged", path.display());
    }
    Ok(())
}

fn folder(path: &Path) -> Result<()> {
    let manifest = verify(path)?;
    say(&whole(path, &manifest))
}

fn whole(path: &Path, manifest: &octo_durable::Manifest) -> String {
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    format!("{}: whole, {} files of {bytes} bytes", path.display(), manifest.files.len())
}

/// Shards that carry no manifest: their index and the range of their ids.
fn shards(path: &Path) -> Result<()> {
    let shards = ShardSet::open(&path.to_string_lossy(), usize::MAX, None)?;
    let (documents, tokens, files) = (shards.documents(), shards.tokens(), shards.files().len());
    say(&format!("{}: {files} files, {documents} documents, {tokens} tokens", path.display()))
}

/// A model directory: headers, shapes, and every weight finite.
fn model(path: &Path) -> Result<()> {
    let dir = ModelDir::open(&model_path(path))?;
    dir.weights().read_all(&mut |_, _| (), |_, _, _| Ok::<(), octo_model::ModelError>(()))?;
    let c = dir.config();
    let table = dir.weights().table();
    say(&format!(
        "{}: {:?}, {} parameters, {} layers of {}, all finite",
        path.display(),
        c.family,
        table.parameter_count(),
        c.num_hidden_layers,
        c.hidden_size
    ))
}

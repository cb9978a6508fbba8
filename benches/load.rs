//! A checkpoint of the 1B model from a cold disk: how fast it is loaded, beside a plain read of the same bytes.
//!
//!     cargo bench --bench load -- [FOLDER [TURNS]]
//!
//! The folder takes 15 GB and the load as much memory; both stay with `target/`. What is timed is what a run does that
//! goes on: small files compared with the manifest, tensors read, compared and put in place. Before each turn the
//! system forgets the files.

mod common;

use common::{OPTIMIZER, Outcome, Scale};
use octo_durable::{AtomicDir, Disk, Manifest, verify_while_reading};
use octo_model::hf::{Companions, Export, MAX_SHARD_BYTES, ParamFiles, write_params};
use octo_model::{ModelDir, Net, Param, ParamTable, Shape, Trainer, WeightDType};
use octo_ops::DType;
use octo_queue::{DeviceKind, open};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() -> Outcome {
    // Cargo hands a flag of its own to every bench.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let folder = arguments.next().map_or_else(|| PathBuf::from("target/tmp/load"), PathBuf::from);
    let turns: u32 = arguments.next().map_or(Ok(3), |turns| turns.parse())?;
    let checkpoint = folder.join("step-00000001");
    if !checkpoint.exists() {
        std::fs::create_dir_all(&folder)?;
        say(&format!("writing {}", checkpoint.display()))?;
        write(&checkpoint)?;
    }
    let files = files(&checkpoint)?;
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    for turn in 1..=turns {
        forget(&files)?;
        let began = Instant::now();
        plain(&files)?;
        let plain = began.elapsed().as_secs_f64();
        forget(&files)?;
        let load = load(&checkpoint)?;
        let rate = |seconds: f64| bytes as f64 / seconds / 1e6;
        say(&format!(
            "turn {turn}: {:.2} GB; plain read {plain:.1} s, {:.0} MB/s; load {load:.1} s, {:.0} MB/s, {:.0} % of it; \
             most memory so far {:.2} GB",
            bytes as f64 / 1e9,
            rate(plain),
            rate(load),
            100.0 * plain / load,
            most_memory()? as f64 / 1e9,
        ))?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// Numbers that are finite and not all alike.
fn value(param: Param, element: u64, table: &ParamTable) -> f32 {
    let at = (table.range(param).start + element).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (at >> 40) as f32 * 1e-9
}

fn write(target: &Path) -> Outcome {
    let config = common::parse(&common::decoded_config(Scale::Full))?;
    let table = ParamTable::new(&config);
    let values = |param: Param, first: u64, into: &mut [f32]| {
        for (i, to) in into.iter_mut().enumerate() {
            *to = value(param, first + i as u64, &table);
        }
        Ok(())
    };
    let mut dir = AtomicDir::create(&Disk, target)?;
    let export = Export {
        config: &config,
        table: &table,
        dtype: WeightDType::F32,
        max_shard_bytes: MAX_SHARD_BYTES,
        companions: &Companions::default(),
    };
    let mut file = |name: String, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>| {
        dir.write_file(&name, |w| fill(w)).map_err(io::Error::other)
    };
    export.write(&mut |name, fill| file(format!("model/{name}"), fill), &mut { values })?;
    for stem in ["moment1", "moment2"] {
        write_params(
            &mut |name, fill| file(format!("state/{name}"), fill),
            stem,
            &table,
            WeightDType::F32,
            MAX_SHARD_BYTES,
            &mut { values },
        )?;
    }
    dir.commit()?;
    Ok(())
}

/// The files of a folder that has a manifest, and their lengths.
fn files(folder: &Path) -> Outcome<Vec<(PathBuf, u64)>> {
    let manifest: Manifest = serde_json::from_reader(File::open(folder.join("manifest.json"))?)?;
    Ok(manifest.files.iter().map(|file| (folder.join(&file.path), file.bytes)).collect())
}

/// Has the system forget what it holds of files that were synced.
fn forget(files: &[(PathBuf, u64)]) -> Outcome {
    for (path, _) in files {
        fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

fn plain(files: &[(PathBuf, u64)]) -> Outcome {
    let mut buffer = vec![0; 4 << 20];
    for (path, _) in files {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

/// Seconds of a load.
fn load(checkpoint: &Path) -> Outcome<f64> {
    let mut queue = open(DeviceKind::Cpu, None)?;
    let config = common::parse(&common::decoded_config(Scale::Full))?;
    let net = Net::allocate(&mut queue, config, DType::F32, 64)?;
    let shape = Shape { tokens: 64, documents: 1, sequences: 1, sources: 1 };
    let mut trainer = Trainer::new(&mut queue, net, OPTIMIZER, &[shape])?;
    queue.seal();
    let began = Instant::now();
    let mut verifying = verify_while_reading(checkpoint, |name| name.ends_with(".safetensors"))?;
    let model = ModelDir::open(&checkpoint.join("model"))?;
    let open = |stem| ParamFiles::open(&checkpoint.join("state"), stem, trainer.net().params.clone());
    let moments = [open("moment1")?, open("moment2")?];
    let [first, second] = &moments;
    trainer.restore(&mut queue, model.weights(), [first, second], 1, &mut |path, bytes| {
        verifying.see(path, bytes);
    })?;
    verifying.finish()?;
    Ok(began.elapsed().as_secs_f64())
}

/// The most memory that this process has held, in bytes.
fn most_memory() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

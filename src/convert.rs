//! `convert`: copy a model in another dtype, average several, make a checkpoint of one.

use crate::io::say;
use anyhow::{Context, Result, bail};
use octo_durable::{AtomicDir, Disk};
use octo_model::hf::{Average, Companions, Export, MAX_SHARD_BYTES, ParamFiles, model_path};
use octo_model::{ModelDir, ParamTable, WeightDType};
use octo_trainer::FirstCheckpoint;
use std::io;
use std::path::{Path, PathBuf};

/// Arguments of `convert`.
#[derive(clap::Args)]
pub struct Args {
    /// Hugging Face model directories or checkpoints of a run; several are averaged.
    #[arg(required = true, value_name = "MODEL")]
    input: Vec<PathBuf>,
    /// The Hugging Face directory to write, which must not exist.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Write a checkpoint instead, from which a run can start: with bf16 weights it keeps f32 masters beside them.
    #[arg(long)]
    checkpoint: bool,
    /// The dtype of its weights: float32, bfloat16 or float16; by default that of the first model.
    #[arg(long, value_parser = parse_dtype)]
    dtype: Option<WeightDType>,
}

fn parse_dtype(name: &str) -> Result<WeightDType, String> {
    WeightDType::from_torch_name(name).ok_or_else(|| "expected float32, bfloat16 or float16".to_owned())
}

/// Runs `convert`.
pub fn run(args: Args) -> Result<()> {
    let Some(first) = args.input.first() else { bail!("no model is given") };
    let model = ModelDir::open(&model_path(first))?;
    let dtype = args.dtype.or(model.config().dtype).unwrap_or(model.weights().narrowest_dtype());
    let weights = args.input.iter().map(|path| open_weights(path)).collect::<Result<Vec<_>>>()?;
    let weights = Average::new(weights)?;
    let companions = Companions::of(model.path())?;
    let what = match args.input.len() {
        1 => "1 model".to_owned(),
        n => format!("the average of {n} models"),
    };
    let mut values =
        |param, first, into: &mut [f32]| weights.read(param, first, into).map_err(io::Error::other);
    if args.checkpoint {
        let config = model.config().clone();
        let names: Vec<_> = args.input.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        let first = FirstCheckpoint { config, dtype, companions, origin: names.join(", ") };
        first.write(&args.output, &mut values)?;
        return say(&format!("{what} in {}, a checkpoint in {}", dtype.torch_name(), args.output.display()));
    }
    let table = ParamTable::new(model.config());
    let export = Export {
        config: model.config(),
        table: &table,
        dtype,
        max_shard_bytes: MAX_SHARD_BYTES,
        companions: &companions,
    };
    let mut dir = AtomicDir::create(&Disk, &args.output)?;
    export
        .write(&mut |name, fill| dir.write_file(name, |w| fill(w)).map_err(io::Error::other), &mut values)?;
    dir.commit()?;
    say(&format!("{what} in {} in {}", dtype.torch_name(), args.output.display()))
}

/// The weights of a model at their full precision: a checkpoint has the f32 masters behind bf16 weights.
fn open_weights(path: &Path) -> Result<ParamFiles> {
    let model = model_path(path);
    let table = ParamTable::new(ModelDir::open(&model)?.config());
    let state = path.join("state");
    let masters =
        state.join("masters.safetensors").exists() || state.join("masters.safetensors.index.json").exists();
    let (dir, stem) = if masters { (state, "masters") } else { (model, "model") };
    ParamFiles::open(&dir, stem, table).with_context(|| format!("{}", path.display()))
}

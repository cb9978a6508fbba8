//! The folder of a run and what is written into it.

use crate::{StepMetrics, TrainError};
use octo_durable::{AppendLog, AtomicDir, Disk, replace_link, write_bytes};
use octo_model::hf::{Companions, Export, MAX_SHARD_BYTES};
use octo_model::{Flat, Net, Trainer, WeightDType};
use octo_ops::DType;
use octo_queue::Queue;
use octo_recipe::{ModelStart, Recipe};
use octo_text::Tokenizer;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

const DISK: &Disk = &Disk;

/// A run's folder: `recipe.toml`, `metrics.jsonl`, `samples.jsonl`, `checkpoints/`.
pub(crate) struct Folder {
    path: PathBuf,
    metrics: AppendLog<'static>,
    samples: AppendLog<'static>,
}

#[derive(Serialize)]
struct SampleLine<'a> {
    step: u64,
    prompt: &'a str,
    text: &'a str,
}

impl Folder {
    /// Fails when the recipe's folder holds a run already.
    pub fn check_free(recipe: &Recipe) -> Result<(), TrainError> {
        match recipe.run.dir.join("recipe.toml").exists() {
            true => Err(TrainError::RunExists(recipe.run.dir.clone())),
            false => Ok(()),
        }
    }

    /// Makes the folder of a new run.
    pub fn create(recipe: &Recipe) -> Result<Folder, TrainError> {
        Folder::check_free(recipe)?;
        let path = recipe.run.dir.clone();
        let checkpoints = path.join("checkpoints");
        std::fs::create_dir_all(&checkpoints)
            .map_err(|source| TrainError::Io { path: checkpoints.clone(), source })?;
        write_bytes(DISK, &path.join("recipe.toml"), recipe.to_toml().as_bytes())?;
        let metrics = AppendLog::open(DISK, &path.join("metrics.jsonl"))?;
        let samples = AppendLog::open(DISK, &path.join("samples.jsonl"))?;
        Ok(Folder { path, metrics, samples })
    }

    /// Adds a line to `metrics.jsonl`.
    pub fn metrics(&mut self, metrics: &StepMetrics) -> Result<(), TrainError> {
        self.metrics.append(&json(metrics)?).map_err(TrainError::from)
    }

    /// Adds a line to `samples.jsonl`.
    pub fn sample(&mut self, step: u64, prompt: &str, text: &str) -> Result<(), TrainError> {
        self.samples.append(&json(&SampleLine { step, prompt, text })?).map_err(TrainError::from)
    }

    /// Writes `checkpoints/step-…/model`, a Hugging Face directory in the weights' dtype, and points `latest`
    /// to it. Returns the model's path.
    pub fn checkpoint(
        &mut self,
        step: u64,
        queue: &mut Queue,
        trainer: &Trainer,
        tokenizer: &Tokenizer,
        recipe: &Recipe,
    ) -> Result<PathBuf, TrainError> {
        self.metrics.sync()?;
        self.samples.sync()?;
        let name = format!("step-{step:08}");
        let target = self.path.join("checkpoints").join(&name);
        let mut dir = AtomicDir::create(DISK, &target)?;
        export(&mut dir, queue, trainer.net(), tokenizer, recipe)?;
        let card = card(step, recipe);
        dir.write_file("model/README.md", |w| w.write_all(card.as_bytes()))?;
        dir.commit()?;
        replace_link(DISK, &self.path.join("checkpoints/latest"), Path::new(&name))?;
        Ok(target.join("model"))
    }
}

fn json(row: &impl Serialize) -> Result<String, TrainError> {
    serde_json::to_string(row)
        .map_err(|e| TrainError::Io { path: PathBuf::from("metrics.jsonl"), source: e.into() })
}

fn export(
    dir: &mut AtomicDir<'_>,
    queue: &mut Queue,
    net: &Net,
    tokenizer: &Tokenizer,
    recipe: &Recipe,
) -> Result<(), TrainError> {
    let mut files = vec![("tokenizer.json", tokenizer.json().as_bytes())];
    files.extend(tokenizer.config_json().map(|json| ("tokenizer_config.json", json.as_bytes())));
    let companions = match (&recipe.model.start, &recipe.model.tokenizer) {
        // A model keeps everything that came with it: chat template, generation config, vocabulary files.
        (ModelStart::From(path), None) => Companions::Directory(path),
        _ => Companions::Files(&files),
    };
    let export = Export {
        config: &net.config,
        table: &net.params,
        dtype: if net.weights.dtype == DType::Bf16 { WeightDType::Bf16 } else { WeightDType::F32 },
        max_shard_bytes: MAX_SHARD_BYTES,
        companions,
    };
    let weights: Flat = net.weights;
    export.write(
        &mut |name, fill| dir.write_file(&format!("model/{name}"), |w| fill(w)).map_err(io::Error::other),
        &mut |param, first, into| net.read(queue, weights, param, first, into).map_err(io::Error::other),
    )?;
    Ok(())
}

/// The model's README: what it came from.
fn card(step: u64, recipe: &Recipe) -> String {
    let base = match &recipe.model.start {
        ModelStart::From(path) => {
            path.file_name().map_or_else(|| "a directory".into(), |name| name.to_string_lossy().into_owned())
        }
        _ => "random weights".into(),
    };
    format!(
        "# A model trained by octo-engine\n\n\
         - started from: {base}\n- optimizer steps: {step}\n- tokens: {}\n- recipe: {}\n",
        step * recipe.stages[0].batch_tokens,
        recipe.content_hash(),
    )
}

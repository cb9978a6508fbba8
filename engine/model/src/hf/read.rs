//! Reading weights: any elements of any parameter, from whichever file has them. `read_all.rs` reads all of them.
//!
//! Files are read piece by piece at explicit offsets, never mapped: a file that shrinks meanwhile is an
//! error and no signal, and nothing is held but the caller's slice.

use super::header::{self, HeaderError, TensorInfo};
use super::{WeightDType, files};
use crate::error::Shown;
use crate::{ModelConfig, ModelError, Param, ParamTable};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The most bytes an index or `generation_config.json` may have.
const MAX_INDEX_BYTES: u64 = 64 << 20;
const MAX_GENERATION_CONFIG_BYTES: u64 = 4 << 20;
/// The most files a sharded model may have.
const MAX_SHARDS: usize = 4096;
/// Bytes read at once.
const PIECE: usize = 1 << 20;
const HEAD: &str = "lm_head.weight";

/// The model directory that a path means: itself, or the `model/` of a checkpoint.
pub fn model_path(path: &Path) -> PathBuf {
    let inner = path.join("model");
    if !files::has(path, "config.json") && files::has(&inner, "config.json") {
        inner
    } else {
        path.to_owned()
    }
}

/// A model directory, its headers read and checked, its weights still on disk.
#[derive(Debug)]
pub struct ModelDir {
    config: ModelConfig,
    eos_token_ids: Vec<u32>,
    weights: ParamFiles,
}

impl ModelDir {
    /// Opens a directory with `config.json` and `model.safetensors` or its index and shards.
    ///
    /// # Errors
    /// What [`ModelConfig::load`] and [`ParamFiles::open`] say. A tied model may carry an `lm_head.weight`
    /// only if it equals the embedding: transformers would then untie them, that is, load another model.
    pub fn open(dir: &Path) -> Result<ModelDir, ModelError> {
        let config = ModelConfig::load(&files::inside(dir, "config.json")?)?;
        let table = ParamTable::new(&config);
        let weights = ParamFiles::open(dir, "model", table)?;
        let eos_token_ids = eos_token_ids(dir, &config)?;
        Ok(ModelDir { config, eos_token_ids, weights })
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.weights.dir
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Tokens that end a generated text: those of `config.json`, then those that only
    /// `generation_config.json` has.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.eos_token_ids
    }

    /// The weights.
    pub fn weights(&self) -> &ParamFiles {
        &self.weights
    }
}

/// One value for every element of a [`ParamTable`], in safetensors files by Hugging Face name.
#[derive(Debug)]
pub struct ParamFiles {
    dir: PathBuf,
    table: ParamTable,
    pub(super) files: Vec<(PathBuf, File)>,
    pub(super) tensors: BTreeMap<String, Stored>,
}

#[derive(Debug)]
pub(super) struct Stored {
    pub file: usize,
    pub dtype: WeightDType,
    /// Its first byte in the file.
    pub begin: u64,
}

impl ParamFiles {
    /// Opens `<stem>.safetensors`, or `<stem>.safetensors.index.json` and its shards.
    ///
    /// # Errors
    /// A missing, extra or mis-shaped tensor by name; a dtype other than f32, bf16 and f16; headers that
    /// lie; truncated files; an index whose names leave the directory. Old checkpoints' `rotary_emb.inv_freq`
    /// are passed over.
    pub fn open(dir: &Path, stem: &str, table: ParamTable) -> Result<ParamFiles, ModelError> {
        let (files, found) = find_tensors(dir, stem)?;
        let mut extra = found;
        let mut missing = Vec::new();
        let mut tensors = BTreeMap::new();
        for source in table.params().flat_map(|param| table.sources(param)) {
            match extra.remove(&source.name) {
                Some((file, info)) => {
                    let stored = check(&files, file, &info, &source.shape)?;
                    tensors.insert(info.name, stored);
                }
                None => missing.push(source.name.clone()),
            }
        }
        let tied_head = match table.head() == table.embedding() {
            true => extra.remove(HEAD),
            false => None,
        };
        extra.retain(|name, _| !name.ends_with(".rotary_emb.inv_freq"));
        if !missing.is_empty() {
            let hint = match missing.iter().any(|name| name == HEAD) {
                true => {
                    "; if the head is meant to be the embedding, set \"tie_word_embeddings\" to true in config.json"
                }
                false => "",
            };
            return Err(ModelError::MissingTensors { dir: dir.to_owned(), names: missing, hint });
        }
        if !extra.is_empty() {
            return Err(ModelError::ExtraTensors { dir: dir.to_owned(), names: extra.into_keys().collect() });
        }
        let mut weights = ParamFiles { dir: dir.to_owned(), table, files, tensors };
        if let Some((file, info)) = tied_head {
            weights.accept_equal_head(file, &info)?;
        }
        Ok(weights)
    }

    /// Where they lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The parameters the files were checked against.
    pub fn table(&self) -> &ParamTable {
        &self.table
    }

    /// The narrowest dtype that holds every weight exactly: bf16 where all are bf16, else f32.
    pub fn narrowest_dtype(&self) -> WeightDType {
        match self.tensors.values().all(|t| t.dtype == WeightDType::Bf16) {
            true => WeightDType::Bf16,
            false => WeightDType::F32,
        }
    }

    /// Reads elements `first ..` of a parameter, in arena order, into the whole of `into`.
    ///
    /// May be called from many threads at once.
    ///
    /// # Errors
    /// I/O; a number that is not finite, by tensor and element.
    pub fn read(&self, param: Param, first: u64, into: &mut [f32]) -> Result<(), ModelError> {
        let range = self.table.range(param);
        let elements = range.end - range.start;
        let end = first.saturating_add(into.len() as u64);
        let out_of_range =
            || ModelError::Range { param: self.table.name(param).to_owned(), first, end, elements };
        if end > elements {
            return Err(out_of_range());
        }
        let sources = self.table.sources(param);
        let mut done = 0;
        while done < into.len() {
            let place = first + done as u64;
            let owner = sources.iter().find_map(|s| s.run_in_param(place).map(|run| (s, run)));
            let Some((source, (from, length))) = owner else {
                return Err(out_of_range());
            };
            let length = length.min((into.len() - done) as u64) as usize;
            self.read_tensor(&source.name, from, &mut into[done..done + length])?;
            done += length;
        }
        Ok(())
    }

    fn read_tensor(&self, name: &str, first: u64, into: &mut [f32]) -> Result<(), ModelError> {
        let Some(stored) = self.tensors.get(name) else {
            return Err(ModelError::MissingTensors {
                dir: self.dir.clone(),
                names: vec![name.to_owned()],
                hint: "",
            });
        };
        let (path, file) = &self.files[stored.file];
        let size = stored.dtype.bytes() as usize;
        let mut bytes = vec![0; (into.len() * size).min(PIECE)];
        let mut offset = stored.begin + first * stored.dtype.bytes();
        for piece in into.chunks_mut(PIECE / size) {
            let bytes = &mut bytes[..piece.len() * size];
            file.read_exact_at(bytes, offset).map_err(|e| ModelError::io(path, e))?;
            stored.dtype.decode(bytes, piece);
            offset += bytes.len() as u64;
        }
        match into.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(at) => Err(ModelError::NotFinite {
                path: path.clone(),
                tensor: name.to_owned(),
                element: first + at as u64,
                value: into[at],
            }),
        }
    }

    /// Compares a tied model's superfluous head with the embedding.
    fn accept_equal_head(&mut self, file: usize, info: &TensorInfo) -> Result<(), ModelError> {
        let embedding = self.table.sources(self.table.embedding())[0].clone();
        let stored = check(&self.files, file, info, &embedding.shape)?;
        self.tensors.insert(HEAD.to_owned(), stored);
        let mut first = 0;
        while first < embedding.elements() {
            let length = (embedding.elements() - first).min(PIECE as u64) as usize;
            let (mut left, mut right) = (vec![0.0; length], vec![0.0; length]);
            self.read_tensor(&embedding.name, first, &mut left)?;
            self.read_tensor(HEAD, first, &mut right)?;
            if let Some(at) = left.iter().zip(&right).position(|(a, b)| a != b) {
                let element = first + at as u64;
                return Err(ModelError::TiedHeadDiffers { path: self.files[file].0.clone(), element });
            }
            first += length as u64;
        }
        self.tensors.remove(HEAD);
        Ok(())
    }
}

/// Checks one tensor against its shape in the model.
fn check(
    files: &[(PathBuf, File)],
    file: usize,
    info: &TensorInfo,
    shape: &[u32],
) -> Result<Stored, ModelError> {
    let path = || files[file].0.clone();
    let expected: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    if info.shape != expected {
        let found = info.shape.clone();
        return Err(ModelError::TensorShape { path: path(), tensor: info.name.clone(), found, expected });
    }
    let Some(dtype) = WeightDType::from_safetensors_name(&info.dtype) else {
        let (tensor, found) = (info.name.clone(), info.dtype.clone());
        return Err(ModelError::TensorDType { path: path(), tensor, found });
    };
    Ok(Stored { file, dtype, begin: info.begin })
}

type Found = (Vec<(PathBuf, File)>, BTreeMap<String, (usize, TensorInfo)>);

/// Opens the files and collects their tensors. Where both forms are there, the single file counts, as in
/// transformers.
fn find_tensors(dir: &Path, stem: &str) -> Result<Found, ModelError> {
    let single = format!("{stem}.safetensors");
    let index = format!("{stem}.safetensors.index.json");
    if files::has(dir, &single) {
        return open_all(dir, [single]);
    }
    if !files::has(dir, &index) {
        std::fs::read_dir(dir).map_err(|e| ModelError::io(dir, e))?;
        let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
        let hint = match pickled.iter().any(|name| files::has(dir, name)) {
            true => "; pickled weights (pytorch_model.bin) are never read: save the model as safetensors",
            false => "",
        };
        return Err(ModelError::NoWeights { dir: dir.to_owned(), stem: stem.to_owned(), hint });
    }
    let path = files::inside(dir, &index)?;
    let bytes = files::read_capped(&path, MAX_INDEX_BYTES)?;
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|e| ModelError::json(&path.display().to_string(), &e))?;
    let problem = |problem: String| ModelError::Index { path: path.clone(), problem };
    let mut names: Vec<String> = index.weight_map.values().cloned().collect();
    names.sort();
    names.dedup();
    if names.len() > MAX_SHARDS {
        return Err(problem(format!("{} shards, more than {MAX_SHARDS}", names.len())));
    }
    let (files, tensors) = open_all(dir, names.clone())?;
    for (tensor, file) in index.weight_map {
        match tensors.get(&tensor) {
            Some((found, _)) if names[*found] == file => (),
            _ => {
                let (tensor, file) = (Shown(&tensor), Shown(&file));
                return Err(problem(format!("tensor {tensor} is said to be in {file} and is not")));
            }
        }
    }
    Ok((files, tensors))
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn open_all(dir: &Path, names: impl IntoIterator<Item = String>) -> Result<Found, ModelError> {
    let mut files = Vec::new();
    let mut tensors = BTreeMap::new();
    for name in names {
        let path = files::inside(dir, &name)?;
        let (file, bytes) = files::open_regular(&path)?;
        for info in read_header(&path, &file, bytes)? {
            if let Some((other, _)) = tensors.get(&info.name) {
                let other: &(PathBuf, File) = &files[*other];
                let problem = format!("tensor {} is also in {}", Shown(&info.name), other.0.display());
                return Err(ModelError::Header { path, problem });
            }
            tensors.insert(info.name.clone(), (files.len(), info));
        }
        files.push((path, file));
    }
    Ok((files, tensors))
}

fn read_header(path: &Path, file: &File, bytes: u64) -> Result<Vec<TensorInfo>, ModelError> {
    let named = |error| match error {
        HeaderError::Truncated { needed } => {
            ModelError::Truncated { path: path.to_owned(), needed, actual: bytes }
        }
        HeaderError::Bad(problem) => ModelError::Header { path: path.to_owned(), problem },
    };
    if bytes < header::LENGTH_BYTES {
        return Err(named(HeaderError::Truncated { needed: header::LENGTH_BYTES }));
    }
    let mut length = [0; header::LENGTH_BYTES as usize];
    file.read_exact_at(&mut length, 0).map_err(|e| ModelError::io(path, e))?;
    let mut json = vec![0; header::json_bytes(length, bytes).map_err(named)? as usize];
    file.read_exact_at(&mut json, header::LENGTH_BYTES).map_err(|e| ModelError::io(path, e))?;
    header::parse(&json, bytes).map_err(named)
}

/// The union of both files' ids, `config.json`'s first.
fn eos_token_ids(dir: &Path, config: &ModelConfig) -> Result<Vec<u32>, ModelError> {
    let mut ids = config.eos_token_ids.clone();
    if files::has(dir, "generation_config.json") {
        let path = files::inside(dir, "generation_config.json")?;
        let bytes = files::read_capped(&path, MAX_GENERATION_CONFIG_BYTES)?;
        for id in crate::config::generation_eos(&bytes, &path.display().to_string())? {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

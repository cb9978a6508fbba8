//! Writing a model directory that transformers and vLLM load unchanged.
//!
//! Where the files go, and that they appear whole or not at all, is the caller's [`FileSink`]. Values are
//! asked for run by run, so that nothing larger than a piece is ever held.

use super::{WeightDType, files};
use crate::{ModelConfig, ModelError, Param, ParamTable};
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::Path;

/// Shards of transformers' usual size, "5GB".
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;
/// Elements asked for at once.
const PIECE: usize = 1 << 18;
/// The most bytes of a file that is copied along.
const MAX_COMPANION_BYTES: u64 = 256 << 20;

/// Takes a file: its name, and a function that writes its content.
pub type FileSink<'a> =
    dyn FnMut(&str, &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> + 'a;

/// Gives values: elements `first ..` of a parameter in arena order, as many as the slice holds.
pub type Values<'a> = dyn FnMut(Param, u64, &mut [f32]) -> io::Result<()> + 'a;

/// Files of a model that this crate carries along unread, in the order they are written.
const COMPANIONS: [&str; 10] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
];

/// The tokenizer, the chat template, `generation_config.json` and the like: names and contents.
#[derive(Clone, Debug, Default)]
pub struct Companions(Vec<(String, Vec<u8>)>);

impl Companions {
    /// Every such file of a model directory, held in memory: the directory may be gone when they are written.
    ///
    /// # Errors
    /// I/O; a file that is too large or lies elsewhere.
    pub fn of(dir: &Path) -> Result<Companions, ModelError> {
        let names = COMPANIONS.into_iter().filter(|name| files::has(dir, name));
        let read = |name: &str| -> Result<(String, Vec<u8>), ModelError> {
            Ok((name.to_owned(), files::read_capped(&files::inside(dir, name)?, MAX_COMPANION_BYTES)?))
        };
        Ok(Companions(names.map(read).collect::<Result<_, _>>()?))
    }

    /// With one more file.
    #[must_use]
    pub fn with(mut self, name: &str, content: impl Into<Vec<u8>>) -> Companions {
        self.0.push((name.to_owned(), content.into()));
        self
    }
}

/// What is written, apart from the values.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    /// The shape and every key of `config.json`.
    pub config: &'a ModelConfig,
    /// Its parameters.
    pub table: &'a ParamTable,
    /// The dtype in the files; `torch_dtype` says it too.
    pub dtype: WeightDType,
    /// The most bytes of tensors in one file, [`MAX_SHARD_BYTES`] as a rule.
    pub max_shard_bytes: u64,
    /// Tokenizer and the like.
    pub companions: &'a Companions,
}

impl Export<'_> {
    /// Writes `config.json`, `generation_config.json`, the companions and the weights.
    ///
    /// A tied model has no `lm_head.weight`. f32 values round to nearest, ties to even.
    ///
    /// # Errors
    /// I/O of the sink, by file name; a value that is not finite in
    /// the dtype of the files, by tensor.
    pub fn write(&self, sink: &mut FileSink<'_>, values: &mut Values<'_>) -> Result<(), ModelError> {
        write_json(sink, "config.json", &self.config.to_json(self.dtype))?;
        let mut generation_config = false;
        for (name, content) in &self.companions.0 {
            generation_config |= name == "generation_config.json";
            write_bytes(sink, name, content)?;
        }
        let (bos, eos) = (self.config.bos_token_id, &self.config.eos_token_ids);
        if !generation_config && (bos.is_some() || !eos.is_empty()) {
            let mut json = Map::new();
            json.insert("_from_model_config".to_owned(), true.into());
            if let Some(bos) = bos {
                json.insert("bos_token_id".to_owned(), bos.into());
            }
            match eos.as_slice() {
                [] => None,
                [one] => json.insert("eos_token_id".to_owned(), (*one).into()),
                many => json.insert("eos_token_id".to_owned(), many.to_vec().into()),
            };
            write_json(sink, "generation_config.json", &Value::Object(json))?;
        }
        write_params(sink, "model", self.table, self.dtype, self.max_shard_bytes, values)
    }
}

/// A tensor to be written: Hugging Face's name and shape, and where its values come from.
struct Tensor<'a> {
    source: &'a crate::Source,
    param: Param,
    bytes: u64,
}

/// Writes one value for every element of a table as `<stem>.safetensors`, or, where that would pass
/// `max_shard_bytes`, as `<stem>-00001-of-0000N.safetensors` with `<stem>.safetensors.index.json`.
///
/// A tensor that passes the limit alone has a file of its own.
///
/// # Errors
/// As [`Export::write`].
pub fn write_params(
    sink: &mut FileSink<'_>,
    stem: &str,
    table: &ParamTable,
    dtype: WeightDType,
    max_shard_bytes: u64,
    values: &mut Values<'_>,
) -> Result<(), ModelError> {
    let mut shards: Vec<Vec<Tensor<'_>>> = Vec::new();
    let (mut shard_bytes, mut total_bytes) = (0, 0);
    for param in table.params() {
        for source in table.sources(param) {
            let bytes = source.elements() * dtype.bytes();
            if shards.is_empty() || shard_bytes + bytes > max_shard_bytes {
                shards.push(Vec::new());
                shard_bytes = 0;
            }
            if let Some(shard) = shards.last_mut() {
                shard.push(Tensor { source, param, bytes });
            }
            shard_bytes += bytes;
            total_bytes += bytes;
        }
    }
    let count = shards.len();
    let mut weight_map = Map::new();
    for (i, shard) in shards.iter().enumerate() {
        let name = match count {
            1 => format!("{stem}.safetensors"),
            _ => format!("{stem}-{:05}-of-{count:05}.safetensors", i + 1),
        };
        let mut write = |out: &mut dyn Write| write_shard(out, shard, dtype, values);
        sink(&name, &mut write).map_err(|e| ModelError::io(&name, e))?;
        for tensor in shard {
            weight_map.insert(tensor.source.name.clone(), name.clone().into());
        }
    }
    if count > 1 {
        let index = json!({ "metadata": { "total_size": total_bytes }, "weight_map": weight_map });
        write_json(sink, &format!("{stem}.safetensors.index.json"), &index)?;
    }
    Ok(())
}

fn write_shard(
    out: &mut dyn Write,
    tensors: &[Tensor<'_>],
    dtype: WeightDType,
    values: &mut Values<'_>,
) -> io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut offset = 0;
    for Tensor { source, bytes, .. } in tensors {
        let end = offset + bytes;
        let info = json!({
            "dtype": dtype.safetensors_name(), "shape": source.shape, "data_offsets": [offset, end],
        });
        header.insert(source.name.clone(), info);
        offset = end;
    }
    let mut json = Value::Object(header).to_string().into_bytes();
    // Readers map the file and want the tensors aligned.
    json.resize(json.len().next_multiple_of(8), b' ');
    out.write_all(&(json.len() as u64).to_le_bytes())?;
    out.write_all(&json)?;

    let mut piece = Vec::new();
    let mut bytes = Vec::new();
    for Tensor { source, param, .. } in tensors {
        let mut first = 0;
        while first < source.elements() {
            let (place, run) = source.run(first);
            piece.resize(run.min(PIECE as u64).min(source.elements() - first) as usize, 0.0);
            values(*param, place, &mut piece)?;
            bytes.clear();
            dtype.encode(&piece, &mut bytes);
            if let Some(at) = first_not_finite(&bytes, dtype) {
                return Err(io::Error::other(format!(
                    "{} would be written as {} at element {}, from {}: refused",
                    source.name,
                    dtype.torch_name(),
                    first + at as u64,
                    piece[at]
                )));
            }
            out.write_all(&bytes)?;
            first += piece.len() as u64;
        }
    }
    Ok(())
}

/// The first encoded value whose exponent is all ones: infinite or NaN.
fn first_not_finite(bytes: &[u8], dtype: WeightDType) -> Option<usize> {
    let mask: u16 = if dtype == WeightDType::F16 { 0x7c00 } else { 0x7f80 };
    // In each dtype the exponent lies in the upper two bytes of an element.
    let size = dtype.bytes() as usize;
    bytes.chunks_exact(size).position(|b| u16::from_le_bytes([b[size - 2], b[size - 1]]) & mask == mask)
}

fn write_json(sink: &mut FileSink<'_>, name: &str, value: &Value) -> Result<(), ModelError> {
    write_bytes(sink, name, format!("{value:#}\n").as_bytes())
}

fn write_bytes(sink: &mut FileSink<'_>, name: &str, bytes: &[u8]) -> Result<(), ModelError> {
    sink(name, &mut |out| out.write_all(bytes)).map_err(|e| ModelError::io(name, e))
}

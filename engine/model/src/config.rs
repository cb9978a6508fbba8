//! The shape of a model, from a Hugging Face `config.json`.
//!
//! Absent keys take the defaults of transformers' `LlamaConfig` and `Qwen2Config`. Every key, known or not,
//! is kept and written back. All sizes are capped here, before anything is allocated from them.

use crate::error::Shown;
use crate::hf::files;
use crate::rope::Rope;
use crate::{ModelError, WeightDType};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;
use std::path::Path;

/// The most bytes a `config.json` may have.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// The most elements one matrix may have: 2³², addressed with room to spare by every index type in use.
const MAX_MATRIX: u64 = 1 << 32;

/// The families of models, by `model_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// "llama": Llama 2 and 3.x, and whatever shares their shape.
    Llama,
    /// "qwen2": Qwen2 and 2.5, with a bias on q, k and v.
    Qwen2,
}

impl Family {
    /// The class transformers and vLLM load.
    fn architecture(self) -> &'static str {
        match self {
            Family::Llama => "LlamaForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
        }
    }
}

/// A model's shape and constants. Fields carry Hugging Face's names.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Which family.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Width of the feed-forward layer, a multiple of 8.
    pub intermediate_size: u32,
    /// Number of blocks.
    pub num_hidden_layers: u32,
    /// Query heads.
    pub num_attention_heads: u32,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: u32,
    /// Width of a head, a multiple of 8, at most 256; not always `hidden_size / num_attention_heads`.
    pub head_dim: u32,
    /// Rows of the embedding.
    pub vocab_size: u32,
    /// The longest document the model is meant for, in tokens.
    pub max_position_embeddings: u32,
    /// Added to the mean square in each norm.
    pub rms_norm_eps: f32,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether q, k and v have a bias.
    pub qkv_bias: bool,
    /// The rotary embedding.
    pub rope: Rope,
    /// Standard deviation of a random start's matrices.
    pub initializer_range: f64,
    /// What `torch_dtype` or `dtype` says; `None` where neither does.
    pub dtype: Option<WeightDType>,
    /// First token of a text, where the model has one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// The file as it was, every key.
    json: Map<String, Value>,
}

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// I/O, broken JSON (with line and column), or the first key that cannot be used.
    pub fn load(path: &Path) -> Result<ModelConfig, ModelError> {
        let bytes = files::read_capped(path, MAX_CONFIG_BYTES)?;
        ModelConfig::from_slice(&bytes, &path.display().to_string())
    }

    /// Parses the bytes of a `config.json`; `origin` names them in errors.
    ///
    /// # Errors
    /// As [`ModelConfig::load`].
    pub fn from_slice(bytes: &[u8], origin: &str) -> Result<ModelConfig, ModelError> {
        let value = serde_json::from_slice(bytes).map_err(|e| ModelError::json(origin, &e))?;
        ModelConfig::from_value(value, origin)
    }

    /// Takes a config that is already JSON, such as an inline table of a recipe.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn from_value(value: Value, origin: &str) -> Result<ModelConfig, ModelError> {
        let Value::Object(json) = value else {
            return Err(Keys { file: origin, prefix: "", map: &Map::new() }.wrong(
                "(whole file)",
                &value,
                "a JSON object",
            ));
        };
        let keys = Keys { file: origin, prefix: "", map: &json };
        let family = match keys.map.get("model_type").and_then(Value::as_str) {
            Some("llama") => Family::Llama,
            Some("qwen2") => Family::Qwen2,
            _ => return Err(keys.bad("model_type", "\"llama\" or \"qwen2\"")),
        };
        refuse_what_is_not_computed(&keys, family)?;

        let hidden_size = keys.integer("hidden_size", None, 8..=1 << 16)?;
        let intermediate_size = keys.integer("intermediate_size", None, 8..=1 << 20)?;
        for (key, size) in [("hidden_size", hidden_size), ("intermediate_size", intermediate_size)] {
            if size % 8 != 0 {
                return Err(keys.bad(key, "a multiple of 8"));
            }
        }
        let num_attention_heads = keys.integer("num_attention_heads", None, 1..=1024)?;
        let num_key_value_heads =
            keys.integer("num_key_value_heads", Some(num_attention_heads), 1..=num_attention_heads)?;
        if num_attention_heads % num_key_value_heads != 0 {
            let expected = format!("a divisor of num_attention_heads, which is {num_attention_heads}");
            return Err(keys.bad("num_key_value_heads", &expected));
        }
        let even_heads = hidden_size % num_attention_heads == 0;
        // transformers refuses such a Llama even where head_dim stands on its own.
        if !even_heads && (family == Family::Llama || keys.get("head_dim").is_none()) {
            let expected = format!("a divisor of hidden_size, which is {hidden_size}");
            return Err(keys.bad("num_attention_heads", &expected));
        }
        let head_dim = keys.integer("head_dim", Some(hidden_size / num_attention_heads), 8..=256)?;
        if head_dim % 8 != 0 || head_dim > 256 || head_dim == 0 {
            let expected = "a multiple of 8, at most 256";
            return Err(match keys.get("head_dim") {
                Some(_) => keys.bad("head_dim", expected),
                None => keys.wrong("hidden_size / num_attention_heads", &head_dim.into(), expected),
            });
        }
        let vocab_size = keys.integer("vocab_size", None, 1..=1 << 24)?;
        for (key, rows) in [
            ("vocab_size", vocab_size),
            ("intermediate_size", 2 * intermediate_size),
            ("num_attention_heads", (num_attention_heads + 2 * num_key_value_heads) * head_dim),
        ] {
            if rows as u64 * hidden_size as u64 > MAX_MATRIX {
                let expected = format!("at most {MAX_MATRIX} elements in a matrix of {hidden_size} columns");
                return Err(keys.bad(key, &expected));
            }
        }
        let max_positions = if family == Family::Llama { 2048 } else { 32_768 };
        let max_position_embeddings =
            keys.integer("max_position_embeddings", Some(max_positions), 1..=1 << 26)?;
        let (bos, eos) = if family == Family::Llama { (Some(1), vec![2]) } else { (None, vec![]) };

        Ok(ModelConfig {
            family,
            hidden_size,
            intermediate_size,
            num_hidden_layers: keys.integer("num_hidden_layers", None, 1..=1024)?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            vocab_size,
            max_position_embeddings,
            rms_norm_eps: keys.number("rms_norm_eps", Some(1e-6), 1e-30..=1.0)? as f32,
            tie_word_embeddings: keys.boolean("tie_word_embeddings", false)?,
            qkv_bias: family == Family::Qwen2,
            rope: Rope::from_keys(&keys, max_position_embeddings)?,
            initializer_range: keys.number("initializer_range", Some(0.02), 0.0..=1.0)?,
            dtype: dtype(&keys)?,
            bos_token_id: match json.get("bos_token_id") {
                None => bos,
                Some(_) => keys.token_ids("bos_token_id")?.first().copied(),
            },
            eos_token_ids: match json.get("eos_token_id") {
                None => eos,
                Some(_) => keys.token_ids("eos_token_id")?,
            },
            json,
        })
    }

    /// The config as JSON for a directory whose weights are stored as `stored`: all keys it came with, in
    /// alphabetical order, and those without which transformers or vLLM would read another model.
    pub fn to_json(&self, stored: WeightDType) -> Value {
        let mut json = self.json.clone();
        let mut fill = |key: &str, value: Value| {
            let slot = json.entry(key).or_insert(Value::Null);
            if slot.is_null() {
                *slot = value;
            }
        };
        fill("architectures", Value::from(vec![self.family.architecture()]));
        fill("num_key_value_heads", self.num_key_value_heads.into());
        let both = ["torch_dtype", "dtype"].map(|key| json.contains_key(key));
        for (key, present) in [("torch_dtype", both[0] || !both[1]), ("dtype", both[1])] {
            if present {
                json.insert(key.to_owned(), stored.torch_name().into());
            }
        }
        Value::Object(json)
    }

    /// Replaces the special tokens, as a random start does that brings its own tokenizer.
    pub fn set_special_tokens(&mut self, bos: Option<u32>, eos: &[u32]) {
        self.bos_token_id = bos;
        self.eos_token_ids = eos.to_vec();
        let eos = match eos {
            [] => Value::Null,
            [one] => (*one).into(),
            many => many.to_vec().into(),
        };
        self.json.insert("bos_token_id".to_owned(), bos.into());
        self.json.insert("eos_token_id".to_owned(), eos);
    }

    /// Width of all query heads: columns of O.
    pub fn q_width(&self) -> u32 {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key heads, and of all value heads.
    pub fn kv_width(&self) -> u32 {
        self.num_key_value_heads * self.head_dim
    }
}

/// Keys that would change the model in ways that no code here follows.
fn refuse_what_is_not_computed(keys: &Keys<'_>, family: Family) -> Result<(), ModelError> {
    if !matches!(keys.get("hidden_act").map(Value::as_str), None | Some(Some("silu" | "swish"))) {
        return Err(keys.bad("hidden_act", "\"silu\""));
    }
    let forbidden: &[&str] = match family {
        Family::Llama => &["attention_bias", "mlp_bias"],
        Family::Qwen2 => &["use_sliding_window"],
    };
    for key in forbidden {
        if keys.boolean(key, false)? {
            return Err(keys.bad(key, "false: this variant is not supported"));
        }
    }
    if keys.get("quantization_config").is_some() {
        return Err(keys.bad("quantization_config", "no such key: weights are read in f32, bf16 or f16"));
    }
    let layer_types = keys.get("layer_types").and_then(Value::as_array);
    if layer_types.is_some_and(|types| types.iter().any(|t| t != "full_attention")) {
        return Err(keys.bad("layer_types", "\"full_attention\" in every layer"));
    }
    Ok(())
}

fn dtype(keys: &Keys<'_>) -> Result<Option<WeightDType>, ModelError> {
    for key in ["dtype", "torch_dtype"] {
        if let Some(value) = keys.get(key) {
            let found = value.as_str().and_then(WeightDType::from_torch_name);
            return match found {
                Some(dtype) => Ok(Some(dtype)),
                None => Err(keys.bad(key, "\"float32\", \"bfloat16\" or \"float16\"")),
            };
        }
    }
    Ok(None)
}

/// The ids a `generation_config.json` ends a text with.
pub(crate) fn generation_eos(bytes: &[u8], origin: &str) -> Result<Vec<u32>, ModelError> {
    let map: Map<String, Value> = serde_json::from_slice(bytes).map_err(|e| ModelError::json(origin, &e))?;
    Keys { file: origin, prefix: "", map: &map }.token_ids("eos_token_id")
}

/// Typed access to a JSON object; each error says file, key, value and expectation.
pub(crate) struct Keys<'a> {
    /// The file, for errors.
    pub file: &'a str,
    /// What stands before a key in errors: "" or "rope_scaling.".
    pub prefix: &'a str,
    /// The object.
    pub map: &'a Map<String, Value>,
}

impl Keys<'_> {
    /// A key that is there and not null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// The error for a key as it stands.
    pub fn bad(&self, key: &str, expected: &str) -> ModelError {
        match self.map.get(key) {
            Some(value) => self.wrong(key, value, expected),
            None => self.error(key, "missing".to_owned(), expected),
        }
    }

    /// The error for a value that is not the key's own.
    pub fn wrong(&self, key: &str, value: &Value, expected: &str) -> ModelError {
        let shown = match value {
            Value::String(text) => Shown(text).to_string(),
            Value::Array(items) => format!("a list of {}", items.len()),
            Value::Object(_) => "an object".to_owned(),
            plain => plain.to_string(),
        };
        self.error(key, shown, expected)
    }

    fn error(&self, key: &str, value: String, expected: &str) -> ModelError {
        ModelError::Config {
            file: self.file.to_owned(),
            key: format!("{}{key}", self.prefix),
            value,
            expected: expected.to_owned(),
        }
    }

    /// An integer in a range; the default stands for absent and null.
    pub fn integer(
        &self,
        key: &str,
        default: Option<u32>,
        range: RangeInclusive<u32>,
    ) -> Result<u32, ModelError> {
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (value, _) => value
                .and_then(Value::as_u64)
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| range.contains(n))
                .ok_or_else(|| {
                    self.bad(key, &format!("an integer from {} to {}", range.start(), range.end()))
                }),
        }
    }

    /// A number in a range; the default stands for absent and null.
    pub fn number(
        &self,
        key: &str,
        default: Option<f64>,
        range: RangeInclusive<f64>,
    ) -> Result<f64, ModelError> {
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (value, _) => value.and_then(Value::as_f64).filter(|n| range.contains(n)).ok_or_else(|| {
                self.bad(key, &format!("a number from {:?} to {:?}", range.start(), range.end()))
            }),
        }
    }

    /// A boolean; the default stands for absent and null.
    pub fn boolean(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.bad(key, "true or false")),
        }
    }

    /// Nothing, one id or a list of ids.
    pub fn token_ids(&self, key: &str) -> Result<Vec<u32>, ModelError> {
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let ids = match self.get(key) {
            None => Some(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(id).collect(),
            Some(one) => id(one).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.bad(key, "null, a token id, or a list of token ids"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn small() -> Value {
        json!({
            "model_type": "llama", "hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": 2,
            "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 131,
        })
    }

    fn with(changes: Value) -> Result<ModelConfig, ModelError> {
        let mut value = small();
        for (key, change) in changes.as_object().unwrap() {
            value[key] = change.clone();
        }
        ModelConfig::from_value(value, "config.json")
    }

    fn message(changes: Value) -> String {
        with(changes).unwrap_err().to_string()
    }

    #[test]
    fn absent_keys_take_the_defaults_of_transformers() {
        let llama = with(json!({})).unwrap();
        assert_eq!((llama.head_dim, llama.max_position_embeddings), (16, 2048));
        assert_eq!((llama.rms_norm_eps, llama.tie_word_embeddings, llama.qkv_bias), (1e-6, false, false));
        assert_eq!((llama.bos_token_id, llama.eos_token_ids), (Some(1), vec![2]));
        assert_eq!((llama.dtype, llama.rope), (None, Rope::Default { theta: 10_000.0 }));

        let qwen = with(json!({"model_type": "qwen2", "num_key_value_heads": null})).unwrap();
        assert_eq!((qwen.num_key_value_heads, qwen.max_position_embeddings), (3, 32_768));
        assert_eq!((qwen.bos_token_id, qwen.eos_token_ids, qwen.qkv_bias), (None, vec![], true));
    }

    #[test]
    fn each_bad_value_is_named_with_file_value_and_expectation() {
        for (changes, expected) in [
            (
                json!({"vocab_size": -1}),
                "config.json: `vocab_size` is -1; expected an integer from 1 to 16777216",
            ),
            (
                json!({"vocab_size": null}),
                "config.json: `vocab_size` is null; expected an integer from 1 to 16777216",
            ),
            (
                json!({"hidden_size": 1u64 << 60}),
                "config.json: `hidden_size` is 1152921504606846976; expected an integer from 8 to 65536",
            ),
            (
                json!({"num_hidden_layers": 2.5}),
                "config.json: `num_hidden_layers` is 2.5; expected an integer from 1 to 1024",
            ),
            (
                json!({"num_key_value_heads": 2}),
                "config.json: `num_key_value_heads` is 2; expected a divisor of num_attention_heads, which is 3",
            ),
            (json!({"head_dim": 12}), "config.json: `head_dim` is 12; expected a multiple of 8, at most 256"),
            (
                json!({"num_attention_heads": 4}),
                "config.json: `hidden_size / num_attention_heads` is 12; expected a multiple of 8, at most 256",
            ),
            (
                json!({"num_attention_heads": 5, "num_key_value_heads": 5, "head_dim": 8}),
                "config.json: `num_attention_heads` is 5; expected a divisor of hidden_size, which is 48",
            ),
            (
                json!({"intermediate_size": 60}),
                "config.json: `intermediate_size` is 60; expected a multiple of 8",
            ),
            (json!({"hidden_act": "gelu"}), "config.json: `hidden_act` is \"gelu\"; expected \"silu\""),
            (
                json!({"attention_bias": true}),
                "config.json: `attention_bias` is true; expected false: this variant is not supported",
            ),
            (
                json!({"model_type": "qwen2", "use_sliding_window": true}),
                "config.json: `use_sliding_window` is true; expected false: this variant is not supported",
            ),
            (
                json!({"model_type": "gpt2"}),
                "config.json: `model_type` is \"gpt2\"; expected \"llama\" or \"qwen2\"",
            ),
            (
                json!({"tie_word_embeddings": "yes"}),
                "config.json: `tie_word_embeddings` is \"yes\"; expected true or false",
            ),
            (
                json!({"eos_token_id": [1, "x"]}),
                "config.json: `eos_token_id` is a list of 2; expected null, a token id, or a list of token ids",
            ),
            (
                json!({"dtype": "float8_e4m3fn"}),
                "config.json: `dtype` is \"float8_e4m3fn\"; expected \"float32\", \"bfloat16\" or \"float16\"",
            ),
            (
                json!({"vocab_size": 1 << 24, "hidden_size": 65_536, "num_attention_heads": 256}),
                "config.json: `vocab_size` is 16777216; expected at most 4294967296 elements in a matrix of 65536 columns",
            ),
        ] {
            assert_eq!(message(changes), expected);
        }
    }

    #[test]
    fn a_missing_key_is_named() {
        let mut value = small();
        value.as_object_mut().unwrap().remove("hidden_size");
        let error = ModelConfig::from_value(value, "inline").unwrap_err().to_string();
        assert_eq!(error, "inline: `hidden_size` is missing; expected an integer from 8 to 65536");
    }

    #[test]
    fn broken_json_says_line_and_column() {
        let error = ModelConfig::from_slice(b"{\n  \"a\": 1,\n  oops\n}", "c.json").unwrap_err().to_string();
        assert_eq!(error, "c.json:3:3: broken JSON: key must be a string");
        let deep = "[".repeat(100_000);
        assert!(ModelConfig::from_slice(deep.as_bytes(), "c.json").is_err());
        assert!(ModelConfig::from_slice(b"{\"a\": \"\xff\"}", "c.json").is_err());
    }

    #[test]
    fn unknown_keys_are_written_back_in_a_stable_order() {
        let config =
            with(json!({"zebra": {"b": 1.5e-5, "a": [null]}, "aardvark": "x", "dtype": "float16"})).unwrap();
        let json = config.to_json(WeightDType::Bf16);
        assert_eq!(json["zebra"], json!({"a": [null], "b": 1.5e-5}));
        assert_eq!(json["dtype"], "bfloat16");
        assert!(json.get("torch_dtype").is_none(), "one spelling stays one spelling");
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert!(keys.is_sorted());
        let again = ModelConfig::from_value(json, "again").unwrap();
        assert_eq!(again.hidden_size, config.hidden_size);
    }

    #[test]
    fn what_transformers_would_guess_otherwise_is_written_out() {
        let config = with(json!({"model_type": "qwen2", "num_key_value_heads": null})).unwrap();
        let json = config.to_json(WeightDType::F32);
        assert_eq!(json["num_key_value_heads"], 3);
        assert_eq!(json["architectures"], json!(["Qwen2ForCausalLM"]));
        assert_eq!(json["torch_dtype"], "float32");
    }

    #[test]
    fn special_tokens_of_a_new_tokenizer_replace_the_defaults() {
        let mut config = with(json!({})).unwrap();
        config.set_special_tokens(None, &[0]);
        let json = config.to_json(WeightDType::F32);
        assert_eq!((&json["bos_token_id"], &json["eos_token_id"]), (&Value::Null, &json!(0)));
        assert_eq!(ModelConfig::from_value(json, "again").unwrap().eos_token_ids, vec![0]);
    }

    #[test]
    fn no_number_is_rounded_on_the_way_through() {
        let text = r#"{"model_type":"llama","hidden_size":48,"intermediate_size":56,"num_hidden_layers":2,
            "num_attention_heads":3,"vocab_size":131,"x":122.416294033786585,"rms_norm_eps":1e-05}"#;
        let json = ModelConfig::from_slice(text.as_bytes(), "c").unwrap().to_json(WeightDType::F32);
        assert_eq!(json["x"].as_f64(), "122.416294033786585".parse().ok());
    }
}

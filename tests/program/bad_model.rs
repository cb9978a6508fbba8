//! Model directories that are wrong: each error says what, where, and what to do.

use crate::folder::Folder;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/model/tests/golden/llama3_gqa")
}

/// A copy of a good model in `model`.
fn copy() -> Folder {
    let folder = Folder::new();
    folder.copy(golden(), "model");
    assert_eq!(folder.run_with(SCORE, ROW).code, 0, "the copy is good before it is damaged");
    folder
}

const SCORE: [&str; 5] = ["logprobs", "--model", "model", "--device", "cpu"];
const ROW: &str = "{\"tokens\": [1, 2, 3]}";

fn score_fails(folder: &Folder) -> String {
    folder.fail_with(SCORE, ROW)
}

/// What a copy with other tensors fails with.
fn with_tensors(alter: impl FnOnce(&mut Tensors)) -> String {
    let folder = copy();
    let bytes = folder.read("model/model.safetensors");
    let mut all: Tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, t)| (name, (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
        .collect();
    alter(&mut all);
    let views = all.iter().map(|(n, (d, s, b))| (n, TensorView::new(*d, s.clone(), b).unwrap()));
    folder.put("model/model.safetensors", safetensors::serialize(views, None).unwrap());
    score_fails(&folder)
}

/// What a copy with another config fails with.
fn with_config(alter: impl FnOnce(&mut Value)) -> String {
    let folder = copy();
    let mut config: Value = serde_json::from_slice(&folder.read("model/config.json")).unwrap();
    alter(&mut config);
    folder.put("model/config.json", config.to_string());
    score_fails(&folder)
}

const NORM: &str = "model.layers.1.input_layernorm.weight";

#[test]
fn a_missing_tensor_is_named() {
    let error = with_tensors(|all| {
        all.remove(NORM).unwrap();
    });
    assert_eq!(error, format!("error: model: missing tensor \"{NORM}\""));
}

#[test]
fn an_extra_tensor_is_named() {
    let error = with_tensors(|all| {
        let norm = all[NORM].clone();
        all.insert("model.layers.7.input_layernorm.weight".into(), norm);
    });
    let name = "\"model.layers.7.input_layernorm.weight\"";
    assert_eq!(error, format!("error: model: the model of config.json has no place for tensor {name}"));
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let error = with_tensors(|all| {
        let (_, shape, bytes) = all.get_mut(NORM).unwrap();
        shape[0] -= 1;
        bytes.truncate(bytes.len() - 4);
    });
    let begins = format!("error: model/model.safetensors: tensor \"{NORM}\" has shape [");
    assert!(error.starts_with(&begins) && error.contains("]; config.json implies ["), "{error}");
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let error = with_tensors(|all| {
        all.get_mut(NORM).unwrap().2[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let expected = format!("error: model/model.safetensors: tensor \"{NORM}\" has NaN at element 2; ");
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn a_truncated_file_says_how_much_is_missing() {
    let folder = copy();
    let bytes = folder.read("model/model.safetensors");
    folder.put("model/model.safetensors", &bytes[..bytes.len() - 1]);
    let (needed, actual) = (bytes.len(), bytes.len() - 1);
    let expected = format!(
        "error: model/model.safetensors: truncated: {needed} bytes are needed, {actual} are there; \
         copy or download it again"
    );
    assert_eq!(score_fails(&folder), expected);
    for length in [0, 5, 8, 100] {
        folder.put("model/model.safetensors", &bytes[..length]);
        let error = score_fails(&folder);
        assert!(error.starts_with("error: model/model.safetensors: "), "{length} bytes: {error}");
        assert!(error.contains("truncated") || error.contains("header"), "{length} bytes: {error}");
    }
}

#[test]
fn a_header_that_lies_is_refused_before_anything_is_allocated() {
    let folder = copy();
    let good = folder.read("model/model.safetensors");
    for length in [u64::MAX, 1 << 62, 1 << 40, 200 << 20] {
        let mut bytes = good.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        folder.put("model/model.safetensors", bytes);
        let error = score_fails(&folder);
        assert!(error.starts_with("error: model/model.safetensors: "), "{length}: {error}");
    }
    for (what, header) in [
        (
            "overlap",
            json!({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
                           "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}}),
        ),
        ("shape", json!({"a": {"dtype": "F32", "shape": [u64::MAX, u64::MAX], "data_offsets": [0, 16]}})),
        ("offsets", json!({"a": {"dtype": "F32", "shape": [4], "data_offsets": [u64::MAX - 15, u64::MAX]}})),
    ] {
        let header = header.to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([0; 24]);
        folder.put("model/model.safetensors", bytes);
        let error = score_fails(&folder);
        assert!(error.starts_with("error: model/model.safetensors: "), "{what}: {error}");
    }
}

#[test]
fn a_rope_type_that_is_not_known_is_named_with_those_that_are() {
    let error = with_config(|config| {
        for key in ["rope_scaling", "rope_parameters"] {
            config.as_object_mut().unwrap().remove(key);
        }
        config["rope_scaling"] = json!({"rope_type": "yarn", "factor": 4.0});
    });
    let known = "known are \"default\", \"linear\" and \"llama3\"";
    assert!(error.contains(&format!("config.json: rope type \"yarn\" is not known; {known}")), "{error}");
}

#[test]
fn a_config_that_cannot_be_used_is_named_with_its_key() {
    let error = with_config(|config| config["model_type"] = json!("mamba"));
    assert!(error.contains("config.json: `model_type` is \"mamba\"; expected "), "{error}");
    let error = with_config(|config| config["num_hidden_layers"] = json!(3_000_000_000u64));
    assert!(error.contains("config.json: `num_hidden_layers` is 3000000000; expected "), "{error}");
    let error = with_config(|config| {
        config.as_object_mut().unwrap().remove("hidden_size");
    });
    assert!(error.contains("config.json: `hidden_size` is missing; expected "), "{error}");
    let folder = copy();
    folder.put("model/config.json", "{\n  \"hidden_size\": ,\n}");
    assert!(score_fails(&folder).contains("config.json:2:18: broken JSON: expected value"));
}

#[test]
fn a_folder_that_is_no_model_is_named() {
    let folder = Folder::new();
    let error = score_fails(&folder);
    assert!(error.starts_with("error: model") && error.contains("No such file"), "{error}");
    folder.copy(golden(), "model");
    std::fs::remove_file(folder.path("model/model.safetensors")).unwrap();
    let error = score_fails(&folder);
    assert!(
        error.contains("model: neither model.safetensors nor model.safetensors.index.json is there"),
        "{error}"
    );
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let folder = copy();
    folder.tokenizer();
    let tokenizer = folder.read("tokenizer.json");
    folder.put("model/tokenizer.json", &tokenizer);
    let expected = "the tokenizer has ids up to 299, but the model's vocabulary has 131; \
                    does the tokenizer belong to this model?";
    assert_eq!(score_fails(&folder), format!("error: model: {expected}"));

    folder.put("recipe.toml", crate::folder::RECIPE.replace("vocab_size = 304", "vocab_size = 299"));
    let error = folder.fail(["train", "recipe.toml"]);
    let expected = "the tokenizer has 300 ids, but the model's vocabulary has 299; \
                    does the tokenizer belong to this model?";
    assert_eq!(error, format!("error: {expected}"));
    assert!(!folder.path("run").exists());

    folder.put("model/tokenizer.json", "{\"version\": \"1.0\"}");
    let error = score_fails(&folder);
    assert!(error.contains("`model/tokenizer.json` is not a usable tokenizer: "), "{error}");
}

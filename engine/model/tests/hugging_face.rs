//! Model directories in and out, judged by the golden models, the safetensors crate and damaged copies.

#![allow(clippy::unwrap_used)]

use octo_model::hf::{Companions, Export, FileSink, MAX_SHARD_BYTES, ParamFiles, write_params};
use octo_model::{ModelConfig, ModelDir, ModelError, ParamTable, WeightDType, init};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const GOLDEN: [&str; 4] = ["llama3_gqa", "llama_tied", "qwen2_bias", "llama2_f16"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn put(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

fn json_of(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A sink that writes into a directory.
fn into_dir(dir: &Path) -> Box<FileSink<'static>> {
    let dir = dir.to_owned();
    Box::new(move |name, write| write(&mut File::create(dir.join(name))?))
}

fn arena(weights: &ParamFiles) -> Vec<f32> {
    let table = weights.table();
    let mut arena = vec![0.0; table.total_elements() as usize];
    weights
        .read_all(&mut |_, _| (), |param, first, values| {
            let start = (table.range(param).start + first) as usize;
            arena[start..start + values.len()].copy_from_slice(values);
            Ok::<(), ModelError>(())
        })
        .unwrap();
    arena
}

fn export(
    config: &ModelConfig,
    arena: &[f32],
    dtype: WeightDType,
    limit: u64,
    companions: &Companions,
) -> TempDir {
    let (dir, table) = (tempfile::tempdir().unwrap(), ParamTable::new(config));
    Export { config, table: &table, dtype, max_shard_bytes: limit, companions }
        .write(&mut into_dir(dir.path()), &mut |param, first, into| {
            let start = (table.range(param).start + first) as usize;
            into.copy_from_slice(&arena[start..start + into.len()]);
            Ok(())
        })
        .unwrap();
    dir
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Every tensor of a directory, by the format's own library.
fn tensors(dir: &Path) -> Tensors {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("model") && name.ends_with(".safetensors") {
            let bytes = fs::read(&path).unwrap();
            for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                all.insert(name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
            }
        }
    }
    all
}

fn save(dir: &Path, file: &str, tensors: &Tensors) {
    let views = tensors.iter().map(|(n, (d, s, b))| (n.clone(), TensorView::new(*d, s.clone(), b).unwrap()));
    put(&dir.join(file), &safetensors::serialize(views, None).unwrap());
}

/// A copy of a golden model as one file, with its tensors and config changed.
fn altered(name: &str, alter: impl FnOnce(&mut Tensors), config: impl FnOnce(&mut Value)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut all = tensors(&golden(name));
    alter(&mut all);
    save(dir.path(), "model.safetensors", &all);
    let mut json = json_of(golden(name).join("config.json"));
    config(&mut json);
    put(&dir.path().join("config.json"), json.to_string().as_bytes());
    dir
}

fn message(dir: &TempDir) -> String {
    let text = ModelDir::open(dir.path()).unwrap_err().to_string();
    text.replace(dir.path().to_str().unwrap(), "DIR")
}

#[test]
fn golden_models_open_and_say_what_they_are() {
    let open = |name| ModelDir::open(&golden(name)).unwrap();
    let model = open("llama3_gqa");
    let config = model.config();
    assert_eq!((config.num_attention_heads, config.num_key_value_heads, config.head_dim), (3, 1, 8));
    assert_eq!(model.eos_token_ids(), [2, 5]);
    assert_eq!(config.dtype, Some(WeightDType::F32));
    let narrowest = GOLDEN.map(|name| open(name).weights().narrowest_dtype());
    assert_eq!(narrowest, [WeightDType::F32, WeightDType::F32, WeightDType::Bf16, WeightDType::F32]);
}

#[test]
fn hugging_face_to_arena_to_hugging_face_is_byte_equal() {
    for (name, dtype) in
        GOLDEN.into_iter().zip([WeightDType::F32, WeightDType::F32, WeightDType::Bf16, WeightDType::F16])
    {
        let source = golden(name);
        let model = ModelDir::open(&source).unwrap();
        let arena = arena(model.weights());
        for limit in [MAX_SHARD_BYTES, 30_000] {
            let copy = export(model.config(), &arena, dtype, limit, &Companions::of(&source).unwrap());
            let mut expected = tensors(&source);
            expected.retain(|name, _| !name.ends_with("inv_freq"));
            assert_eq!(tensors(copy.path()), expected, "{name}");
            let again = ModelDir::open(copy.path()).unwrap();
            assert_eq!(crate::arena(again.weights()), arena, "{name}");
        }
    }
}

#[test]
fn every_parameter_is_where_the_layout_says() {
    let model = ModelDir::open(&golden("qwen2_bias")).unwrap();
    let (weights, table) = (model.weights(), model.weights().table());
    let all = tensors(&golden("qwen2_bias"));
    let rows = |name: &str| -> Vec<Vec<f32>> {
        let (_, shape, bytes) = &all[name];
        let values: Vec<f32> =
            bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        values.chunks(values.len() / shape[0]).map(<[f32]>::to_vec).collect()
    };
    let read = |param| {
        let range = table.range(param);
        let mut values = vec![0.0; (range.end - range.start) as usize];
        weights.read(param, 0, &mut values).unwrap();
        values
    };
    let layer = table.layers()[1];
    let prefix = "model.layers.1";
    for (param, kind) in [(layer.qkv, "weight"), (layer.qkv_bias.unwrap(), "bias")] {
        let parts = ["q", "k", "v"].map(|p| rows(&format!("{prefix}.self_attn.{p}_proj.{kind}")).concat());
        assert_eq!(read(param), parts.concat());
    }
    let (gate, up) =
        (rows(&format!("{prefix}.mlp.gate_proj.weight")), rows(&format!("{prefix}.mlp.up_proj.weight")));
    let interleaved: Vec<f32> =
        gate.chunks(8).zip(up.chunks(8)).flat_map(|(g, u)| [g.concat(), u.concat()].concat()).collect();
    assert_eq!(read(layer.gate_up), interleaved);
    assert_eq!(read(layer.down), rows(&format!("{prefix}.mlp.down_proj.weight")).concat());
    assert_eq!(read(layer.norm2), rows(&format!("{prefix}.post_attention_layernorm.weight")).concat());
    assert_eq!(read(table.head()), rows("model.embed_tokens.weight").concat());
}

#[test]
fn shards_keep_their_limit_and_the_index_names_them() {
    let model = ModelDir::open(&golden("llama3_gqa")).unwrap();
    let arena = arena(model.weights());
    let limit = 30_000;
    let dir = export(model.config(), &arena, WeightDType::F32, limit, &Companions::default());
    let index = json_of(dir.path().join("model.safetensors.index.json"));
    assert_eq!(index["metadata"]["total_size"], 4 * model.weights().table().parameter_count());
    let map = index["weight_map"].as_object().unwrap();
    assert_eq!(map.len(), tensors(dir.path()).len());
    let files: std::collections::BTreeSet<&str> = map.values().map(|v| v.as_str().unwrap()).collect();
    assert!(files.len() > 3);
    for (i, file) in files.iter().enumerate() {
        assert_eq!(*file, format!("model-{:05}-of-{:05}.safetensors", i + 1, files.len()));
        let bytes = fs::read(dir.path().join(file)).unwrap();
        let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
        assert_eq!(header % 8, 0, "tensors start aligned");
        let shard = SafeTensors::deserialize(&bytes).unwrap();
        assert!(shard.len() == 1 || bytes.len() - header - 8 <= limit as usize);
        assert!(shard.names().iter().all(|name| map[*name] == *file));
    }
}

#[test]
fn exports_keep_every_key_and_say_the_dtype_they_have() {
    for name in GOLDEN {
        let model = ModelDir::open(&golden(name)).unwrap();
        let arena = arena(model.weights());
        let dir = export(model.config(), &arena, WeightDType::Bf16, MAX_SHARD_BYTES, &Companions::default());
        let mut expected = json_of(golden(name).join("config.json"));
        let key = if expected.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
        expected[key] = "bfloat16".into();
        let mut written = json_of(dir.path().join("config.json"));
        if expected.get("num_key_value_heads").is_none() {
            written.as_object_mut().unwrap().remove("num_key_value_heads");
        }
        assert_eq!(written, expected);
        assert_eq!(ModelDir::open(dir.path()).unwrap().weights().narrowest_dtype(), WeightDType::Bf16);
    }
}

#[test]
fn a_tied_export_has_no_head_and_an_untied_one_has() {
    for (name, tied) in [("llama_tied", true), ("llama3_gqa", false)] {
        let model = ModelDir::open(&golden(name)).unwrap();
        let arena = arena(model.weights());
        let dir = export(model.config(), &arena, WeightDType::F32, MAX_SHARD_BYTES, &Companions::default());
        assert_eq!(tensors(dir.path()).contains_key("lm_head.weight"), !tied);
    }
}

#[test]
fn companions_are_carried_along_and_links_out_are_not() {
    let model = ModelDir::open(&golden("llama2_f16")).unwrap();
    let arena = arena(model.weights());
    let write = |companions: &Companions| {
        export(model.config(), &arena, WeightDType::F32, MAX_SHARD_BYTES, companions)
    };

    let source = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "merges.txt", "chat_template.jinja", "generation_config.json", "notes.txt"]
    {
        put(&source.path().join(name), name.as_bytes());
    }
    let copied = write(&Companions::of(source.path()).unwrap());
    for name in ["tokenizer.json", "merges.txt", "chat_template.jinja", "generation_config.json"] {
        assert_eq!(fs::read(copied.path().join(name)).unwrap(), name.as_bytes());
    }
    assert!(!copied.path().join("notes.txt").exists());

    let given = write(&Companions::default().with("tokenizer.json", "{}"));
    assert_eq!(fs::read(given.path().join("tokenizer.json")).unwrap(), b"{}");
    let generation = json_of(given.path().join("generation_config.json"));
    assert_eq!(generation, json!({"_from_model_config": true, "bos_token_id": 1, "eos_token_id": 2}));

    let secret = tempfile::NamedTempFile::new().unwrap();
    std::os::unix::fs::symlink(secret.path(), source.path().join("vocab.json")).unwrap();
    let error = Companions::of(source.path()).unwrap_err();
    assert!(matches!(error, ModelError::Outside { name, .. } if name == "vocab.json"));
}

#[test]
fn the_ids_that_end_a_generation_come_from_both_configs() {
    let dir = altered("llama3_gqa", |_| (), |_| ());
    put(&dir.path().join("generation_config.json"), br#"{"eos_token_id": [7, 5]}"#);
    assert_eq!(ModelDir::open(dir.path()).unwrap().eos_token_ids(), [2, 5, 7]);
}

#[test]
fn missing_extra_and_misshaped_tensors_are_named() {
    let norm = "model.layers.0.input_layernorm.weight";
    let dir = altered("llama3_gqa", |t| drop(t.remove(norm)), |_| ());
    assert_eq!(message(&dir), format!("DIR: missing tensor \"{norm}\""));

    let dir = altered("llama3_gqa", |t| drop(t.remove("lm_head.weight")), |_| ());
    assert!(message(&dir).contains("set \"tie_word_embeddings\" to true"), "{}", message(&dir));

    let bias = "model.layers.0.self_attn.o_proj.bias";
    let dir =
        altered("llama3_gqa", |t| drop(t.insert(bias.into(), (Dtype::F32, vec![1], vec![0; 4]))), |_| ());
    assert_eq!(message(&dir), format!("DIR: the model of config.json has no place for tensor \"{bias}\""));

    let dir = altered("llama3_gqa", |_| (), |config| config["intermediate_size"] = 64.into());
    assert_eq!(
        message(&dir),
        "DIR/model.safetensors: tensor \"model.layers.0.mlp.gate_proj.weight\" has shape [56, 48]; config.json implies [64, 48]"
    );

    let dir = altered("llama3_gqa", |_| (), |config| config["num_hidden_layers"] = 2.into());
    assert!(
        message(&dir).contains("\"model.layers.2.input_layernorm.weight\"")
            && message(&dir).contains("and 5 more")
    );

    let integers = |t: &mut Tensors| t.get_mut(norm).unwrap().0 = Dtype::I32;
    assert_eq!(
        message(&altered("llama3_gqa", integers, |_| ())),
        format!(
            "DIR/model.safetensors: tensor \"{norm}\" is stored as \"I32\"; weights are read from F32, BF16 and F16"
        )
    );
}

#[test]
fn a_superfluous_head_is_accepted_only_if_it_is_the_embedding() {
    let with_head = |change: bool| {
        altered(
            "llama_tied",
            |t| {
                let mut head = t["model.embed_tokens.weight"].clone();
                head.2[4 * 4321 + 3] ^= if change { 0x80 } else { 0 };
                t.insert("lm_head.weight".into(), head);
            },
            |_| (),
        )
    };
    let equal = ModelDir::open(with_head(false).path()).unwrap();
    assert_eq!(arena(equal.weights()), arena(ModelDir::open(&golden("llama_tied")).unwrap().weights()));
    let text = message(&with_head(true));
    assert!(text.contains("lm_head.weight differs") && text.contains("at element 4321"), "{text}");
}

#[test]
fn a_weight_that_is_no_number_is_named_on_the_way_in_and_out() {
    let name = "model.layers.0.mlp.up_proj.weight";
    let nan =
        |t: &mut Tensors| t.get_mut(name).unwrap().2[4 * 777..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let dir = altered("llama3_gqa", nan, |_| ());
    let model = ModelDir::open(dir.path()).unwrap();
    let error = model.weights().read_all(&mut |_, _| (), |_, _, _| Ok::<(), ModelError>(())).unwrap_err();
    assert!(matches!(error, ModelError::NotFinite { tensor, element: 777, .. } if tensor == name));

    for (value, dtype, refused) in [
        (f32::INFINITY, WeightDType::F32, true),
        (f32::MAX, WeightDType::F32, false),
        (f32::MAX, WeightDType::Bf16, true),
        (65_504.0, WeightDType::F16, false),
        (65_520.0, WeightDType::F16, true),
    ] {
        let result = write_params(
            &mut |_, write| write(&mut io::sink()),
            "model",
            model.weights().table(),
            dtype,
            u64::MAX,
            &mut |_, _, into| {
                into.fill(value);
                Ok(())
            },
        );
        assert_eq!(result.is_err(), refused, "{value} as {dtype:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("model.embed_tokens.weight"), "{error}");
        }
    }
}

#[test]
fn truncated_and_lying_files_are_refused() {
    let dir = altered("llama3_gqa", |_| (), |_| ());
    let path = dir.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let length = whole.len();
    for (bytes, expected) in [
        (
            whole[..length - 1].to_vec(),
            format!("truncated: {length} bytes are needed, {} are there", length - 1),
        ),
        (whole[..100].to_vec(), "truncated: ".to_owned()),
        (vec![], "truncated: 8 bytes are needed, 0 are there".to_owned()),
        ([&whole[..], b"x"].concat(), "1 bytes after the last tensor".to_owned()),
        (
            [&u64::MAX.to_le_bytes(), &whole[8..]].concat(),
            "it declares 18446744073709551615 bytes".to_owned(),
        ),
        (
            [&(1u64 << 23).to_le_bytes(), &whole[8..]].concat(),
            "truncated: 8388616 bytes are needed".to_owned(),
        ),
    ] {
        put(&path, &bytes);
        assert!(message(&dir).contains(&expected), "{}", message(&dir));
    }
}

#[test]
fn an_index_that_lies_or_leads_out_is_refused() {
    let dir = altered("llama_tied", |_| (), |_| ());
    let mut all = tensors(dir.path());
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let norm = "model.norm.weight".to_owned();
    let second: Tensors = [(norm.clone(), all.remove(&norm).unwrap())].into();
    save(dir.path(), "one.safetensors", &all);
    save(dir.path(), "two.safetensors", &second);
    let mut map: serde_json::Map<String, Value> =
        all.keys().map(|name| (name.clone(), "one.safetensors".into())).collect();
    let mut index = |norm_in: &str| {
        map.insert(norm.clone(), norm_in.into());
        put(
            &dir.path().join("model.safetensors.index.json"),
            json!({"weight_map": map}).to_string().as_bytes(),
        );
    };
    index("two.safetensors");
    ModelDir::open(dir.path()).unwrap();
    for name in ["../two.safetensors", "/etc/passwd", "a/../two.safetensors", ".."] {
        index(name);
        assert_eq!(
            message(&dir),
            format!("{name:?} leads out of DIR; a model directory may only name plain files of its own")
        );
    }
    index("one.safetensors");
    assert!(message(&dir).contains("\"model.norm.weight\" is said to be in \"one.safetensors\" and is not"));
    index("absent.safetensors");
    assert!(message(&dir).contains("absent.safetensors"));
    std::os::unix::fs::symlink("/dev/null", dir.path().join("link.safetensors")).unwrap();
    index("link.safetensors");
    assert!(message(&dir).contains("leads out of DIR"));

    index("two.safetensors");
    all.insert(norm.clone(), second[&norm].clone());
    save(dir.path(), "one.safetensors", &all);
    assert!(message(&dir).contains("tensor \"model.norm.weight\" is also in"), "{}", message(&dir));
    put(&dir.path().join("model.safetensors.index.json"), b"{\n\"weight_map\": [}");
    assert!(message(&dir).contains("index.json:2:"), "{}", message(&dir));
}

#[test]
fn a_directory_without_safetensors_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden("llama_tied").join("config.json"), dir.path().join("config.json")).unwrap();
    assert!(message(&dir).contains("neither model.safetensors nor model.safetensors.index.json is there"));
    put(&dir.path().join("pytorch_model.bin"), b"");
    assert!(message(&dir).contains("save the model as safetensors"));
}

#[test]
fn a_random_start_exports_and_comes_back() {
    let config = json!({
        "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 77,
    });
    let mut config = ModelConfig::from_value(config, "inline").unwrap();
    config.set_special_tokens(None, &[0]);
    let table = ParamTable::new(&config);
    let mut values = vec![0.0; table.total_elements() as usize];
    for param in table.params() {
        let range = table.range(param);
        init::fill(&config, &table, 1, param, 0, &mut values[range.start as usize..range.end as usize]);
    }
    let dir = export(&config, &values, WeightDType::F32, MAX_SHARD_BYTES, &Companions::default());
    let again = ModelDir::open(dir.path()).unwrap();
    assert_eq!(arena(again.weights()), values);
    assert_eq!(again.eos_token_ids(), [0]);
    let written = json_of(dir.path().join("config.json"));
    assert_eq!(written["architectures"], json!(["Qwen2ForCausalLM"]));
}

#[test]
fn rotary_tables_agree_with_transformers() {
    for case in json_of(golden("rope.json")).as_array().unwrap() {
        let rope = ModelConfig::from_value(case["config"].clone(), "rope.json").unwrap().rope;
        let head_dim = case["head_dim"].as_u64().unwrap() as u32;
        let numbers = |value: &Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
        };
        for (ours, theirs) in rope.inverse_frequencies(head_dim).iter().zip(numbers(&case["inv_freq"])) {
            assert!((ours / theirs - 1.0).abs() < 5e-7, "{ours} {theirs} in {rope:?}");
        }
        let table = rope.table(101, head_dim);
        for (row, position) in numbers(&case["positions"]).into_iter().enumerate() {
            let ours = &table[position as usize * head_dim as usize..][..head_dim as usize];
            let theirs = [numbers(&case["cos"][row]), numbers(&case["sin"][row])].concat();
            for (ours, theirs) in ours.iter().zip(theirs) {
                assert!((*ours as f64 - theirs).abs() < 2e-5, "{ours} {theirs} at {position} in {rope:?}");
            }
        }
    }
}

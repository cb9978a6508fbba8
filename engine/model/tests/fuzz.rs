//! The fuzz targets on random and mutated input, and on every file kept under `tests/fuzz/<target>/`.

#![allow(clippy::unwrap_used)]

use octo_model::hf::fuzz;
use proptest::prelude::*;
use std::fs;
use std::path::Path;

fn kept(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(target);
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn kept_inputs_are_survived() {
    let (files, configs) = (kept("safetensors"), kept("config"));
    assert!(!files.is_empty() && !configs.is_empty());
    files.iter().for_each(|data| fuzz::safetensors(data));
    configs.iter().for_each(|data| fuzz::config(data));
}

/// Bytes changed, cut out, doubled or put in.
fn mutated(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..9),
        prop::sample::select(vec![
            "-1",
            "1e999",
            "18446744073709551615",
            "9223372036854775808",
            "[",
            "{",
            "\"",
            "null",
            "0",
            ",",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0usize..9, piece), 0..6);
    (prop::sample::select(seeds), edits).prop_map(|(mut data, edits)| {
        for (at, remove, insert) in edits {
            let at = at.index(data.len() + 1);
            let end = (at + remove).min(data.len());
            data.splice(at..end, insert);
        }
        data
    })
}

/// The JSON of a kept file, whatever its length field says.
fn json_of(file: &[u8]) -> &[u8] {
    let end = file.iter().rposition(|&b| b == b'}').map_or(file.len(), |at| at + 1);
    &file[8..end]
}

/// Makes the length field true, so that the JSON behind it is reached.
fn framed(json: &[u8], payload: usize) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json, &vec![0; payload]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz::safetensors(&data);
        fuzz::safetensors(&framed(&data, 0));
        fuzz::config(&data);
    }

    #[test]
    fn mutated_safetensors_are_survived(data in mutated(kept("safetensors"))) {
        fuzz::safetensors(&data);
    }

    #[test]
    fn mutated_headers_are_survived(
        json in mutated(kept("safetensors").iter().map(|file| json_of(file).to_vec()).collect()),
        payload in prop::sample::select(vec![0, 4, 8, 12, 22]),
    ) {
        fuzz::safetensors(&framed(&json, payload));
    }

    #[test]
    fn mutated_configs_are_survived(data in mutated(kept("config"))) {
        fuzz::config(&data);
    }

    #[test]
    fn any_sizes_are_survived(sizes in prop::collection::vec(prop_oneof![any::<u64>(), 0u64..300], 7)) {
        let keys = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "vocab_size"];
        let mut json = serde_json::json!({"model_type": "llama"});
        for (key, size) in keys.iter().zip(sizes) {
            json[key] = size.into();
        }
        fuzz::config(json.to_string().as_bytes());
    }
}

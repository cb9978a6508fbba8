//! Hostile input: plain functions of bytes, which must return whatever they are given.
//!
//! Each runs on inputs that proptest damages, and on every file under `tests/crashes/<name>/`, where an input
//! that once broke one is kept.

// Helpers of tests, which the lint does not know as such.
#![allow(clippy::unwrap_used)]

use octo_text::{BpeOptions, TokenStreamDecoder, Tokenizer, train_bpe};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// A `tokenizer.json`: loading it, and using what loads.
fn tokenizer_json(bytes: &[u8]) {
    let Ok(text) = String::from_utf8(bytes.to_vec()) else { return };
    let Ok(tokenizer) = Tokenizer::from_json(text, None) else { return };
    let mut stream = TokenStreamDecoder::new(&tokenizer, true);
    if let Ok(ids) = tokenizer.encode("the 12 cafés\n  <s>won't\u{3000}ab", true) {
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        drop(tokenizer.decode(&ids, false));
        ids.iter().for_each(|&id| drop(stream.push(id)));
    }
    drop(stream.finish());
}

/// A `tokenizer_config.json`.
fn tokenizer_config(bytes: &[u8]) {
    let config = String::from_utf8_lossy(bytes).into_owned();
    drop(Tokenizer::from_json(SEEDS[0].clone(), Some(config)));
}

/// A byte-level and a sentencepiece-like tokenizer.
static SEEDS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let byte_level = train_bpe(["the cat and the hat ".repeat(9)], &BpeOptions::new(262)).unwrap();
    let added = json!({ "id": 1, "content": "<s>", "special": true, "single_word": false,
                        "lstrip": true, "rstrip": false, "normalized": true });
    let metaspace = json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0 },
        "padding": { "strategy": { "Fixed": 6 }, "direction": "Right", "pad_to_multiple_of": 2, "pad_id": 0,
                     "pad_type_id": 0, "pad_token": "<unk>" },
        "added_tokens": [added],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" }, { "type": "NFC" } ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true },
            { "type": "Digits", "individual_digits": true }, { "type": "Whitespace" },
            { "type": "Split", "pattern": { "Regex": "a(?=b)|\\s+" }, "behavior": "Removed", "invert": false } ] },
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } } },
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" }, { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 1 } ] },
        "model": { "type": "BPE", "dropout": 0.1, "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                   "vocab": { "<unk>": 0, "<s>": 1, "▁": 2, "t": 3, "h": 4, "e": 5, "th": 6, "the": 7, "<0xC3>": 8,
                              "<0xA9>": 9, "1": 10 },
                   "merges": [["t", "h"], ["th", "e"]] },
    });
    [byte_level.json().to_string(), metaspace.to_string()]
});

/// Puts a value at a random place of a document.
fn graft(value: &mut Value, way: &mut impl Iterator<Item = usize>, graft_in: Value) {
    let step = way.next();
    let inner = match (step, &mut *value) {
        (Some(step), Value::Array(items)) if !items.is_empty() => {
            let at = step % items.len();
            items.get_mut(at)
        }
        (Some(step), Value::Object(fields)) if !fields.is_empty() => {
            let at = step % fields.len();
            fields.values_mut().nth(at)
        }
        _ => None,
    };
    match inner {
        Some(inner) => graft(inner, way, graft_in),
        None => *value = graft_in,
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(4_294_967_295u32),
        json!(1e300),
        json!(""),
        json!("▁"),
        json!("(a*)*\\1"),
        json!("\\p{L}{1000}{1000}"),
        json!([]),
        json!({}),
        json!([[]]),
        json!({ "type": "Sequence" }),
        json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true }),
        json!({ "type": "FixedLength", "length": 0 }),
        json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" }),
        json!({ "type": "Strip", "content": "a", "start": 9, "stop": 9 }),
        json!({ "type": "Unigram", "unk_id": 7, "vocab": [["a", -1.0]], "byte_fallback": false }),
        json!({ "type": "BPE", "vocab": {}, "merges": ["a b"] }),
        json!({ "type": "WordPiece", "vocab": { "a": 0 }, "unk_token": "b", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 0 }),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_tokenizer_with_bytes_replaced_returns(
        seed in 0usize..2, at in any::<prop::sample::Index>(), cut in 0usize..8,
        with in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        let seed = SEEDS[seed].as_bytes();
        let start = at.index(seed.len());
        tokenizer_json(&[&seed[..start], &with, &seed[(start + cut).min(seed.len())..]].concat());
    }

    #[test]
    fn a_tokenizer_with_a_value_replaced_returns(
        seed in 0usize..2, way in proptest::collection::vec(0usize..1000, 1..6), value in any_value(),
    ) {
        let mut json: Value = serde_json::from_str(&SEEDS[seed]).unwrap();
        graft(&mut json, &mut way.into_iter(), value);
        tokenizer_json(json.to_string().as_bytes());
    }

    #[test]
    fn a_config_of_any_bytes_returns(text in "(\\{|\\}|\"eos_token\"|\"content\"|:|\"the\"|\\[|\\]|,|null|\\PC){0,9}") {
        tokenizer_config(text.as_bytes());
    }
}

/// The folder of a target's inputs, and the target.
type Target = (&'static str, fn(&[u8]));

#[test]
fn inputs_that_broke_something_once_return_now() {
    let targets: [Target; 2] = [("tokenizer_json", tokenizer_json), ("tokenizer_config", tokenizer_config)];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crashes");
    for (name, target) in targets {
        for file in std::fs::read_dir(folder.join(name)).into_iter().flatten() {
            target(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}

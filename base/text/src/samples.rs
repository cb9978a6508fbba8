//! Small tokenizers that the tests build themselves.

use crate::{BpeOptions, Tokenizer, train_bpe};
use serde_json::json;
use std::sync::LazyLock;

const TEXT: &str = "The quick brown fox jumps over the lazy dog. She had 12 apples and 30 pears; they'll eat \
    them, won't they?\n\n    fn main() { let x = 3 + 4; }\n\tcafé naïve über — 数学 です 🙂 🙂🙂\r\n";

/// Byte-level, like Qwen2, trained on a few lines.
pub fn byte_level() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let mut options = BpeOptions::new(300);
        options.special_tokens.push("<|im_end|>".into());
        train_bpe((0..4).map(|i| TEXT.repeat(i + 1)), &options).unwrap()
    });
    &TOKENIZER
}

fn metaspace_vocab() -> (serde_json::Value, Vec<[String; 2]>) {
    let mut vocab = vec!["<unk>".to_string(), "<s>".into(), "</s>".into()];
    vocab.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    vocab.extend("▁abcdefghijklmnopqrstuvwxyz é".chars().map(String::from));
    let merges: Vec<[String; 2]> =
        [("▁", "▁"), ("▁▁", "▁▁"), ("t", "h"), ("▁", "th"), ("▁th", "e"), ("a", "n")]
            .map(|(a, b)| [a.to_string(), b.to_string()])
            .to_vec();
    vocab.extend(merges.iter().map(|pair| pair.concat()));
    let vocab: serde_json::Map<_, _> =
        vocab.into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    (json!(vocab), merges)
}

fn special(id: u32, content: &str) -> serde_json::Value {
    json!({ "id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false })
}

/// Sentencepiece-like, as Llama 2 is converted: a space is put before the text and stripped on the way back.
pub fn llama2() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let (vocab, merges) = metaspace_vocab();
        let json = json!({
            "version": "1.0",
            // Both must be ignored.
            "truncation": { "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0 },
            "padding": { "strategy": { "Fixed": 64 }, "direction": "Right", "pad_to_multiple_of": null,
                         "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>" },
            "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
            "normalizer": { "type": "Sequence", "normalizers": [
                { "type": "Prepend", "prepend": "▁" },
                { "type": "Replace", "pattern": { "String": " " }, "content": "▁" } ] },
            "pre_tokenizer": null,
            "post_processor": { "type": "TemplateProcessing",
                "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } },
                           { "Sequence": { "id": "A", "type_id": 0 } }],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
                "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } } },
            "decoder": { "type": "Sequence", "decoders": [
                { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
                { "type": "ByteFallback" }, { "type": "Fuse" },
                { "type": "Strip", "content": " ", "start": 1, "stop": 0 } ] },
            "model": { "type": "BPE", "dropout": 0.5, "unk_token": "<unk>", "continuing_subword_prefix": null,
                       "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
                       "vocab": vocab, "merges": merges },
        });
        Tokenizer::from_json(json.to_string(), None).unwrap()
    });
    &TOKENIZER
}

/// The same model behind a `Metaspace` pre-tokenizer and decoder, as newer conversions have it.
pub fn metaspace() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let (vocab, merges) = metaspace_vocab();
        let metaspace =
            json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true });
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
            "normalizer": null, "pre_tokenizer": metaspace, "post_processor": null, "decoder": metaspace,
            "model": { "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                       "vocab": vocab, "merges": merges },
        });
        Tokenizer::from_json(json.to_string(), None).unwrap()
    });
    &TOKENIZER
}

/// The byte-level one with a decoder that is none of the usual.
pub fn odd_decoder() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let mut json: serde_json::Value = serde_json::from_str(byte_level().json()).unwrap();
        json["decoder"] = json!({ "type": "WordPiece", "prefix": "##", "cleanup": true });
        Tokenizer::from_json(json.to_string(), None).unwrap()
    });
    &TOKENIZER
}

/// The plain `tokenizers` crate on the same file, to compare with.
pub fn reference(tokenizer: &Tokenizer) -> tokenizers::Tokenizer {
    let mut json: serde_json::Value = serde_json::from_str(tokenizer.json()).unwrap();
    json["truncation"] = json!(null);
    json["padding"] = json!(null);
    json["model"]["dropout"] = json!(null);
    json.to_string().parse().unwrap()
}

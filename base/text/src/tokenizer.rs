//! A Hugging Face `tokenizer.json`, loaded and run.
//!
//! Normalisation, added tokens, the model and decoding are the `tokenizers` crate's; the split into words is
//! ours (`pretokenize.rs`), because the crate's stops silently on long runs. Truncation, padding and dropout
//! that a file may ask for are switched off: they belong to other uses, and would drop or change training
//! text without a word.

use crate::TextError;
use crate::pretokenize::PreTokenizer;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokenizers::models::ModelWrapper;
use tokenizers::{Encoding, Model as _, OffsetReferential, OffsetType, Token};

/// Largest `tokenizer.json` that is read, in bytes; the largest in use have about 35 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Token ids stay below this: they travel as positive `i32` labels and size embedding tables.
pub(crate) const MAX_VOCABULARY: usize = 1 << 24;
/// End-of-sequence tokens by custom, tried in this order when no `tokenizer_config.json` names one.
const KNOWN_EOS: [&str; 5] = ["<|end_of_text|>", "<|endoftext|>", "</s>", "<|im_end|>", "<eos>"];
/// Stands for the text when a post-processor is asked what it puts around it; above any allowed id.
const TEXT_MARK: u32 = u32::MAX;

/// Text to token ids and back. Cheap to clone; encoding is safe from many threads at once.
#[derive(Clone)]
pub struct Tokenizer(Arc<Parts>);

struct Parts {
    crate_tokenizer: tokenizers::Tokenizer,
    pre_tokenizer: PreTokenizer,
    json: String,
    config_json: Option<String>,
    /// What the post-processor puts before and after a text.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    eos_id: Option<u32>,
    vocab_size: usize,
    content_hash: u128,
}

impl Tokenizer {
    /// Loads a `tokenizer.json`, or the one of a model folder.
    ///
    /// A `tokenizer_config.json` beside it names the end-of-sequence token.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: impl AsRef<Path>) -> Result<Tokenizer, TextError> {
        let path = path.as_ref();
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
        if path.is_dir() && !file.exists() {
            let hint = if path.join("tokenizer.model").exists() {
                ": it has a tokenizer.model only; convert it with transformers \
                 (AutoTokenizer.from_pretrained(folder).save_pretrained(folder))"
            } else {
                ""
            };
            return Err(TextError::NoTokenizer { folder: path.to_path_buf(), hint });
        }
        let json = read_text(&file)?;
        let config = file.with_file_name("tokenizer_config.json");
        let belongs = file.file_name().is_some_and(|name| name == "tokenizer.json");
        let config = if belongs && config.exists() { Some((read_text(&config)?, config)) } else { None };
        Tokenizer::build(json, config, &file)
    }

    /// Builds a tokenizer from the texts of `tokenizer.json` and, when there, `tokenizer_config.json`.
    ///
    /// # Errors
    /// As [`Tokenizer::load`]; the file names in them are the usual ones.
    pub fn from_json(json: String, config_json: Option<String>) -> Result<Tokenizer, TextError> {
        let config = config_json.map(|text| (text, PathBuf::from("tokenizer_config.json")));
        Tokenizer::build(json, config, Path::new("tokenizer.json"))
    }

    fn build(json: String, config: Option<(String, PathBuf)>, file: &Path) -> Result<Tokenizer, TextError> {
        let bad = |reason| TextError::BadTokenizer { path: file.to_path_buf(), reason };
        let mut crate_tokenizer: tokenizers::Tokenizer =
            guard(|| json.parse().map_err(|e: tokenizers::Error| e.to_string())).map_err(bad)?;
        crate_tokenizer.with_padding(None);
        guard(|| crate_tokenizer.with_truncation(None).map(|_| ()).map_err(|e| e.to_string()))
            .map_err(bad)?;
        if let ModelWrapper::BPE(bpe) = crate_tokenizer.get_model()
            && bpe.dropout.is_some()
        {
            let mut plain = bpe.clone();
            plain.dropout = None;
            crate_tokenizer.with_model(plain);
        }
        let highest = crate_tokenizer.get_vocab(true).into_values().max();
        let vocab_size = highest.map_or(0, |id| id as usize + 1);
        if vocab_size == 0 {
            return Err(bad("its vocabulary is empty".into()));
        }
        if vocab_size > MAX_VOCABULARY {
            return Err(bad(format!("its highest token id is {}, above {MAX_VOCABULARY}", vocab_size - 1)));
        }
        let pre_tokenizer = PreTokenizer::new(crate_tokenizer.get_pre_tokenizer()).map_err(bad)?;
        let (prefix, suffix) = guard(|| template(&crate_tokenizer)).map_err(bad)?;
        let named = config.as_ref().map(|(text, path)| named_eos(text, path)).transpose()?.flatten();
        let eos_id = match (named, &config) {
            (Some(token), Some((_, path))) => {
                Some(crate_tokenizer.token_to_id(&token).ok_or_else(|| TextError::BadTokenizer {
                    path: path.clone(),
                    reason: format!("its eos_token {token:?} is not in the vocabulary"),
                })?)
            }
            _ => KNOWN_EOS.iter().find_map(|token| crate_tokenizer.token_to_id(token)),
        };
        let content_hash = xxhash_rust::xxh3::xxh3_128(json.as_bytes());
        Ok(Tokenizer(Arc::new(Parts {
            crate_tokenizer,
            pre_tokenizer,
            json,
            config_json: config.map(|(text, _)| text),
            prefix,
            suffix,
            eos_id,
            vocab_size,
            content_hash,
        })))
    }

    /// The token ids of a text; with what the post-processor adds (a bos, for Llama) when asked.
    ///
    /// Special tokens written out in the text become their ids, as in `transformers`.
    ///
    /// # Errors
    /// When the model cannot encode it (no unknown token and no byte fallback), or when a split pattern
    /// with look-around gives up on a long run.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TextError> {
        let parts = &*self.0;
        let encode = || {
            let mut ids = Vec::with_capacity(text.len() / 3 + 8);
            if add_special_tokens {
                ids.extend_from_slice(&parts.prefix);
            }
            let inner = &parts.crate_tokenizer;
            let split = inner.get_added_vocabulary().extract_and_normalize(inner.get_normalizer(), text);
            for (piece, offsets, tokens) in split.get_splits(OffsetReferential::Original, OffsetType::Byte) {
                if let Some(tokens) = tokens {
                    ids.extend(tokens.iter().map(|token| token.id));
                    continue;
                }
                parts.pre_tokenizer.words(piece, offsets.0 == 0, &mut |word| {
                    let tokens = inner.get_model().tokenize(word).map_err(|e| e.to_string())?;
                    ids.extend(tokens.iter().map(|token| token.id));
                    Ok(())
                })?;
            }
            if add_special_tokens {
                ids.extend_from_slice(&parts.suffix);
            }
            Ok(ids)
        };
        guard(encode).map_err(|reason| TextError::Encode { bytes: text.len(), reason })
    }

    /// The text of token ids; special tokens are left out when asked. Ids without a token (the padding
    /// rows of an embedding table) are passed over.
    ///
    /// # Errors
    /// When the file's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TextError> {
        let decode = || self.0.crate_tokenizer.decode(ids, skip_special_tokens).map_err(|e| e.to_string());
        guard(decode).map_err(|reason| TextError::Decode { tokens: ids.len(), reason })
    }

    /// The highest token id plus one, added tokens included: the fewest rows an embedding table may have.
    pub fn vocab_size(&self) -> usize {
        self.0.vocab_size
    }

    /// The id of a token as the vocabulary spells it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.crate_tokenizer.token_to_id(token)
    }

    /// The token of an id as the vocabulary spells it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.0.crate_tokenizer.id_to_token(id)
    }

    /// Whether an id is a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.id_to_token(id)
            .is_some_and(|token| self.0.crate_tokenizer.get_added_vocabulary().is_special_token(&token))
    }

    /// The end-of-sequence token: `eos_token` of `tokenizer_config.json`, else one known by custom.
    pub fn eos_id(&self) -> Option<u32> {
        self.0.eos_id
    }

    /// The token that the post-processor puts before a text, when it does.
    pub fn bos_id(&self) -> Option<u32> {
        self.0.prefix.first().copied()
    }

    /// The text of `tokenizer.json`, unchanged.
    pub fn json(&self) -> &str {
        &self.0.json
    }

    /// The text of `tokenizer_config.json`, unchanged, when there is one.
    pub fn config_json(&self) -> Option<&str> {
        self.0.config_json.as_deref()
    }

    /// XXH3 of `tokenizer.json`: shards carry it, a run refuses to change it.
    pub fn content_hash(&self) -> u128 {
        self.0.content_hash
    }

    /// The decoder of the file as JSON; null when there is none.
    pub(crate) fn decoder_json(&self) -> Value {
        serde_json::to_value(self.0.crate_tokenizer.get_decoder()).unwrap_or(Value::Null)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("eos_id", &self.eos_id())
            .field("bos_id", &self.bos_id())
            .finish_non_exhaustive()
    }
}

/// Runs code of a dependency on untrusted input; a panic in it is bad input, not the end of the program.
fn guard<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(format!("the tokenizers library panicked: {what}"))
    })
}

fn read_text(path: &Path) -> Result<String, TextError> {
    let read = |source| TextError::Read { path: path.to_path_buf(), source };
    let bytes = std::fs::metadata(path).map_err(read)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(TextError::TooLarge { path: path.to_path_buf(), bytes, limit: MAX_FILE_BYTES });
    }
    String::from_utf8(std::fs::read(path).map_err(read)?).map_err(|e| TextError::BadTokenizer {
        path: path.to_path_buf(),
        reason: format!("it is not UTF-8: the first bad byte is at {}", e.utf8_error().valid_up_to()),
    })
}

/// What the post-processor puts before and after a text: found by giving it a mark for the text.
fn template(tokenizer: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    let text = Encoding::from_tokens(vec![Token::new(TEXT_MARK, "text".into(), (0, 4))], 0);
    let encoding = tokenizer.post_process(text, None, true).map_err(|e| e.to_string())?;
    let mut parts = encoding.get_ids().split(|&id| id == TEXT_MARK);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(prefix), Some(suffix), None) => Ok((prefix.to_vec(), suffix.to_vec())),
        _ => Err("its post-processor does not keep one text as one text".into()),
    }
}

/// The `eos_token` of a `tokenizer_config.json`: a string, or an object with `content`.
fn named_eos(config: &str, path: &Path) -> Result<Option<String>, TextError> {
    let bad = |reason| TextError::BadTokenizer { path: path.to_path_buf(), reason };
    let config: Value = serde_json::from_str(config).map_err(|e| bad(e.to_string()))?;
    match config.get("eos_token") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.clone())),
        Some(Value::Object(object)) => match object.get("content") {
            Some(Value::String(token)) => Ok(Some(token.clone())),
            _ => Err(bad("its eos_token is an object without a `content` string".into())),
        },
        Some(other) => Err(bad(format!("its eos_token is neither a string nor an object: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{byte_level, llama2, metaspace, odd_decoder, reference};
    use proptest::prelude::*;
    use serde_json::json;

    fn any_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[ \t\n\r]{0,5}",
            "[a-z ]{0,8}",
            "[0-9]{0,5}",
            "\\PC{0,6}",
            Just("the an".to_string()),
            Just("<|endoftext|>".to_string()),
            Just("</s>".to_string()),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|v| v.concat())
    }

    proptest! {
        #[test]
        fn ids_are_those_of_the_reference_and_decode_to_the_text(text in any_text(), specials: bool) {
            for tokenizer in [byte_level(), llama2(), metaspace()] {
                let ids = tokenizer.encode(&text, specials).unwrap();
                let theirs = reference(tokenizer).encode(text.as_str(), specials).unwrap();
                prop_assert_eq!(&ids[..], theirs.get_ids());
                prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            }
            let ids = byte_level().encode(&text, false).unwrap();
            prop_assert_eq!(byte_level().decode(&ids, false).unwrap(), text);
        }
    }

    #[test]
    fn a_run_of_a_megabyte_is_cut_like_a_short_one() {
        let tokenizer = byte_level();
        let ids = |text: &str| tokenizer.encode(text, false).unwrap();
        for run in [" ", "\n", "7", "é", "\u{301}"] {
            let long = run.repeat((1 << 20) / run.len());
            let text = format!("{long}q. 5");
            let whole = ids(&text);
            assert_eq!(tokenizer.decode(&whole, false).unwrap(), text, "{run:?}");
            // Where the split gives the last of a run to the word behind it, the pieces are cut there.
            let pieces = match run {
                " " => [ids(&long[run.len()..]), ids(&format!("{run}q"))].concat(),
                "é" => ids(&format!("{long}q")),
                _ => [ids(&long), ids("q")].concat(),
            };
            assert!(whole == [pieces, ids(". 5")].concat(), "{run:?}");
        }
    }

    /// FNV-1a over the ids as little-endian bytes.
    fn fnv(ids: &[u32]) -> u64 {
        let bytes = ids.iter().flat_map(|id| id.to_le_bytes());
        bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        })
    }

    #[test]
    fn ids_are_those_recorded_from_the_python_library() {
        let recorded: Value = serde_json::from_str(include_str!("../tests/golden/ids.json")).unwrap();
        for case in recorded.as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let times = case["times"].as_u64().unwrap() as usize;
            let ids = byte_level().encode(&(text.repeat(times) + "q. 5"), false).unwrap();
            assert_eq!(
                json!([ids.len(), fnv(&ids)]),
                json!([case["count"], case["fnv"]]),
                "{text:?} * {times}"
            );
        }
    }

    #[test]
    fn a_run_without_a_pre_tokenizer_round_trips() {
        for run in [" ", "a", "7", "é"] {
            let text = format!("th{}e", run.repeat(1 << 18));
            let ids = llama2().encode(&text, true).unwrap();
            assert_eq!(ids[0], 1);
            assert_eq!(llama2().decode(&ids, true).unwrap(), text);
        }
    }

    #[test]
    fn truncation_padding_and_dropout_of_the_file_are_off() {
        let text = "the an the an the an the an the an";
        let ids = llama2().encode(text, false).unwrap();
        assert_eq!(llama2().decode(&ids, false).unwrap(), text);
        assert!((0..20).all(|_| llama2().encode(text, false).unwrap() == ids));
    }

    #[test]
    fn special_tokens_are_found() {
        assert_eq!((byte_level().eos_id(), byte_level().bos_id()), (Some(0), None));
        assert_eq!((llama2().eos_id(), llama2().bos_id()), (Some(2), Some(1)));
        assert!(llama2().is_special(2) && !llama2().is_special(20) && !llama2().is_special(9999));
        assert_eq!(byte_level().vocab_size(), 300);
        assert_eq!(byte_level().token_to_id("<|im_end|>"), Some(1));
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            use std::io::Write;
            std::fs::File::create(folder.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
        }
        folder
    }

    #[test]
    fn the_config_beside_the_file_names_eos() {
        for eos in [json!("<|im_end|>"), json!({ "content": "<|im_end|>", "lstrip": false })] {
            let config = json!({ "eos_token": eos }).to_string();
            let folder =
                folder(&[("tokenizer.json", byte_level().json()), ("tokenizer_config.json", &config)]);
            for path in [folder.path().to_path_buf(), folder.path().join("tokenizer.json")] {
                let tokenizer = Tokenizer::load(path).unwrap();
                assert_eq!(tokenizer.eos_id(), Some(1));
                assert_eq!(tokenizer.config_json(), Some(config.as_str()));
                assert_eq!(tokenizer.content_hash(), byte_level().content_hash());
            }
        }
    }

    #[test]
    fn bad_files_are_named_with_what_is_wrong() {
        let cases = [
            (vec![], "holds no tokenizer.json"),
            (vec![("tokenizer.model", "")], "AutoTokenizer"),
            (vec![("tokenizer.json", "{")], "tokenizer.json` is not a usable tokenizer: EOF"),
            (vec![("tokenizer.json", "[]")], "not a usable tokenizer"),
            (
                vec![
                    ("tokenizer.json", byte_level().json()),
                    ("tokenizer_config.json", r#"{"eos_token":"<no>"}"#),
                ],
                r#"tokenizer_config.json` is not a usable tokenizer: its eos_token "<no>" is not in"#,
            ),
            (
                vec![
                    ("tokenizer.json", byte_level().json()),
                    ("tokenizer_config.json", r#"{"eos_token":3}"#),
                ],
                "neither a string nor an object",
            ),
        ];
        for (files, expected) in cases {
            let folder = folder(&files);
            let error = Tokenizer::load(folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(folder.path().to_str().unwrap()), "{error}");
        }
        let error = Tokenizer::load("nowhere/tokenizer.json").unwrap_err().to_string();
        assert!(error.starts_with("cannot read `nowhere/tokenizer.json`"), "{error}");
        let deep = format!("{{\"model\":{}", "[".repeat(100_000));
        assert!(Tokenizer::from_json(deep, None).is_err());
    }

    #[test]
    fn an_id_that_would_size_a_huge_table_is_refused() {
        let mut json: Value = serde_json::from_str(byte_level().json()).unwrap();
        json["model"]["vocab"]["far"] = json!(4_294_967_295u32);
        let error = Tokenizer::from_json(json.to_string(), None).unwrap_err().to_string();
        assert!(error.contains("highest token id is 4294967295"), "{error}");
    }

    #[test]
    fn a_panic_of_the_library_is_an_error() {
        // The crate's Strip decoder underflows on an empty token.
        let mut json: Value = serde_json::from_str(byte_level().json()).unwrap();
        json["decoder"] = json!({ "type": "Strip", "content": "a", "start": 0, "stop": 5 });
        let tokenizer = Tokenizer::from_json(json.to_string(), None).unwrap();
        let a = tokenizer.token_to_id("a").unwrap();
        let error = tokenizer.decode(&[a], false).unwrap_err().to_string();
        assert!(error.contains("panicked"), "{error}");
        assert!(odd_decoder().decode(&[a], false).is_ok());
    }
}

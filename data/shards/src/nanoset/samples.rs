//! Files for tests: as others write them, and as we do.

use super::{Width, beside, metadata};
use octo_text::{BpeOptions, Tokenizer, train_bpe};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

/// A tokenizer of 400 ids.
pub(crate) fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let problems = octo_rows::WordProblems::new(1, octo_rows::Split::Train, 300);
        let texts = problems.map(|row| row.unwrap().fields["question"].as_str().unwrap().to_owned());
        train_bpe(texts, &BpeOptions::new(400)).unwrap()
    });
    &TOKENIZER
}

/// Rows of word problems as a file of JSON lines.
pub(crate) fn put_problems(path: &Path, seed: u64, rows: u64) {
    let problems = octo_rows::WordProblems::new(seed, octo_rows::Split::Train, rows);
    let lines: String =
        problems.map(|row| serde_json::Value::Object(row.unwrap().fields).to_string() + "\n").collect();
    put(path, lines.as_bytes());
}

pub(crate) fn put(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Writes documents as a nanoset file without a card.
pub(crate) fn put_shard(path: &Path, documents: &[Vec<u32>], width: Width) {
    let (mut bytes, mut ends, mut tokens) = (Vec::new(), Vec::new(), 0u64);
    for document in documents {
        for token in document {
            bytes.extend_from_slice(&token.to_le_bytes()[..width.bytes()]);
        }
        tokens += document.len() as u64;
        ends.extend(tokens.to_le_bytes());
    }
    put(path, &bytes);
    put(&beside(path, ".index"), &ends);
    put(&beside(path, ".metadata"), metadata::text("theirs", width, tokens).as_bytes());
}

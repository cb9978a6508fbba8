//! Shards hold what the tokenizers library gives, id for id.
#![allow(missing_docs, clippy::unwrap_used)]

use octo_rows::{Rows, Split, WordProblems};
use octo_shards::{ShardJob, ShardSet};
use octo_text::Tokenizer;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Tokenises the texts of a file and holds each document against the library's ids.
fn compare(tokenizer_json: &Path, input: &Path, field: &str) -> u64 {
    let tokenizer = Tokenizer::load(tokenizer_json).unwrap();
    let library = tokenizers::Tokenizer::from_file(tokenizer_json).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (bos, eos) = (tokenizer.bos_id(), tokenizer.eos_id());
    let job = ShardJob {
        tokenizer_name: "exact".into(),
        inputs: vec![input.to_owned()],
        text: format!("{{{{ {field} }}}}"),
        filter: None,
        add_bos: bos.is_some(),
        add_eos: true,
        tokens_per_file: 200_000,
        output: folder.path().join("out"),
        threads: None,
        tokenizer,
    };
    let card = job.run(false, &mut |_| {}).unwrap();
    let set = ShardSet::open(job.output.to_str().unwrap(), card.vocab_size, None).unwrap();
    let mut document = 0;
    for row in Rows::open(input.to_str().unwrap()).unwrap() {
        let text = row.unwrap().fields[field].as_str().unwrap().to_owned();
        let ids = library.encode(text.as_str(), false).unwrap();
        let expected: Vec<u32> = bos.into_iter().chain(ids.get_ids().iter().copied()).chain(eos).collect();
        let range = set.document(document).unwrap().unwrap();
        let mut found = vec![0; (range.end - range.start) as usize];
        set.read(range.start, &mut found).unwrap();
        assert_eq!(found, expected, "document {document}");
        document += 1;
    }
    assert_eq!(set.documents(), document);
    document
}

#[test]
fn committed_inputs_give_the_librarys_ids() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("problems.jsonl");
    let rows = WordProblems::new(7, Split::Train, 200);
    let lines: String =
        rows.map(|row| serde_json::Value::Object(row.unwrap().fields).to_string() + "\n").collect();
    let odd = ["<|endoftext|> in the text", "caf\u{e9} \u{1F600}\u{200D}\r\n\t x  ", "7777777 -- don't"];
    let odd: String =
        odd.iter().map(|text| serde_json::json!({ "question": text }).to_string() + "\n").collect();
    File::create(&input).unwrap().write_all((lines + &odd).as_bytes()).unwrap();
    let tokenizer = here.join("../../base/text/tests/golden/tokenizer.json");
    assert_eq!(compare(&tokenizer, &input, "question"), 203);
}

/// Real tokenizers and text, where `$OCTO_SHARED_DATA` says they lie.
#[test]
fn real_tokenizers_give_the_librarys_ids() {
    let data = std::env::var_os("OCTO_SHARED_DATA").map_or_else(PathBuf::new, PathBuf::from);
    for name in ["gpt_neo.json", "llama2.json"] {
        let (tokenizer, input) = (data.join("tokenizers").join(name), data.join("train/gsm8k_train.jsonl"));
        if !tokenizer.exists() || !input.exists() {
            // Said, so that nobody takes it for tested.
            let what = format!("skipped: no {} (set OCTO_SHARED_DATA)\n", tokenizer.display());
            std::io::stderr().write_all(what.as_bytes()).unwrap();
            continue;
        }
        assert_eq!(compare(&tokenizer, &input, "answer"), 7473);
    }
}

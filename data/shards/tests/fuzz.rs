//! Hostile input: a plain function of bytes, which must return whatever it is given.
//!
//! It runs on inputs that proptest makes and damages, and on every file under `tests/corpus/shards/`, where an
//! input that once broke it, or might well have, is kept.

// Helpers of tests, which the lint does not know as such.
#![allow(clippy::unwrap_used)]

use octo_shards::{ShardJob, ShardSet, TokenSource, verify};
use octo_text::{BpeOptions, train_bpe};
use proptest::prelude::*;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

/// What stands between the files of one input.
const BETWEEN: &[u8] = b"\n--\n";

/// The files of a folder of shards, in the order of an input.
const NAMES: [&str; 5] = ["00000.ds", "00000.ds.index", "00000.ds.metadata", "shards.json", "manifest.json"];

/// A folder of shards: opened, read through and verified. A file that the input lacks is not written.
fn shards(input: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let mut rest = Some(input);
    for name in NAMES {
        let Some(bytes) = rest else { break };
        let end = bytes.windows(BETWEEN.len()).position(|window| window == BETWEEN);
        let (bytes, after) = match end {
            Some(end) => (&bytes[..end], Some(&bytes[end + BETWEEN.len()..])),
            None => (bytes, None),
        };
        rest = after;
        File::create(folder.path().join(name)).unwrap().write_all(bytes).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    drop(verify(path, None));
    let set = match ShardSet::open(path, 300, None) {
        Ok(set) => set,
        Err(error) => return assert!(error.to_string().contains(path), "{error}"),
    };
    assert!(set.tokens() <= input.len() as u64 && set.documents() <= input.len() as u64);
    let source = TokenSource::Shards(set);
    let mut all = vec![0; source.tokens() as usize];
    if source.read(0, &mut all).is_ok() {
        assert!(all.iter().all(|&id| id < 300));
    }
    let mut ended = 0;
    for document in 0..source.documents() {
        let range = source.document(document).unwrap().unwrap();
        assert_eq!(range.start, ended);
        ended = range.end;
        if !range.is_empty() {
            assert_eq!(source.document_at(range.start).unwrap(), document);
            assert_eq!(source.starts(range.clone()).unwrap(), [range.start]);
        }
    }
    assert_eq!(ended, source.tokens());
}

/// A folder of shards that is whole.
static WHOLE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("a.jsonl");
    File::create(&input)
        .unwrap()
        .write_all(b"{\"text\": \"a b\"}\n{\"text\": \"c\"}\n{\"text\": \"d e f\"}\n")
        .unwrap();
    let job = ShardJob {
        tokenizer: train_bpe(["the cat ".repeat(9)], &BpeOptions::new(262)).unwrap(),
        tokenizer_name: "t".into(),
        inputs: vec![input],
        text: "{{ text }}".into(),
        filter: None,
        add_bos: false,
        add_eos: true,
        tokens_per_file: 100,
        output: folder.path().join("out"),
        threads: Some(1),
    };
    job.run(false, &mut |_| {}).unwrap();
    NAMES.iter().map(|name| std::fs::read(job.output.join(name)).unwrap()).collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn shards_with_bytes_replaced_return(
        file in 0usize..5, at in any::<prop::sample::Index>(), cut in 0usize..9,
        with in proptest::collection::vec(any::<u8>(), 0..9), lacks in 3usize..6,
    ) {
        let mut files = WHOLE[..lacks].to_vec();
        let file = &mut files[file.min(lacks - 1)];
        let start = at.index(file.len());
        file.splice(start..(start + cut).min(file.len()), with);
        shards(&files.join(BETWEEN));
    }

    #[test]
    fn shards_with_other_numbers_return(
        index in proptest::collection::vec(prop_oneof![0u64..12, any::<u64>(), Just(u64::MAX / 2)], 0..6),
        tokens in proptest::collection::vec(0u8..4, 0..40), first_line in "(t\\|)?(2|4|8|-1|99999999999999999999)?",
        count in "[0-9]{0,3}",
    ) {
        let index: Vec<u8> = index.into_iter().flat_map(u64::to_le_bytes).collect();
        shards(&[&tokens[..], &index, format!("{first_line}\n{count}").as_bytes()].join(BETWEEN));
    }

    #[test]
    fn cards_with_other_values_return(
        key in "(format|vocab_size|bytes_per_token|documents|tokens|files|eos|name|xxh3|text)",
        value in "(-1|0|1|4|1e300|18446744073709551615|null|\"\"|\"\\.\\./x\"|\\[\\]|\\{\\}|true)",
    ) {
        let mut files = WHOLE.clone();
        let card = String::from_utf8(files[3].clone()).unwrap();
        let start = card.find(&format!("\"{key}\": ")).unwrap() + key.len() + 4;
        let end = start + card[start..].find(['\n', ',']).unwrap();
        files[3] = format!("{}{value}{}", &card[..start], &card[end..]).into_bytes();
        shards(&files.join(BETWEEN));
    }
}

#[test]
fn what_is_whole_is_read() {
    shards(&WHOLE.join(BETWEEN));
}

#[test]
fn inputs_that_are_kept_return() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/shards");
    let mut inputs = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        shards(&std::fs::read(file.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 5);
}

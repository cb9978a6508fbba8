//! What is written, and what a start makes of what a killed one left.

use super::samples::{put, put_problems, tokenizer};
use super::state::STATE_NAME;
use super::write::ShardJob;
use crate::{ShardSet, ShardsError, TokenizeOptions, TokenizedSource, verify};
use octo_durable::{DurableError, Fault, FaultyFs};
use octo_rows::{Documents, Rows, Template};
use std::collections::BTreeMap;
use std::path::Path;

const TEXT: &str = "{{ question }} {{ answer }}";

/// A job over two files of problems and one without a row.
fn job(folder: &Path) -> ShardJob {
    let inputs = ["a.jsonl", "b.jsonl", "c.jsonl"].map(|name| folder.join(name));
    put_problems(&inputs[0], 1, 70);
    put(&inputs[1], b"");
    put_problems(&inputs[2], 2, 50);
    ShardJob {
        tokenizer: tokenizer().clone(),
        tokenizer_name: "ours".into(),
        inputs: inputs.to_vec(),
        text: TEXT.into(),
        filter: None,
        add_bos: false,
        add_eos: true,
        tokens_per_file: 1500,
        output: folder.join("out"),
        threads: Some(2),
    }
}

/// The files of a folder.
fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let each = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(each).collect()
}

fn open(path: &Path) -> Result<ShardSet, ShardsError> {
    ShardSet::open(path.to_str().unwrap(), 400, Some(tokenizer().content_hash()))
}

#[test]
fn shards_hold_the_tokens_of_the_documents_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path());
    let mut seen = Vec::new();
    let card = job.run(false, &mut |now| seen.push(now)).unwrap();
    let set = open(&job.output).unwrap();
    let options = TokenizeOptions { add_bos: false, add_eos: true, vocab_size: 400 };
    let rows = job.inputs.iter().flat_map(|input| Rows::open(input.to_str().unwrap()).unwrap());
    let documents = Documents::new(rows.collect::<Vec<_>>().into_iter(), Template::new(TEXT).unwrap(), None);
    let memory = TokenizedSource::tokenize(documents, tokenizer(), options, |_| {}).unwrap();
    let mut tokens = vec![0; set.tokens() as usize];
    set.read(0, &mut tokens).unwrap();
    assert_eq!(tokens, memory.tokens());
    assert_eq!((set.documents(), card.documents, card.rows.read), (120, 120, 120));
    for document in 0..120 {
        assert_eq!(set.document(document).unwrap(), memory.document_range(document as usize));
    }
    assert_eq!((set.cards(), set.tokenizers()), (&[card.clone()][..], vec!["ours"]));
    assert!(card.files.len() > 3 && card.files.iter().all(|file| file.tokens <= 1500));
    let last = seen.last().unwrap();
    assert_eq!((last.documents, last.tokens, last.files), (120, set.tokens(), card.files.len()));
    assert_eq!(last.input_bytes, last.inputs_bytes);
    assert!(seen.is_sorted_by_key(|now| (now.tokens, now.files)));
    let metadata = std::fs::read_to_string(job.output.join("00000.ds.metadata")).unwrap();
    assert!(metadata.starts_with(&format!("ours|2\n{}\n1.4", card.files[0].tokens)), "{metadata}");
    let found = verify(job.output.to_str().unwrap(), None).unwrap();
    assert_eq!((found.documents, found.tokens, found.manifests), (120, set.tokens(), 1));
}

#[test]
fn the_files_do_not_depend_on_the_threads() {
    let made = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let job = ShardJob { threads: Some(threads), ..job(folder.path()) };
        job.run(false, &mut |_| {}).unwrap();
        bytes(&job.output).into_iter().filter(|(name, _)| name.contains(".ds")).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(made(1), made(5));
}

#[test]
fn wherever_a_start_is_cut_off_the_next_one_ends_with_the_same_bytes() {
    // A thousand syncs take their time on a real disk.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let inputs = vec![folder.path().join("a.jsonl")];
    put_problems(&inputs[0], 1, 20);
    let job = ShardJob { inputs, tokens_per_file: 5000, ..job(folder.path()) };
    assert_eq!(job.run(false, &mut |_| {}).unwrap().files.len(), 2);
    let whole = bytes(&job.output);
    std::fs::remove_dir_all(&job.output).unwrap();
    let mut most_files = 0;
    let kinds = [(Fault::Refused, false), (Fault::Crash, false), (Fault::Crash, true)];
    for (fault, lose_names) in kinds {
        for at in 0.. {
            let fs = FaultyFs::new(fault, at);
            let cut_off = job.run_on(&fs, false, &mut |_| {});
            match (fault, lose_names) {
                (Fault::Crash, true) => fs.power_cut_losing_names(),
                (Fault::Crash, false) => fs.power_cut(),
                _ => {}
            }
            // Under its own name a folder is whole, but that the state may still lie in it.
            if job.output.exists() {
                let mut found = bytes(&job.output);
                found.remove(STATE_NAME);
                assert!(found == whole, "{fault:?} at {at}");
            }
            if !job.output.exists() || job.output.join(STATE_NAME).exists() {
                assert!(cut_off.is_err(), "{fault:?} at {at}");
                let mut first = None;
                job.run(false, &mut |now| first = first.or(Some(now))).unwrap();
                most_files = most_files.max(first.unwrap().files);
            }
            assert!(bytes(&job.output) == whole, "{fault:?} at {at}");
            std::fs::remove_dir_all(&job.output).unwrap();
            if !fs.struck() {
                assert!(cut_off.is_ok());
                break;
            }
        }
    }
    assert_eq!(most_files, 2, "some starts went on behind whole files");
}

#[test]
fn what_a_killed_start_left_is_not_mixed_with_another_job() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path());
    let cut_off = || job.run_on(&FaultyFs::new(Fault::Crash, 40), false, &mut |_| {}).unwrap_err();
    cut_off();
    let says = |job: &ShardJob| job.run(false, &mut |_| {}).unwrap_err().to_string();
    let others = [
        (
            ShardJob { text: "{{ question }}".into(), ..job.clone() },
            "the template was `{{ question }} {{ answer }}` and is `{{ question }}`",
        ),
        (ShardJob { filter: Some("answer".into()), ..job.clone() }, "the filter was none and is `answer`"),
        (ShardJob { add_eos: false, ..job.clone() }, "the eos token was 0 and is none"),
        (ShardJob { tokens_per_file: 9, ..job.clone() }, "tokens per file was 1500 and is 9"),
        (
            ShardJob { tokenizer_name: "b".into(), ..job.clone() },
            "the tokenizer's name was `ours` and is `b`",
        ),
        (ShardJob { inputs: job.inputs[..2].to_vec(), ..job.clone() }, "there were 3 inputs and are 2"),
        (ShardJob { inputs: vec![job.inputs[2].clone(); 3], ..job.clone() }, "an input was"),
    ];
    for (other, expected) in &others {
        let error = says(other);
        assert!(error.contains(expected) && error.contains("--fresh"), "{error}");
    }
    put_problems(&job.inputs[0], 1, 69);
    let error = says(&job);
    assert!(error.contains("a.jsonl had ") && error.contains(" bytes and has "), "{error}");
    // Anew, with what is there now.
    let (other, _) = &others[0];
    assert_eq!(other.run(true, &mut |_| {}).unwrap().documents, 119);
    verify(job.output.to_str().unwrap(), None).unwrap();
    let error = job.run(true, &mut |_| {}).unwrap_err();
    assert!(
        matches!(error, ShardsError::Durable(DurableError::Exists { .. })),
        "finished work is never replaced"
    );
}

#[test]
fn a_whole_file_that_was_changed_after_the_kill_is_not_built_on() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path());
    job.run_on(&FaultyFs::new(Fault::Crash, 60), false, &mut |_| {}).unwrap_err();
    let work = folder.path().join("out.unfinished");
    put(&work.join("00000.ds"), b"short");
    let error = job.run(false, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("00000.ds had ") && error.contains("bytes and has 5"), "{error}");
    put(&work.join(STATE_NAME), b"{");
    let error = job.run(false, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("tokenize.json cannot be read") && error.contains("--fresh"), "{error}");
    job.run(true, &mut |_| {}).unwrap();
}

#[test]
fn two_writers_of_one_folder_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path());
    let mut second = None;
    job.run(false, &mut |_| {
        second.get_or_insert_with(|| job.run(false, &mut |_| {}));
    })
    .unwrap();
    assert!(matches!(second, Some(Err(ShardsError::Busy { .. }))));
}

#[test]
fn a_broken_row_is_named_and_what_stands_before_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path());
    let good = std::fs::read(&job.inputs[2]).unwrap();
    put(&job.inputs[2], &[&good, &b"{\"question\": 1\n"[..]].concat());
    let error = job.run(false, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("c.jsonl:51: broken JSON"), "{error}");
    assert!(folder.path().join("out.unfinished/00003.ds").exists() && !job.output.exists());
}

#[test]
fn inputs_without_documents_say_what_became_of_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let job = ShardJob { filter: Some("missing".into()), ..job(folder.path()) };
    let error = job.run(false, &mut |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("no documents: of 120 rows the filter kept 0"), "{error}");
    let none = ShardJob { add_bos: true, filter: None, ..job.clone() };
    assert!(matches!(none.run(true, &mut |_| {}), Err(ShardsError::NoBos)));
    let named = ShardJob { tokenizer_name: "a|b".into(), filter: None, ..job.clone() };
    assert!(matches!(named.run(true, &mut |_| {}), Err(ShardsError::TokenizerName { .. })));
    let syntax = ShardJob { text: "{{".into(), ..job };
    assert!(syntax.run(true, &mut |_| {}).unwrap_err().to_string().contains("the template `{{`"));
}

#[test]
fn a_document_longer_than_a_file_has_one_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let job = ShardJob { tokens_per_file: 1, ..job(folder.path()) };
    let card = job.run(false, &mut |_| {}).unwrap();
    assert_eq!(card.files.len(), 120);
    assert!(card.files.iter().all(|file| file.documents == 1));
}

#[test]
fn one_flipped_byte_anywhere_is_found_and_its_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path());
    job.run(false, &mut |_| {}).unwrap();
    for (name, whole) in bytes(&job.output) {
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            put(&job.output.join(&name), &changed);
            let error = verify(job.output.to_str().unwrap(), None).unwrap_err().to_string();
            assert!(error.contains(&name), "{name} at {at}: {error}");
        }
        put(&job.output.join(&name), &whole);
    }
    verify(job.output.to_str().unwrap(), None).unwrap();
}

#[test]
fn a_card_is_held_against_its_files_and_the_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path());
    job.run(false, &mut |_| {}).unwrap();
    let says = || open(&job.output).unwrap_err().to_string();
    let other = ShardSet::open(job.output.to_str().unwrap(), 400, Some(1)).unwrap_err().to_string();
    assert!(other.contains("with `ours` of 400 ids, whose tokenizer.json differs"), "{other}");
    let path = job.output.join("shards.json");
    let card = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
    let shard = job.output.join("00001.ds");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::remove_file(&shard).unwrap();
    assert!(
        says().contains("00001.ds` is damaged or not what it seems: it is missing, and shards.json lists it")
    );
    octo_durable::write_bytes(&octo_durable::Disk, &shard, &bytes).unwrap();
    std::fs::copy(job.output.join("00001.ds"), job.output.join("99.ds")).unwrap();
    assert!(says().contains("shards.json does not list it"));
    std::fs::remove_file(job.output.join("99.ds")).unwrap();
    for (from, to, expected) in [
        ("\"format\": 1", "\"format\": 2", "its format is 2; this version reads 1"),
        ("\"documents\": 120", "\"documents\": 121", "do not add up"),
        ("\"bytes_per_token\": 2", "\"bytes_per_token\": 3", "it says 3 bytes per token"),
        ("\"bytes_per_token\": 2", "\"bytes_per_token\": 4", "tokens (where its index ends) of 4 bytes"),
        ("00000.ds", "00009.ds", "not in the order of their names"),
    ] {
        assert!(card.contains(from));
        put(&path, card.replacen(from, to, 1).as_bytes());
        assert!(says().contains(expected), "{}", says());
    }
}

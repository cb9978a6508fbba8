//! What is read from tokenised files, and what is refused.

use super::samples::{put, put_shard};
use super::{Width, beside};
use crate::{
    BatchOptions, Batches, DocumentOrigin, MixturePart, Order, ShardSet, ShardsError, TokenSource,
    TokenizedSource, verify,
};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn open(path: &Path) -> Result<ShardSet, ShardsError> {
    ShardSet::open(path.to_str().unwrap(), 60_000, None)
}

/// Documents in files, some without a token; now and then more than one stretch of an index.
fn files() -> impl Strategy<Value = Vec<(bool, Vec<Vec<u32>>)>> {
    let document = proptest::collection::vec(0u32..60_000, 0..6);
    let documents = prop_oneof![
        4 => proptest::collection::vec(document, 0..20),
        1 => proptest::collection::vec(proptest::collection::vec(0u32..60_000, 0..2), 500..1600),
    ];
    proptest::collection::vec((any::<bool>(), documents), 1..4)
}

fn put_files(folder: &Path, files: &[(bool, Vec<Vec<u32>>)]) {
    for (i, (wide, documents)) in files.iter().enumerate() {
        let width = if *wide { Width::Four } else { Width::Two };
        put_shard(&folder.join(format!("{i:03}_theirs.ds")), documents, width);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_set_is_the_documents_of_its_files_end_to_end(
        files in files(), at in proptest::collection::vec(any::<prop::sample::Index>(), 12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        put_files(folder.path(), &files);
        let source = TokenSource::Shards(open(folder.path()).unwrap());
        let documents: Vec<&Vec<u32>> = files.iter().flat_map(|(_, documents)| documents).collect();
        let stream: Vec<u32> = documents.iter().copied().flatten().copied().collect();
        prop_assert_eq!((source.tokens(), source.documents()), (stream.len() as u64, documents.len() as u64));
        // Which document each token is of, and where documents begin.
        let holder: Vec<u64> = documents.iter().enumerate()
            .flat_map(|(i, document)| document.iter().map(move |_| i as u64)).collect();
        let begins: Vec<u64> = (0..stream.len())
            .filter(|&i| i == 0 || holder[i] != holder[i - 1]).map(|i| i as u64).collect();
        for pair in at.chunks(2) {
            let (a, b) = (pair[0].index(stream.len() + 1), pair[1].index(stream.len() + 1));
            let (start, end) = (a.min(b), a.max(b));
            let mut read = vec![0; end - start];
            source.read(start as u64, &mut read).unwrap();
            prop_assert_eq!(&read, &stream[start..end]);
            let range = start as u64..end as u64;
            let inside: Vec<u64> = begins.iter().copied().filter(|begin| range.contains(begin)).collect();
            prop_assert_eq!(source.starts(range).unwrap(), inside);
            if start < stream.len() {
                prop_assert_eq!(source.document_at(start as u64).unwrap(), holder[start]);
            }
            if !documents.is_empty() {
                let number = a % documents.len();
                let range = source.document(number as u64).unwrap().unwrap();
                prop_assert_eq!(&stream[range.start as usize..range.end as usize], &documents[number][..]);
                let Some(DocumentOrigin::Shard { path, document }) = source.origin(number as u64) else {
                    panic!("a shard's document")
                };
                let file: usize = path.file_name().unwrap().to_str().unwrap()[..3].parse().unwrap();
                prop_assert_eq!(&files[file].1[document as usize], documents[number]);
            }
        }
        prop_assert!(source.read(stream.len() as u64, &mut [0]).is_err());
        prop_assert!(source.document_at(stream.len() as u64).is_err());
        prop_assert_eq!(source.document(documents.len() as u64).unwrap(), None);
        prop_assert_eq!(source.origin(documents.len() as u64), None);
    }

    #[test]
    fn batches_of_shards_are_those_of_the_same_documents_in_memory(
        files in files(), sequence_length in 1usize..9, mask: bool, shuffled: bool, step in 0u64..9,
    ) {
        let folder = tempfile::tempdir().unwrap();
        put_files(folder.path(), &files);
        let documents: Vec<Vec<u32>> =
            files.iter().flat_map(|(_, documents)| documents).filter(|d| !d.is_empty()).cloned().collect();
        let shards = TokenSource::Shards(open(folder.path()).unwrap());
        prop_assume!(shards.tokens() > sequence_length as u64);
        let batch = |source: TokenSource| {
            let options = BatchOptions {
                sequence_length,
                batch_tokens: 4 * sequence_length,
                micro_batch_tokens: 2 * sequence_length,
                order: if shuffled { Order::Shuffled } else { Order::Sequential },
                seed: 3,
                document_mask: mask,
            };
            let source = Arc::new(source);
            let part = MixturePart { name: "a".into(), source, share: 1.0, first_position: 0 };
            let batches = Batches::new(vec![part], options).unwrap();
            let batch = batches.batch(step, 1).unwrap();
            // Documents without a token are counted in files and passed over in memory.
            (batch.ids, batch.labels, batch.positions, batch.cu_seqlens, batches.targets(step).unwrap())
        };
        let memory = TokenSource::Memory(TokenizedSource::of(&documents));
        prop_assert_eq!(batch(shards), batch(memory));
    }
}

/// A folder of two files of five documents each.
fn two_files() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let documents = vec![vec![1, 2, 3], vec![4], vec![5, 6], vec![], vec![7, 8, 9, 10]];
    put_shard(&folder.path().join("a.ds"), &documents, Width::Two);
    put_shard(&folder.path().join("b.ds"), &documents, Width::Four);
    let path = folder.path().join("b.ds");
    (folder, path)
}

#[test]
fn a_file_a_folder_and_a_pattern_are_found() {
    let (folder, file) = two_files();
    put(&folder.path().join("README.md"), b"");
    put(&folder.path().join(".hidden.ds"), b"x");
    assert_eq!(open(folder.path()).unwrap().files().len(), 2);
    assert_eq!(open(&file).unwrap().tokens(), 10);
    assert_eq!(open(&folder.path().join("*")).unwrap().tokens(), 20);
    assert_eq!(open(&folder.path().join("[b].ds")).unwrap().files().len(), 1);
    for (path, says) in [
        ("README.md", "it is not a .ds file"),
        ("*.bin", "no .ds file matches the pattern"),
        ("c.ds", "there is no such file or folder"),
        ("[", "gives no tokenised data"),
    ] {
        let error = open(&folder.path().join(path)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(open(empty.path()).unwrap_err().to_string().contains("the folder holds no .ds file"));
    for (path, is) in [(folder.path(), true), (&file, true), (empty.path(), false)] {
        assert_eq!(ShardSet::is_at(path.to_str().unwrap()), is);
    }
    assert!(ShardSet::is_at("nowhere/*.ds") && !ShardSet::is_at("nowhere/*.jsonl"));
}

#[test]
fn unfinished_shards_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("out.unfinished");
    std::fs::create_dir(&work).unwrap();
    put_shard(&work.join("00000.ds"), &[vec![1]], Width::Two);
    for path in [folder.path().to_owned(), work.clone(), work.join("00000.ds")] {
        assert!(matches!(open(&path), Err(ShardsError::Unfinished { .. })), "{}", path.display());
        assert!(ShardSet::is_at(path.to_str().unwrap()));
    }
    let error = open(&folder.path().join("out")).unwrap_err().to_string();
    assert!(error.contains("out.unfinished: run `data tokenize` again"), "{error}");
}

#[test]
fn files_that_contradict_each_other_are_named_with_the_numbers() {
    let error = |change: &dyn Fn(&Path)| {
        let (folder, file) = two_files();
        change(&file);
        open(folder.path()).unwrap_err().to_string().replace(folder.path().to_str().unwrap(), "")
    };
    let cut =
        |path: &Path, bytes| std::fs::File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
    let says = error(&|file| cut(file, 36));
    assert!(
        says.starts_with("`/b.ds` is damaged or not what it seems: it has 36 bytes, which is not 10 tokens"),
        "{says}"
    );
    let says = error(&|file| cut(file, 39));
    assert!(says.contains("39 bytes"), "{says}");
    let says = error(&|file| cut(&beside(file, ".index"), 33));
    assert!(
        says.contains("`/b.ds.index` is damaged or not what it seems: its 33 bytes are not whole"),
        "{says}"
    );
    let says = error(&|file| cut(&beside(file, ".index"), 32));
    assert!(says.contains("it has 40 bytes, which is not 6 tokens"), "{says}");
    let says = error(&|file| {
        put(
            &beside(file, ".index"),
            &[[9u64, 10].map(u64::to_le_bytes), [3, 10].map(u64::to_le_bytes)].concat().concat(),
        )
    });
    assert!(says.contains("document 2 ends at token 3, and the one before at 10"), "{says}");
    let says = error(&|file| put(&beside(file, ".index"), &u64::MAX.to_le_bytes()));
    assert!(says.contains("which is not 18446744073709551615 tokens"), "{says}");
    let says = error(&|file| put(&beside(file, ".metadata"), b"theirs|2\n10"));
    assert!(
        says.contains("it has 40 bytes, which is not 10 tokens (where its index ends) of 2 bytes"),
        "{says}"
    );
    let says = error(&|file| put(&beside(file, ".metadata"), b"theirs|4\n11"));
    assert!(says.contains("`/b.ds.metadata` is damaged or not what it seems: it says 11 tokens"), "{says}");
    let says = error(&|file| put(&beside(file, ".metadata"), &[b'x'; 70_000]));
    assert!(says.contains("it has more than 65536 bytes"), "{says}");
    let says = error(&|file| std::fs::remove_file(beside(file, ".index")).unwrap());
    assert!(says.contains("`/b.ds` has no index: `/b.ds.index` does not exist"), "{says}");
    let says = error(&|file| {
        std::fs::remove_file(file).unwrap();
        std::fs::create_dir(file).unwrap();
        put(&file.join("x.ds"), b"");
    });
    assert!(says.contains("`/b.ds/x.ds` has no index"), "{says}");
}

#[test]
fn the_width_is_found_without_metadata_or_where_old_metadata_lacks_it() {
    for text in [None, Some(&b"gpt2\n10\n10.0 T"[..])] {
        let (folder, file) = two_files();
        for path in [&file, &folder.path().join("a.ds")] {
            std::fs::remove_file(beside(path, ".metadata")).unwrap();
            if let Some(text) = text {
                put(&beside(path, ".metadata"), text);
            }
        }
        let set = open(folder.path()).unwrap();
        let mut tokens = [0; 20];
        set.read(0, &mut tokens).unwrap();
        assert_eq!(tokens, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(set.tokenizers(), text.map_or(vec![], |_| vec!["gpt2"]));
    }
}

#[test]
fn an_id_outside_the_vocabulary_is_found_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.ds");
    // So long that opening looks at a part of it.
    let mut tokens = vec![7u32; 3 << 20];
    tokens[20_000] = 99;
    put_shard(&file, &[tokens.clone()], Width::Four);
    let set = ShardSet::open(file.to_str().unwrap(), 99, None).unwrap();
    let error = set.read(10_000, &mut vec![0; 30_000]).unwrap_err().to_string();
    assert!(error.contains("token 20000 has the id 99, outside the vocabulary of 99"), "{error}");
    assert!(set.read(10_000, &mut vec![0; 10_000]).is_ok());
    let error = verify(file.to_str().unwrap(), Some(99)).unwrap_err().to_string();
    assert!(error.contains("token 20000 has the id 99"), "{error}");
    assert_eq!(verify(file.to_str().unwrap(), Some(100)).unwrap().highest_id, Some(99));
    // The first and the last are always looked at.
    for at in [0, tokens.len() - 1] {
        tokens[at] = 99;
        put_shard(&file, &[tokens.clone()], Width::Four);
        assert!(ShardSet::open(file.to_str().unwrap(), 99, None).is_err());
        tokens[at] = 7;
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error_and_never_other_tokens() {
    type Change = fn(&Path);
    let changes: [Change; 4] = [
        |file| put(&beside(file, ".index"), &10u64.to_le_bytes()),
        |file| put(file, &[0; 40]),
        |file| std::fs::File::options().write(true).open(file).unwrap().set_len(4).unwrap(),
        |file| std::fs::remove_file(file).unwrap(),
    ];
    for change in changes {
        let (folder, file) = two_files();
        let source = Arc::new(TokenSource::Shards(open(folder.path()).unwrap()));
        let options = BatchOptions {
            sequence_length: 4,
            batch_tokens: 8,
            micro_batch_tokens: 8,
            order: Order::Sequential,
            seed: 0,
            document_mask: true,
        };
        let part = MixturePart { name: "a".into(), source, share: 1.0, first_position: 0 };
        let batches = Batches::new(vec![part], options).unwrap();
        batches.batch(1, 0).unwrap();
        // The clock of a file system may tick as slowly as a hundred times a second.
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(&file);
        let error = batches.batch(1, 0).unwrap_err().to_string();
        assert!(error.contains("b.ds"), "{error}");
    }
}

#[test]
fn the_content_hash_sees_tokens_and_borders() {
    let hash = |documents: &[Vec<u32>]| {
        let folder = tempfile::tempdir().unwrap();
        put_shard(&folder.path().join("a.ds"), documents, Width::Two);
        open(folder.path()).unwrap().content_hash()
    };
    assert_eq!(hash(&[vec![1, 2], vec![3]]), hash(&[vec![1, 2], vec![3]]));
    assert_ne!(hash(&[vec![1, 2], vec![3]]), hash(&[vec![1], vec![2, 3]]));
    assert_ne!(hash(&[vec![1, 2], vec![3]]), hash(&[vec![1, 2], vec![4]]));
}

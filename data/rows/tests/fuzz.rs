//! Hostile input: plain functions of bytes, which must return whatever they are given.
//!
//! Each runs on inputs that proptest makes, and on every file under `corpus/NAME/`, where seeds lie beside
//! inputs that once broke something.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use flate2::Compression;
use flate2::write::GzEncoder;
use octo_rows::fuzz::{fuzz_parquet, fuzz_streams, fuzz_template};
use parquet::file::properties::WriterVersion;
use proptest::prelude::*;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;
use support::{parquet, usual};

/// Small sound files, one a way of writing: what is damaged below.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let schema = "message m { optional binary text (STRING); required group l (LIST) { repeated group list {
        optional group element { required int64 a; optional boolean b; } } } }";
    let rows: Vec<_> = (0..12)
        .map(|n| {
            json!({ "text": if n % 4 == 0 { json!(null) } else { json!("ab".repeat(n % 3)) },
            "l": vec![json!({ "a": n, "b": n % 2 == 0 }); n % 3] })
        })
        .collect();
    let v2 = usual().set_writer_version(WriterVersion::PARQUET_2_0);
    let plain = usual().set_compression(parquet::basic::Compression::UNCOMPRESSED);
    vec![
        parquet(schema, &rows, 5, plain.clone()),
        parquet(schema, &rows, 12, plain.set_dictionary_enabled(false)),
        parquet(schema, &rows, 12, v2.clone().set_compression(parquet::basic::Compression::SNAPPY)),
        parquet(schema, &rows, 12, v2.set_dictionary_enabled(false)),
        parquet(schema, &rows, 12, usual().set_compression(parquet::basic::Compression::LZ4_RAW)),
        parquet(
            schema,
            &rows,
            12,
            usual().set_compression(parquet::basic::Compression::GZIP(Default::default())),
        ),
    ]
});

const LINES: &[u8] =
    b"\xEF\xBB\xBF{\"a\": [1, 2.5e3, \"\\u00e9\"]}\r\n\n{\"text\": \"caf\xC3\xA9\", \"b\": null}\n";

/// The lines as they are, and packed.
static STREAMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(LINES).unwrap();
    vec![LINES.to_vec(), gzip.finish().unwrap(), zstd::encode_all(LINES, 1).unwrap()]
});

/// Bytes with others written over them here and there.
fn damaged(of: &'static [Vec<u8>]) -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5);
    (proptest::sample::select(of), changes, any::<prop::sample::Index>(), 0u8..4).prop_map(
        |(mut bytes, changes, cut, how)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if how == 0 {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_parquet_file_returns(bytes in damaged(&FILES)) {
        fuzz_parquet(&bytes);
    }

    #[test]
    fn a_damaged_stream_returns(bytes in damaged(&STREAMS)) {
        fuzz_streams(&bytes);
    }
}

proptest! {
    #[test]
    fn a_footer_of_any_bytes_returns(footer in proptest::collection::vec(any::<u8>(), 0..200)) {
        let length = (footer.len() as u32).to_le_bytes();
        fuzz_parquet(&[b"PAR1", &footer[..], &length, b"PAR1"].concat());
    }

    #[test]
    fn lines_of_any_bytes_return(bytes in proptest::collection::vec(
        prop_oneof![Just(b'{'), Just(b'}'), Just(b'"'), Just(b'\n'), Just(b'\\'), Just(b':'), any::<u8>()], 0..60,
    )) {
        fuzz_streams(&bytes);
    }

    #[test]
    fn templates_of_any_words_return(
        source in "(\\{\\{|\\}\\}|\\{%|%\\}|for |in |if |end|set |macro |range|[abcde]|\\.|\\||~|[ ()\\[\\]0-9,+*='\"-]|\\PC){0,24}",
    ) {
        let row = "\0{\"a\": [1, {\"b\": \"x\"}], \"b\": \"y\", \"c\": null, \"d\": {\"e\": 0.5}}";
        fuzz_template(format!("{source}{row}").as_bytes());
        fuzz_template(format!("{{{{ {source} }}}}{row}").as_bytes());
    }
}

/// The folder of a target's inputs, and the target.
type Target = (&'static str, fn(&[u8]));

#[test]
fn every_file_of_the_corpus_returns() {
    let targets: [Target; 3] =
        [("parquet", fuzz_parquet), ("streams", fuzz_streams), ("template", fuzz_template)];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in targets {
        let mut found = 0;
        for file in std::fs::read_dir(folder.join(name)).unwrap() {
            target(&std::fs::read(file.unwrap().path()).unwrap());
            found += 1;
        }
        assert!(found > 0, "{name} has no corpus");
    }
}

//! Hostile input: plain functions of bytes, which must return whatever they are given.
//!
//! Each runs on inputs that proptest makes, and on every file under `tests/crashes/<name>/`, where an input that
//! once broke one is kept.

// Helpers of tests, which the lint does not know as such.
#![allow(clippy::unwrap_used)]

use octo_rows::{Filter, Origin, Row, Rows, Template};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// A `.jsonl` and a `.txt` file.
fn files(bytes: &[u8]) {
    for suffix in [".jsonl", ".txt"] {
        let mut file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let path = file.path().to_str().unwrap();
        for row in Rows::open(path).unwrap() {
            match row {
                Ok(row) => assert!(row.origin.line > 0),
                Err(error) => assert!(error.to_string().contains(path)),
            }
        }
    }
}

/// A template and a filter, over one row.
fn template(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    let Value::Object(fields) = json!({ "a": [1, { "b": "x" }], "b": "y", "c": null, "d": { "e": 0.5 } })
    else {
        return;
    };
    let row = Row { fields, origin: Origin { file: Path::new("row").into(), line: 1 } };
    if let Ok(template) = Template::new(&source) {
        drop(template.render(&row));
    }
    if let Ok(filter) = Filter::new(&source) {
        drop(filter.keeps(&row));
    }
}

proptest! {
    #[test]
    fn files_of_any_bytes_return(bytes in proptest::collection::vec(
        prop_oneof![Just(b'{'), Just(b'}'), Just(b'"'), Just(b'\n'), Just(b'\\'), Just(b':'), any::<u8>()], 0..60,
    )) {
        files(&bytes);
    }

    #[test]
    fn rows_with_bytes_replaced_return(
        at in 0usize..64, cut in 0usize..4, with in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        let seed = b"\xEF\xBB\xBF{\"a\": [1, 2.5e3, \"\\u00e9\"]}\r\n\n{\"text\": \"caf\xC3\xA9\", \"b\": null}\n";
        let start = at.min(seed.len());
        files(&[&seed[..start], &with, &seed[(start + cut).min(seed.len())..]].concat());
    }

    #[test]
    fn templates_of_any_words_return(
        source in "(\\{\\{|\\}\\}|\\{%|%\\}|for |in |if |end|set |macro |range|[abcde]|\\.|\\||~|[ ()\\[\\]0-9,+*='\"-]|\\PC){0,24}",
    ) {
        template(source.as_bytes());
        template(format!("{{{{ {source} }}}}").as_bytes());
    }
}

/// The folder of a target's inputs, and the target.
type Target = (&'static str, fn(&[u8]));

#[test]
fn inputs_that_broke_something_once_return_now() {
    let targets: [Target; 2] = [("files", files), ("template", template)];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crashes");
    for (name, target) in targets {
        for file in std::fs::read_dir(folder.join(name)).into_iter().flatten() {
            target(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}

//! Hostile input: the parser must return whatever it is given, and what it takes must print to itself.
//!
//! It runs on damaged modules of NVRTC's that proptest makes, and on every file under `corpus/parse/`, where
//! inputs lie that once broke something beside some that are meant to.

#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

mod support;

use octo_ptx::{fuzz_parse, parse};
use proptest::prelude::*;
use std::path::Path;
use std::sync::LazyLock;
use support::{files, placeless};

/// What NVRTC wrote.
static MODULES: LazyLock<Vec<String>> =
    LazyLock::new(|| files("ptx", "ptx").iter().map(|file| std::fs::read_to_string(file).unwrap()).collect());

/// A text in pieces: words, numbers, single characters and blanks.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || "_$%".contains(c);
        let length = match word(first) {
            true => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        pieces.push(&rest[..length]);
        rest = &rest[length..];
    }
    pieces
}

/// One of the modules with some pieces removed, doubled, swapped or replaced, and perhaps its end cut off.
fn damaged() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..5);
    let changes = proptest::collection::vec(change, 1..6);
    let strange = "[ -~\n\u{e9}]|0x|[0-9]{19,22}|\\{|/\\*|0f|\\.loc|%r<|\\.reg|\"";
    (0..MODULES.len(), changes, strange, any::<prop::sample::Index>(), 0u8..4).prop_map(
        |(module, changes, strange, cut, how)| {
            let mut pieces = pieces(&MODULES[module]);
            for (at, other, change) in changes {
                let (at, other) = (at.index(pieces.len()), other.index(pieces.len()));
                match change {
                    0 => drop(pieces.remove(at)),
                    1 => pieces.insert(at, pieces[at]),
                    2 => pieces.swap(at, other),
                    3 => pieces[at] = pieces[other],
                    _ => pieces[at] = &strange,
                }
            }
            if how == 0 {
                pieces.truncate(cut.index(pieces.len() + 1));
            }
            pieces.concat()
        },
    )
}

/// A mistake lies on the text, and on the line it names.
fn check(text: &str) {
    match parse(text) {
        Ok(module) => {
            let printed = module.to_string();
            let again = parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert_eq!(placeless(&again), placeless(&module));
        }
        Err(error) => {
            let (start, end) = (error.span.start as usize, error.span.end as usize);
            assert!(start <= end && end <= text.len(), "{error:?}");
            assert_eq!(text[..start].matches('\n').count() as u32 + 1, error.span.line, "{error}");
            let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
            assert_eq!((start - line_start) as u32 + 1, error.column);
            let _shown = (&text[start..end], error.to_string());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_damaged_module_is_refused_at_its_place_or_prints_to_itself(text in damaged()) {
        check(&text);
    }

    #[test]
    fn statements_of_any_words_return(
        words in "(add|mov|ld|st|setp|bar|mma|cvt|atom|bra|brx|\\.s32|\\.u64|\\.b32|\\.f32|\\.global|\\.v4|\\.sync|\\.reg|\\.shared\
                  |%r[0-9]|%p1|%tid|\\.x|L|L:|\\[|\\]|\\{|\\}|,|;|\\+|-|@|!|\\||<|>|=|_| |0f3F800000|[0-9]{1,3}|\\.branchtargets|\\.loc){0,40}",
    ) {
        let body = ".reg .pred %p<4>; .reg .b32 %r<9>;";
        check(&format!(".version 8.4 .target sm_80 .address_size 64 .entry k {{ {body} {words} ; }}"));
        check(&format!(".version 8.4 .target sm_80 .address_size 64 {words}"));
    }

    #[test]
    fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_parse(&bytes);
        fuzz_parse(&[b".version 8.4\n.target sm_80\n.address_size 64\n", &bytes[..]].concat());
    }
}

#[test]
fn every_file_of_the_corpus_returns() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/parse");
    let mut found = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        fuzz_parse(&bytes);
        check(&String::from_utf8_lossy(&bytes));
        found += 1;
    }
    assert!(found > 0);
}

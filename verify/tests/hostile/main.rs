//! No input makes the verifier panic, hang or overrun its budget.

mod inputs;

use octo_verify::{Benchmark, Config, Extraction, Mode, Verdict, extract, verify};
use proptest::prelude::*;

/// The fuzz target: any bytes as gold and as response, in each kind of mode.
fn fuzz_verify(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (gold, response) = text.split_once('\u{1f}').unwrap_or((&text, "1"));
    let benchmark =
        Benchmark::ALL[data.iter().map(|b| usize::from(*b)).sum::<usize>() % Benchmark::ALL.len()];
    for mode in
        [Mode::Strict, Mode::MathVerify, Mode::OctoThinker(Benchmark::Math), Mode::OctoThinker(benchmark)]
    {
        let config = Config { mode, fuel: 200_000, ..Config::default() };
        verify(gold, response, &config);
        verify(response, gold, &config);
    }
    extract(&text, &Extraction::default());
}

#[test]
fn inputs_that_are_kept_do_no_harm() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        fuzz_verify(&std::fs::read(file).unwrap());
    }
}

#[test]
fn what_means_harm_is_never_equal_to_something_else() {
    for text in inputs::hostile() {
        for (gold, response) in [("1987654", text.as_str()), (&text, "1987654")] {
            let outcome = verify(gold, response, &Config::default());
            assert_ne!(outcome.verdict, Verdict::Equal, "{:?}", &text[..text.len().min(80)]);
        }
        fuzz_verify(text.as_bytes());
    }
}

/// Pieces that the grammar knows, strung together at random: deeper than bytes at random ever come.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "1",
        "23",
        "0.5",
        "x",
        "y",
        "n",
        "e",
        "i",
        "+",
        "-",
        "*",
        "/",
        "^",
        "_",
        "!",
        "%",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "|",
        ",",
        ";",
        ":",
        "=",
        "<",
        "\\le ",
        "\\ne ",
        "\\frac",
        "\\sqrt",
        "\\sqrt[3]",
        "\\sin ",
        "\\log_",
        "\\ln ",
        "\\pi ",
        "\\infty ",
        "\\cup ",
        "\\cap ",
        "\\setminus ",
        "\\in ",
        "\\mathbb{R}",
        "\\{",
        "\\}",
        "\\pm ",
        "^\\circ",
        "\\text{and}",
        "\\text{cm}",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "&",
        "\\\\",
        "\\binom",
        "\\boxed{",
        "$",
        " ",
        "and",
        "or",
        "99999999",
        "\\left",
        "\\right",
        "\\overline{3}",
        "∞",
        "½",
        "é",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|list| list.concat())
}

/// Few cases every day; `PROPTEST_CASES=1000000` for a night.
fn config() -> ProptestConfig {
    let named = std::env::var("PROPTEST_CASES").is_ok();
    ProptestConfig {
        cases: if named { ProptestConfig::default().cases } else { 2000 },
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_string_of_the_grammar_panics(gold in pieces(), response in pieces()) {
        fuzz_verify(format!("{gold}\u{1f}{response}").as_bytes());
    }

    #[test]
    fn no_bytes_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_verify(&data);
    }

    #[test]
    fn what_parses_equals_itself(text in pieces()) {
        let outcome = verify(&text, &text, &Config::default());
        prop_assert!(outcome.verdict != Verdict::NotEqual || outcome.class.is_some(), "{text}: {outcome:?}");
    }
}

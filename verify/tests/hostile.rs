//! No input makes the verifier panic, hang or overrun its budget.

use octo_verify::{Config, Extraction, extract, verify};
use proptest::prelude::*;

/// The fuzz target: any bytes as gold and as response.
fn fuzz_verify(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (gold, response) = text.split_once('\u{1f}').unwrap_or((&text, "1"));
    let config = Config { fuel: 200_000, ..Config::default() };
    verify(gold, response, &config);
    verify(response, gold, &config);
    extract(&text, &Extraction::default());
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

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
        use octo_verify::Verdict;
        let outcome = verify(&text, &text, &Config::default());
        prop_assert!(outcome.verdict != Verdict::NotEqual || outcome.class.is_some(), "{text}: {outcome:?}");
    }
}

#[test]
fn a_megabyte_is_read_in_no_time() {
    for unit in
        ["\\boxed{", "$", "{", "answer is ", "\\frac", "1,", "\\left(", "</think>", "\\begin{pmatrix}"]
    {
        fuzz_verify(unit.repeat(1_000_000 / unit.len()).as_bytes());
    }
}

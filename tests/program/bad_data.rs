//! Recipes and rows that are wrong: each error says what, where, and what to do.

use crate::folder::{Folder, MODEL, RECIPE};

/// A recipe on a file of the folder instead of generated rows.
fn recipe_on(path: &str, text: &str) -> String {
    let start = RECIPE.find("generated").unwrap();
    let end = RECIPE.find("[[stages]]").unwrap();
    format!("{}path = \"{path}\"\ntext = \"{text}\"\n\n{}", &RECIPE[..start], &RECIPE[end..])
}

/// What training on these bytes fails with; nothing is left behind.
#[track_caller]
fn training_fails(name: &str, bytes: &[u8], text: &str) -> String {
    let folder = Folder::tiny();
    folder.put(name, bytes);
    folder.put("recipe.toml", recipe_on(name, text));
    let error = folder.fail(["train", "recipe.toml"]);
    assert!(!folder.path("run").exists(), "a run that did not start left a folder");
    error
}

#[test]
fn broken_json_is_named_with_its_line_and_column() {
    let error = training_fails("rows.jsonl", b"{\"text\": \"one\"}\n\n{\"text\": }\n", "{{ text }}");
    assert_eq!(error, "error: DIR/rows.jsonl:3: broken JSON at column 10: expected value");
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_place() {
    let error = training_fails("rows.jsonl", b"{\"text\": \"one\"}\n{\"text\": \"\xff\"}\n", "{{ text }}");
    assert!(error.starts_with("error: DIR/rows.jsonl:2: not UTF-8: the first bad byte is byte "), "{error}");
    let error = training_fails("book.txt", b"fine\nfine \xc3\x28", "{{ text }}");
    assert!(error.starts_with("error: DIR/book.txt") && error.contains("not UTF-8"), "{error}");
}

#[test]
fn a_field_that_no_row_has_is_named() {
    let error = training_fails("rows.jsonl", b"{\"text\": \"one\"}\n", "{{ txt }}");
    assert!(error.contains("DIR/rows.jsonl:1") && error.contains("txt"), "{error}");
}

#[test]
fn empty_documents_are_passed_over_until_none_is_left() {
    let error = training_fails("rows.jsonl", b"{\"text\": \"\"}\n{\"text\": \" \\n \"}\n", "{{ text }}");
    assert!(error.contains("0 tokens in 0 documents are too few for one sequence"), "{error}");
    assert!(error.contains("shorten `sequence_length` or add data"), "{error}");
}

#[test]
fn an_unknown_key_is_shown_in_its_line_with_the_nearest_name() {
    let folder = Folder::tiny();
    folder.put("recipe.toml", RECIPE.replace("micro_batch_tokens = 64", "micro_batch_token = 64"));
    let error = folder.fail(["train", "recipe.toml"]);
    let line = RECIPE.lines().position(|line| line.starts_with("micro_batch_tokens")).unwrap() + 1;
    let expected = format!(
        "error: recipe.toml:{line}:1: unknown key `micro_batch_token` in `stages[0]`\n\
         \x20 {line} | micro_batch_token = 64\n\
         \x20    | ^^^^^^^^^^^^^^^^^\n\
         \x20 help: did you mean `micro_batch_tokens`?\n"
    );
    assert!(error.starts_with(&expected), "{error}\nexpected\n{expected}");
    assert!(!folder.path("run").exists());
}

#[test]
fn every_mistake_of_a_recipe_is_told_at_once() {
    let folder = Folder::tiny();
    let wrong = RECIPE.replace("seed = 3", "seeds = 3").replace("steps = 10", "steps = \"ten\"");
    folder.put("recipe.toml", wrong.replace("tokenizer.json", "tokeniser.json"));
    let error = folder.fail(["train", "recipe.toml"]);
    for part in ["did you mean `seed`?", "`stages[0].steps`", "DIR/tokeniser.json", "recipe.toml: 3 mistakes"]
    {
        assert!(error.contains(part), "{part} in {error}");
    }
    let error = folder.fail(["train", "nowhere.toml"]);
    assert!(error.contains("cannot read nowhere.toml"), "{error}");
    folder.put("recipe.toml", b"[run]\ndir = \"\xff\"");
    assert!(folder.fail(["train", "recipe.toml"]).contains("this is not UTF-8 text"));
    folder.put("recipe.toml", "[run\n");
    assert!(folder.fail(["train", "recipe.toml"]).contains("recipe.toml:1:5: not valid TOML"));
}

#[test]
fn rows_to_score_are_checked_with_file_line_and_row() {
    let folder = Folder::trained();
    let args = ["logprobs", "--model", MODEL, "--device", "cpu"];
    for (rows, says) in [
        (
            "{\"tokens\": [1, 2]}\n{\"tokens\": [1, 304]}\n",
            "row 2: token 304 at position 1 is not in the model's vocabulary of 304",
        ),
        ("{\"tokens\": [1, 2]}\n\n{\"tokens\": [1,\n", "-:3: broken row: EOF while parsing"),
        ("{\"tokens\": [-1]}\n", "-:1: broken row: invalid value: integer `-1`, expected u32"),
        ("{\"token\": [1]}\n", "-:1: broken row: unknown field `token`, expected `tokens` or `text`"),
        ("{}\n", "row 1: give either `tokens` or `text`"),
        ("{\"tokens\": [1], \"text\": \"a\"}\n", "row 1: give either `tokens` or `text`"),
        ("", "-: no rows; give one JSON object a line"),
        ("\n\n", "-: no rows; give one JSON object a line"),
    ] {
        let error = folder.fail_with(args, rows);
        assert!(error.contains(says), "{rows}: {error}");
    }
    let long: Vec<u32> = (0..129).collect();
    let error = folder.fail_with(args, &format!("{{\"tokens\": {long:?}}}"));
    assert!(
        error.contains("row 1: 129 tokens do not fit the context of 128; shorten the sequence"),
        "{error}"
    );
    folder.put("in.jsonl", b"{\"text\": \"ok\"}\n{\"text\": \"\xff\"}\n");
    let error = folder.fail(args.iter().chain(&["--input", "in.jsonl"]));
    assert!(error.contains("in.jsonl:2: not a line of UTF-8 text"), "{error}");
    let error = folder.fail(args.iter().chain(&["--input", "nowhere.jsonl"]));
    assert!(error.contains("cannot open nowhere.jsonl"), "{error}");
}

#[test]
fn rows_to_continue_are_checked() {
    let folder = Folder::trained();
    let args = ["generate", "--model", MODEL, "--device", "cpu"];
    for (rows, says) in [
        ("{\"tokens\": []}", "row 1: the prompt is empty; give at least one token"),
        ("{\"prompt\": \"\"}", "row 1: the prompt is empty; give at least one token"),
        ("{\"tokens\": [1]}\n{\"tokens\": [4000000000]}", "row 2: token 4000000000 at position 0"),
        ("{\"text\": \"a\"}", "-:1: broken row: unknown field `text`, expected `tokens` or `prompt`"),
        ("{\"tokens\": [1], \"prompt\": \"a\"}", "row 1: give either `tokens` or `prompt`"),
    ] {
        let error = folder.fail_with(args, rows);
        assert!(error.contains(says), "{rows}: {error}");
    }
}

//! The templates of docs/row-templates.md over rows shaped like the data sets they are for, from JSON lines and
//! from parquet.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use octo_rows::{Documents, Filter, Row, RowCounts, Rows, Template};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use support::{parquet, usual};

const PAGE: &str = include_str!("../../../docs/row-templates.md");

const CHAT: &str = "(LIST) { repeated group list { optional group element {
    optional binary content (STRING); optional binary role (STRING); } } }";

/// A data set in small.
struct Case {
    /// The source's name on the page.
    name: &'static str,
    /// Its columns, as published; `CHAT` stands for a list of messages.
    columns: &'static str,
    rows: Vec<Value>,
    texts: &'static [&'static str],
    /// Rows that `where` leaves out.
    filtered: u64,
    /// Rows kept that give no text.
    empty: u64,
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "web",
            columns: "optional binary text (STRING); optional binary url (STRING); optional double score;
                optional int64 date (TIMESTAMP(MILLIS,true));",
            rows: vec![
                json!({ "text": "One & <two>.\n\nThree.\n", "url": "https://example.org", "score": 0.5, "date": 1 }),
                json!({ "text": " ", "url": null, "score": null, "date": null }),
            ],
            texts: &["One & <two>.\n\nThree.\n"],
            filtered: 0,
            empty: 1,
        },
        Case {
            name: "questions",
            columns: "optional binary question (STRING); optional binary answer (STRING);",
            rows: vec![
                json!({ "question": "2 + 2?", "answer": "4" }),
                json!({ "question": "Why?", "answer": null }),
                json!({ "question": "How?", "answer": "" }),
            ],
            texts: &["2 + 2?\n4"],
            filtered: 2,
            empty: 0,
        },
        Case {
            name: "reasoning",
            columns: "optional binary question (STRING); optional binary reasoning (STRING);
                optional binary answer (STRING);",
            rows: vec![
                json!({ "question": "2 + 2?", "reasoning": "Two and two.", "answer": "4" }),
                json!({ "question": "2 + 3?", "reasoning": null, "answer": "5" }),
            ],
            texts: &["2 + 2?\n<think>\nTwo and two.\n</think>\n4"],
            filtered: 1,
            empty: 0,
        },
        Case {
            name: "openr1",
            columns: "optional binary problem (STRING); optional binary solution (STRING);
                optional binary answer (STRING); optional binary uuid (STRING);
                optional group is_reasoning_complete (LIST) { repeated group list { optional boolean element; } }
                optional group generations (LIST) { repeated group list { optional binary element (STRING); } }
                optional group correctness_math_verify (LIST) { repeated group list { optional boolean element; } }
                optional int64 correctness_count; optional group messages CHAT",
            rows: vec![
                openr1("A", Some(&["<think>\nno\n</think>\n\n1", "<think>\nyes\n</think>\n\n2", "<think>\n\n</think>\n3"]),
                    json!([null, true, true])),
                openr1("B", Some(&["<think>\nno\n</think>\n1"]), json!([false])),
                openr1("C", Some(&["<think>\nno\n</think>\n1"]), json!(null)),
                openr1("D", None, json!([])),
                openr1("E", Some(&["first"]), json!([true])),
            ],
            texts: &["A\n<think>\nyes\n</think>\n\n2", "E\nfirst"],
            filtered: 2,
            empty: 1,
        },
        Case {
            name: "openmathinstruct",
            columns: "optional binary problem (STRING); optional binary generated_solution (STRING);
                optional binary expected_answer (STRING); optional binary problem_source (STRING);",
            rows: vec![
                openmath("What is $1+1$?", "We add:\n\\[1+1=\\boxed{2}\\]", "2", "augmented_math"),
                openmath("Tom has 2 cats.", "He has \\boxed{2}.", "2", "gsm8k"),
            ],
            texts: &["What is $1+1$?\nWe add:\n\\[1+1=\\boxed{2}\\]"],
            filtered: 1,
            empty: 0,
        },
        Case {
            name: "numinamath",
            columns: "optional binary problem (STRING); optional binary solution (STRING);
                optional binary answer (STRING); optional binary problem_type (STRING);
                optional binary question_type (STRING); optional binary problem_is_valid (STRING);
                optional binary solution_is_valid (STRING); optional binary source (STRING); optional boolean synthetic;",
            rows: vec![
                numina("P1", "Algebra", ("Yes", "Yes"), false),
                numina("P2", "Algebra", ("Yes", "Incomplete"), false),
                numina("P3", "Algebra", ("Problem not solved", "Yes"), false),
                numina("P4", "Geometry", ("Yes", "Yes"), false),
                numina("P5", "Number Theory", ("Yes", "Yes"), true),
                numina("P6", "Number Theory", ("Yes", "Yes"), false),
            ],
            texts: &["P1\nS", "P6\nS"],
            filtered: 4,
            empty: 0,
        },
        Case {
            name: "wildchat",
            columns: "optional binary conversation_hash (STRING); optional binary model (STRING);
                optional int64 timestamp (TIMESTAMP(MICROS,true));
                optional group conversation (LIST) { repeated group list { optional group element {
                    optional binary content (STRING); optional binary country (STRING);
                    optional group header { optional binary accept_language (STRING); }
                    optional binary language (STRING); optional boolean redacted; optional binary role (STRING);
                    optional boolean toxic; optional int64 turn_identifier; } } }
                optional int64 turn; optional binary language (STRING);
                optional group openai_moderation (LIST) { repeated group list { optional group element {
                    optional group categories { optional boolean harassment; } optional boolean flagged; } } }
                optional boolean toxic;",
            rows: vec![
                wildchat("gpt-4-0314", "English", false, &[("user", "Hi"), ("assistant", "Hello!\n\nHow can I help?"),
                    ("user", "{{ 1 }}"), ("assistant", "2")]),
                wildchat("gpt-3.5-turbo-0301", "English", false, &[("user", "a"), ("assistant", "b")]),
                wildchat("gpt-4-0314", "German", false, &[("user", "a"), ("assistant", "b")]),
                wildchat("gpt-4-0314", "English", true, &[("user", "a"), ("assistant", "b")]),
                wildchat("gpt-4-1106-preview", "English", false, &[]),
            ],
            texts: &["User:Hi\nAssistant:Hello!\n\nHow can I help?\nUser:{{ 1 }}\nAssistant:2"],
            filtered: 4,
            empty: 0,
        },
        Case {
            name: "ultrachat",
            columns: "optional binary prompt (STRING); optional binary prompt_id (STRING);
                optional group messages CHAT",
            rows: vec![
                json!({ "prompt": "Why?", "prompt_id": "0", "messages": [{ "role": "user", "content": "Why?" },
                    { "role": "assistant", "content": "Because." }, { "role": "user", "content": "So?" },
                    { "role": "assistant", "content": "So." }] }),
                json!({ "prompt": "", "prompt_id": "1", "messages": [] }),
            ],
            texts: &["User:Why?\nAssistant:Because.\nUser:So?\nAssistant:So."],
            filtered: 0,
            empty: 1,
        },
        Case {
            name: "tulu3",
            columns: "optional binary id (STRING); optional binary prompt (STRING);
                optional group messages CHAT
                optional group constraints (LIST) { repeated group list { optional binary element (STRING); } }",
            rows: vec![
                json!({ "id": "personas_IF_1", "prompt": "Name three.", "constraints": ["format:list"],
                    "messages": [{ "role": "user", "content": "Name three." }, { "role": "assistant", "content": "1, 2, 3" }] }),
                json!({ "id": "personas_IF_2", "prompt": "x", "constraints": null,
                    "messages": [{ "role": "user", "content": "x" }] }),
            ],
            texts: &["User:Name three.\nAssistant:1, 2, 3"],
            filtered: 1,
            empty: 0,
        },
    ]
}

fn openr1(problem: &str, generations: Option<&[&str]>, verified: Value) -> Value {
    json!({ "problem": problem, "solution": "s", "answer": "2", "uuid": "0", "is_reasoning_complete": [true],
        "generations": generations, "correctness_math_verify": verified, "correctness_count": 1,
        "messages": [{ "role": "user", "content": problem }] })
}

fn openmath(problem: &str, solution: &str, answer: &str, source: &str) -> Value {
    json!({ "problem": problem, "generated_solution": solution, "expected_answer": answer, "problem_source": source })
}

fn numina(problem: &str, kind: &str, valid: (&str, &str), synthetic: bool) -> Value {
    json!({ "problem": problem, "solution": "S", "answer": "1", "problem_type": kind, "question_type": "MCQ",
        "problem_is_valid": valid.0, "solution_is_valid": valid.1, "source": "olympiads", "synthetic": synthetic })
}

fn wildchat(model: &str, language: &str, toxic: bool, turns: &[(&str, &str)]) -> Value {
    let turn = |&(role, content): &(&str, &str)| {
        json!({ "content": content, "country": "France", "header": { "accept_language": "fr" }, "language": language,
            "redacted": false, "role": role, "toxic": toxic, "turn_identifier": 1 })
    };
    json!({ "conversation_hash": "0", "model": model, "timestamp": 1_681_000_000_000_000i64,
        "conversation": turns.iter().map(turn).collect::<Vec<_>>(), "turn": turns.len() / 2, "language": language,
        "openai_moderation": [{ "categories": { "harassment": false }, "flagged": false }], "toxic": toxic })
}

/// The sources on the page: name, text, filter.
fn page() -> Vec<(String, Template, Option<Filter>)> {
    let blocks = PAGE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let sources = blocks.map(|block| {
        let recipe: toml::Table = block.parse().unwrap();
        let sources = recipe["data"]["sources"].as_table().unwrap();
        let (name, source) = sources.iter().next().unwrap();
        let filter = source.get("where").map(|filter| Filter::new(filter.as_str().unwrap()).unwrap());
        (name.clone(), Template::new(source["text"].as_str().unwrap()).unwrap(), filter)
    });
    sources.collect()
}

fn source(name: &str) -> (Template, Option<Filter>) {
    let found = page().into_iter().find(|(found, ..)| found == name);
    let (_, template, filter) = found.unwrap_or_else(|| panic!("no {name} on the page"));
    (template, filter)
}

fn texts(path: &Path, name: &str) -> (Vec<String>, RowCounts) {
    let (template, filter) = source(name);
    let mut documents = Documents::of_files(Rows::open(path.to_str().unwrap()).unwrap(), template, filter);
    let texts = documents.by_ref().map(|document| document.unwrap().text).collect();
    (texts, documents.counts())
}

fn file(suffix: &str, bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn every_template_of_the_page_gives_its_text_from_lines_and_from_columns() {
    for case in cases() {
        let Case { name, rows, .. } = &case;
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let schema = format!("message m {{ {} }}", case.columns.replace("CHAT", CHAT));
        let columns = parquet(&schema, rows, 2, usual());
        for (suffix, bytes) in [(".jsonl", lines.as_bytes()), (".parquet", &columns)] {
            let (texts, counts) = texts(file(suffix, bytes).path(), name);
            assert_eq!(texts, case.texts, "{name}{suffix}");
            let (read, filtered, empty) = (rows.len() as u64, case.filtered, case.empty);
            assert_eq!(counts, RowCounts { read, filtered, empty }, "{name}{suffix}");
        }
    }
}

#[test]
fn the_page_and_the_cases_are_the_same_set() {
    let page: BTreeSet<String> = page().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(page, cases().iter().map(|case| case.name.to_string()).collect());
}

fn render(template: &str, fields: Value) -> Result<String, String> {
    let Value::Object(fields) = fields else { panic!("an object") };
    let origin = octo_rows::Origin { file: Path::new("d.jsonl").into(), line: 7 };
    let row = Row { fields, origin, unread: Default::default() };
    Template::new(template).unwrap().render(&row).map_err(|error| error.to_string())
}

#[test]
fn the_page_says_how_to_write_fields_that_may_be_missing() {
    let ways: Vec<String> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | `{").nth(1)?.strip_suffix("` |"))
        .map(|template| format!("{{{}", template.replace("\\|", "|")))
        .collect();
    let here = || json!({ "hint": "h", "answers": ["a"] });
    let null = || json!({ "hint": null, "answers": [] });
    let missing = || json!({ "answers": [] });
    let strict = "d.jsonl:7: no field `hint` for the template; the row has `answers`";
    let nulls = "d.jsonl:7: the template writes `hint`, which is null; filter such rows with `where`, or write \
                 `{{ hint or \"\" }}`";
    let expected = [
        [Ok("h"), Err(nulls), Ok("")],
        [Ok("h"), Ok(""), Err(strict)],
        [Ok("h"), Ok(""), Ok("")],
        [Ok("Hint: h"), Ok(""), Ok("")],
        [Ok("a"), Ok(""), Ok("")],
    ];
    assert_eq!(ways.len(), expected.len(), "{ways:?}");
    for (way, expected) in ways.iter().zip(expected) {
        for (fields, expected) in [here(), null(), missing()].into_iter().zip(expected) {
            let found = render(way, fields);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{way}");
        }
    }
    assert!(PAGE.contains("| only rows that have the field | `where = \"hint\"` |"));
}

#[test]
fn what_a_list_lacks_is_named_as_the_template_writes_it() {
    let chat = "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}";
    let cases = [
        (
            chat,
            json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "user" }] }),
            "no field `m.content | trim` for the template; the row has `messages`",
        ),
        (
            chat,
            json!({ "messages": [{ "role": null, "content": "a" }] }),
            "the template writes `m.role`, which is null; filter such rows with `where`, or write `{{ m.role or \"\" }}`",
        ),
        (chat, json!({ "messages": 3 }), "not iterable, in `for m in messages`"),
        (chat, json!({ "prompt": "a" }), "no field `messages` for the template; the row has `prompt`"),
        (
            "{{ messages[0].content }}",
            json!({ "messages": [] }),
            "no field `messages[0].content` for the template; the row has `messages`",
        ),
        (
            "{{ messages[1] }}",
            json!({ "messages": ["a"] }),
            "no field `messages[1]` for the template; the row has `messages`",
        ),
    ];
    for (template, fields, expected) in cases {
        let error = render(template, fields).unwrap_err();
        assert!(error.starts_with("d.jsonl:7: ") && error.contains(expected), "{template}: {error}");
    }
    for nothing in [json!([]), Value::Null] {
        assert_eq!(render(chat, json!({ "messages": nothing })).as_deref(), Ok(""));
    }
}

#[test]
fn columns_that_were_left_alone_are_named_beside_the_missing_one() {
    let schema = "message m { required binary question (STRING); required binary reply (STRING); }";
    let rows = [json!({ "question": "q", "reply": "r" })];
    let file = file(".parquet", &parquet(schema, &rows, 1, usual()));
    let template = Template::new("{{ question }} {{ answer }}").unwrap();
    let rows = Rows::open(file.path().to_str().unwrap()).unwrap();
    let error = Documents::of_files(rows, template, None).next().unwrap().unwrap_err().to_string();
    assert!(
        error.ends_with(":1: no field `answer` for the template; the row has `question`, `reply`"),
        "{error}"
    );
}

#[test]
fn a_column_that_only_a_branch_of_the_template_uses_is_read() {
    let schema =
        "message m { required boolean a; required binary x (STRING); required binary kind (STRING); }";
    let rows =
        [json!({ "a": true, "x": "column", "kind": "k" }), json!({ "a": false, "x": "column", "kind": "k" })];
    let file = file(".parquet", &parquet(schema, &rows, 2, usual()));
    let template = Template::new("{% if a %}{% set x = 'set' %}{% endif %}{{ x }}").unwrap();
    let filter = Filter::new("kind == 'k'").unwrap();
    let rows = Rows::open(file.path().to_str().unwrap()).unwrap();
    let texts: Vec<_> = Documents::of_files(rows, template, Some(filter)).map(|d| d.unwrap().text).collect();
    assert_eq!(texts, ["set", "column"]);
}

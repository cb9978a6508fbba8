//! `generate` and `logprobs` on a trained model.

use crate::folder::{Folder, MODEL, Outcome, json_lines};
use serde_json::{Value, json};
use std::path::Path;

fn generate(folder: &Folder, rows: &[Value], more: &[&str]) -> Vec<Value> {
    let args = ["generate", "--model", MODEL, "--device", "cpu", "--output", "-"];
    json_lines(&run(folder, args.iter().chain(more), rows).stdout)
}

fn logprobs(folder: &Folder, rows: &[Value], more: &[&str]) -> Vec<Value> {
    let args = ["logprobs", "--model", MODEL, "--device", "cpu", "--output", "-"];
    json_lines(&run(folder, args.iter().chain(more), rows).stdout)
}

fn run<'a>(folder: &Folder, args: impl Iterator<Item = &'a &'a str>, rows: &[Value]) -> Outcome {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let outcome = folder.run_with(args, &lines);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    outcome
}

fn tokens(row: &Value) -> Vec<u32> {
    serde_json::from_value(row["tokens"].clone()).unwrap()
}

fn numbers(row: &Value) -> Vec<f64> {
    serde_json::from_value(row["logprobs"].clone()).unwrap()
}

fn text(row: &Value) -> &str {
    row["text"].as_str().unwrap()
}

fn prompts() -> Vec<Value> {
    let long: Vec<u32> = (0..90).map(|i| (i * 37 + 5) % 300).collect();
    vec![
        json!({"prompt": "Ann has 3 apples."}),
        json!({"tokens": [7]}),
        json!({"tokens": long}),
        json!({"prompt": "Tom buys 12 pencils and gives 5 of them to a friend. How many"}),
    ]
}

#[test]
fn what_is_drawn_scores_exactly_as_it_was_drawn() {
    let folder = Folder::trained();
    let prompt_tokens: Vec<Vec<u32>> = prompts()
        .iter()
        .map(|row| match row.get("prompt") {
            // `logprobs` says how it cuts a text.
            Some(prompt) => tokens(&logprobs(&folder, &[json!({"text": prompt})], &[])[0]),
            None => tokens(row),
        })
        .collect();
    for sampling in [&["--temperature", "0"][..], &["--temperature", "1.1", "--top-p", "0.95", "--seed", "4"]]
    {
        let more = [&["--max-new-tokens", "20", "--ignore-eos"], sampling].concat();
        let drawn = generate(&folder, &prompts(), &more);
        let whole: Vec<Value> = prompt_tokens
            .iter()
            .zip(&drawn)
            .map(|(prompt, row)| json!({"tokens": ([prompt.clone(), tokens(row)].concat())}))
            .collect();
        for ((scored, row), prompt) in logprobs(&folder, &whole, &[]).iter().zip(&drawn).zip(&prompt_tokens) {
            assert_eq!((tokens(row).len(), row["finish_reason"].as_str()), (20, Some("length")));
            assert_eq!(numbers(scored)[prompt.len() - 1..], numbers(row));
        }
    }
}

#[test]
fn neither_company_nor_threads_change_a_line() {
    let folder = Folder::trained();
    let with = |rows: &[Value], seed: usize, more: &[&str]| {
        let seed = seed.to_string();
        let fixed = ["--max-new-tokens", "20", "--temperature", "1", "--seed", seed.as_str()];
        generate(&folder, rows, &[&fixed, more].concat())
    };
    let together = with(&prompts(), 50, &["--threads", "2"]);
    // Prompt i draws with seed + i.
    for (i, row) in prompts().into_iter().enumerate() {
        assert_eq!(with(&[row], 50 + i, &["--threads", "1"]), together[i..=i]);
    }
    assert_eq!(with(&prompts(), 50, &["--threads", "3"]), together);
    let three = with(&prompts(), 50, &["--n", "3"]);
    assert_eq!(three.iter().step_by(3).cloned().collect::<Vec<_>>(), together);
    assert_ne!(three[0], three[1]);
    assert_ne!(three[1], three[2]);
    assert_ne!(with(&prompts(), 51, &[]), together);
}

#[test]
fn a_stop_string_ends_the_text_before_it_wherever_tokens_are_cut() {
    let folder = Folder::trained();
    let fixed = ["--max-new-tokens", "40", "--temperature", "1", "--ignore-eos", "--seed", "2"];
    let row = json!({"prompt": "Ann has 3"});
    let free = generate(&folder, std::slice::from_ref(&row), &fixed).remove(0);
    let all: Vec<char> = text(&free).chars().collect();
    assert!(all.len() > 30, "{all:?}");
    let mut stopped = 0;
    for (start, length) in [(3, 1), (7, 2), (11, 3), (16, 5), (20, 9)] {
        let stop: String = all[start..start + length].iter().collect();
        if stop.contains(char::REPLACEMENT_CHARACTER) {
            continue;
        }
        stopped += 1;
        let more = [&fixed[..], &["--stop", &stop, "--stop", "never said"]].concat();
        let cut = generate(&folder, std::slice::from_ref(&row), &more).remove(0);
        let (before, _) = text(&free).split_once(&stop).unwrap();
        assert_eq!((text(&cut), cut["finish_reason"].as_str()), (before, Some("stop")), "stop {stop:?}");
        let (some, every) = (tokens(&cut), tokens(&free));
        assert!(some.len() < every.len() && every.starts_with(&some));
        assert_eq!(numbers(&cut), numbers(&free)[..some.len()]);
    }
    assert!(stopped >= 3, "most of the text was no text: {all:?}");
}

#[test]
fn end_of_text_ends_a_continuation_unless_it_is_ignored() {
    let folder = Folder::trained();
    let config: Value = serde_json::from_slice(&folder.read(&format!("{MODEL}/config.json"))).unwrap();
    let eos = config["eos_token_id"].as_u64().unwrap() as u32;
    let fixed = ["--max-new-tokens", "60", "--temperature", "1.5", "--n", "24", "--seed", "1"];
    let row = [json!({"prompt": "Ann"})];
    let (ending, endless) =
        (generate(&folder, &row, &fixed), generate(&folder, &row, &[&fixed[..], &["--ignore-eos"]].concat()));
    let mut ended = 0;
    for (short, long) in ending.iter().zip(&endless) {
        assert_eq!(tokens(long).len(), 60);
        let end = tokens(long).iter().position(|&t| t == eos);
        let expected = end.map_or((60, "length"), |end| (end + 1, "stop"));
        assert_eq!((tokens(short).len(), short["finish_reason"].as_str().unwrap()), expected);
        assert!(!text(short).contains("<|endoftext|>"));
        ended += usize::from(end.is_some());
    }
    assert!(ended > 0, "no continuation drew the end of text");
}

#[test]
fn text_goes_to_people_and_lines_go_to_files() {
    let folder = Folder::trained();
    let prompt = ["--prompt", "Ann has 3", "--max-new-tokens", "8"];
    let args = ["generate", "--model", MODEL, "--device", "cpu"];
    let lines = folder.succeed(args.iter().chain(&prompt).chain(&["--output", "-"])).stdout;
    let shown = folder.succeed(args.iter().chain(&prompt)).stdout;
    assert_eq!(shown, format!("{}\n", text(&json_lines(&lines)[0])));
    let outcome = folder.succeed(args.iter().chain(&prompt).chain(&["--output", "out.jsonl"]));
    assert_eq!((outcome.stdout.as_str(), folder.read("out.jsonl")), ("", lines.into_bytes()));

    folder.put("in.jsonl", "{\"text\": \"Ann has 3 apples.\"}\n\n{\"tokens\": [5, 6, 7]}\n");
    let args = ["logprobs", "--model", MODEL, "--device", "cpu", "--input", "in.jsonl"];
    let summary = folder.succeed(args).stdout;
    assert!(summary.contains("row 2: 3 tokens, log-probability -"), "{summary}");
    let rows = json_lines(&folder.succeed(args.iter().chain(&["--output", "-"])).stdout);
    assert_eq!(tokens(&rows[1]), [5, 6, 7]);
    assert!(rows.iter().all(|row| numbers(row).len() + 1 == tokens(row).len()));
}

#[test]
fn prompts_and_stop_strings_may_begin_with_a_hyphen() {
    let folder = Folder::trained();
    let args = ["generate", "--model", MODEL, "--device", "cpu", "--max-new-tokens", "4"];
    let hyphens = ["--prompt", "-3 + 5", "--stop", "--", "--output", "-"];
    let lines = json_lines(&folder.succeed(args.iter().chain(&hyphens)).stdout);
    assert_eq!(lines, generate(&folder, &[json!({"prompt": "-3 + 5"})], &["--max-new-tokens", "4"]));
}

#[test]
fn a_model_without_a_tokenizer_takes_tokens() {
    let folder = Folder::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/model/tests/golden/qwen2_bias");
    let golden: Value = serde_json::from_slice(&std::fs::read(model.join("golden.json")).unwrap()).unwrap();
    let model = model.to_str().unwrap();
    let row = json!({"tokens": golden["generate"]["prompt"]}).to_string();
    let args = ["generate", "--model", model, "--device", "cpu", "--max-new-tokens", "20", "--ignore-eos"];
    let expected = &golden["generate"]["tokens"];
    let outcome = folder.run_with(args.iter().chain(&["--output", "-"]), &row);
    assert_eq!(&json_lines(&outcome.stdout)[0]["tokens"], expected, "{}", outcome.stderr);
    let shown = folder.run_with(args, &row).stdout;
    assert_eq!(&serde_json::from_str::<Value>(&shown).unwrap(), expected);
    let error = folder.fail_with(args, "{\"prompt\": \"Ann\"}");
    assert_eq!(error, "error: row 1: the model directory has no tokenizer.json; give tokens");
    let error = folder.fail_with(args.iter().chain(&["--stop", "."]), &row);
    assert_eq!(error, "error: --stop needs a tokenizer.json in the model directory");
}

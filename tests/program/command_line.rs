//! Help, usage and exit codes.

use crate::folder::{Folder, MODEL};

#[test]
fn help_says_what_each_command_takes() {
    let folder = Folder::new();
    for (name, args) in [
        ("help", &["--help"][..]),
        ("help_train", &["train", "--help"]),
        ("help_generate", &["generate", "--help"]),
        ("help_logprobs", &["logprobs", "--help"]),
        ("help_data", &["data", "--help"]),
        ("help_data_inspect", &["data", "inspect", "--help"]),
        ("help_data_tokenize", &["data", "tokenize", "--help"]),
        ("help_data_train_tokenizer", &["data", "train-tokenizer", "--help"]),
    ] {
        let outcome = folder.succeed(args);
        assert_eq!(outcome.stderr, "");
        insta::assert_snapshot!(name, outcome.stdout);
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let folder = Folder::new();
    for (args, says) in [
        (&[][..], "Usage: octo-engine <COMMAND>"),
        (&["tain"], "a similar subcommand exists: 'train'"),
        (&["train"], "<RECIPE>"),
        (&["train", "r.toml", "--no-paths"], "--dry-run"),
        (&["train", "r.toml", "--step", "3"], "unexpected argument '--step'"),
        (&["generate", "--prompt", "a"], "--model <DIR>"),
        (&["generate", "--model", "m", "--prompt", "a", "--input", "b"], "cannot be used with"),
        (&["generate", "--model", "m", "--n", "0"], "0 is not in 1.."),
        (&["generate", "--model", "m", "--max-new-tokens", "-1"], "unexpected argument '-1'"),
        (&["logprobs", "--model", "m", "--device", "gpu"], "not a device; devices are auto, cpu, cuda, sim"),
        (&["logprobs", "--model", "m", "--threads", "0"], "--threads"),
        (&["logprobs", "--model", "m", "--context", "0"], "--context"),
        (&["data"], "train-tokenizer"),
        (&["data", "inspect"], "<RECIPE>"),
        (&["data", "inspect", "--shards", "s"], "--tokenizer <PATH>"),
        (&["data", "inspect", "r.toml", "--shards", "s", "--tokenizer", "t"], "cannot be used with"),
        (&["data", "tokenize", "--tokenizer", "t", "--output", "o"], "--input <PATH>..."),
        (&["data", "tokenize", "--add-bos", "--no-bos"], "cannot be used with"),
        (&["data", "train-tokenizer", "--vocab-size", "300", "--output", "t"], "<INPUT>"),
    ] {
        let outcome = folder.run(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(says), "{args:?}: {}", outcome.stderr);
    }
}

#[test]
fn numbers_beyond_reason_are_errors_or_the_limit() {
    let folder = Folder::trained();
    let args = ["generate", "--model", MODEL, "--device", "cpu", "--prompt", "Ann", "--ignore-eos"];
    let most = usize::MAX.to_string();
    // The model's context ends it.
    let outcome = folder.succeed(args.iter().chain(&["--max-new-tokens", &most, "--output", "-"]));
    let line: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let drawn = line["tokens"].as_array().unwrap().len();
    assert!((100..128).contains(&drawn) && line["finish_reason"] == "length", "{drawn} tokens");
    let short = folder.succeed(args.iter().chain(&["--max-new-tokens", "0", "--output", "-"])).stdout;
    assert_eq!(short, "{\"tokens\":[],\"text\":\"\",\"logprobs\":[],\"finish_reason\":\"length\"}\n");
    for (option, value, says) in [
        ("--temperature", "-1", "temperature is -1; expected 0 or more"),
        ("--temperature", "nan", "temperature is NaN; expected 0 or more"),
        ("--top-p", "0", "top_p is 0; expected more than 0, at most 1"),
        ("--min-p", "1", "min_p is 1; expected 0 or more, less than 1"),
        ("--stop", "", "stop string 0 is empty: it would stop before the first token; remove it"),
        ("--context", "2", "tokens fills the context of 2; shorten the prompt"),
    ] {
        let option = format!("{option}={value}");
        let error = folder.fail(args.iter().copied().chain([option.as_str()]));
        assert!(error.contains(says), "{option}: {error}");
    }
}

#[test]
fn a_device_that_cannot_compute_a_model_is_one_clear_error() {
    let folder = Folder::trained();
    let train = |more: &[&str]| {
        let args = ["train", "recipe.toml", "--set", "run.dir=other"];
        folder.fail(args.iter().copied().chain(more.iter().flat_map(|set| ["--set", set])))
    };
    let mut errors = vec![(
        train(&["run.device=sim", "model.weights=f32"]),
        "weights = \"f32\" cannot be had on device `sim`",
    )];
    if !std::path::Path::new("/dev/nvidiactl").exists() {
        let generate = ["generate", "--model", MODEL, "--prompt", "a", "--device", "cuda"];
        errors.push((folder.fail(generate), "device `cuda` cannot be used: "));
        errors.push((train(&["run.device=cuda"]), "device `cuda` cannot be used: "));
    }
    for (error, says) in errors {
        assert!(error.contains(says) && error.contains("run.device=cpu"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
    assert!(!folder.path("other").exists());
}

#[test]
fn a_tokenizer_has_the_size_asked_for_and_trains_on_files_too() {
    let folder = Folder::new();
    folder.tokenizer();
    let again = folder.read("tokenizer.json");
    folder.tokenizer();
    assert!(folder.read("tokenizer.json") == again, "the same text makes the same tokenizer");
    folder.put("a.jsonl", "{\"body\": \"the cat and the hat and the bat\"}\n".repeat(20));
    let args = ["data", "train-tokenizer", "a.jsonl", "--text", "{{ body }}", "--special", "<end>"];
    let outcome = folder.succeed(args.iter().chain(&["--vocab-size", "262", "--output", "t.json"]));
    assert_eq!(outcome.stdout, "262 tokens in t.json\n");
    let json: serde_json::Value = serde_json::from_slice(&folder.read("t.json")).unwrap();
    assert_eq!(json["added_tokens"][0]["content"], "<end>");
    let error = folder.fail(args.iter().chain(&["--vocab-size", "100", "--output", "u.json"]));
    assert!(error.contains("a vocabulary of 100 tokens is too small"), "{error}");
    folder.put("a.jsonl", "{\"body\": \"the cat\"}\n{\"body\": 1\n");
    let error = folder.fail(args.iter().chain(&["--vocab-size", "262", "--output", "u.json"]));
    assert!(error.contains("a.jsonl:2: broken JSON"), "{error}");
    assert!(!folder.path("u.json").exists());
}

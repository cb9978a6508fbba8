//! Data tokenised once: `data tokenize`, `data inspect --shards`, and training on what they make.

use crate::folder::{Folder, MODEL, RECIPE};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// A folder with the tests' tokenizer and rows about apples in two files.
fn apples(rows: usize) -> Folder {
    let folder = Folder::new();
    folder.tokenizer();
    let row = |i: usize| {
        let (a, b) = (i * 7 % 90, i * 13 % 70);
        let question = format!("Ann has {a} apples and finds {b} more in box {i}. How many apples?");
        json!({ "question": question, "answer": (a + b).to_string() }).to_string() + "\n"
    };
    folder.put("data/a.jsonl", (0..rows / 3).map(row).collect::<String>());
    folder.put("data/b.jsonl", (rows / 3..rows).map(row).collect::<String>());
    folder
}

const TOKENIZE: [&str; 9] = [
    "data",
    "tokenize",
    "--tokenizer",
    "tokenizer.json",
    "--text",
    "{{ question }} {{ answer }}",
    "--input",
    "data",
    "--output",
];

/// Every file of a folder.
fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let each = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(each).collect()
}

/// Whole shards in an unfinished folder.
fn shards_in(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
    entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".ds.metadata")).count()
}

#[test]
fn a_run_on_shards_is_the_run_on_the_files_they_were_made_of() {
    let folder = apples(60);
    let outcome = folder.succeed(TOKENIZE.iter().chain(&["shards", "--tokens-per-file", "700"]));
    assert!(outcome.stdout.starts_with("rows     60 read, 0 filtered, 0 empty\nshards   60 documents, "));
    assert!(outcome.stdout.contains(" files: shards"), "{}", outcome.stdout);
    assert!(outcome.stderr.starts_with("1 file: "), "{}", outcome.stderr);
    let generated = r#"generated = { kind = "word-problems", rows = 60, seed = 1 }"#;
    for name in ["data", "shards"] {
        folder.put("recipe.toml", RECIPE.replacen(generated, &format!("path = \"{name}\""), 1));
        let dir = format!("run.dir={name}-run");
        let outcome = folder.succeed(["train", "recipe.toml", "--set", &dir]);
        let told = if name == "data" { "(60 rows read" } else { " tokenised file" };
        assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    }
    let metrics = |name: &str| -> Vec<Value> {
        let mut lines = folder.lines(&format!("{name}-run/metrics.jsonl"));
        lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("tokens_per_sec")));
        lines
    };
    assert_eq!(metrics("data"), metrics("shards"));
    let model = |name: &str| {
        folder.read(
            &MODEL.replacen("run", &format!("{name}-run"), 1).replace("model", "model/model.safetensors"),
        )
    };
    assert!(model("data") == model("shards"));
}

#[test]
fn killed_anywhere_and_started_again_the_files_are_the_same() {
    let folder = apples(1500);
    let whole = TOKENIZE.iter().copied().chain(["whole", "--tokens-per-file", "2000"]);
    folder.succeed(whole);
    let whole = bytes(&folder.path("whole"));
    assert!(whole.len() > 60, "{} files", whole.len());
    let work = folder.path("killed.unfinished");
    let mut kills = 0;
    // How many more shards each start may write before it is killed.
    for (start, more) in [0, 1, 5, 0, 3, 8].into_iter().enumerate() {
        let before = shards_in(&work);
        let threads = (start % 3 + 1).to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_octo-engine"))
            .args(TOKENIZE.iter().copied().chain([
                "killed",
                "--tokens-per-file",
                "2000",
                "--threads",
                &threads,
            ]))
            .current_dir(folder.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while shards_in(&work) < before + more && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        // SIGKILL.
        child.kill().unwrap();
        kills += usize::from(child.wait().unwrap().code().is_none());
    }
    assert!(kills > 2, "{kills} starts were killed");
    if !folder.path("killed").exists() {
        folder.succeed(TOKENIZE.iter().copied().chain(["killed", "--tokens-per-file", "2000"]));
    }
    assert!(bytes(&folder.path("killed")) == whole);
    assert!(!work.exists());
}

#[test]
fn what_a_killed_start_left_is_refused_to_another_job() {
    let folder = apples(30);
    // A start that ends at a broken row.
    let good = folder.read("data/b.jsonl");
    folder.put("data/b.jsonl", [&good, &b"{\"question\"\n"[..]].concat());
    let args = || TOKENIZE.iter().copied().chain(["shards", "--tokens-per-file", "300"]);
    let error = folder.fail(args());
    assert!(error.contains("data/b.jsonl:21: broken JSON"), "{error}");
    assert!(shards_in(&folder.path("shards.unfinished")) > 0 && !folder.path("shards").exists());
    let error = folder.fail(["data", "inspect", "--shards", "shards", "--tokenizer", "tokenizer.json"]);
    assert!(error.contains("but shards.unfinished: run `data tokenize` again to go on with it"), "{error}");
    folder.put("data/b.jsonl", &good);
    let error = folder.fail(args());
    assert!(error.contains("`shards.unfinished` was begun otherwise: data/b.jsonl had "), "{error}");
    assert!(error.ends_with("give another --output, or --fresh to begin anew"), "{error}");
    folder.succeed(args().chain(["--fresh"]));
    let error = folder.fail(args());
    assert!(error.contains("shards exists already and is never overwritten"), "{error}");
}

#[test]
fn filters_ends_and_names_are_as_asked_for() {
    let folder = apples(9);
    let options = ["--where", "answer == '20'", "--no-eos", "--tokenizer-name", "apples/tokenizer"];
    let outcome = folder.succeed(TOKENIZE.iter().chain(&["shards"]).chain(&options));
    assert!(outcome.stdout.starts_with("rows     9 read, 8 filtered, 0 empty\nshards   1 documents"));
    let metadata = String::from_utf8(folder.read("shards/00000.ds.metadata")).unwrap();
    assert!(metadata.starts_with("apples/tokenizer|2\n"), "{metadata}");
    let card: Value = serde_json::from_slice(&folder.read("shards/shards.json")).unwrap();
    assert_eq!((&card["eos"], &card["where"]), (&Value::Null, &json!("answer == '20'")));
    let error = folder.fail(TOKENIZE.iter().chain(&["other", "--add-bos"]));
    assert!(error.contains("the tokenizer's post-processor adds no bos"), "{error}");
    let error = folder.fail(TOKENIZE.iter().chain(&["other", "--where", "answer =="]));
    assert!(error.contains("the filter `answer ==` is not valid"), "{error}");
    assert!(!folder.path("other.unfinished").exists());
}

#[test]
fn documents_of_shards_are_shown_as_text() {
    let folder = apples(12);
    folder.succeed(TOKENIZE.iter().chain(&["shards", "--tokens-per-file", "200"]));
    let inspect = ["data", "inspect", "--shards", "shards", "--tokenizer", "tokenizer.json"];
    let shown = folder.succeed(inspect.iter().chain(&["--document", "0", "--document", "11"])).stdout;
    assert!(shown.contains(" files, 12 documents, ") && shown.contains("tokenised with `/"), "{shown}");
    assert!(shown.contains("\ndocument 0, shards/00000.ds document 0: "), "{shown}");
    let text = "  | Ann has 0 apples and finds 0 more in box 0. How many apples? 0<|endoftext|>\n";
    assert!(shown.contains(text), "{shown}");
    assert!(shown.contains("box 11. How many apples? 80<|endoftext|>"), "{shown}");
    let error = folder.fail(inspect.iter().chain(&["--document", "12"]));
    assert!(error.contains("there is no document 12; the last is 11"), "{error}");
    let args = ["data", "train-tokenizer", "--generated", "9", "--vocab-size", "290", "--output", "t.json"];
    folder.succeed(args.iter().chain(&["--text", "{{ answer }}"]));
    let error = folder.fail(["data", "inspect", "--shards", "shards", "--tokenizer", "t.json"]);
    assert!(error.contains("was tokenised with another tokenizer than this one"), "{error}");
}

#[test]
fn a_batch_of_a_recipe_is_shown_with_its_cuts_and_places() {
    let folder = apples(30);
    folder.succeed(TOKENIZE.iter().chain(&["shards"]));
    let generated = r#"generated = { kind = "word-problems", rows = 60, seed = 1 }"#;
    let mut shown = Vec::new();
    for (path, place) in [("data", "DIR/data/"), ("shards", "DIR/shards/00000.ds document ")] {
        let recipe = RECIPE.replacen(generated, &format!("path = \"{path}\""), 1);
        // So long that every sequence has a document's end in it.
        let recipe = recipe.replacen("sequence_length = 32", "sequence_length = 64", 1);
        folder.put("recipe.toml", recipe.replacen("batch_tokens = 64", "batch_tokens = 128", 1));
        let outcome = folder.succeed(["data", "inspect", "recipe.toml", "--step", "3", "--micro", "0"]);
        let dir = std::fs::canonicalize(folder.path("")).unwrap();
        let text = outcome.stdout.replace(dir.to_str().unwrap(), "DIR");
        assert!(text.starts_with("step 3, micro-batch 0 of 1: 2 sequences of 64 tokens, "), "{text}");
        assert!(text.contains("\nsequence 1: source problems, epoch 0, window "), "{text}");
        assert!(text.contains(place), "{text}");
        assert!(text.contains(", positions 0..=") && text.contains(", no label at "), "{text}");
        // All but the places is the same.
        let line = |line: &str| line.split(", DIR").next().unwrap().to_owned();
        shown.push(text.lines().map(line).collect::<Vec<_>>());
    }
    assert_eq!(shown[0], shown[1]);
    let error = folder.fail(["data", "inspect", "recipe.toml", "--step", "11"]);
    assert!(error.contains("--step 11 is none: the last step is 10"), "{error}");
    let error = folder.fail(["data", "inspect", "recipe.toml", "--micro", "2"]);
    assert!(error.contains("--micro 2 is none: the last micro-batch of a step is 0"), "{error}");
}

#[test]
fn a_mixture_of_files_and_shards_goes_on_where_it_stopped() {
    let folder = apples(60);
    folder.succeed(TOKENIZE.iter().chain(&["shards"]));
    let mixed = "[data.sources.apples]\npath = \"shards\"\n\n[[stages]]\n\
                 mixture = { apples = 0.3, problems = 0.7 }\n";
    let recipe = RECIPE.replacen("[[stages]]\n", mixed, 1);
    let schedule = r#"{ shape = "linear", lr = 1e-2, warmup_steps = 2 }"#;
    folder.put("recipe.toml", recipe.replacen(schedule, r#"{ shape = "constant", lr = 1e-2 }"#, 1));
    let train = |dir: &str, steps: u32| {
        let sets = [format!("run.dir={dir}"), format!("stages.0.steps={steps}")];
        folder.succeed(["train", "recipe.toml", "--set", &sets[0], "--set", &sets[1]]).stderr
    };
    let told = train("whole", 10);
    assert!(told.contains(" passes over apples, ") && told.contains(" passes over problems"), "{told}");
    train("parts", 4);
    train("parts", 7);
    train("parts", 10);
    let model = "checkpoints/latest/model/model.safetensors";
    assert!(folder.read(&format!("whole/{model}")) == folder.read(&format!("parts/{model}")));
    let state = |dir: &str| folder.read(&format!("{dir}/checkpoints/latest/state/data.json"));
    assert_eq!(state("whole"), state("parts"));
    // Ten steps of four sequences of 32 tokens: 12 of 40 from the one, 28 from the other.
    let state: Value = serde_json::from_slice(&state("whole")).unwrap();
    let taken = |name: &str| state["sources"][name]["tokens"].as_u64().unwrap();
    assert_eq!((taken("apples"), taken("problems")), (12 * 32, 28 * 32));
    let shown = folder.succeed(["data", "inspect", "recipe.toml", "--micro", "1"]).stdout;
    assert!(shown.contains("source problems, ") && shown.contains("/shards/00000.ds document "), "{shown}");
}

#[test]
fn shards_of_others_show_what_they_begin_with() {
    let folder = apples(60);
    folder.succeed(TOKENIZE.iter().chain(&["shards"]));
    for name in ["00000.ds", "00000.ds.index"] {
        folder.put(&format!("theirs/{name}"), folder.read(&format!("shards/{name}")));
    }
    let generated = r#"generated = { kind = "word-problems", rows = 60, seed = 1 }"#;
    folder.put("recipe.toml", RECIPE.replacen(generated, "path = \"theirs/*.ds\"", 1));
    let told = folder.succeed(["train", "recipe.toml"]).stderr;
    assert!(
        told.contains("tokens in 1 tokenised file\n         begins with \"Ann has 0 apples and"),
        "{told}"
    );
    // Ids that this tokenizer does not have.
    folder.put("theirs/00000.ds", [0xff; 2].repeat(folder.read("theirs/00000.ds").len() / 2));
    let error = folder.fail(["train", "recipe.toml", "--set", "run.dir=other"]);
    assert!(error.contains("token 0 has the id 65535, outside the vocabulary of 304"), "{error}");
}

#[test]
fn a_run_on_damaged_shards_does_not_begin() {
    let folder = apples(60);
    folder.succeed(TOKENIZE.iter().chain(&["shards"]));
    let generated = r#"generated = { kind = "word-problems", rows = 60, seed = 1 }"#;
    folder.put("recipe.toml", RECIPE.replacen(generated, "path = \"shards\"", 1));
    let whole = folder.read("shards/00000.ds");
    folder.put("shards/00000.ds", &whole[..whole.len() - 2]);
    let error = folder.fail(["train", "recipe.toml"]);
    assert!(error.contains("shards/00000.ds` is damaged or not what it seems: it has "), "{error}");
    std::fs::remove_file(folder.path("shards/00000.ds")).unwrap();
    let error = folder.fail(["train", "recipe.toml"]);
    assert!(error.contains("shards"), "{error}");
    assert!(!folder.path("run").exists());
}

//! `eval`: models on tasks, stored responses, results, comparisons.

use crate::folder::{Folder, MODEL, RECIPE, json_lines};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};

/// Which word stands behind which: what the tiny model learns by heart.
const WORDS: [(&str, &str); 12] = [
    ("cat", "7"),
    ("dog", "12"),
    ("cow", "3"),
    ("hen", "40"),
    ("pig", "5"),
    ("fox", "81"),
    ("owl", "9"),
    ("bee", "66"),
    ("ant", "2"),
    ("elk", "17"),
    ("ram", "4"),
    ("yak", "30"),
];

const TASK: &str = "about = \"Words and their numbers\"\ndata = \"words.jsonl\"\nprompt = \"{{ word }} is\"\n\
                    gold = \"{{ number }}\"\nid = \"{{ word }}\"\nstop = [\"\\n\"]\nmax_new_tokens = 12\n\
                    benchmark = \"gsm8k\"\n";

/// A model that has learnt the words, and a task over them whose every third gold answer is another.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.tokenizer();
    let lines = |wrong: usize| -> String {
        let number = |(at, (_, number)): (usize, &(&str, &str))| match at % wrong {
            2 => "1".to_owned(),
            _ => (*number).to_owned(),
        };
        let line =
            |word: (usize, &(&str, &str))| format!("{}\n", json!({"word": word.1.0, "number": number(word)}));
        WORDS.iter().enumerate().map(line).collect()
    };
    folder.put("learn.jsonl", lines(usize::MAX));
    folder.put("data/words.jsonl", lines(3));
    folder.put("tasks/words.toml", TASK);
    let (head, _) = RECIPE.split_once("[[validation]]").unwrap();
    let recipe = head
        .replace("generated = { kind = \"word-problems\", rows = 60, seed = 1 }", "path = \"learn.jsonl\"")
        .replace("{{ question }} {{ answer }}", "{{ word }} is {{ number }}.\\n")
        .replace("steps = 10", "steps = 120")
        .replace("batch_tokens = 128", "batch_tokens = 256")
        .replace("micro_batch_tokens = 64", "micro_batch_tokens = 256");
    folder.put("recipe.toml", recipe + "\n[checkpoints]\nevery_steps = 40\nkeep = 3\n");
    folder.succeed(["train", "recipe.toml"]);
    folder
}

const EVAL: [&str; 9] =
    ["eval", MODEL, "--device", "cpu", "--tasks", "words", "--task-dir", "tasks", "--data=data"];

/// Everything in the folder of results of the only model, file by file; names and content without times.
fn results(folder: &Folder, out: &str) -> Vec<(String, String)> {
    let models: Vec<_> = fs::read_dir(folder.path(out)).unwrap().map(|e| e.unwrap().path()).collect();
    let model = models.iter().find(|path| path.is_dir()).unwrap();
    let mut found = Vec::new();
    for path in fs::read_dir(model).unwrap().map(|e| e.unwrap().path()).filter(|path| path.is_file()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "lock" {
            continue;
        }
        let mut text = fs::read_to_string(&path).unwrap();
        if name.starts_with("results_") {
            let mut value: Value = serde_json::from_str(&text).unwrap();
            assert!(value["date"].take().as_u64().unwrap() > 1_700_000_000);
            text = value.to_string();
        }
        found.push((name.split("_2").next().unwrap().to_owned(), text));
    }
    for name in ["evaluation_results.json", "evaluation_results.csv"] {
        let path = folder.path(out).join(name);
        found.push((name.to_owned(), fs::read_to_string(path).unwrap()));
    }
    found.sort();
    found
}

fn figures(folder: &Folder, out: &str) -> Value {
    let found = results(folder, out);
    serde_json::from_str(&found.iter().find(|(name, _)| name == "results").unwrap().1).unwrap()
}

/// The lines of the only log of responses.
fn responses(folder: &Folder, out: &str) -> Vec<Value> {
    let models: Vec<_> = fs::read_dir(folder.path(out)).unwrap().map(|e| e.unwrap().path()).collect();
    let logs = models.iter().find(|path| path.is_dir()).unwrap().join("responses");
    let logs: Vec<_> = fs::read_dir(logs).unwrap().map(|e| e.unwrap().path()).collect();
    let log = logs.iter().find(|path| path.extension().is_some_and(|e| e == "jsonl")).unwrap();
    json_lines(&fs::read_to_string(log).unwrap())
}

#[test]
fn a_model_gets_the_score_that_a_separate_count_gives() {
    let folder = folder();
    let out = folder.succeed(EVAL).stdout;
    let figures = figures(&folder, "evals");
    let words = &figures["results"]["words"];
    // The count: `generate` continues the same prompts, and gold answers are compared as strings.
    let rows = folder.lines("data/words.jsonl");
    let prompts: String = rows
        .iter()
        .map(|row| format!("{}\n", json!({"prompt": format!("{} is", row["word"].as_str().unwrap())})))
        .collect();
    let args = [
        "generate",
        "--model",
        MODEL,
        "--device",
        "cpu",
        "--output",
        "-",
        "--max-new-tokens",
        "12",
        "--stop",
        "\n",
    ];
    let drawn = json_lines(&folder.run_with(args, &prompts).stdout);
    let right = |(row, drawn): &(&Value, &Value)| {
        drawn["text"].as_str().unwrap().trim().trim_end_matches('.') == row["number"].as_str().unwrap()
    };
    let count = rows.iter().zip(&drawn).filter(right).count();
    assert!((4..12).contains(&count), "{count} right: nothing was learnt, or nothing can be told apart");
    for filter in ["strict", "octothinker"] {
        assert_eq!(words[format!("exact_match,{filter}")], json!(count as f64 / 12.0), "{filter}");
    }
    let share = count as f64 / 12.0;
    let error = words["exact_match_stderr,strict"].as_f64().unwrap();
    assert!((error - (share * (1.0 - share) / 11.0).sqrt()).abs() < 1e-12);
    assert!(out.contains("strict") && out.contains("±") && out.contains("results  evals/"), "{out}");
    // Texts and counts of tokens are `generate`'s; a line of samples holds what other harnesses look for.
    let found = results(&folder, "evals");
    let samples = json_lines(&found.iter().find(|(name, _)| name == "samples_words").unwrap().1);
    assert_eq!(samples.len(), 24);
    for (sample, (row, drawn)) in samples.iter().step_by(2).zip(rows.iter().zip(&drawn)) {
        assert_eq!(sample["doc"], *row);
        assert_eq!(sample["resps"], json!([[drawn["text"]]]));
        assert_eq!(sample["response_tokens"], json!([drawn["tokens"].as_array().unwrap().len()]));
        assert_eq!(sample["finish_reasons"], json!([drawn["finish_reason"]]));
        assert_eq!(
            sample["arguments"]["gen_args_0"]["arg_0"],
            format!("{} is", row["word"].as_str().unwrap())
        );
        assert_eq!(sample["filter"], "strict");
    }
    let keys = [
        "configs",
        "versions",
        "n-shot",
        "n-samples",
        "higher_is_better",
        "config",
        "task_hashes",
        "group_subtasks",
    ];
    assert!(keys.iter().all(|key| figures.get(key).is_some()), "{figures}");
    assert_eq!(figures["n-samples"]["words"], json!({"original": 12, "effective": 12}));
}

#[test]
fn killed_anywhere_an_evaluation_goes_on_and_nothing_is_done_twice() {
    let folder = folder();
    folder.succeed(EVAL);
    let whole = results(&folder, "evals");
    assert_eq!(whole.len(), 5, "{whole:?}");
    let mut at = 0;
    loop {
        let out = format!("killed-{at}");
        let args = || EVAL.into_iter().chain(["--output", &out]);
        let killed = folder.outcome(folder.start(args(), ("OCTO_KILL_AT", &at.to_string())));
        if killed.code == 0 {
            assert!(at > 20, "twelve responses and five files touch the disk more than {at} times");
            break;
        }
        assert_eq!(killed.code, 128 + 9, "at {at}: {}", killed.stderr);
        let again = folder.succeed(args());
        assert_eq!(results(&folder, &out), whole, "at {at}");
        assert_eq!(responses(&folder, &out).len(), 12, "at {at}: {}", again.stderr);
        at += if at < 3 { 1 } else { 5 };
    }
    // Done, it is told again without a model at work; more samples or other rules ask for what is missing alone.
    let again = folder.succeed(EVAL);
    assert!(again.stderr.contains("all responses are there already"), "{}", again.stderr);
    assert_eq!(results(&folder, "evals"), whole);
    folder.succeed(EVAL.into_iter().chain(["--modes", "math-verify"]));
    assert_eq!(responses(&folder, "evals").len(), 12);
    folder.succeed(EVAL.into_iter().chain(["--fresh", "--limit", "5"]));
    assert_eq!(responses(&folder, "evals").len(), 5);
}

#[test]
fn several_checkpoints_make_one_table_and_samples_their_figures() {
    let folder = folder();
    let mut args: Vec<&str> = EVAL.to_vec();
    args[1] = "run";
    args.extend(["--n", "4", "--temperature", "1", "--seed", "3"]);
    let out = folder.succeed(args.iter().copied().chain(["--last", "2"])).stdout;
    assert!(out.contains("model 2 of 2: run/checkpoints/step-00000120"), "{out}");
    folder.succeed(args.iter());
    let csv = String::from_utf8(folder.read("evals/evaluation_results.csv")).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines.len(), lines[0]), (7, "model,filter,words,avg"));
    for (line, step) in lines[1..].iter().zip(["40", "40", "80", "80", "120", "120"]) {
        assert!(line.contains(&format!("run__checkpoints__step-{step:0>8}")), "{csv}");
    }
    // What is drawn does not depend on which models were evaluated before, nor on the order of requests.
    let models: Vec<String> = {
        let found = fs::read_dir(folder.path("evals")).unwrap().map(|e| e.unwrap().path());
        found.filter(|path| path.is_dir()).map(|path| path.to_str().unwrap().to_owned()).collect()
    };
    let last = models.iter().find(|model| model.ends_with("step-00000120")).unwrap();
    let figures = fs::read_dir(last).unwrap().map(|e| e.unwrap().path());
    let figures: Vec<_> = figures.filter(|p| p.to_str().unwrap().contains("/results_")).collect();
    assert_eq!(figures.len(), 1, "the second evaluation found the first one's responses");
    let value: Value = serde_json::from_slice(&fs::read(&figures[0]).unwrap()).unwrap();
    let words = &value["results"]["words"];
    let of = |name: &str| words[format!("{name},strict")].as_f64().unwrap();
    assert_eq!(words["samples"], 4);
    assert!(of("pass@1") <= of("pass@2") && of("pass@2") <= of("pass@4"));
    assert!((of("pass@1") - of("avg@4")).abs() < 1e-12 && of("exact_match") == of("avg@4"));
    assert!(of("maj@4") <= of("pass@4"));
    // The oldest beside the newest.
    let first = models.iter().find(|m| m.ends_with("step-00000040")).unwrap();
    let table = folder.succeed(["eval", "compare", first, last]).stdout;
    assert!(table.contains("words") && table.contains("95 % interval"), "{table}");
    let error = folder.fail(EVAL.into_iter().chain(["--n", "2"]));
    assert!(error.contains("2 responses at temperature 0 are all the same"), "{error}");
}

#[test]
fn a_watched_run_has_each_milestone_evaluated() {
    let folder = folder();
    fs::create_dir(folder.path("run/milestones")).unwrap();
    for step in ["step-00000040", "step-00000120"] {
        let to = format!("run/milestones/{step}/model");
        folder.copy(folder.path(&format!("run/checkpoints/{step}/model")), &to);
    }
    let args = [
        "eval",
        "--watch",
        "run",
        "--device",
        "cpu",
        "--tasks",
        "words",
        "--task-dir",
        "tasks",
        "--data",
        "data",
    ];
    let out = folder.succeed(args).stdout;
    assert!(out.contains("the run is finished: 2 milestones evaluated"), "{out}");
    let csv = String::from_utf8(folder.read("evals/evaluation_results.csv")).unwrap();
    assert!(csv.contains("run__milestones__step-00000040,strict,"), "{csv}");
    let error = folder.fail(args.map(|arg| if arg == "run" { "tasks" } else { arg }));
    assert!(error.contains("tasks: no run here"), "{error}");
    // As a trainer leaves its folder that was killed.
    folder.put("run/status.json", "{\"state\": \"running\"}");
    let mut watching = folder.start(args, ("OCTO_LOG", "off"));
    let said = BufReader::new(watching.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
    let told = said.take(200).any(|line| line.contains("no process writes here any more"));
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(told, "a run without a writer is told of");
}

#[test]
fn stored_responses_are_scored_and_what_does_not_fit_is_named() {
    let folder = Folder::new();
    folder.put("tasks/words.toml", TASK);
    folder.put(
        "data/words.jsonl",
        "{\"word\": \"ox\", \"number\": \"1234\"}\n{\"word\": \"cod\", \"number\": 2}\n",
    );
    let put = |lines: &[Value]| {
        folder.put("r.jsonl", lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    };
    let args = ["eval", "--responses", "r.jsonl", "--task-dir", "tasks", "--data", "data"];
    let ox = json!({"task": "words", "id": "ox", "responses": ["The answer is 1,234."], "tokens": [5], "finish_reasons": ["stop"]});
    let cod = json!({"task": "words", "id": "cod", "responses": ["The answer is 3."]});
    put(&[ox.clone(), cod.clone()]);
    let out = folder.succeed(args).stdout;
    assert!(out.contains("words: filters disagree on 1 responses"), "{out}");
    let figures = figures(&folder, "evals");
    let words = &figures["results"]["words"];
    assert_eq!((&words["exact_match,strict"], &words["exact_match,octothinker"]), (&json!(0.5), &json!(0.0)));
    let found = results(&folder, "evals");
    let lines = json_lines(&found.iter().find(|(name, _)| name == "disagreements_words").unwrap().1);
    assert_eq!((lines.len(), &lines[0]["id"]), (1, &json!("ox")));
    assert_eq!(lines[0]["filters"]["octothinker"], json!({"verdict": "not equal", "answer": "234."}));
    for (lines, says) in [
        (
            vec![ox.clone()],
            "r.jsonl: 1 of 2 items of words have no responses, the first is `cod`; give --partial",
        ),
        (
            vec![ox.clone(), json!({"task": "words", "id": "cods", "responses": [""]})],
            "r.jsonl:2: words has no item `cods` in data/words.jsonl; did you mean `cod`?",
        ),
        (vec![ox.clone(), ox.clone()], "r.jsonl:2: item ox again: its responses stand in line 1"),
        (
            vec![ox.clone(), json!({"task": "words", "id": "cod", "responses": ["", ""]})],
            "r.jsonl:2: 2 responses, where the items before it have 1",
        ),
        (vec![json!({"task": "words", "id": "ox", "responses": []})], "r.jsonl:1: no responses; leave out"),
        (
            vec![json!({"task": "wurds", "id": "ox", "responses": ["1"]})],
            "no task `wurds`; did you mean `words`?",
        ),
        (vec![json!({"task": "words", "responses": ["1"]})], "r.jsonl:1: missing field `id`"),
    ] {
        put(&lines);
        let error = folder.fail(args);
        assert!(error.contains(says), "{says}\n{error}");
    }
    put(&[ox]);
    folder.succeed(args.into_iter().chain(["--partial", "--name", "part"]));
    assert!(folder.path("evals/part").is_dir());
}

#[test]
fn wrong_files_and_settings_are_told() {
    let folder = Folder::new();
    folder.put("data/gsm8k.jsonl", "{\"question\": \"How many?\", \"answer\": \"#### 3\"}\n");
    folder.put("data/svamp.jsonl", "{\"Body\": \"Ann has 3.\", \"Question\": \"How many?\"}\n");
    let check = |more: &[&str]| {
        folder.fail(["eval", "check", "--data", "data"].into_iter().chain(more.iter().copied()))
    };
    for (more, says) in [
        (&["--tasks", "gsm8k"][..], "gsm8k: data/gsm8k.jsonl has 1 items, but the task says 1319"),
        (
            &["--tasks", "svamp", "--any-count"],
            "svamp: data/svamp.jsonl:1: no field `Answer` for the template; the row has",
        ),
        (&["--tasks", "mawps"], "mawps: no file of it in data: looked for mawps.jsonl"),
        (&["--tasks", "gsm8", "--any-count"], "no task `gsm8`; did you mean `gsm8k`?"),
        (&["--tasks", "gsm8k", "--data", "gsm=x"], "`gsm` is none of the tasks"),
        (
            &["--tasks", "gsm8k", "--any-count", "--modes", "strickt"],
            "no mode `strickt`; give strict, math-verify or octothinker",
        ),
        (&["--tasks", "gsm8k", "--any-count", "--fewshot", "no.jsonl"], "no examples `no.jsonl`"),
    ] {
        let error = check(more);
        assert!(error.contains(says), "{says}\n{error}");
    }
    let ok = folder.succeed(["eval", "check", "--data", "data", "--tasks", "gsm8k", "--any-count"]).stdout;
    assert!(ok.contains("octothinker"), "{ok}");
    let prompt = folder
        .succeed([
            "eval",
            "prompt",
            "--data",
            "data",
            "--tasks",
            "gsm8k",
            "--any-count",
            "--num-fewshot",
            "0",
        ])
        .stdout;
    assert!(prompt.ends_with("\nQ: How many?\nA:\n"), "{prompt}");
    let list = folder.succeed(["eval", "list"]).stdout;
    assert!(list.contains("gsm8k") && list.contains("1319"), "{list}");
    for (args, says) in [
        (&["eval"][..], "--tasks"),
        (&["eval", "m"], "--tasks"),
        (&["eval", "--tasks", "gsm8k"], "MODEL"),
        (&["eval", "m", "--tasks", "gsm8k", "--watch", "r"], "cannot be used with"),
    ] {
        let outcome = folder.run(args);
        assert!(outcome.code == 2 && outcome.stderr.contains(says), "{args:?}: {}", outcome.stderr);
    }
}

#[test]
fn the_example_of_the_page_on_tasks_runs() {
    let page = include_str!("../../docs/add-a-task.md");
    let block = |kind: &str| {
        let (_, rest) = page.split_once(&format!("```{kind}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let folder = Folder::trained();
    folder.put("tasks/capitals.toml", block("toml"));
    folder.put("data/capitals.jsonl", block("jsonl"));
    let commands: Vec<&str> = block("sh").lines().collect();
    assert_eq!(commands.len(), 3);
    let run = |command: &str| {
        let command = command.replace("MODEL", MODEL);
        let (_, args) = command.split_once(' ').unwrap();
        folder.succeed(args.split(' ')).stdout
    };
    let prompt = run(commands[0]);
    assert!(prompt.ends_with("\nThe capital of France is\n"), "{prompt}");
    let check = run(commands[1]);
    assert!(check.contains("capitals  strict      3       3       0"), "{check}");
    assert!(run(commands[2]).contains("exact_match"));
}

#[test]
fn the_page_on_evaluation_has_every_key_of_a_task_file() {
    let page = include_str!("../../docs/eval.md");
    for (key, doc) in octo_eval::KEYS {
        let row = format!("| `{key}` | {doc} |\n");
        assert!(page.contains(&row), "docs/eval.md lacks `{key}`, or says something else of it");
    }
}

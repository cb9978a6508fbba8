//! Runs that are killed, stopped, damaged or changed, and go on.

use crate::folder::{Folder, Outcome};
use crate::training::timeless;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Child;

/// The tests' run with a checkpoint after every third step.
fn folder() -> Folder {
    let folder = Folder::tiny();
    let recipe = crate::folder::RECIPE.to_owned() + "\n[checkpoints]\nevery_steps = 3\nkeep = 2\n";
    folder.put("recipe.toml", recipe);
    folder.succeed(["train", "recipe.toml", "--set", "run.dir=whole"]);
    folder
}

const TRAIN: [&str; 2] = ["train", "recipe.toml"];

/// What two equal runs share: weights and optimizer state, metrics, samples.
#[track_caller]
fn assert_same(folder: &Folder, dir: &str) {
    for file in ["model/model.safetensors", "state/moment1.safetensors", "state/moment2.safetensors"] {
        let of = |dir: &str| folder.read(&format!("{dir}/checkpoints/step-00000010/{file}"));
        assert!(of(dir) == of("whole"), "{dir}: {file} differs");
    }
    assert_eq!(timeless(folder, dir), timeless(folder, "whole"));
    assert_eq!(folder.lines(&format!("{dir}/samples.jsonl")), folder.lines("whole/samples.jsonl"));
}

fn checkpoints(folder: &Folder, dir: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.path(&format!("{dir}/checkpoints"))).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until a run has told of its first step.
pub fn wait_for_a_step(child: &mut Child) {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("step ")), "the run ended before its first step");
    // Whoever writes to a pipe that nobody reads is killed.
    std::thread::spawn(move || lines.for_each(drop));
}

/// A run long enough to be stopped within: its checkpoints are too rare to help.
fn long(folder: &Folder) {
    let recipe = crate::folder::RECIPE.replace("steps = 10\n", "steps = 4000\n");
    folder.put("long.toml", recipe + "\n[checkpoints]\nevery_steps = 100_000\n[log]\nevery_steps = 1\n");
}

#[test]
fn killed_before_any_operation_on_the_disk_a_run_ends_with_the_same_bits() {
    let folder = folder();
    let mut at = 0;
    loop {
        let dir = format!("killed-{at}");
        let set = format!("run.dir={dir}");
        let args = || TRAIN.into_iter().chain(["--set", &set]);
        let killed = folder.outcome(folder.start(args(), ("OCTO_KILL_AT", &at.to_string())));
        if killed.code == 0 {
            assert!(at > 100, "a run of three checkpoints touches the disk more than {at} times");
            break;
        }
        assert_eq!(killed.code, 128 + 9, "at {at}: {}", killed.stderr);
        folder.succeed(args());
        assert_same(&folder, &dir);
        assert_eq!(checkpoints(&folder, &dir), ["latest", "step-00000009", "step-00000010"], "at {at}");
        let latest = fs::read_link(folder.path(&format!("{dir}/checkpoints/latest"))).unwrap();
        assert_eq!(latest.to_str(), Some("step-00000010"));
        fs::remove_dir_all(folder.path(&dir)).unwrap();
        // Every operation is tried in the long run of these tests; here one of each few.
        at += if at < 12 { 1 } else { 7 };
    }
}

#[test]
fn asked_to_stop_a_run_saves_at_once_and_goes_on_with_the_same_bits() {
    let folder = folder();
    long(&folder);
    let train = ["train", "long.toml"];
    for signals in [&["-USR1", "-TERM", "-TERM"][..], &["-INT"]] {
        let mut child = folder.start(train, ("OCTO_LOG", "warn"));
        wait_for_a_step(&mut child);
        for signal in signals {
            let kill = std::process::Command::new("kill").arg(signal).arg(child.id().to_string()).status();
            assert!(kill.unwrap().success());
        }
        assert_eq!(folder.outcome(child).code, 75);
    }
    let done = folder.lines("run/metrics.jsonl").len();
    assert!((1..4000).contains(&done), "{done} steps");
    assert_eq!(checkpoints(&folder, "run").last(), Some(&format!("step-{done:08}")));
    let lineage = folder.lines("run/lineage.jsonl");
    assert_eq!(lineage.len(), 2);
    assert_eq!(lineage[0]["step"], 0);
    assert!(lineage[1]["step"].as_u64().unwrap() > 0);
    // As many steps in one go.
    let mut other = folder.start(["train", "long.toml", "--set", "run.dir=other"], ("OCTO_LOG", "warn"));
    wait_for_a_step(&mut other);
    let lines = || fs::read_to_string(folder.path("other/metrics.jsonl")).unwrap();
    while lines().matches('\n').count() <= done {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    other.kill().unwrap();
    other.wait().unwrap();
    let torn = lines();
    folder.put("other/metrics.jsonl", &torn[..torn.rfind('\n').unwrap() + 1]);
    assert_eq!(timeless(&folder, "run"), timeless(&folder, "other")[..done]);
}

#[test]
fn a_fresh_start_sets_the_earlier_run_aside() {
    let folder = folder();
    let args = ["train", "recipe.toml", "--set", "run.dir=whole", "--set", "run.seed=4", "--fresh"];
    let before = folder.lines("whole/metrics.jsonl");
    folder.succeed(args);
    assert_ne!(folder.lines("whole/metrics.jsonl"), before);
    assert_eq!(folder.lines("whole/discarded/run/metrics.jsonl"), before);
    assert!(folder.path("whole/discarded/run/checkpoints/step-00000010/manifest.json").exists());
    folder.succeed(args);
    assert_eq!(folder.lines("whole/discarded/run/metrics.jsonl"), before);
    assert!(folder.path("whole/discarded/run-2/metrics.jsonl").exists());
}

#[test]
fn a_second_start_in_the_same_folder_is_refused_until_the_first_is_dead() {
    let folder = folder();
    long(&folder);
    let train = ["train", "long.toml"];
    let mut first = folder.start(train, ("OCTO_LOG", "warn"));
    wait_for_a_step(&mut first);
    let error = folder.fail(train);
    assert!(error.contains(&format!("DIR/run/lock is held by process {}", first.id())), "{error}");
    first.kill().unwrap();
    first.wait().unwrap();
    let mut next = folder.start(train, ("OCTO_LOG", "warn"));
    wait_for_a_step(&mut next);
    next.kill().unwrap();
    next.wait().unwrap();
}

#[test]
fn a_flipped_byte_anywhere_in_a_checkpoint_is_named_and_the_one_before_it_taken() {
    let folder = folder();
    let files = [
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "state/moment1.safetensors",
        "state/run.json",
        "state/data.json",
        "state/recipe.toml",
        "manifest.json",
    ];
    for (i, file) in files.into_iter().enumerate() {
        let set = format!("run.dir=damaged-{i}");
        let args = || TRAIN.into_iter().chain(["--set", &set]);
        folder.succeed(args());
        let name = format!("damaged-{i}/checkpoints/step-00000010/{file}");
        flip(&folder, &name, folder.read(&name).len() * (i + 1) / (files.len() + 1));
        let error = folder.fail(args().chain(["--strict-resume"]));
        assert!(error.contains("step-00000010 is damaged") && error.contains(file), "{error}");
        let outcome = folder.succeed(args());
        assert!(outcome.stderr.contains(file) && outcome.stderr.contains("goes on after step 9"));
        assert_same(&folder, &format!("damaged-{i}"));
        assert!(folder.path(&format!("damaged-{i}/damaged/step-00000010")).is_dir());
    }
}

/// Changes a byte of a file.
fn flip(folder: &Folder, name: &str, at: usize) {
    let mut bytes = folder.read(name);
    bytes[at] ^= 4;
    folder.put(name, bytes);
}

#[test]
fn a_flipped_byte_is_found_in_headers_and_in_weights_that_only_others_read() {
    let folder = folder();
    let bf16 = |dir: &str| {
        let dir = format!("run.dir={dir}");
        let sets = ["--set", "model.weights=bf16", "--set", &dir].map(str::to_owned);
        TRAIN.map(str::to_owned).into_iter().chain(sets)
    };
    folder.succeed(bf16("half"));
    let end = || folder.read("half/checkpoints/step-00000010/manifest.json");
    let whole = end();
    // The run goes on from the masters; the rounded weights are for whoever wants the model.
    for (file, at) in [
        ("model/model.safetensors", 40_000),
        ("model/model.safetensors", 3),
        ("state/masters.safetensors", 30),
        ("state/moment2.safetensors", 90_000),
    ] {
        flip(&folder, &format!("half/checkpoints/step-00000010/{file}"), at);
        let outcome = folder.succeed(bf16("half"));
        let said = |what: &str| assert!(outcome.stderr.contains(what), "{what}: {}", outcome.stderr);
        said(&format!("step-00000010 is damaged: {file} has other bytes"));
        said("goes on after step 9");
        assert!(end() == whole, "{file}");
    }
}

#[test]
fn when_every_checkpoint_is_damaged_the_run_says_so_and_loses_nothing() {
    let folder = folder();
    // One shows at once, the other when its tensors are read.
    folder.put("whole/checkpoints/step-00000009/state/more.json", "{}");
    flip(&folder, "whole/checkpoints/step-00000010/state/moment1.safetensors", 50_000);
    let args = || TRAIN.into_iter().chain(["--set", "run.dir=whole"]);
    let error = folder.fail(args());
    assert!(error.contains("all 2 checkpoints are damaged") && error.contains("--fresh"), "{error}");
    assert!(folder.path("whole/damaged/step-00000010/model/model.safetensors").exists());
    assert_eq!(folder.lines("whole/metrics.jsonl").len(), 10);
}

#[test]
fn a_step_that_is_not_finite_stops_the_run_before_it_touches_a_weight() {
    let folder = folder();
    let skip = ["--set", "data.skip_steps=[\"8\"]"];
    folder.succeed(TRAIN.iter().chain(&["--set", "run.dir=skipped"]).chain(&skip));
    for plant in ["8", "forward:8"] {
        let run = |args: &[&str]| -> Outcome {
            let args = TRAIN.iter().chain(args).copied();
            folder.outcome(folder.start(args, ("OCTO_PLANT_NAN", plant)))
        };
        for _ in 0..2 {
            let outcome = run(&[]);
            assert_eq!(outcome.code, 3, "{}", outcome.stderr);
            assert!(outcome.stderr.contains("error: step 8: loss "), "{}", outcome.stderr);
            assert_eq!(outcome.stderr.contains("step 8: loss NaN"), plant != "8", "{}", outcome.stderr);
            let documents = "hold problems: generated word problems:";
            assert!(outcome.stderr.contains(documents), "{}", outcome.stderr);
            assert_eq!(checkpoints(&folder, "run"), ["latest", "step-00000003", "step-00000006"]);
            assert_eq!(folder.lines("run/metrics.jsonl").len(), 7);
            folder.succeed(["doctor", "run/checkpoints/step-00000006"]);
        }
        let refused = run(&skip);
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains("--accept-change data.skip_steps"), "{}", refused.stderr);
        let accepted = run(&[&skip[..], &["--accept-change", "skip_steps"]].concat());
        assert_eq!(accepted.code, 0, "{}", accepted.stderr);
        let steps: Vec<u64> =
            folder.lines("run/metrics.jsonl").iter().map(|line| line["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7, 9, 10]);
        let lineage = folder.lines("run/lineage.jsonl");
        assert_eq!(lineage.last().unwrap()["accepted"][0], "skip_steps");
        // As if the step had never been meant to be taken.
        let weights = |dir: &str| folder.read(&format!("{dir}/checkpoints/latest/model/model.safetensors"));
        assert!(weights("run") == weights("skipped"));
        fs::remove_dir_all(folder.path("run")).unwrap();
    }
}

#[test]
fn the_documents_of_a_step_that_is_not_finite_are_named_by_file_and_row() {
    let folder = folder();
    let row = |i: usize| format!("{{\"text\": \"Row {i} says {} and {}.\"}}\n", i * 7 % 31, i * 11 % 29);
    folder.put("rows.jsonl", (0..400).map(row).collect::<String>());
    let recipe = crate::folder::RECIPE
        .replace("generated = { kind = \"word-problems\", rows = 60, seed = 1 }", "path = \"rows.jsonl\"")
        .replacen("text = \"{{ question }} {{ answer }}\"\n", "", 1);
    folder.put("rows.toml", recipe.replace("steps = 10\n", "steps = 10\norder = \"sequential\"\n"));
    let args = ["train", "rows.toml"];
    let outcome = folder.outcome(folder.start(args, ("OCTO_PLANT_NAN", "forward:1")));
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("hold problems: DIR/rows.jsonl:1 to DIR/rows.jsonl:"),
        "{}",
        outcome.stderr
    );
    assert!(checkpoints(&folder, "run").is_empty());
}

#[test]
fn steps_that_are_not_finite_may_be_left_out_up_to_a_number_and_on_record() {
    let folder = folder();
    let args = |at_most: &str| {
        let skip = ["--set", "data.on_nonfinite=skip", "--set"].map(str::to_owned);
        let dir = ["--set".to_owned(), format!("run.dir=most-{at_most}")];
        TRAIN
            .map(str::to_owned)
            .into_iter()
            .chain(skip)
            .chain([format!("data.max_skips={at_most}")])
            .chain(dir)
    };
    for plant in ["8", "forward:8"] {
        let outcome = folder.outcome(folder.start(args("1"), ("OCTO_PLANT_NAN", plant)));
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("left out (1 of at most 1): step 8"), "{}", outcome.stderr);
        assert_eq!(folder.lines("most-1/metrics.jsonl").len(), 9);
        assert_eq!(folder.lines("most-1/lineage.jsonl")[1]["left_out"], 8);
        fs::remove_dir_all(folder.path("most-1")).unwrap();
    }
}

#[test]
fn what_a_recipe_may_not_change_unasked_is_shown_as_a_difference() {
    let folder = folder();
    let with = |sets: &[&str], accept: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let accept = accept.iter().flat_map(|key| ["--accept-change", key]);
        let dir = ["--set", "run.dir=whole"];
        folder.run(TRAIN.into_iter().chain(dir).chain(sets).chain(accept))
    };
    let lr = "stages.0.schedule.lr=2e-2";
    let outcome = with(&[lr], &[]);
    assert_eq!(outcome.code, 1);
    for line in ["- stages[0].schedule.lr = 0.01", "+ stages[0].schedule.lr = 0.02"] {
        assert!(outcome.stderr.contains(line), "{line} in {}", outcome.stderr);
    }
    assert_eq!(with(&[lr], &["lr"]).code, 0);
    let never = with(&["model.config.hidden_size=64"], &["hidden_size"]);
    assert_eq!(never.code, 1);
    assert!(never.stderr.contains("`model.config.hidden_size` cannot change"), "{}", never.stderr);
    assert_eq!(with(&["log.every_steps=3", "checkpoints.keep=5", lr], &["lr"]).code, 0);
}

#[test]
fn another_micro_batch_is_the_same_run_within_rounding() {
    let folder = folder();
    let half = ["--set", "stages.0.micro_batch_tokens=32", "--accept-change", "micro_batch_tokens"];
    let killed = folder.outcome(folder.start(TRAIN, ("OCTO_KILL_AT", "150")));
    assert_eq!(killed.code, 128 + 9);
    folder.succeed(TRAIN.into_iter().chain(half));
    let losses = |dir: &str| -> Vec<f64> {
        timeless(&folder, dir).iter().map(|line| line["lm_loss"].as_f64().unwrap()).collect()
    };
    let (whole, changed) = (losses("whole"), losses("run"));
    assert_eq!(changed.len(), 10);
    assert_ne!(whole, changed);
    for (a, b) in whole.iter().zip(&changed) {
        assert!((a - b).abs() < 1e-5 * a, "{whole:?} {changed:?}");
    }
}

#[test]
fn a_source_that_holds_something_else_is_refused_by_name() {
    let folder = folder();
    let seed = "data.sources.problems.generated.seed=5";
    let args = ["--set", "run.dir=whole", "--set", seed, "--accept-change", "seed"];
    let error = folder.fail(TRAIN.into_iter().chain(args));
    assert!(error.contains("source `problems` does not hold what it held"), "{error}");
}

#[test]
fn a_finished_run_tells_its_end_again_and_a_longer_constant_stage_goes_on() {
    let folder = folder();
    let whole = ["--set", "run.dir=whole"];
    let again = folder.succeed(TRAIN.into_iter().chain(whole));
    assert!(again.stdout.starts_with("held-out held-out: loss "), "{}", again.stdout);
    assert_eq!(folder.lines("whole/metrics.jsonl").len(), 10);

    let constant = |steps: &str, dir: &str| {
        let sets = ["stages.0.schedule.shape=constant".to_owned(), format!("stages.0.steps={steps}")];
        let sets = sets.into_iter().chain([format!("run.dir={dir}")]);
        let sets = sets.flat_map(|set| ["--set".to_owned(), set]);
        folder.succeed(TRAIN.map(str::to_owned).into_iter().chain(sets))
    };
    constant("5", "grown");
    constant("8", "grown");
    constant("8", "at-once");
    assert_eq!(timeless(&folder, "grown").len(), 8);
    let weights = |dir: &str| folder.read(&format!("{dir}/checkpoints/latest/model/model.safetensors"));
    assert!(weights("grown") == weights("at-once"));
}

#[test]
fn a_branch_takes_weights_data_position_and_if_asked_the_optimizer_along() {
    let folder = folder();
    let first = timeless(&folder, "whole");
    let branch = |state: &str| {
        let recipe = crate::folder::RECIPE.replace("tokenizer = \"tokenizer.json\"\n", "");
        let start = recipe.find("[model.config]").unwrap();
        let end = recipe.find("[data").unwrap();
        let recipe = recipe.replace(&recipe[start..end], "");
        let model = format!("[model]\nfrom = \"whole/checkpoints/latest\"\noptimizer_state = \"{state}\"\n");
        folder.put("branch.toml", recipe.replace("[model]\n", &model));
        folder.succeed(["train", "branch.toml", "--set", &format!("run.dir={state}")]);
        let loss = timeless(&folder, state)[0]["lm_loss"].as_f64().unwrap();
        (loss, folder.read(&format!("{state}/checkpoints/latest/model/model.safetensors")))
    };
    let (fresh, load) = (branch("fresh"), branch("load"));
    assert_eq!(fresh.0, load.0, "the same weights on the same batch");
    assert!(fresh.1 != load.1, "moments make a difference");
    let begun = first[0]["lm_loss"].as_f64().unwrap();
    assert!(fresh.0 < begun - 0.5, "trained weights: {} after {begun}", fresh.0);
    let data = |dir: &str| -> serde_json::Value {
        serde_json::from_slice(&folder.read(&format!("{dir}/checkpoints/latest/state/data.json"))).unwrap()
    };
    let tokens = |dir: &str| data(dir)["sources"]["problems"]["tokens"].as_u64().unwrap();
    assert_eq!((tokens("whole"), tokens("fresh")), (1280, 2560), "it does not read again what was read");
    let from_hf = folder.fail([
        "train",
        "branch.toml",
        "--set",
        "model.from=whole/checkpoints/latest/model",
        "--set",
        "run.dir=none",
    ]);
    assert!(from_hf.contains("no optimizer state beside this model"), "{from_hf}");
}

#[test]
fn milestones_stay_when_checkpoints_go() {
    let folder = folder();
    let sets = ["checkpoints.every_steps=2", "checkpoints.keep=1", "checkpoints.milestones=384"];
    let sets = sets.into_iter().chain(["checkpoints.milestone_state=768"]).flat_map(|set| ["--set", set]);
    folder.succeed(TRAIN.into_iter().chain(sets));
    assert_eq!(checkpoints(&folder, "run"), ["latest", "step-00000010"]);
    for (step, state) in [(3, false), (6, true), (9, false)] {
        let path = folder.path(&format!("run/milestones/step-{step:08}"));
        assert!(path.join("model/model.safetensors").exists(), "{step}");
        assert_eq!(path.join("state").exists(), state, "{step}");
    }
}

#[test]
fn stages_and_mixtures_go_on_with_the_same_bits_in_any_stage() {
    let folder = Folder::tiny();
    let start = crate::folder::RECIPE.find("[[stages]]").unwrap();
    let end = crate::folder::RECIPE.find("[[validation]]").unwrap();
    let stages = r#"
[data.sources.more]
generated = { kind = "word-problems", rows = 90, seed = 7 }
text = "{{ question }} {{ answer }}"
[checkpoints]
every_steps = 2
[[stages]]
name = "stable"
steps = 5
sequence_length = 32
batch_tokens = 128
micro_batch_tokens = 64
mixture = { problems = 0.75, more = 0.25 }
schedule = { lr = 1e-2, warmup_steps = 2 }
[[stages]]
name = "decay"
steps = 5
sequence_length = 64
batch_tokens = 128
micro_batch_tokens = 128
mixture = { problems = 0.25, more = 0.75 }
schedule = { shape = "cosine", lr = 1e-2, final_lr = 1e-3 }
"#;
    let recipe = crate::folder::RECIPE;
    folder.put("recipe.toml", recipe[..start].to_owned() + stages + &recipe[end..]);
    folder.succeed(["train", "recipe.toml", "--set", "run.dir=whole"]);
    let mut both = 0;
    for line in folder.lines("whole/metrics.jsonl") {
        let sources: Vec<f64> =
            ["lm_loss/problems", "lm_loss/more"].iter().filter_map(|name| line[name].as_f64()).collect();
        let least = sources.iter().copied().fold(f64::INFINITY, f64::min);
        let most = sources.iter().copied().fold(0.0, f64::max);
        let all = line["lm_loss"].as_f64().unwrap();
        // Where one source gave the whole step, up to the rounding of two sums.
        assert!((least..=most).contains(&all) || (all - most).abs() < 1e-6 * all, "{line}");
        both += usize::from(least < most);
    }
    assert!(both >= 5, "{both} steps have both sources");
    let status: serde_json::Value = serde_json::from_slice(&folder.read("whole/status.json")).unwrap();
    assert_eq!((&status["stage"], &status["state"]), (&"decay".into(), &"finished".into()));
    assert_eq!(status["last_checkpoint_step"], 10);
    for at in ["60", "110", "170", "230", "290"] {
        let dir = format!("run.dir=killed-{at}");
        let args = || TRAIN.into_iter().chain(["--set", &dir]);
        assert_eq!(folder.outcome(folder.start(args(), ("OCTO_KILL_AT", at))).code, 128 + 9);
        folder.succeed(args());
        assert_same(&folder, &format!("killed-{at}"));
    }
    let data: serde_json::Value =
        serde_json::from_slice(&folder.read("whole/checkpoints/latest/state/data.json")).unwrap();
    let tokens = |name: &str| data["sources"][name]["tokens"].as_u64().unwrap();
    // The first stage takes 15 and 5 of its 20 windows of 32 tokens; the second goes on at the next whole window
    // of 64 and takes 2 and 8 of its 10.
    assert_eq!((tokens("problems"), tokens("more")), (480_u64.next_multiple_of(64) + 2 * 64, 192 + 8 * 64));
}

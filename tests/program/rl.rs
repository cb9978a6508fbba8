//! RL runs as their users meet them: what they learn, what they leave, what stops them, and how they go on.

use crate::folder::Folder;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Six steps on sums of two digits, with two updates each and a validation set.
const RECIPE: &str = r#"
[run]
dir = "run"
seed = 2
device = "cpu"
threads = 2

[model]
tokenizer = "characters.json"

[model.config]
model_type = "llama"
vocab_size = 24
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 32
initializer_range = 0.1

[rl]
steps = 6
generated = { kind = "modular-addition", rows = 100 }
max_prompt_tokens = 4
batch_prompts = 4
mini_batch_prompts = 2
samples_per_prompt = 4
max_response_tokens = [[0, 2], [3, 5]]
micro_batch_tokens = 24
entropy_coefficient = 0.01
schedule = { shape = "linear", lr = 1e-2, warmup_steps = 2 }

[[rl.rewards]]
kind = "format"
pattern = "[0-5]"

[[rl.rewards]]
kind = "verify"
boxed_only = false

[[rl.validation]]
name = "sums"
generated = { kind = "modular-addition", rows = 12 }
every_steps = 2

[[rl.validation]]
name = "task"
task_file = "sums.toml"
every_steps = 3
samples = 2
temperature = 0.7

[checkpoints]
every_steps = 2
keep = 2
"#;

/// A task of `eval` on a few of these sums.
const TASK: &str = r#"
data = ["sums.jsonl"]
prompt = "{{ question }}"
gold = "{{ answer }}"
modes = ["strict"]
"#;

fn ladder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/ladder").join(name)
}

fn folder(recipe: &str) -> Folder {
    let folder = Folder::new();
    folder.put("characters.json", fs::read(ladder("characters.json")).unwrap());
    folder.put("recipe.toml", recipe);
    folder.put("sums.toml", TASK);
    let row = |n: u64| format!("{{\"question\": \"{n}+1=\", \"answer\": \"{}\"}}\n", n + 1);
    folder.put("sums.jsonl", (0..5).map(row).collect::<String>());
    folder
}

const RL: [&str; 2] = ["rl", "recipe.toml"];

/// The lines of `metrics.jsonl` without what depends on the clock.
fn timeless(folder: &Folder, dir: &str) -> Vec<Value> {
    let mut lines = folder.lines(&format!("{dir}/metrics.jsonl"));
    for line in &mut lines {
        line.as_object_mut().unwrap().retain(|name, _| !octo_rl::is_time_field(name));
    }
    lines
}

fn figures(lines: &[Value], name: &str) -> Vec<f64> {
    lines.iter().filter_map(|line| line.get(name)?.as_f64()).collect()
}

/// What two equal runs share: weights and optimizer state, the loop's own state, metrics, samples.
#[track_caller]
fn assert_same(folder: &Folder, one: &str, other: &str) {
    for file in [
        "model/model.safetensors",
        "state/moment1.safetensors",
        "state/moment2.safetensors",
        "state/loop.json",
    ] {
        let of = |dir: &str| folder.read(&format!("{dir}/checkpoints/step-00000006/{file}"));
        assert!(of(one) == of(other), "{one}: {file} differs");
    }
    assert_eq!(timeless(folder, one), timeless(folder, other));
    let samples = |dir: &str| folder.lines(&format!("{dir}/samples.jsonl"));
    assert_eq!(samples(one), samples(other));
}

#[test]
fn a_bandit_learns_its_token_and_the_trainer_sees_what_was_sampled() {
    let folder = Folder::new();
    let recipe = ladder("bandit.toml");
    folder.succeed(["rl", recipe.to_str().unwrap(), "--set", "run.dir=run"]);
    let lines = folder.lines("run/metrics.jsonl");
    assert_eq!(lines.len(), 50);
    let scores = figures(&lines, "critic/score/mean");
    assert!(scores[0] < 0.3, "{scores:?}");
    assert!(scores[45..].iter().sum::<f64>() / 5.0 > 0.99, "{scores:?}");
    assert_eq!(figures(&lines, "training/rollout_probs_diff_max"), [0.0; 50]);
    assert_eq!(figures(&lines, "training/first_minibatch_ppo_kl"), [0.0; 50]);
    assert!(figures(&lines, "actor/entropy").last().unwrap() < &0.2);
}

#[test]
fn a_run_leaves_figures_samples_and_a_model_that_generates() {
    let folder = folder(RECIPE);
    let outcome = folder.succeed(RL);
    assert!(outcome.stdout.contains("score    sums: "), "{}", outcome.stdout);
    let lines = folder.lines("run/metrics.jsonl");
    // Before the first step there is a validation.
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[0]["step"], 0);
    assert_eq!(figures(&lines, "val/test_score/sums").len(), 4);
    assert_eq!(figures(&lines, "training/optimizer_step"), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    assert_eq!(figures(&lines, "response_length/cap"), [2.0, 2.0, 2.0, 5.0, 5.0, 5.0]);
    for name in [
        "critic/score/mean",
        "critic/rewards/max",
        "critic/advantages/min",
        "actor/pg_loss",
        "actor/entropy",
        "actor/ppo_kl",
        "actor/pg_clipfrac",
        "actor/grad_norm",
        "actor/lr",
        "response_length/mean",
        "response_length/clip_ratio",
        "prompt_length/mean",
        "reward/format/mean",
        "reward/verify/mean",
        "training/global_step",
        "timing_s/gen",
        "perf/throughput",
    ] {
        assert_eq!(figures(&lines, name).len(), 6, "{name}");
    }
    assert_eq!(figures(&lines, "training/rollout_probs_diff_max"), [0.0; 6]);
    let samples = folder.lines("run/samples.jsonl");
    assert_eq!(samples.len(), 6 * 8);
    assert!(samples[0]["prompt"].as_str().unwrap().contains('+'));
    let model = "run/checkpoints/latest/model";
    let generate =
        ["generate", "--model", model, "--prompt", "1+2=", "--max-new-tokens", "2", "--output", "-"];
    folder.succeed(generate);
}

#[test]
fn killed_anywhere_or_stopped_a_run_ends_with_the_same_bits() {
    let folder = folder(RECIPE);
    folder.succeed(["rl", "recipe.toml", "--set", "run.dir=whole"]);
    let mut at = 5;
    loop {
        let dir = format!("killed-{at}");
        let set = format!("run.dir={dir}");
        let args = || RL.into_iter().chain(["--set", &set]);
        let killed = folder.outcome(folder.start(args(), ("OCTO_KILL_AT", &at.to_string())));
        if killed.code == 0 {
            assert!(at > 60, "a run of three checkpoints touches the disk more than {at} times");
            break;
        }
        assert_eq!(killed.code, 128 + 9, "at {at}: {}", killed.stderr);
        folder.succeed(args());
        assert_same(&folder, &dir, "whole");
        fs::remove_dir_all(folder.path(&dir)).unwrap();
        at += 29;
    }
}

#[test]
fn streams_threads_and_the_size_of_passes_change_nothing_that_was_sampled() {
    let folder = folder(RECIPE);
    folder.succeed(["rl", "recipe.toml", "--set", "run.dir=many"]);
    let few =
        ["rl", "recipe.toml", "--set", "run.dir=few", "--set", "rl.max_streams=3", "--set", "run.threads=1"];
    folder.succeed(few);
    assert_same(&folder, "few", "many");
    // Other sums of the same gradient: rounding may differ, but not what the first step sampled.
    folder.succeed(["rl", "recipe.toml", "--set", "run.dir=large", "--set", "rl.micro_batch_tokens=200"]);
    let (large, many) = (timeless(&folder, "large"), timeless(&folder, "many"));
    assert_eq!(large[1]["critic/rewards/mean"], many[1]["critic/rewards/mean"]);
    let norms = |lines: &[Value]| figures(lines, "actor/grad_norm")[0];
    assert!((norms(&large) / norms(&many) - 1.0).abs() < 1e-4, "{} {}", norms(&large), norms(&many));
    assert_eq!(figures(&large, "training/rollout_probs_diff_max"), [0.0; 6]);
}

#[test]
fn with_a_learning_rate_of_zero_nothing_moves_and_nothing_drifts() {
    let recipe = RECIPE
        .replace("shape = \"linear\", lr = 1e-2, warmup_steps = 2", "lr = 0")
        .replace("steps = 6", "steps = 40")
        .replace("keep = 2", "keep = 99");
    let folder = folder(&recipe);
    folder.succeed(RL);
    let lines = folder.lines("run/metrics.jsonl");
    for name in ["training/rollout_probs_diff_max", "training/first_minibatch_ppo_kl", "actor/ppo_kl"] {
        assert_eq!(figures(&lines, name), [0.0; 40], "{name}");
    }
    let weights = |step: u64| folder.read(&format!("run/checkpoints/step-{step:08}/model/model.safetensors"));
    assert!(weights(2) == weights(40));
}

#[test]
fn cuts_of_the_distribution_are_learned_through_and_seen_by_both_sides() {
    let folder = folder(RECIPE);
    let variants: [&[&str]; 5] = [
        &["rl.sampling.top_k=5"],
        &["rl.sampling.top_p=0.8", "rl.old_logprobs=step"],
        &["rl.sampling.min_p=0.3", "rl.epochs=2"],
        &["rl.sampling.top_p=0.9", "rl.sampling.temperature=0.7", "rl.dynamic_sampling=3"],
        &[
            "rl.sampling.top_k=12",
            "rl.sampling.top_p=0.95",
            "rl.sampling.min_p=0.01",
            "rl.sampling.temperature=1.5",
        ],
    ];
    let run = |dir: &str, variant: &[&str]| {
        let set = format!("run.dir={dir}");
        let sets = variant.iter().flat_map(|set| ["--set", set]);
        let outcome = folder.succeed(RL.into_iter().chain(["--set", &set]).chain(sets));
        let told = outcome.stdout + &outcome.stderr;
        assert!(told.contains("cuts     1 MiB on the device"), "{told}");
        timeless(&folder, dir)
    };
    for (number, variant) in variants.iter().enumerate() {
        let lines = run(&format!("run-{number}"), variant);
        for name in ["training/rollout_probs_diff_max", "training/first_minibatch_ppo_kl"] {
            let off = figures(&lines, name);
            // Under dynamic sampling a step may be left without prompts, and so without this figure.
            let steps = if variant.contains(&"rl.dynamic_sampling=3") { 4..=6 } else { 6..=6 };
            assert!(steps.contains(&off.len()) && off.iter().all(|off| *off == 0.0), "{variant:?}: {off:?}");
        }
        assert!(figures(&lines, "actor/grad_norm").iter().all(|norm| *norm > 0.0), "{variant:?}");
        // The entropy is that of what is left: five tokens have less than the logarithm of five.
        let entropy = figures(&lines, "actor/entropy");
        assert!(entropy.iter().all(|h| *h > 0.0 && *h < 24f64.ln() - 1e-3), "{variant:?}: {entropy:?}");
        if number == 0 {
            assert!(entropy.iter().all(|h| *h <= 5f64.ln() + 1e-6), "{entropy:?}");
        }
    }
    // Neither who else is drawn nor a resume changes what was drawn, or from what.
    let cut = [variants[4], &["rl.max_streams=3", "run.threads=1"]].concat();
    assert_eq!(run("few", &cut), timeless(&folder, "run-4"));
    let again = || {
        let sets = variants[4].iter().chain(&["run.dir=resumed"]).flat_map(|set| ["--set", set]);
        RL.into_iter().chain(sets)
    };
    let killed = folder.outcome(folder.start(again(), ("OCTO_KILL_AT", "60")));
    assert_eq!(killed.code, 128 + 9, "{}", killed.stderr);
    folder.succeed(again());
    assert_same(&folder, "resumed", "run-4");
}

#[test]
fn a_divergence_is_not_asked_for_of_a_part_of_the_distribution() {
    let folder = folder(RECIPE);
    let sets = ["--set", "rl.kl.coefficient=0.1", "--set", "rl.sampling.top_p=0.9"];
    let error = folder.fail(RL.into_iter().chain(sets));
    assert!(error.contains("without cuts"), "{error}");
}

#[test]
fn a_task_of_eval_measures_the_weights_in_memory_by_its_own_rules() {
    let recipe = ladder("bandit.toml");
    let text = fs::read_to_string(recipe).unwrap();
    // What is right here, and what is right in a box alone; the second of two questions has another answer, and the longer
    // one is longer than any that is trained on.
    let sets = ["\n[[rl.validation]]\nname = \"same\"\nprompts = \"rows.jsonl\"\nevery_steps = 7\n"]
        .into_iter()
        .map(str::to_owned)
        .chain(["plain", "boxed", "long"].map(|name| {
            format!("\n[[rl.validation]]\nname = \"{name}\"\ntask_file = \"{name}.toml\"\nevery_steps = 7\n")
        }))
        .collect::<String>();
    let folder = folder(&(text + &sets).replace("bandit.jsonl", "train.jsonl"));
    folder.put("train.jsonl", "{\"question\": \"=\", \"answer\": \"7\"}\n");
    let rows = "{\"question\": \"=\", \"answer\": \"7\"}\n{\"question\": \"=\", \"answer\": \"3\"}\n";
    folder.put("rows.jsonl", rows);
    let task = TASK.replace("sums.jsonl", "rows.jsonl");
    folder.put("plain.toml", &task);
    folder.put("boxed.toml", "extends = \"plain\"\nextraction = \"boxed\"\n");
    folder.put("long.toml", "extends = \"plain\"\npreamble = \"1+1=2+2=\"\n");
    folder.succeed(["rl", "recipe.toml", "--set", "run.dir=run", "--set", "rl.steps=30"]);
    let lines = folder.lines("run/metrics.jsonl");
    let of = |name: &str| figures(&lines, &format!("val/test_score/{name}"));
    assert_eq!(of("same").len(), 6, "before, at 7, 14, 21, 28, and after the last");
    assert_eq!(of("plain"), of("same"));
    assert_eq!((of("plain")[0], of("plain")[5]), (0.0, 0.5));
    assert_eq!(of("boxed"), [0.0; 6]);
    assert_eq!(of("long").len(), 6);
    let lengths = |name: &str| figures(&lines, &format!("val_response_length/test_length_correct/{name}"));
    assert_eq!(lengths("plain"), lengths("same"));
    assert_eq!((lengths("plain").last(), lengths("boxed").len()), (Some(&1.0), 0));
    // Nothing that is trained on depends on what is measured.
    folder.succeed([
        "rl",
        "recipe.toml",
        "--set",
        "run.dir=unmeasured",
        "--set",
        "rl.steps=30",
        "--set",
        "rl.validation=[]",
    ]);
    let weights = |dir: &str| folder.read(&format!("{dir}/checkpoints/latest/model/model.safetensors"));
    assert!(weights("run") == weights("unmeasured"));
}

#[test]
fn every_algorithm_takes_its_steps_on_policy() {
    let folder = folder(RECIPE);
    let variants: [&[&str]; 6] = [
        &[
            "rl.advantage=dr_grpo",
            "rl.loss.normalise=constant_length",
            "rl.epochs=2",
            "rl.sampling.temperature=0.7",
        ],
        &["rl.advantage=rloo", "rl.loss.kind=cispo", "rl.loss.clip_low=1.0"],
        &[
            "rl.advantage=\"reinforce++\"",
            "rl.kl.coefficient=0.01",
            "rl.kl.place=reward",
            "rl.kl.estimator=k1",
        ],
        &["rl.advantage=\"reinforce++_baseline\"", "rl.kl.coefficient=0.01", "rl.kl.place=loss"],
        &["rl.loss.kind=gspo", "rl.loss.normalise=sequence_mean", "rl.old_logprobs=step"],
        &["rl.old_logprobs=mini_batch", "rl.importance.kind=truncated", "rl.dynamic_sampling=3"],
    ];
    for (number, variant) in variants.iter().enumerate() {
        let dir = format!("run.dir=run-{number}");
        let sets = variant.iter().flat_map(|set| ["--set", set]);
        folder.succeed(RL.into_iter().chain(["--set", &dir, "--set", "rl.steps=3"]).chain(sets));
        let lines = folder.lines(&format!("run-{number}/metrics.jsonl"));
        let off = figures(&lines, "training/rollout_probs_diff_max");
        assert!(!off.is_empty() && off.iter().all(|off| *off == 0.0), "{variant:?}: {off:?}");
        assert!(figures(&lines, "actor/grad_norm").iter().all(|norm| *norm > 0.0), "{variant:?}");
        if variant.iter().any(|set| set.contains("kl.coefficient")) {
            // The first rollout is the reference's own.
            let kl = figures(&lines, "actor/kl_loss");
            assert!(variant.contains(&"rl.kl.place=reward") || kl[2] > 0.0, "{kl:?}");
        }
    }
}

#[test]
fn a_reward_program_scores_and_one_that_fails_stops_the_run() {
    let program = |script: &str| {
        let own = format!(
            "[[rl.rewards]]\nkind = \"program\"\ncommand = [\"/bin/sh\", \"{script}\"]\ntimeout_seconds = 5\n"
        );
        let (head, tail) = RECIPE.split_once("[[rl.rewards]]").unwrap();
        let (_, tail) = tail.split_once("[[rl.validation]]").unwrap();
        format!("{head}{own}\n[[rl.validation]]{tail}")
    };
    let answering =
        "n=0; while read -r line; do echo \"{\\\"id\\\": $n, \\\"score\\\": 0.5}\"; n=$((n+1)); done\n";
    let folder = folder(&program("good.sh"));
    folder.put("good.sh", answering);
    folder.succeed(RL);
    assert_eq!(figures(&folder.lines("run/metrics.jsonl"), "reward/program/mean"), [0.5; 6]);
    // It answers the probes and the validation, then says that it cannot.
    let tiring = "n=0; while read -r line; do if [ -e tired ]; then echo \"{\\\"id\\\": $n, \\\"error\\\": \\\"tired\\\"}\"; \
                  else echo \"{\\\"id\\\": $n, \\\"score\\\": 0}\"; fi; n=$((n+1)); done\n";
    folder.put("tiring.sh", tiring);
    folder.put("recipe.toml", program("tiring.sh"));
    folder.succeed(["rl", "recipe.toml", "--set", "run.dir=tired-run", "--set", "rl.steps=2"]);
    folder.put("tired", "");
    let outcome = folder.run([
        "rl",
        "recipe.toml",
        "--set",
        "run.dir=tired-run",
        "--set",
        "rl.steps=4",
        "--accept-change",
        "steps",
    ]);
    assert_eq!(outcome.code, 1, "the probe finds it before the first step: {}", outcome.stderr);
    assert!(outcome.stderr.contains("tired"), "{}", outcome.stderr);
    // One that fails in the middle.
    let failing = "n=0; while read -r line; do if [ $n -gt 30 ]; then echo rubbish; else echo \"{\\\"id\\\": $n, \\\"score\\\": 0}\"; fi; \
                   n=$((n+1)); done\n";
    folder.put("failing.sh", failing);
    folder.put("recipe.toml", program("failing.sh").replace("timeout_seconds = 5", "workers = 1"));
    let outcome = folder.run(["rl", "recipe.toml", "--set", "run.dir=failed"]);
    assert_eq!(outcome.code, 0, "one failure in thirty is fewer than a tenth: {}", outcome.stderr);
    let rate = "rl.max_failure_rate=0.01";
    let outcome = folder.run(["rl", "recipe.toml", "--set", "run.dir=strict", "--set", rate]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("rewards failed"), "{}", outcome.stderr);
    assert!(folder.path("strict/checkpoints/latest").exists());
}

/// Killed in the middle of what is no operation on the disk: a validation before the first step, a rollout, a later one's
/// validation. The reward program does it, at a line of its own counting.
#[test]
fn killed_while_it_generates_a_run_ends_with_the_same_bits() {
    let (head, tail) = RECIPE.split_once("[[rl.rewards]]").unwrap();
    let (_, tail) = tail.split_once("[[rl.validation]]").unwrap();
    let program = "[[rl.rewards]]\nkind = \"program\"\ncommand = [\"/bin/sh\", \"kill.sh\"]\nenvironment = [\"KILL_AT\"]\n\
                   workers = 1\n\n[[rl.validation]]";
    let folder = folder(&format!("{head}{program}{tail}"));
    let script = "n=0; while read -r line; do if [ \"$n\" = \"$KILL_AT\" ]; then kill -9 $PPID; exit; fi; \
                  case $line in *'\"response\":\"1'*) s=1;; *) s=0;; esac; \
                  echo \"{\\\"id\\\": $n, \\\"score\\\": $s}\"; n=$((n+1)); done\n";
    folder.put("kill.sh", script);
    folder.succeed(["rl", "recipe.toml", "--set", "run.dir=whole"]);
    // Twelve held-out prompts, then sixteen responses a step, and the twelve again after every second.
    for at in ["5", "20", "50", "62", "75"] {
        let dir = format!("killed-{at}");
        let set = format!("run.dir={dir}");
        let args = || RL.into_iter().chain(["--set", &set]);
        assert_eq!(folder.outcome(folder.start(args(), ("KILL_AT", at))).code, 128 + 9, "at {at}");
        folder.succeed(args());
        assert_same(&folder, &dir, "whole");
    }
}

#[test]
fn groups_all_right_or_all_wrong_teach_nothing_and_stop_nothing() {
    let recipe = RECIPE.replace("entropy_coefficient = 0.01", "entropy_coefficient = 0");
    let (head, tail) = recipe.split_once("[[rl.rewards]]").unwrap();
    let (_, tail) = tail.split_once("[[rl.validation]]").unwrap();
    let still = "\n[optimizer]\nweight_decay = 0.0\n\n[rl.alarms]\nwindow = 1\nreward = \"stop\"\n";
    let with = |pattern: &str| {
        let reward = format!("[[rl.rewards]]\nkind = \"format\"\npattern = '{pattern}'\n");
        format!("{head}{reward}\n[[rl.validation]]{tail}{still}")
    };
    let weights = |folder: &Folder, dir: &str, step: u64| {
        folder.read(&format!("{dir}/checkpoints/step-{step:08}/model/model.safetensors"))
    };
    // No text has a letter that the tokenizer lacks; every text has none of it somewhere.
    for (pattern, score) in [("z*", 1.0), ("z", 0.0)] {
        let folder = folder(&with(pattern).replace("keep = 2", "keep = 9"));
        folder.succeed(RL);
        let lines = folder.lines("run/metrics.jsonl");
        assert_eq!(figures(&lines, "critic/score/mean"), [score; 6], "{pattern:?}");
        assert_eq!(figures(&lines, "critic/rewards/mean"), [score; 6]);
        assert_eq!(figures(&lines, "rollout/zero_std_ratio"), [1.0; 6]);
        assert_eq!(figures(&lines, "actor/grad_norm"), [0.0; 6]);
        assert!(weights(&folder, "run", 2) == weights(&folder, "run", 6));
        // Under dynamic sampling such a step asks on, gives up, and has no figures of what it did not learn.
        let dynamic = ["--set", "rl.dynamic_sampling=3", "--set", "run.dir=dynamic"];
        let told = folder.succeed(RL.into_iter().chain(dynamic));
        let told = told.stdout + &told.stderr;
        assert!(told.contains("no prompt had samples that differ"), "{told}");
        let lines = folder.lines("dynamic/metrics.jsonl");
        assert_eq!(figures(&lines, "rollout/rounds"), [3.0; 6]);
        assert_eq!(figures(&lines, "rollout/prompts"), [0.0; 6]);
        assert_eq!(figures(&lines, "rollout/prompts_left_out"), [12.0; 6]);
        assert_eq!(figures(&lines, "training/optimizer_step"), [0.0; 6]);
        assert_eq!(figures(&lines, "training/epoch").last(), Some(&0.72));
        assert!(weights(&folder, "dynamic", 6) == weights(&folder, "run", 6));
    }
}

#[test]
fn responses_that_were_cut_off_are_left_out_of_the_loss_where_that_is_asked_for() {
    let folder = folder(RECIPE);
    let run = |dir: &str, sets: &[&str]| {
        let dir = format!("run.dir={dir}");
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        folder.succeed(RL.into_iter().chain(["--set", &dir]).chain(sets));
    };
    let lines = |dir: &str| timeless(&folder, dir);
    let weights = |dir: &str| folder.read(&format!("{dir}/checkpoints/latest/model/model.safetensors"));
    run("kept", &[]);
    run("left-out", &["rl.mask_truncated=true"]);
    let cut = |dir: &str| figures(&lines(dir), "response_length/clip_ratio")[0];
    assert!(cut("kept") > 0.0 && cut("kept") < 1.0, "some are cut: {}", cut("kept"));
    // They are drawn and judged all the same, and count in their groups.
    for name in ["critic/rewards/mean", "critic/advantages/max", "response_length/clip_ratio"] {
        assert_eq!(figures(&lines("kept"), name)[0], figures(&lines("left-out"), name)[0], "{name}");
    }
    assert!(weights("kept") != weights("left-out"));
    let off = figures(&lines("left-out"), "training/rollout_probs_diff_max");
    assert!(!off.is_empty() && off.iter().all(|off| *off == 0.0), "{off:?}");
    // Where none is cut, nothing changes: each response ends with its first token.
    let stops = "rl.stop=[\"0\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"+\",\"-\",\"=\",\"/\",\">\",\"\\\\\",\
                 \"b\",\"o\",\"x\",\"e\",\"d\",\"{\",\"}\"]";
    run("whole", &[stops]);
    run("whole-left-out", &[stops, "rl.mask_truncated=true"]);
    assert_eq!(figures(&lines("whole"), "response_length/clip_ratio"), [0.0; 6]);
    assert_same(&folder, "whole", "whole-left-out");
    // Where all are, nothing is learned, and nothing but the weights' rest is told of the policy.
    let all = ["rl.mask_truncated=true", "rl.max_response_tokens=1", "rl.steps=1", "rl.batch_prompts=2"];
    run("none", &[&all[..], &["rl.mini_batch_prompts=1", "rl.samples_per_prompt=2"]].concat());
    let none = lines("none");
    assert_eq!(figures(&none, "response_length/clip_ratio"), [1.0]);
    assert_eq!(figures(&none, "training/optimizer_step"), [0.0]);
    assert!(figures(&none, "actor/entropy").is_empty() && figures(&none, "actor/pg_loss").is_empty());
}

#[test]
fn an_alarm_that_stops_says_how_to_go_on_from_before_it() {
    let alarms = "\n[rl.alarms]\nwindow = 2\nlength = \"off\"\nlength_clip_ratio = 0.01\n";
    let folder = folder(&(RECIPE.replace("keep = 2", "keep = 9") + alarms));
    folder.succeed(["rl", "recipe.toml", "--set", "rl.steps=4"]);
    let on = ["rl", "recipe.toml", "--accept-change", "steps", "--set", "rl.alarms.length=stop"];
    let outcome = folder.run(on);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("ran into the cap"), "{}", outcome.stderr);
    let way = "--set model.from=DIR/run/checkpoints/step-00000002 --set model.optimizer_state=load --set run.seed=3";
    assert!(outcome.stderr.contains(way), "{}", outcome.stderr);
    let status: Value = serde_json::from_slice(&folder.read("run/status.json")).unwrap();
    assert_eq!(status["state"], "stopped by guard");
    // And so it goes on.
    let from = ["--set", "model.from=run/checkpoints/step-00000002", "--set", "model.optimizer_state=load"];
    let other = ["--set", "run.seed=3", "--set", "run.dir=other", "--set", "rl.steps=1"];
    let config = RECIPE.split("[model]").next().unwrap().to_owned()
        + "[model]\nfrom = \"x\"\n\n[rl]"
        + RECIPE.split("[rl]").nth(1).unwrap();
    folder.put("branch.toml", config);
    folder.succeed(["rl", "branch.toml"].into_iter().chain(from).chain(other));
}

#[test]
fn the_best_model_is_kept() {
    let folder = folder(&RECIPE.replace("steps = 6", "steps = 6\nkeep_best = \"sums\""));
    folder.succeed(RL);
    let lines = folder.lines("run/metrics.jsonl");
    let measured = lines
        .iter()
        .filter(|line| line["step"] != 0)
        .filter_map(|line| Some((line["step"].as_u64()?, line.get("val/test_score/sums")?.as_f64()?)));
    let best = measured.fold((0, f64::MIN), |best, now| if now.1 > best.1 { now } else { best });
    let kept: Vec<String> = fs::read_dir(folder.path("run/milestones"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept, [format!("step-{:08}", best.0)]);
}

#[test]
fn what_is_wrong_is_said_before_a_run_begins() {
    let folder = folder(RECIPE);
    assert!(folder.fail(["train", "recipe.toml"]).contains("octo-engine rl"));
    folder.put("tiny.toml", crate::folder::RECIPE);
    folder.put("tokenizer.json", fs::read(ladder("characters.json")).unwrap());
    assert!(folder.fail(["rl", "tiny.toml"]).contains("octo-engine train"));
    folder.put("rows.jsonl", "{\"question\": \"1+1=\", \"answer\": \"2\"}\n{\"question\": \"1+\"}\n");
    let rows =
        RECIPE.replace("generated = { kind = \"modular-addition\", rows = 100 }", "prompts = \"rows.jsonl\"");
    folder.put("recipe.toml", &rows);
    let error = folder.fail(RL);
    assert!(error.contains("rows.jsonl:2") && error.contains("answer"), "{error}");
    folder.put("rows.jsonl", "{\"question\": \"1+1=\", \"answer\": \"\\\\frac{1}{\"}\n");
    assert!(folder.fail(RL).contains("rows.jsonl:1"));
    folder.put("rows.jsonl", "{\"question\": \"1+1+1+1=\", \"answer\": \"4\"}\n");
    assert!(folder.fail(RL).contains("1 have more than 4 tokens"));
    assert!(!folder.path("run").exists());
}

#[test]
fn prompts_that_have_changed_are_not_trained_on() {
    let rows =
        RECIPE.replace("generated = { kind = \"modular-addition\", rows = 100 }", "prompts = \"rows.jsonl\"");
    let folder = folder(&rows);
    folder.put("rows.jsonl", "{\"question\": \"1+1=\", \"answer\": \"2\"}\n");
    folder.succeed(["rl", "recipe.toml", "--set", "rl.steps=2"]);
    folder.put("rows.jsonl", "{\"question\": \"1+1=\", \"answer\": \"3\"}\n");
    let error = folder.fail(["rl", "recipe.toml", "--accept-change", "steps"]);
    assert!(error.contains("prompts are not what they were"), "{error}");
}

#[test]
fn asked_to_stop_a_run_saves_and_goes_on_with_the_same_bits() {
    let recipe = RECIPE
        .replace("steps = 6", "steps = 4000")
        .replace("every_steps = 2\nkeep", "every_steps = 100_000\nkeep");
    let folder = folder(
        &(recipe.replace("shape = \"linear\", lr = 1e-2, warmup_steps = 2", "lr = 1e-2")
            + "\n[log]\nevery_steps = 1\n"),
    );
    let mut child = folder.start(RL, ("OCTO_LOG", "warn"));
    crate::resuming::wait_for_a_step(&mut child);
    let kill = std::process::Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
    assert!(kill.unwrap().success());
    assert_eq!(folder.outcome(child).code, 75);
    let done = timeless(&folder, "run").len() as u64 - 1;
    assert!(folder.path(&format!("run/checkpoints/step-{done:08}/state/loop.json")).exists());
    let steps = format!("rl.steps={}", done + 3);
    folder.succeed(["rl", "recipe.toml", "--set", &steps]);
    folder.succeed(["rl", "recipe.toml", "--set", &steps, "--set", "run.dir=whole"]);
    assert_eq!(timeless(&folder, "run"), timeless(&folder, "whole"));
    let weights = |dir: &str| folder.read(&format!("{dir}/checkpoints/latest/model/model.safetensors"));
    assert!(weights("run") == weights("whole"));
}

#[test]
fn the_same_recipe_runs_on_the_simulated_gpu_and_is_as_exact_there() {
    let folder = Folder::new();
    let recipe = ladder("bandit.toml");
    let args = ["--set", "run.dir=run", "--set", "run.device=sim", "--set", "model.config.hidden_size=64"];
    let small =
        ["--set", "rl.steps=2", "--set", "rl.samples_per_prompt=4", "--set", "rl.entropy_coefficient=0.1"];
    folder.succeed(["rl", recipe.to_str().unwrap()].into_iter().chain(args).chain(small));
    let lines = folder.lines("run/metrics.jsonl");
    assert_eq!(figures(&lines, "training/rollout_probs_diff_max"), [0.0; 2]);
    assert_eq!(figures(&lines, "training/first_minibatch_ppo_kl"), [0.0; 2]);
    assert!(figures(&lines, "actor/grad_norm").iter().all(|norm| *norm > 0.0));
    let set = |key: &'static str| ["--set", key];
    let cuts = [set("run.dir=cut"), set("rl.sampling.top_k=7"), set("rl.sampling.temperature=0.9")].concat();
    folder.succeed(["rl", recipe.to_str().unwrap()].into_iter().chain(args).chain(small).chain(cuts));
    let lines = folder.lines("cut/metrics.jsonl");
    assert_eq!(figures(&lines, "training/rollout_probs_diff_max"), [0.0; 2]);
    assert!(figures(&lines, "actor/entropy").iter().all(|h| *h > 0.0 && *h <= 7f64.ln() + 1e-6));
}

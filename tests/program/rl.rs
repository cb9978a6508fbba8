//! RL runs as their users meet them: what they learn and what they leave. `rl_faults.rs` has what stops them.

use crate::folder::Folder;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Six steps on sums of two digits, with two updates each and a validation set.
pub(crate) const RECIPE: &str = r#"
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
pub(crate) const TASK: &str = r#"
data = ["sums.jsonl"]
prompt = "{{ question }}"
gold = "{{ answer }}"
modes = ["strict"]
"#;

pub(crate) fn ladder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/ladder").join(name)
}

pub(crate) fn folder(recipe: &str) -> Folder {
    let folder = Folder::new();
    folder.put("characters.json", fs::read(ladder("characters.json")).unwrap());
    folder.put("recipe.toml", recipe);
    folder.put("sums.toml", TASK);
    let row = |n: u64| format!("{{\"question\": \"{n}+1=\", \"answer\": \"{}\"}}\n", n + 1);
    folder.put("sums.jsonl", (0..5).map(row).collect::<String>());
    folder
}

pub(crate) const RL: [&str; 2] = ["rl", "recipe.toml"];

/// The lines of `metrics.jsonl` without what depends on the clock.
pub(crate) fn timeless(folder: &Folder, dir: &str) -> Vec<Value> {
    let mut lines = folder.lines(&format!("{dir}/metrics.jsonl"));
    for line in &mut lines {
        line.as_object_mut().unwrap().retain(|name, _| !octo_rl::is_time_field(name));
    }
    lines
}

pub(crate) fn figures(lines: &[Value], name: &str) -> Vec<f64> {
    lines.iter().filter_map(|line| line.get(name)?.as_f64()).collect()
}

/// What two equal runs share: weights and optimizer state, the loop's own state, metrics, samples.
#[track_caller]
pub(crate) fn assert_same(folder: &Folder, one: &str, other: &str) {
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
        assert!(told.contains(", of it supports 96 B)"), "{told}");
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

#[test]
fn a_dry_run_tells_of_prompts_steps_and_memory_and_writes_nothing() {
    let folder = folder(RECIPE);
    let told = folder.succeed(RL.into_iter().chain(["--dry-run", "--set", "optimizer.moments=f32"])).stdout;
    for line in [
        "/run: begins",
        "steps    6 of 4 prompts × 4 responses, updates a step: 2, 0.24 passes over the prompts",
        "length   at most 2 tokens from step 1, 5 tokens from step 4",
        "device   cpu: 2 threads",
    ] {
        assert!(told.contains(line), "{told}");
    }
    // One region serves both phases; it has the larger one's size.
    let memory = told.lines().find(|line| line.starts_with("memory ")).unwrap();
    assert!(
        memory.contains("in turns ") && memory.contains("(rollout ") && memory.contains(", update "),
        "{memory}"
    );
    assert!(!folder.path("run").exists());
    let recipe = folder.succeed(RL.into_iter().chain(["--dry-run=recipe"])).stdout;
    assert!(recipe.starts_with("[run]"), "{recipe}");
    // Where the data is not: what the recipe says alone.
    let told = folder.succeed(RL.into_iter().chain(["--dry-run", "--no-paths"])).stdout;
    assert!(told.contains("updates a step: 2\n") && !told.contains("memory"), "{told}");
}

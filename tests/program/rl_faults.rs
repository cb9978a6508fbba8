//! What stops an RL run, and how it goes on: faults of reward programs, kills, groups that teach nothing, alarms.

use crate::folder::Folder;
use crate::rl::{RECIPE, RL, assert_same, figures, folder, ladder, timeless};
use serde_json::Value;
use std::fs;

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
fn a_divergence_is_not_asked_for_of_a_part_of_the_distribution() {
    let folder = folder(RECIPE);
    let sets = ["--set", "rl.kl.coefficient=0.1", "--set", "rl.sampling.top_p=0.9"];
    let error = folder.fail(RL.into_iter().chain(sets));
    assert!(error.contains("without cuts"), "{error}");
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

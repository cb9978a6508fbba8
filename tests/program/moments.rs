//! Runs whose optimizer keeps its moments in bf16.

use crate::folder::{Folder, Outcome, RECIPE};
use crate::training::timeless;
use std::fs;

fn folder() -> Folder {
    let folder = Folder::tiny();
    folder.put("recipe.toml", RECIPE.to_owned() + "\n[checkpoints]\nevery_steps = 3\nkeep = 2\n");
    folder
}

/// `train` with these settings.
fn args(dir: &str, sets: &[&str]) -> Vec<String> {
    let sets = sets.iter().map(|set| (*set).to_owned()).chain([format!("run.dir={dir}")]);
    let sets = sets.flat_map(|set| ["--set".to_owned(), set]);
    ["train", "recipe.toml"].map(str::to_owned).into_iter().chain(sets).collect()
}

fn killed(folder: &Folder, dir: &str, sets: &[&str], at: &str) {
    let outcome = folder.outcome(folder.start(args(dir, sets), ("OCTO_KILL_AT", at)));
    assert_eq!(outcome.code, 128 + 9, "{}", outcome.stderr);
}

fn losses(folder: &Folder, dir: &str) -> Vec<f64> {
    timeless(folder, dir).iter().map(|line| line["lm_loss"].as_f64().unwrap()).collect()
}

const HALF: &str = "optimizer.moments=bf16";

#[test]
fn killed_a_run_with_bf16_moments_ends_with_the_same_bits_and_follows_f32s_losses() {
    for weights in ["model.weights=f32", "model.weights=bf16"] {
        let folder = folder();
        folder.succeed(args("single", &[weights]));
        folder.succeed(args("whole", &[weights, HALF]));
        let mut files =
            vec!["model/model.safetensors", "state/moment1.safetensors", "state/moment2.safetensors"];
        if weights.ends_with("bf16") {
            files.push("state/masters.safetensors");
        }
        let file = |dir: &str, file: &str| folder.read(&format!("{dir}/checkpoints/step-00000010/{file}"));
        for at in ["90", "170"] {
            let dir = format!("killed-{at}");
            killed(&folder, &dir, &[weights, HALF], at);
            folder.succeed(args(&dir, &[weights, HALF]));
            for name in &files {
                assert!(file(&dir, name) == file("whole", name), "{weights}, killed at {at}: {name}");
            }
            assert_eq!(timeless(&folder, &dir), timeless(&folder, "whole"));
        }
        for moment in ["state/moment1.safetensors", "state/moment2.safetensors"] {
            let (single, half) = (file("single", moment), file("whole", moment));
            let header = String::from_utf8_lossy(&half[8..400]).into_owned();
            assert!(header.contains("\"BF16\"") && header.contains("model.embed_tokens.weight"), "{header}");
            // 34,976 parameters, two bytes of each instead of four.
            assert!((single.len() - half.len()).abs_diff(2 * 34_976) < 64, "{} {}", single.len(), half.len());
        }
        let (single, half) = (losses(&folder, "single"), losses(&folder, "whole"));
        assert_eq!(single[0], half[0]);
        assert_ne!(single, half);
        for (single, half) in single.iter().zip(&half) {
            assert!((single - half).abs() < 0.01 * single, "{single} {half}");
        }
        folder.succeed(["doctor", "whole/checkpoints/step-00000010"]);
    }
}

#[test]
fn a_run_keeps_what_its_moments_are_held_in_until_another_is_accepted() {
    let folder = folder();
    let held = |dir: &str| {
        let recipe = String::from_utf8(folder.read(&format!("{dir}/recipe.toml"))).unwrap();
        let line = recipe.lines().find(|line| line.starts_with("moments = "));
        line.map(str::to_owned)
    };
    folder.succeed(args("single", &[]));
    assert_eq!(held("single").as_deref(), Some("moments = \"f32\""), "`auto` is written out");
    for (dir, from, to) in [("narrowed", "f32", "bf16"), ("widened", "bf16", "f32")] {
        let [from, to] = [from, to].map(|held| format!("optimizer.moments={held}"));
        killed(&folder, dir, &[&from], "150");
        let refused: Outcome = folder.run(args(dir, &[&to]));
        assert_eq!(refused.code, 1);
        let line = |sign: &str, set: &str| {
            format!("{sign} optimizer.moments = \"{}\"", set.strip_prefix("optimizer.moments=").unwrap())
        };
        for line in [line("-", &from), line("+", &to), "--accept-change optimizer.moments".into()] {
            assert!(refused.stderr.contains(&line), "{line} in {}", refused.stderr);
        }
        let accept = ["--accept-change", "moments"].map(str::to_owned);
        folder.succeed(args(dir, &[&to]).into_iter().chain(accept));
        assert_eq!(folder.lines(&format!("{dir}/lineage.jsonl")).last().unwrap()["accepted"][0], "moments");
        assert_eq!(held(dir), Some(to.replace("optimizer.moments=", "moments = \"") + "\""));
        for (single, other) in losses(&folder, "single").iter().zip(losses(&folder, dir)) {
            assert!((single - other).abs() < 0.01 * single, "{dir}: {single} {other}");
        }
        // Left to the program again it stays what it has become.
        folder.succeed(args(dir, &[]));
    }
    // A run from before there was a choice had f32.
    let recipe = String::from_utf8(folder.read("single/recipe.toml")).unwrap();
    folder.put("single/recipe.toml", recipe.replace("moments = \"f32\"\n", ""));
    assert_eq!(folder.run(args("single", &[HALF])).code, 1);
    folder.succeed(args("single", &[]));
    let wrong = folder.fail(args("wrong", &["optimizer.moments=fp8"]));
    for name in ["optimizer.moments", "auto", "f32", "bf16"] {
        assert!(wrong.contains(name), "{name} in {wrong}");
    }
    assert!(!folder.path("wrong").exists());
}

#[test]
fn a_branch_takes_bf16_moments_along_and_a_model_without_them_is_as_it_was() {
    let folder = folder();
    folder.succeed(args("whole", &[HALF]));
    let recipe = String::from_utf8(folder.read("recipe.toml")).unwrap();
    let recipe = recipe.replace("tokenizer = \"tokenizer.json\"\n", "");
    let shape = recipe.find("[model.config]").unwrap()..recipe.find("[data").unwrap();
    let recipe = recipe.replace(&recipe[shape], "");
    let model = "[model]\nfrom = \"whole/checkpoints/latest\"\noptimizer_state = \"load\"\n";
    folder.put("recipe.toml", recipe.replace("[model]\n", model));
    let end = |dir: &str, sets: &[&str]| {
        folder.succeed(args(dir, sets));
        fs::read(folder.path(&format!("{dir}/checkpoints/latest/model/model.safetensors"))).unwrap()
    };
    let (half, again) = (end("half", &[HALF]), end("again", &[HALF]));
    assert!(half == again);
    assert!(end("wide", &["optimizer.moments=f32"]) != half);
    assert!(end("fresh", &[HALF, "model.optimizer_state=fresh"]) != half);
    for (wide, half) in losses(&folder, "wide").iter().zip(losses(&folder, "half")) {
        assert!((wide - half).abs() < 0.01 * wide, "{wide} {half}");
    }
}

#[test]
fn an_rl_run_has_the_same_choice_and_goes_on_with_the_same_bits() {
    let recipe = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/ladder/bandit.toml");
    let recipe = recipe.to_str().unwrap();
    let folder = Folder::new();
    let args = |dir: &str, more: &[&str]| {
        let dir = format!("run.dir={dir}");
        let sets = ["rl.steps=6", "checkpoints.every_steps=2", &dir];
        let sets = sets.iter().chain(more).flat_map(|set| ["--set".to_owned(), (*set).to_owned()]);
        ["rl".to_owned(), recipe.to_owned()].into_iter().chain(sets).collect::<Vec<_>>()
    };
    folder.succeed(args("single", &[]));
    folder.succeed(args("whole", &[HALF]));
    let outcome = folder.outcome(folder.start(args("run", &[HALF]), ("OCTO_KILL_AT", "90")));
    assert_eq!(outcome.code, 128 + 9, "{}", outcome.stderr);
    folder.succeed(args("run", &[HALF]));
    let file = |dir: &str, file: &str| folder.read(&format!("{dir}/checkpoints/step-00000006/{file}"));
    for name in ["model/model.safetensors", "state/moment1.safetensors", "state/moment2.safetensors"] {
        assert!(file("run", name) == file("whole", name), "{name}");
    }
    assert!(file("single", "model/model.safetensors") != file("whole", "model/model.safetensors"));
    let resolved = |dir: &str| String::from_utf8(folder.read(&format!("{dir}/recipe.toml"))).unwrap();
    assert!(
        resolved("single").contains("moments = \"f32\"") && resolved("whole").contains("moments = \"bf16\"")
    );
    assert!(
        String::from_utf8_lossy(&file("whole", "state/moment2.safetensors")[8..400]).contains("\"BF16\"")
    );
}

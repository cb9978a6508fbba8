//! Runs from a recipe to a model.

use crate::folder::{Folder, MODEL};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeSet;

pub const WEIGHTS: &str = "run/checkpoints/latest/model/model.safetensors";

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("{key} in {line}"))
}

/// The lines without what a clock says.
pub fn timeless(folder: &Folder, dir: &str) -> Vec<Value> {
    let mut lines = folder.lines(&format!("{dir}/metrics.jsonl"));
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("tokens_per_sec").unwrap();
    }
    lines
}

#[test]
fn ten_steps_leave_metrics_samples_and_a_model() {
    let folder = Folder::tiny();
    let outcome = folder.succeed(["train", "recipe.toml"]);

    let metrics = folder.lines("run/metrics.jsonl");
    assert_eq!(metrics.len(), 10);
    for (i, line) in metrics.iter().enumerate() {
        let step = i as u64 + 1;
        assert_eq!((line["step"].as_u64(), line["consumed_tokens"].as_u64()), (Some(step), Some(128 * step)));
        assert!(number(line, "grad_norm") > 0.0 && number(line, "tokens_per_sec") > 0.0);
        let keys: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = vec!["step", "consumed_tokens", "lm_loss", "lr", "grad_norm", "tokens_per_sec"];
        expected.extend([4, 8, 10].contains(&step).then_some("val_loss/held-out"));
        assert_eq!(keys, expected.into_iter().collect());
    }
    let lr: Vec<f64> = metrics.iter().map(|line| number(line, "lr")).collect();
    assert_eq!(lr[..3], [5e-3, 1e-2, 1e-2]);
    assert_eq!(lr[9], 0.0);
    let loss = |i: usize| number(&metrics[i], "lm_loss");
    assert!((loss(0) - 304f64.ln()).abs() < 1.0, "an untrained model guesses: {}", loss(0));
    assert!(loss(9) < loss(0) - 0.5, "from {} to {}", loss(0), loss(9));

    let samples = folder.lines("run/samples.jsonl");
    let of = |line: &Value| (line["step"].as_u64().unwrap(), line["prompt"].as_str().unwrap().to_owned());
    let expected = [(5, "Ann has 3"), (5, "Tom"), (10, "Ann has 3"), (10, "Tom")];
    assert_eq!(samples.iter().map(of).collect::<Vec<_>>(), expected.map(|(s, p)| (s, p.to_owned())));
    assert!(samples.iter().all(|line| !line["text"].as_str().unwrap().is_empty()));

    let held_out = number(&metrics[9], "val_loss/held-out");
    assert!(
        outcome.stdout.starts_with(&format!("held-out held-out: loss {held_out:.4}, ")),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("\nrun      run\nmodel    run/checkpoints/step-00000010/model\nnext     ")
    );
    for line in ["device   cpu: 2 threads", "data     problems: 60 documents, ", "step 10/10  loss "] {
        assert!(outcome.stderr.contains(line), "{line} in {}", outcome.stderr);
    }
    let model = folder.path(MODEL);
    assert!(model.ends_with("latest/model") && folder.path("run/checkpoints/latest").is_symlink());
    for file in ["config.json", "model.safetensors", "tokenizer.json", "README.md"] {
        assert!(model.join(file).is_file(), "{file}");
    }
}

#[test]
fn the_number_of_threads_changes_no_byte_of_a_run() {
    let folder = Folder::tiny();
    for threads in ["1", "2", "3"] {
        let (dir, threads) = (format!("run.dir=run{threads}"), format!("run.threads={threads}"));
        folder.succeed(["train", "recipe.toml", "--set", &dir, "--set", &threads]);
    }
    for threads in ["2", "3"] {
        assert_eq!(timeless(&folder, &format!("run{threads}")), timeless(&folder, "run1"));
        for file in ["samples.jsonl", "checkpoints/latest/model/model.safetensors"] {
            let same = folder.read(&format!("run{threads}/{file}")) == folder.read(&format!("run1/{file}"));
            assert!(same, "{file} differs between 1 and {threads} threads");
        }
    }
}

#[test]
fn the_recipe_in_a_run_s_folder_makes_the_same_run_again() {
    let folder = Folder::trained();
    folder.succeed(["train", "run/recipe.toml", "--set", "run.dir=again"]);
    assert_eq!(timeless(&folder, "again"), timeless(&folder, "run"));
    assert!(folder.read(&WEIGHTS.replacen("run", "again", 1)) == folder.read(WEIGHTS));
    folder.succeed(["train", "recipe.toml", "--set", "run.dir=other", "--set", "run.seed=4"]);
    assert!(folder.read(&WEIGHTS.replacen("run", "other", 1)) != folder.read(WEIGHTS));
}

#[test]
fn rows_of_json_are_filtered_written_out_and_counted() {
    let folder = Folder::tiny();
    let mut rows = String::new();
    for i in 0..40 {
        rows += &format!("{{\"q\": \"{i} and {i}\", \"a\": \"make {}\", \"keep\": {}}}\n", 2 * i, i % 4 != 0);
    }
    // A line without anything is no row; these two are rows without a document.
    rows += "\n{\"q\": \"\", \"a\": \"\", \"keep\": true}\n{\"q\": \" \", \"a\": \"\", \"keep\": true}\n";
    folder.put("data/rows.jsonl", rows);
    let generated = r#"generated = { kind = "word-problems", rows = 60, seed = 1 }
text = "{{ question }} {{ answer }}""#;
    let path = "path = \"data/*.jsonl\"\ntext = \"{{ q }} {{ a }}\"\nwhere = \"keep\"";
    folder.put("recipe.toml", crate::folder::RECIPE.replacen(generated, path, 1));
    let outcome = folder.succeed(["train", "recipe.toml"]);
    let line = outcome.stderr.lines().find(|line| line.starts_with("data     problems")).unwrap();
    assert!(line.starts_with("data     problems: 30 documents, "), "{line}");
    assert!(line.ends_with("(42 rows read, 10 filtered, 2 empty)"), "{line}");
    assert_eq!(folder.lines("run/metrics.jsonl").len(), 10);
}

#[test]
fn a_text_file_is_one_document() {
    let folder = Folder::tiny();
    folder.put("book.txt", "It was a bright day, and the clocks were striking.\n".repeat(40));
    let generated = r#"generated = { kind = "word-problems", rows = 60, seed = 1 }
text = "{{ question }} {{ answer }}""#;
    folder.put("recipe.toml", crate::folder::RECIPE.replacen(generated, "path = \"book.txt\"", 1));
    let outcome = folder.succeed(["train", "recipe.toml"]);
    assert!(outcome.stderr.contains("data     problems: 1 document, "), "{}", outcome.stderr);
    let metrics = folder.lines("run/metrics.jsonl");
    assert!(number(&metrics[9], "lm_loss") < number(&metrics[0], "lm_loss"));
}

#[test]
fn a_dry_run_says_what_a_run_comes_to_and_makes_nothing() {
    let folder = Folder::tiny();
    let plan = |args: &[&str]| folder.run(["train", "recipe.toml", "--dry-run"].iter().chain(args)).stdout;
    let text = plan(&["--set", "stages.0.steps=7", "--set", "checkpoints.milestones=256"]);
    assert!(!folder.path("run").exists());
    for line in [
        "run      DIR/run: begins",
        // Embedding and head of 304 × 32, and in each of two layers q and o of 32 × 32, k and v of 32 × 16, three
        // of 32 × 48, two norms; the last norm.
        "model    34,976 parameters in f32",
        "stage    learn: 7 steps of 128 tokens, 896 in all; 2 × 64 a step, sequences of 32",
        "lr by step: 1 5.00e-3, 2 1.00e-2, 3 1.00e-2,",
        "total    7 steps, 896 tokens",
        "device   cpu: 2 threads",
        // Embedding, two layers and head begin on multiples of 8,192 elements: six of these.
        "on cpu: weights 192.00 KiB, gradients 192.00 KiB, moments 384.00 KiB, activations",
        "; moments = f32; recompute = none",
        // Three times four bytes a parameter; after the last step and every second one before, 128 tokens each.
        "4 checkpoints of 409.88 KiB, 3 milestones of 136.62 KiB;",
        " for 896 tokens at ",
        "estimated from a product",
    ] {
        assert!(
            text.replace(folder.path("").to_str().unwrap().trim_end_matches('/'), "DIR").contains(line),
            "{line} in {text}"
        );
    }
    assert!(text.contains("problems: 896 tokens, 100.0 %, "), "{text}");
    let without = plan(&["--no-paths", "--set", "model.tokenizer=none.json"]);
    assert!(without.contains("total    10 steps") && !without.contains("memory"), "{without}");

    // Of a run that is there already it says how it goes on, and leaves every byte of it as it is.
    folder.succeed(["train", "recipe.toml"]);
    let kept =
        || [folder.read("run/lineage.jsonl"), folder.read("run/status.json"), folder.read("run/recipe.toml")];
    let before = kept();
    assert!(plan(&[]).contains("all 10 steps are done"));
    let longer = ["--set", "stages.0.steps=12"];
    let refused = folder.fail(["train", "recipe.toml", "--dry-run"].iter().chain(&longer));
    assert!(refused.contains("+ stages[0].steps = 12"), "{refused}");
    let text = plan(&[&longer[..], &["--accept-change", "stages.0.steps"]].concat());
    assert!(
        text.contains("goes on after step 10 of 12") && text.contains("as measured in this run"),
        "{text}"
    );
    assert!(kept() == before && !folder.path("run/damaged").exists());
}

/// On the simulated GPU, which has the memory of an H200, because a plan takes none of it.
#[test]
fn what_the_device_does_not_hold_is_refused_with_what_would_fit() {
    let folder = Folder::tiny();
    let run = |dry: &[&str], more: &[&str]| {
        // Llama 3.1 8B with a small vocabulary: 6,982,078,464 parameters, of which each takes 16 bytes.
        let shape = ["hidden_size=4096", "intermediate_size=14336", "num_hidden_layers=32"];
        let heads = ["num_attention_heads=32", "num_key_value_heads=8", "max_position_embeddings=8192"];
        let rows = ["data.sources.problems.generated.rows=2000", "validation.0.generated.rows=500"];
        let stage = ["sequence_length=4096", "batch_tokens=65536", "micro_batch_tokens=16384"];
        let model = shape.iter().chain(&heads).map(|set| format!("model.config.{set}"));
        let stage = stage.iter().map(|set| format!("stages.0.{set}"));
        let rest = ["run.device=sim"].iter().chain(&rows).chain(more).map(|set| (*set).to_owned());
        let sets = model.chain(stage).chain(rest).flat_map(|set| ["--set".to_owned(), set]);
        let command = ["train", "recipe.toml"].iter().chain(dry).map(|word| (*word).to_owned());
        folder.run(command.chain(sets))
    };
    // Of a token in a layer 92 KiB stay where 136 do not fit.
    let plan = run(&["--dry-run"], &["stages.0.micro_batch_tokens=8192"]).stdout;
    assert!(plan.contains(" of 130.82 GiB on sim: weights 13.01 GiB, remainder 13.01 GiB"), "{plan}");
    // f32 moments stay where something else gives room.
    assert!(plan.contains("; moments = f32; recompute = norm_swiglu\n"), "{plan}");
    // Where nothing does, they are bf16; where they may not be, that is one of the remedies.
    let half = ["stages.0.micro_batch_tokens=8192", "memory.recompute=none"];
    let plan = run(&["--dry-run"], &half).stdout;
    assert!(
        plan.contains(", moments 26.0") && plan.contains("; moments = bf16; recompute = none\n"),
        "{plan}"
    );
    let told = run(&["--dry-run"], &[&half[..], &["optimizer.moments=f32"]].concat()).stderr;
    assert!(
        told.contains("; moments = f32; ") && told.contains("\n  --set optimizer.moments=bf16 ("),
        "{told}"
    );
    // As told and as begun: all that is kept takes too much, and either remedy is one.
    let none = ["memory.recompute=none", "optimizer.moments=f32"];
    let dry = run(&["--dry-run"], &none);
    let (begun, told) = (run(&[], &none), &dry.stderr[dry.stderr.find("error: ").unwrap()..]);
    assert_eq!((dry.code, begun.code), (1, 1));
    assert!(dry.stdout.contains("memory ") && begun.stderr.ends_with(told), "{begun:?}");
    for words in [
        "the run does not fit its device, which lacks ",
        "it fits with\n  --set memory.recompute=ffn (",
        " to spare)\n  --set stages.0.micro_batch_tokens=4096 (",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    for remedy in ["memory.recompute=ffn", "stages.0.micro_batch_tokens=4096"] {
        assert!(
            run(&["--dry-run"], &[none[0], none[1], remedy]).stderr.find("does not fit its device").is_none()
        );
    }
    let larger = run(&["--dry-run"], &["model.config.num_hidden_layers=64"]).stderr;
    assert!(
        larger.contains("no micro-batch, memory.recompute or optimizer.moments makes it fit"),
        "{larger}"
    );
    assert!(!folder.path("run").exists());
    // The device that is named is the one that would run.
    let single = run(&["--dry-run"], &["model.weights=f32"]).stderr;
    assert!(single.contains("cannot be had on device `sim`"), "{single}");
}

#[test]
fn a_dry_run_that_the_disk_would_not_hold_fails() {
    let folder = Folder::tiny();
    let error = folder.fail(["train", "recipe.toml", "--dry-run", "--set", "checkpoints.keep=1T"]);
    assert!(error.contains("the disk will not hold what the run keeps"), "{error}");
}

#[test]
fn a_dry_run_says_what_a_recipe_resolves_to() {
    let folder = Folder::tiny();
    let outcome = folder.succeed(["train", "recipe.toml", "--dry-run=recipe", "--set", "stages.0.steps=7"]);
    assert!(!folder.path("run").exists());
    let resolved: toml::Table = outcome.stdout.parse().unwrap();
    assert_eq!(resolved["stages"][0]["steps"].as_integer(), Some(7));
    assert_eq!(resolved["run"]["dir"].as_str(), folder.path("run").to_str());
    assert_eq!(resolved["optimizer"]["betas"][1].as_float(), Some(0.95), "defaults are written out");
    folder.put("resolved.toml", &outcome.stdout);
    assert_eq!(folder.succeed(["train", "resolved.toml", "--dry-run=recipe"]).stdout, outcome.stdout);
}

#[test]
fn a_trained_model_can_be_trained_on() {
    let folder = Folder::trained();
    let start = crate::folder::RECIPE.find("[model]").unwrap();
    let end = crate::folder::RECIPE.find("[data.").unwrap();
    let from = format!("[model]\nfrom = \"{MODEL}\"\n\n");
    let recipe = crate::folder::RECIPE.to_owned();
    folder.put("on.toml", [&recipe[..start], from.as_str(), &recipe[end..]].concat());
    // At a rate of 0 nothing moves, neither by gradients nor by decay: the weights come out as they went in.
    let still = ["--set", "stages.0.schedule.shape=constant", "--set", "stages.0.schedule.lr=0"];
    folder.succeed(["train", "on.toml", "--set", "run.dir=still"].into_iter().chain(still));
    assert!(folder.read(&WEIGHTS.replacen("run", "still", 1)) == folder.read(WEIGHTS));
    folder.succeed(["train", "on.toml", "--set", "run.dir=on"]);
    let last = |dir: &str| number(&folder.lines(&format!("{dir}/metrics.jsonl"))[9], "val_loss/held-out");
    assert!(last("on") < last("run"), "{} after {}", last("on"), last("run"));
}

#[test]
fn bf16_weights_are_written_as_bf16() {
    let folder = Folder::tiny();
    folder.succeed(["train", "recipe.toml", "--set", "model.weights=bf16"]);
    let bytes = folder.read(WEIGHTS);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(tensors.tensors().iter().all(|(_, tensor)| tensor.dtype() == Dtype::BF16));
    let config: Value = serde_json::from_slice(&folder.read(&format!("{MODEL}/config.json"))).unwrap();
    assert_eq!(config.get("dtype").or(config.get("torch_dtype")), Some(&Value::from("bfloat16")));
}

#[test]
fn a_run_that_is_not_finite_stops_with_exit_code_3() {
    let folder = Folder::tiny();
    let outcome = folder.run(["train", "recipe.toml", "--set", "stages.0.schedule.lr=1e30"]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    let error = outcome.stderr.lines().last().unwrap();
    assert!(error.starts_with("error: step 2: loss "), "{error}");
    assert!(error.contains(" is not finite; the weights were left as they were before it."), "{error}");
    assert!(error.contains("generated word problems:"), "where the data came from: {error}");
    assert!(!folder.path("run/checkpoints/latest").exists());
}

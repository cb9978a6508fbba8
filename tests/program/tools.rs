//! `convert` and `doctor`.

use crate::folder::{Folder, MODEL, RECIPE};
use safetensors::{Dtype, SafeTensors};
use std::fs;

fn values(bytes: &[u8]) -> Vec<f32> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut names: Vec<String> = file.names().into_iter().map(ToString::to_string).collect();
    names.sort();
    let mut values = Vec::new();
    for name in names {
        let tensor = file.tensor(&name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32);
        values.extend(tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())));
    }
    values
}

#[test]
fn a_converted_model_has_the_dtype_asked_for_and_scores_the_same() {
    let folder = Folder::trained();
    folder.succeed(["convert", "run/checkpoints/latest", "--output", "half", "--dtype", "bfloat16"]);
    let bytes = folder.read("half/model.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert!(file.tensors().iter().all(|(_, tensor)| tensor.dtype() == Dtype::BF16));
    folder.succeed(["convert", "half", "--output", "back", "--dtype", "float32"]);
    folder.put("in.jsonl", "{\"text\": \"Ann has 3 apples.\"}\n");
    let score = |model: &str| {
        let args = ["logprobs", "--model", model, "--device", "cpu", "--input", "in.jsonl", "--output", "-"];
        folder.succeed(args).stdout
    };
    assert_eq!(score("half"), score("back"), "bf16 weights widened are the same weights");
    assert_eq!(score("run/checkpoints/latest"), score(MODEL), "a checkpoint stands for its model");
    let error = folder.fail(["convert", MODEL, "--output", "half"]);
    assert!(error.contains("exists already"), "{error}");
}

#[test]
fn a_run_from_a_converted_checkpoint_is_the_run_from_its_model() {
    let folder = Folder::trained();
    // f32 weights that bf16 cannot hold: the checkpoint's masters do.
    folder.succeed(["convert", MODEL, "--output", "start", "--checkpoint", "--dtype", "bfloat16"]);
    assert_eq!(
        values(&folder.read("start/state/masters.safetensors")),
        values(&folder.read(&format!("{MODEL}/model.safetensors")))
    );
    folder.succeed(["doctor", "start"]);
    let recipe = RECIPE.replace("[model]", "[model]\nfrom = \"FROM\"\nweights = \"bf16\"");
    let config = recipe.find("[model.config]").unwrap()..recipe.find("[data.").unwrap();
    let recipe = [&recipe[..config.start], &recipe[config.end..]].concat();
    for (name, from) in [("model", MODEL), ("checkpoint", "start")] {
        folder.put("recipe.toml", recipe.replace("FROM", from));
        folder.succeed(["train", "recipe.toml", "--set", &format!("run.dir={name}")]);
    }
    for file in ["model/model.safetensors", "state/masters.safetensors"] {
        let [a, b] =
            ["model", "checkpoint"].map(|run| folder.read(&format!("{run}/checkpoints/latest/{file}")));
        assert!(a == b, "{file}");
    }
    // And back: the checkpoint stands for its masters.
    folder.succeed(["convert", "start", "--output", "back", "--dtype", "float32"]);
    assert!(
        values(&folder.read("back/model.safetensors"))
            == values(&folder.read(&format!("{MODEL}/model.safetensors")))
    );
    let error =
        folder.fail(["train", "recipe.toml", "--set", "run.dir=no", "--set", "model.optimizer_state=load"]);
    assert!(error.contains("there is no optimizer state beside this model"), "{error}");
    let error = folder.fail(["convert", MODEL, "--output", "half", "--checkpoint", "--dtype", "float16"]);
    assert!(error.contains("float32 or bfloat16, not float16"), "{error}");
    assert!(!folder.path("half").exists());
}

#[test]
fn an_average_is_the_mean_of_every_weight() {
    let folder = Folder::trained();
    folder.succeed(["train", "recipe.toml", "--set", "run.dir=other", "--set", "run.seed=4"]);
    let other = "other/checkpoints/latest";
    folder.succeed(["convert", "run/checkpoints/latest", other, "--output", "mean"]);
    let of = |dir: &str| values(&folder.read(&format!("{dir}/model.safetensors")));
    let (a, b, mean) = (of(MODEL), of("other/checkpoints/latest/model"), of("mean"));
    assert!(a != b);
    for ((a, b), mean) in a.iter().zip(&b).zip(&mean) {
        assert_eq!(*mean, ((f64::from(*a) + f64::from(*b)) / 2.0) as f32);
    }
    let wide = ["--set", "model.config.intermediate_size=64", "--set", "run.dir=wide"];
    folder.succeed(["train", "recipe.toml"].into_iter().chain(wide));
    let error = folder.fail(["convert", MODEL, "wide/checkpoints/latest", "--output", "none"]);
    assert!(error.contains("are not models of one shape"), "{error}");
    assert!(!folder.path("none").exists());
}

#[test]
fn doctor_verifies_runs_checkpoints_and_models_and_names_what_changed() {
    let folder = Folder::trained();
    for (path, says) in [
        ("run", "step-00000010: whole, "),
        ("run/checkpoints/step-00000010", "step-00000010: whole, "),
        (MODEL, "2 layers of 32, all finite"),
    ] {
        let outcome = folder.succeed(["doctor", path]);
        assert!(outcome.stdout.contains(says), "{path}: {}", outcome.stdout);
    }
    let file = "run/checkpoints/step-00000010/state/moment2.safetensors";
    let mut bytes = folder.read(file);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    folder.put(file, bytes);
    for path in ["run", "run/checkpoints/step-00000010"] {
        let outcome = folder.run(["doctor", path]);
        let told = outcome.stdout + &outcome.stderr;
        assert_eq!(outcome.code, 1);
        assert!(told.contains("state/moment2.safetensors"), "{told}");
    }
    let machine = folder.succeed(["doctor"]).stdout;
    assert!(machine.starts_with("cpu: ") && machine.contains("disk: "), "{machine}");
    assert!(fs::metadata(folder.path("run/damaged")).is_err(), "looking moves nothing");
}

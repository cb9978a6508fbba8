//! Whole models on the CUDA kernels, by the simulated GPU: what cores compute, and the same bits however it is asked for.

use crate::folder::{Folder, MODEL, RECIPE, json_lines};
use serde_json::{Value, json};

/// What the binary answers to lines, with a model on the simulated GPU or on cores.
fn answers(folder: &Folder, command: &str, device: &str, rows: &[Value], more: &[&str]) -> Vec<Value> {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let args = [command, "--model", MODEL, "--device", device, "--output", "-"];
    let outcome = folder.run_with(args.iter().chain(more), &lines);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    json_lines(&outcome.stdout)
}

fn numbers(row: &Value, key: &str) -> Vec<f64> {
    serde_json::from_value(row[key].clone()).unwrap_or_else(|e| panic!("{key} in {row}: {e}"))
}

#[test]
fn a_dozen_steps_follow_those_on_cores_within_bf16s_error() {
    let folder = Folder::tiny();
    let recipe = RECIPE.replace("steps = 10", "steps = 12");
    let recipe = recipe.split("[samples]").next().unwrap();
    folder.put("recipe.toml", recipe);
    folder.succeed(["train", "recipe.toml", "--set", "run.dir=cores"]);
    folder.succeed(["train", "recipe.toml", "--set", "run.dir=sim", "--set", "run.device=sim"]);
    let (cores, sim) = (folder.lines("cores/metrics.jsonl"), folder.lines("sim/metrics.jsonl"));
    assert_eq!((cores.len(), sim.len()), (12, 12));
    for (cores, sim) in cores.iter().zip(&sim) {
        let (expected, loss) = (cores["lm_loss"].as_f64().unwrap(), sim["lm_loss"].as_f64().unwrap());
        // bf16 keeps eight bits.
        assert!((loss - expected).abs() < expected / 256.0, "step {}: {loss}, {expected}", cores["step"]);
        assert_ne!(loss, expected, "computed in another type");
    }
    let last = |lines: &[Value]| lines[11]["lm_loss"].as_f64().unwrap();
    assert!(last(&sim) < sim[0]["lm_loss"].as_f64().unwrap() - 0.5, "it learns");
    // Its model is one that cores can go on with.
    let longer = ["--set", "stages.0.steps=13", "--accept-change", "run.device,stages.0.steps"];
    folder.succeed(["train", "recipe.toml", "--set", "run.dir=sim"].iter().chain(&longer));
    assert_eq!(folder.lines("sim/metrics.jsonl").len(), 13);
}

#[test]
fn what_is_decoded_scores_to_the_bit_alone_and_in_a_crowd() {
    let folder = Folder::trained();
    let long: Vec<u32> = (0..70).map(|i| (i * 37 + 5) % 300).collect();
    let prompts = [json!({"tokens": [7]}), json!({"tokens": long}), json!({"tokens": [9, 30, 2, 8]})];
    let greedy = ["--max-new-tokens", "5", "--ignore-eos", "--temperature", "0"];
    let drawn = answers(&folder, "generate", "sim", &prompts, &greedy);
    let on_cores = answers(&folder, "generate", "cpu", &prompts, &greedy);
    for (i, (prompt, drawn)) in prompts.iter().zip(&drawn).enumerate() {
        let continued = [numbers(prompt, "tokens"), numbers(drawn, "tokens")].concat();
        let whole: Vec<u32> = continued.iter().map(|&token| token as u32).collect();
        // One pass over the whole sequence gives the bits of prefill and decoding.
        let [scored] =
            answers(&folder, "logprobs", "sim", &[json!({"tokens": whole})], &[]).try_into().unwrap();
        let scored = numbers(&scored, "logprobs");
        assert_eq!(scored[scored.len() - 5..], numbers(drawn, "logprobs"), "prompt {i}");
        assert_eq!(drawn["tokens"], on_cores[i]["tokens"], "prompt {i}: no gap here is a tie");
        let [alone] =
            answers(&folder, "generate", "sim", std::slice::from_ref(prompt), &greedy).try_into().unwrap();
        assert_eq!(&alone, drawn, "prompt {i}");
    }
}

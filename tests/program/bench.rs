//! `bench` where there is no GPU: predictions, whole passes, sweeps and comparisons.

use crate::folder::Folder;
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn the_simulated_gpu_predicts_ops_above_their_floors() {
    let folder = Folder::new();
    let out = ["bench", "--device", "sim", "--model", "tiny", "--output", "out.jsonl"];
    folder.succeed(out.iter().chain(&["rms_norm"]));
    let lines = folder.lines("out.jsonl");
    assert_eq!(lines.len(), 4);
    for line in lines {
        assert!(line["case"].as_str().unwrap().starts_with("rms_norm/tiny/"));
        assert!(line["microseconds"].is_null(), "nothing is timed: {line}");
        let predicted = &line["predicted"];
        assert_eq!(predicted["chip"], "h200");
        assert!(number(&predicted["microseconds"]) > number(&predicted["floor_microseconds"]));
        assert_eq!(predicted["launches"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_whole_step_and_a_decoding_pass_are_predicted_op_by_op() {
    let folder = Folder::new();
    for (pass, lines) in [("step", 1), ("decode/tiny/32", 1)] {
        let args =
            ["bench", pass, "--device", "sim", "--model", "tiny", "--chip", "a100", "--output", "out.jsonl"];
        folder.succeed(args);
        let found = folder.lines("out.jsonl");
        assert_eq!(found.len(), lines);
        let predicted = &found[0]["predicted"];
        let ops = predicted["ops"].as_array().unwrap();
        let sum: f64 = ops.iter().map(|op| number(&op["times"]) * number(&op["microseconds"])).sum();
        assert!((sum / number(&predicted["microseconds"]) - 1.0).abs() < 1e-9);
        assert!(ops.iter().any(|op| op["op"] == "attention"), "{pass}: {ops:?}");
        assert_eq!(predicted["mfu"].is_f64(), pass == "step");
    }
}

#[test]
fn a_sweep_names_the_row_with_the_least_predicted_time() {
    let folder = Folder::new();
    let args = ["bench", "--sweep", "--device", "sim", "--model", "tiny", "--output", "out.jsonl"];
    folder.succeed(args.iter().chain(&["linear_residual/tiny/o/64"]));
    let lines = folder.lines("out.jsonl");
    let kernels = lines[0]["kernels"].as_array().unwrap();
    assert!(lines.len() == 1 && kernels.len() > 2, "{lines:?}");
    assert_eq!(lines[0]["kernel"], kernels[0][0]);
    assert!(kernels.iter().map(|kernel| number(&kernel[1])).is_sorted());
}

#[test]
fn two_files_are_compared_row_by_row() {
    let folder = Folder::new();
    folder.put(
        "a.json",
        "{\"case\": \"x\", \"microseconds\": [2.0]}\n{\"case\": \"y\", \"microseconds\": [1.0]}\n",
    );
    folder.put("b.json", "{\"case\": \"x\", \"microseconds\": [1.0]}\n");
    let outcome = folder.run(["bench", "--compare", "a.json", "b.json", "--output", "ratios.jsonl"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("2.000") && outcome.stdout.contains("missing"), "{}", outcome.stdout);
    let lines = folder.lines("ratios.jsonl");
    assert_eq!((number(&lines[0]["ratio"]), lines[1]["ratio"].is_null()), (2.0, true));
    let outcome = folder.run(["bench", "--compare", "a.json", "none.json"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("none.json"), "{}", outcome.stderr);
}

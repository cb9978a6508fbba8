//! `cargo xtask long still`: two hundred rollout steps at a learning rate of 0. What trainer and sampler say of the same tokens
//! is then the same to the last bit in every mini-batch, and no bit of a weight changes.

use super::ladder::engine;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

const STEPS: usize = 200;

/// Figures that have to be exactly 0 in each step.
const ZERO: [&str; 4] = [
    "training/rollout_probs_diff_max",
    "training/rollout_probs_diff_mean",
    "training/first_minibatch_ppo_kl",
    "actor/ppo_kl",
];

/// Takes the steps from a short supervised start, and adds a line to the log.
pub fn run(program: &Path, repository: &Path, folder: &Path, log: &Path, commit: &str) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let recipe = |name: &str| repository.join("recipes/ladder").join(name);
    let (start, end) = (folder.join("start"), folder.join("run"));
    let began = Instant::now();
    let short = [format!("run.dir={}", start.display()), "stages.0.steps=60".to_owned()];
    engine(program, "train", &recipe("reversed-addition-start.toml"), &short)?;
    let from = start.join("checkpoints/latest");
    let mut sets = vec![format!("run.dir={}", end.display()), format!("model.from={}", from.display())];
    // Several updates a step, each of several passes; the pass of its own on all samples sees what the first does not.
    let still = [
        "rl.schedule.lr=0",
        "rl.schedule.final_lr=0",
        "rl.batch_prompts=16",
        "rl.mini_batch_prompts=4",
        "rl.samples_per_prompt=4",
        "rl.micro_batch_tokens=64",
        "rl.epochs=2",
        "rl.old_logprobs=step",
        "checkpoints.every_steps=100000",
    ];
    sets.extend(still.map(str::to_owned));
    sets.push(format!("rl.steps={STEPS}"));
    engine(program, "rl", &recipe("reversed-addition.toml"), &sets)?;
    let text = std::fs::read_to_string(end.join("metrics.jsonl"))?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut worst = serde_json::Map::new();
    let mut held = true;
    for name in ZERO {
        let values: Vec<f64> = lines.iter().filter_map(|line| line.get(name)?.as_f64()).collect();
        let most = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        held &= values.len() == STEPS && most == 0.0;
        worst.insert(name.to_owned(), most.into());
    }
    let weights = |run: &Path| std::fs::read(run.join("checkpoints/latest/model/model.safetensors"));
    let equal = weights(&start)? == weights(&end)?;
    held &= equal;
    let updates = lines.last().and_then(|line| line.get("training/optimizer_step").cloned());
    let line = json!({
        "commit": commit, "steps": STEPS, "updates": updates, "most": worst, "weights_equal": equal, "held": held,
        "seconds": began.elapsed().as_secs(),
    });
    writeln!(OpenOptions::new().create(true).append(true).open(log)?, "{line}")?;
    eprintln!("still: {line}");
    if !held {
        bail!("something moved at a learning rate of 0; {} has kept it", folder.display());
    }
    Ok(())
}

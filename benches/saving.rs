//! What saving costs: a run of a 10M model that saves every 20 steps, beside the same run that saves at its end alone.
//!
//!     cargo bench --bench saving -- [TURNS [STEPS]]
//!
//! The two take turns. Their sums of step times stand beside each other, and their whole times.

use octo_recipe::{Options, Recipe, ThisMachine};
use octo_trainer::{Observer, StepMetrics, TrainOptions, train};
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

const RECIPE: &str = r#"
[run]
dir = "run"
device = "cpu"
[model]
tokenizer = "quickstart-tokenizer.json"
[model.config]
model_type = "llama"
vocab_size = 4096
hidden_size = 320
intermediate_size = 960
num_hidden_layers = 6
num_attention_heads = 5
num_key_value_heads = 5
max_position_embeddings = 256
[data.sources.problems]
generated = { kind = "word-problems", rows = 5_000, seed = 1 }
text = "{{ question }} {{ answer }}"
[[stages]]
name = "learn"
steps = 100
sequence_length = 256
batch_tokens = 1024
schedule = { lr = 1e-3 }
[log]
tensorboard = false
"#;

/// Sums up the times of steps.
#[derive(Default)]
struct Steps {
    /// Seconds of all steps.
    seconds: f64,
    parameters: String,
}

impl Observer for Steps {
    fn note(&mut self, line: &str) {
        if let Some(model) = line.strip_prefix("model    ") {
            model.clone_into(&mut self.parameters);
        }
    }
    fn preparing(&mut self, _: &str, _: u64) {}
    fn step(&mut self, metrics: &StepMetrics) {
        self.seconds += 1024.0 / metrics.tokens_per_sec;
    }
    fn validation(&mut self, _: u64, _: &str, _: f64) {}
    fn sample(&mut self, _: u64, _: &str, _: &str) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo hands a flag of its own to every bench.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let turns: u32 = arguments.next().map_or(Ok(3), |turns| turns.parse())?;
    let steps: u64 = arguments.next().map_or(Ok(100), |steps| steps.parse())?;
    // On the disk of the repository: a temporary folder may be memory.
    let folder = tempfile::tempdir_in("target")?;
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart-tokenizer.json");
    std::fs::copy(tokenizer, folder.path().join("quickstart-tokenizer.json"))?;
    let path = folder.path().join("recipe.toml");
    std::fs::File::create(&path)?.write_all(RECIPE.as_bytes())?;
    for turn in 1..=turns {
        let mut whole = [0.0; 2];
        // Who goes first changes from turn to turn.
        for side in if turn % 2 == 1 { [0, 1] } else { [1, 0] } {
            let every = if side == 0 { 1_000_000 } else { 20 };
            let dir = folder.path().join(format!("run-{turn}-{side}"));
            let sets = [
                format!("run.dir={}", dir.display()),
                format!("stages.0.steps={steps}"),
                format!("checkpoints.every_steps={every}"),
            ];
            let options = Options { sets: sets.into(), no_paths: false };
            let recipe = Recipe::load(&ThisMachine, &path, &options)?;
            let mut seen = Steps::default();
            let began = Instant::now();
            train(&recipe, &TrainOptions::default(), &mut seen)?;
            whole[side] = began.elapsed().as_secs_f64();
            let what = if side == 0 { "saves at its end" } else { "saves every 20 steps" };
            let Steps { seconds, parameters } = seen;
            say(&format!(
                "turn {turn}: {what}: {:.2} s whole, {seconds:.2} s in steps; {parameters}",
                whole[side]
            ))?;
            std::fs::remove_dir_all(&dir)?;
        }
        say(&format!("turn {turn}: {:.3} times as long", whole[1] / whole[0]))?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

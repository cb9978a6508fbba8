//! The run that is killed: its recipe, its data, and one start of it.
//!
//! Small enough to take seconds, and yet all that a run has: two stages over two sources, one of them tokenised
//! beforehand, held-out losses, samples, rolling checkpoints every few steps and milestones. Writing to the disk is
//! a good part of its time.

use anyhow::{Context, Result, bail};
use octo_durable::{Disk, move_folder, write_bytes};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const RECIPE: &str = r#"[run]
dir = "run"
seed = 3
device = "cpu"
threads = 2

[model]
tokenizer = "tokenizer.json"

[model.config]
model_type = "llama"
vocab_size = 512
hidden_size = 128
intermediate_size = 320
num_hidden_layers = 3
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 128
initializer_range = 0.1

[data.sources.problems]
generated = { kind = "word-problems", rows = 300, seed = 1 }
text = "{{ question }} {{ answer }}"

[data.sources.notes]
path = "notes"

[[stages]]
name = "stable"
steps = 24
sequence_length = 64
batch_tokens = 1024
micro_batch_tokens = 512
mixture = { problems = 0.75, notes = 0.25 }
schedule = { lr = 1e-2, warmup_steps = 4 }

[[stages]]
name = "decay"
steps = 16
sequence_length = 128
batch_tokens = 1024
micro_batch_tokens = 256
mixture = { problems = 0.25, notes = 0.75 }
schedule = { shape = "cosine", lr = 1e-2, final_lr = 1e-3 }

[[validation]]
name = "held-out"
generated = { kind = "word-problems", rows = 20, seed = 2 }
text = "{{ question }} {{ answer }}"
every_steps = 5
max_tokens = 1024

[samples]
prompts = ["Ann has 3", "Tom"]
every_steps = 8
max_new_tokens = 16

[checkpoints]
every_steps = 2
keep = 2
milestones = 10_240
milestone_state = 20_480
"#;

/// A folder in which the run lies, and the program.
pub struct Scene {
    folder: PathBuf,
    program: PathBuf,
    /// Overrides of the recipe.
    sets: Vec<String>,
}

/// How one start ended.
pub enum Ended {
    /// The run is done.
    Done,
    /// It was killed.
    Killed,
    /// It failed, and said this last.
    Failed(String),
}

impl Scene {
    /// Makes the folder anew, with a copy of the program, so that the repository may be built meanwhile.
    pub fn set(folder: &Path, program: &Path, sets: &[&str]) -> Result<Scene> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(folder)?;
        let copy = folder.join("octo-engine");
        fs::copy(program, &copy).with_context(|| format!("cannot copy {}", program.display()))?;
        let sets = sets.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect();
        let scene = Scene { folder: folder.to_owned(), program: copy, sets };
        write_bytes(&Disk, &folder.join("recipe.toml"), RECIPE.as_bytes())?;
        let notes = (0..400u64).map(|note| {
            let numbers: Vec<String> =
                (1..12).map(|k| format!("{} and {}", note * k % 97, note * k % 89)).collect();
            format!("{{\"text\":\"Note {note}: {}\"}}\n", numbers.join(" "))
        });
        write_bytes(&Disk, &folder.join("notes.jsonl"), notes.collect::<String>().as_bytes())?;
        let generated =
            ["--generated", "300", "--vocab-size", "512", "--text", "{{ question }} {{ answer }}"];
        scene.succeed(
            &[&["data", "train-tokenizer", "--output", "tokenizer.json"], &generated[..]].concat(),
        )?;
        scene.succeed(&[
            "data",
            "tokenize",
            "--tokenizer",
            "tokenizer.json",
            "--input",
            "notes.jsonl",
            "--output",
            "notes",
        ])?;
        Ok(scene)
    }

    /// Where the run writes.
    pub fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The run left alone, put aside to be compared with; and how long it took.
    pub fn whole(&self) -> Result<(PathBuf, Duration)> {
        let began = Instant::now();
        match self.start(None)?.wait()? {
            Ended::Done => {}
            Ended::Killed => bail!("the run that is to be left alone was killed"),
            Ended::Failed(why) => bail!("the run fails when left alone: {why}"),
        }
        let took = began.elapsed();
        Ok((self.aside("whole")?, took))
    }

    /// Moves the run into a folder of this name, so that the next one starts over. Returns where it lies now.
    pub fn aside(&self, name: &str) -> Result<PathBuf> {
        Ok(move_folder(&Disk, &self.run(), &self.folder.join(name))?)
    }

    /// Starts the run, or goes on with it; with `kill_at`, until before that operation on the disk.
    pub fn start(&self, kill_at: Option<u64>) -> Result<Started> {
        let mut command = self.command(&["train", "recipe.toml"]);
        command.args(&self.sets);
        if let Some(at) = kill_at {
            command.env("OCTO_KILL_AT", at.to_string());
        }
        let said = self.folder.join("said.txt");
        command.stderr(File::create(&said)?);
        Ok(Started { child: command.spawn().context("cannot start the program")?, said })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        for variable in ["OCTO_KILL_AT", "OCTO_PLANT_NAN", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"] {
            command.env_remove(variable);
        }
        command
    }

    fn succeed(&self, arguments: &[&str]) -> Result<()> {
        let output = self.command(arguments).stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            bail!("{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// A start of the run under way.
pub struct Started {
    child: Child,
    said: PathBuf,
}

impl Started {
    /// Waits for its end.
    pub fn wait(mut self) -> Result<Ended> {
        let status = self.child.wait()?;
        self.ended(status)
    }

    /// Kills it after so long, unless it ends before.
    pub fn kill_after(mut self, after: Duration) -> Result<Ended> {
        std::thread::sleep(after);
        self.child.kill()?;
        let status = self.child.wait()?;
        self.ended(status)
    }

    fn ended(&self, status: ExitStatus) -> Result<Ended> {
        match status.code() {
            Some(0) => Ok(Ended::Done),
            None => Ok(Ended::Killed),
            Some(code) => {
                let said = fs::read_to_string(&self.said).unwrap_or_default();
                Ok(Ended::Failed(format!(
                    "exit code {code}: {}",
                    said.lines().last().unwrap_or("nothing said")
                )))
            }
        }
    }
}

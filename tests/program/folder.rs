//! A folder of its own for each test, and the binary run in it.

use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A temporary folder; the binary runs with it as the working directory.
pub struct Folder(TempDir);

/// What a run of the binary left.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    /// With the test's folder shown as `DIR`.
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().write_all(bytes.as_ref()).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The objects of a file of JSON lines.
    pub fn lines(&self, name: &str) -> Vec<Value> {
        json_lines(std::str::from_utf8(&self.read(name)).unwrap())
    }

    /// Copies a directory of files.
    pub fn copy(&self, from: impl AsRef<Path>, to: &str) {
        fs::create_dir_all(self.path(to)).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), self.path(to).join(entry.file_name())).unwrap();
        }
    }

    /// Runs the binary, with nothing on standard input.
    pub fn run<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Outcome {
        self.run_with(args, "")
    }

    /// Runs the binary with a text on standard input.
    pub fn run_with<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>, input: &str) -> Outcome {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that fails early closes its end; what it says then is what is tested.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        self.outcome(child)
    }

    /// The binary with arguments, in this folder; the tests decide what it sees, not whoever runs them.
    pub fn command<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_octo-engine"));
        command.args(args).current_dir(self.0.path());
        for variable in [
            "OCTO_EAGER",
            "OCTO_LIB_CUBLASLT",
            "OCTO_LIB_NVTX",
            "OCTO_LOG",
            "OCTO_KILL_AT",
            "OCTO_PLANT_NAN",
            "COLUMNS",
            "CUDA_VISIBLE_DEVICES",
            "SLURM_JOB_ID",
            "SLURM_JOB_GPUS",
            "SLURM_STEP_GPUS",
            "SLURM_GPUS_ON_NODE",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// Starts the binary with a variable set and does not wait for it.
    pub fn start<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>, variable: (&str, &str)) -> Child {
        let mut command = self.command(args);
        command.env(variable.0, variable.1);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Waits for a run of the binary; one that was killed has the code 128 + its signal, as in a shell.
    pub fn outcome(&self, child: Child) -> Outcome {
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let dir = self.0.path().to_str().unwrap();
        let real = fs::canonicalize(dir).unwrap();
        let killed = || 128 + output.status.signal().unwrap();
        Outcome {
            code: output.status.code().unwrap_or_else(killed),
            stdout: text(output.stdout),
            stderr: text(output.stderr).replace(real.to_str().unwrap(), "DIR").replace(dir, "DIR"),
        }
    }

    /// Runs the binary, which must succeed.
    #[track_caller]
    pub fn succeed<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Outcome {
        let outcome = self.run(args);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        outcome
    }

    /// Runs the binary, which must fail with exit code 1; returns what it said last, and nothing was panic.
    #[track_caller]
    pub fn fail<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> String {
        self.fail_with(args, "")
    }

    /// As [`Folder::fail`], with a text on standard input.
    #[track_caller]
    pub fn fail_with<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>, input: &str) -> String {
        let outcome = self.run_with(args, input);
        assert_eq!(outcome.code, 1, "{}\n{}", outcome.stderr, outcome.stdout);
        let at = outcome.stderr.find("error: ").unwrap_or_else(|| panic!("{}", outcome.stderr));
        outcome.stderr[at..].trim_end().to_owned()
    }

    /// Trains the tests' tokenizer of 300 ids.
    pub fn tokenizer(&self) {
        let args = ["data", "train-tokenizer", "--generated", "300", "--vocab-size", "300"];
        let text = ["--text", "{{ question }} {{ answer }}", "--output", "tokenizer.json"];
        self.succeed(args.into_iter().chain(text));
    }

    /// A tokenizer and a recipe of ten steps in `recipe.toml`.
    pub fn tiny() -> Folder {
        let folder = Folder::new();
        folder.tokenizer();
        folder.put("recipe.toml", RECIPE);
        folder
    }

    /// A trained model in `run/checkpoints/latest/model`.
    pub fn trained() -> Folder {
        let folder = Folder::tiny();
        folder.succeed(["train", "recipe.toml"]);
        folder
    }
}

pub const MODEL: &str = "run/checkpoints/latest/model";

pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// Ten steps of a tiny Llama on word problems that the program makes up.
pub const RECIPE: &str = r#"
[run]
dir = "run"
seed = 3
device = "cpu"
threads = 2

[model]
tokenizer = "tokenizer.json"

[model.config]
model_type = "llama"
vocab_size = 304
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 128
initializer_range = 0.1

[data.sources.problems]
generated = { kind = "word-problems", rows = 60, seed = 1 }
text = "{{ question }} {{ answer }}"

[[stages]]
name = "learn"
steps = 10
sequence_length = 32
batch_tokens = 128
micro_batch_tokens = 64
schedule = { shape = "linear", lr = 1e-2, warmup_steps = 2 }

[[validation]]
name = "held-out"
generated = { kind = "word-problems", rows = 10, seed = 2 }
text = "{{ question }} {{ answer }}"
every_steps = 4
max_tokens = 256

[samples]
prompts = ["Ann has 3", "Tom"]
every_steps = 5
max_new_tokens = 6
"#;

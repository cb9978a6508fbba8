//! What tests share: a machine of a few files, and a recipe of every key.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Host, Options, Recipe};

/// A machine of a few files. Everything but what is named `missing…` exists.
#[derive(Default)]
pub(crate) struct World {
    files: BTreeMap<PathBuf, String>,
}

impl World {
    pub(crate) fn with(files: &[(&str, &str)]) -> World {
        let at = |path: &str| Path::new("/home/run").join(path);
        World { files: files.iter().map(|(path, text)| (at(path), (*text).to_owned())).collect() }
    }

    pub(crate) fn load(&self, sets: &[&str]) -> Result<Recipe, String> {
        let options = Options { sets: sets.iter().map(|set| (*set).to_owned()).collect(), no_paths: false };
        Recipe::load(self, Path::new("r.toml"), &options).map_err(|errors| errors.to_string())
    }
}

impl Host for World {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.files.get(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(text.clone().into_bytes())
    }

    fn exists(&self, path: &Path) -> bool {
        !path.to_string_lossy().contains("missing")
    }

    fn is_link(&self, path: &Path) -> bool {
        path.ends_with("link")
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "DATA").then(|| "/mnt/data".to_owned())
    }

    fn working_directory(&self) -> io::Result<PathBuf> {
        Ok(PathBuf::from("/home/run"))
    }
}

pub(crate) fn load(text: &str) -> Result<Recipe, String> {
    World::with(&[("r.toml", text)]).load(&[])
}

pub(crate) fn load_with(text: &str, sets: &[&str]) -> Result<Recipe, String> {
    World::with(&[("r.toml", text)]).load(sets)
}

/// Every key there is, but for the second of each pair that excludes the other.
pub(crate) const FULL: &str = r#"
[run]
dir = "runs/full"
seed = 7
device = "cpu"
threads = 2
forward = "invariant"

[model]
tokenizer = "tokenizer.json"
weights = "bf16"
optimizer_state = "fresh"

[model.config]
model_type = "llama"
vocab_size = 512
hidden_size = 128
intermediate_size = 344
num_hidden_layers = 4
num_attention_heads = 4
num_key_value_heads = 2
head_dim = 32
max_position_embeddings = "1k"
rms_norm_eps = 1e-6
rope_theta = 500_000
tie_word_embeddings = true
initializer_range = 0.01
rope_scaling = { rope_type = "llama3", factor = 8, low_freq_factor = 1.0, high_freq_factor = 4.0, original_max_position_embeddings = 256 }

[data]
skip_steps = [7, "100-102", "103", "1k-1.01k"]
on_nonfinite = "skip"
max_skips = 5

[data.sources.gsm8k]
path = "${DATA}/gsm8k.jsonl"
text = "{{ question }}\n{{ answer }}"
where = "answer"
add_eos = false
add_bos = true
restart = true

[data.sources.made]
generated = { kind = "word-problems", rows = "20k", seed = 3 }

[[stages]]
name = "stable"
tokens = "1.5M"
sequence_length = 256
batch_tokens = 8_192
micro_batch_tokens = 2_048
mixture = { gsm8k = 1.0 }
order = "sequential"
document_mask = false
schedule = { shape = "one_minus_sqrt", lr = 2e-3, final_lr = 1e-5, warmup_steps = 10 }

[[stages]]
name = "decay"
steps = 40
sequence_length = 128
batch_tokens = 4_096
micro_batch_tokens = 1_024
mixture = { gsm8k = 0.25, made = 0.75 }
schedule = { shape = "linear", lr = 1e-3, final_lr = 1e-4, warmup_steps = 1 }

[optimizer]
betas = [0.9, 0.99]
eps = 1e-6
weight_decay = 0
clip = 0
moments = "bf16"

[memory]
recompute = "ffn"

[[validation]]
name = "held-out"
path = "held_out.jsonl"
every_steps = 50
max_tokens = "100k"

[[validation]]
name = "fresh"
generated = { kind = "word-problems", rows = 100, seed = 4 }
text = "{{ question }}"
where = "answer"
add_bos = false

[samples]
prompts = ["Ann has", "a \"quoted\"\n\u0001 line"]
every_steps = 100
max_new_tokens = 32
temperature = 0.7
top_k = 50
top_p = 0.9
min_p = 0.05

[checkpoints]
every_minutes = 0.5
every_steps = 60
every_tokens = "2M"
keep = 2
milestones = "500k"
milestone_state = "1M"

[log]
every_steps = 20
tensorboard = false

[[log.sinks]]
command = ["python3", "sink.py", ""]
"#;

/// Every key of an RL recipe.
pub(crate) const RL_FULL: &str = r#"
[run]
dir = "runs/rl"

[model]
from = "model"

[rl]
steps = 200
prompts = "prompts.parquet"
where = "answer"
order = "sequential"
template = "file"
template_file = "prompt.jinja"
stop = ["User:", "\n\n"]
max_prompt_tokens = 64
batch_prompts = 8
mini_batch_prompts = 3
samples_per_prompt = 4
max_response_tokens = [[0, 128], [100, "0.25k"]]
epochs = 2
micro_batch_tokens = 512
max_streams = 16
advantage = "dr_grpo"
old_logprobs = "step"
mask_truncated = true
entropy_coefficient = 0.01
dynamic_sampling = 10
max_failure_rate = 0.5
keep_best = "held-out"
samples_per_step = 2

[rl.fields]
question = "{{ problem }}"
answer = "{{ solution }}"
data_source = "math"

[rl.sampling]
temperature = 0.9
top_k = 50
top_p = 0.95
min_p = 0.01

[rl.loss]
kind = "gspo"
clip_low = 3e-4
clip_high = 4e-4
dual_clip = 0
normalise = "sequence_mean"

[rl.kl]
coefficient = 0
estimator = "k2"
place = "reward"

[rl.importance]
kind = "masked"
low = 0.25
high = 4

[rl.schedule]
shape = "cosine"
lr = 1e-6
final_lr = 1e-7
warmup_steps = 5

[[rl.rewards]]
kind = "verify"
name = "accuracy"
weight = 2
data_sources = ["math"]
boxed_only = false

[[rl.rewards]]
kind = "format"
pattern = "x+"

[[rl.rewards]]
kind = "overlong"
buffer = 32

[[rl.rewards]]
kind = "cosine"
weight = -0.5
right = [2, 1]
wrong = [-10, 0]

[[rl.rewards]]
kind = "repetition"
ngram = 3

[[rl.rewards]]
kind = "program"
command = ["python3", "reward.py"]
environment = ["SECRET_PATH"]
timeout_seconds = 2.5
cpu_seconds = 60
memory_bytes = "1G"
workers = 3

[[rl.validation]]
name = "held-out"
prompts = "held_out.jsonl"
where = "answer"
every_steps = 5
max_prompts = 100
samples = 2
temperature = 0.5

[[rl.validation]]
name = "made"
generated = { kind = "word-problems", rows = 10, seed = 2 }

[[rl.validation]]
name = "known"
task = "gsm8k-zero"
data = "benchmarks"

[[rl.validation]]
name = "own"
task_file = "tasks/own.toml"

[rl.alarms]
window = 20
length = "stop"
length_clip_ratio = 0.8
repetition = "off"
repetition_ratio = 0.7
reward = "stop"
reward_fall = 0.2
entropy = "stop"
entropy_floor = 0.1
entropy_ceiling = 5
"#;

/// The least that an RL recipe says.
pub(crate) const RL_SMALLEST: &str = r#"
[run]
dir = "out"

[model]
from = "model"

[rl]
steps = 10
max_prompt_tokens = 8
batch_prompts = 4
samples_per_prompt = 2
max_response_tokens = 16
generated = { kind = "word-problems", rows = 10, seed = 1 }
schedule = { lr = 1e-3 }

[[rl.rewards]]
kind = "verify"
"#;

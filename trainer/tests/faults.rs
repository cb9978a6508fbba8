//! Runs whose disk fills up or cannot be written, and whose data goes away under them: what they say, and what is
//! left of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_durable::{Disk, Fs, FsFile, verify};
use octo_recipe::{Options, Recipe, ThisMachine};
use octo_rows::Rows;
use octo_shards::ShardJob;
use octo_text::Tokenizer;
use octo_trainer::{Observer, Outcome, StepMetrics, TIME_FIELDS, TrainError, TrainOptions, train};
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

const STEPS: u64 = 24;

const RECIPE: &str = r#"
[run]
dir = "run"
device = "cpu"
threads = 1
[model]
tokenizer = "tokenizer.json"
[model.config]
model_type = "llama"
vocab_size = 304
hidden_size = 16
intermediate_size = 24
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
[data.sources.notes]
path = "notes"
[[stages]]
name = "learn"
steps = 24
sequence_length = 32
batch_tokens = 64
schedule = { lr = 1e-2 }
[checkpoints]
every_steps = 4
keep = 2
"#;

/// A folder with a recipe over tokenised notes.
struct Scene(TempDir);

/// Sees each step of a run.
struct Watch<'a>(Box<dyn FnMut(u64) + 'a>);

impl Observer for Watch<'_> {
    fn note(&mut self, _: &str) {}
    fn preparing(&mut self, _: &str, _: u64) {}
    fn step(&mut self, metrics: &StepMetrics) {
        (self.0)(metrics.step);
    }
    fn validation(&mut self, _: u64, _: &str, _: f64) {}
    fn sample(&mut self, _: u64, _: &str, _: &str) {}
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene(tempfile::tempdir().unwrap());
        let tokenizer =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../base/text/tests/golden/tokenizer.json");
        fs::copy(tokenizer, scene.path("tokenizer.json")).unwrap();
        let note = |i: usize| format!("{{\"text\":\"Note {i} says {} and {}.\"}}\n", i * 7 % 31, i * 11 % 29);
        put(&scene.path("notes.jsonl"), (0..200).map(note).collect::<String>().as_bytes());
        put(&scene.path("recipe.toml"), RECIPE.as_bytes());
        let inputs = Rows::files(scene.path("notes.jsonl").to_str().unwrap()).unwrap();
        let job = ShardJob {
            tokenizer_name: "notes".into(),
            inputs: inputs.into_iter().map(|file| file.path).collect(),
            text: "{{ text }}".into(),
            filter: None,
            add_bos: false,
            add_eos: true,
            tokens_per_file: 1 << 20,
            output: scene.path("notes"),
            threads: Some(1),
            tokenizer: Tokenizer::load(scene.path("tokenizer.json")).unwrap(),
        };
        job.run(false, &mut |_| ()).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The tokenised notes.
    fn shard(&self) -> PathBuf {
        let files = fs::read_dir(self.path("notes")).unwrap().map(|entry| entry.unwrap().path());
        files.into_iter().find(|path| path.extension().is_some_and(|e| e == "ds")).unwrap()
    }

    fn train(&self, dir: &str, fs: &'static dyn Fs, on_step: impl FnMut(u64)) -> Result<Outcome, TrainError> {
        let sets = vec![format!("run.dir={}", self.path(dir).display())];
        let options = Options { sets, no_paths: false };
        let recipe = Recipe::load(&ThisMachine, &self.path("recipe.toml"), &options).unwrap();
        let options = TrainOptions { fs, ..TrainOptions::default() };
        train(&recipe, &options, &mut Watch(Box::new(on_step)))
    }

    /// Weights, moments and metrics of a run that is done.
    fn end(&self, dir: &str) -> (Vec<Vec<u8>>, Vec<Map<String, Value>>) {
        let last = self.path(dir).join(format!("checkpoints/step-{STEPS:08}"));
        let files = ["model/model.safetensors", "state/moment1.safetensors", "state/moment2.safetensors"];
        let metrics = fs::read_to_string(self.path(dir).join("metrics.jsonl")).unwrap();
        let lines = metrics.lines().map(|line| {
            let mut line: Map<String, Value> = serde_json::from_str(line).unwrap();
            line.retain(|name, _| !TIME_FIELDS.contains(&name.as_str()));
            line
        });
        (files.map(|file| fs::read(last.join(file)).unwrap()).into(), lines.collect())
    }

    /// Steps of the checkpoints of a run, each of which is whole.
    fn checkpoints(&self, dir: &str) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(self.path(dir).join("checkpoints")) else { return Vec::new() };
        let mut steps = Vec::new();
        for path in entries.map(|entry| entry.unwrap().path()) {
            if let Some(step) = path.file_name().unwrap().to_str().unwrap().strip_prefix("step-") {
                verify(&path).unwrap();
                steps.push(step.parse().unwrap());
            }
        }
        steps.sort_unstable();
        steps
    }
}

fn put(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// A disk with room for so many bytes more; files and links take some as well.
struct Small(Arc<AtomicU64>);

/// What an entry of a folder takes.
const ENTRY: u64 = 100;

impl Small {
    fn take(&self, bytes: u64) -> io::Result<()> {
        take(&self.0, bytes)
    }
}

fn take(left: &AtomicU64, bytes: u64) -> io::Result<()> {
    let taken = left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
    taken.map(|_| ()).map_err(|_| ErrorKind::StorageFull.into())
}

struct SmallFile(Box<dyn FsFile>, Arc<AtomicU64>);

impl Write for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.1.load(Ordering::Relaxed) as usize);
        if fits == 0 && !bytes.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        take(&self.1, fits as u64)?;
        self.0.write_all(&bytes[..fits]).map(|()| fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl FsFile for SmallFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}

impl Fs for Small {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.take(ENTRY).and_then(|()| Disk.create_folder(path))
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        self.take(ENTRY)?;
        Ok(Box::new(SmallFile(Disk.create_file(path)?, self.0.clone())))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(SmallFile(Disk.open_append(path)?, self.0.clone())))
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.take(ENTRY).and_then(|()| Disk.symlink(target, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Disk.sync_folder(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Disk.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        Disk.remove_folder(path)
    }
}

/// A disk that takes nothing.
struct ReadOnly;

fn refused<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Fs for ReadOnly {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn create_file(&self, _: &Path) -> io::Result<Box<dyn FsFile>> {
        refused()
    }

    fn open_append(&self, _: &Path) -> io::Result<Box<dyn FsFile>> {
        refused()
    }

    fn symlink(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        refused()
    }
}

#[test]
fn whenever_the_disk_fills_up_the_run_says_so_keeps_whole_checkpoints_and_goes_on_to_the_same_bits() {
    let scene = Scene::new();
    let left = Arc::new(AtomicU64::new(1 << 40));
    scene.train("whole", Box::leak(Box::new(Small(left.clone()))), |_| ()).unwrap();
    let all = (1 << 40) - left.load(Ordering::Relaxed);
    let mut kept = 0;
    for part in 0..8 {
        let dir = format!("full-{part}");
        let small = Small(Arc::new(AtomicU64::new(all * part / 8)));
        let said = scene.train(&dir, Box::leak(Box::new(small)), |_| ()).unwrap_err().to_string();
        assert!(said.contains(&dir) && said.contains("free some room"), "{said}");
        kept += scene.checkpoints(&dir).len();
        // Room was made.
        scene.train(&dir, &Disk, |_| ()).unwrap();
        assert!(scene.end(&dir) == scene.end("whole"), "filled up at {part}/8");
        assert_eq!(scene.checkpoints(&dir), [STEPS - 4, STEPS]);
    }
    assert!(kept >= 6, "the disk was to fill up at different times; {kept} checkpoints were there");
}

#[test]
fn a_folder_that_cannot_be_written_is_named_and_what_lies_in_it_stays() {
    let scene = Scene::new();
    scene.train("run", &Disk, |_| ()).unwrap();
    let recipe = RECIPE.replace("steps = 24", "steps = 30");
    put(&scene.path("recipe.toml"), recipe.as_bytes());
    let said = scene.train("run", &ReadOnly, |_| ()).unwrap_err().to_string();
    let path = scene.path("run");
    assert!(said.contains(path.to_str().unwrap()), "{said}");
    assert!(said.contains("choose a folder on a disk that can be written"), "{said}");
    assert_eq!(scene.checkpoints("run"), [STEPS - 4, STEPS]);
    // A place where no folder can be made, for whomever.
    let options = Options { sets: vec!["run.dir=/proc/octo/run".into()], no_paths: false };
    let recipe = Recipe::load(&ThisMachine, &scene.path("recipe.toml"), &options).unwrap();
    let error = train(&recipe, &TrainOptions::default(), &mut Watch(Box::new(|_| ()))).unwrap_err();
    assert!(error.to_string().contains("/proc/octo/run"), "{error}");
}

/// The words of an error, and what leads to it.
type Change = (&'static str, fn(&Path));

/// What may become of a tokenised file while a run reads it.
fn changes() -> [Change; 3] {
    let remove: fn(&Path) = |shard| fs::remove_file(shard).unwrap();
    let replace: fn(&Path) = |shard| {
        let mut bytes = fs::read(shard).unwrap();
        bytes.rotate_left(4);
        fs::remove_file(shard).unwrap();
        put(shard, &bytes);
    };
    let cut: fn(&Path) = |shard| File::options().write(true).open(shard).unwrap().set_len(64).unwrap();
    [("cannot read", remove), ("another file stands there now", replace), ("it had", cut)]
}

#[test]
fn a_tokenised_file_that_goes_away_or_changes_is_named_and_put_back_the_run_goes_on_to_the_same_bits() {
    let scene = Scene::new();
    scene.train("whole", &Disk, |_| ()).unwrap();
    let shard = scene.shard();
    let bytes = fs::read(&shard).unwrap();
    for (number, (words, change)) in changes().into_iter().enumerate() {
        let dir = format!("changed-{number}");
        let mut done = 0;
        let at_step = |step| {
            done = step;
            if step == 9 {
                change(&shard);
            }
        };
        let said = scene.train(&dir, &Disk, at_step).unwrap_err().to_string();
        assert!(said.contains(words) && said.contains(shard.to_str().unwrap()), "{said}");
        assert!((9..STEPS).contains(&done), "batches are made a few steps ahead: {done}");
        let kept = scene.checkpoints(&dir);
        assert!(kept.contains(&8), "{kept:?}");
        // Not put back, or not the same: the run does not begin to read something else.
        let again = scene.train(&dir, &Disk, |_| panic!("a step was taken")).unwrap_err().to_string();
        assert!(again.contains("notes"), "{again}");
        assert_eq!(scene.checkpoints(&dir), kept);
        let _ = fs::remove_file(&shard);
        put(&shard, &bytes);
        scene.train(&dir, &Disk, |_| ()).unwrap();
        assert!(scene.end(&dir) == scene.end("whole"), "{words}");
    }
}

#[test]
fn rows_are_held_in_memory_and_a_file_of_them_that_goes_away_is_missed_at_the_next_start() {
    let scene = Scene::new();
    put(&scene.path("recipe.toml"), RECIPE.replace("path = \"notes\"", "path = \"notes.jsonl\"").as_bytes());
    let rows = scene.path("notes.jsonl");
    let bytes = fs::read(&rows).unwrap();
    scene.train("whole", &Disk, |_| ()).unwrap();
    let gone = |step| {
        if step == 9 {
            fs::remove_file(&rows).unwrap();
        }
    };
    scene.train("run", &Disk, gone).unwrap();
    assert!(scene.end("run") == scene.end("whole"));
    let sets = vec![format!("run.dir={}", scene.path("run").display())];
    let options = Options { sets, no_paths: false };
    let errors = Recipe::load(&ThisMachine, &scene.path("recipe.toml"), &options).unwrap_err().to_string();
    assert!(errors.contains("notes.jsonl"), "{errors}");
    // Other rows under the same name.
    put(&rows, &bytes[bytes.len() / 2..]);
    let said = scene.train("run", &Disk, |_| ()).unwrap_err().to_string();
    assert!(said.contains("notes"), "{said}");
    assert_eq!(scene.checkpoints("run"), [STEPS - 4, STEPS]);
}

//! Whether two runs left the same, and how far a killed one had come.

use anyhow::{Context, Result};
use octo_trainer::TIME_FIELDS;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// All that two equal runs share, by name: every file of the checkpoints and milestones (weights, optimizer state,
/// sections, manifests), what `latest` says, samples, the resolved recipe, and metrics without their time fields.
pub fn kept(run: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut kept = BTreeMap::new();
    for folder in ["checkpoints", "milestones"] {
        collect(run, &run.join(folder), &mut kept)?;
    }
    for file in ["samples.jsonl", "recipe.toml"] {
        kept.insert(file.to_owned(), read(&run.join(file))?);
    }
    let metrics = run.join("metrics.jsonl");
    let text = String::from_utf8(read(&metrics)?)?;
    kept.insert("metrics.jsonl".to_owned(), timeless(&text)?.into_bytes());
    Ok(kept)
}

/// Names of what is in one and not in the other, or differs.
pub fn differences(one: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let missing = other.keys().filter(|name| !one.contains_key(*name));
    let changed = one.iter().filter(|(name, bytes)| other.get(*name) != Some(bytes)).map(|(name, _)| name);
    let mut names: Vec<String> = changed.chain(missing).cloned().collect();
    names.sort();
    names
}

fn collect(run: &Path, folder: &Path, into: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.strip_prefix(run)?.display().to_string();
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_symlink() {
            into.insert(name, fs::read_link(&path)?.display().to_string().into_bytes());
        } else if kind.is_dir() {
            collect(run, &path, into)?;
        } else {
            into.insert(name, read(&path)?);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Lines of metrics without what hangs on the clock.
fn timeless(metrics: &str) -> Result<String> {
    let mut lines = String::new();
    for line in metrics.lines() {
        let mut fields: BTreeMap<String, Value> =
            serde_json::from_str(line).with_context(|| format!("metrics.jsonl: {line}"))?;
        fields.retain(|name, _| !TIME_FIELDS.contains(&name.as_str()));
        lines += &serde_json::to_string(&fields)?;
        lines.push('\n');
    }
    Ok(lines)
}

/// Where a run stood when it was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Steps whose figures were written.
    pub steps: u64,
    /// Steps of the newest checkpoint; none before the first.
    pub checkpoint: Option<u64>,
    /// Whether a checkpoint or milestone was being written, or an old one removed.
    pub saving: bool,
}

impl Reached {
    /// Looks into a run's folder.
    pub fn of(run: &Path) -> Reached {
        let names = |folder: &str| -> Vec<String> {
            let entries = fs::read_dir(run.join(folder)).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let checkpoints = names("checkpoints");
        let steps = checkpoints.iter().filter_map(|name| name.strip_prefix("step-")?.parse().ok());
        let metrics: PathBuf = run.join("metrics.jsonl");
        Reached {
            steps: fs::read(metrics).map_or(0, |text| text.iter().filter(|&&b| b == b'\n').count() as u64),
            checkpoint: steps.max(),
            saving: checkpoints.iter().chain(&names("milestones")).any(|name| name.starts_with(".tmp-")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn put(run: &Path, name: &str, text: &str) {
        fs::create_dir_all(run.join(name).parent().unwrap()).unwrap();
        fs::File::create(run.join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn run(root: &Path, name: &str, rate: u32) -> PathBuf {
        let run = root.join(name);
        put(&run, "checkpoints/step-00000004/model/model.safetensors", "weights");
        std::os::unix::fs::symlink("step-00000004", run.join("checkpoints/latest")).unwrap();
        put(&run, "milestones/step-00000002/manifest.json", "{}");
        put(&run, "samples.jsonl", "{}\n");
        put(&run, "recipe.toml", "[run]\n");
        let line = |step: u32| format!("{{\"step\":{step},\"lm_loss\":2.5,\"tokens_per_sec\":{rate}}}\n");
        put(&run, "metrics.jsonl", &(line(1) + &line(2)));
        run
    }

    #[test]
    fn runs_that_differ_in_the_clock_alone_are_equal_and_any_other_difference_is_named() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (run(root.path(), "one", 10), run(root.path(), "other", 20));
        let same = |other: &Path| differences(&kept(&one).unwrap(), &kept(other).unwrap());
        assert_eq!(same(&other), Vec::<String>::new());
        put(&other, "checkpoints/step-00000004/model/model.safetensors", "weight5");
        put(&other, "milestones/step-00000002/more", "");
        let line = "{\"step\":1,\"lm_loss\":2.25,\"tokens_per_sec\":10}\n";
        put(&other, "metrics.jsonl", line);
        let names = ["checkpoints/step-00000004/model/model.safetensors", "metrics.jsonl"];
        assert_eq!(same(&other), [&names[..], &["milestones/step-00000002/more"]].concat());
        fs::remove_file(other.join("checkpoints/latest")).unwrap();
        std::os::unix::fs::symlink("step-00000003", other.join("checkpoints/latest")).unwrap();
        assert_eq!(same(&other)[0], "checkpoints/latest");
    }

    #[test]
    fn where_a_run_was_killed_is_read_from_what_it_left() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Reached::of(root.path()), Reached { steps: 0, checkpoint: None, saving: false });
        let run = run(root.path(), "run", 1);
        assert_eq!(Reached::of(&run), Reached { steps: 2, checkpoint: Some(4), saving: false });
        put(&run, "checkpoints/.tmp-step-00000006-1/model/config.json", "{}");
        assert!(Reached::of(&run).saving);
    }
}

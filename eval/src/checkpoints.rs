//! Which models a path means, and what results call them.

use crate::EvalError;
use std::cmp::Ordering;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// The models of a path, in the order of their names, numbers by their value: the path itself where it is a model or a
/// checkpoint; the milestones and checkpoints of a run; else every model and checkpoint directly inside.
///
/// # Errors
/// When there is none, or the folder cannot be read.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, EvalError> {
    if is_model(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for folder in ["milestones", "checkpoints", ""].map(|name| path.join(name)) {
        if folder.is_dir() {
            let inside = models_in(&folder)?;
            // A milestone and a checkpoint of one step are one model.
            let new =
                |model: &PathBuf| !found.iter().any(|other: &PathBuf| other.file_name() == model.file_name());
            let new: Vec<PathBuf> = inside.into_iter().filter(new).collect();
            found.extend(new);
        }
    }
    if found.is_empty() {
        let reason = match path.exists() {
            true => {
                "neither a model (config.json) nor a checkpoint (model/config.json), and no folder of them"
            }
            false => "there is no such folder",
        };
        return Err(EvalError::NoModel { path: path.to_owned(), reason });
    }
    found.sort_by(|a, b| natural(&last(a), &last(b)));
    Ok(found)
}

/// The milestones of a run so far, in the order of their steps.
///
/// # Errors
/// When the folder cannot be read.
pub fn milestones(run: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let folder = run.join("milestones");
    let mut found = if folder.is_dir() { models_in(&folder)? } else { Vec::new() };
    found.sort_by(|a, b| natural(&last(a), &last(b)));
    Ok(found)
}

fn is_model(path: &Path) -> bool {
    path.join("config.json").is_file() || path.join("model/config.json").is_file()
}

/// Links (`latest`) are other names of what is there anyway; hidden folders are unfinished.
fn models_in(folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let read = |source| EvalError::Read { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.file_type().map_err(read)?.is_dir() && is_model(&entry.path()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Compares names with the numbers in them taken as numbers: `2B` before `10B`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (whole_a, whole_b) = (a, b);
    let (mut a, mut b) = (parts(a).into_iter(), parts(b).into_iter());
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return whole_a.cmp(whole_b),
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (digits(a), digits(b)) {
                (Some(x), Some(y)) => (x.len(), x).cmp(&(y.len(), y)),
                // 1B before 1.5B: a point stands behind letters.
                _ => a.replace('.', "\u{10FFFF}").cmp(&b.replace('.', "\u{10FFFF}")),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Runs of digits, and what lies between them.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    let mut before: Option<bool> = None;
    for (at, c) in text.char_indices() {
        let digit = c.is_ascii_digit();
        if before.is_some_and(|before| before != digit) {
            parts.push(&text[from..at]);
            from = at;
        }
        before = Some(digit);
    }
    parts.push(&text[from..]);
    parts
}

/// A run of digits without its leading zeros.
fn digits(part: &str) -> Option<&str> {
    let number = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    number.then(|| part.trim_start_matches('0'))
}

/// What results call a model: the last four parts of its path, without the `model` of a checkpoint.
pub fn name(path: &Path) -> String {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let of_checkpoint = real.ends_with("model") && !real.join("model").exists();
    let real = if of_checkpoint { real.parent().unwrap_or(&real) } else { &real };
    let parts: Vec<String> = real
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    // A name that begins with a dot would hide the results.
    parts[parts.len().saturating_sub(4)..].join("__").trim_start_matches('.').to_owned()
}

/// XXH3 of a model's config and weights, in hexadecimal: which model results are about.
///
/// # Errors
/// When a file cannot be read.
pub fn hash(model: &Path) -> Result<String, EvalError> {
    let list = |source| EvalError::Read { path: model.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(model).map_err(list)? {
        let path = entry.map_err(list)?.path();
        if path.extension().is_some_and(|e| e == "safetensors") || path.ends_with("config.json") {
            files.push(path);
        }
    }
    files.sort();
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let read = |source| EvalError::Read { path: path.clone(), source };
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        let mut file = File::open(&path).map_err(read)?;
        loop {
            match file.read(&mut buffer).map_err(read)? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
    }
    Ok(format!("{:032x}", hash.digest128()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_durable::{Disk, write_bytes};

    fn folder(models: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for model in models {
            let path = folder.path().join(model);
            std::fs::create_dir_all(&path).unwrap();
            write_bytes(&Disk, &path.join("config.json"), b"{}").unwrap();
        }
        folder
    }

    fn names(path: &Path) -> Vec<String> {
        find(path).unwrap().iter().map(|path| last(path)).collect()
    }

    #[test]
    fn a_folder_of_checkpoints_means_all_of_them_in_the_order_of_their_numbers() {
        let mixed = folder(&["10B", "2B", "1B/model", ".tmp-3B"]);
        std::fs::create_dir(mixed.path().join("plots")).unwrap();
        assert_eq!(names(mixed.path()), ["1B", "2B", "10B"]);
        assert_eq!(names(&mixed.path().join("1B")), ["1B"]);
        let run = folder(&[
            "checkpoints/step-00000010/model",
            "milestones/step-00000002/model",
            "milestones/step-00000010/model",
        ]);
        std::os::unix::fs::symlink("step-00000010", run.path().join("checkpoints/latest")).unwrap();
        assert_eq!(names(run.path()), ["step-00000002", "step-00000010"]);
        assert_eq!(milestones(run.path()).unwrap().len(), 2);
        let error = find(&mixed.path().join("plots")).unwrap_err().to_string();
        assert!(error.contains("plots: neither a model (config.json)"), "{error}");
    }

    #[test]
    fn a_model_is_named_by_the_last_four_parts_of_its_path() {
        let folder = folder(&["a/b/run/checkpoints/step-00000010/model"]);
        let path = folder.path().join("a/b/run/checkpoints/step-00000010");
        assert_eq!(name(&path), "b__run__checkpoints__step-00000010");
        assert_eq!(name(&path.join("model")), name(&path));
    }

    #[test]
    fn the_natural_order_is_one() {
        let mut names = ["2B", "10B", "1.5B", "01B", "1B", "a", "", "step-9", "step-10"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "01B", "1B", "1.5B", "2B", "10B", "a", "step-9", "step-10"]);
    }
}

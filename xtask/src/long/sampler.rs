//! The sampler's draws against exact distributions, and those of the simulated GPU against the host's.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Tests that draw: package, test file, part of their names.
const TESTS: [[&str; 3]; 2] =
    [["octo-ops", "sampling_statistics", "draws"], ["octo-kernels", "rows", "policy::"]];

/// Runs the tests, those included that are ignored elsewhere, and adds to the log what they say: a line a filter and
/// vocabulary, and one that says whether all held.
pub fn run(repository: &Path, log: &Path, commit: &str) -> Result<()> {
    let began = Instant::now();
    let (mut lines, mut held, mut told) = (Vec::new(), true, String::new());
    for [package, file, names] in TESTS {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(repository).args(["test", "--locked", "--package", package, "--test", file]);
        command.args(["--", "--nocapture", "--include-ignored", names]);
        let output = command.output().context("cannot start cargo")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let found = said.lines().filter_map(figures);
        let before = lines.len();
        lines.extend(found);
        // Tests of other names would say nothing, and nothing is well.
        held &= output.status.success() && lines.len() > before;
        told.push_str(&said);
        told.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    let seconds = began.elapsed().as_secs();
    lines.push(json!({ "commit": commit, "lines": lines.len(), "held": held, "seconds": seconds }));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    for line in &lines {
        writeln!(file, "{line}").with_context(|| format!("cannot write {}", log.display()))?;
        eprintln!("sampler: {line}");
    }
    if !held {
        bail!("{told}");
    }
    Ok(())
}

/// The object in a line of a test's output, which may begin with the test's name.
fn figures(line: &str) -> Option<Value> {
    serde_json::from_str(&line[line.find('{')?..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_behind_names() {
        assert_eq!(figures("{\"a\":1}"), Some(json!({ "a": 1 })));
        assert_eq!(figures("test x ... {\"a\":1}"), Some(json!({ "a": 1 })));
        assert_eq!(figures("test x ... ok"), None);
        assert_eq!(figures("a {brace}"), None);
    }
}

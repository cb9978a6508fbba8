//! The scheduler's million steps.

use anyhow::{Context, Result, bail};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Runs the walk, which is an ignored test of `octo-infer`, and adds a line to the log.
pub fn run(repository: &Path, log: &Path, commit: &str) -> Result<()> {
    let test = "scheduler::model::a_million_random_steps_leak_no_page_and_end_every_request";
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(repository).args([
        "test",
        "--release",
        "--locked",
        "--package",
        "octo-infer",
        "--lib",
    ]);
    command.args(["--", "--ignored", "--exact", test]);
    let began = Instant::now();
    let output = command.output().context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    // A test of another name would be none, and none is well.
    let held = output.status.success() && said.contains("1 passed");
    let line = json!({ "commit": commit, "test": test, "held": held, "seconds": began.elapsed().as_secs() });
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    writeln!(file, "{line}").with_context(|| format!("cannot write {}", log.display()))?;
    eprintln!("scheduler: {line}");
    if !held {
        bail!("{said}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

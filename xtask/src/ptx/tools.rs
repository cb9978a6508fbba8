//! The compiler and the assembler, from pinned Python packages in a virtual environment.

use anyhow::{Context, bail};
use octo_durable::{Disk, write_bytes};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the tools lie.
pub struct Tools {
    /// The shared library of NVRTC.
    pub nvrtc: PathBuf,
    /// The assembler.
    pub ptxas: PathBuf,
}

/// Makes the environment, unless it holds these requirements already.
pub fn install(environment: &Path, requirements: &Path) -> anyhow::Result<Tools> {
    let wanted = std::fs::read(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    // Written last, so that an installation that was cut short is begun anew.
    let stamp = environment.join("installed.txt");
    if std::fs::read(&stamp).ok().as_deref() != Some(wanted.as_slice()) {
        eprintln!("installing {} into {}", requirements.display(), environment.display());
        let venv = ["-m".as_ref(), "venv".as_ref(), "--clear".as_ref(), environment.as_os_str()];
        execute(
            "python3".as_ref(),
            &venv,
            "on Debian and Ubuntu `apt-get install python3-venv` gives what is missing",
        )?;
        let python = environment.join("bin/python");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
        let arguments: Vec<&OsStr> = pip.iter().map(OsStr::new).chain([requirements.as_os_str()]).collect();
        execute(&python, &arguments, "the packages are fetched once and need the network for it")?;
        write_bytes(&Disk, &stamp, &wanted)?;
    }
    let packages = packages(environment)?;
    let tools = Tools {
        nvrtc: packages.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12"),
        ptxas: packages.join("nvidia/cuda_nvcc/bin/ptxas"),
    };
    for path in [&tools.nvrtc, &tools.ptxas] {
        if !path.is_file() {
            bail!("{} is missing; remove {} and try again", path.display(), environment.display());
        }
    }
    Ok(tools)
}

/// `lib/python3.*/site-packages`.
fn packages(environment: &Path) -> anyhow::Result<PathBuf> {
    let lib = environment.join("lib");
    let versions = lib.read_dir().with_context(|| format!("cannot read {}", lib.display()))?;
    let mut found = versions.flatten().map(|entry| entry.path().join("site-packages"));
    found.find(|path| path.is_dir()).with_context(|| format!("no Python below {}", lib.display()))
}

fn execute(program: &Path, arguments: &[&OsStr], advice: &str) -> anyhow::Result<()> {
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "{} is not installed; the CUDA compiler comes as a Python package. Everything but `cargo xtask ptx` works without",
            program.display()
        ),
        Err(error) => return Err(error).with_context(|| format!("cannot run {}", program.display())),
    };
    if !output.status.success() {
        let line: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        bail!(
            "`{} {}` failed ({advice}):\n{}{}",
            program.display(),
            line.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_an_error_that_says_what_it_is_for() {
        let error = execute("no-such-python".as_ref(), &[], "").unwrap_err().to_string();
        assert!(error.contains("no-such-python is not installed"), "{error}");
    }

    #[test]
    fn a_failing_program_is_quoted_with_advice() {
        let arguments = ["-c", "echo out; echo why >&2; exit 3"].map(OsStr::new);
        let error = execute("sh".as_ref(), &arguments, "try this").unwrap_err().to_string();
        assert!(error.contains("try this") && error.contains("out\nwhy\n"), "{error}");
    }
}

//! ptxas, the assembler: does a target take the PTX, and what do its kernels need there?

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What an entry takes on a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes that are stored for lack of registers.
    pub spill_stores: u32,
    /// Bytes that are loaded back.
    pub spill_loads: u32,
    /// Bytes of local memory of a thread.
    pub stack: u32,
    /// Static shared memory of a block in bytes.
    pub shared: u32,
}

/// The assembler.
pub struct Ptxas {
    path: PathBuf,
}

impl Ptxas {
    pub fn new(path: PathBuf) -> Ptxas {
        Ptxas { path }
    }

    /// Assembles a module and drops the result: what each entry takes, by name.
    pub fn assemble(&self, ptx: &str, target: &str) -> anyhow::Result<BTreeMap<String, Resources>> {
        self.assemble_to(ptx, target, Path::new("/dev/null"))
    }

    /// The same into a file. Lines of the source are left out, three fifths of it: a profiler that wants them takes the PTX.
    pub fn assemble_to(
        &self,
        ptx: &str,
        target: &str,
        file: &Path,
    ) -> anyhow::Result<BTreeMap<String, Resources>> {
        let call = || format!("cannot run {}", self.path.display());
        let mut child = Command::new(&self.path)
            .args(["--verbose", "--suppress-debug-info", &format!("--gpu-name={target}"), "--output-file"])
            .arg(file)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(call)?;
        // ptxas reads to the end before it writes, so neither waits for the other; where it stops early, its own
        // message tells more than that it no longer listens.
        let sent = child.stdin.take().map(|mut stdin| stdin.write_all(ptx.as_bytes()));
        let output = child.wait_with_output().with_context(call)?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        if !output.status.success() {
            bail!("ptxas refuses it for {target}:\n{}", text.trim());
        }
        sent.transpose().with_context(call)?;
        report(&text).with_context(|| format!("assembling for {target}"))
    }
}

/// Reads what `--verbose` prints. Every other line is a warning or a remark (`setmaxnreg ignored`, `wgmma serialized`)
/// and an error.
fn report(text: &str) -> anyhow::Result<BTreeMap<String, Resources>> {
    let mut entries = BTreeMap::new();
    let mut current: Option<(String, Resources)> = None;
    for line in text.lines() {
        let said = line
            .strip_prefix("ptxas info")
            .map_or(line, |rest| rest.trim_start().trim_start_matches(':'))
            .trim();
        if let Some(rest) = said.strip_prefix("Compiling entry function '") {
            let name = rest.split('\'').next().unwrap_or_default();
            current = Some((name.to_owned(), Resources::default()));
        } else if said.contains(" bytes stack frame, ") {
            let (_, taken) = current.as_mut().with_context(|| format!("`{line}` belongs to no entry"))?;
            taken.stack = before(said, " bytes stack frame")?;
            taken.spill_stores = before(said, " bytes spill stores")?;
            taken.spill_loads = before(said, " bytes spill loads")?;
        } else if said.starts_with("Used ") {
            let (name, mut taken) =
                current.take().with_context(|| format!("`{line}` belongs to no entry"))?;
            taken.registers = before(said, " registers")?;
            if said.contains(" bytes smem") {
                taken.shared = before(said, " bytes smem")?;
            }
            entries.insert(name, taken);
        } else if !expected(said) {
            bail!("ptxas remarks: {line}");
        }
    }
    Ok(entries)
}

/// Whether a line says nothing that anybody has to act upon.
fn expected(said: &str) -> bool {
    said.is_empty()
        || said.starts_with("Function properties for ")
        || said.starts_with("Compile time = ")
        || (said.contains(" bytes gmem") && !said.contains("warning"))
}

/// The number right before a phrase.
fn before(line: &str, phrase: &str) -> anyhow::Result<u32> {
    let (head, _) =
        line.split_once(phrase).with_context(|| format!("`{line}` does not say how many{phrase}"))?;
    let number = head.rsplit([' ', ',']).next().unwrap_or_default();
    number.parse().with_context(|| format!("`{line}`: `{number}` is no number of{phrase}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'b' for 'sm_80'
ptxas info    : Function properties for b
    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 61 registers, used 1 barriers, 16 bytes cumulative stack size, 64 bytes smem, 448 bytes cmem[0]
ptxas info    : Compile time = 70.622 ms
ptxas info    : Compiling entry function 'a' for 'sm_80'
ptxas info    : Function properties for a
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 448 bytes cmem[0]
";

    #[test]
    fn the_figures_of_every_entry_are_read() {
        let entries = report(TWO).unwrap();
        assert_eq!(entries["a"], Resources { registers: 8, ..Resources::default() });
        let b = Resources { registers: 61, spill_stores: 4, spill_loads: 8, stack: 16, shared: 64 };
        assert_eq!(entries["b"], b);
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn remarks_and_warnings_are_errors() {
        for remark in [
            "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored to maintain minimum register requirements.",
            "ptxas warning : Value of threads per SM for entry a is out of range. .minnctapersm will be ignored",
            "ptxas <stdin>, line 3; warning : something",
        ] {
            let error = report(&format!("{TWO}{remark}\n")).unwrap_err().to_string();
            assert!(error.contains(remark), "{error}");
        }
    }

    #[test]
    fn figures_without_an_entry_are_an_error() {
        assert!(report("ptxas info    : Used 8 registers\n").is_err());
        assert!(report("    x bytes stack frame, 0 bytes spill stores\n").is_err());
    }
}

//! The log of a suite: what was tested, a line a run, and what it came to.

use super::Suite;
use super::compare::Reached;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What was tested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub suite: Suite,
    /// Of the moments.
    pub seed: u64,
    /// Of the repository.
    pub commit: String,
    /// xxh3 of the program's bytes.
    pub program: String,
    /// The processor, and how many of them.
    pub machine: String,
}

/// One kill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// Milliseconds after the start, of a random moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<f64>,
    /// The operation on the disk before which it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    #[serde(flatten)]
    pub reached: Reached,
}

/// One run, from its first start to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Counted from 0; with the seed it says the moments.
    pub run: u64,
    pub kills: Vec<Kill>,
    /// Whether it ended with the bits of the one left alone.
    pub equal: bool,
    /// What differs, or why it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
}

/// What a suite came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub runs: u64,
    pub kills: u64,
    /// Kills while a checkpoint was being written or removed.
    pub while_saving: u64,
    /// Kills before the first step's figures were written.
    pub before_the_first_step: u64,
    /// Kills of a run that had been killed before.
    pub after_a_resume: u64,
    /// Runs that ended with other bits.
    pub unequal: u64,
}

impl Summary {
    pub fn of(lines: &[Line]) -> Summary {
        let kills = || lines.iter().flat_map(|line| &line.kills);
        Summary {
            runs: lines.len() as u64,
            kills: kills().count() as u64,
            while_saving: kills().filter(|kill| kill.reached.saving).count() as u64,
            before_the_first_step: kills().filter(|kill| kill.reached.steps == 0).count() as u64,
            after_a_resume: lines.iter().map(|line| line.kills.len().saturating_sub(1) as u64).sum(),
            unequal: lines.iter().filter(|line| !line.equal).count() as u64,
        }
    }
}

/// A log that grows.
pub struct Log {
    file: File,
    lines: Vec<Line>,
    /// Whether its summary stands already.
    pub done: bool,
}

impl Log {
    /// Opens a log to go on with, or begins one.
    pub fn open(path: &Path, header: &Header) -> Result<Log> {
        let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
        // A line that was torn is not there; its run is made again.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut lines = whole.lines();
        let mut log = Log { file: begin(path, whole)?, lines: Vec::new(), done: false };
        match lines.next() {
            None => log.put(header)?,
            Some(first) => {
                let said: Header = serde_json::from_str(first).with_context(|| shown(path))?;
                if (said.suite, said.seed, &said.program) != (header.suite, header.seed, &header.program) {
                    bail!("{} is of another program or seed: move it away or give --logs", path.display());
                }
            }
        }
        for line in lines {
            match serde_json::from_str::<Line>(line) {
                Ok(line) => log.lines.push(line),
                Err(_) => {
                    serde_json::from_str::<Summary>(line).with_context(|| shown(path))?;
                    log.done = true;
                }
            }
        }
        Ok(log)
    }

    /// Runs that stand in it.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Adds a run.
    pub fn add(&mut self, line: Line) -> Result<()> {
        self.put(&line)?;
        self.lines.push(line);
        Ok(())
    }

    /// Adds the end.
    pub fn finish(&mut self) -> Result<Summary> {
        let summary = Summary::of(&self.lines);
        if !self.done {
            self.put(&summary)?;
            self.done = true;
        }
        Ok(summary)
    }

    fn put(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        Ok(self.file.write_all(&text)?)
    }
}

fn begin(path: &Path, whole: &str) -> Result<File> {
    let open = || -> std::io::Result<File> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        file.set_len(whole.len() as u64)?;
        Ok(file)
    };
    open().with_context(|| format!("cannot write {}", path.display()))
}

fn shown(path: &Path) -> String {
    let path: PathBuf = path.to_owned();
    format!("{} is no log of this task", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(program: &str) -> Header {
        let [commit, program, machine] = ["abc", program, "a machine"].map(str::to_owned);
        Header { suite: Suite::Kills, seed: 1, commit, program, machine }
    }

    fn line(run: u64, steps: &[u64]) -> Line {
        let kill = |&steps: &u64| Kill {
            after_ms: Some(12.5),
            operation: None,
            reached: Reached { steps, checkpoint: None, saving: steps == 3 },
        };
        Line { run, kills: steps.iter().map(kill).collect(), equal: run != 1, differs: Vec::new() }
    }

    #[test]
    fn a_log_is_gone_on_with_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = Log::open(&path, &header("p")).unwrap();
        log.add(line(0, &[0])).unwrap();
        log.add(line(1, &[5, 3])).unwrap();
        log.file.write_all(b"{\"run\":2,\"ki").unwrap();
        let mut log = Log::open(&path, &header("p")).unwrap();
        assert_eq!(log.lines(), [line(0, &[0]), line(1, &[5, 3])]);
        let summary = log.finish().unwrap();
        assert_eq!(
            summary,
            Summary {
                runs: 2,
                kills: 3,
                while_saving: 1,
                before_the_first_step: 1,
                after_a_resume: 1,
                unequal: 1,
            }
        );
        let mut log = Log::open(&path, &header("p")).unwrap();
        assert!(log.done);
        assert_eq!(log.finish().unwrap(), summary);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
    }

    #[test]
    fn a_log_of_another_program_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        Log::open(&path, &header("p")).unwrap();
        let error = Log::open(&path, &header("q")).err().unwrap().to_string();
        assert!(error.contains("another program"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }
}

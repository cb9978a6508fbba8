//! A reward program as a process: lines in, lines out, all of it bounded.
//!
//! It stands in a process group of its own, which is killed whole, with limits on memory, processor time and the size of
//! files, and an environment of a few names. What a model has written reaches it on standard input alone.
//!
//! Limits stand before its first instruction: what is spawned is a shell that waits for a line and then becomes the program.
//! The line is written once the limits are set, and the shell reads none of the program's words: they are its arguments. To
//! set them between fork and exec without one would take unsafe code.

use octo_recipe::Program;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest line it may print.
const LONGEST_LINE: usize = 64 << 10;
/// Lines it may print before one is asked for.
const AHEAD: usize = 16;
/// The largest file it may write.
const LARGEST_FILE: u64 = 64 << 20;
/// How long one that has closed its output may take to end, and its last words to arrive.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What is kept of what it prints to standard error.
const KEPT: usize = 400;
/// Waits, then becomes the program. A shell reads standard input by the byte here, so that it takes no more than its line.
/// What shells add to the environment of their own goes again.
const GATE: &str = "read -r go && unset -v PWD OLDPWD SHLVL && exec \"$@\"";
/// Names it always gets.
const ALWAYS: [&str; 3] = ["PATH", "HOME", "LANG"];

/// What went wrong with a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not start, or has ended.
    Ended(String),
    /// It took too long, or said what it may not say.
    Misbehaved(String),
}

/// A line of its output.
enum Said {
    Line(String),
    TooLong,
    NoText,
}

/// A running program.
pub(super) struct Process {
    child: Child,
    to_write: Option<Sender<Vec<u8>>>,
    said: Receiver<Said>,
    complaints: Arc<Mutex<String>>,
    /// Told when the last of them has been read.
    complained: Receiver<()>,
}

impl Process {
    /// Starts it.
    pub fn start(program: &Program) -> Result<Process, Fault> {
        let Some(name) = program.command.first() else {
            return Err(Fault::Ended("the command is empty".to_owned()));
        };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE, "sh"]).args(&program.command).env_clear().process_group(0);
        for name in ALWAYS.into_iter().chain(program.environment.iter().map(String::as_str)) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = |error: io::Error| Fault::Ended(format!("`{name}` cannot be started: {error}"));
        let mut child = command.spawn().map_err(ended)?;
        // What it starts inherits them.
        let opened = limit(&child, program).and_then(|()| match &mut child.stdin {
            Some(gate) => gate.write_all(b"\n").or_else(|error| match error.kind() {
                // One that has ended by now is found out when it is asked.
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            }),
            None => Ok(()),
        });
        if let Err(error) = opened {
            stop(&mut child);
            return Err(ended(error));
        }
        let complaints = Arc::default();
        let (said, stdin, stderr) = (child.stdout.take(), child.stdin.take(), child.stderr.take());
        let (tell, hear) = sync_channel(AHEAD);
        let (write, to_write) = channel();
        let (no_more, complained) = sync_channel(1);
        let started = (|| -> io::Result<()> {
            let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
            if let Some(stdout) = said {
                named("reward-out").spawn(move || listen(stdout, &tell))?;
            }
            if let Some(stdin) = stdin {
                named("reward-in").spawn(move || dictate(stdin, &to_write))?;
            }
            if let Some(mut stderr) = stderr {
                let kept = Arc::clone(&complaints);
                named("reward-err").spawn(move || {
                    keep_last(&mut stderr, &kept);
                    // Nobody may be listening any more.
                    let _ = no_more.try_send(());
                })?;
            }
            Ok(())
        })();
        if let Err(error) = started {
            stop(&mut child);
            return Err(ended(error));
        }
        Ok(Process { child, to_write: Some(write), said: hear, complaints, complained })
    }

    /// Writes a line and waits for one.
    pub fn ask(&mut self, mut line: Vec<u8>, timeout: Duration) -> Result<String, Fault> {
        let deadline = Instant::now() + timeout;
        line.push(b'\n');
        let sent = self.to_write.as_ref().is_some_and(|write| write.send(line).is_ok());
        let left = deadline.saturating_duration_since(Instant::now());
        match self.said.recv_timeout(left) {
            Ok(Said::Line(line)) => Ok(line),
            Ok(Said::TooLong) => {
                Err(Fault::Misbehaved(format!("it printed a line of more than {LONGEST_LINE} bytes")))
            }
            Ok(Said::NoText) => Err(Fault::Misbehaved("it printed what is not UTF-8".to_owned())),
            Err(RecvTimeoutError::Timeout) if sent => {
                Err(Fault::Misbehaved(format!("it did not answer within {} s", timeout.as_secs_f64())))
            }
            Err(_) => Err(Fault::Ended(self.how_it_ended())),
        }
    }

    /// What it left: its own status if it is about to end by itself, and the last words it wrote.
    fn how_it_ended(&mut self) -> String {
        let deadline = Instant::now() + LAST_WORDS;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop(&mut self.child);
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        // Without an answer in time, what has been read until then has to do.
        let _ = self.complained.recv_timeout(LAST_WORDS);
        let said = self.complaints.lock().map(|said| said.trim().to_owned()).unwrap_or_default();
        match said.lines().last() {
            Some(last) => format!("it ended ({status}): {last}"),
            None => format!("it ended ({status})"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.to_write = None;
        stop(&mut self.child);
        // It is dead: this only takes its remains away.
        let _ = self.child.wait();
    }
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

/// Kills the whole group: what the program has started too.
fn stop(child: &mut Child) {
    if let Some(pid) = pid(child) {
        // It may be gone already.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

fn limit(child: &Child, program: &Program) -> io::Result<()> {
    let limits = [
        (Resource::As, program.memory_bytes),
        (Resource::Cpu, program.cpu_seconds),
        (Resource::Fsize, LARGEST_FILE),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        match prlimit(pid(child), resource, Rlimit { current: Some(most), maximum: Some(most) }) {
            // One that has ended by now is found out when it is asked.
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Hands lines on until the program ends or says too much.
fn listen(stdout: ChildStdout, tell: &SyncSender<Said>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = stdout.by_ref().take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut line);
        let said = match read {
            Ok(0) | Err(_) => return,
            Ok(_) if line.len() > LONGEST_LINE => Said::TooLong,
            Ok(_) => String::from_utf8(line).map_or(Said::NoText, |line| Said::Line(line.trim().to_owned())),
        };
        let is_last = !matches!(said, Said::Line(_));
        if tell.send(said).is_err() || is_last {
            return;
        }
    }
}

/// Writes what is given, which may take as long as the program leaves it lying.
fn dictate(mut stdin: ChildStdin, lines: &Receiver<Vec<u8>>) {
    for line in lines {
        if stdin.write_all(&line).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

/// Keeps the end of what is printed, however much that is.
fn keep_last(from: &mut impl Read, kept: &Mutex<String>) {
    let mut piece = [0u8; 4096];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        let Ok(mut kept) = kept.lock() else { return };
        kept.push_str(&String::from_utf8_lossy(&piece[..read]));
        while kept.len() > KEPT {
            kept.remove(0);
        }
    }
}

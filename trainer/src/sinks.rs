//! Programs of the user's that get the metrics as they come: `[[log.sinks]]` of a recipe.
//!
//! A sink is a convenience. It may be slow, stand still or die: training waits for none of that. Each has a
//! thread that writes and a queue with an end; what does not fit is dropped and counted.

use crate::{Figures, TrainError};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

/// Lines that wait for a sink before some are dropped: a quarter of an hour of steps of a second.
const QUEUE: usize = 1_000;
/// Between two looks at a sink that has not ended yet.
const LOOK: Duration = Duration::from_millis(5);

/// The sinks of a run.
pub struct Sinks(Vec<Sink>);

/// What became of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkReport {
    /// The program and its arguments.
    pub command: String,
    /// Lines that were dropped because the queue was full or the sink gone.
    pub dropped: u64,
    /// What went wrong, if anything did.
    pub failure: Option<String>,
}

struct Sink {
    command: String,
    child: Child,
    lines: SyncSender<Arc<str>>,
    /// Says how the writing ended: once, when it has.
    ended: Receiver<io::Result<()>>,
    dropped: u64,
    failure: Option<String>,
}

impl Sinks {
    /// Starts a program for each command (the program and its arguments; no shell). It gets one JSON object a
    /// line on standard input, as in `metrics.jsonl`, and the run's folder in `OCTO_RUN_DIR`; what it prints
    /// goes to our standard error. It stands in a process group of its own, so that an interrupt from the
    /// terminal meets the run alone and the sink still gets its last lines.
    ///
    /// # Errors
    /// [`TrainError::Sink`] for a command that is empty or cannot be started; those before it are ended.
    pub fn start(commands: &[Vec<String>], run_dir: &Path) -> Result<Sinks, TrainError> {
        Sinks::with_queue(commands, run_dir, QUEUE)
    }

    fn with_queue(commands: &[Vec<String>], run_dir: &Path, queue: usize) -> Result<Sinks, TrainError> {
        let mut sinks = Sinks(Vec::new());
        for command in commands {
            match Sink::start(command, run_dir, queue) {
                Ok(sink) => sinks.0.push(sink),
                Err(source) => {
                    sinks.close(Duration::ZERO);
                    return Err(TrainError::Sink { command: command.join(" "), source });
                }
            }
        }
        Ok(sinks)
    }

    /// Hands a step's figures to every sink, without waiting for any.
    pub fn send(&mut self, figures: &dyn Figures) {
        if self.0.is_empty() {
            return;
        }
        // Figures of a step always have a line of JSON.
        let Ok(mut line) = figures.line() else { return };
        line.push('\n');
        let line: Arc<str> = line.into();
        for sink in &mut self.0 {
            sink.send(&line);
        }
    }

    /// Ends the sinks: each gets what is left in its queue and then the end of its input. Those that have not
    /// ended after `limit`, all together, are killed. Returns what became of each.
    pub fn close(self, limit: Duration) -> Vec<SinkReport> {
        let deadline = Instant::now() + limit;
        // All get the end of their input before any is waited for.
        let closing: Vec<Closing> = self.0.into_iter().map(Sink::hang_up).collect();
        closing.into_iter().map(|sink| sink.wait(deadline)).collect()
    }
}

impl Sink {
    fn start(command: &[String], run_dir: &Path, queue: usize) -> io::Result<Sink> {
        let (program, args) = command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
        let mut child = Command::new(program)
            .args(args)
            .env("OCTO_RUN_DIR", run_dir)
            .stdin(Stdio::piped())
            .stdout(io::stderr().as_fd().try_clone_to_owned()?)
            .process_group(0)
            .spawn()?;
        let (lines, queued) = sync_channel::<Arc<str>>(queue);
        let (end, ended) = channel();
        let stdin = child.stdin.take();
        std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
            let result = stdin.map_or(Ok(()), |stdin| write_lines(stdin, &queued));
            // Nobody listens any more where the sink was given up.
            let _ = end.send(result);
        })?;
        Ok(Sink { command: command.join(" "), child, lines, ended, dropped: 0, failure: None })
    }

    fn send(&mut self, line: &Arc<str>) {
        match self.lines.try_send(line.clone()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.dropped += 1;
                // At 1, 2, 4, 8, … lines, so that a sink that stands still does not fill the log.
                if self.dropped.is_power_of_two() {
                    tracing::warn!(
                        "sink `{}` is too slow: {} lines dropped so far",
                        self.command,
                        self.dropped
                    );
                }
            }
            Err(TrySendError::Disconnected(_)) => {
                self.dropped += 1;
                if self.failure.is_none() {
                    let status = self.child.try_wait().ok().flatten();
                    let ended = self.ended.try_recv().ok().and_then(Result::err);
                    self.fail(gone(status, ended));
                }
            }
        }
    }

    /// Says once that a sink is of no use any more; the run goes on.
    fn fail(&mut self, what: String) {
        tracing::warn!("sink `{}` {what}; the run goes on without it", self.command);
        self.failure = Some(what);
    }

    /// Ends the queue, and with it, once that is written, the sink's input.
    fn hang_up(self) -> Closing {
        let Sink { command, child, lines, ended, dropped, failure } = self;
        drop(lines);
        Closing { child, ended, report: SinkReport { command, dropped, failure } }
    }
}

/// A sink without a queue: it has only to end.
struct Closing {
    child: Child,
    ended: Receiver<io::Result<()>>,
    report: SinkReport,
}

impl Closing {
    fn wait(mut self, deadline: Instant) -> SinkReport {
        let left = || deadline.saturating_duration_since(Instant::now());
        let written = match self.ended.recv_timeout(left()) {
            Ok(result) => result,
            // Told before.
            Err(RecvTimeoutError::Disconnected) => Ok(()),
            Err(RecvTimeoutError::Timeout) => Err(io::Error::other("lines are left")),
        };
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if left() > Duration::ZERO => std::thread::sleep(LOOK.min(left())),
                _ => break None,
            }
        };
        let failure = match (status, written) {
            (None, _) => {
                // A child that cannot be killed or waited for is gone already.
                let _ = self.child.kill();
                let _ = self.child.wait();
                Some("did not end in time and was killed".to_owned())
            }
            (Some(status), Ok(())) if status.success() => None,
            (status, written) => Some(gone(status, written.err())),
        };
        // The writing thread is not waited for: a grandchild may hold the other end open for ever.
        if let (None, Some(what)) = (&self.report.failure, &failure) {
            tracing::warn!("sink `{}` {what}", self.report.command);
        }
        if self.report.dropped > 0 {
            tracing::warn!("sink `{}` missed {} lines", self.report.command, self.report.dropped);
        }
        self.report.failure = self.report.failure.or(failure);
        self.report
    }
}

/// Why a sink takes no more lines.
fn gone(status: Option<ExitStatus>, written: Option<io::Error>) -> String {
    match (status, written) {
        (Some(status), _) if !status.success() => format!("failed ({status})"),
        (_, Some(error)) => format!("stopped reading ({error})"),
        _ => "stopped reading".to_owned(),
    }
}

/// Writes lines as they come until the queue ends or the sink reads no more.
fn write_lines(mut stdin: ChildStdin, lines: &Receiver<Arc<str>>) -> io::Result<()> {
    lines.iter().try_for_each(|line| stdin.write_all(line.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StepMetrics;
    use std::cell::RefCell;
    use std::sync::Once;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn metrics(step: u64) -> StepMetrics {
        StepMetrics { step, lm_loss: 1.5, ..StepMetrics::default() }
    }

    /// What a piece of work has warned of.
    fn warnings(work: impl FnOnce()) -> Vec<String> {
        thread_local! {
            static SAID: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        /// What the thread that writes has said.
        struct Log;
        impl Write for Log {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                SAID.with_borrow_mut(|said| said.write(bytes))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        // One subscriber for all tests: with one a thread, what no thread listened to at first may stay unheard.
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        SAID.take();
        work();
        String::from_utf8(SAID.take()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_sink_gets_every_line_and_the_folder_of_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let commands = [shell("cat > \"$OCTO_RUN_DIR/copy\""), shell("cat > \"$OCTO_RUN_DIR/second\"")];
        let said = warnings(|| {
            let mut sinks = Sinks::start(&commands, folder.path()).unwrap();
            (1..=200).for_each(|step| sinks.send(&metrics(step)));
            let reports = sinks.close(LONG);
            assert!(reports.iter().all(|r| r.dropped == 0 && r.failure.is_none()), "{reports:?}");
        });
        assert!(said.is_empty(), "{said:?}");
        let expected: String =
            (1..=200).map(|step| serde_json::to_string(&metrics(step)).unwrap() + "\n").collect();
        for name in ["copy", "second"] {
            assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), expected);
        }
    }

    #[test]
    fn a_sink_that_exits_is_reported_once_and_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let copy = shell("cat > \"$OCTO_RUN_DIR/copy\"");
        let said = warnings(|| {
            let mut sinks = Sinks::start(&[shell("exit 7"), copy], folder.path()).unwrap();
            // It is noticed once a write meets the closed pipe, so one goes on until then.
            let mut step = 0;
            while sinks.0[0].failure.is_none() {
                step += 1;
                sinks.send(&metrics(step));
                std::thread::sleep(LOOK);
            }
            (1..=3).for_each(|_| sinks.send(&metrics(step)));
            let reports = sinks.close(LONG);
            assert!(reports[0].dropped >= 4 && reports[0].failure.is_some(), "{reports:?}");
            assert_eq!((reports[1].dropped, &reports[1].failure), (0, &None));
            let copied = std::fs::read_to_string(folder.path().join("copy")).unwrap();
            assert_eq!(copied.lines().count() as u64, step + 3);
        });
        let once = said.iter().filter(|line| line.contains("the run goes on without it"));
        assert_eq!(once.count(), 1, "{said:?}");
    }

    #[test]
    fn a_sink_that_fails_at_the_end_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let said = warnings(|| {
            let sinks = Sinks::start(&[shell("cat > /dev/null; exit 3")], folder.path()).unwrap();
            let failure = sinks.close(LONG).remove(0).failure.unwrap();
            assert!(failure.contains("exit status: 3"), "{failure}");
        });
        assert_eq!(said.len(), 1, "{said:?}");
    }

    #[test]
    fn a_sink_that_never_reads_blocks_nobody_and_is_killed_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let said = warnings(|| {
            let mut sinks = Sinks::with_queue(&[shell("exec sleep 1000")], folder.path(), 4).unwrap();
            // More than a pipe (64 KiB) and the queue hold.
            let mut large = metrics(1);
            large.sources.insert(format!("lm_loss/{}", "x".repeat(100_000)), 1.0);
            (0..100).for_each(|_| sinks.send(&large));
            let report = sinks.close(Duration::from_millis(50)).remove(0);
            assert!((95..100).contains(&report.dropped), "{report:?}");
            assert_eq!(report.failure.as_deref(), Some("did not end in time and was killed"));
        });
        let counted = said.iter().filter(|line| line.contains("lines dropped so far"));
        assert_eq!(counted.count(), 7, "at 1, 2, 4, …, 64 lines: {said:?}");
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_keep_the_run() {
        let folder = tempfile::tempdir().unwrap();
        // A command in the background gets its input from nowhere, unless by another number.
        let script = "exec 3<&0; sleep 3 <&3 & exit 0";
        let mut sinks = Sinks::with_queue(&[shell(script)], folder.path(), 4).unwrap();
        let mut large = metrics(1);
        large.sources.insert(format!("lm_loss/{}", "x".repeat(200_000)), 1.0);
        sinks.send(&large);
        let report = sinks.close(Duration::from_millis(50)).remove(0);
        assert_eq!(report.failure.as_deref(), Some("stopped reading (lines are left)"));
    }

    #[test]
    fn a_command_that_cannot_be_started_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for command in [vec![], vec!["/no/such/program".to_owned(), "-x".to_owned()]] {
            let error = Sinks::start(&[shell("cat"), command], folder.path()).err().unwrap().to_string();
            assert!(error.contains("log.sinks"), "{error}");
        }
        let mut none = Sinks::start(&[], folder.path()).unwrap();
        none.send(&metrics(1));
        assert!(none.close(LONG).is_empty());
    }
}

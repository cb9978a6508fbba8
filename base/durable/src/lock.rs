//! One writer a folder.
//!
//! The system's lock on the file is what counts on one machine: it goes with the process, however that ends. A
//! shared file system may not carry it to other machines, so the file also says who writes and, every few
//! seconds, that he still does.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::DurableError;

/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Without a sign for so long, a writer on another machine is taken for dead: nine are missing.
const DEAD_AFTER: u64 = 180;
/// A lock file is a line or two.
const LIMIT: u64 = 64 << 10;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The machine's name.
    pub host: String,
    /// The process there.
    pub pid: u32,
    /// The batch system's job, where there is one: a job that is started again takes its own lock over.
    pub job: Option<String>,
    /// The last sign of life, in seconds since 1970.
    pub seen: u64,
}

impl Holder {
    /// Whom the lock file at `path` names: nobody where there is none, or where it was given back. Takes no lock.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn named_in(path: &Path) -> Result<Option<Holder>, DurableError> {
        match File::open(path) {
            Ok(mut file) => read(&mut file).map_err(DurableError::io("read", path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DurableError::io("open", path)(error)),
        }
    }

    /// Whether there is no such process on this machine, or it has given no sign of life for three minutes.
    pub fn seems_dead(&self) -> bool {
        let gone = || match i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            Some(pid) => rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH),
            None => true,
        };
        now().saturating_sub(self.seen) >= DEAD_AFTER || (self.host == host() && gone())
    }
}

/// A folder's lock, held until this is dropped or the process ends.
#[derive(Debug)]
pub struct RunLock {
    stop: Sender<()>,
    heart: Option<JoinHandle<()>>,
    took_over: Option<Holder>,
}

impl RunLock {
    /// Takes the lock at `path`, making the file where there is none; `job` names this process's batch job.
    ///
    /// # Errors
    /// [`DurableError::Locked`] while another process holds it, on this machine or, by its signs of life, on
    /// another; what the system refuses.
    pub fn take(path: &Path, job: Option<String>) -> Result<RunLock, DurableError> {
        let me = Holder { host: host(), pid: std::process::id(), job, seen: now() };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(DurableError::io("open", path))?;
        let mut locked_here = true;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read(&mut file).ok().flatten();
                return Err(DurableError::Locked { path: path.to_owned(), holder });
            }
            // A file system without locks: the signs of life have to do.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                locked_here = false;
            }
            Err(TryLockError::Error(error)) => return Err(DurableError::io("lock", path)(error)),
        }
        let before = read(&mut file).map_err(DurableError::io("read", path))?;
        if let Some(holder) = before.as_ref().filter(|holder| lives(holder, &me, locked_here)) {
            return Err(DurableError::Locked { path: path.to_owned(), holder: Some(holder.clone()) });
        }
        write(&mut file, Some(&me)).map_err(DurableError::io("write", path))?;
        let (stop, stopped) = channel();
        let beat = move || {
            let mut me = me;
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                me.seen = now();
                // A sign of life that cannot be given is no reason to die.
                let _ = write(&mut file, Some(&me));
            }
            // Given back: whoever comes next need not wait for the signs to stop.
            let _ = write(&mut file, None);
        };
        let heart = std::thread::Builder::new()
            .name("run-lock".into())
            .spawn(beat)
            .map_err(DurableError::io("watch over", path))?;
        Ok(RunLock { stop, heart: Some(heart), took_over: before })
    }

    /// The dead writer whose lock this was, if it did not give it back.
    pub fn took_over(&self) -> Option<&Holder> {
        self.took_over.as_ref()
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(heart) = self.heart.take() {
            let _ = heart.join();
        }
    }
}

/// Whether the writer that a lock file names may still be at work. On this machine the system's lock has the
/// say; elsewhere the signs of life, unless it was an earlier start of the same job.
fn lives(holder: &Holder, me: &Holder, locked_here: bool) -> bool {
    if holder.host == me.host && locked_here {
        return false;
    }
    let same_job = holder.job.is_some() && holder.job == me.job;
    !same_job && me.seen.saturating_sub(holder.seen) < DEAD_AFTER
}

fn read(file: &mut File) -> io::Result<Option<Holder>> {
    file.seek(SeekFrom::Start(0))?;
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text)?;
    // An unreadable holder is a writer that died in its first line.
    Ok(serde_json::from_str(&text).ok())
}

fn write(file: &mut File, holder: Option<&Holder>) -> io::Result<()> {
    let line = match holder {
        Some(holder) => serde_json::to_string(holder)? + "\n",
        None => String::new(),
    };
    file.seek(SeekFrom::Start(0))?;
    file.write_all(line.as_bytes())?;
    file.set_len(line.len() as u64)
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str) {
        crate::write_bytes(&crate::Disk, path, text.as_bytes()).unwrap();
    }

    fn holder(host: &str, job: Option<&str>, seen: u64) -> Holder {
        Holder { host: host.into(), pid: 1, job: job.map(Into::into), seen }
    }

    #[test]
    fn a_second_writer_is_refused_and_told_who_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = RunLock::take(&path, Some("7".into())).unwrap();
        assert!(first.took_over().is_none());
        let error = RunLock::take(&path, None).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(RunLock::take(&path, None).unwrap().took_over().is_none(), "it was given back");
    }

    #[test]
    fn the_lock_of_a_dead_process_of_this_machine_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let dead = holder(&host(), None, now());
        put(&path, &serde_json::to_string(&dead).unwrap());
        assert_eq!(RunLock::take(&path, None).unwrap().took_over(), Some(&dead));
    }

    #[test]
    fn a_writer_seems_dead_when_its_process_is_gone_or_its_signs_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(Holder::named_in(&path).unwrap(), None);
        let lock = RunLock::take(&path, None).unwrap();
        let me = Holder::named_in(&path).unwrap().unwrap();
        assert!(me.pid == std::process::id() && !me.seems_dead());
        drop(lock);
        assert_eq!(Holder::named_in(&path).unwrap(), None, "it was given back");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(Holder { pid, ..me.clone() }.seems_dead());
        assert!(
            !holder("there", None, now()).seems_dead(),
            "another machine's processes are not seen from here"
        );
        assert!(holder("there", None, now() - DEAD_AFTER).seems_dead());
    }

    #[test]
    fn a_lock_file_cut_in_its_first_line_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        put(&path, "{\"host\": \"el");
        assert!(RunLock::take(&path, None).is_ok());
    }

    #[test]
    fn another_machine_is_believed_alive_while_it_gives_signs_unless_it_is_the_same_job() {
        let me = holder("here", Some("7"), 10_000);
        assert!(lives(&holder("there", Some("8"), 10_000 - DEAD_AFTER + 1), &me, true));
        assert!(!lives(&holder("there", Some("8"), 10_000 - DEAD_AFTER), &me, true));
        assert!(!lives(&holder("there", Some("7"), 10_000), &me, true));
        assert!(lives(&holder("there", None, 10_000), &holder("here", None, 10_000), true));
        assert!(!lives(&holder("here", None, 10_000), &me, true));
        assert!(lives(&holder("here", None, 10_000), &me, false), "without the system's lock");
    }

    #[test]
    fn another_machine_with_fresh_signs_keeps_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        put(&path, &serde_json::to_string(&holder("elsewhere", None, now())).unwrap());
        let error = RunLock::take(&path, None).unwrap_err().to_string();
        assert!(error.contains("elsewhere"), "{error}");
    }
}

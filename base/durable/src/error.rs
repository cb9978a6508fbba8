//! What can go wrong, and what the reader of the message should do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::lock::Holder;

/// An error of this crate: what was being done, to which path, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}; {}", path.display(), advice(source))]
    Io {
        /// What was tried, as in "cannot ACTION PATH".
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder is written once and never replaced.
    #[error("{} exists already and is never overwritten: choose another name or move it away", path.display())]
    Exists {
        /// The folder in the way.
        path: PathBuf,
    },
    /// A name that cannot be written: absolute, leading out of its folder, not UTF-8, or reserved.
    #[error("`{name}` cannot be a file in {}: {why}", folder.display())]
    BadName {
        /// The name asked for.
        name: String,
        /// Where it was to be.
        folder: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A folder is not what its manifest says.
    #[error("{} is damaged: {}; do not use it, take an older one or write it anew", path.display(), listed(damage))]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// Every difference, by file name.
        damage: Vec<Damage>,
    },
    /// Another process writes there.
    #[error("{} is held by {}: wait for it, stop it, or use another folder", path.display(), held_by(holder.as_ref()))]
    Locked {
        /// The lock.
        path: PathBuf,
        /// Who it is, where that could be read.
        holder: Option<Holder>,
    },
    /// A line of a log may not hold a line break.
    #[error("a line for {} holds a line break: write one line at a time", path.display())]
    BrokenLine {
        /// The log.
        path: PathBuf,
    },
    /// A log is shorter than the state that is to be resumed.
    #[error("{} holds {found} lines where {wanted} are to be kept: it is not the log of this run", path.display())]
    TooFewLines {
        /// The log.
        path: PathBuf,
        /// Lines to keep.
        wanted: u64,
        /// Lines there are.
        found: u64,
    },
}

fn held_by(holder: Option<&Holder>) -> String {
    match holder {
        None => "another process".to_owned(),
        Some(Holder { host, pid, job: None, .. }) => format!("process {pid} on {host}"),
        Some(Holder { host, pid, job: Some(job), .. }) => format!("process {pid} on {host}, job {job}"),
    }
}

impl DurableError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> DurableError {
        let path = path.into();
        move |source| DurableError::Io { action, path, source }
    }
}

/// One file that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Path within the folder, with `/` between parts.
    pub file: String,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// How a file differs from its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// In the manifest, not in the folder.
    Missing,
    /// In the folder, not in the manifest.
    Extra,
    /// Another length than was written.
    Size {
        /// Bytes the manifest says.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The right length, other bytes.
    Changed,
    /// A link, a folder or a device where a file was written.
    NotAFile,
    /// The system would not read it.
    Unreadable(String),
    /// The manifest itself does not hold together.
    BadManifest(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.kind {
            DamageKind::Missing => write!(f, "{file} is missing"),
            DamageKind::Extra => write!(f, "{file} does not belong there"),
            DamageKind::Size { expected, found } if found < expected => {
                write!(f, "{file} is short ({found} of {expected} bytes)")
            }
            DamageKind::Size { expected, found } => {
                write!(f, "{file} is too long ({found} instead of {expected} bytes)")
            }
            DamageKind::Changed => write!(f, "{file} has other bytes than were written"),
            DamageKind::NotAFile => write!(f, "{file} is not a plain file"),
            DamageKind::Unreadable(why) => write!(f, "{file} cannot be read ({why})"),
            DamageKind::BadManifest(why) => write!(f, "{file} {why}"),
        }
    }
}

fn listed(damage: &[Damage]) -> String {
    const SHOWN: usize = 20;
    let mut parts: Vec<String> = damage.iter().take(SHOWN).map(Damage::to_string).collect();
    if damage.len() > SHOWN {
        parts.push(format!("and {} more", damage.len() - SHOWN));
    }
    parts.join(", ")
}

/// What a person can do about a refusal of the system.
fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some room or choose another disk",
        io::ErrorKind::FileTooLarge => "choose a disk that takes files of this size",
        io::ErrorKind::ReadOnlyFilesystem => "choose a folder on a disk that can be written",
        io::ErrorKind::PermissionDenied => "check the owner and permissions of the file and its folder",
        io::ErrorKind::NotFound => "make the folder first, or check the spelling of the path",
        io::ErrorKind::NotADirectory => "a part of the path is a file: choose another path",
        io::ErrorKind::IsADirectory => "there is a folder of that name: choose another name",
        io::ErrorKind::InvalidFilename => "choose a shorter name",
        io::ErrorKind::AlreadyExists => "move what is there away or choose another name",
        _ => "nothing was left half written",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_path_and_says_what_to_do() {
        let full =
            DurableError::io("write", "/runs/a")(io::Error::from(io::ErrorKind::StorageFull)).to_string();
        assert!(full.contains("cannot write /runs/a") && full.contains("free some room"), "{full}");
        let damaged = DurableError::Damaged {
            path: "/c".into(),
            damage: vec![
                Damage { file: "a".into(), kind: DamageKind::Size { expected: 9, found: 4 } },
                Damage { file: "b".into(), kind: DamageKind::Missing },
            ],
        };
        assert_eq!(
            damaged.to_string(),
            "/c is damaged: a is short (4 of 9 bytes), b is missing; do not use it, take an older one or write it anew"
        );
    }
}

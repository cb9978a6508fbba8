//! Files that are whole or absent.
//!
//! This crate answers: how does a program that may be killed at any instruction write a file
//! ([`write_file`]), a folder of files ([`AtomicDir`]), a link to the newest of them ([`replace_link`]) and a
//! growing list of lines ([`AppendLog`]), so that whoever looks afterwards finds the old state or the new one
//! and nothing between; is a folder still what was written ([`verify`]); and who alone writes to it
//! ([`RunLock`])?
//!
//! It does not know what the files mean, and does not read them back. Two writers of one path are the caller's
//! affair, who takes a lock. It relies on POSIX: a rename within one folder is atomic, and syncing a folder makes the
//! renames in it last.
//!
//! Read first: `fs.rs`, the few operations everything else is made of, then `file.rs`. Tests swap [`Disk`] for
//! [`FaultyFs`], which fails or cuts every one of those operations in turn, or for [`KillingFs`], on which the process
//! dies.

mod dir;
mod error;
mod faulty;
mod file;
mod fs;
mod killing;
mod lock;
mod log;
mod manifest;
mod room;

pub use dir::AtomicDir;
pub use error::{Damage, DamageKind, DurableError};
pub use faulty::{Fault, FaultyFs};
pub use file::{move_folder, remove_folder, remove_leftovers, replace_link, write_bytes, write_file};
pub use fs::{Disk, Fs, FsFile};
pub use killing::KillingFs;
pub use lock::{Holder, RunLock};
pub use log::AppendLog;
pub use manifest::{FileEntry, MANIFEST_NAME, Manifest, Verifying, verify, verify_while_reading};
pub use room::free_bytes;

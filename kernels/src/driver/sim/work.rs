//! Work as data, and what it says and touches before it runs.

use crate::driver::Pinned;
use octo_ptx::sim::{Grid, KernelId};
use std::ops::Range;
use std::sync::Arc;

/// What a stream or graph node does.
#[derive(Clone)]
pub(super) enum Work {
    CopyIn { to: u64, from: Pinned, range: Range<u64> },
    CopyOut { to: Pinned, range: Range<u64>, from: u64 },
    Copy { to: u64, from: u64, bytes: u64 },
    Fill { to: u64, byte: u8, bytes: u64 },
    Launch { kernel: KernelId, entry: Arc<str>, grid: Grid, arguments: Arc<[u8]> },
}

impl Work {
    /// What it is, without where it was asked for.
    pub fn describe(&self) -> String {
        match self {
            Work::CopyIn { range, .. } => format!("copy_in of {} bytes", range.end - range.start),
            Work::CopyOut { range, .. } => format!("copy_out of {} bytes", range.end - range.start),
            Work::Copy { bytes, .. } => format!("copy of {bytes} bytes"),
            Work::Fill { bytes, .. } => format!("fill of {bytes} bytes"),
            Work::Launch { entry, .. } => format!("kernel {entry}"),
        }
    }

    /// The page-locked bytes it touches, and whether it writes them.
    pub fn host(&self) -> Option<(Pinned, &Range<u64>, bool)> {
        match self {
            Work::CopyIn { from, range, .. } => Some((*from, range, false)),
            Work::CopyOut { to, range, .. } => Some((*to, range, true)),
            _ => None,
        }
    }
}

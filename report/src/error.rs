//! What can go wrong while a figure is made.

use std::io;
use std::path::PathBuf;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The system refused a file.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder that no run has written into.
    #[error("{} holds no metrics.jsonl: give the folder of a run (`run.dir` of its recipe)", .0.display())]
    NotARun(PathBuf),
    /// A line that is not the figures of a step, with others after it.
    #[error("{}:{line}: {what}; repair or remove the line", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// No step to draw.
    #[error("{}: no step has been written yet", .0.display())]
    NoSteps(PathBuf),
    /// A metric that no run has.
    #[error("no run has `{metric}`; there are: {present}")]
    NoMetric {
        /// What was asked for.
        metric: String,
        /// What could have been.
        present: String,
    },
    /// Nothing is left to draw.
    #[error("there is nothing to draw: {0}")]
    Nothing(&'static str),
    /// More than fits a figure.
    #[error("{count} {what} are too many for one figure; draw {most} at most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// The picture cannot be encoded.
    #[error("the picture of {width} by {height} pixels cannot be made: {why}")]
    Picture {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// What stands against it.
        why: String,
    },
}

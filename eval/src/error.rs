//! What can go wrong with an evaluation.

use octo_durable::DurableError;
use octo_infer::InferError;
use octo_recipe::RecipeErrors;
use octo_rows::RowsError;
use octo_text::TextError;
use std::path::PathBuf;

/// An error of this crate. Each message says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A task file with mistakes.
    #[error("{0}")]
    TaskFile(Box<RecipeErrors>),
    /// A task that nobody has described.
    #[error(
        "no task `{name}`{}; `octo-engine eval list` lists them, and docs/add-a-task.md tells how to add one",
        nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default()
    )]
    NoTask {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// A set of examples that is neither built in nor a file.
    #[error("{task}: no examples `{name}`: they are neither one of {} nor a file", known.join(", "))]
    NoExamples {
        /// The task.
        task: String,
        /// What was asked for.
        name: String,
        /// The sets that are built in.
        known: Vec<&'static str>,
    },
    /// A task has none of its files.
    #[error(
        "{task}: no file of it in {}: looked for {}; give its folder with --data, or the file itself with \
         --data {task}=FILE",
        folder.display(), tried.join(", ")
    )]
    NoData {
        /// The task.
        task: String,
        /// Where was looked.
        folder: PathBuf,
        /// What was looked for.
        tried: Vec<String>,
    },
    /// Rows that cannot be read, or that lack what the task uses.
    #[error("{task}: {source}")]
    Rows {
        /// The task.
        task: String,
        /// What is wrong.
        source: RowsError,
    },
    /// Another number of items than was published.
    #[error(
        "{task}: {file} has {found} items, but the task says {expected}: a score on it would not compare with published \
         ones; mend the file, or give --any-count to take it as it is"
    )]
    Count {
        /// The task.
        task: String,
        /// The file.
        file: String,
        /// Items there.
        found: usize,
        /// Items that the task names.
        expected: usize,
    },
    /// A row without a gold answer.
    #[error("{task}: {origin}: {reason}")]
    Gold {
        /// The task.
        task: String,
        /// The row.
        origin: String,
        /// What is missing.
        reason: String,
    },
    /// Settings that make no sense together.
    #[error("{0}")]
    Setting(String),
    /// Stored responses that do not fit the task.
    #[error("{place}: {reason}")]
    Responses {
        /// File and line.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Results that cannot be read or compared.
    #[error("{}: {reason}", path.display())]
    Results {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// No model where one was looked for.
    #[error("{}: {reason}", path.display())]
    NoModel {
        /// The folder.
        path: PathBuf,
        /// What is missing and what to do.
        reason: &'static str,
    },
    /// A prompt could not be continued.
    #[error("{task}: item {item}: {source}")]
    Infer {
        /// The task.
        task: String,
        /// The item's id.
        item: String,
        /// Why.
        source: InferError,
    },
    /// The device failed.
    #[error(transparent)]
    Device(InferError),
    /// A prompt could not be encoded, or a response decoded.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A generator of the caller's failed.
    #[error("the generator failed: {0}")]
    Generator(String),
}

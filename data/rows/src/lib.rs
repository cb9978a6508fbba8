//! Files to rows, rows to documents.
//!
//! This crate answers: which files does a path mean, which rows do they hold, which text is a row, which
//! rows are kept; and it makes rows of its own for runs that need nothing from outside. It knows nothing of
//! tokens or order.
//!
//! Read `rows.rs` first. A new file format is one more `Format` in `files.rs` and one more arm in `rows.rs`; the
//! one format that is a world of its own stands in `parquet/`.

mod documents;
mod error;
mod files;
pub mod fuzz;
mod generated;
mod input;
mod json_lines;
mod lines;
mod parquet;
mod room;
mod row;
mod rows;
mod template;

pub use documents::{Document, Documents, RowCounts};
pub use error::RowsError;
pub use files::DataFile;
pub use generated::{Split, Task, TaskRows, WordProblems};
pub use input::Progress;
pub use row::{Origin, Row};
pub use rows::Rows;
pub use template::{Filter, Template};

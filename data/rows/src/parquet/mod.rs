//! Rows of a parquet file, read by hand.
//!
//! A file is cut into row groups, a row group into column chunks, a chunk into pages; `footer.rs` says where
//! they lie. `page.rs` reads and unpacks a page, `values.rs` decodes what is in it, `column.rs` walks the pages
//! of one column, `schema.rs` says how columns make up a row, and `assemble.rs` makes it. Memory holds one page
//! and one dictionary a column; each size in the file is checked before room is made for it. No value is
//! trusted: whatever the bytes are, the end is rows or a [`Fault`].
//!
//! Files of the usual writers (Arrow, Spark, DuckDB, Polars) are read, with pages of both versions, without
//! codec or with Snappy, gzip, Zstandard or raw LZ4. Not read: Brotli, LZO, the older LZ4, encryption, levels in
//! the long deprecated bit-packed encoding.

mod assemble;
mod column;
mod footer;
mod page;
mod scalar;
mod schema;
mod thrift;
mod values;

use crate::room::{Full, Room};
use crate::{Origin, RowsError};
use column::Column;
use footer::RowGroup;
use schema::Field;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

/// What can stop the reading of a parquet file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Read(#[from] std::io::Error),
    #[error("{0}")]
    Damaged(Cow<'static, str>),
    /// Sound, but of a kind that is not read.
    #[error("{0}")]
    Unread(String),
    /// More than a row may hold.
    #[error("too large")]
    TooLarge,
}

impl From<Full> for Fault {
    fn from(Full: Full) -> Fault {
        Fault::TooLarge
    }
}

impl Fault {
    fn damaged(what: impl Into<Cow<'static, str>>) -> Fault {
        Fault::Damaged(what.into())
    }

    /// With the column's name in front.
    fn of_column(self, name: &str) -> Fault {
        match self {
            Fault::Damaged(what) => Fault::damaged(format!("column `{name}`: {what}")),
            Fault::Unread(what) => Fault::Unread(format!("column `{name}`: {what}")),
            other => other,
        }
    }
}

/// The rows of one file.
pub(crate) struct ParquetRows<R> {
    input: R,
    groups: std::vec::IntoIter<RowGroup>,
    fields: Vec<Field>,
    columns: Vec<Column>,
    left_in_group: u64,
    /// Names of the columns that nobody asked for.
    pub unread: Arc<[String]>,
    /// Rows in the file, and how many have been read.
    pub rows: u64,
    pub read: u64,
}

impl<R: Read + Seek> ParquetRows<R> {
    /// Reads the footer of a file of so many bytes. With `wanted`, top-level columns of other names are left
    /// alone.
    pub fn open(
        mut input: R,
        bytes: u64,
        wanted: Option<&BTreeSet<String>>,
    ) -> Result<ParquetRows<R>, Fault> {
        let footer = footer::read(&mut input, bytes)?;
        let schema = schema::build(&footer.schema, wanted)?;
        let mut rows = 0u64;
        for group in &footer.groups {
            if group.chunks.len() != schema.leaves {
                return Err(Fault::damaged("a row group has not the schema's columns"));
            }
            rows = rows.checked_add(group.rows).ok_or_else(|| Fault::damaged("it claims too many rows"))?;
        }
        if rows > 0 && schema.columns.is_empty() {
            return Err(Fault::Unread("it has no columns".into()));
        }
        Ok(ParquetRows {
            input,
            groups: footer.groups.into_iter(),
            fields: schema.fields,
            columns: schema.columns,
            left_in_group: 0,
            unread: schema.unread.into(),
            rows,
            read: 0,
        })
    }

    /// The next row, whose top-level columns are its fields.
    pub fn next_row(&mut self) -> Result<Option<Map<String, Value>>, Fault> {
        while self.left_in_group == 0 {
            for column in &mut self.columns {
                column.expect_end(&mut self.input)?;
            }
            let Some(group) = self.groups.next() else { return Ok(None) };
            self.left_in_group = group.rows;
            for column in &mut self.columns {
                column.start(&group.chunks);
            }
        }
        let row = assemble::row(&self.fields, &mut self.columns, &mut self.input)?;
        self.left_in_group -= 1;
        self.read += 1;
        Ok(Some(row))
    }
}

/// The error of this crate that a fault is.
pub(crate) fn error(fault: Fault, file: &Arc<Path>, row: Option<u64>) -> RowsError {
    let path = file.to_path_buf();
    match fault {
        Fault::Read(source) => RowsError::Read { path, source },
        Fault::Damaged(reason) => RowsError::BadParquet { path, row, reason: reason.into() },
        Fault::Unread(reason) => RowsError::UnreadParquet { path, reason },
        Fault::TooLarge => Room::error(Origin { file: file.clone(), line: row.unwrap_or(1) }),
    }
}

//! Rows to documents: filtered, written out, counted.

use crate::{Filter, Origin, Row, Rows, RowsError, Template};

/// A text to learn from, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The text; not empty.
    pub text: String,
    /// The row it was written from.
    pub origin: Origin,
}

/// What became of the rows so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows read.
    pub read: u64,
    /// Rows that the filter did not keep.
    pub filtered: u64,
    /// Rows kept whose text was empty or only whitespace, and so passed over.
    pub empty: u64,
}

/// The documents of rows, in their order. After an error there are no more.
pub struct Documents {
    rows: Box<dyn Iterator<Item = Result<Row, RowsError>> + Send>,
    template: Template,
    filter: Option<Filter>,
    counts: RowCounts,
    failed: bool,
}

impl Documents {
    /// Documents of files. Only the fields that the template and the filter name are read, where that saves work.
    pub fn of_files(rows: Rows, template: Template, filter: Option<Filter>) -> Documents {
        let names = template.words().chain(filter.iter().flat_map(Filter::words)).map(str::to_string);
        let rows = rows.with_fields(names.collect::<Vec<_>>());
        Documents::new(rows, template, filter)
    }

    /// Documents of any rows, such as [`crate::WordProblems`].
    pub fn new(
        rows: impl Iterator<Item = Result<Row, RowsError>> + Send + 'static,
        template: Template,
        filter: Option<Filter>,
    ) -> Documents {
        Documents { rows: Box::new(rows), template, filter, counts: RowCounts::default(), failed: false }
    }

    /// What became of the rows so far.
    pub fn counts(&self) -> RowCounts {
        self.counts
    }

    fn document(&mut self, row: &Row) -> Result<Option<Document>, RowsError> {
        self.counts.read += 1;
        if let Some(filter) = &self.filter
            && !filter.keeps(row)?
        {
            self.counts.filtered += 1;
            return Ok(None);
        }
        let text = self.template.render(row)?;
        if text.trim().is_empty() {
            self.counts.empty += 1;
            return Ok(None);
        }
        Ok(Some(Document { text, origin: row.origin.clone() }))
    }
}

impl Iterator for Documents {
    type Item = Result<Document, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let document = self.rows.next()?.and_then(|row| self.document(&row)).transpose();
            if let Some(document) = document {
                self.failed = document.is_err();
                return Some(document);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn rows(values: Vec<serde_json::Value>) -> impl Iterator<Item = Result<Row, RowsError>> + Send {
        values.into_iter().enumerate().map(|(i, value)| {
            let serde_json::Value::Object(fields) = value else { panic!("an object") };
            Ok(Row {
                fields,
                origin: Origin { file: Path::new("d.jsonl").into(), line: i as u64 + 1 },
                unread: Default::default(),
            })
        })
    }

    #[test]
    fn every_row_is_a_document_or_counted() {
        let values = vec![
            json!({"text": "one", "keep": true}),
            json!({"text": "two", "keep": false}),
            json!({"text": " \n", "keep": true}),
            json!({"text": "three", "keep": 1}),
        ];
        let filter = Filter::new("keep").unwrap();
        let mut documents =
            Documents::new(rows(values), Template::new(Template::DEFAULT).unwrap(), Some(filter));
        let found: Vec<Document> = documents.by_ref().map(Result::unwrap).collect();
        assert_eq!(
            found.iter().map(|d| (d.text.as_str(), d.origin.line)).collect::<Vec<_>>(),
            [("one", 1), ("three", 4)]
        );
        assert_eq!(documents.counts(), RowCounts { read: 4, filtered: 1, empty: 1 });
    }

    #[test]
    fn documents_end_at_the_first_error() {
        let values = vec![json!({"text": "one"}), json!({"txt": "two"}), json!({"text": "three"})];
        let found: Vec<bool> = Documents::new(rows(values), Template::new(Template::DEFAULT).unwrap(), None)
            .map(|d| d.is_ok())
            .collect();
        assert_eq!(found, [true, false]);
    }
}

//! One column: its levels and values, page after page of a chunk.

use super::Fault;
use super::footer::Chunk;
use super::page::{Page, PageKind, Pages};
use super::values::{Dictionary, Hybrid, Physical, RLE, Raw, Values};
use std::io::{Read, Seek};

/// Where a value stands in its row: the repetition level says which list goes on (0: a new row), the
/// definition level how much of the path to the value is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    pub repetition: u32,
    pub definition: u32,
}

/// A leaf of the schema and what is being read of it.
#[derive(Debug)]
pub(super) struct Column {
    /// The path to it, with dots.
    pub name: String,
    /// Its place among all leaves of the file.
    leaf: usize,
    physical: Physical,
    /// The levels of a value that is there, in the innermost list.
    max: Levels,
    pages: Pages,
    dictionary: Dictionary,
    page: Option<DataPage>,
    /// Of the value that comes next.
    next: Option<Levels>,
}

#[derive(Debug)]
struct DataPage {
    bytes: Vec<u8>,
    left: u32,
    repetition: Option<Hybrid>,
    definition: Option<Hybrid>,
    values: Values,
}

impl Column {
    pub fn new(name: String, leaf: usize, physical: Physical, max: Levels) -> Column {
        let (pages, dictionary) = (Pages::default(), Dictionary::default());
        Column { name, leaf, physical, max, pages, dictionary, page: None, next: None }
    }

    /// Goes to the chunk of a row group.
    pub fn start(&mut self, chunks: &[Chunk]) {
        let Chunk { start, bytes, codec } = chunks.get(self.leaf).copied().unwrap_or_default();
        self.pages = Pages { at: start, left: bytes, codec };
        self.dictionary = Dictionary::default();
        self.page = None;
        self.next = None;
    }

    /// Refuses a chunk with values that belong to no row.
    pub fn expect_end(&mut self, input: &mut (impl Read + Seek)) -> Result<(), Fault> {
        match self.peek(input)? {
            None => Ok(()),
            Some(_) => {
                Err(Fault::damaged("it holds more values than its row group has rows").of_column(&self.name))
            }
        }
    }

    /// The levels of the next value; none at the chunk's end.
    pub fn peek(&mut self, input: &mut (impl Read + Seek)) -> Result<Option<Levels>, Fault> {
        if self.next.is_none() {
            self.next = self.next_levels(input).map_err(|fault| fault.of_column(&self.name))?;
        }
        Ok(self.next)
    }

    fn next_levels(&mut self, input: &mut (impl Read + Seek)) -> Result<Option<Levels>, Fault> {
        loop {
            if let Some(page) = &mut self.page
                && page.left > 0
            {
                page.left -= 1;
                let level = |runs: &mut Option<Hybrid>, max| match runs {
                    None => Ok(max),
                    Some(runs) => match runs.next(&page.bytes)? {
                        level if level <= max => Ok(level),
                        _ => Err(Fault::damaged("a level is higher than the schema allows")),
                    },
                };
                return Ok(Some(Levels {
                    repetition: level(&mut page.repetition, self.max.repetition)?,
                    definition: level(&mut page.definition, self.max.definition)?,
                }));
            }
            self.page = None;
            let Some(page) = self.pages.next(input)? else { return Ok(None) };
            match page.kind {
                PageKind::Dictionary => {
                    self.dictionary = Dictionary::new(page.bytes, page.values, page.encoding, self.physical)?;
                }
                _ => self.page = Some(self.data_page(page)?),
            }
        }
    }

    fn data_page(&self, page: Page) -> Result<DataPage, Fault> {
        let mut at = 0;
        let (repetition, definition) = match page.kind {
            PageKind::DataV2 { repetition, definition } => (
                v2_levels(&page.bytes, &mut at, self.max.repetition, repetition)?,
                v2_levels(&page.bytes, &mut at, self.max.definition, definition)?,
            ),
            PageKind::DataV1 { repetition, definition } => (
                v1_levels(&page.bytes, &mut at, self.max.repetition, repetition)?,
                v1_levels(&page.bytes, &mut at, self.max.definition, definition)?,
            ),
            PageKind::Dictionary => (None, None),
        };
        let values = Values::new(&page.bytes, at, page.encoding, self.physical)?;
        Ok(DataPage { bytes: page.bytes, left: page.values, repetition, definition, values })
    }

    /// Goes past the value that [`Column::peek`] saw; none where it is null, or a list without elements.
    pub fn take(&mut self) -> Result<Option<Raw<'_>>, Fault> {
        let ended = || Fault::damaged("it holds fewer values than its row group has rows");
        let (Some(levels), Some(page)) = (self.next.take(), &mut self.page) else {
            return Err(ended().of_column(&self.name));
        };
        if levels.definition < self.max.definition {
            return Ok(None);
        }
        match page.values.next(&page.bytes, &self.dictionary) {
            Ok(value) => Ok(Some(value)),
            Err(fault) => Err(fault.of_column(&self.name)),
        }
    }
}

/// Bits of a number from 0 to `max`.
fn bit_width(max: u32) -> u32 {
    32 - max.leading_zeros()
}

/// Runs of levels behind their length; levels that can only be 0 are not stored.
fn v1_levels(bytes: &[u8], at: &mut usize, max: u32, encoding: i32) -> Result<Option<Hybrid>, Fault> {
    if max == 0 {
        return Ok(None);
    }
    if encoding != RLE {
        return Err(Fault::Unread(format!("its levels have the deprecated encoding {encoding}")));
    }
    let length = bytes.get(*at..).and_then(|rest| rest.first_chunk()).map(|head| u32::from_le_bytes(*head));
    let start = at.saturating_add(4);
    let end = length.and_then(|length| start.checked_add(length as usize)).filter(|&end| end <= bytes.len());
    *at = end.ok_or_else(|| Fault::damaged("a page has too few bytes for its levels"))?;
    Ok(Some(Hybrid::new(start, *at, bit_width(max))))
}

/// Runs of levels of so many bytes.
fn v2_levels(bytes: &[u8], at: &mut usize, max: u32, length: usize) -> Result<Option<Hybrid>, Fault> {
    let start = *at;
    let end = start.checked_add(length).filter(|&end| end <= bytes.len());
    *at = end.ok_or_else(|| Fault::damaged("a page has too few bytes for its levels"))?;
    Ok((max > 0).then(|| Hybrid::new(start, *at, bit_width(max))))
}

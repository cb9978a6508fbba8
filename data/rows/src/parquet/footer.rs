//! The footer of a parquet file: its schema, and where the columns of its row groups lie.
//!
//! Source: apache/parquet-format, `README.md` (layout) and `src/main/thrift/parquet.thrift` (field numbers).

use super::Fault;
use super::thrift::{BINARY, I32, I64, LIST, STRUCT, TRUE, Thrift};
use super::thrift::{FALSE, I8};
use std::io::{Read, Seek, SeekFrom};

/// The most bytes of a footer. That of a hundred columns in ten thousand row groups has half of it; decoded
/// it is a few times as large.
const MAX_FOOTER_BYTES: u64 = 64 << 20;

const MAGIC: &[u8; 4] = b"PAR1";
const ENCRYPTED_MAGIC: &[u8; 4] = b"PARE";
/// What stands in a checkout in place of a large file.
const GIT_LFS_POINTER: &[u8] = b"version https://git-lfs";

/// What a footer says.
#[derive(Debug)]
pub(super) struct Footer {
    /// The schema's tree in depth-first order; the first element is the root.
    pub schema: Vec<SchemaElement>,
    pub groups: Vec<RowGroup>,
}

/// An inner or outer node of the schema.
#[derive(Debug, Default)]
pub(super) struct SchemaElement {
    pub name: String,
    /// Of a leaf.
    pub physical: Option<i32>,
    /// Bytes of a value of fixed length.
    pub length: u32,
    /// 0 required, 1 optional, 2 repeated.
    pub repetition: i32,
    pub children: u32,
    pub converted: Option<i32>,
    pub scale: u32,
    pub logical: Option<Logical>,
}

/// The newer annotation of what a column means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logical {
    Text,
    Map,
    List,
    Decimal { scale: u32 },
    Date,
    Time { per_second: u64 },
    Timestamp { per_second: u64, utc: bool },
    Integer { signed: bool },
    Uuid,
    Float16,
    Other,
}

#[derive(Debug, Default)]
pub(super) struct RowGroup {
    pub rows: u64,
    /// One a leaf of the schema, in its order.
    pub chunks: Vec<Chunk>,
}

/// Where the pages of one column in one row group lie.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunk {
    pub start: u64,
    pub bytes: u64,
    pub codec: i32,
}

/// Reads the footer of a file of so many bytes.
pub(super) fn read(input: &mut (impl Read + Seek), file_bytes: u64) -> Result<Footer, Fault> {
    let mut head = Vec::new();
    input.seek(SeekFrom::Start(0))?;
    input.by_ref().take(GIT_LFS_POINTER.len() as u64).read_to_end(&mut head)?;
    if head == GIT_LFS_POINTER {
        return Err(Fault::Unread(
            "it is the pointer of a file in Git LFS, not the file: run `git lfs pull`".into(),
        ));
    }
    if head.starts_with(ENCRYPTED_MAGIC) {
        return Err(Fault::Unread("it is encrypted".into()));
    }
    if !head.starts_with(MAGIC) {
        return Err(Fault::damaged("it does not start as a parquet file does"));
    }
    if file_bytes < 12 {
        return Err(Fault::damaged("it is cut off"));
    }
    let mut tail = [0; 8];
    input.seek(SeekFrom::Start(file_bytes - 8))?;
    input.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    if magic != *MAGIC {
        return Err(Fault::damaged("it does not end as a parquet file does: it may be cut off"));
    }
    let footer_bytes = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer_bytes > file_bytes - 12 {
        return Err(Fault::damaged("its footer is longer than the file"));
    }
    if footer_bytes > MAX_FOOTER_BYTES {
        return Err(Fault::Unread(format!(
            "its footer has {footer_bytes} bytes, more than {MAX_FOOTER_BYTES}"
        )));
    }
    let end = file_bytes - 8 - footer_bytes;
    input.seek(SeekFrom::Start(end))?;
    let mut bytes = vec![0; footer_bytes as usize];
    input.read_exact(&mut bytes)?;
    let footer = parse(&bytes)?;
    for chunk in footer.groups.iter().flat_map(|group| &group.chunks) {
        if chunk.start.checked_add(chunk.bytes).is_none_or(|chunk_end| chunk_end > end) {
            return Err(Fault::damaged("its footer names columns beyond its end: it may be cut off"));
        }
    }
    Ok(footer)
}

/// `FileMetaData`.
fn parse(bytes: &[u8]) -> Result<Footer, Fault> {
    let mut footer = Footer { schema: Vec::new(), groups: Vec::new() };
    Thrift::new(bytes).fields(|thrift, id, kind| match (id, kind) {
        (2, LIST) => thrift.elements(|thrift, kind| {
            footer.schema.push(schema_element(thrift, kind)?);
            Ok(())
        }),
        (4, LIST) => thrift.elements(|thrift, kind| {
            footer.groups.push(row_group(thrift, kind)?);
            Ok(())
        }),
        (8, _) => Err(Fault::Unread("it is encrypted".into())),
        _ => thrift.skip(kind),
    })?;
    Ok(footer)
}

fn only_structs(kind: u8) -> Result<(), Fault> {
    if kind == STRUCT { Ok(()) } else { Err(Fault::damaged("its footer lists something else than structs")) }
}

/// `SchemaElement`.
fn schema_element(thrift: &mut Thrift, kind: u8) -> Result<SchemaElement, Fault> {
    only_structs(kind)?;
    let mut element = SchemaElement::default();
    thrift.fields(|thrift, id, kind| {
        match (id, kind) {
            (1, I32) => element.physical = Some(thrift.i32()?),
            (2, I32) => element.length = thrift.count()?,
            (3, I32) => element.repetition = thrift.i32()?,
            (4, BINARY) => {
                element.name = String::from_utf8(thrift.binary()?.to_vec())
                    .map_err(|_| Fault::damaged("the name of a column is not UTF-8"))?;
            }
            (5, I32) => element.children = thrift.count()?,
            (6, I32) => element.converted = Some(thrift.i32()?),
            (7, I32) => element.scale = thrift.count()?,
            (10, STRUCT) => element.logical = logical(thrift)?,
            _ => thrift.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(element)
}

/// `LogicalType`, a union.
fn logical(thrift: &mut Thrift) -> Result<Option<Logical>, Fault> {
    let mut logical = None;
    thrift.fields(|thrift, id, kind| {
        logical = Some(match (id, kind) {
            (5, STRUCT) => {
                let mut scale = 0;
                thrift.fields(|thrift, id, kind| match (id, kind) {
                    (1, I32) => thrift.count().map(|count| scale = count),
                    _ => thrift.skip(kind),
                })?;
                Logical::Decimal { scale }
            }
            (7, STRUCT) => Logical::Time { per_second: time(thrift)?.0 },
            (8, STRUCT) => {
                let (per_second, utc) = time(thrift)?;
                Logical::Timestamp { per_second, utc }
            }
            (10, STRUCT) => {
                let mut signed = true;
                thrift.fields(|thrift, id, kind| match (id, kind) {
                    (1, I8) => thrift.i8().map(|_| ()),
                    (2, TRUE | FALSE) => {
                        signed = kind == TRUE;
                        Ok(())
                    }
                    _ => thrift.skip(kind),
                })?;
                Logical::Integer { signed }
            }
            _ => {
                thrift.skip(kind)?;
                match id {
                    1 | 4 | 12 => Logical::Text,
                    2 => Logical::Map,
                    3 => Logical::List,
                    6 => Logical::Date,
                    14 => Logical::Uuid,
                    15 => Logical::Float16,
                    _ => Logical::Other,
                }
            }
        });
        Ok(())
    })?;
    Ok(logical)
}

/// `TimeType` and `TimestampType`: units a second, and whether the time is one of UTC.
fn time(thrift: &mut Thrift) -> Result<(u64, bool), Fault> {
    let (mut per_second, mut utc) = (1000, false);
    thrift.fields(|thrift, id, kind| match (id, kind) {
        (1, TRUE | FALSE) => {
            utc = kind == TRUE;
            Ok(())
        }
        (2, STRUCT) => thrift.fields(|thrift, id, kind| {
            per_second = match id {
                1 => 1_000,
                2 => 1_000_000,
                _ => 1_000_000_000,
            };
            thrift.skip(kind)
        }),
        _ => thrift.skip(kind),
    })?;
    Ok((per_second, utc))
}

/// `RowGroup`.
fn row_group(thrift: &mut Thrift, kind: u8) -> Result<RowGroup, Fault> {
    only_structs(kind)?;
    let mut group = RowGroup::default();
    thrift.fields(|thrift, id, kind| match (id, kind) {
        (1, LIST) => thrift.elements(|thrift, kind| {
            group.chunks.push(chunk(thrift, kind)?);
            Ok(())
        }),
        (3, I64) => {
            group.rows = offset(thrift)?;
            Ok(())
        }
        _ => thrift.skip(kind),
    })?;
    Ok(group)
}

/// `ColumnChunk` with its `ColumnMetaData`.
fn chunk(thrift: &mut Thrift, kind: u8) -> Result<Chunk, Fault> {
    only_structs(kind)?;
    let mut chunk = Chunk::default();
    let mut dictionary = 0;
    thrift.fields(|thrift, id, kind| match (id, kind) {
        (1, BINARY) => Err(Fault::Unread("its columns lie in other files".into())),
        (3, STRUCT) => thrift.fields(|thrift, id, kind| {
            match (id, kind) {
                (4, I32) => chunk.codec = thrift.i32()?,
                (7, I64) => chunk.bytes = offset(thrift)?,
                (9, I64) => chunk.start = offset(thrift)?,
                (11, I64) => dictionary = offset(thrift)?,
                _ => thrift.skip(kind)?,
            }
            Ok(())
        }),
        (8 | 9, _) => Err(Fault::Unread("it is encrypted".into())),
        _ => thrift.skip(kind),
    })?;
    // The dictionary's page comes first. Some writers say 0 where there is none.
    if dictionary > 0 && dictionary < chunk.start {
        chunk.start = dictionary;
    }
    Ok(chunk)
}

fn offset(thrift: &mut Thrift) -> Result<u64, Fault> {
    u64::try_from(thrift.i64()?).map_err(|_| Fault::damaged("its footer has a negative size"))
}

//! One page of a column chunk: its header, and its bytes unpacked.
//!
//! Source: apache/parquet-format, `README.md` (data pages), `Compression.md`, `parquet.thrift` (`PageHeader`).

use super::Fault;
use super::thrift::{CUT_OFF, FALSE, I32, STRUCT, Thrift};
use std::io::{Read, Seek, SeekFrom};

/// The most bytes of a page, unpacked. Writers aim at one megabyte, but put at least a few rows into a page.
const MAX_PAGE_BYTES: u32 = 1 << 30;
/// The most bytes of a page's header: it may hold the smallest and the largest value.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Pages not read yet of a column chunk.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Offset of the next page in the file.
    pub at: u64,
    /// Bytes to the chunk's end.
    pub left: u64,
    pub codec: i32,
}

/// A page's bytes and what its header says of them.
#[derive(Debug)]
pub(super) struct Page {
    pub bytes: Vec<u8>,
    /// Of a dictionary: its entries. Of data: its values, nulls and empty lists included.
    pub values: u32,
    pub encoding: i32,
    pub kind: PageKind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum PageKind {
    Dictionary,
    /// Data whose levels are packed with the values, each behind its length; the encodings of both levels.
    DataV1 {
        repetition: i32,
        definition: i32,
    },
    /// Data behind the levels, of so many bytes each.
    DataV2 {
        repetition: usize,
        definition: usize,
    },
}

/// `PageHeader`, with those of the kinds.
#[derive(Default)]
struct Header {
    kind: i32,
    unpacked: u32,
    packed: u32,
    checksum: Option<u32>,
    values: u32,
    encoding: i32,
    repetition: i32,
    definition: i32,
    repetition_bytes: u32,
    definition_bytes: u32,
    stored_plain: bool,
}

impl Pages {
    /// The next page that holds a dictionary or data.
    pub fn next(&mut self, input: &mut (impl Read + Seek)) -> Result<Option<Page>, Fault> {
        while self.left > 0 {
            let (header, mut bytes) = self.header(input)?;
            let packed = u64::from(header.packed);
            if packed > self.left {
                return Err(Fault::damaged("a page is longer than its column"));
            }
            let here = bytes.len().min(header.packed as usize);
            bytes.truncate(here);
            if matches!(header.kind, 0 | 2 | 3) {
                input.seek(SeekFrom::Start(self.at + here as u64))?;
                bytes.resize(header.packed as usize, 0);
                input.read_exact(&mut bytes[here..])?;
            }
            self.at += packed;
            self.left -= packed;
            if let Some(kind) = kind(&header)? {
                let bytes = unpack(self.codec, bytes, &header, kind)?;
                return Ok(Some(Page { bytes, values: header.values, encoding: header.encoding, kind }));
            }
        }
        Ok(None)
    }

    /// The header at the front, which is passed over, and some of the bytes behind it.
    fn header(&mut self, input: &mut (impl Read + Seek)) -> Result<(Header, Vec<u8>), Fault> {
        let mut guess = 1 << 10;
        loop {
            let mut bytes = vec![0; self.left.min(guess) as usize];
            input.seek(SeekFrom::Start(self.at))?;
            input.read_exact(&mut bytes)?;
            let mut thrift = Thrift::new(&bytes);
            match parse(&mut thrift) {
                Err(Fault::Damaged(what)) if what == CUT_OFF && guess < self.left.min(MAX_HEADER_BYTES) => {
                    guess *= 16;
                }
                Err(fault) => return Err(fault),
                Ok(header) => {
                    let length = bytes.len() - thrift.rest().len();
                    self.at += length as u64;
                    self.left -= length as u64;
                    bytes.drain(..length);
                    return Ok((header, bytes));
                }
            }
        }
    }
}

fn parse(thrift: &mut Thrift) -> Result<Header, Fault> {
    let mut header = Header { kind: -1, encoding: -1, ..Header::default() };
    thrift.fields(|thrift, id, kind| {
        match (id, kind) {
            (1, I32) => header.kind = thrift.i32()?,
            (2, I32) => header.unpacked = thrift.count()?,
            (3, I32) => header.packed = thrift.count()?,
            (4, I32) => header.checksum = Some(thrift.i32()? as u32),
            (5, STRUCT) => thrift.fields(|thrift, id, kind| {
                match (id, kind) {
                    (1, I32) => header.values = thrift.count()?,
                    (2, I32) => header.encoding = thrift.i32()?,
                    (3, I32) => header.definition = thrift.i32()?,
                    (4, I32) => header.repetition = thrift.i32()?,
                    _ => thrift.skip(kind)?,
                }
                Ok(())
            })?,
            (7, STRUCT) => thrift.fields(|thrift, id, kind| {
                match (id, kind) {
                    (1, I32) => header.values = thrift.count()?,
                    (2, I32) => header.encoding = thrift.i32()?,
                    _ => thrift.skip(kind)?,
                }
                Ok(())
            })?,
            (8, STRUCT) => thrift.fields(|thrift, id, kind| {
                match (id, kind) {
                    (1, I32) => header.values = thrift.count()?,
                    (4, I32) => header.encoding = thrift.i32()?,
                    (5, I32) => header.definition_bytes = thrift.count()?,
                    (6, I32) => header.repetition_bytes = thrift.count()?,
                    (7, FALSE) => header.stored_plain = true,
                    _ => thrift.skip(kind)?,
                }
                Ok(())
            })?,
            _ => thrift.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(header)
}

/// What a page is; none for an index, which is passed over.
fn kind(header: &Header) -> Result<Option<PageKind>, Fault> {
    match header.kind {
        0 => Ok(Some(PageKind::DataV1 { repetition: header.repetition, definition: header.definition })),
        1 => Ok(None),
        2 => Ok(Some(PageKind::Dictionary)),
        3 => Ok(Some(PageKind::DataV2 {
            repetition: header.repetition_bytes as usize,
            definition: header.definition_bytes as usize,
        })),
        _ => Err(Fault::damaged("a page is of no known kind")),
    }
}

/// The page's bytes as they were before packing.
fn unpack(codec: i32, bytes: Vec<u8>, header: &Header, kind: PageKind) -> Result<Vec<u8>, Fault> {
    if let Some(checksum) = header.checksum {
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        if crc.sum() != checksum {
            return Err(Fault::damaged("the checksum of a page does not fit its bytes"));
        }
    }
    if header.unpacked > MAX_PAGE_BYTES {
        let unpacked = header.unpacked;
        return Err(Fault::Unread(format!("a page of {unpacked} bytes, more than {MAX_PAGE_BYTES}")));
    }
    let unpacked = header.unpacked as usize;
    let (levels, plain) = match kind {
        PageKind::DataV2 { repetition, definition } => {
            (repetition.saturating_add(definition), header.stored_plain)
        }
        _ => (0, false),
    };
    let wrong_size = || Fault::damaged("the size of a page is not what its header says");
    if levels > bytes.len() || levels > unpacked {
        return Err(wrong_size());
    }
    // How many times smaller a codec can make bytes at the very best: beyond it the header lies.
    let best = match codec {
        0 => 1,
        1 => 32,
        2 => 1100,
        6 => 1 << 16,
        7 => 256,
        _ => return Err(Fault::Unread(format!("it is packed with {}", codec_name(codec)))),
    };
    if codec == 0 || plain {
        return if bytes.len() == unpacked { Ok(bytes) } else { Err(wrong_size()) };
    }
    let (levels, packed) = bytes.split_at(levels);
    if levels.len() == unpacked {
        // Nulls alone: some writers pack nothing here, others write nothing.
        return Ok(levels.to_vec());
    }
    if unpacked > packed.len().saturating_mul(best).saturating_add(64) {
        return Err(wrong_size());
    }
    let mut out = levels.to_vec();
    let damaged = |what: String| Fault::damaged(format!("a page does not unpack: {what}"));
    if codec == 2 {
        let more = (unpacked - levels.len()) as u64 + 1;
        let gzip = flate2::bufread::MultiGzDecoder::new(packed);
        gzip.take(more).read_to_end(&mut out).map_err(|e| damaged(e.to_string()))?;
    } else {
        out.resize(unpacked, 0);
        let room = &mut out[levels.len()..];
        let written = match codec {
            1 => snap::raw::Decoder::new().decompress(packed, room).map_err(|e| damaged(e.to_string()))?,
            6 => zstd::bulk::decompress_to_buffer(packed, room).map_err(|e| damaged(e.to_string()))?,
            _ => lz4_flex::block::decompress_into(packed, room).map_err(|e| damaged(e.to_string()))?,
        };
        out.truncate(levels.len() + written);
    }
    if out.len() == unpacked { Ok(out) } else { Err(wrong_size()) }
}

fn codec_name(codec: i32) -> String {
    match codec {
        3 => "LZO".into(),
        4 => "Brotli".into(),
        5 => "the older LZ4, which has two meanings".into(),
        other => format!("the unknown codec {other}"),
    }
}

//! Encodings of levels and values, decoded one at a time and never further than asked.
//!
//! Source: apache/parquet-format, `Encodings.md`.

use super::Fault;
use super::thrift::{varint, zigzag};

/// How a column's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Physical {
    Boolean,
    Int32,
    Int64,
    Int96,
    Float,
    Double,
    Bytes,
    Fixed(u32),
}

impl Physical {
    /// Bytes of a value, where all have the same.
    fn width(self) -> Option<usize> {
        match self {
            Physical::Boolean | Physical::Bytes => None,
            Physical::Int32 | Physical::Float => Some(4),
            Physical::Int64 | Physical::Double => Some(8),
            Physical::Int96 => Some(12),
            Physical::Fixed(bytes) => Some(bytes as usize),
        }
    }
}

/// A value as stored; of numbers of fixed width mostly the little-endian bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    Bool(bool),
    Int(i64),
    Bytes(&'a [u8]),
}

fn short() -> Fault {
    Fault::damaged("a page holds fewer values than it says")
}

/// `width` bits, at most 64, from a bit on.
fn bits(data: &[u8], bit: u64, width: u32) -> Result<u64, Fault> {
    let start = usize::try_from(bit / 8).map_err(|_| short())?;
    let shift = (bit % 8) as u32;
    let bytes = (shift + width).div_ceil(8) as usize;
    let from = data.get(start..).and_then(|rest| rest.get(..bytes)).ok_or_else(short)?;
    let mut window = [0; 16];
    window[..bytes].copy_from_slice(from);
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    Ok((u128::from_le_bytes(window) >> shift) as u64 & mask)
}

/// Runs of one repeated value and of bit-packed ones: levels, indices of a dictionary, truth values.
#[derive(Debug)]
pub(super) struct Hybrid {
    at: usize,
    end: usize,
    width: u32,
    run: Run,
}

#[derive(Debug)]
enum Run {
    Repeated { value: u32, left: u64 },
    Packed { bit: u64, left: u64 },
}

impl Hybrid {
    /// Runs of numbers of `width` bits, at most 32, in a part of the page.
    pub fn new(at: usize, end: usize, width: u32) -> Hybrid {
        Hybrid { at, end, width, run: Run::Repeated { value: 0, left: 0 } }
    }

    pub fn next(&mut self, data: &[u8]) -> Result<u32, Fault> {
        let data = data.get(..self.end).ok_or_else(short)?;
        loop {
            match &mut self.run {
                Run::Repeated { value, left } if *left > 0 => {
                    *left -= 1;
                    return Ok(*value);
                }
                Run::Packed { bit, left } if *left > 0 => {
                    let value = bits(data, *bit, self.width)?;
                    *bit += u64::from(self.width);
                    *left -= 1;
                    return Ok(value as u32);
                }
                _ => self.run = self.next_run(data)?,
            }
        }
    }

    fn next_run(&mut self, data: &[u8]) -> Result<Run, Fault> {
        let rest = data.get(self.at..).ok_or_else(short)?;
        let (head, length) = varint(rest).ok_or_else(short)?;
        self.at += length;
        if head & 1 == 0 {
            let bytes = self.width.div_ceil(8) as usize;
            let from = rest.get(length..length + bytes).ok_or_else(short)?;
            let mut value = [0; 4];
            value[..bytes].copy_from_slice(from);
            self.at += bytes;
            return Ok(Run::Repeated { value: u32::from_le_bytes(value), left: head >> 1 });
        }
        let groups = head >> 1;
        let run = Run::Packed { bit: self.at as u64 * 8, left: groups.saturating_mul(8) };
        // A lying number of groups ends with the bytes.
        let bytes = usize::try_from(groups.saturating_mul(u64::from(self.width))).unwrap_or(usize::MAX);
        self.at = self.at.saturating_add(bytes).min(self.end);
        Ok(run)
    }
}

/// Whole numbers as differences, in blocks of differences of like size.
#[derive(Clone, Debug)]
struct Deltas {
    /// Behind what is in use: the next miniblock's bits, or the next block's header.
    at: usize,
    miniblocks: usize,
    per_miniblock: u64,
    /// Numbers not read yet.
    left: u64,
    started: bool,
    value: i64,
    smallest: i64,
    /// Where the widths of the block's miniblocks stand that come after the one in use.
    widths: std::ops::Range<usize>,
    width: u32,
    bit: u64,
    left_in_miniblock: u64,
}

impl Deltas {
    fn new(data: &[u8], mut at: usize) -> Result<Deltas, Fault> {
        let block = next_varint(data, &mut at)?;
        let miniblocks = next_varint(data, &mut at)?;
        let left = next_varint(data, &mut at)?;
        let value = zigzag(next_varint(data, &mut at)?);
        let per_miniblock = block.checked_div(miniblocks).unwrap_or(0);
        let fits = per_miniblock > 0 && per_miniblock % 32 == 0 && block <= 1 << 31 && miniblocks <= block;
        if !fits || per_miniblock * miniblocks != block {
            return Err(Fault::damaged("a page has blocks of an impossible size"));
        }
        Ok(Deltas {
            at,
            miniblocks: miniblocks as usize,
            per_miniblock,
            left,
            started: false,
            value,
            smallest: 0,
            widths: 0..0,
            width: 0,
            bit: 0,
            left_in_miniblock: 0,
        })
    }

    fn next(&mut self, data: &[u8]) -> Result<i64, Fault> {
        self.left = self.left.checked_sub(1).ok_or_else(short)?;
        if !self.started {
            self.started = true;
            return Ok(self.value);
        }
        if self.left_in_miniblock == 0 {
            self.next_miniblock(data)?;
        }
        let delta = bits(data, self.bit, self.width)? as i64;
        self.bit += u64::from(self.width);
        self.left_in_miniblock -= 1;
        self.value = self.value.wrapping_add(self.smallest).wrapping_add(delta);
        Ok(self.value)
    }

    fn next_miniblock(&mut self, data: &[u8]) -> Result<(), Fault> {
        if self.widths.is_empty() {
            self.smallest = zigzag(next_varint(data, &mut self.at)?);
            self.widths = self.at..self.at.saturating_add(self.miniblocks);
            self.at = self.widths.end;
        }
        let width = self.widths.next().and_then(|index| data.get(index)).copied().ok_or_else(short)?;
        if width > 64 {
            return Err(Fault::damaged("a page holds differences of more than 64 bits"));
        }
        self.width = u32::from(width);
        self.bit = self.at as u64 * 8;
        self.at = self.at.saturating_add((self.per_miniblock / 8 * u64::from(width)) as usize);
        self.left_in_miniblock = self.per_miniblock;
        Ok(())
    }

    /// Where the bytes behind these numbers start. Goes from miniblock to miniblock, reading no number.
    fn end(&self, data: &[u8]) -> Result<usize, Fault> {
        let mut walk = self.clone();
        let mut left = self.left.saturating_sub(1);
        while left > 0 {
            walk.next_miniblock(data)?;
            left = left.saturating_sub(self.per_miniblock);
        }
        Ok(walk.at)
    }
}

fn next_varint(data: &[u8], at: &mut usize) -> Result<u64, Fault> {
    let (value, length) = data.get(*at..).and_then(varint).ok_or_else(short)?;
    *at += length;
    Ok(value)
}

/// A length that a page gives of a part of itself.
fn length(value: i64) -> Result<usize, Fault> {
    usize::try_from(value).map_err(|_| Fault::damaged("a page gives a negative length"))
}

/// The `bytes` bytes at `at`, which moves behind them.
fn slice<'a>(data: &'a [u8], at: &mut usize, bytes: usize) -> Result<&'a [u8], Fault> {
    let found = data.get(*at..).and_then(|rest| rest.get(..bytes)).ok_or_else(short)?;
    *at += bytes;
    Ok(found)
}

/// The string behind its length of four bytes.
fn string<'a>(data: &'a [u8], at: &mut usize) -> Result<&'a [u8], Fault> {
    let head = slice(data, at, 4)?;
    let bytes = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    slice(data, at, bytes as usize)
}

/// The values that pages of one chunk give by number.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    data: Vec<u8>,
    /// Of strings: where each starts in `data`, at its length.
    starts: Vec<u32>,
    entries: usize,
}

impl Dictionary {
    pub fn new(data: Vec<u8>, entries: u32, encoding: i32, physical: Physical) -> Result<Dictionary, Fault> {
        if !matches!(encoding, PLAIN | PLAIN_DICTIONARY) || physical == Physical::Boolean {
            return Err(unread(encoding));
        }
        let mut starts = Vec::new();
        if physical == Physical::Bytes {
            let mut at = 0;
            for _ in 0..entries {
                // A page has less than 2^32 bytes.
                starts.push(at as u32);
                string(&data, &mut at)?;
            }
        }
        Ok(Dictionary { data, starts, entries: entries as usize })
    }

    fn entry(&self, index: u32, physical: Physical) -> Result<&[u8], Fault> {
        let index = index as usize;
        let outside = || Fault::damaged("a page uses a value that its dictionary lacks");
        if index >= self.entries {
            return Err(outside());
        }
        match physical.width() {
            Some(width) => slice(&self.data, &mut (index * width), width).map_err(|_| outside()),
            None => string(&self.data, &mut (*self.starts.get(index).ok_or_else(outside)? as usize)),
        }
    }
}

pub(super) const PLAIN: i32 = 0;
pub(super) const PLAIN_DICTIONARY: i32 = 2;
pub(super) const RLE: i32 = 3;
const DELTA_BINARY_PACKED: i32 = 5;
const DELTA_LENGTH_BYTE_ARRAY: i32 = 6;
const DELTA_BYTE_ARRAY: i32 = 7;
const RLE_DICTIONARY: i32 = 8;
const BYTE_STREAM_SPLIT: i32 = 9;

fn unread(encoding: i32) -> Fault {
    Fault::Unread(format!("its values have the encoding {encoding}, which does not go with their type here"))
}

/// The values of a page, without nulls.
#[derive(Debug)]
pub(super) struct Values {
    physical: Physical,
    /// Offset of the next value, where that is known.
    at: usize,
    decoder: Decoder,
}

#[derive(Debug)]
enum Decoder {
    Plain,
    PlainBool {
        bit: u64,
    },
    RunsOfBool(Hybrid),
    Dictionary(Hybrid),
    Deltas(Deltas),
    DeltaLengths(Deltas),
    DeltaStrings {
        prefixes: Deltas,
        suffixes: Deltas,
        last: Vec<u8>,
    },
    /// The first bytes of all values, then their second bytes, and so on; `at` counts values.
    Split {
        start: usize,
        count: usize,
        value: Vec<u8>,
    },
}

impl Values {
    /// The values that fill the page from an offset on.
    pub fn new(data: &[u8], at: usize, encoding: i32, physical: Physical) -> Result<Values, Fault> {
        let mut at = at;
        let decoder = match (encoding, physical) {
            (PLAIN, Physical::Boolean) => Decoder::PlainBool { bit: at as u64 * 8 },
            (PLAIN, _) => Decoder::Plain,
            (RLE, Physical::Boolean) => {
                let runs = string(data, &mut at)?.len();
                Decoder::RunsOfBool(Hybrid::new(at - runs, at, 1))
            }
            (PLAIN_DICTIONARY | RLE_DICTIONARY, _) => {
                // A page of nulls alone may be empty.
                let width = data.get(at).copied().unwrap_or(0);
                if width > 32 {
                    return Err(Fault::damaged("a page counts its dictionary in more than 32 bits"));
                }
                Decoder::Dictionary(Hybrid::new(at.saturating_add(1), data.len(), u32::from(width)))
            }
            (DELTA_BINARY_PACKED, Physical::Int32 | Physical::Int64) => {
                Decoder::Deltas(Deltas::new(data, at)?)
            }
            (DELTA_LENGTH_BYTE_ARRAY, Physical::Bytes) => {
                let lengths = Deltas::new(data, at)?;
                at = lengths.end(data)?;
                Decoder::DeltaLengths(lengths)
            }
            (DELTA_BYTE_ARRAY, Physical::Bytes | Physical::Fixed(_)) => {
                let prefixes = Deltas::new(data, at)?;
                let suffixes = Deltas::new(data, prefixes.end(data)?)?;
                at = suffixes.end(data)?;
                Decoder::DeltaStrings { prefixes, suffixes, last: Vec::new() }
            }
            (BYTE_STREAM_SPLIT, _) => {
                let width = physical.width().filter(|&width| width > 0).ok_or_else(|| unread(encoding))?;
                let count = data.len().saturating_sub(at) / width;
                let start = std::mem::take(&mut at);
                Decoder::Split { start, count, value: vec![0; width] }
            }
            _ => return Err(unread(encoding)),
        };
        Ok(Values { physical, at, decoder })
    }

    pub fn next<'a>(&'a mut self, data: &'a [u8], dictionary: &'a Dictionary) -> Result<Raw<'a>, Fault> {
        let at = &mut self.at;
        Ok(match &mut self.decoder {
            Decoder::Plain => Raw::Bytes(match self.physical.width() {
                Some(width) => slice(data, at, width)?,
                None => string(data, at)?,
            }),
            Decoder::PlainBool { bit } => {
                let value = bits(data, *bit, 1)?;
                *bit += 1;
                Raw::Bool(value == 1)
            }
            Decoder::RunsOfBool(runs) => Raw::Bool(runs.next(data)? == 1),
            Decoder::Dictionary(indices) => Raw::Bytes(dictionary.entry(indices.next(data)?, self.physical)?),
            Decoder::Deltas(deltas) => {
                let value = deltas.next(data)?;
                // Differences of 32-bit numbers wrap at 32 bits.
                Raw::Int(if self.physical == Physical::Int32 { i64::from(value as i32) } else { value })
            }
            Decoder::DeltaLengths(lengths) => {
                let bytes = length(lengths.next(data)?)?;
                Raw::Bytes(slice(data, at, bytes)?)
            }
            Decoder::DeltaStrings { prefixes, suffixes, last } => {
                let prefix = length(prefixes.next(data)?)?;
                let suffix = length(suffixes.next(data)?)?;
                if prefix > last.len() {
                    return Err(Fault::damaged("a page repeats more of a string than there is"));
                }
                last.truncate(prefix);
                last.extend_from_slice(slice(data, at, suffix)?);
                if self.physical.width().is_some_and(|width| width != last.len()) {
                    return Err(Fault::damaged("a value of fixed length has another length"));
                }
                Raw::Bytes(last)
            }
            Decoder::Split { start, count, value } => {
                if *at >= *count {
                    return Err(short());
                }
                for (stream, byte) in value.iter_mut().enumerate() {
                    *byte = *data.get(*start + stream * *count + *at).ok_or_else(short)?;
                }
                *at += 1;
                Raw::Bytes(value)
            }
        })
    }
}

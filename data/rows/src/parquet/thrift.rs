//! Thrift's compact protocol, as far as parquet's headers need it. Everything in it may be a lie: depth and
//! lengths are checked against the bytes there are.
//!
//! Source: Apache Thrift, `doc/specs/thrift-compact-protocol.md`.

use super::Fault;

/// How deep structs and lists may lie in each other; parquet's own stay below ten.
const MAX_DEPTH: u32 = 32;

pub(super) const TRUE: u8 = 1;
pub(super) const FALSE: u8 = 2;
pub(super) const I8: u8 = 3;
pub(super) const I16: u8 = 4;
pub(super) const I32: u8 = 5;
pub(super) const I64: u8 = 6;
pub(super) const DOUBLE: u8 = 7;
pub(super) const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const SET: u8 = 10;
pub(super) const MAP: u8 = 11;
pub(super) const STRUCT: u8 = 12;
pub(super) const UUID: u8 = 13;

/// What `Thrift` says when the bytes end too early: a header that was not read whole looks the same.
pub(super) const CUT_OFF: &str = "a header is cut off";

/// Reads values from the front of bytes.
pub(super) struct Thrift<'a> {
    rest: &'a [u8],
    depth: u32,
}

impl<'a> Thrift<'a> {
    pub fn new(bytes: &'a [u8]) -> Thrift<'a> {
        Thrift { rest: bytes, depth: 0 }
    }

    /// Bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, bytes: u64) -> Result<&'a [u8], Fault> {
        let cut = || Fault::damaged(CUT_OFF);
        let (taken, rest) =
            self.rest.split_at_checked(usize::try_from(bytes).map_err(|_| cut())?).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let (value, bytes) = varint(self.rest).ok_or_else(|| {
            Fault::damaged(if self.rest.len() < MAX_VARINT_BYTES {
                CUT_OFF
            } else {
                "a number has too many bytes"
            })
        })?;
        self.rest = &self.rest[bytes..];
        Ok(value)
    }

    pub fn i64(&mut self) -> Result<i64, Fault> {
        Ok(zigzag(self.varint()?))
    }

    pub fn i32(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.i64()?).map_err(|_| Fault::damaged("a number of a header has more than 32 bits"))
    }

    /// A number that counts something.
    pub fn count(&mut self) -> Result<u32, Fault> {
        u32::try_from(self.i32()?).map_err(|_| Fault::damaged("a count in a header is negative"))
    }

    pub fn i8(&mut self) -> Result<i8, Fault> {
        Ok(self.byte()? as i8)
    }

    pub fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let bytes = self.varint()?;
        self.take(bytes)
    }

    /// Calls `visit` with the id and type of each field of a struct; it reads the value or skips it.
    pub fn fields(
        &mut self,
        mut visit: impl FnMut(&mut Thrift<'a>, i16, u8) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.deeper()?;
        let mut id = 0i16;
        loop {
            let head = self.byte()?;
            if head & 15 == 0 {
                self.depth -= 1;
                return Ok(());
            }
            id = match i16::from(head >> 4) {
                0 => i16::try_from(self.i64()?).ok(),
                step => id.checked_add(step),
            }
            .ok_or_else(|| Fault::damaged("a field of a header has an impossible number"))?;
            visit(self, id, head & 15)?;
        }
    }

    /// Calls `visit` with the type of each element of a list.
    pub fn elements(
        &mut self,
        mut visit: impl FnMut(&mut Thrift<'a>, u8) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.deeper()?;
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        // An element takes a byte at least, so that a lying length ends with the bytes.
        for _ in 0..length {
            visit(self, head & 15)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Fault::damaged("a header is nested too deep")) } else { Ok(()) }
    }

    /// Passes over a field's value.
    pub fn skip(&mut self, kind: u8) -> Result<(), Fault> {
        match kind {
            TRUE | FALSE => Ok(()),
            _ => self.skip_element(kind),
        }
    }

    /// Passes over a list's element, where a truth value takes a byte.
    fn skip_element(&mut self, kind: u8) -> Result<(), Fault> {
        match kind {
            TRUE | FALSE | I8 => self.byte().map(|_| ()),
            I16 | I32 | I64 => self.varint().map(|_| ()),
            DOUBLE => self.take(8).map(|_| ()),
            BINARY => self.binary().map(|_| ()),
            UUID => self.take(16).map(|_| ()),
            LIST | SET => self.elements(Thrift::skip_element),
            MAP => {
                let length = self.varint()?;
                let kinds = if length == 0 { 0 } else { self.byte()? };
                self.deeper()?;
                for _ in 0..length {
                    self.skip_element(kinds >> 4)?;
                    self.skip_element(kinds & 15)?;
                }
                self.depth -= 1;
                Ok(())
            }
            STRUCT => self.fields(|thrift, _, kind| thrift.skip(kind)),
            _ => Err(Fault::damaged("a header holds a value of no known type")),
        }
    }
}

/// Bytes of the longest 64-bit varint.
const MAX_VARINT_BYTES: usize = 10;

/// A little-endian base-128 number at the front of bytes, and how many bytes it takes.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(MAX_VARINT_BYTES).enumerate() {
        value |= u64::from(byte & 127) << (7 * index);
        if byte < 128 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Undoes the encoding that gives small negative numbers few bytes.
pub(super) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_come_with_their_numbers() {
        // 1: i32 = -2; 3: list of two strings, skipped; 20: i64 = 300; 21: true.
        let bytes = [0x15, 3, 0x29, 0x28, 1, b'a', 0, 0x06, 40, 0xD8, 4, 0x11, 0, 77];
        let mut thrift = Thrift::new(&bytes);
        let mut found = Vec::new();
        thrift
            .fields(|thrift, id, kind| {
                found.push((id, kind, if matches!(kind, I32 | I64) { thrift.i64()? } else { 0 }));
                if matches!(kind, I32 | I64) { Ok(()) } else { thrift.skip(kind) }
            })
            .unwrap();
        assert_eq!(found, [(1, I32, -2), (3, LIST, 0), (20, I64, 300), (21, TRUE, 0)]);
        assert_eq!(thrift.rest(), [77]);
    }

    #[test]
    fn depth_and_lengths_are_bounded() {
        let error = |bytes: &[u8]| Thrift::new(bytes).skip(STRUCT).unwrap_err().to_string();
        assert!(error(&[0x1C; 10_000]).contains("too deep"));
        assert!(error(&[0x19; 10_000]).contains("too deep"));
        // A list that claims 2^35 truth values, and a string that claims as many bytes.
        assert!(error(&[0x19, 0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1]).contains("cut off"));
        assert!(error(&[0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1]).contains("cut off"));
        assert!(error(&[0x15; 1]).contains("cut off"));
        assert!(
            error(&[0x16, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]).contains("too many bytes")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Thrift::new(&bytes).skip(STRUCT);
        }
    }
}

//! Metrics as TensorBoard reads them: an event file, written by hand.
//!
//! A file is a list of records (TFRecord): the length as 8 bytes, a masked CRC of those, the data, a masked CRC
//! of that. The data of each is a protocol-buffer `Event`. Which bytes that takes follows from TensorFlow's
//! `record_writer.h`, `event.proto` and `summary.proto`.

use crate::Figures;
use octo_durable::{DurableError, Fs, FsFile};
use std::io;
use std::path::{Path, PathBuf};

/// What the name of every event file begins with; TensorBoard finds its files by this.
const PREFIX: &str = "events.out.tfevents.";

/// An event file that grows by a record a step.
pub struct TensorBoard {
    path: PathBuf,
    file: Box<dyn FsFile>,
    bytes: u64,
    /// The last write failed and its half record could not be taken back.
    torn: bool,
}

impl TensorBoard {
    /// Begins a new event file in an existing folder, behind those that are there.
    ///
    /// It opens with a session start at `first_step`, the first step that will be written: upon that TensorBoard
    /// forgets what earlier files say of this step and of later ones. The very first file has one too, because
    /// TensorBoard takes only the second for a restart. `wall_time` is in seconds since 1970.
    ///
    /// # Errors
    /// Whatever the system refuses.
    pub fn begin(
        fs: &dyn Fs,
        folder: &Path,
        first_step: u64,
        wall_time: f64,
    ) -> Result<TensorBoard, DurableError> {
        let read = |source| DurableError::Io { action: "read", path: folder.to_owned(), source };
        let path = folder.join(next_name(names(folder).map_err(read)?, wall_time));
        let file = fs.open_append(&path).map_err(|source| DurableError::Io {
            action: "create",
            path: path.clone(),
            source,
        })?;
        let mut board = TensorBoard { path, file, bytes: 0, torn: false };
        let mut records = record(&event(wall_time, 0, &Content::FileVersion));
        records.extend(record(&event(wall_time, first_step, &Content::SessionStart)));
        board.append(&records)?;
        Ok(board)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a step's figures. Values become f32, which is all that TensorBoard keeps of a scalar.
    ///
    /// # Errors
    /// Whatever the system refuses; the file then holds the records it held before.
    pub fn step(&mut self, figures: &dyn Figures, wall_time: f64) -> Result<(), DurableError> {
        let scalars = figures.scalars();
        self.append(&record(&event(wall_time, figures.step(), &Content::Scalars(&scalars))))
    }

    /// Makes what was written last through a power cut.
    ///
    /// # Errors
    /// Whatever the system refuses.
    pub fn sync(&mut self) -> Result<(), DurableError> {
        self.file.sync().map_err(|source| self.refused("sync", source))
    }

    /// Hands whole records to the system at once, so that a killed process leaves no half one.
    fn append(&mut self, records: &[u8]) -> Result<(), DurableError> {
        if self.torn {
            self.take_back()?;
        }
        if let Err(source) = self.file.write_all(records) {
            self.torn = true;
            // Reported below in any case; if this fails too, the next append tries again.
            let _ = self.take_back();
            return Err(self.refused("append to", source));
        }
        self.bytes += records.len() as u64;
        Ok(())
    }

    /// Cuts off a half record: all behind it would be lost on TensorBoard.
    fn take_back(&mut self) -> Result<(), DurableError> {
        self.file.set_len(self.bytes).map_err(|source| self.refused("cut the torn end of", source))?;
        self.torn = false;
        Ok(())
    }

    fn refused(&self, action: &'static str, source: io::Error) -> DurableError {
        DurableError::Io { action, path: self.path.clone(), source }
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    entries.collect()
}

/// A name that sorts behind all earlier ones, whatever the clock has done since: TensorBoard reads files in the
/// order of their names, and a session start must come behind what it makes them forget.
fn next_name(present: Vec<String>, wall_time: f64) -> String {
    let parts = |name: &str| -> Option<(u64, u64)> {
        let mut parts = name.strip_prefix(PREFIX)?.split('.');
        let seconds = parts.next()?.parse().ok()?;
        Some((seconds, parts.nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)))
    };
    let last = present.iter().filter_map(|name| parts(name)).max();
    let (seconds, number) = match last {
        Some((seconds, number)) => ((wall_time as u64).max(seconds), number.saturating_add(1)),
        None => (wall_time as u64, 0),
    };
    format!("{PREFIX}{seconds:010}.octo-engine.{number:06}")
}

/// What an event says.
enum Content<'a> {
    /// The first of every file.
    FileVersion,
    /// A run began or resumed at the event's step.
    SessionStart,
    Scalars(&'a [(&'a str, f64)]),
}

fn event(wall_time: f64, step: u64, content: &Content<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(tag(1, FIXED64));
    out.extend(wall_time.to_le_bytes());
    // Zero is what a missing number means.
    if step > 0 {
        out.extend(tag(2, VARINT));
        out.extend(varint(step));
    }
    match content {
        Content::FileVersion => out.extend(field(3, b"brain.Event:2")),
        Content::SessionStart => {
            const START: u64 = 1;
            let status = [tag(1, VARINT), varint(START)].concat();
            out.extend(field(7, &status));
        }
        Content::Scalars(scalars) => {
            let value = |(name, value): &(&str, f64)| {
                let simple = [tag(2, FIXED32), (*value as f32).to_le_bytes().to_vec()].concat();
                field(1, &[field(1, name.as_bytes()), simple].concat())
            };
            out.extend(field(5, &scalars.iter().flat_map(value).collect::<Vec<u8>>()));
        }
    }
    out
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

fn tag(field: u64, kind: u64) -> Vec<u8> {
    varint(field << 3 | kind)
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [tag(number, LENGTH_DELIMITED), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// Seven bits a byte, the lowest first; all but the last have the high bit set.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// Data with its length and both checksums.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let (of_length, of_data) = (masked(crc32c(&length)).to_le_bytes(), masked(crc32c(data)).to_le_bytes());
    [&length[..], &of_length, data, &of_data].concat()
}

/// TFRecord's mask: a CRC of data that holds CRCs would be weak.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4), a byte at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize])
}

const fn table() -> [u32; 256] {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StepMetrics;
    use octo_durable::{Disk, Fault, FaultyFs};
    use std::collections::BTreeMap;

    /// Every record's data, its checksums verified.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let crc = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!(crc(8), masked(crc32c(&bytes[..8])));
            let data = bytes[12..12 + length].to_vec();
            assert_eq!(crc(12 + length), masked(crc32c(&data)));
            found.push(data);
            bytes = &bytes[16 + length..];
        }
        found
    }

    fn metrics(step: u64) -> StepMetrics {
        StepMetrics { step, consumed_tokens: step * 10, lm_loss: 2.5, ..StepMetrics::default() }
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(varint(u64::MAX).len(), 10);
    }

    #[test]
    fn a_file_begins_with_these_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let board = TensorBoard::begin(&Disk, folder.path(), 300, 1.5).unwrap();
        let bytes = std::fs::read(board.path()).unwrap();
        let found = records(&bytes);
        let wall_time = [0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f];
        assert_eq!(found[0], [&wall_time[..], b"\x1a\x0dbrain.Event:2"].concat());
        assert_eq!(found[1], [&wall_time[..], b"\x10\xac\x02\x3a\x02\x08\x01"].concat());
        // The framing as TensorFlow writes it: 24 bytes, and the masked checksum of that length.
        assert_eq!(bytes[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn a_step_is_one_record_with_all_its_scalars() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::begin(&Disk, folder.path(), 1, 0.0).unwrap();
        let mut one = metrics(1);
        one.validation = BTreeMap::from([("val_loss/a".to_owned(), 1.0)]);
        board.step(&one, 2.0).unwrap();
        let found = records(&std::fs::read(board.path()).unwrap());
        assert_eq!(found.len(), 3);
        let loss = b"\x0a\x0e\x0a\x07lm_loss\x15\x00\x00\x20\x40";
        let held_out = b"\x0a\x11\x0a\x0aval_loss/a\x15\x00\x00\x80\x3f";
        for part in [&loss[..], held_out] {
            assert!(found[2].windows(part.len()).any(|w| w == part), "{:?}", found[2]);
        }
        assert_eq!(found[2][9..11], [0x10, 1]);
    }

    #[test]
    fn a_new_file_sorts_behind_the_old_ones_whatever_the_clock() {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for wall_time in [1.7e9, 1.7e9, 1.6e9, 0.0, 1.8e9, 1.75e9] {
            let board = TensorBoard::begin(&Disk, folder.path(), 1, wall_time).unwrap();
            paths.push(board.path().to_owned());
        }
        assert!(paths.windows(2).all(|w| w[0] < w[1]), "{paths:?}");
        let foreign =
            vec![format!("{PREFIX}1700000000.host.77"), format!("{PREFIX}x"), "metrics.jsonl".into()];
        assert!(next_name(foreign.clone(), 0.0) > foreign[0]);
    }

    #[test]
    fn after_a_failed_write_the_file_holds_whole_records() {
        for fault in [Fault::Refused, Fault::Short] {
            for at in 0..6 {
                let folder = tempfile::tempdir().unwrap();
                let fs = FaultyFs::new(fault, at);
                let Ok(mut board) = TensorBoard::begin(&fs, folder.path(), 1, 0.0) else { continue };
                let written: Vec<bool> = (1..5).map(|step| board.step(&metrics(step), 0.0).is_ok()).collect();
                let found = records(&std::fs::read(board.path()).unwrap());
                assert_eq!(found.len(), 2 + written.iter().filter(|ok| **ok).count(), "{fault:?} at {at}");
            }
        }
    }
}

//! Bytes of a file, unpacked while they are read, and how far the reading is.

use crate::files::{DataFile, Packing};
use crate::{Origin, RowsError};
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes asked of the system at once.
const BUFFER_BYTES: usize = 1 << 16;
/// The largest window of a Zstandard frame, as a power of two: what `zstd --long=31` writes. The memory is taken
/// only for frames that say they need it.
const ZSTD_WINDOW_LOG_MAX: u32 = 31;

/// How much of the files has been read, in bytes as they lie on disk. Clones tell of the same reading.
#[derive(Clone, Debug)]
pub struct Progress {
    consumed: Arc<AtomicU64>,
    total: u64,
}

impl Progress {
    pub(crate) fn new(total: u64) -> Progress {
        Progress { consumed: Arc::default(), total }
    }

    /// Bytes read so far.
    pub fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// Bytes of all files.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn set(&self, consumed: u64) {
        self.consumed.store(consumed, Ordering::Relaxed);
    }

    fn add(&self, bytes: u64) {
        self.consumed.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Opens a file that must still be the one that was listed.
pub(crate) fn open(file: &DataFile) -> Result<File, RowsError> {
    let read = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => RowsError::Gone { path: file.path.clone() },
        _ => RowsError::Read { path: file.path.clone(), source },
    };
    let opened = File::open(&file.path).map_err(read)?;
    unchanged(&opened, file)?;
    Ok(opened)
}

/// Refuses a file that was replaced or written to since it was listed.
pub(crate) fn unchanged(opened: &File, listed: &DataFile) -> Result<(), RowsError> {
    let metadata =
        opened.metadata().map_err(|source| RowsError::Read { path: listed.path.clone(), source })?;
    if metadata.len() == listed.bytes && metadata.modified().ok() == listed.modified {
        return Ok(());
    }
    Err(RowsError::Changed { path: listed.path.clone() })
}

/// Counts what is read of a file.
pub(crate) struct Counted {
    file: File,
    progress: Progress,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.progress.add(bytes as u64);
        Ok(bytes)
    }
}

/// The unpacked bytes of a file, from its start.
pub(crate) fn unpacked(
    file: File,
    packing: Packing,
    progress: Progress,
) -> io::Result<Box<dyn BufRead + Send>> {
    decoder(Counted { file, progress }, packing)
}

/// The bytes of a stream, unpacked as they are asked for.
pub(crate) fn decoder(
    input: impl Read + Send + 'static,
    packing: Packing,
) -> io::Result<Box<dyn BufRead + Send>> {
    let mut packed = BufReader::with_capacity(BUFFER_BYTES, input);
    if packing != Packing::None && packed.fill_buf()?.is_empty() {
        return Ok(Box::new(BufReader::new(Empty)));
    }
    Ok(match packing {
        Packing::None => Box::new(packed),
        Packing::Gzip => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(packed))),
        Packing::Zstandard => {
            let mut decoder = zstd::Decoder::with_buffer(packed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
    })
}

/// A packed file without a byte: not even an empty stream.
struct Empty;

impl Read for Empty {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The error of this crate: the disk's own, or a packed stream that is damaged at this line.
pub(crate) fn read_error(source: io::Error, packing: Packing, origin: Origin) -> RowsError {
    match packing {
        Packing::Gzip | Packing::Zstandard if source.raw_os_error().is_none() => {
            let reason = match source.kind() {
                io::ErrorKind::UnexpectedEof => "it is cut off".into(),
                _ => source.to_string(),
            };
            RowsError::DamagedStream { origin, packing: packing.name(), reason }
        }
        _ => RowsError::Read { path: origin.file.to_path_buf(), source },
    }
}

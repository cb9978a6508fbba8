//! Reading all weights in one go: every file once, from its first byte to its last.
//!
//! That is the order a disk is fastest in, and the order in which a file can be hashed on the way. One thread reads,
//! a few pieces ahead; the caller's decodes and hands on. Nothing is held but those pieces.

use super::{ParamFiles, WeightDType};
use crate::{ModelError, Param};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{channel, sync_channel};

/// Bytes read at once.
const PIECE: u64 = 4 << 20;
/// Pieces that have been read and wait.
const AHEAD: usize = 2;

/// Bytes of one file, and the tensor they belong to.
#[derive(Clone, Copy)]
struct Piece<'a> {
    path: &'a Path,
    file: &'a File,
    begin: u64,
    bytes: usize,
    /// `None` for headers, and for tensors that the model does not have.
    tensor: Option<Tensor<'a>>,
}

/// A tensor of the table.
#[derive(Clone, Copy)]
struct Tensor<'a> {
    name: &'a str,
    param: Param,
    /// Its place among the parameter's sources.
    source: usize,
    dtype: WeightDType,
    /// The first element of the piece.
    first: u64,
}

impl ParamFiles {
    /// Reads every file once. `see` gets all of its bytes in order, headers included; `deliver` gets every element
    /// of every parameter, as runs that are contiguous in the parameter, with its first element.
    ///
    /// # Errors
    /// I/O; a number that is not finite, by tensor and element; whatever `deliver` returns.
    pub fn read_all<E: From<ModelError>>(
        &self,
        see: &mut dyn FnMut(&Path, &[u8]),
        mut deliver: impl FnMut(Param, u64, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let pieces = self.pieces()?;
        let failed = |source| ModelError::io(self.dir(), source);
        std::thread::scope(|scope| {
            let (full, filled) = sync_channel(AHEAD);
            let (empty, emptied) = channel::<Vec<u8>>();
            for _ in 0..=AHEAD {
                // The other end lives as long as the reader, which is not there yet.
                let _ = empty.send(Vec::new());
            }
            let ahead = &pieces;
            let read = move || {
                for piece in ahead {
                    // Whoever listens has met an error and gone.
                    let Ok(mut bytes) = emptied.recv() else { return };
                    bytes.resize(piece.bytes, 0);
                    let read = piece.file.read_exact_at(&mut bytes, piece.begin).map(|()| bytes);
                    if full.send(read).is_err() {
                        return;
                    }
                }
            };
            let builder = std::thread::Builder::new().name("weights".to_owned());
            builder.spawn_scoped(scope, read).map_err(failed)?;
            let mut values = Vec::new();
            for piece in &pieces {
                let gone = |_| io::Error::other("the reading thread broke down");
                let bytes = filled.recv().map_err(gone).and_then(|read| read);
                let bytes = bytes.map_err(|source| ModelError::io(piece.path, source))?;
                see(piece.path, &bytes);
                if let Some(tensor) = &piece.tensor {
                    values.resize(bytes.len() / tensor.dtype.bytes() as usize, 0.0);
                    tensor.dtype.decode(&bytes, &mut values);
                    check_finite(piece.path, tensor, &values)?;
                    self.hand_on(tensor, &values, &mut deliver)?;
                }
                // After the last pieces nobody takes it.
                let _ = empty.send(bytes);
            }
            Ok(())
        })
    }

    fn hand_on<E>(
        &self,
        tensor: &Tensor<'_>,
        values: &[f32],
        deliver: &mut impl FnMut(Param, u64, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let source = &self.table().sources(tensor.param)[tensor.source];
        let mut done = 0;
        while done < values.len() {
            let (first, length) = source.run(tensor.first + done as u64);
            let end = values.len().min(done + length as usize);
            deliver(tensor.param, first, &values[done..end])?;
            done = end;
        }
        Ok(())
    }

    /// All bytes of all files, in order.
    fn pieces(&self) -> Result<Vec<Piece<'_>>, ModelError> {
        let mut wanted: Vec<Vec<(u64, u64, Tensor<'_>)>> = vec![Vec::new(); self.files.len()];
        for param in self.table().params() {
            for (number, source) in self.table().sources(param).iter().enumerate() {
                // Opened, every tensor of the table is there.
                let Some(stored) = self.tensors.get(&source.name) else { continue };
                let (name, dtype) = (source.name.as_str(), stored.dtype);
                let tensor = Tensor { name, param, source: number, dtype, first: 0 };
                let bytes = source.elements() * dtype.bytes();
                wanted[stored.file].push((stored.begin, bytes, tensor));
            }
        }
        let mut pieces = Vec::new();
        for ((path, file), mut tensors) in self.files.iter().zip(wanted) {
            tensors.sort_by_key(|(begin, ..)| *begin);
            let end = file.metadata().map_err(|source| ModelError::io(path, source))?.len();
            let mut at = 0;
            for (begin, bytes, tensor) in tensors {
                pieces.extend(cut(path, file, at..begin, None));
                pieces.extend(cut(path, file, begin..begin + bytes, Some(tensor)));
                at = begin + bytes;
            }
            pieces.extend(cut(path, file, at..end, None));
        }
        Ok(pieces)
    }
}

/// The pieces of a range of a file, which is a whole tensor or nothing of any.
fn cut<'a>(
    path: &'a Path,
    file: &'a File,
    range: Range<u64>,
    tensor: Option<Tensor<'a>>,
) -> impl Iterator<Item = Piece<'a>> {
    range.clone().step_by(PIECE as usize).map(move |begin| Piece {
        path,
        file,
        begin,
        bytes: (range.end - begin).min(PIECE) as usize,
        tensor: tensor.map(|t| Tensor { first: (begin - range.start) / t.dtype.bytes(), ..t }),
    })
}

fn check_finite(path: &Path, tensor: &Tensor<'_>, values: &[f32]) -> Result<(), ModelError> {
    // Without an early end the loop takes several numbers at once.
    if !values.iter().fold(false, |bad, value| bad | !value.is_finite()) {
        return Ok(());
    }
    let at = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
    Err(ModelError::NotFinite {
        path: path.to_owned(),
        tensor: tensor.name.to_owned(),
        element: tensor.first + at as u64,
        value: values[at],
    })
}

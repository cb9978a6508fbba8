//! The state of a training run between two steps: copied to the host in one go, written and read by name.
//!
//! What a checkpoint holds is one f32 (or, of weights and moments that are bf16, one bf16) for every element of the
//! table, three or four times: the weights, the masters behind bf16 weights, and AdamW's two moments.

use crate::hf::ParamFiles;
use crate::net::{part, whole};
use crate::{Flat, Net, Param, ParamTable, Trainer, TransferError};
use half::bf16;
use octo_ops::{DType, View, master};
use octo_queue::{Queue, QueueError};
use std::ops::Range;
use std::path::Path;

/// One value for every element of a table, by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The weights as the model computes with them.
    Weights,
    /// The f32 masters behind bf16 weights; the weights themselves where those are f32.
    Masters,
    /// AdamW's first moment.
    Moment1,
    /// AdamW's second moment.
    Moment2,
}

/// Host copies of a run's arenas.
pub struct Snapshot {
    table: ParamTable,
    /// Of the weights.
    dtype: DType,
    /// Of the moments.
    moments_dtype: DType,
    weights: Vec<u8>,
    /// Lower halves of the masters, with bf16 weights.
    remainder: Option<Vec<u8>>,
    moments: [Vec<u8>; 2],
    updates: u64,
}

impl Snapshot {
    /// Bytes that a snapshot of this trainer takes on the host.
    pub fn bytes(trainer: &Trainer) -> u64 {
        let arenas = trainer.moments().into_iter().chain(trainer.remainder()).chain([trainer.net().weights]);
        arenas.map(|arena| trainer.net().params.total_elements() * arena.dtype.bytes()).sum()
    }

    /// Room for a snapshot of this trainer.
    pub fn new(trainer: &Trainer) -> Snapshot {
        let net = trainer.net();
        let room = |arena: Flat| vec![0; (net.params.total_elements() * arena.dtype.bytes()) as usize];
        Snapshot {
            table: net.params.clone(),
            dtype: net.weights.dtype,
            moments_dtype: trainer.moments()[0].dtype,
            weights: room(net.weights),
            remainder: trainer.remainder().map(room),
            moments: trainer.moments().map(room),
            updates: trainer.updates(),
        }
    }

    /// Copies the state as it is after the last step asked for.
    pub fn take(&mut self, queue: &mut Queue, trainer: &Trainer) -> Result<(), QueueError> {
        let params = &trainer.net().params;
        queue.snapshot(whole(trainer.net().weights, params), &mut self.weights)?;
        if let (Some(arena), Some(into)) = (trainer.remainder(), &mut self.remainder) {
            queue.snapshot(whole(arena, params), into)?;
        }
        for (arena, into) in trainer.moments().into_iter().zip(&mut self.moments) {
            queue.snapshot(whole(arena, params), into)?;
        }
        self.updates = trainer.updates();
        Ok(())
    }

    /// The dtype of the weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Optimizer steps that lie behind the state.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The parameters that every section has a value for.
    pub fn table(&self) -> &ParamTable {
        &self.table
    }

    /// Elements `first ..` of a parameter, in arena order.
    pub fn read(&self, section: Section, param: Param, first: u64, into: &mut [f32]) {
        let start = (self.table.range(param).start + first) as usize;
        let elements = start..start + into.len();
        let widened = |bytes: &[u8], dtype: DType, into: &mut [f32]| {
            if dtype == DType::F32 {
                let bytes = &bytes[elements.start * 4..elements.end * 4];
                let values = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
                into.iter_mut().zip(values).for_each(|(to, from)| *to = from);
            } else {
                let values = halves(bytes, &elements).map(|b| bf16::from_le_bytes(*b).to_f32());
                into.iter_mut().zip(values).for_each(|(to, from)| *to = from);
            }
        };
        match (section, &self.remainder) {
            (Section::Moment1, _) => widened(&self.moments[0], self.moments_dtype, into),
            (Section::Moment2, _) => widened(&self.moments[1], self.moments_dtype, into),
            (Section::Masters, Some(rests)) => {
                let weights = halves(&self.weights, &elements).map(|b| bf16::from_le_bytes(*b));
                let rests = halves(rests, &elements).map(|b| i16::from_le_bytes(*b));
                let joined = weights.zip(rests).map(|(weight, rest)| master::join(weight, rest));
                into.iter_mut().zip(joined).for_each(|(to, from)| *to = from);
            }
            (Section::Weights | Section::Masters, _) => widened(&self.weights, self.dtype, into),
        }
    }
}

impl Trainer {
    /// Takes up a saved state: masters (or f32 weights), both moments, and the optimizer steps behind them. Moments of the
    /// trainer's own type come back to the bit; f32 ones that it holds in bf16 are rounded to the nearest, once. `see` gets
    /// every byte of the files in order.
    pub fn restore(
        &mut self,
        queue: &mut Queue,
        masters: &ParamFiles,
        moments: [&ParamFiles; 2],
        updates: u64,
        see: &mut dyn FnMut(&Path, &[u8]),
    ) -> Result<(), TransferError> {
        self.net().load_and_see(queue, masters, self.remainder(), see)?;
        for (arena, files) in self.moments().into_iter().zip(moments) {
            load(self.net(), queue, arena, files, see)?;
        }
        self.updates = updates;
        Ok(())
    }
}

impl Trainer {
    /// Reads elements `first ..` of a parameter of the state from the device, where there is no memory for a
    /// [`Snapshot`].
    pub fn read(
        &self,
        queue: &mut Queue,
        section: Section,
        param: Param,
        first: u64,
        into: &mut [f32],
    ) -> Result<(), QueueError> {
        let net = self.net();
        let arena = match section {
            Section::Weights | Section::Masters => net.weights,
            Section::Moment1 => self.moments()[0],
            Section::Moment2 => self.moments()[1],
        };
        net.read(queue, arena, param, first, into)?;
        if let (Section::Masters, Some(remainder)) = (section, self.remainder()) {
            let mut rests = vec![0i16; into.len()];
            let from = part(&net.params, remainder, param, first, into.len());
            queue.snapshot(from, bytemuck::cast_slice_mut(&mut rests))?;
            for (value, rest) in into.iter_mut().zip(rests) {
                // What was read is a bf16 widened: nothing is rounded.
                *value = master::join(bf16::from_f32(*value), rest);
            }
        }
        Ok(())
    }
}

/// Elements of two bytes of an arena.
fn halves<'a>(arena: &'a [u8], elements: &Range<usize>) -> std::slice::Iter<'a, [u8; 2]> {
    arena.as_chunks::<2>().0[elements.clone()].iter()
}

/// Fills an arena of moments from files.
fn load(
    net: &Net,
    queue: &mut Queue,
    arena: Flat,
    files: &ParamFiles,
    see: &mut dyn FnMut(&Path, &[u8]),
) -> Result<(), TransferError> {
    files.read_all(see, |param, first, values| -> Result<(), TransferError> {
        let to: View = part(&net.params, arena, param, first, values.len());
        if arena.dtype == DType::F32 {
            return Ok(queue.upload(to, bytemuck::cast_slice(values))?);
        }
        let rounded: Vec<bf16> = values.iter().map(|&value| bf16::from_f32(value)).collect();
        Ok(queue.upload(to, bytemuck::cast_slice(&rounded))?)
    })
}

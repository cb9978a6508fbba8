//! Weights between host and device: from files or a random start into the arena, and back out.

use crate::hf::ParamFiles;
use crate::net::{Net, part};
use crate::{Flat, ModelError, Param, init};
use half::bf16;
use octo_ops::{DType, Slot, master};
use octo_queue::{Queue, QueueError};
use std::path::Path;

/// Elements moved at once.
const PIECE: usize = 1 << 20;

/// Readback slot of weights.
const WEIGHTS: Slot = Slot(5);

/// Why weights did not arrive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Reading the files failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Net {
    /// Fills the weights, and the remainder where there is one, from a model's files.
    pub fn load(
        &self,
        queue: &mut Queue,
        files: &ParamFiles,
        remainder: Option<Flat>,
    ) -> Result<(), TransferError> {
        self.load_and_see(queue, files, remainder, &mut |_, _| ())
    }

    /// [`Net::load`], during which `see` gets every byte of the files in order.
    pub fn load_and_see(
        &self,
        queue: &mut Queue,
        files: &ParamFiles,
        remainder: Option<Flat>,
        see: &mut dyn FnMut(&Path, &[u8]),
    ) -> Result<(), TransferError> {
        files.read_all(see, |param, first, values| -> Result<(), TransferError> {
            Ok(self.fill(queue, param, first, values, remainder)?)
        })
    }

    /// Fills the weights with a random start, a pure function of the seed and each tensor's name.
    pub fn randomise(&self, queue: &mut Queue, seed: u64, remainder: Option<Flat>) -> Result<(), QueueError> {
        let mut values = Vec::new();
        for param in self.params.params() {
            let range = self.params.range(param);
            let mut first = 0;
            while first < range.end - range.start {
                values.resize(((range.end - range.start - first) as usize).min(PIECE), 0.0);
                init::fill(&self.config, &self.params, seed, param, first, &mut values);
                self.fill(queue, param, first, &values, remainder)?;
                first += values.len() as u64;
            }
        }
        Ok(())
    }

    /// Writes elements `first ..` of a parameter: with bf16 weights the value is rounded, and what rounding
    /// took goes to the remainder.
    fn fill(
        &self,
        queue: &mut Queue,
        param: Param,
        first: u64,
        values: &[f32],
        remainder: Option<Flat>,
    ) -> Result<(), QueueError> {
        if self.weights.dtype == DType::F32 {
            return queue.upload(
                part(&self.params, self.weights, param, first, values.len()),
                bytemuck::cast_slice(values),
            );
        }
        let (weights, rests): (Vec<bf16>, Vec<i16>) = values.iter().map(|&v| master::split(v)).unzip();
        queue.upload(
            part(&self.params, self.weights, param, first, values.len()),
            bytemuck::cast_slice(&weights),
        )?;
        match remainder {
            Some(arena) => queue
                .upload(part(&self.params, arena, param, first, values.len()), bytemuck::cast_slice(&rests)),
            None => Ok(()),
        }
    }

    /// Reads elements `first ..` of a parameter from an arena of weights or gradients, in arena order.
    pub fn read(
        &self,
        queue: &mut Queue,
        arena: Flat,
        param: Param,
        first: u64,
        into: &mut [f32],
    ) -> Result<(), QueueError> {
        queue.begin_readback(WEIGHTS, part(&self.params, arena, param, first, into.len()))?;
        if arena.dtype == DType::Bf16 {
            let mut halves = vec![bf16::ZERO; into.len()];
            queue.finish_readback(WEIGHTS, bytemuck::cast_slice_mut(&mut halves))?;
            into.iter_mut().zip(halves).for_each(|(to, half)| *to = half.to_f32());
            Ok(())
        } else {
            queue.finish_readback(WEIGHTS, bytemuck::cast_slice_mut(into))
        }
    }
}

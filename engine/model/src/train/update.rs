//! The ops of the optimizer.

use super::AdamWConfig;
use crate::Flat;
use crate::net::{Net, whole};
use octo_ops::{AdamW, GradNorm, Rounding, View};
use octo_queue::{Queue, QueueError};

/// Elements that one AdamW op updates at most: an axis has 32 bits.
const PIECE: u64 = 1 << 31;

/// The ops of the optimizer, in order.
pub(super) struct Update<'a> {
    pub(super) net: &'a Net,
    pub(super) optimizer: AdamWConfig,
    pub(super) gradients: Flat,
    pub(super) remainder: Option<Flat>,
    pub(super) moments: [Flat; 2],
    /// By which bf16 moments are rounded; `None` with f32 moments.
    pub(super) seed: Option<u64>,
    pub(super) step_block: View,
    pub(super) result: View,
}

impl Update<'_> {
    /// Norm, clip and AdamW over the decayed and undecayed ranges.
    pub(super) fn run(&self, q: &mut Queue) -> Result<(), QueueError> {
        let Update { optimizer, remainder, moments, .. } = self;
        let params = &self.net.params;
        let (step_block, result) = (self.step_block, self.result);
        q.run(GradNorm { grad: whole(self.gradients, params), step_block, result })?;
        let decayed = params.decayed_ranges().map(|range| (range, optimizer.weight_decay));
        let undecayed = params.undecayed_ranges().map(|range| (range, 0.0));
        let pieces = decayed.chain(undecayed).flat_map(|(range, weight_decay)| {
            let starts = range.clone().step_by(PIECE as usize);
            starts.map(move |start| (start..range.end.min(start + PIECE), weight_decay))
        });
        for (range, weight_decay) in pieces {
            let length = [(range.end - range.start) as u32];
            let part = |arena: Flat| {
                View::new(arena.buffer, range.start * arena.dtype.bytes(), arena.dtype, &length)
            };
            q.run(AdamW {
                weight: part(self.net.weights),
                remainder: remainder.map(part),
                grad: part(self.gradients),
                m: part(moments[0]),
                v: part(moments[1]),
                step_block,
                result,
                beta1: optimizer.beta1 as f32,
                beta2: optimizer.beta2 as f32,
                eps: optimizer.eps as f32,
                weight_decay: weight_decay as f32,
                rounding: self.seed.map(|seed| Rounding { seed, first: range.start }),
            })?;
        }
        Ok(())
    }
}

use crate::memory::Memory;
use bytemuck::Pod;
use half::bf16;
use octo_ops::{BackendError, DType, RandomFill};
use rayon::prelude::*;

/// Blocks of two elements a task makes.
const TASK: usize = 8 * 1024;

pub(super) fn run(op: &RandomFill, memory: &Memory) -> Result<(), BackendError> {
    match op.out.dtype {
        DType::Bf16 => fill(op, memory, bf16::from_f32),
        _ => fill::<f32>(op, memory, |v| v),
    }
    Ok(())
}

fn fill<T: Pod + Send>(op: &RandomFill, memory: &Memory, round: impl Fn(f32) -> T + Sync) {
    let pairs = memory.span_mut::<T>(&op.out).par_chunks_mut(2).enumerate().with_min_len(TASK);
    pairs.for_each(|(index, pair)| {
        for (to, from) in pair.iter_mut().zip(op.block(index as u32)) {
            *to = round(from);
        }
    });
}

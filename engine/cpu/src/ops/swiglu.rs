use crate::math;
use crate::memory::Memory;
use crate::reduce::ROW_TASK;
use octo_ops::{BackendError, Swiglu};
use rayon::prelude::*;

pub(super) fn run(op: &Swiglu, memory: &Memory) -> Result<(), BackendError> {
    let ffn = op.product.row_elements();
    let (gate_up, from): (&[f32], usize) = (memory.span(&op.gate_up), op.gate_up.row_stride());
    let rows = memory.span_mut::<f32>(&op.product).par_chunks_mut(ffn).with_min_len(ROW_TASK);
    rows.zip(gate_up.par_chunks(from))
        .for_each(|(product, gate_up)| math::swiglu(&gate_up[..2 * ffn], product));
    Ok(())
}

use crate::math;
use crate::memory::Memory;
use crate::reduce::ROW_TASK;
use octo_ops::{BackendError, SwigluBackward};
use rayon::prelude::*;

pub(super) fn run(op: &SwigluBackward, memory: &Memory) -> Result<(), BackendError> {
    let ffn = op.dproduct.row_elements();
    let (dproduct, stride): (&[f32], usize) = (memory.span(&op.dproduct), op.dproduct.row_stride());
    let rows = memory.span_mut::<f32>(&op.gate_up).par_chunks_mut(2 * ffn).with_min_len(ROW_TASK);
    rows.zip(dproduct.par_chunks(stride))
        .for_each(|(gate_up, dproduct)| math::swiglu_backward(&dproduct[..ffn], gate_up));
    Ok(())
}

use crate::math;
use crate::memory::Memory;
use crate::reduce::ROW_TASK;
use octo_ops::{BackendError, SwigluBackward};
use rayon::prelude::*;

pub(super) fn run(op: &SwigluBackward, memory: &Memory) -> Result<(), BackendError> {
    let ffn = op.dproduct.row_elements();
    let dproduct: &[f32] = memory.span(&op.dproduct);
    let rows = memory.span_mut::<f32>(&op.gate_up).par_chunks_mut(2 * ffn).with_min_len(ROW_TASK);
    rows.zip(dproduct.par_chunks(ffn))
        .for_each(|(gate_up, dproduct)| math::swiglu_backward(dproduct, gate_up));
    Ok(())
}

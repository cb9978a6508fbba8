use super::check_indices;
use crate::memory::Memory;
use crate::reduce::ROW_TASK;
use half::{bf16, slice::HalfFloatSliceExt};
use octo_ops::{BackendError, DType, Embed};
use rayon::prelude::*;

pub(super) fn run(op: &Embed, memory: &Memory) -> Result<(), BackendError> {
    let ids: &[u32] = memory.span(&op.ids);
    check_indices(Embed::NAME, "token id", ids, op.weight.rows())?;
    let hidden = op.weight.row_elements();
    let out = memory.span_mut::<f32>(&op.out).par_chunks_mut(hidden).with_min_len(ROW_TASK);
    match op.weight.dtype {
        DType::Bf16 => {
            let weight: &[bf16] = memory.span(&op.weight);
            out.zip(ids).for_each(|(to, &id)| {
                weight[id as usize * hidden..][..hidden].convert_to_f32_slice(to);
            });
        }
        _ => {
            let weight: &[f32] = memory.span(&op.weight);
            out.zip(ids).for_each(|(to, &id)| to.copy_from_slice(&weight[id as usize * hidden..][..hidden]));
        }
    }
    Ok(())
}

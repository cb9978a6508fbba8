use super::check_indices;
use crate::memory::Memory;
use octo_ops::{BackendError, EmbedBackward};
use rayon::prelude::*;

/// Vocabulary rows a task owns: it walks all ids and adds the rows that are its own, in ascending order.
const OWNED: usize = 1024;

pub(super) fn run(op: &EmbedBackward, memory: &Memory) -> Result<(), BackendError> {
    let ids: &[u32] = memory.span(&op.ids);
    check_indices(EmbedBackward::NAME, "token id", ids, op.dweight.rows())?;
    let hidden = op.dx.row_elements();
    let dx: &[f32] = memory.span(&op.dx);
    let dweight = memory.span_mut::<f32>(&op.dweight);
    dweight.par_chunks_mut(OWNED * hidden).enumerate().for_each(|(task, owned)| {
        if !op.accumulate {
            owned.fill(0.0);
        }
        let first = task * OWNED;
        for (row, &id) in ids.iter().enumerate() {
            if (first..first + OWNED).contains(&(id as usize)) {
                let to = &mut owned[(id as usize - first) * hidden..][..hidden];
                to.iter_mut().zip(&dx[row * hidden..]).for_each(|(t, &d)| *t += d);
            }
        }
    });
    Ok(())
}

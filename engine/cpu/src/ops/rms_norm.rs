use crate::memory::Memory;
use crate::reduce::{ROW_TASK, sum_by};
use octo_ops::{BackendError, RmsNorm};
use rayon::prelude::*;

pub(super) fn run(op: &RmsNorm, memory: &Memory) -> Result<(), BackendError> {
    let hidden = op.x.row_elements();
    let x: &[f32] = memory.span(&op.x);
    let weight = memory.vector(&op.weight);
    let y = memory.span_mut::<f32>(&op.y).par_chunks_mut(hidden).with_min_len(ROW_TASK);
    let rstd = memory.span_mut::<f32>(&op.rstd).par_iter_mut();
    y.zip(rstd).zip(x.par_chunks(hidden)).for_each(|((y, rstd), x)| {
        let r = 1.0 / (sum_by(x, |v| v * v) / hidden as f32 + op.eps).sqrt();
        for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight.iter()) {
            *y = x * r * w;
        }
        *rstd = r;
    });
    Ok(())
}

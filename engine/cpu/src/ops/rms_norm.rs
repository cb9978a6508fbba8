use crate::memory::Memory;
use crate::reduce::{ROW_TASK, sum_by};
use octo_ops::{BackendError, RmsNorm};
use rayon::prelude::*;

pub(super) fn run(op: &RmsNorm, memory: &Memory) -> Result<(), BackendError> {
    let x: &[f32] = memory.span(&op.x);
    let (Some(residual), Some(sum)) = (&op.residual, &op.sum) else {
        normalize(op, memory, x);
        return Ok(());
    };
    let (residual, sum): (&[f32], &mut [f32]) = (memory.span(residual), memory.span_mut(sum));
    let rows = op.x.row_elements().max(1) * ROW_TASK;
    sum.par_chunks_mut(rows).zip(x.par_chunks(rows)).zip(residual.par_chunks(rows)).for_each(
        |((sum, x), residual)| {
            for ((s, &x), &r) in sum.iter_mut().zip(x).zip(residual) {
                *s = x + r;
            }
        },
    );
    normalize(op, memory, sum);
    Ok(())
}

fn normalize(op: &RmsNorm, memory: &Memory, x: &[f32]) {
    let hidden = op.x.row_elements();
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
}

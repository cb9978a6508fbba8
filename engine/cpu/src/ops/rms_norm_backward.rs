use crate::memory::Memory;
use crate::reduce::{ROW_TASK, column_sums, sum_pairs_by};
use octo_ops::{BackendError, RmsNormBackward};
use rayon::prelude::*;

pub(super) fn run(op: &RmsNormBackward, memory: &Memory) -> Result<(), BackendError> {
    let hidden = op.x.row_elements();
    let (dy, x): (&[f32], &[f32]) = (memory.span(&op.dy), memory.span(&op.x));
    let weight = memory.vector(&op.weight);
    let rstd: &[f32] = memory.span(&op.rstd);
    let dx = memory.span_mut::<f32>(&op.dx).par_chunks_mut(hidden).with_min_len(ROW_TASK);
    dx.enumerate().for_each_init(
        || vec![0.0f32; hidden],
        |scaled, (row, dx)| {
            let (dy, x, r) = (&dy[row * hidden..][..hidden], &x[row * hidden..][..hidden], rstd[row]);
            for ((s, &d), &w) in scaled.iter_mut().zip(dy).zip(weight.iter()) {
                *s = d * w;
            }
            let mean = sum_pairs_by(scaled, x, |s, x| s * x) * r / hidden as f32;
            for ((dx, &s), &x) in dx.iter_mut().zip(scaled.iter()).zip(x) {
                let fresh = r * (s - x * r * mean);
                *dx = if op.accumulate_dx { *dx + fresh } else { fresh };
            }
        },
    );
    column_sums(op.x.rows(), memory.span_mut(&op.dweight), op.accumulate, |row, partial| {
        let (dy, x, r) = (&dy[row * hidden..][..hidden], &x[row * hidden..][..hidden], rstd[row]);
        for ((p, &d), &x) in partial.iter_mut().zip(dy).zip(x) {
            *p += d * (x * r);
        }
    });
    Ok(())
}

use crate::memory::Memory;
use crate::reduce::column_sums;
use octo_ops::{BackendError, BiasBackward};

pub(super) fn run(op: &BiasBackward, memory: &Memory) -> Result<(), BackendError> {
    let (dy, stride): (&[f32], usize) = (memory.span(&op.dy), op.dy.row_stride());
    column_sums(op.dy.rows(), memory.span_mut(&op.dbias), op.accumulate, |row, partial| {
        partial.iter_mut().zip(&dy[row * stride..]).for_each(|(p, &d)| *p += d);
    });
    Ok(())
}

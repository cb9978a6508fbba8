use crate::matmul::{self, Tile};
use crate::memory::Memory;
use octo_ops::{BackendError, LinearResidual};

pub(super) fn run(op: &LinearResidual, memory: &Memory) -> Result<(), BackendError> {
    let (residual, stride): (&[f32], usize) = (memory.span(&op.residual), op.residual.row_stride());
    let out = memory.matrix_mut(&op.out);
    matmul::forward(memory.matrix(&op.x), memory.weight(&op.weight), 1, &|tile: Tile<'_>| {
        for i in 0..tile.rows {
            let (row, sums) = (tile.row0 + i, &tile.data[i * tile.stride..][..tile.cols]);
            // SAFETY: tiles share no element.
            let to = unsafe { out.row_segment(row, tile.col0, tile.cols) };
            let residual = &residual[row * stride + tile.col0..][..tile.cols];
            for ((to, &r), &x) in to.iter_mut().zip(residual).zip(sums) {
                *to = r + x;
            }
        }
    });
    Ok(())
}

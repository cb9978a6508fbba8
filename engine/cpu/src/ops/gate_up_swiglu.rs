use crate::math;
use crate::matmul::{self, Tile};
use crate::memory::Memory;
use octo_ops::{BackendError, GateUpSwiglu, INTERLEAVE};

pub(super) fn run(op: &GateUpSwiglu, memory: &Memory) -> Result<(), BackendError> {
    let product = memory.matrix_mut(&op.product);
    let gate_up = op.gate_up.map(|view| memory.matrix_mut(&view));
    let pair = 2 * INTERLEAVE;
    matmul::forward(memory.matrix(&op.x), memory.weight(&op.weight), pair, &|tile: Tile<'_>| {
        for i in 0..tile.rows {
            let (row, sums) = (tile.row0 + i, &tile.data[i * tile.stride..][..tile.cols]);
            // SAFETY: tiles share no element, and neither do their halves.
            let to = unsafe { product.row_segment(row, tile.col0 / 2, tile.cols / 2) };
            math::swiglu(sums, to);
            if let Some(gate_up) = &gate_up {
                // SAFETY: as above.
                unsafe { gate_up.row_segment(row, tile.col0, tile.cols) }.copy_from_slice(sums);
            }
        }
    });
    Ok(())
}

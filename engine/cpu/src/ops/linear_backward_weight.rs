use crate::matmul;
use crate::memory::Memory;
use octo_ops::{BackendError, LinearBackwardWeight};

pub(super) fn run(op: &LinearBackwardWeight, memory: &Memory) -> Result<(), BackendError> {
    let (dy, x) = (memory.matrix(&op.dy), memory.matrix(&op.x));
    matmul::weight_gradient(dy, x, &mut memory.matrix_mut(&op.dweight), op.accumulate);
    Ok(())
}

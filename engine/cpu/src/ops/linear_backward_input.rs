use crate::matmul;
use crate::memory::Memory;
use octo_ops::{BackendError, LinearBackwardInput};

pub(super) fn run(op: &LinearBackwardInput, memory: &Memory) -> Result<(), BackendError> {
    matmul::input_gradient(
        memory.matrix(&op.dy),
        memory.weight(&op.weight),
        &mut memory.matrix_mut(&op.dx),
        false,
    );
    Ok(())
}

use super::check_indices;
use crate::memory::Memory;
use crate::reduce::ROW_TASK;
use octo_ops::{BackendError, RopeBackward};
use rayon::prelude::*;

/// Rotates one head: element d pairs with d + half. `sign` is 1 forward, −1 back.
pub(super) fn rotate(head: &mut [f32], cos_sin: &[f32], sign: f32) {
    let half = head.len() / 2;
    let (low, high) = head.split_at_mut(half);
    let (cos, sin) = cos_sin.split_at(half);
    for (((a, b), &c), &s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let s = s * sign;
        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
    }
}

pub(super) fn run(op: &RopeBackward, memory: &Memory) -> Result<(), BackendError> {
    let head_dim = op.rope.row_elements();
    let rope: &[f32] = memory.span(&op.rope);
    let positions: &[u32] = memory.span(&op.positions);
    check_indices(RopeBackward::NAME, "position", positions, op.rope.rows())?;
    let dqk = memory.matrix_mut(&op.dqk);
    positions.par_iter().enumerate().with_min_len(ROW_TASK).for_each(|(row, &position)| {
        let cos_sin = &rope[position as usize * head_dim..][..head_dim];
        // SAFETY: each row is visited once.
        let row = unsafe { dqk.row_segment(row, 0, dqk.cols()) };
        row.chunks_exact_mut(head_dim).for_each(|head| rotate(head, cos_sin, -1.0));
    });
    Ok(())
}

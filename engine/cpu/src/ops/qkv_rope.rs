use super::check_indices;
use super::rope_backward::rotate;
use crate::MatrixMut;
use crate::matmul::{self, Tile};
use crate::memory::Memory;
use octo_ops::{BackendError, PAGE_TOKENS, QkvRope};

/// Where keys or values go.
enum Target<'a> {
    /// \[tokens, kv_heads·head_dim\].
    Rows(MatrixMut<'a>),
    /// Pages, and the slot of each row.
    Pages(MatrixMut<'a>, &'a [u32]),
}

impl Target<'_> {
    /// The place of one head of one row.
    ///
    /// # Safety
    /// Each head of each row is asked for once; slots are distinct.
    #[allow(clippy::mut_from_ref, reason = "the caller's promise")]
    unsafe fn head(&self, row: usize, head: usize, head_dim: usize) -> &mut [f32] {
        let page = PAGE_TOKENS as usize;
        match self {
            // SAFETY: the caller's promise.
            Target::Rows(rows) => unsafe { rows.row_segment(row, head * head_dim, head_dim) },
            Target::Pages(pages, slots) => {
                let slot = slots[row] as usize;
                // SAFETY: the caller's promise.
                unsafe { pages.row_segment(slot / page, (head * page + slot % page) * head_dim, head_dim) }
            }
        }
    }
}

pub(super) fn run(op: &QkvRope, memory: &Memory) -> Result<(), BackendError> {
    let (heads, kv_heads) = op.heads();
    let head_dim = op.head_dim();
    let rope: &[f32] = memory.span(&op.rope);
    let positions: &[u32] = memory.span(&op.positions);
    check_indices(QkvRope::NAME, "position", positions, op.rope.rows())?;
    let slots: Option<&[u32]> = op.slots.as_ref().map(|view| memory.span(view));
    if let Some(slots) = slots {
        check_slots(slots, op.k.rows() * PAGE_TOKENS as usize)?;
    }
    let bias = op.bias.as_ref().map(|view| memory.vector(view));
    let q = Target::Rows(memory.matrix_mut(&op.q));
    let [k, v] = [&op.k, &op.v].map(|view| match slots {
        None => Target::Rows(memory.matrix_mut(view)),
        Some(slots) => Target::Pages(memory.matrix_mut(view), slots),
    });
    matmul::forward(memory.matrix(&op.x), memory.weight(&op.weight), head_dim, &|tile: Tile<'_>| {
        for i in 0..tile.rows {
            let row = tile.row0 + i;
            let cos_sin = &rope[positions[row] as usize * head_dim..][..head_dim];
            let sums = &mut tile.data[i * tile.stride..][..tile.cols];
            if let Some(bias) = &bias {
                sums.iter_mut().zip(&bias[tile.col0..]).for_each(|(x, &b)| *x += b);
            }
            for (j, from) in sums.chunks_exact_mut(head_dim).enumerate() {
                let head = tile.col0 / head_dim + j;
                if head < heads + kv_heads {
                    rotate(from, cos_sin, 1.0);
                }
                let (target, head) = match head {
                    h if h < heads => (&q, h),
                    h if h < heads + kv_heads => (&k, h - heads),
                    h => (&v, h - heads - kv_heads),
                };
                // SAFETY: tiles share no element, and slots are distinct.
                unsafe { target.head(row, head, head_dim) }.copy_from_slice(from);
            }
        }
    });
    Ok(())
}

/// Slots must lie in the pages and be distinct: two rows on one slot would race.
fn check_slots(slots: &[u32], bound: usize) -> Result<(), BackendError> {
    check_indices(QkvRope::NAME, "slot", slots, bound)?;
    let mut sorted = slots.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|w| w[0] == w[1]) {
        None => Ok(()),
        Some(w) => {
            Err(BackendError::Data { op: QkvRope::NAME, what: format!("two rows go to slot {}", w[0]) })
        }
    }
}

use super::{check_cu_seqlens, check_indices};
use crate::attention::{Heads, KeySource, Paged, forward};
use crate::memory::Memory;
use octo_ops::{Attention, BackendError, PAGE_TOKENS};

pub(super) fn run(op: &Attention, memory: &Memory) -> Result<(), BackendError> {
    let cu_seqlens: &[u32] = memory.span(&op.cu_seqlens);
    check_cu_seqlens(Attention::NAME, cu_seqlens, op.q.rows())?;
    let (heads, kv_heads) = op.heads();
    let heads = Heads { heads, kv_heads, head_dim: op.head_dim as usize, scale: op.scale };
    let (k, v) = (memory.matrix(&op.k), memory.matrix(&op.v));
    let positions: Option<&[u32]> = op.positions.as_ref().map(|view| memory.span(view));
    let keys = match (&op.page_table, positions) {
        (Some(view), Some(positions)) => {
            let (table, width): (&[u32], usize) = (memory.span(view), view.row_elements());
            check_indices(Attention::NAME, "page", table, k.rows())?;
            check_indices(Attention::NAME, "position", positions, width * PAGE_TOKENS as usize)?;
            let paged = Paged { table, width };
            (KeySource::Paged(k, paged), KeySource::Paged(v, paged))
        }
        _ => (KeySource::Packed(k), KeySource::Packed(v)),
    };
    let (out, lse) = (memory.matrix_mut(&op.out), memory.matrix_mut(&op.lse));
    forward(heads, memory.matrix(&op.q), keys, cu_seqlens, positions, &out, &lse);
    Ok(())
}

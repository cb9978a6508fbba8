use super::check_cu_seqlens;
use crate::attention::{Gradients, Heads, backward};
use crate::memory::Memory;
use octo_ops::{AttentionBackward, BackendError};

pub(super) fn run(op: &AttentionBackward, memory: &Memory) -> Result<(), BackendError> {
    let cu_seqlens: &[u32] = memory.span(&op.cu_seqlens);
    check_cu_seqlens(AttentionBackward::NAME, cu_seqlens, op.q.rows())?;
    let (heads, kv_heads) = op.heads();
    let heads = Heads { heads, kv_heads, head_dim: op.head_dim as usize, scale: op.scale };
    let gradients = Gradients {
        q: memory.matrix(&op.q),
        k: memory.matrix(&op.k),
        v: memory.matrix(&op.v),
        out: memory.matrix(&op.out),
        lse: memory.matrix(&op.lse),
        dout: memory.matrix(&op.dout),
        dq: memory.matrix_mut(&op.dq),
        dk: memory.matrix_mut(&op.dk),
        dv: memory.matrix_mut(&op.dv),
    };
    backward(heads, &gradients, cu_seqlens);
    Ok(())
}

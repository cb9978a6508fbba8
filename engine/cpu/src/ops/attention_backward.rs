use crate::math::exp;
use crate::memory::Memory;
use octo_ops::{AttentionBackward, BackendError};

pub(super) fn run(op: &AttentionBackward, memory: &Memory) -> Result<(), BackendError> {
    let cu: &[u32] = memory.span(&op.cu_seqlens);
    let (heads, kv_heads) = op.heads();
    let d = op.head_dim as usize;
    let m = |v| memory.matrix(v);
    let (q, k, v, out, dout, lse) = (m(&op.q), m(&op.k), m(&op.v), m(&op.out), m(&op.dout), m(&op.lse));
    let (dq, dk, dv) = (memory.matrix_mut(&op.dq), memory.matrix_mut(&op.dk), memory.matrix_mut(&op.dv));
    for r in 0..q.rows() {
        unsafe { dq.row_segment(r, 0, dq.cols()) }.fill(0.0);
        unsafe { dk.row_segment(r, 0, dk.cols()) }.fill(0.0);
        unsafe { dv.row_segment(r, 0, dv.cols()) }.fill(0.0);
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0, |s, (x, y)| s + x * y);
    for w in cu.windows(2) {
        for row in w[0] as usize..w[1] as usize {
            for h in 0..heads {
                let kvh = h / (heads / kv_heads);
                let (qr, dor) = (&q.row(row)[h * d..][..d], &dout.row(row)[h * d..][..d]);
                let delta = dot(dor, &out.row(row)[h * d..][..d]);
                for key in w[0] as usize..=row {
                    let (kr, vr) = (&k.row(key)[kvh * d..][..d], &v.row(key)[kvh * d..][..d]);
                    let p = exp(dot(qr, kr) * op.scale - lse.row(row)[h]);
                    let ds = p * (dot(dor, vr) - delta) * op.scale;
                    let a = unsafe { dq.row_segment(row, h * d, d) };
                    a.iter_mut().zip(kr).for_each(|(t, &x)| *t += ds * x);
                    let a = unsafe { dk.row_segment(key, kvh * d, d) };
                    a.iter_mut().zip(qr).for_each(|(t, &x)| *t += ds * x);
                    let a = unsafe { dv.row_segment(key, kvh * d, d) };
                    a.iter_mut().zip(dor).for_each(|(t, &x)| *t += p * x);
                }
            }
        }
    }
    Ok(())
}

use super::check_cu_seqlens;
use crate::math::exp;
use crate::memory::Memory;
use octo_ops::{Attention, BackendError, PAGE_TOKENS};
use rayon::prelude::*;

pub(super) fn run(op: &Attention, memory: &Memory) -> Result<(), BackendError> {
    let cu: &[u32] = memory.span(&op.cu_seqlens);
    check_cu_seqlens(Attention::NAME, cu, op.q.rows())?;
    let (heads, kv_heads) = op.heads();
    let d = op.head_dim as usize;
    let (q, k, v) = (memory.matrix(&op.q), memory.matrix(&op.k), memory.matrix(&op.v));
    let out = memory.matrix_mut(&op.out);
    let lse = memory.matrix_mut(&op.lse);
    let positions: Option<&[u32]> = op.positions.as_ref().map(|p| memory.span(p));
    let table: Option<&[u32]> = op.page_table.as_ref().map(|p| memory.span(p));
    let width = op.page_table.map_or(0, |t| t.row_elements());
    let docs: Vec<usize> =
        (0..cu.len() - 1).flat_map(|doc| (cu[doc]..cu[doc + 1]).map(move |_| doc)).collect();
    (0..q.rows()).into_par_iter().for_each(|row| {
        let doc = docs[row];
        let start = cu[doc] as usize;
        let pos = positions.map_or(row - start, |p| p[row] as usize);
        for h in 0..heads {
            let kvh = h / (heads / kv_heads);
            let at = |m: &crate::Matrix<'_>, key: usize| -> Vec<f32> {
                match table {
                    None => m.row(start + key)[kvh * d..][..d].to_vec(),
                    Some(t) => {
                        let page = t[doc * width + key / PAGE_TOKENS as usize] as usize;
                        m.row(page)[(kvh * PAGE_TOKENS as usize + key % PAGE_TOKENS as usize) * d..][..d]
                            .to_vec()
                    }
                }
            };
            let query = &q.row(row)[h * d..][..d];
            let scores: Vec<f32> = (0..=pos)
                .map(|key| {
                    query.iter().zip(at(&k, key)).fold(0.0, |a: f32, (&x, y)| x.mul_add(y, a)) * op.scale
                })
                .collect();
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let to = unsafe { out.row_segment(row, h * d, d) };
            to.fill(0.0);
            let mut sum = 0.0;
            for (key, s) in scores.iter().enumerate() {
                let p = exp(s - max);
                sum += p;
                to.iter_mut().zip(at(&v, key)).for_each(|(o, v)| *o = p.mul_add(v, *o));
            }
            to.iter_mut().for_each(|o| *o /= sum);
            (unsafe { lse.row_segment(row, h, 1) })[0] = max + sum.ln();
        }
    });
    Ok(())
}

use super::attention::documents;
use crate::error::Check;
use crate::real::{dot, dots};
use crate::*;

impl AttentionBackward {
    /// Query heads and key-value heads.
    pub fn heads(&self) -> (usize, usize) {
        let head_dim = self.head_dim.max(1) as usize;
        (self.q.row_elements() / head_dim, self.k.row_elements() / head_dim)
    }
}

impl Spec for AttentionBackward {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(AttentionBackward::NAME);
        let tokens = self.q.shape()[0];
        let (heads, kv_heads) = self.heads();
        let (d, wide) = (self.head_dim, self.head_dim as usize);
        check.relation(d > 0 && d.is_multiple_of(8) && d <= 256, || {
            format!("head_dim {d} is not a multiple of 8 up to 256")
        })?;
        check.relation(kv_heads > 0 && heads % kv_heads == 0, || {
            format!("`q` has {heads} heads, not a multiple of the {kv_heads} of `k`")
        })?;
        for (name, view) in [("q", &self.q), ("out", &self.out), ("dout", &self.dout), ("dq", &self.dq)] {
            check.activation(name, view, &[tokens, times(heads, wide)])?;
        }
        for (name, view) in [("k", &self.k), ("v", &self.v), ("dk", &self.dk), ("dv", &self.dv)] {
            check.activation(name, view, &[tokens, times(kv_heads, wide)])?;
        }
        check.tensor("cu_seqlens", &self.cu_seqlens, DType::U32, &[ANY])?;
        check.tensor("lse", &self.lse, DType::F32, &[tokens, times(heads, 1)])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (heads, kv_heads) = self.heads();
        let d = self.head_dim as usize;
        let scale = R::of(self.scale.into());
        let load = |view| memory.load(view);
        let (q, k, v) = (load(&self.q), load(&self.k), load(&self.v));
        let (out, lse, dout) = (load(&self.out), load(&self.lse), load(&self.dout));
        let (mut dq, mut dk, mut dv) =
            (vec![R::of(0.0); q.len()], vec![R::of(0.0); k.len()], vec![R::of(0.0); v.len()]);
        for rows in documents(memory, &self.cu_seqlens) {
            for row in rows.clone() {
                for head in 0..heads {
                    let query = (row * heads + head) * d;
                    let delta = dot(&dout[query..][..d], &out[query..][..d]);
                    let at = |key_row: usize| (key_row * kv_heads + head / (heads / kv_heads)) * d;
                    let keys = || (rows.start..=row).map(at);
                    let scores = dots(&q[query..][..d], keys().map(|key| &k[key..][..d]));
                    let dps = dots(&dout[query..][..d], keys().map(|key| &v[key..][..d]));
                    for (key, (score, dp)) in keys().zip(scores.into_iter().zip(dps)) {
                        let p = (score * scale - lse[row * heads + head]).exp();
                        // What multiplies rows is rounded where activations are.
                        let ds = memory.rounded(p * (dp - delta), self.q.dtype);
                        let p = memory.rounded(p, self.q.dtype);
                        for i in 0..d {
                            dq[query + i] += ds * k[key + i];
                            dk[key + i] += ds * q[query + i];
                            dv[key + i] += p * dout[query + i];
                        }
                    }
                }
            }
        }
        dq.iter_mut().chain(&mut dk).for_each(|sum| *sum = *sum * scale);
        memory.store(&self.dq, &dq);
        memory.store(&self.dk, &dk);
        memory.store(&self.dv, &dv);
    }

    fn flops(&self) -> u64 {
        let tokens = self.q.rows();
        product(&[5, tokens, tokens + 1, self.q.row_elements()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let layouts: [&[u32]; 3] = [&[0, 1], &[0, 5, 5, 17], &[0, 64, 65, 200, 200]];
        for bounds in layouts {
            for heads in [[2, 1, 8], [4, 2, 64]] {
                cases.push(case(CaseBuilder::new(), DType::F32, bounds, heads));
            }
            for heads in [[2, 1, 16], [4, 2, 64], [3, 1, 128]] {
                cases.push(case(CaseBuilder::new(), DType::Bf16, bounds, heads));
            }
        }
        // Heads that fill no kernel's width, and the widest; then keys of several tiles.
        for heads in [[2, 2, 48], [3, 1, 80], [2, 1, 144], [1, 1, 256]] {
            cases.push(case(CaseBuilder::new(), DType::Bf16, &[0, 3, 70], heads));
        }
        cases.push(case(CaseBuilder::new(), DType::Bf16, &[0, 300], [1, 1, 16]));
        cases
    }
}

/// Gradients go into column slices of one fused buffer, as the model does. `out` and `lse` are those of
/// the forward, so that the recomputed probabilities are probabilities.
pub(crate) fn case(
    mut c: CaseBuilder,
    dtype: DType,
    bounds: &[u32],
    [heads, kv_heads, head_dim]: [u32; 3],
) -> Case {
    let tokens = bounds[bounds.len() - 1];
    let (wide, narrow) = (heads * head_dim, kv_heads * head_dim);
    let (q, k, v) = (
        c.normal(dtype, &[tokens, wide], 1.5),
        c.normal(dtype, &[tokens, narrow], 1.5),
        c.normal(dtype, &[tokens, narrow], 1.0),
    );
    let cu_seqlens = c.values(DType::U32, &[bounds.len() as u32], bounds.iter().map(|&b| f64::from(b)));
    let (out, lse) = (c.output(dtype, &[tokens, wide]), c.output(DType::F32, &[tokens, heads]));
    let scale = 1.0 / (head_dim as f32).sqrt();
    let forward =
        Attention { q, k, v, cu_seqlens, positions: None, page_table: None, out, lse, head_dim, scale };
    c.run(&forward.into());
    let dout = c.normal(dtype, &[tokens, wide], 1.0);
    let fused = c.output(dtype, &[tokens, wide + 2 * narrow]);
    let op = AttentionBackward {
        q,
        k,
        v,
        out,
        lse,
        dout,
        cu_seqlens,
        dq: fused.slice_columns(0, wide),
        dk: fused.slice_columns(wide, narrow),
        dv: fused.slice_columns(wide + narrow, narrow),
        head_dim,
        scale,
    };
    c.finish(format!("{dtype}/{tokens}rows-{}docs-hd{head_dim}", bounds.len() - 1), op)
}

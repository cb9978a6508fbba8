use super::attention::documents;
use crate::error::Check;
use crate::real::dot;
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
        let d = self.head_dim;
        check.relation(d > 0 && d.is_multiple_of(8) && d <= 256, || {
            format!("head_dim {d} is not a multiple of 8 up to 256")
        })?;
        check.relation(kv_heads > 0 && heads % kv_heads == 0, || {
            format!("{heads} query heads are not a multiple of {kv_heads} key-value heads")
        })?;
        for (name, view) in [("q", &self.q), ("out", &self.out), ("dout", &self.dout), ("dq", &self.dq)] {
            check.activation(name, view, &[tokens, heads as u32 * d])?;
        }
        for (name, view) in [("k", &self.k), ("v", &self.v), ("dk", &self.dk), ("dv", &self.dv)] {
            check.activation(name, view, &[tokens, kv_heads as u32 * d])?;
        }
        check.tensor("cu_seqlens", &self.cu_seqlens, DType::U32, &[ANY])?;
        check.tensor("lse", &self.lse, DType::F32, &[tokens, heads as u32])
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
                    for key_row in rows.start..=row {
                        let key = (key_row * kv_heads + head / (heads / kv_heads)) * d;
                        let score = dot(&q[query..][..d], &k[key..][..d]) * scale;
                        let p = (score - lse[row * heads + head]).exp();
                        let dp = dot(&dout[query..][..d], &v[key..][..d]);
                        let ds = p * (dp - delta) * scale;
                        for i in 0..d {
                            dq[query + i] += ds * k[key + i];
                            dk[key + i] += ds * q[query + i];
                            dv[key + i] += p * dout[query + i];
                        }
                    }
                }
            }
        }
        memory.store(&self.dq, &dq);
        memory.store(&self.dk, &dk);
        memory.store(&self.dv, &dv);
    }

    fn flops(&self) -> u64 {
        let tokens = self.q.rows() as u64;
        5 * tokens * (tokens + 1) * self.q.row_elements() as u64
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let layouts: [&[u32]; 3] = [&[0, 1], &[0, 5, 5, 17], &[0, 64, 65, 200, 200]];
        for bounds in layouts {
            for (heads, kv_heads, head_dim) in [(2u32, 1u32, 8u32), (4, 2, 64)] {
                cases.push(case(bounds, heads, kv_heads, head_dim));
            }
        }
        cases
    }
}

/// Gradients go into column slices of one fused buffer, as the model does. `out` and `lse` are those of
/// the forward, so that the recomputed probabilities are probabilities.
fn case(bounds: &[u32], heads: u32, kv_heads: u32, head_dim: u32) -> Case {
    let mut c = CaseBuilder::new();
    let tokens = bounds[bounds.len() - 1];
    let (wide, narrow) = (heads * head_dim, kv_heads * head_dim);
    let (q, k, v) = (
        c.normal(DType::F32, &[tokens, wide], 1.5),
        c.normal(DType::F32, &[tokens, narrow], 1.5),
        c.normal(DType::F32, &[tokens, narrow], 1.0),
    );
    let cu_seqlens = c.values(DType::U32, &[bounds.len() as u32], bounds.iter().map(|&b| f64::from(b)));
    let (out, lse) = (c.output(DType::F32, &[tokens, wide]), c.output(DType::F32, &[tokens, heads]));
    let scale = 1.0 / (head_dim as f32).sqrt();
    let forward =
        Attention { q, k, v, cu_seqlens, positions: None, page_table: None, out, lse, head_dim, scale };
    c.run(&forward.into());
    let dout = c.normal(DType::F32, &[tokens, wide], 1.0);
    let fused = c.output(DType::F32, &[tokens, wide + 2 * narrow]);
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
    c.finish(format!("f32/{tokens}rows-{}docs-hd{head_dim}", bounds.len() - 1), op)
}

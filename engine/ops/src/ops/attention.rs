use crate::error::Check;
use crate::real::dots;
use crate::*;

/// Keys of a block and of a segment in the canonical order (`docs/numerics.md`): against whose maxima the probabilities
/// are rounded where activations are bf16.
const KEYS: usize = 128;
const SEGMENT: usize = 1024;

/// The rows of each document, empty ones included.
pub(crate) fn documents<R: Real>(memory: &HostMemory<R>, cu_seqlens: &View) -> Vec<std::ops::Range<usize>> {
    let bounds = memory.indices(cu_seqlens);
    bounds.windows(2).map(|w| w[0] as usize..w[1] as usize).collect()
}

impl Attention {
    /// Query heads and key-value heads.
    pub fn heads(&self) -> (usize, usize) {
        let head_dim = self.head_dim.max(1) as usize;
        let kv_heads = if self.page_table.is_some() {
            self.k.shape().get(1).map_or(0, |&n| n as usize)
        } else {
            self.k.row_elements() / head_dim
        };
        (self.q.row_elements() / head_dim, kv_heads)
    }
}

impl Spec for Attention {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(Attention::NAME);
        let tokens = self.q.shape()[0];
        let (heads, kv_heads) = self.heads();
        let (d, wide) = (self.head_dim, self.head_dim as usize);
        check.relation(d > 0 && d.is_multiple_of(8) && d <= 256, || {
            format!("head_dim {d} is not a multiple of 8 up to 256")
        })?;
        check.relation(kv_heads > 0 && heads % kv_heads == 0, || {
            format!("`q` has {heads} heads, not a multiple of the {kv_heads} of `k`")
        })?;
        check.activation("q", &self.q, &[tokens, times(heads, wide)])?;
        check.tensor("cu_seqlens", &self.cu_seqlens, DType::U32, &[ANY])?;
        check.relation(self.cu_seqlens.rows() > 1, || "`cu_seqlens` holds no document".into())?;
        let documents = self.cu_seqlens.shape()[0] - 1;
        check.relation(self.positions.is_some() == self.page_table.is_some(), || {
            "`positions` and `page_table` come together".into()
        })?;
        for (name, view) in [("k", &self.k), ("v", &self.v)] {
            match (&self.page_table, &self.positions) {
                (Some(table), Some(positions)) => {
                    check.tensor("page_table", table, DType::U32, &[documents, ANY])?;
                    check.tensor("positions", positions, DType::U32, &[tokens])?;
                    check.activation(name, view, &[ANY, times(kv_heads, 1), PAGE_TOKENS, d])?;
                }
                _ => check.activation(name, view, &[tokens, times(kv_heads, wide)])?,
            }
        }
        check.activation("out", &self.out, &[tokens, times(heads, wide)])?;
        check.tensor("lse", &self.lse, DType::F32, &[tokens, times(heads, 1)])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (heads, kv_heads) = self.heads();
        let d = self.head_dim as usize;
        let (q, k, v) = (memory.load(&self.q), memory.load(&self.k), memory.load(&self.v));
        let positions = self.positions.as_ref().map(|p| memory.indices(p));
        let table = self.page_table.as_ref().map(|t| (memory.indices(t), t.row_elements()));
        let mut out = vec![R::of(0.0); q.len()];
        let mut lse = vec![R::of(f64::NEG_INFINITY); self.lse.elements()];
        for (document, rows) in documents(memory, &self.cu_seqlens).into_iter().enumerate() {
            for row in rows.clone() {
                let position = positions.as_ref().map_or(row - rows.start, |p| p[row] as usize);
                for head in 0..heads {
                    let kv_head = head / (heads / kv_heads);
                    let at = |key: usize| match &table {
                        None => ((rows.start + key) * kv_heads + kv_head) * d,
                        Some((pages, width)) => {
                            let page = pages[document * width + key / PAGE_TOKENS as usize] as usize;
                            ((page * kv_heads + kv_head) * PAGE_TOKENS as usize + key % PAGE_TOKENS as usize)
                                * d
                        }
                    };
                    let query = &q[(row * heads + head) * d..][..d];
                    let mut scores = dots(query, (0..=position).map(|key| &k[at(key)..][..d]));
                    scores.iter_mut().for_each(|score| *score = *score * R::of(self.scale.into()));
                    let max = scores.iter().fold(R::of(f64::NEG_INFINITY), |m, &s| m.max(s));
                    let mut sum = R::of(0.0);
                    let to = &mut out[(row * heads + head) * d..][..d];
                    for (first, segment) in scores.chunks(SEGMENT).enumerate().map(|(i, s)| (i * SEGMENT, s))
                    {
                        let mut running = R::of(f64::NEG_INFINITY);
                        for (first, block) in
                            segment.chunks(KEYS).enumerate().map(|(i, s)| (first + i * KEYS, s))
                        {
                            running = block.iter().fold(running, |m, &s| m.max(s));
                            let rescale = (running - max).exp();
                            for (key, &score) in (first..).zip(block) {
                                sum += (score - max).exp();
                                // What multiplies the values is rounded against the maximum so far.
                                let p = memory.rounded((score - running).exp(), self.q.dtype) * rescale;
                                to.iter_mut().zip(&v[at(key)..]).for_each(|(o, &v)| *o += p * v);
                            }
                        }
                    }
                    to.iter_mut().for_each(|o| *o = *o / sum);
                    lse[row * heads + head] = max + sum.ln();
                }
            }
        }
        memory.store(&self.out, &out);
        memory.store(&self.lse, &lse);
    }

    fn flops(&self) -> u64 {
        // Documents are data: the bound counts every row as its own half of one document.
        let tokens = self.q.rows();
        product(&[2, tokens, tokens + 1, self.q.row_elements()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let layouts: [&[u32]; 4] = [&[0, 1], &[0, 5, 5, 17], &[0, 130], &[0, 64, 65, 200, 200]];
        for bounds in layouts {
            for heads in [[2, 1, 8], [4, 2, 64]] {
                cases.push(packed_case(CaseBuilder::new(), DType::F32, bounds, heads));
            }
            for heads in [[2, 1, 16], [4, 2, 64], [3, 1, 128]] {
                cases.push(packed_case(CaseBuilder::new(), DType::Bf16, bounds, heads));
            }
        }
        // Heads that fill no kernel's width, and documents of several segments.
        for heads in [[2, 2, 48], [2, 1, 80], [1, 1, 256]] {
            cases.push(packed_case(CaseBuilder::new(), DType::Bf16, &[0, 3, 90], heads));
        }
        cases.push(packed_case(CaseBuilder::new(), DType::Bf16, &[0, 3, 9], [2, 1, 144]));
        cases.push(packed_case(CaseBuilder::new(), DType::Bf16, &[0, 1100], [1, 1, 16]));
        for (dtype, head_dims) in [(DType::F32, &[16][..]), (DType::Bf16, &[16, 64, 128, 144])] {
            for &head_dim in head_dims {
                cases.push(paged_case(CaseBuilder::new(), dtype, head_dim, 140));
            }
        }
        for (head_dim, last) in [(64, 2100), (128, 1100), (144, 1024)] {
            cases.push(paged_case(CaseBuilder::new(), DType::Bf16, head_dim, last));
        }
        cases
    }
}

/// Packed documents; heads are those of queries, of keys, and the elements of each.
pub(crate) fn packed_case(
    mut c: CaseBuilder,
    dtype: DType,
    bounds: &[u32],
    [heads, kv_heads, head_dim]: [u32; 3],
) -> Case {
    let tokens = bounds[bounds.len() - 1];
    let kv = [tokens, kv_heads * head_dim];
    let op = Attention {
        q: c.normal(dtype, &[tokens, heads * head_dim], 1.5),
        k: c.normal(dtype, &kv, 1.5),
        v: c.normal(dtype, &kv, 1.0),
        cu_seqlens: c.values(DType::U32, &[bounds.len() as u32], bounds.iter().map(|&b| f64::from(b))),
        positions: None,
        page_table: None,
        out: c.output(dtype, &[tokens, heads * head_dim]),
        lse: c.output(DType::F32, &[tokens, heads]),
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    c.finish(format!("{dtype}/{tokens}rows-{}docs-hd{head_dim}", bounds.len() - 1), op)
}

/// Three documents in scattered pages: one decodes at position `last`, one prefills 3..=8, one is new.
pub(crate) fn paged_case(mut c: CaseBuilder, dtype: DType, head_dim: u32, last: u32) -> Case {
    let (heads, kv_heads) = (4, 2);
    let positions = [f64::from(last), 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.0];
    let tokens = positions.len() as u32;
    let width = last / PAGE_TOKENS + 1;
    let pages = [width + 3, kv_heads, PAGE_TOKENS, head_dim];
    // The first document's pages descend from the last there is; the others have one each.
    let table = (0..3 * width).map(|i| match (i / width, i % width) {
        (0, page) => width + 2 - page,
        (document, 0) => 2 - document,
        _ => 0,
    });
    let table: Vec<f64> = table.map(f64::from).collect();
    let op = Attention {
        q: c.normal(dtype, &[tokens, heads * head_dim], 1.0),
        k: c.normal(dtype, &pages, 1.0),
        v: c.normal(dtype, &pages, 1.0),
        cu_seqlens: c.values(DType::U32, &[4], [0.0, 1.0, 7.0, 8.0]),
        positions: Some(c.values(DType::U32, &[tokens], positions)),
        page_table: Some(c.values(DType::U32, &[3, width], table)),
        out: c.output(dtype, &[tokens, heads * head_dim]),
        lse: c.output(DType::F32, &[tokens, heads]),
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    c.finish(format!("{dtype}/paged-{last}-hd{head_dim}"), op)
}

use crate::case::Mix;
use crate::error::Check;
use crate::real::matmul_nt;
use crate::*;

impl QkvRope {
    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.rope.row_elements()
    }

    /// Query heads and key-value heads.
    pub fn heads(&self) -> (usize, usize) {
        let heads = self.q.row_elements() / self.head_dim();
        (heads, (self.weight.rows() / self.head_dim()).saturating_sub(heads) / 2)
    }
}

/// Rotates one head in place by the cosines and sines of its position: element d pairs with d + half.
/// `sign` is 1 forward, −1 back.
pub(crate) fn rotate<R: Real>(head: &mut [R], cos_sin: &[R], sign: R) {
    let half = head.len() / 2;
    for d in 0..half {
        let (c, s) = (cos_sin[d], cos_sin[half + d] * sign);
        let (a, b) = (head[d], head[half + d]);
        head[d] = a * c - b * s;
        head[half + d] = b * c + a * s;
    }
}

impl Spec for QkvRope {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(QkvRope::NAME);
        let [tokens, hidden] = matrix(&self.x);
        let head_dim = times(self.head_dim(), 1);
        check.activation("x", &self.x, &[tokens, hidden])?;
        check.tensor("rope", &self.rope, DType::F32, &[ANY, head_dim])?;
        check.relation(head_dim >= 2 && head_dim.is_multiple_of(2), || {
            format!("head_dim {head_dim} is not even")
        })?;
        check.tensor("positions", &self.positions, DType::U32, &[tokens])?;
        check.activation("q", &self.q, &[tokens, ANY])?;
        let ((heads, kv_heads), wide) = (self.heads(), self.head_dim());
        check.weight("weight", &self.weight, &[times(heads + 2 * kv_heads, wide), hidden])?;
        check.relation(times(heads, wide) as usize == self.q.row_elements(), || {
            format!("`q` has {} columns, not a multiple of head_dim {head_dim}", self.q.row_elements())
        })?;
        if let Some(bias) = &self.bias {
            check.weight("bias", bias, &[self.weight.shape()[0]])?;
        }
        for (name, view) in [("k", &self.k), ("v", &self.v)] {
            match &self.slots {
                None => check.activation(name, view, &[tokens, times(kv_heads, wide)])?,
                Some(slots) => {
                    check.tensor("slots", slots, DType::U32, &[tokens])?;
                    check.activation(name, view, &[ANY, times(kv_heads, 1), PAGE_TOKENS, head_dim])?;
                }
            }
        }
        Ok(())
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (heads, kv_heads) = self.heads();
        let head_dim = self.head_dim();
        let width = self.weight.rows();
        let mut qkv = matmul_nt(&memory.load(&self.x), &memory.load(&self.weight), self.x.row_elements());
        if let Some(bias) = &self.bias {
            let bias = memory.load(bias);
            for row in qkv.chunks_exact_mut(width) {
                row.iter_mut().zip(&bias).for_each(|(v, &b)| *v += b);
            }
        }
        let (rope, positions) = (memory.load(&self.rope), memory.indices(&self.positions));
        for (row, &position) in qkv.chunks_exact_mut(width).zip(&positions) {
            let cos_sin = &rope[position as usize * head_dim..][..head_dim];
            for head in row.chunks_exact_mut(head_dim).take(heads + kv_heads) {
                rotate(head, cos_sin, R::of(1.0));
            }
        }
        let columns = |first: usize, count: usize| -> Vec<R> {
            qkv.chunks_exact(width)
                .flat_map(|row| row[first * head_dim..(first + count) * head_dim].iter().copied())
                .collect()
        };
        memory.store(&self.q, &columns(0, heads));
        for (view, fresh) in
            [(&self.k, columns(heads, kv_heads)), (&self.v, columns(heads + kv_heads, kv_heads))]
        {
            let Some(slots) = &self.slots else {
                memory.store(view, &fresh);
                continue;
            };
            let mut pages = memory.load(view);
            for (t, slot) in memory.indices(slots).into_iter().enumerate() {
                let (page, at) = (slot as usize / PAGE_TOKENS as usize, slot as usize % PAGE_TOKENS as usize);
                for h in 0..kv_heads {
                    let to = ((page * kv_heads + h) * PAGE_TOKENS as usize + at) * head_dim;
                    let from = (t * kv_heads + h) * head_dim;
                    pages[to..to + head_dim].copy_from_slice(&fresh[from..from + head_dim]);
                }
            }
            memory.store(view, &pages);
        }
    }

    fn flops(&self) -> u64 {
        product(&[2, self.x.elements(), self.weight.rows()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        type Shape = (u32, u32, u32, bool, bool);
        let f32: &[Shape] = &[(3, 1, 8, false, false), (4, 2, 16, true, false), (4, 2, 16, true, true)];
        // Halves of whole eights, of an even and an odd number of them, and of neither.
        let bf16: &[Shape] = &[
            (3, 1, 16, true, false),
            (2, 1, 64, true, true),
            (1, 1, 80, false, false),
            (2, 1, 24, true, true),
            (1, 1, 6, true, false),
        ];
        for (mix, shapes) in Mix::of_products([f32, bf16]) {
            for tokens in crate::case::TOKENS {
                for &(heads, kv_heads, head_dim, bias, paged) in shapes {
                    let mut c = CaseBuilder::new();
                    let (hidden, rows) = (40, (heads + 2 * kv_heads) * head_dim);
                    let angle = |i: u32| f64::from(i / head_dim) * 0.3 + f64::from(i % (head_dim / 2));
                    let rope = (0..100 * head_dim)
                        .map(|i| if i % head_dim < head_dim / 2 { angle(i).cos() } else { angle(i).sin() });
                    let pages = [3, kv_heads, PAGE_TOKENS, head_dim];
                    let slots: Vec<f64> = (0..tokens).map(|t| f64::from((t * 7 + 60) % 192)).collect();
                    let kv: &[u32] = if paged { &pages } else { &[tokens, kv_heads * head_dim] };
                    let op = QkvRope {
                        x: c.normal(mix.activation, &[tokens, hidden], 1.0),
                        weight: c.normal(mix.weight, &[rows, hidden], 0.2),
                        bias: bias.then(|| c.normal(mix.weight, &[rows], 0.5)),
                        rope: c.values(DType::F32, &[100, head_dim], rope),
                        positions: c.below(DType::U32, &[tokens], 100),
                        slots: paged.then(|| c.values(DType::U32, &[tokens], slots)),
                        q: c.output(mix.activation, &[tokens, heads * head_dim]),
                        k: c.output(mix.activation, kv),
                        v: c.output(mix.activation, kv),
                    };
                    let kind = if paged { "-paged" } else { "" };
                    cases.push(c.finish(format!("{mix}/{tokens}x{heads}h{kv_heads}kv{head_dim}{kind}"), op));
                }
            }
        }
        cases
    }
}

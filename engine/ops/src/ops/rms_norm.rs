use crate::case::{Mix, TOKENS};
use crate::error::Check;
use crate::real::dot;
use crate::*;
use half::bf16;

/// The sum of two elements as `sum` keeps it. One addition in f32 and one rounding are the same numbers on every backend,
/// so the truth has them too: the norm is of what is stored.
fn stored_sum<R: Real>(x: R, residual: R, dtype: DType) -> R {
    match dtype {
        DType::Bf16 => R::of(bf16::from_f32((x + residual).to_f64() as f32).to_f64()),
        _ => x + residual,
    }
}

impl Spec for RmsNorm {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(RmsNorm::NAME);
        let [tokens, hidden] = matrix(&self.x);
        check.activation("x", &self.x, &[tokens, hidden])?;
        check.relation(self.residual.is_some() == self.sum.is_some(), || {
            "`residual` and `sum` come together".into()
        })?;
        for (name, view) in [("residual", &self.residual), ("sum", &self.sum)] {
            view.iter().try_for_each(|view| check.activation(name, view, &[tokens, hidden]))?;
        }
        check.weight("weight", &self.weight, &[hidden])?;
        check.activation("y", &self.y, &[tokens, hidden])?;
        check.tensor("rstd", &self.rstd, DType::F32, &[tokens])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (mut x, weight) = (memory.load(&self.x), memory.load(&self.weight));
        if let (Some(residual), Some(sum)) = (&self.residual, &self.sum) {
            for (s, r) in x.iter_mut().zip(memory.load(residual)) {
                *s = stored_sum(*s, r, sum.dtype);
            }
            memory.store(sum, &x);
        }
        let (mut y, mut rstd) = (Vec::with_capacity(x.len()), Vec::new());
        for row in x.chunks_exact(weight.len()) {
            let mean_square = dot(row, row) / R::of(row.len() as f64);
            let r = R::of(1.0) / (mean_square + R::of(self.eps.into())).sqrt();
            y.extend(row.iter().zip(&weight).map(|(&x, &w)| x * r * w));
            rstd.push(r);
        }
        memory.store(&self.y, &y);
        memory.store(&self.rstd, &rstd);
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for mix in Mix::F32.into_iter().chain([Mix::BF16, Mix::of(DType::Bf16, DType::F32)]) {
            for tokens in TOKENS {
                // From 1024 on: the most that one warp holds at once, then what a block holds in parts of two sizes, by
                // eights or not, and more than it holds.
                let widths = [24, 129, 1024, 1027, 2048, 5000, 8200];
                for (hidden, hard) in widths.map(|hidden| (hidden, matches!(hidden, 129 | 2048 | 8200))) {
                    if hidden > 1000 && (tokens != 7 || mix.activation == DType::F32) {
                        continue;
                    }
                    for fused in [false, true] {
                        let mut c = CaseBuilder::new();
                        let shape = [tokens, hidden];
                        let input = |c: &mut CaseBuilder| match hard {
                            true => c.hard(mix.activation, &shape),
                            false => c.normal(mix.activation, &shape, 1.0),
                        };
                        let op = RmsNorm {
                            x: input(&mut c),
                            residual: fused.then(|| input(&mut c)),
                            weight: c.normal(mix.weight, &[hidden], 1.0),
                            y: c.output(mix.activation, &shape),
                            sum: fused.then(|| c.output(mix.activation, &shape)),
                            rstd: c.output(DType::F32, &[tokens]),
                            eps: 1e-5,
                        };
                        let kind = if fused { "-residual" } else { "" };
                        cases.push(c.finish(format!("{mix}/{tokens}x{hidden}{kind}"), op));
                    }
                }
            }
        }
        cases
    }
}

use crate::case::TOKENS;
use crate::error::Check;
use crate::real::dot;
use crate::*;

impl Spec for RmsNorm {
    fn check(&self) -> Result<(), OpError> {
        let check = Check { op: RmsNorm::NAME };
        let [tokens, hidden] = matrix(&self.x);
        check.activation("x", &self.x, &[tokens, hidden])?;
        check.weight("weight", &self.weight, &[hidden])?;
        check.activation("y", &self.y, &[tokens, hidden])?;
        check.tensor("rstd", &self.rstd, DType::F32, &[tokens])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (x, weight) = (memory.load(&self.x), memory.load(&self.weight));
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
        for dtype in [DType::F32, DType::Bf16] {
            for tokens in TOKENS {
                for (hidden, hard) in [(24, false), (129, true)] {
                    let mut c = CaseBuilder::new();
                    let shape = [tokens, hidden];
                    let op = RmsNorm {
                        x: if hard { c.hard(DType::F32, &shape) } else { c.normal(DType::F32, &shape, 1.0) },
                        weight: c.normal(dtype, &[hidden], 1.0),
                        y: c.output(DType::F32, &shape),
                        rstd: c.output(DType::F32, &[tokens]),
                        eps: 1e-5,
                    };
                    cases.push(c.finish(format!("{dtype}/{tokens}x{hidden}"), op));
                }
            }
        }
        cases
    }
}

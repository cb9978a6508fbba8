use crate::case::TOKENS;
use crate::error::Check;
use crate::real::matmul_nt;
use crate::*;

impl Spec for LinearResidual {
    fn check(&self) -> Result<(), OpError> {
        let check = Check { op: LinearResidual::NAME };
        let ([tokens, k], [hidden, _]) = (matrix(&self.x), matrix(&self.weight));
        check.activation("x", &self.x, &[tokens, k])?;
        check.weight("weight", &self.weight, &[hidden, k])?;
        check.activation("residual", &self.residual, &[tokens, hidden])?;
        check.activation("out", &self.out, &[tokens, hidden])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let mut out = matmul_nt(&memory.load(&self.x), &memory.load(&self.weight), self.x.row_elements());
        out.iter_mut().zip(memory.load(&self.residual)).for_each(|(o, r)| *o += r);
        memory.store(&self.out, &out);
    }

    fn flops(&self) -> u64 {
        2 * self.x.elements() as u64 * self.weight.rows() as u64
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for dtype in [DType::F32, DType::Bf16] {
            for tokens in TOKENS {
                for (k, hidden) in [(24, 17), (600, 72)] {
                    let mut c = CaseBuilder::new();
                    let op = LinearResidual {
                        x: c.hard(DType::F32, &[tokens, k]),
                        weight: c.normal(dtype, &[hidden, k], 0.2),
                        residual: c.normal(DType::F32, &[tokens, hidden], 1.0),
                        out: c.output(DType::F32, &[tokens, hidden]),
                    };
                    cases.push(c.finish(format!("{dtype}/{tokens}x{hidden}x{k}"), op));
                }
            }
        }
        cases
    }
}

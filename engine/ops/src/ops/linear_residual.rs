use crate::case::{Mix, TOKENS};
use crate::error::Check;
use crate::real::matmul_nt;
use crate::*;

impl Spec for LinearResidual {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(LinearResidual::NAME);
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
        product(&[2, self.x.elements(), self.weight.rows()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (mix, shapes) in Mix::of_products([&[(24, 17), (600, 72)], &[(24, 17), (600, 72), (96, 264)]]) {
            for tokens in TOKENS {
                for &(k, hidden) in shapes {
                    let mut c = CaseBuilder::new();
                    let op = LinearResidual {
                        x: c.hard(mix.activation, &[tokens, k]),
                        weight: c.normal(mix.weight, &[hidden, k], 0.2),
                        residual: c.normal(mix.activation, &[tokens, hidden], 1.0),
                        out: c.output(mix.activation, &[tokens, hidden]),
                    };
                    cases.push(c.finish(format!("{mix}/{tokens}x{hidden}x{k}"), op));
                }
            }
        }
        cases
    }
}

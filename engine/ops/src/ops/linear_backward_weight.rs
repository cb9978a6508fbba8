use super::store_or_add;
use crate::error::Check;
use crate::real::matmul_tn_add;
use crate::*;

impl Spec for LinearBackwardWeight {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(LinearBackwardWeight::NAME);
        let ([tokens, n], [_, k]) = (matrix(&self.dy), matrix(&self.x));
        check.activation("dy", &self.dy, &[tokens, n])?;
        check.activation("x", &self.x, &[tokens, k])?;
        check.tensor("dweight", &self.dweight, DType::F32, &[n, k])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (n, k) = (self.dweight.rows(), self.dweight.row_elements());
        let mut fresh = vec![R::of(0.0); n * k];
        matmul_tn_add(&memory.load(&self.dy), &memory.load(&self.x), n, k, &mut fresh);
        store_or_add(memory, &self.dweight, &fresh, self.accumulate);
    }

    fn flops(&self) -> u64 {
        product(&[2, self.dy.elements(), self.x.row_elements()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (dtype, shapes) in [
            (DType::F32, [(17, 24, false), (40, 72, true)].as_slice()),
            (DType::Bf16, &[(16, 24, false), (40, 72, true), (264, 136, true)]),
        ] {
            for tokens in [1, 7, 600] {
                for &(n, k, accumulate) in shapes {
                    let mut c = CaseBuilder::new();
                    let op = LinearBackwardWeight {
                        dy: c.normal(dtype, &[tokens, n], 1.0),
                        x: c.hard(dtype, &[tokens, k]),
                        dweight: c.normal(DType::F32, &[n, k], 1.0),
                        accumulate,
                    };
                    cases.push(c.finish(format!("{dtype}/{tokens}x{n}x{k}-accumulate_{accumulate}"), op));
                }
            }
        }
        cases
    }
}

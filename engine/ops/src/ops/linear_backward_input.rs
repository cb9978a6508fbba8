use crate::case::{Mix, TOKENS};
use crate::error::Check;
use crate::real::matmul_nn;
use crate::*;

impl Spec for LinearBackwardInput {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(LinearBackwardInput::NAME);
        let ([tokens, n], [_, k]) = (matrix(&self.dy), matrix(&self.weight));
        check.activation("dy", &self.dy, &[tokens, n])?;
        check.weight("weight", &self.weight, &[n, k])?;
        check.activation("dx", &self.dx, &[tokens, k])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (n, k) = (self.weight.rows(), self.weight.row_elements());
        let dx = matmul_nn(&memory.load(&self.dy), &memory.load(&self.weight), n, k);
        memory.store(&self.dx, &dx);
    }

    fn flops(&self) -> u64 {
        product(&[2, self.dy.elements(), self.weight.row_elements()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (mix, shapes) in Mix::of_products([&[(17, 24), (300, 72)], &[(16, 24), (304, 72), (96, 264)]]) {
            for tokens in TOKENS {
                for &(n, k) in shapes {
                    let mut c = CaseBuilder::new();
                    let op = LinearBackwardInput {
                        dy: c.hard(mix.activation, &[tokens, n]),
                        weight: c.normal(mix.weight, &[n, k], 0.2),
                        dx: c.output(mix.activation, &[tokens, k]),
                    };
                    cases.push(c.finish(format!("{mix}/{tokens}x{n}x{k}"), op));
                }
            }
        }
        cases
    }
}

use super::gate_up_swiglu::{check_product, product_of};
use crate::case::TOKENS;
use crate::error::Check;
use crate::*;

impl Spec for Swiglu {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(Swiglu::NAME);
        let [tokens, _] = matrix(&self.product);
        check_product(&check, tokens, "product", &self.product, Some(&self.gate_up)).map(|_| ())
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let gate_up = memory.load(&self.gate_up);
        memory.store(&self.product, &product_of(&gate_up, self.product.row_elements()));
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (dtype, widths) in [(DType::F32, [40].as_slice()), (DType::Bf16, &[8, 40, 1000])] {
            for tokens in TOKENS {
                for &ffn in widths {
                    let mut c = CaseBuilder::new();
                    let op = Swiglu {
                        gate_up: c.normal(dtype, &[tokens, 2 * ffn], 3.0),
                        product: c.output(dtype, &[tokens, ffn]),
                    };
                    cases.push(c.finish(format!("{dtype}/{tokens}x{ffn}"), op));
                }
                // Rows that do not begin at multiples of 16 bytes.
                let mut c = CaseBuilder::new();
                let op = Swiglu {
                    gate_up: c.normal(dtype, &[tokens, 81], 3.0).slice_columns(1, 80),
                    product: c.output(dtype, &[tokens, 40]),
                };
                cases.push(c.finish(format!("{dtype}/{tokens}x40-gaps"), op));
            }
        }
        cases
    }
}

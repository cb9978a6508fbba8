use super::gate_up_swiglu::{INTERLEAVE, columns, sigmoid};
use crate::case::TOKENS;
use crate::error::Check;
use crate::*;

impl Spec for Swiglu {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(Swiglu::NAME);
        let [tokens, ffn] = matrix(&self.product);
        check.activation("product", &self.product, &[tokens, ffn])?;
        check.relation(ffn.is_multiple_of(INTERLEAVE as u32), || {
            format!("product has {ffn} columns, not a multiple of {INTERLEAVE}")
        })?;
        check.activation("gate_up", &self.gate_up, &[tokens, 2 * ffn])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let gate_up = memory.load(&self.gate_up);
        let ffn = self.product.row_elements();
        let product: Vec<R> = gate_up
            .chunks_exact(2 * ffn)
            .flat_map(|row| {
                (0..ffn).map(|i| {
                    let (gate, up) = columns(i);
                    row[gate] * sigmoid(row[gate]) * row[up]
                })
            })
            .collect();
        memory.store(&self.product, &product);
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

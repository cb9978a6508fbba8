use super::gate_up_swiglu::{check_product, columns, sigmoid};
use crate::case::TOKENS;
use crate::error::Check;
use crate::*;

impl Spec for SwigluBackward {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(SwigluBackward::NAME);
        let [tokens, _] = matrix(&self.dproduct);
        check_product(&check, tokens, "dproduct", &self.dproduct, Some(&self.gate_up)).map(|_| ())
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let dproduct = memory.load(&self.dproduct);
        let mut gate_up = memory.load(&self.gate_up);
        let ffn = self.dproduct.row_elements();
        for (row, dproduct) in gate_up.chunks_exact_mut(2 * ffn).zip(dproduct.chunks_exact(ffn)) {
            for (i, &d) in dproduct.iter().enumerate() {
                let (gate, up) = columns(i);
                let (g, u, s) = (row[gate], row[up], sigmoid(row[gate]));
                row[gate] = d * u * s * (R::of(1.0) + g * (R::of(1.0) - s));
                row[up] = d * g * s;
            }
        }
        memory.store(&self.gate_up, &gate_up);
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (dtype, widths) in [(DType::F32, [40].as_slice()), (DType::Bf16, &[8, 40, 1000])] {
            for tokens in TOKENS {
                for &ffn in widths {
                    let mut c = CaseBuilder::new();
                    let op = SwigluBackward {
                        dproduct: c.normal(dtype, &[tokens, ffn], 1.0),
                        gate_up: c.normal(dtype, &[tokens, 2 * ffn], 3.0),
                    };
                    cases.push(c.finish(format!("{dtype}/{tokens}x{ffn}"), op));
                }
                // Rows that do not begin at multiples of 16 bytes.
                let mut c = CaseBuilder::new();
                let op = SwigluBackward {
                    dproduct: c.normal(dtype, &[tokens, 41], 1.0).slice_columns(1, 40),
                    gate_up: c.normal(dtype, &[tokens, 80], 3.0),
                };
                cases.push(c.finish(format!("{dtype}/{tokens}x40-gaps"), op));
            }
        }
        cases
    }
}

use crate::case::{Mix, TOKENS};
use crate::error::Check;
use crate::real::matmul_nt;
use crate::*;

/// Rows of the gate, then as many of up: the interleaving of the gate/up matrix.
pub const INTERLEAVE: usize = 8;

/// Columns of gate and up for column `i` of the product.
pub(crate) fn columns(i: usize) -> (usize, usize) {
    let gate = i / INTERLEAVE * 2 * INTERLEAVE + i % INTERLEAVE;
    (gate, gate + INTERLEAVE)
}

pub(crate) fn sigmoid<R: Real>(x: R) -> R {
    R::of(1.0) / (R::of(1.0) + (-x).exp())
}

/// silu(gate) · up of rows of both, interleaved.
pub(super) fn product_of<R: Real>(gate_up: &[R], ffn: usize) -> Vec<R> {
    let row = |row: &[R]| {
        let each = |i| {
            let (gate, up) = columns(i);
            row[gate] * sigmoid(row[gate]) * row[up]
        };
        (0..ffn).map(each).collect::<Vec<R>>()
    };
    gate_up.chunks_exact(2 * ffn).flat_map(row).collect()
}

/// Checks a product, or its gradient, and gate and up beside it where they are kept; returns how many columns both of them
/// have.
pub(super) fn check_product(
    check: &Check,
    tokens: u32,
    operand: &'static str,
    product: &View,
    gate_up: Option<&View>,
) -> Result<u32, OpError> {
    let [_, ffn] = matrix(product);
    check.activation(operand, product, &[tokens, ffn])?;
    check.relation(ffn.is_multiple_of(INTERLEAVE as u32), || {
        format!("`{operand}` has {ffn} columns, not a multiple of {INTERLEAVE}")
    })?;
    let both = times(ffn as usize, 2);
    gate_up.map_or(Ok(()), |view| check.activation("gate_up", view, &[tokens, both]))?;
    Ok(both)
}

impl Spec for GateUpSwiglu {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(GateUpSwiglu::NAME);
        let [tokens, hidden] = matrix(&self.x);
        check.activation("x", &self.x, &[tokens, hidden])?;
        let both = check_product(&check, tokens, "product", &self.product, self.gate_up.as_ref())?;
        check.weight("weight", &self.weight, &[both, hidden])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let mut gate_up = matmul_nt(&memory.load(&self.x), &memory.load(&self.weight), self.x.row_elements());
        gate_up.iter_mut().for_each(|v| *v = memory.rounded(*v, self.x.dtype));
        let ffn = self.product.row_elements();
        memory.store(&self.product, &product_of(&gate_up, ffn));
        if let Some(view) = &self.gate_up {
            memory.store(view, &gate_up);
        }
    }

    fn flops(&self) -> u64 {
        product(&[2, self.x.elements(), self.weight.rows()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (mix, shapes) in Mix::of_products([
            &[(24, 8, true), (40, 72, false), (300, 40, true)],
            &[(24, 8, true), (40, 72, false), (304, 136, true)],
        ]) {
            for tokens in TOKENS {
                for &(hidden, ffn, keep) in shapes {
                    let mut c = CaseBuilder::new();
                    let op = GateUpSwiglu {
                        x: c.normal(mix.activation, &[tokens, hidden], 1.0),
                        weight: c.normal(mix.weight, &[2 * ffn, hidden], 0.4),
                        product: c.output(mix.activation, &[tokens, ffn]),
                        gate_up: keep.then(|| c.output(mix.activation, &[tokens, 2 * ffn])),
                    };
                    cases.push(c.finish(format!("{mix}/{tokens}x{ffn}x{hidden}"), op));
                }
            }
        }
        cases
    }
}

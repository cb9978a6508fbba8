use super::qkv_rope::rotate;
use crate::case::TOKENS;
use crate::error::Check;
use crate::*;

impl Spec for RopeBackward {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(RopeBackward::NAME);
        let head_dim = times(self.rope.row_elements(), 1);
        let [tokens, columns] = matrix(&self.dqk);
        check.tensor("rope", &self.rope, DType::F32, &[ANY, head_dim])?;
        check.tensor("positions", &self.positions, DType::U32, &[tokens])?;
        check.activation("dqk", &self.dqk, &[tokens, columns])?;
        check
            .relation(head_dim >= 2 && head_dim.is_multiple_of(2) && columns.is_multiple_of(head_dim), || {
                format!("`dqk` has {columns} columns, which are not whole heads of {head_dim}")
            })
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let head_dim = self.rope.row_elements();
        let (rope, positions) = (memory.load(&self.rope), memory.indices(&self.positions));
        let mut dqk = memory.load(&self.dqk);
        for (row, &position) in dqk.chunks_exact_mut(self.dqk.row_elements()).zip(&positions) {
            let cos_sin = &rope[position as usize * head_dim..][..head_dim];
            for head in row.chunks_exact_mut(head_dim) {
                rotate(head, cos_sin, R::of(-1.0));
            }
        }
        memory.store(&self.dqk, &dqk);
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for dtype in [DType::F32, DType::Bf16] {
            for tokens in TOKENS {
                for head_dim in [8, 64] {
                    let mut c = CaseBuilder::new();
                    let fused = c.normal(dtype, &[tokens, 5 * head_dim], 1.0);
                    let op = RopeBackward {
                        rope: c.normal(DType::F32, &[50, head_dim], 0.7),
                        positions: c.below(DType::U32, &[tokens], 50),
                        dqk: fused.slice_columns(0, 4 * head_dim),
                    };
                    cases.push(c.finish(format!("{dtype}/{tokens}x4h{head_dim}"), op));
                }
            }
        }
        cases
    }
}

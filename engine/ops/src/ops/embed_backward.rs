use super::store_or_add;
use crate::case::TOKENS;
use crate::error::Check;
use crate::*;

impl Spec for EmbedBackward {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(EmbedBackward::NAME);
        let [tokens, hidden] = matrix(&self.dx);
        check.tensor("ids", &self.ids, DType::U32, &[tokens])?;
        check.activation("dx", &self.dx, &[tokens, hidden])?;
        check.tensor("dweight", &self.dweight, DType::F32, &[ANY, hidden])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let hidden = self.dx.row_elements();
        let mut fresh = vec![R::of(0.0); self.dweight.elements()];
        let dx = memory.load(&self.dx);
        for (id, row) in memory.indices(&self.ids).into_iter().zip(dx.chunks_exact(hidden)) {
            fresh[id as usize * hidden..][..hidden].iter_mut().zip(row).for_each(|(f, &d)| *f += d);
        }
        store_or_add(memory, &self.dweight, &fresh, self.accumulate);
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for dtype in [DType::F32, DType::Bf16] {
            for tokens in TOKENS {
                // The last has more columns than a block takes.
                for hidden in [24, 129, 1032] {
                    for accumulate in [false, true] {
                        let mut c = CaseBuilder::new();
                        let op = EmbedBackward {
                            ids: c.below(DType::U32, &[tokens], 11),
                            dx: c.hard(dtype, &[tokens, hidden]),
                            dweight: c.normal(DType::F32, &[13, hidden], 1.0),
                            accumulate,
                        };
                        let name = format!("{dtype}/{tokens}x{hidden}-accumulate_{accumulate}");
                        cases.push(c.finish(name, op));
                    }
                }
            }
        }
        cases
    }
}

use super::store_or_add;
use crate::case::TOKENS;
use crate::error::Check;
use crate::*;

impl Spec for BiasBackward {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(BiasBackward::NAME);
        let [tokens, n] = matrix(&self.dy);
        check.activation("dy", &self.dy, &[tokens, n])?;
        check.tensor("dbias", &self.dbias, DType::F32, &[n])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let n = self.dbias.elements();
        let mut fresh = vec![R::of(0.0); n];
        for row in memory.load(&self.dy).chunks_exact(n) {
            fresh.iter_mut().zip(row).for_each(|(f, &d)| *f += d);
        }
        store_or_add(memory, &self.dbias, &fresh, self.accumulate);
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for dtype in [DType::F32, DType::Bf16] {
            // The last is more rows than one part has.
            for tokens in TOKENS.into_iter().chain([200]) {
                for n in [40, 261] {
                    for accumulate in [false, true] {
                        let mut c = CaseBuilder::new();
                        let op = BiasBackward {
                            dy: c.hard(dtype, &[tokens, n]),
                            dbias: c.normal(DType::F32, &[n], 1.0),
                            accumulate,
                        };
                        cases.push(c.finish(format!("{dtype}/{tokens}x{n}-accumulate_{accumulate}"), op));
                    }
                }
            }
        }
        cases
    }
}

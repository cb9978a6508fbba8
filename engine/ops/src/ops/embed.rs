use crate::case::{Mix, TOKENS};
use crate::error::Check;
use crate::*;

impl Spec for Embed {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(Embed::NAME);
        let [tokens, hidden] = matrix(&self.out);
        check.tensor("ids", &self.ids, DType::U32, &[tokens])?;
        check.weight("weight", &self.weight, &[ANY, hidden])?;
        check.activation("out", &self.out, &[tokens, hidden])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let weight = memory.load(&self.weight);
        let hidden = self.weight.row_elements();
        let out: Vec<R> = memory
            .indices(&self.ids)
            .iter()
            .flat_map(|&id| weight[id as usize * hidden..][..hidden].iter().copied())
            .collect();
        memory.store(&self.out, &out);
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for mix in Mix::F32.into_iter().chain([Mix::BF16, Mix::of(DType::Bf16, DType::F32)]) {
            for tokens in TOKENS {
                for hidden in [24, 129] {
                    let mut c = CaseBuilder::new();
                    let op = Embed {
                        ids: c.below(DType::U32, &[tokens], 11),
                        weight: c.normal(mix.weight, &[11, hidden], 1.0),
                        out: c.output(mix.activation, &[tokens, hidden]),
                    };
                    cases.push(c.finish(format!("{mix}/{tokens}x{hidden}"), op));
                }
            }
        }
        cases
    }
}

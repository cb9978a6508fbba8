use crate::error::Check;
use crate::*;

impl Spec for LossSum {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(LossSum::NAME);
        check.tensor("loss", &self.loss, DType::F32, &[ANY])?;
        check.tensor("result", &self.result, DType::F32, &[StepResult::WORDS])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let mut result = memory.load(&self.result);
        let mut sum = R::of(0.0);
        memory.load(&self.loss).into_iter().for_each(|x| sum += x);
        let before = if self.accumulate { result[StepResult::LOSS_SUM] } else { R::of(0.0) };
        result[StepResult::LOSS_SUM] = before + sum;
        memory.store(&self.result, &result);
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for tokens in [1, 70, 5000] {
            for accumulate in [false, true] {
                let mut c = CaseBuilder::new();
                let op = LossSum {
                    loss: c.normal(DType::F32, &[tokens], 3.0),
                    result: c.normal(DType::F32, &[StepResult::WORDS], 1.0),
                    accumulate,
                };
                cases.push(c.finish(format!("f32/{tokens}-accumulate_{accumulate}"), op));
            }
        }
        cases
    }
}

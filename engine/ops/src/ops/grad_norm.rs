use crate::error::Check;
use crate::*;

impl Spec for GradNorm {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(GradNorm::NAME);
        check.dtype("grad", &self.grad, &[DType::F32])?;
        check.relation(self.grad.is_contiguous(), || "`grad` has gaps between its rows".into())?;
        check.tensor("step_block", &self.step_block, DType::F32, &[StepBlock::WORDS])?;
        check.tensor("result", &self.result, DType::F32, &[StepResult::WORDS])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let grad = memory.load(&self.grad);
        let clip = memory.load(&self.step_block)[StepBlock::CLIP];
        let mut result = memory.load(&self.result);
        let norm = crate::real::dot(&grad, &grad).sqrt();
        let scale = clip / (norm + R::of(1e-6));
        let finite = norm.to_f64().is_finite() && result[StepResult::LOSS_SUM].to_f64().is_finite();
        result[StepResult::GRAD_NORM] = norm;
        result[StepResult::CLIP_SCALE] = if scale < R::of(1.0) { scale } else { R::of(1.0) };
        result[StepResult::HALTED] = R::of(if finite { 0.0 } else { 1.0 });
        memory.store(&self.result, &result);
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for elements in [1, 70, 40_000] {
            for clip in [1.0, 1e9, f64::INFINITY] {
                let mut c = CaseBuilder::new();
                let op = GradNorm {
                    grad: c.hard(DType::F32, &[elements]),
                    step_block: c.step_block([0.0, 0.0, 0.0, clip, 0.0], 0),
                    result: c.values(DType::F32, &[StepResult::WORDS], [2.5, 0.0, 0.0, 0.0]),
                };
                cases.push(c.finish(format!("f32/{elements}-clip_{clip}"), op));
            }
        }
        let mut c = CaseBuilder::new();
        let op = GradNorm {
            grad: c.normal(DType::F32, &[70], 1.0),
            step_block: c.step_block([0.0, 0.0, 0.0, 1e9, 0.0], 0),
            result: c.values(DType::F32, &[StepResult::WORDS], [f64::INFINITY, 0.0, 0.0, 0.0]),
        };
        cases.push(c.finish("f32/70-infinite_loss_halts", op));
        // A bucket may begin anywhere: not at a multiple of what a vector load takes.
        let mut c = CaseBuilder::new();
        let op = GradNorm {
            grad: c.hard(DType::F32, &[3001]).slice_rows(1, 3000),
            step_block: c.step_block([0.0, 0.0, 0.0, 1.0, 0.0], 0),
            result: c.values(DType::F32, &[StepResult::WORDS], [2.5, 0.0, 0.0, 0.0]),
        };
        cases.push(c.finish("f32/3000-from_the_second", op));
        cases
    }
}

use crate::error::Check;
use crate::*;

impl Spec for AdamW {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(AdamW::NAME);
        let n = times(self.weight.elements(), 1);
        check.weight("weight", &self.weight, &[n])?;
        for (name, view) in [("grad", &self.grad), ("m", &self.m), ("v", &self.v)] {
            check.tensor(name, view, DType::F32, &[n])?;
        }
        check.tensor("step_block", &self.step_block, DType::F32, &[StepBlock::WORDS])?;
        check.tensor("result", &self.result, DType::F32, &[StepResult::WORDS])?;
        check.relation(self.remainder.is_some() == (self.weight.dtype == DType::Bf16), || {
            "a `remainder` belongs to a bf16 `weight` and to no other".into()
        })?;
        self.remainder.iter().try_for_each(|view| check.tensor("remainder", view, DType::I16, &[n]))
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let result = memory.load(&self.result);
        if result[StepResult::HALTED] != R::of(0.0) {
            return;
        }
        let block = memory.load(&self.step_block);
        let (one, of) = (R::of(1.0), |x: f32| R::of(x.into()));
        let (lr, clip_scale) = (block[StepBlock::LR], result[StepResult::CLIP_SCALE]);
        let (beta1, beta2) = (of(self.beta1), of(self.beta2));
        let mut weight = memory.load(&self.weight);
        let mut remainder = self.remainder.map(|view| memory.load(&view));
        let (mut m, mut v) = (memory.load(&self.m), memory.load(&self.v));
        for (i, grad) in memory.load(&self.grad).into_iter().enumerate() {
            let g = grad * clip_scale;
            m[i] = beta1 * m[i] + (one - beta1) * g;
            v[i] = beta2 * v[i] + (one - beta2) * g * g;
            let denominator = (v[i] / block[StepBlock::BIAS_CORRECTION2]).sqrt() + of(self.eps);
            let step = m[i] / block[StepBlock::BIAS_CORRECTION1] / denominator;
            let update = |w: R| w * (one - lr * of(self.weight_decay)) - lr * step;
            match &mut remainder {
                None => weight[i] = update(weight[i]),
                Some(remainder) => {
                    // The pair is integer arithmetic: it is the same in both precisions.
                    let upper = half::bf16::from_f64(weight[i].to_f64());
                    let master = master::join(upper, remainder[i].to_f64() as i16);
                    let (w, r) = master::split(update(R::of(master.into())).to_f64() as f32);
                    (weight[i], remainder[i]) = (R::of(w.to_f64()), R::of(r.into()));
                }
            }
        }
        memory.store(&self.weight, &weight);
        memory.store(&self.m, &m);
        memory.store(&self.v, &v);
        if let (Some(view), Some(values)) = (self.remainder, remainder) {
            memory.store(&view, &values);
        }
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for dtype in [DType::F32, DType::Bf16] {
            for (elements, halted) in [(1, 0.0), (70, 0.0), (5000, 0.0), (70, 1.0)] {
                let mut c = CaseBuilder::new();
                let shape = [elements];
                let second: Vec<f64> = (0..elements).map(|i| f64::from(i % 9) * 0.01).collect();
                let op = AdamW {
                    weight: c.normal(dtype, &shape, 1.0),
                    remainder: (dtype == DType::Bf16).then(|| c.below(DType::I16, &shape, 1 << 15)),
                    grad: c.hard(DType::F32, &shape),
                    m: c.normal(DType::F32, &shape, 0.1),
                    v: c.values(DType::F32, &shape, second),
                    step_block: c.values(DType::F32, &[StepBlock::WORDS], [0.01, 0.19, 0.0975, 1.0, 0.0]),
                    result: c.values(DType::F32, &[StepResult::WORDS], [1.0, 2.0, 0.5, halted]),
                    beta1: 0.9,
                    beta2: 0.95,
                    eps: 1e-8,
                    weight_decay: 0.1,
                };
                cases.push(c.finish(format!("{dtype}/{elements}-halted_{halted}"), op));
            }
        }
        cases
    }
}

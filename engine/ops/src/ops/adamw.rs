use crate::error::Check;
use crate::*;

impl Spec for AdamW {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(AdamW::NAME);
        let n = times(self.weight.elements(), 1);
        check.weight("weight", &self.weight, &[n])?;
        check.tensor("grad", &self.grad, DType::F32, &[n])?;
        check.dtype("m", &self.m, &[DType::F32, DType::Bf16])?;
        check.shape("m", &self.m, &[n])?;
        check.tensor("v", &self.v, self.m.dtype, &[n])?;
        check.tensor("step_block", &self.step_block, DType::F32, &[StepBlock::WORDS])?;
        check.tensor("result", &self.result, DType::F32, &[StepResult::WORDS])?;
        check.relation(self.remainder.is_some() == (self.weight.dtype == DType::Bf16), || {
            "a `remainder` belongs to a bf16 `weight` and to no other".into()
        })?;
        check.relation(self.rounding.is_some() == (self.m.dtype == DType::Bf16), || {
            "`rounding` belongs to bf16 moments and to no others".into()
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
        // A word of the block is a number or the bits of one.
        let update = (block[StepBlock::UPDATE].to_f64() as f32).to_bits();
        let mut draws = self.rounding.map(|rounding| rounding.draws(update, 0));
        for (i, grad) in memory.load(&self.grad).into_iter().enumerate() {
            let g = grad * clip_scale;
            m[i] = beta1 * m[i] + (one - beta1) * g;
            v[i] = beta2 * v[i] + (one - beta2) * g * g;
            let denominator = (v[i] / block[StepBlock::BIAS_CORRECTION2]).sqrt() + of(self.eps);
            let step = m[i] / block[StepBlock::BIAS_CORRECTION1] / denominator;
            let updated = |w: R| w * (one - lr * of(self.weight_decay)) - lr * step;
            match &mut remainder {
                None => weight[i] = updated(weight[i]),
                Some(remainder) => {
                    // The pair is integer arithmetic: it is the same in both precisions.
                    let upper = half::bf16::from_f64(weight[i].to_f64());
                    let master = master::join(upper, remainder[i].to_f64() as i16);
                    let (w, r) = master::split(updated(R::of(master.into())).to_f64() as f32);
                    (weight[i], remainder[i]) = (R::of(w.to_f64()), R::of(r.into()));
                }
            }
            if let Some([first, second]) = draws.as_mut().and_then(Iterator::next) {
                m[i] = memory.stochastic(m[i], first);
                v[i] = memory.stochastic(v[i], second);
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
        let types = [DType::F32, DType::Bf16];
        for (dtype, moments) in types.into_iter().flat_map(|w| types.map(|m| (w, m))) {
            for (elements, halted) in [(1, 0.0), (70, 0.0), (5000, 0.0), (70, 1.0)] {
                let mut c = CaseBuilder::new();
                let shape = [elements];
                let second: Vec<f64> = (0..elements).map(|i| f64::from(i % 9) * 0.01).collect();
                let op = AdamW {
                    weight: c.normal(dtype, &shape, 1.0),
                    remainder: (dtype == DType::Bf16).then(|| c.below(DType::I16, &shape, 1 << 15)),
                    grad: c.hard(DType::F32, &shape),
                    m: c.normal(moments, &shape, 0.1),
                    v: c.values(moments, &shape, second),
                    step_block: c.step_block([0.01, 0.19, 0.0975, 1.0, 0.0], 3),
                    result: c.values(DType::F32, &[StepResult::WORDS], [1.0, 2.0, 0.5, halted]),
                    beta1: 0.9,
                    beta2: 0.95,
                    eps: 1e-8,
                    weight_decay: 0.1,
                    rounding: (moments == DType::Bf16).then_some(Rounding { seed: 7, first: 1 << 33 }),
                };
                let held = if moments == DType::Bf16 { "-moments_bf16" } else { "" };
                cases.push(c.finish(format!("{dtype}{held}/{elements}-halted_{halted}"), op));
            }
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_two_types_and_rounding_without_bf16_are_refused() {
        let cases = AdamW::cases();
        let of = |moments: DType| {
            let found = cases.iter().find_map(|case| match &case.op {
                Op::AdamW(op) if op.m.dtype == moments => Some(*op),
                _ => None,
            });
            found.unwrap()
        };
        let (single, half) = (of(DType::F32), of(DType::Bf16));
        assert!(single.check().is_ok() && half.check().is_ok());
        let told = |op: AdamW| op.check().unwrap_err().to_string();
        let mixed = told(AdamW { v: single.v, ..half });
        assert!(mixed.contains("`v`") && mixed.contains("Bf16"), "{mixed}");
        for op in [AdamW { rounding: None, ..half }, AdamW { rounding: half.rounding, ..single }] {
            assert!(told(op).contains("`rounding` belongs to bf16 moments"));
        }
    }

    #[test]
    fn what_is_rounded_is_one_of_the_two_around_and_a_halted_step_writes_nothing() {
        for case in AdamW::cases() {
            let Op::AdamW(op) = &case.op else { continue };
            if op.rounding.is_none() {
                continue;
            }
            let (rounded, plain) = (case.evaluate(Arithmetic::Rounded), case.evaluate(Arithmetic::F32));
            let before = |view: &View| &case.tensors[view.buffer.0 as usize].values;
            let halted = before(&op.result)[StepResult::HALTED] != 0.0;
            for view in [&op.m, &op.v] {
                let at = view.buffer.0 as usize;
                for (i, (&got, &exact)) in rounded[at].iter().zip(&plain[at]).enumerate() {
                    if halted {
                        assert_eq!(got, before(view)[i], "{}", case.name);
                        continue;
                    }
                    let toward_zero = half::bf16::from_bits(((exact as f32).to_bits() >> 16) as u16);
                    let away = half::bf16::from_bits(toward_zero.to_bits() + 1);
                    assert!(got == toward_zero.to_f64() || got == away.to_f64(), "{got:e} of {exact:e}");
                }
            }
        }
    }
}

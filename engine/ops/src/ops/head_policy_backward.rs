use super::head_policy::{Policy, policies};
use super::store_or_add;
use crate::error::Check;
use crate::real::{matmul_nn, matmul_tn_add};
use crate::*;

impl Spec for HeadPolicyBackward {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(HeadPolicyBackward::NAME);
        let ([tokens, hidden], [vocab, _]) = (matrix(&self.hidden), matrix(&self.weight));
        check.activation("hidden", &self.hidden, &[tokens, hidden])?;
        check.weight("weight", &self.weight, &[vocab, hidden])?;
        check.tensor("labels", &self.labels, DType::I32, &[tokens])?;
        if let Some(support) = &self.support {
            check.tensor("support", support, DType::U32, &[tokens, support::words(vocab)])?;
        }
        for (name, view) in [
            ("inv_temperature", &self.inv_temperature),
            ("lse", &self.lse),
            ("entropy", &self.entropy),
            ("coefficient", &self.coefficient),
            ("entropy_coefficient", &self.entropy_coefficient),
        ] {
            check.tensor(name, view, DType::F32, &[tokens])?;
        }
        check.activation("dhidden", &self.dhidden, &[tokens, hidden])?;
        check.tensor("dweight", &self.dweight, DType::F32, &[vocab, hidden])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let read = [&self.hidden, &self.weight, &self.labels, &self.inv_temperature];
        let policy = Policy::load(memory, read, self.support.as_ref());
        let [lse, entropy, coefficient, entropy_coefficient] =
            [self.lse, self.entropy, self.coefficient, self.entropy_coefficient].map(|v| memory.load(&v));
        let (vocab, width) = (policy.vocab, self.hidden.row_elements());
        let mut dlogits = vec![R::of(0.0); policy.logits.len()];
        for (t, (to, &label)) in dlogits.chunks_exact_mut(vocab).zip(&policy.labels).enumerate() {
            let (c, e) = (coefficient[t], entropy_coefficient[t]);
            if label < 0 || c.to_f64() == 0.0 && e.to_f64() == 0.0 {
                continue;
            }
            for (id, (to, x)) in to.iter_mut().zip(policy.row(t)).enumerate() {
                if x.to_f64() == f64::NEG_INFINITY {
                    continue;
                }
                let own = if id == label as usize { c } else { R::of(0.0) };
                let logprob = x - lse[t];
                let slope = own - logprob.exp() * (c + e * (logprob + entropy[t]));
                *to = memory.rounded(slope * policy.inv_temperature[t], self.hidden.dtype);
            }
        }
        let (hidden, weight) = (memory.load(&self.hidden), memory.load(&self.weight));
        let mut dweight = vec![R::of(0.0); vocab * width];
        matmul_tn_add(&dlogits, &hidden, vocab, width, &mut dweight);
        memory.store(&self.dhidden, &matmul_nn(&dlogits, &weight, vocab, width));
        store_or_add(memory, &self.dweight, &dweight, self.accumulate);
    }

    fn flops(&self) -> u64 {
        product(&[6, self.hidden.elements(), self.weight.rows()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for (name, mut c, forward) in policies() {
            let op = backward(&mut c, forward);
            cases.push(c.finish(name, op));
        }
        cases
    }
}

/// The gradients of what a forward pass gives.
pub(crate) fn backward(c: &mut CaseBuilder, forward: HeadPolicy) -> HeadPolicyBackward {
    c.run(&forward.into());
    let HeadPolicy { hidden, weight, labels, inv_temperature, support, lse, entropy, .. } = forward;
    let ([tokens, width], [vocab, _]) = (matrix(&hidden), matrix(&weight));
    // One of either coefficient, both, none.
    let coefficient = (0..tokens).map(|t| [0.3, 0.0, -0.7, 0.0][t as usize % 4]);
    let entropy_coefficient = (0..tokens).map(|t| [0.0, -0.02, 0.4, 0.0][t as usize % 4]);
    HeadPolicyBackward {
        hidden,
        weight,
        labels,
        inv_temperature,
        support,
        lse,
        entropy,
        coefficient: c.values(DType::F32, &[tokens], coefficient),
        entropy_coefficient: c.values(DType::F32, &[tokens], entropy_coefficient),
        dhidden: c.output(hidden.dtype, &[tokens, width]),
        dweight: c.normal(DType::F32, &[vocab, width], 0.1),
        accumulate: vocab > 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_label_or_coefficients_give_nothing_whatever_stands_in_them() {
        let mut c = CaseBuilder::new();
        let nan = f64::NAN;
        let op = HeadPolicyBackward {
            hidden: c.normal(DType::F32, &[3, 4], 1.0),
            weight: c.normal(DType::F32, &[5, 4], 1.0),
            labels: c.values(DType::I32, &[3], [-1.0, 2.0, -1.0]),
            inv_temperature: c.values(DType::F32, &[3], [nan, 1.0, 1.0]),
            support: Some(c.values(DType::U32, &[3, 1], [0.0, 31.0, 0.0])),
            lse: c.values(DType::F32, &[3], [nan, nan, 0.0]),
            entropy: c.values(DType::F32, &[3], [nan, nan, 0.0]),
            coefficient: c.values(DType::F32, &[3], [1.0, 0.0, nan]),
            entropy_coefficient: c.values(DType::F32, &[3], [1.0, 0.0, 1.0]),
            dhidden: c.output(DType::F32, &[3, 4]),
            dweight: c.output(DType::F32, &[5, 4]),
            accumulate: false,
        };
        op.check().unwrap();
        let case = c.finish("nothing", op);
        let mut memory = HostMemory::<f64>::new(&case.tensors);
        op.reference(&mut memory);
        for view in [op.dhidden, op.dweight] {
            assert!(memory.load(&view).iter().all(|&g| g == 0.0));
        }
    }
}

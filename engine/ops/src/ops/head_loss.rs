use super::head_logprob::{MANY, log_sum_exp};
use super::store_or_add;
use crate::case::{Mix, TOKENS};
use crate::error::Check;
use crate::real::{matmul_nn, matmul_nt, matmul_tn_add};
use crate::*;

impl Spec for HeadLoss {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(HeadLoss::NAME);
        let ([tokens, hidden], [vocab, _]) = (matrix(&self.hidden), matrix(&self.weight));
        check.activation("hidden", &self.hidden, &[tokens, hidden])?;
        check.weight("weight", &self.weight, &[vocab, hidden])?;
        check.tensor("labels", &self.labels, DType::I32, &[tokens])?;
        check.tensor("step_block", &self.step_block, DType::F32, &[StepBlock::WORDS])?;
        check.tensor("loss", &self.loss, DType::F32, &[tokens])?;
        check.activation("dhidden", &self.dhidden, &[tokens, hidden])?;
        check.tensor("dweight", &self.dweight, DType::F32, &[vocab, hidden])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (hidden, weight) = (memory.load(&self.hidden), memory.load(&self.weight));
        let (vocab, width) = (self.weight.rows(), self.hidden.row_elements());
        let inv_targets = memory.load(&self.step_block)[StepBlock::INV_TARGETS];
        let mut dlogits = matmul_nt(&hidden, &weight, width);
        let mut loss = Vec::new();
        for (row, label) in dlogits.chunks_exact_mut(vocab).zip(memory.indices(&self.labels)) {
            if label < 0 {
                row.fill(R::of(0.0));
                loss.push(R::of(0.0));
                continue;
            }
            let lse = log_sum_exp(row);
            loss.push(lse - row[label as usize]);
            row.iter_mut().for_each(|x| *x = (*x - lse).exp() * inv_targets);
            row[label as usize] += -inv_targets;
            row.iter_mut().for_each(|x| *x = memory.rounded(*x, self.hidden.dtype));
        }
        let mut dweight = vec![R::of(0.0); vocab * width];
        matmul_tn_add(&dlogits, &hidden, vocab, width, &mut dweight);
        memory.store(&self.loss, &loss);
        memory.store(&self.dhidden, &matmul_nn(&dlogits, &weight, vocab, width));
        store_or_add(memory, &self.dweight, &dweight, self.accumulate);
    }

    fn flops(&self) -> u64 {
        product(&[6, self.hidden.elements(), self.weight.rows()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for mix in Mix::F32.into_iter().chain([Mix::BF16]) {
            for tokens in TOKENS.into_iter().chain([MANY]) {
                for (vocab, accumulate) in [(13u32, false), (700, true)] {
                    if tokens == MANY && vocab > 13 {
                        continue;
                    }
                    let mut c = CaseBuilder::new();
                    let labels = (0..tokens).map(|t| f64::from((t * 5) % (vocab + 1)) - 1.0);
                    let op = HeadLoss {
                        hidden: c.normal(mix.activation, &[tokens, 40], 1.0),
                        weight: c.normal(mix.weight, &[vocab, 40], 0.5),
                        labels: c.values(DType::I32, &[tokens], labels),
                        step_block: c.step_block([0.0, 0.0, 0.0, 0.0, 1.0 / f64::from(tokens)], 0),
                        loss: c.output(DType::F32, &[tokens]),
                        dhidden: c.output(mix.activation, &[tokens, 40]),
                        dweight: c.normal(DType::F32, &[vocab, 40], 0.1),
                        accumulate,
                    };
                    cases.push(c.finish(format!("{mix}/{tokens}x{vocab}-accumulate_{accumulate}"), op));
                }
            }
        }
        cases
    }
}

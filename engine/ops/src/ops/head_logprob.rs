use crate::case::{Mix, TOKENS};
use crate::error::Check;
use crate::real::matmul_nt;
use crate::*;

/// More rows than any backend keeps logits of at once.
pub(crate) const MANY: u32 = 1030;

/// ln Σ exp of a row.
pub(crate) fn log_sum_exp<R: Real>(row: &[R]) -> R {
    let max = row.iter().fold(R::of(f64::NEG_INFINITY), |m, &x| m.max(x));
    let mut sum = R::of(0.0);
    for &x in row {
        sum += (x - max).exp();
    }
    max + sum.ln()
}

impl Spec for HeadLogprob {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(HeadLogprob::NAME);
        let ([tokens, hidden], [vocab, _]) = (matrix(&self.hidden), matrix(&self.weight));
        check.activation("hidden", &self.hidden, &[tokens, hidden])?;
        check.weight("weight", &self.weight, &[vocab, hidden])?;
        check.tensor("labels", &self.labels, DType::I32, &[tokens])?;
        check.tensor("logprob", &self.logprob, DType::F32, &[tokens])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (hidden, weight) = (memory.load(&self.hidden), memory.load(&self.weight));
        let logits = matmul_nt(&hidden, &weight, self.hidden.row_elements());
        let logprob: Vec<R> = logits
            .chunks_exact(self.weight.rows())
            .zip(memory.indices(&self.labels))
            .map(|(row, label)| if label < 0 { R::of(0.0) } else { row[label as usize] - log_sum_exp(row) })
            .collect();
        memory.store(&self.logprob, &logprob);
    }

    fn flops(&self) -> u64 {
        product(&[2, self.hidden.elements(), self.weight.rows()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for mix in Mix::F32.into_iter().chain([Mix::BF16]) {
            for tokens in TOKENS.into_iter().chain([MANY]) {
                for vocab in [13u32, 700] {
                    if tokens == MANY && vocab > 13 {
                        continue;
                    }
                    let mut c = CaseBuilder::new();
                    let labels = (0..tokens).map(|t| f64::from((t * 5) % (vocab + 1)) - 1.0);
                    let op = HeadLogprob {
                        hidden: c.normal(mix.activation, &[tokens, 40], 1.0),
                        weight: c.normal(mix.weight, &[vocab, 40], 0.5),
                        labels: c.values(DType::I32, &[tokens], labels),
                        logprob: c.output(DType::F32, &[tokens]),
                    };
                    cases.push(c.finish(format!("{mix}/{tokens}x{vocab}"), op));
                }
            }
        }
        cases
    }
}

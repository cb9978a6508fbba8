use super::head_logprob::log_sum_exp;
use super::head_policy::tempered;
use crate::case::Mix;
use crate::error::Check;
use crate::real::matmul_nt;
use crate::*;

impl Spec for HeadSample {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(HeadSample::NAME);
        let ([rows, hidden], [vocab, _]) = (matrix(&self.hidden), matrix(&self.weight));
        check.activation("hidden", &self.hidden, &[rows, hidden])?;
        check.weight("weight", &self.weight, &[vocab, hidden])?;
        check.tensor("sampling", &self.sampling, DType::U32, &[rows, SamplingRow::WORDS])?;
        check.tensor("tokens", &self.tokens, DType::U32, &[rows])?;
        check.tensor("logprob_raw", &self.logprob_raw, DType::F32, &[rows])?;
        check.tensor("logprob_sampled", &self.logprob_sampled, DType::F32, &[rows])?;
        match &self.support {
            Some(support) => check.tensor("support", support, DType::U32, &[rows, support::words(vocab)]),
            None => Ok(()),
        }
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let (hidden, weight) = (memory.load(&self.hidden), memory.load(&self.weight));
        let logits = matmul_nt(&hidden, &weight, self.hidden.row_elements());
        let words = memory.load_words(&self.sampling);
        let (mut tokens, mut raw, mut sampled, mut support) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let vocab = self.weight.rows();
        let rows = logits.chunks_exact(vocab).zip(words.chunks_exact(SamplingRow::WORDS as usize));
        let (mut kept, mut sums) = (Vec::new(), Vec::new());
        for (logits, words) in rows {
            let single: Vec<f32> = logits.iter().map(|x| x.to_f64() as f32).collect();
            let row: SamplingRow = bytemuck::pod_read_unaligned(bytemuck::cast_slice(words));
            row.keep(&single, &mut kept);
            cumulative_weights(&kept, &mut sums);
            let token = row.pick(&sums);
            let mut set = vec![0; support::words(vocab as u32) as usize];
            support::of_finite(&kept, &mut set);
            let left = match row.temperature > 0.0 {
                true => tempered(logits, R::of(f64::from(1.0 / row.temperature)), Some(&set)),
                false => kept.iter().map(|&x| R::of(x.into())).collect(),
            };
            tokens.push(token);
            raw.push(logits[token as usize] - log_sum_exp(logits));
            sampled.push(left[token as usize] - log_sum_exp(&left));
            support.extend(set);
        }
        memory.store_words(&self.tokens, &tokens);
        memory.store(&self.logprob_raw, &raw);
        memory.store(&self.logprob_sampled, &sampled);
        if let Some(view) = &self.support {
            memory.store_words(view, &support);
        }
    }

    fn flops(&self) -> u64 {
        product(&[2, self.hidden.elements(), self.weight.rows()])
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for mix in Mix::F32.into_iter().chain([Mix::BF16]) {
            for (name, policy) in POLICIES {
                for (rows, vocab) in [(1u32, 13u32), (9, 700), (2, 5000)] {
                    let mut c = CaseBuilder::new();
                    let op = sampling(&mut c, mix, [rows, vocab, 40], policy, rows != 2);
                    cases.push(c.finish(format!("{mix}/{rows}x{vocab}-{name}"), op));
                }
            }
        }
        cases
    }
}

const PLAIN: SamplingRow = SamplingRow {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    seed_low: 1,
    seed_high: 2,
    position: 0,
    sample: 0,
};

/// How cases draw.
pub(crate) const POLICIES: [(&str, SamplingRow); 3] = [
    ("plain", PLAIN),
    ("greedy", SamplingRow { temperature: 0.0, ..PLAIN }),
    ("cut", SamplingRow { temperature: 0.7, top_k: 20, top_p: 0.9, min_p: 0.02, ..PLAIN }),
];

/// Draws after rows, each at its own position; `kept` asks for what they could have been.
pub(crate) fn sampling(
    c: &mut CaseBuilder,
    mix: Mix,
    [rows, vocab, width]: [u32; 3],
    policy: SamplingRow,
    kept: bool,
) -> HeadSample {
    let row = |position| {
        bytemuck::cast::<SamplingRow, [u32; SamplingRow::WORDS as usize]>(SamplingRow { position, ..policy })
    };
    HeadSample {
        hidden: c.normal(mix.activation, &[rows, width], 1.0),
        weight: c.normal(mix.weight, &[vocab, width], 0.5),
        sampling: c.values(DType::U32, &[rows, SamplingRow::WORDS], (0..rows).flat_map(row).map(f64::from)),
        tokens: c.output(DType::U32, &[rows]),
        logprob_raw: c.output(DType::F32, &[rows]),
        logprob_sampled: c.output(DType::F32, &[rows]),
        support: kept.then(|| c.output(DType::U32, &[rows, support::words(vocab)])),
    }
}

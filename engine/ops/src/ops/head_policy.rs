use super::head_logprob::{MANY, log_sum_exp};
use crate::case::{Mix, TOKENS};
use crate::error::Check;
use crate::real::matmul_nt;
use crate::*;

/// logits · inverse, −∞ outside the support.
pub(super) fn tempered<R: Real>(logits: &[R], inverse: R, support: Option<&[u32]>) -> Vec<R> {
    let kept = |id| support.is_none_or(|row| support::has(row, id));
    let none = R::of(f64::NEG_INFINITY);
    logits.iter().enumerate().map(|(id, &x)| if kept(id) { x * inverse } else { none }).collect()
}

/// What both ops of a policy loss read.
pub(super) struct Policy<R> {
    /// The support's words, row after row.
    pub support: Option<Vec<u32>>,
    pub labels: Vec<i64>,
    pub inv_temperature: Vec<R>,
    pub logits: Vec<R>,
    pub vocab: usize,
}

impl<R: Real> Policy<R> {
    pub fn load(
        memory: &HostMemory<R>,
        [hidden, weight, labels, inv_temperature]: [&View; 4],
        support: Option<&View>,
    ) -> Policy<R> {
        Policy {
            support: support.map(|view| memory.load_words(view)),
            labels: memory.indices(labels),
            inv_temperature: memory.load(inv_temperature),
            logits: matmul_nt(&memory.load(hidden), &memory.load(weight), hidden.row_elements()),
            vocab: weight.rows(),
        }
    }

    /// What row `t` is sampled from.
    pub fn row(&self, t: usize) -> Vec<R> {
        let words = support::words(self.vocab as u32) as usize;
        let support = self.support.as_ref().map(|all| &all[t * words..][..words]);
        tempered(&self.logits[t * self.vocab..][..self.vocab], self.inv_temperature[t], support)
    }
}

impl Spec for HeadPolicy {
    fn check(&self) -> Result<(), OpError> {
        let check = Check::new(HeadPolicy::NAME);
        let ([tokens, hidden], [vocab, _]) = (matrix(&self.hidden), matrix(&self.weight));
        check.activation("hidden", &self.hidden, &[tokens, hidden])?;
        check.weight("weight", &self.weight, &[vocab, hidden])?;
        check.tensor("labels", &self.labels, DType::I32, &[tokens])?;
        check.tensor("inv_temperature", &self.inv_temperature, DType::F32, &[tokens])?;
        if let Some(support) = &self.support {
            check.tensor("support", support, DType::U32, &[tokens, support::words(vocab)])?;
        }
        check.tensor("logprob", &self.logprob, DType::F32, &[tokens])?;
        check.tensor("lse", &self.lse, DType::F32, &[tokens])?;
        check.tensor("entropy", &self.entropy, DType::F32, &[tokens])
    }

    fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
        let read = [&self.hidden, &self.weight, &self.labels, &self.inv_temperature];
        let policy = Policy::load(memory, read, self.support.as_ref());
        let (mut logprob, mut lse, mut entropy) = (Vec::new(), Vec::new(), Vec::new());
        for (t, &label) in policy.labels.iter().enumerate() {
            let mut surprise = R::of(0.0);
            let (mut own, mut total) = (R::of(0.0), R::of(0.0));
            if label >= 0 {
                let row = policy.row(t);
                total = log_sum_exp(&row);
                own = row[label as usize] - total;
                for &x in row.iter().filter(|x| x.to_f64() > f64::NEG_INFINITY) {
                    surprise += (x - total).exp() * (total - x);
                }
            }
            logprob.push(own);
            lse.push(total);
            entropy.push(surprise);
        }
        memory.store(&self.logprob, &logprob);
        memory.store(&self.lse, &lse);
        memory.store(&self.entropy, &entropy);
    }

    fn flops(&self) -> u64 {
        product(&[2, self.hidden.elements(), self.weight.rows()])
    }

    fn cases() -> Vec<Case> {
        policies().into_iter().map(|(name, c, op)| c.finish(name, op)).collect()
    }
}

/// Rows of policies: each with its own temperature, some without a label, with and without a support.
pub(super) fn policies() -> Vec<(String, CaseBuilder, HeadPolicy)> {
    let mut all = Vec::new();
    for mix in Mix::F32.into_iter().chain([Mix::BF16]) {
        for tokens in TOKENS.into_iter().chain([MANY]) {
            for (vocab, cut) in [(13u32, false), (13, true), (700, true), (700, false)] {
                if tokens == MANY && !(vocab == 13 && cut) {
                    continue;
                }
                let name = format!("{mix}/{tokens}x{vocab}{}", if cut { "-support" } else { "" });
                let mut c = CaseBuilder::new();
                let op = policy(&mut c, mix, [tokens, vocab, WIDTH], cut, |t| (t * 5 + 3) % (vocab + 1));
                all.push((name, c, op));
            }
        }
        let mut c = CaseBuilder::new();
        let op = policy(&mut c, mix, [7, 700, WIDTH], true, |_| 0);
        all.push((format!("{mix}/7x700-no_label"), c, op));
    }
    all
}

/// Columns of their rows.
const WIDTH: u32 = 40;

/// One of them; `label` gives each row's label and 1 more.
pub(crate) fn policy(
    c: &mut CaseBuilder,
    mix: Mix,
    [tokens, vocab, width]: [u32; 3],
    cut: bool,
    label: impl Fn(u32) -> u32,
) -> HeadPolicy {
    let labels: Vec<u32> = (0..tokens).map(label).collect();
    let words = support::words(vocab);
    // Rows without a label keep nothing; others a third of the tokens, or a half where they have few, and theirs.
    let word = |at: u32| {
        let (t, word) = (at / words, at % words);
        let keeps = |id: u32| id + 1 == labels[t as usize] || id * (t + 3) % 5 < 2;
        let ids = (word * 32..vocab.min(word * 32 + 32)).filter(|&id| labels[t as usize] > 0 && keeps(id));
        f64::from(ids.fold(0u32, |bits, id| bits | 1 << (id % 32)))
    };
    let inverse = (0..tokens).map(|t| f64::from(1.0 / [1.0f32, 0.6, 1.7][t as usize % 3]));
    HeadPolicy {
        hidden: c.normal(mix.activation, &[tokens, width], 1.0),
        weight: c.normal(mix.weight, &[vocab, width], 0.5),
        labels: c.values(DType::I32, &[tokens], labels.iter().map(|&label| f64::from(label) - 1.0)),
        inv_temperature: c.values(DType::F32, &[tokens], inverse),
        support: cut.then(|| c.values(DType::U32, &[tokens, words], (0..tokens * words).map(word))),
        logprob: c.output(DType::F32, &[tokens]),
        lse: c.output(DType::F32, &[tokens]),
        entropy: c.output(DType::F32, &[tokens]),
    }
}

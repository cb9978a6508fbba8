use super::head::{SumExp, Support, chunk_rows, logits};
use super::{check_inverse_temperatures, check_labels};
use crate::memory::Memory;
use octo_ops::{BackendError, HeadPolicy};
use rayon::prelude::*;

pub(super) fn run(op: &HeadPolicy, memory: &Memory) -> Result<(), BackendError> {
    let labels: &[i32] = memory.span(&op.labels);
    let inverse: &[f32] = memory.span(&op.inv_temperature);
    let vocab = op.weight.rows();
    check_labels(HeadPolicy::NAME, labels, vocab)?;
    check_inverse_temperatures(HeadPolicy::NAME, labels, inverse)?;
    let (hidden, weight) = (memory.matrix(&op.hidden), memory.weight(&op.weight));
    let support = Support::of(op.support.as_ref(), memory);
    let [logprob, lse, entropy] = [op.logprob, op.lse, op.entropy].map(|view| memory.span_mut::<f32>(&view));
    let rows = chunk_rows(vocab);
    let mut scratch = vec![0.0f32; rows.min(labels.len()) * vocab];
    let outputs = logprob.chunks_mut(rows).zip(lse.chunks_mut(rows)).zip(entropy.chunks_mut(rows));
    for (i, (labels, ((logprob, lse), entropy))) in labels.chunks(rows).zip(outputs).enumerate() {
        let first = i * rows;
        let scratch = &mut scratch[..labels.len() * vocab];
        logits(hidden.row_range(first, labels.len()), weight, scratch);
        let outputs = logprob.par_iter_mut().zip(lse).zip(entropy).zip(labels);
        outputs.zip(scratch.par_chunks_mut(vocab)).enumerate().for_each(
            |(t, ((((logprob, lse), entropy), &label), row))| {
                (*logprob, *lse, *entropy) = (0.0, 0.0, 0.0);
                if label >= 0 {
                    support.temper(first + t, row, inverse[first + t]);
                    let total = SumExp::of(row);
                    *lse = total.ln();
                    *logprob = row[label as usize] - *lse;
                    *entropy = total.entropy(row);
                }
            },
        );
    }
    Ok(())
}

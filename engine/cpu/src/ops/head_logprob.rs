use super::check_labels;
use super::head::{SumExp, chunk_rows, logits};
use crate::memory::Memory;
use octo_ops::{BackendError, HeadLogprob};
use rayon::prelude::*;

pub(super) fn run(op: &HeadLogprob, memory: &Memory) -> Result<(), BackendError> {
    let labels: &[i32] = memory.span(&op.labels);
    let vocab = op.weight.rows();
    check_labels(HeadLogprob::NAME, labels, vocab)?;
    let (hidden, weight) = (memory.matrix(&op.hidden), memory.weight(&op.weight));
    let logprob = memory.span_mut::<f32>(&op.logprob);
    let rows = chunk_rows(vocab);
    let mut scratch = vec![0.0f32; rows.min(labels.len()) * vocab];
    for (i, (labels, logprob)) in labels.chunks(rows).zip(logprob.chunks_mut(rows)).enumerate() {
        let scratch = &mut scratch[..labels.len() * vocab];
        logits(hidden.row_range(i * rows, labels.len()), weight, scratch);
        logprob.par_iter_mut().zip(labels).zip(scratch.par_chunks(vocab)).for_each(|((to, &label), row)| {
            *to = if label < 0 { 0.0 } else { row[label as usize] - SumExp::of(row).ln() };
        });
    }
    Ok(())
}

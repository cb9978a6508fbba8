use super::head::{SumExp, chunk_rows, logits};
use crate::memory::Memory;
use octo_ops::{BackendError, HeadSample, SamplingRow, support};
use rayon::prelude::*;

pub(super) fn run(op: &HeadSample, memory: &Memory) -> Result<(), BackendError> {
    let vocab = op.weight.rows();
    let (hidden, weight) = (memory.matrix(&op.hidden), memory.weight(&op.weight));
    let words: &[u32] = memory.span(&op.sampling);
    let sampling: &[SamplingRow] = bytemuck::cast_slice(words);
    let rows = chunk_rows(vocab);
    let mut scratch = vec![0.0f32; rows.min(sampling.len()) * vocab];
    let tokens = memory.span_mut::<u32>(&op.tokens).chunks_mut(rows);
    let raw = memory.span_mut::<f32>(&op.logprob_raw).chunks_mut(rows);
    let sampled = memory.span_mut::<f32>(&op.logprob_sampled).chunks_mut(rows);
    let count = op.support.map_or(0, |view| view.row_elements());
    let mut sets = op.support.map(|view| memory.span_mut::<u32>(&view).chunks_mut(rows * count));
    let chunks = sampling.chunks(rows).zip(tokens).zip(raw).zip(sampled);
    for (i, (((sampling, tokens), raw), sampled)) in chunks.enumerate() {
        let scratch = &mut scratch[..sampling.len() * vocab];
        logits(hidden.row_range(i * rows, sampling.len()), weight, scratch);
        // Without a support there is an empty set a row.
        let mut none = vec![[0u32; 0]; sampling.len()];
        let sets: Vec<&mut [u32]> = match sets.as_mut().and_then(Iterator::next) {
            Some(sets) => sets.chunks_mut(count).collect(),
            None => none.iter_mut().map(|set| set.as_mut_slice()).collect(),
        };
        let outputs = tokens.par_iter_mut().zip(raw).zip(sampled).zip(sets);
        outputs.zip(sampling).zip(scratch.par_chunks(vocab)).for_each_init(
            Vec::new,
            |kept, (((((token, raw), sampled), set), policy), row)| {
                policy.keep(row, kept);
                *token = policy.pick(kept);
                *raw = row[*token as usize] - SumExp::of(row).ln();
                *sampled = kept[*token as usize] - SumExp::of(kept).ln();
                support::of_finite(kept, set);
            },
        );
    }
    Ok(())
}

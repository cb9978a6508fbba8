use super::check_labels;
use super::head::{SumExp, chunk_rows, gradients, logits};
use crate::math;
use crate::memory::Memory;
use octo_ops::{BackendError, HeadLoss, StepBlock};
use rayon::prelude::*;

pub(super) fn run(op: &HeadLoss, memory: &Memory) -> Result<(), BackendError> {
    let labels: &[i32] = memory.span(&op.labels);
    let vocab = op.weight.rows();
    check_labels(HeadLoss::NAME, labels, vocab)?;
    let inv_targets = memory.span::<f32>(&op.step_block)[StepBlock::INV_TARGETS];
    let (hidden, weight) = (memory.matrix(&op.hidden), memory.weight(&op.weight));
    let loss = memory.span_mut::<f32>(&op.loss);
    let dhidden = memory.span_mut::<f32>(&op.dhidden);
    let mut dweight = memory.matrix_mut(&op.dweight);
    let (rows, width) = (chunk_rows(vocab), op.hidden.row_elements());
    let mut scratch = vec![0.0f32; rows.min(labels.len()) * vocab];
    let chunks = labels.chunks(rows).zip(loss.chunks_mut(rows)).zip(dhidden.chunks_mut(rows * width));
    for (i, ((labels, loss), dhidden)) in chunks.enumerate() {
        let dlogits = &mut scratch[..labels.len() * vocab];
        let hidden = hidden.row_range(i * rows, labels.len());
        logits(hidden, weight, dlogits);
        loss.par_iter_mut().zip(labels).zip(dlogits.par_chunks_mut(vocab)).for_each(
            |((loss, &label), row)| {
                if label < 0 {
                    row.fill(0.0);
                    *loss = 0.0;
                    return;
                }
                let total = SumExp::of(row);
                *loss = total.ln() - row[label as usize];
                math::exp_scaled(row, total.max, (f64::from(inv_targets) / total.sum) as f32);
                row[label as usize] -= inv_targets;
            },
        );
        gradients(dlogits, (hidden, weight), dhidden, &mut dweight, op.accumulate || i > 0);
    }
    Ok(())
}

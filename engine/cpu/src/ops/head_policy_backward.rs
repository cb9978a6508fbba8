use super::head::{Support, chunk_rows, gradients, logits};
use super::{check_inverse_temperatures, check_labels};
use crate::math::{self, PolicySlope};
use crate::memory::Memory;
use octo_ops::{BackendError, HeadPolicyBackward};
use rayon::prelude::*;

pub(super) fn run(op: &HeadPolicyBackward, memory: &Memory) -> Result<(), BackendError> {
    let labels: &[i32] = memory.span(&op.labels);
    let inverse: &[f32] = memory.span(&op.inv_temperature);
    let vocab = op.weight.rows();
    check_labels(HeadPolicyBackward::NAME, labels, vocab)?;
    check_inverse_temperatures(HeadPolicyBackward::NAME, labels, inverse)?;
    let (hidden, weight) = (memory.matrix(&op.hidden), memory.weight(&op.weight));
    let support = Support::of(op.support.as_ref(), memory);
    let [lse, entropy, coefficient, entropy_coefficient] =
        [&op.lse, &op.entropy, &op.coefficient, &op.entropy_coefficient].map(|view| memory.span::<f32>(view));
    let dhidden = memory.span_mut::<f32>(&op.dhidden);
    let mut dweight = memory.matrix_mut(&op.dweight);
    let (rows, width) = (chunk_rows(vocab), op.hidden.row_elements());
    let mut scratch = vec![0.0f32; rows.min(labels.len()) * vocab];
    for (i, (labels, dhidden)) in labels.chunks(rows).zip(dhidden.chunks_mut(rows * width)).enumerate() {
        let first = i * rows;
        let dlogits = &mut scratch[..labels.len() * vocab];
        let hidden = hidden.row_range(first, labels.len());
        logits(hidden, weight, dlogits);
        dlogits.par_chunks_mut(vocab).zip(labels).enumerate().for_each(|(t, (row, &label))| {
            let t = first + t;
            let (coefficient, entropy_coefficient) = (coefficient[t], entropy_coefficient[t]);
            if label < 0 || coefficient == 0.0 && entropy_coefficient == 0.0 {
                row.fill(0.0);
                return;
            }
            support.temper(t, row, inverse[t]);
            let possible = row[label as usize] > f32::NEG_INFINITY;
            let (lse, entropy, scale) = (lse[t], entropy[t], inverse[t]);
            math::policy_gradient(row, PolicySlope { lse, entropy, coefficient, entropy_coefficient, scale });
            if possible {
                row[label as usize] += scale * coefficient;
            }
        });
        gradients(dlogits, (hidden, weight), dhidden, &mut dweight, op.accumulate || i > 0);
    }
    Ok(())
}

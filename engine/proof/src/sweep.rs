//! Which row of the tuning table should serve an op of this shape?

use octo_kernels::tuning::{attention_backward_rows, attention_rows, rows};
use octo_ops::Op;

/// Entries of the tuning table that an op of this kind can run on, by the name to give [`octo_queue::open_with`] or
/// [`crate::Predictor::fix`] with them. Of ops with two kernels that are chosen apart, as attention's gradients, all.
pub fn variants(op: &Op) -> (&'static str, Vec<&'static str>) {
    let name = match op.name() {
        "head_loss" | "head_logprob" | "head_sample" => "head_logits",
        name => name,
    };
    let products = rows().iter().map(|row| (row.op, row.entry.as_str()));
    let attention = attention_rows().iter().map(|row| (row.op, row.entry.as_str()));
    let backward = attention_backward_rows().iter().map(|row| (row.op, row.entry.as_str()));
    let of_op = products.chain(attention).chain(backward).filter(|(op, _)| *op == name);
    (name, of_op.map(|(_, entry)| entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MODELS, bench_cases};

    #[test]
    fn every_product_of_the_benches_has_variants_and_streams_have_none() {
        for case in bench_cases(&MODELS[0]) {
            let op = case.op().unwrap();
            let streams = ["rms_norm", "swiglu", "swiglu_backward", "adamw", "random_fill"];
            let (name, entries) = variants(&op);
            assert_eq!(entries.is_empty(), streams.contains(&op.name()), "{}", op.name());
            assert!(entries.iter().all(|entry| entry.starts_with(name)));
        }
    }
}

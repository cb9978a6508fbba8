//! A row alone has the bits that it has in a crowd, whichever op, on cores and on the simulated GPU: `docs/numerics.md`
//! promises it, and what decodes agrees with what trains because of it. Documents stand for rows in attention.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_ops::*;
use octo_queue::{DeviceKind, open};
use std::collections::BTreeMap;

/// The operands of an op that have its rows, those of axis 0 one by one; none where the op adds rows up, or has no rows.
fn rows(op: &Op) -> Option<&'static [&'static str]> {
    Some(match op {
        Op::Embed(_) => &["ids", "out"],
        Op::RmsNorm(_) => &["x", "residual", "y", "sum", "rstd"],
        Op::QkvRope(_) => &["x", "positions", "slots", "q", "k", "v"],
        Op::Attention(_) => &["q", "k", "v", "positions", "out", "lse"],
        Op::LinearResidual(_) => &["x", "residual", "out"],
        Op::GateUpSwiglu(_) => &["x", "product", "gate_up"],
        Op::Swiglu(_) => &["gate_up", "product"],
        // The gradient of the weight is a sum over rows.
        Op::HeadLoss(_) => &["hidden", "labels", "loss", "dhidden"],
        Op::HeadLogprob(_) => &["hidden", "labels", "logprob"],
        Op::HeadSample(_) => &["hidden", "sampling", "tokens", "logprob_raw", "logprob_sampled", "support"],
        Op::HeadPolicy(_) => &["hidden", "labels", "inv_temperature", "support", "logprob", "lse", "entropy"],
        Op::HeadPolicyBackward(_) => &[
            "hidden",
            "labels",
            "inv_temperature",
            "support",
            "lse",
            "entropy",
            "coefficient",
            "entropy_coefficient",
            "dhidden",
        ],
        Op::FeedTokens(_) => &["source", "ids"],
        Op::LinearBackwardInput(_) => &["dy", "dx"],
        Op::SwigluBackward(_) => &["dproduct", "gate_up"],
        Op::AttentionBackward(_) => &["q", "k", "v", "out", "lse", "dout", "dq", "dk", "dv"],
        Op::RopeBackward(_) => &["positions", "dqk"],
        Op::RmsNormBackward(_) => &["dy", "x", "rstd", "dx"],
        Op::AdamW(_) => &["weight", "remainder", "grad", "m", "v"],
        Op::LinearBackwardWeight(_) | Op::BiasBackward(_) | Op::EmbedBackward(_) => return None,
        Op::LossSum(_) | Op::GradNorm(_) => return None,
        // Pages are copied whole, and a number depends on its place by definition.
        Op::CopyPages(_) | Op::RandomFill(_) => return None,
    })
}

/// The op on rows `first .. first + count` alone; a document's bounds are the last tensor of the case.
fn alone(case: &Case, first: u32, count: u32) -> (Op, Vec<Tensor>) {
    let (mut op, mut tensors) = (case.op, case.tensors.clone());
    let names: Vec<&str> = op.operands().iter().map(|operand| operand.name).collect();
    let own = rows(&op).unwrap();
    for (name, view) in names.into_iter().zip(op.views_mut()) {
        // Pages stay where they are.
        if own.contains(&name) && view.shape().len() < 4 {
            *view = view.slice_rows(first, count);
        }
    }
    if let Op::AdamW(AdamW { rounding: Some(rounding), .. }) = &mut op {
        // The elements keep their places in the arena.
        rounding.first += u64::from(first);
    }
    if let Op::Attention(Attention { cu_seqlens, .. })
    | Op::AttentionBackward(AttentionBackward { cu_seqlens, .. }) = &mut op
    {
        *cu_seqlens = View::new(BufferId(tensors.len() as u32), 0, DType::U32, &[2]);
        tensors.push(Tensor { dtype: DType::U32, values: vec![0.0, count.into()] });
    }
    (op, tensors)
}

/// The table of pages of one document only.
fn own_pages(op: &mut Op, document: u32) {
    if let Op::Attention(Attention { page_table: Some(table), .. }) = op {
        *table = table.slice_rows(document, 1);
    }
}

/// The stretches of rows that are tried alone, with the document that each is.
fn stretches(case: &Case) -> Vec<(u32, u32, u32)> {
    let cu_seqlens = match &case.op {
        Op::Attention(op) => op.cu_seqlens,
        Op::AttentionBackward(op) => op.cu_seqlens,
        Op::AdamW(op) => {
            // Sixteen bytes of the narrowest of its arenas.
            let last = (op.weight.shape()[0] - 1) / 8 * 8;
            return vec![(0, 1, 0), (last / 2 / 8 * 8, 3.min(last + 1), 0), (last, 1, 0)];
        }
        op => {
            let name = rows(op).unwrap()[0];
            let rows = op.operands().iter().find(|operand| operand.name == name).unwrap().view.shape()[0];
            return [0, rows / 2, rows - 1].map(|row| (row, 1, 0)).to_vec();
        }
    };
    let bounds = &case.tensors[cu_seqlens.buffer.0 as usize].values;
    let documents = (0..).zip(bounds.windows(2)).map(|(d, w)| (w[0] as u32, (w[1] - w[0]) as u32, d));
    documents.filter(|&(_, rows, _)| rows > 0).collect()
}

/// The bytes of the rows that an op writes, by operand; none where the device does not compute it.
fn written(device: DeviceKind, op: &Op, tensors: &[Tensor]) -> Option<BTreeMap<&'static str, Vec<Vec<u8>>>> {
    let mut queue = open(device, Some(1)).unwrap();
    if !queue.supports(op) {
        return None;
    }
    for (number, tensor) in tensors.iter().enumerate() {
        let shape = [tensor.values.len() as u32];
        queue.tensor(&format!("tensor {number}"), tensor.dtype, &shape).unwrap();
    }
    queue.seal();
    for (number, tensor) in (0..).zip(tensors) {
        let view = View::new(BufferId(number), 0, tensor.dtype, &[tensor.values.len() as u32]);
        queue.upload(view, &tensor.to_le_bytes()).unwrap();
    }
    queue.run(*op).unwrap_or_else(|error| panic!("{op:?}: {error}"));
    let own = rows(op).unwrap();
    let mut all = BTreeMap::new();
    for operand in op.operands().iter().filter(|o| o.access != Access::Read && own.contains(&o.name)) {
        if operand.view.shape().len() == 4 {
            continue;
        }
        let mut read = |row| {
            let row = operand.view.slice_rows(row, 1);
            let mut bytes = vec![0; row.span_bytes() as usize];
            queue.begin_readback(Slot(0), row).unwrap();
            queue.finish_readback(Slot(0), &mut bytes).unwrap();
            bytes
        };
        all.insert(operand.name, (0..operand.view.shape()[0]).map(&mut read).collect());
    }
    Some(all)
}

fn hold(device: DeviceKind) {
    let mut tried: BTreeMap<&str, u32> = BTreeMap::new();
    for case in Op::all_cases().iter().filter(|case| rows(&case.op).is_some()) {
        let count = tried.entry(case.op.name()).or_default();
        let elements: usize = case.tensors.iter().map(|tensor| tensor.values.len()).sum();
        // Few of each, none of them long.
        if *count >= 12 || elements > 120_000 {
            continue;
        }
        let Some(crowd) = written(device, &case.op, &case.tensors) else { continue };
        for (first, rows, document) in stretches(case) {
            let (mut op, tensors) = alone(case, first, rows);
            own_pages(&mut op, document);
            // A row may begin where a kernel takes none: it never comes alone then.
            let Some(single) = written(device, &op, &tensors) else { continue };
            *count += 1;
            for (name, all) in &crowd {
                let here = &all[first as usize..][..rows as usize];
                assert!(single[name] == here, "{}/{}: {name}, rows from {first}", case.op.name(), case.name);
            }
        }
    }
    assert!(tried.values().all(|&count| count > 0), "{tried:?}");
}

#[test]
fn on_the_simulated_gpu() {
    hold(DeviceKind::Sim);
}

#[test]
fn on_cores() {
    hold(DeviceKind::Cpu);
}

//! Every gradient formula against central differences of its forward, in f64.
#![allow(missing_docs, clippy::unwrap_used)]

use octo_ops::*;

const F: DType = DType::F32;

/// L = Σ dy·y over the forward's outputs; `gradients` pairs each input with what the backward says of it.
fn holds(
    builder: CaseBuilder,
    forward: &[Op],
    outputs: &[(View, View)],
    backward: &[Op],
    gradients: &[(View, View)],
) {
    let case = builder.finish("", forward[0]);
    let fresh = || HostMemory::<f64>::new(&case.tensors);
    for op in forward.iter().chain(backward) {
        op.check().unwrap();
    }
    let mut memory = fresh();
    for op in forward.iter().chain(backward) {
        op.reference(&mut memory);
    }
    let loss = |memory: &mut HostMemory<f64>| -> f64 {
        forward.iter().for_each(|op| op.reference(memory));
        outputs
            .iter()
            .map(|(y, dy)| memory.load(y).iter().zip(memory.load(dy)).map(|(y, d)| y * d).sum::<f64>())
            .sum()
    };
    for (input, gradient) in gradients {
        let analytic = memory.load(gradient);
        let largest = analytic.iter().fold(1e-3, |m: f64, g| m.max(g.abs()));
        for (i, expected) in analytic.iter().enumerate() {
            let step = 1e-5;
            let moved = |by: f64| {
                let mut memory = fresh();
                memory.buffer_mut(input.buffer)[i] += by;
                loss(&mut memory)
            };
            let numeric = (moved(step) - moved(-step)) / (2.0 * step);
            assert!(
                (numeric - expected).abs() < 1e-7 * largest.max(1.0),
                "{} {input:?}[{i}]: {numeric} by differences, {expected} by formula",
                backward[0].name()
            );
        }
    }
}

#[test]
fn rms_norm() {
    let mut c = CaseBuilder::new();
    let shape = [3, 10];
    let (x, weight) = (c.normal(F, &shape, 1.0), c.normal(F, &[10], 1.0));
    let (y, rstd, dy) = (c.output(F, &shape), c.output(F, &[3]), c.normal(F, &shape, 1.0));
    let (dx, dweight) = (c.output(F, &shape), c.output(F, &[10]));
    let forward = RmsNorm { x, residual: None, weight, y, sum: None, rstd, eps: 1e-2 };
    let backward =
        RmsNormBackward { dy, x, weight, rstd, dx, dweight, accumulate_dx: false, accumulate: false };
    holds(c, &[forward.into()], &[(y, dy)], &[backward.into()], &[(x, dx), (weight, dweight)]);
}

#[test]
fn rms_norm_of_a_sum() {
    let mut c = CaseBuilder::new();
    let shape = [3, 10];
    let (x, residual, weight) = (c.normal(F, &shape, 1.0), c.normal(F, &shape, 1.0), c.normal(F, &[10], 1.0));
    let (y, sum, rstd) = (c.output(F, &shape), c.output(F, &shape), c.output(F, &[3]));
    let dy = c.normal(F, &shape, 1.0);
    let (dx, dweight) = (c.output(F, &shape), c.output(F, &[10]));
    let forward = RmsNorm { x, residual: Some(residual), weight, y, sum: Some(sum), rstd, eps: 1e-2 };
    let backward =
        RmsNormBackward { dy, x: sum, weight, rstd, dx, dweight, accumulate_dx: false, accumulate: false };
    // Both addends have the gradient of their sum.
    holds(
        c,
        &[forward.into()],
        &[(y, dy)],
        &[backward.into()],
        &[(x, dx), (residual, dx), (weight, dweight)],
    );
}

#[test]
fn linear_residual() {
    let mut c = CaseBuilder::new();
    let (x, weight) = (c.normal(F, &[3, 6], 1.0), c.normal(F, &[5, 6], 1.0));
    let (residual, out) = (c.normal(F, &[3, 5], 1.0), c.output(F, &[3, 5]));
    let dy = c.normal(F, &[3, 5], 1.0);
    let (dx, dweight) = (c.output(F, &[3, 6]), c.output(F, &[5, 6]));
    let forward = LinearResidual { x, weight, residual, out };
    let backward = [
        LinearBackwardInput { dy, weight, dx }.into(),
        LinearBackwardWeight { dy, x, dweight, accumulate: false }.into(),
    ];
    // The residual's gradient is dy itself: the model adds to it in place.
    holds(c, &[forward.into()], &[(out, dy)], &backward, &[(x, dx), (weight, dweight), (residual, dy)]);
}

#[test]
fn gate_up_swiglu() {
    let mut c = CaseBuilder::new();
    let (x, weight) = (c.normal(F, &[3, 6], 1.0), c.normal(F, &[32, 6], 0.7));
    let (product, gate_up) = (c.output(F, &[3, 16]), c.output(F, &[3, 32]));
    let dproduct = c.normal(F, &[3, 16], 1.0);
    let (dx, dweight) = (c.output(F, &[3, 6]), c.output(F, &[32, 6]));
    let forward = GateUpSwiglu { x, weight, product, gate_up: Some(gate_up) };
    let backward = [
        SwigluBackward { dproduct, gate_up }.into(),
        LinearBackwardInput { dy: gate_up, weight, dx }.into(),
        LinearBackwardWeight { dy: gate_up, x, dweight, accumulate: false }.into(),
    ];
    holds(c, &[forward.into()], &[(product, dproduct)], &backward, &[(x, dx), (weight, dweight)]);
}

#[test]
fn qkv_rope() {
    let mut c = CaseBuilder::new();
    let (heads, kv_heads, d, tokens) = (2, 1, 4, 3);
    let (wide, narrow) = (heads * d, kv_heads * d);
    let rows = wide + 2 * narrow;
    let (x, weight, bias) =
        (c.normal(F, &[tokens, 6], 1.0), c.normal(F, &[rows, 6], 1.0), c.normal(F, &[rows], 1.0));
    let angles: Vec<f64> = (0..10 * d)
        .map(|i| {
            let angle = f64::from(i / d) / (1.0 + f64::from(i % (d / 2)));
            if i % d < d / 2 { angle.cos() } else { angle.sin() }
        })
        .collect();
    let rope = c.values(F, &[10, d], angles);
    let positions = c.values(DType::U32, &[tokens], [0.0, 7.0, 3.0]);
    let (q, k, v) =
        (c.output(F, &[tokens, wide]), c.output(F, &[tokens, narrow]), c.output(F, &[tokens, narrow]));
    // One fused gradient, and a copy of it, since the rotation is undone in place.
    let upstream: Vec<f64> = (0..tokens * rows).map(|i| f64::from(i % 7) - 3.0).collect();
    let fused = c.values(F, &[tokens, rows], upstream.clone());
    let kept = c.values(F, &[tokens, rows], upstream);
    let (dx, dweight, dbias) = (c.output(F, &[tokens, 6]), c.output(F, &[rows, 6]), c.output(F, &[rows]));
    let forward = QkvRope { x, weight, bias: Some(bias), rope, positions, slots: None, q, k, v };
    let backward = [
        RopeBackward { rope, positions, dqk: fused.slice_columns(0, wide + narrow) }.into(),
        LinearBackwardInput { dy: fused, weight, dx }.into(),
        LinearBackwardWeight { dy: fused, x, dweight, accumulate: false }.into(),
        BiasBackward { dy: fused, dbias, accumulate: false }.into(),
    ];
    let outputs = [
        (q, kept.slice_columns(0, wide)),
        (k, kept.slice_columns(wide, narrow)),
        (v, kept.slice_columns(wide + narrow, narrow)),
    ];
    holds(c, &[forward.into()], &outputs, &backward, &[(x, dx), (weight, dweight), (bias, dbias)]);
}

#[test]
fn attention() {
    let mut c = CaseBuilder::new();
    let (heads, kv_heads, head_dim, tokens) = (4, 2, 8, 9);
    let (wide, narrow) = ([tokens, heads * head_dim], [tokens, kv_heads * head_dim]);
    let (q, k, v) = (c.normal(F, &wide, 1.0), c.normal(F, &narrow, 1.0), c.normal(F, &narrow, 1.0));
    let cu_seqlens = c.values(DType::U32, &[4], [0.0, 4.0, 9.0, 9.0]);
    let (out, lse, dout) = (c.output(F, &wide), c.output(F, &[tokens, heads]), c.normal(F, &wide, 1.0));
    let (dq, dk, dv) = (c.output(F, &wide), c.output(F, &narrow), c.output(F, &narrow));
    let scale = 0.3;
    let forward =
        Attention { q, k, v, cu_seqlens, positions: None, page_table: None, out, lse, head_dim, scale };
    let backward = AttentionBackward { q, k, v, out, lse, dout, cu_seqlens, dq, dk, dv, head_dim, scale };
    holds(c, &[forward.into()], &[(out, dout)], &[backward.into()], &[(q, dq), (k, dk), (v, dv)]);
}

#[test]
fn head_loss() {
    let mut c = CaseBuilder::new();
    let (hidden, weight) = (c.normal(F, &[4, 6], 1.0), c.normal(F, &[9, 6], 1.0));
    let labels = c.values(DType::I32, &[4], [3.0, -1.0, 8.0, 0.0]);
    let step_block = c.step_block([0.0, 0.0, 0.0, 0.0, 0.25], 0);
    let (loss, dhidden, dweight) = (c.output(F, &[4]), c.output(F, &[4, 6]), c.output(F, &[9, 6]));
    let dloss = c.values(F, &[4], [0.25; 4]);
    let op = HeadLoss { hidden, weight, labels, step_block, loss, dhidden, dweight, accumulate: false };
    holds(c, &[op.into()], &[(loss, dloss)], &[op.into()], &[(hidden, dhidden), (weight, dweight)]);
}

#[test]
fn embed() {
    let mut c = CaseBuilder::new();
    let (ids, weight) = (c.values(DType::U32, &[4], [2.0, 0.0, 2.0, 4.0]), c.normal(F, &[5, 3], 1.0));
    let (out, dx, dweight) = (c.output(F, &[4, 3]), c.normal(F, &[4, 3], 1.0), c.output(F, &[5, 3]));
    let forward = Embed { ids, weight, out };
    let backward = EmbedBackward { ids, dx, dweight, accumulate: false };
    holds(c, &[forward.into()], &[(out, dx)], &[backward.into()], &[(weight, dweight)]);
}

#[test]
fn head_policy() {
    for cut in [false, true] {
        let mut c = CaseBuilder::new();
        let (tokens, vocab) = (5, 37);
        let (hidden, weight) = (c.normal(F, &[tokens, 6], 1.0), c.normal(F, &[vocab, 6], 0.5));
        // The last row's label lies outside of what it keeps: its probabilities still have an entropy.
        let labels = c.values(DType::I32, &[tokens], [3.0, -1.0, 36.0, 0.0, 9.0]);
        let inv_temperature = c.values(F, &[tokens], [1.0, 1.0, 0.5, 1.75, 2.0]);
        let words = [0x1fffff1fu32, 0, 0, 0, 0xf0f0f0f0, 0x1f, 0xffffffff, 0, 0x55555555, 0];
        let support = cut.then(|| {
            c.values(DType::U32, &[tokens, support::words(vocab)], words.into_iter().map(f64::from))
        });
        let (logprob, lse, entropy) =
            (c.output(F, &[tokens]), c.output(F, &[tokens]), c.output(F, &[tokens]));
        // An impossible label has no log-probability to weigh.
        let last = if cut { 0.0 } else { 0.5 };
        let coefficient = c.values(F, &[tokens], [1.0, 2.0, -0.5, 0.0, last]);
        let entropy_coefficient = c.values(F, &[tokens], [0.0, 1.0, 0.25, -1.5, 1.0]);
        let (dhidden, dweight) = (c.output(F, &[tokens, 6]), c.output(F, &[vocab, 6]));
        let forward = HeadPolicy { hidden, weight, labels, inv_temperature, support, logprob, lse, entropy };
        let backward = HeadPolicyBackward {
            hidden,
            weight,
            labels,
            inv_temperature,
            support,
            lse,
            entropy,
            coefficient,
            entropy_coefficient,
            dhidden,
            dweight,
            accumulate: false,
        };
        let mut outputs = vec![(entropy, entropy_coefficient)];
        let rows = if cut { tokens - 1 } else { tokens };
        outputs.push((logprob.slice_rows(0, rows), coefficient.slice_rows(0, rows)));
        let gradients = [(hidden, dhidden), (weight, dweight)];
        holds(c, &[forward.into()], &outputs, &[backward.into()], &gradients);
    }
}

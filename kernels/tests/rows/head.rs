//! The three ops of the head: one log-sum-exp in all, tokens as the host draws them from the same logits, and what their
//! rows move.

use crate::device::{Device, rough};
use octo_kernels::gemm::head_logits;
use octo_kernels::head_logprob::head_logprob;
use octo_kernels::head_loss::head_loss;
use octo_kernels::head_sample::head_sample;
use octo_kernels::tuning::{Capability, Tuning};
use octo_kernels::{Launch, LaunchError};
use octo_ops::{DType, HeadLogprob, HeadLoss, HeadSample, SamplingRow, View};

const HIDDEN: u32 = 64;

fn tuning() -> Tuning {
    Tuning::new(Capability::A100)
}

/// Rows and a weight whose logits have a few natural units of spread; some weights are there twice, so that logits are.
fn operands(device: &mut Device, first: u32, rows: u32, vocab: u32) -> [View; 2] {
    let hidden = device.tensor(DType::Bf16, &[rows, HIDDEN], 0, |e| rough(1)(e + first * HIDDEN));
    let weight = device.tensor(DType::Bf16, &[vocab, HIDDEN], 0, |e| {
        let (id, column) = (e / HIDDEN, e % HIDDEN);
        rough(2)((if id % 9 == 5 { id - 1 } else { id }) * HIDDEN + column)
    });
    [hidden, weight]
}

fn floats(device: &mut Device, view: &View) -> Vec<f32> {
    let bytes = device.bytes(view);
    bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

fn empty(device: &mut Device, dtype: DType, rows: u32) -> View {
    device.words(dtype, &[rows], &vec![0; rows as usize])
}

fn logprobs(first: u32, labels: &[u32], vocab: u32) -> Vec<f32> {
    let mut device = Device::new();
    let rows = labels.len() as u32;
    let [hidden, weight] = operands(&mut device, first, rows, vocab);
    let labels = device.words(DType::I32, &[rows], labels);
    let op = HeadLogprob { hidden, weight, labels, logprob: empty(&mut device, DType::F32, rows) };
    let launches = head_logprob(&op, &device, &tuning());
    device.run(launches);
    floats(&mut device, &op.logprob)
}

fn losses(labels: &[u32], vocab: u32) -> Vec<f32> {
    let mut device = Device::new();
    let rows = labels.len() as u32;
    let [hidden, weight] = operands(&mut device, 0, rows, vocab);
    let op = HeadLoss {
        hidden,
        weight,
        labels: device.words(DType::I32, &[rows], labels),
        step_block: device.tensor(DType::F32, &[5], 0, |_| 0.5),
        loss: empty(&mut device, DType::F32, rows),
        dhidden: device.tensor(DType::Bf16, &[rows, HIDDEN], 0, |_| 0.0),
        dweight: device.tensor(DType::F32, &[vocab, HIDDEN], 0, |_| 0.0),
        accumulate: false,
    };
    let launches = head_loss(&op, &device, &tuning());
    device.run(launches);
    floats(&mut device, &op.loss)
}

/// Tokens, and both log-probabilities.
fn samples(policies: &[SamplingRow], vocab: u32) -> (Vec<u32>, Vec<f32>, Vec<f32>) {
    let mut device = Device::new();
    let rows = policies.len() as u32;
    let [hidden, weight] = operands(&mut device, 0, rows, vocab);
    let words: &[u32] = bytemuck::cast_slice(policies);
    let op = HeadSample {
        hidden,
        weight,
        sampling: device.words(DType::U32, &[rows, SamplingRow::WORDS], words),
        tokens: empty(&mut device, DType::U32, rows),
        logprob_raw: empty(&mut device, DType::F32, rows),
        logprob_sampled: empty(&mut device, DType::F32, rows),
        support: None,
    };
    let launches = head_sample(&op, &device, &tuning());
    device.run(launches);
    let tokens = floats(&mut device, &op.tokens).into_iter().map(f32::to_bits).collect();
    (tokens, floats(&mut device, &op.logprob_raw), floats(&mut device, &op.logprob_sampled))
}

fn logits(rows: u32, vocab: u32) -> Vec<Vec<f32>> {
    let mut device = Device::new();
    let [hidden, weight] = operands(&mut device, 0, rows, vocab);
    let out = device.tensor(DType::F32, &[rows, vocab], 0, |_| 0.0);
    let product: Result<Vec<Launch>, LaunchError> =
        head_logits("head_sample", [&hidden, &weight], &out, &device, &tuning())
            .map_err(LaunchError::Product);
    device.run(product);
    floats(&mut device, &out).chunks(vocab as usize).map(<[f32]>::to_vec).collect()
}

/// Every cut alone and all together, at several temperatures.
fn policies(rows: u32) -> Vec<SamplingRow> {
    let row = |r: u32| SamplingRow {
        temperature: [1.0, 0.7, 0.0, 1.9][r as usize % 4],
        top_k: [0, 1, 7, 40, 5000][r as usize % 5],
        top_p: [1.0, 0.9, 0.3, 0.999, 0.0, 0.6][r as usize / 2 % 6],
        min_p: [0.0, 0.05, 0.0, 0.9][r as usize / 3 % 4],
        seed_low: 11,
        seed_high: 3,
        position: r,
        sample: r % 3,
    };
    (0..rows).map(row).collect()
}

#[test]
fn tokens_are_those_that_the_host_draws_from_the_same_logits() {
    for (rows, vocab) in [(60, 300), (6, 4500)] {
        let policies = policies(rows);
        let (tokens, _, sampled) = samples(&policies, vocab);
        for (r, logits) in logits(rows, vocab).iter().enumerate() {
            let mut kept = Vec::new();
            policies[r].keep(logits, &mut kept);
            let token = policies[r].pick(&kept);
            assert_eq!(tokens[r], token, "{:?}", policies[r]);
            let total: f64 = kept.iter().map(|&x| f64::from(x - kept[token as usize]).exp()).sum();
            let logprob = -total.ln();
            assert!(
                (f64::from(sampled[r]) - logprob).abs() <= 3e-7 * logprob.abs() + 1e-7,
                "{} {logprob}",
                sampled[r]
            );
        }
    }
}

#[test]
fn all_three_ops_give_the_same_log_probability() {
    for vocab in [13, 300, 4500] {
        let (tokens, raw, _) = samples(&policies(20), vocab);
        assert_eq!(logprobs(0, &tokens, vocab), raw);
        let negative: Vec<f32> = losses(&tokens, vocab).into_iter().map(|loss| -loss).collect();
        assert_eq!(negative, raw);
    }
}

#[test]
fn a_row_alone_has_the_log_probability_it_has_in_a_crowd() {
    let labels: Vec<u32> = (0..70).map(|t| t * 4).collect();
    let crowd = logprobs(0, &labels, 300);
    for t in [0u32, 1, 17, 69] {
        assert_eq!(logprobs(t, &labels[t as usize..][..1], 300), &crowd[t as usize..][..1]);
    }
}

#[test]
fn labels_outside_the_vocabulary() {
    let labels = [3, u32::MAX, 300];
    for values in [logprobs(0, &labels, 300), losses(&labels, 300)] {
        assert!(values[0] != 0.0 && values[1] == 0.0 && values[2].is_nan(), "{values:?}");
    }
}

#[test]
fn rows_of_logits_are_moved_as_the_heads_of_the_sources_say() {
    let (rows, vocab) = (4, 4096);
    let logits = u64::from(rows * vocab) * 4;
    let mut device = Device::new();
    let [hidden, weight] = operands(&mut device, 0, rows, vocab);
    let labels = device.words(DType::I32, &[rows], &[0, 1, 2, 3]);
    let op = HeadLogprob { hidden, weight, labels, logprob: empty(&mut device, DType::F32, rows) };
    let launches = head_logprob(&op, &device, &tuning());
    let scored = device.run(launches)[1].1.clone();
    // A label and its logit are a sector each.
    let slack = u64::from(rows) * 8 * 32 * 4;
    assert!(32 * scored.global_reads.sectors <= logits + slack, "{}", scored.global_reads.sectors);
    assert_eq!(scored.bank_conflicts(), 0);

    let op = HeadLoss {
        hidden,
        weight,
        labels,
        step_block: device.tensor(DType::F32, &[5], 0, |_| 0.5),
        loss: empty(&mut device, DType::F32, rows),
        dhidden: device.tensor(DType::Bf16, &[rows, HIDDEN], 0, |_| 0.0),
        dweight: device.tensor(DType::F32, &[vocab, HIDDEN], 0, |_| 0.0),
        accumulate: false,
    };
    let launches = head_loss(&op, &device, &tuning());
    let turned = device.run(launches)[1].1.clone();
    assert!(32 * turned.global_reads.sectors <= 2 * logits + slack, "{}", turned.global_reads.sectors);
    assert!(32 * turned.global_writes.sectors <= logits / 2 + slack, "{}", turned.global_writes.sectors);
    assert_eq!(turned.bank_conflicts(), 0);
}

//! The three ops of the head: one log-sum-exp in all, tokens as the host draws them from the same logits, and what their
//! rows move.

use crate::device::{Device, rough};
use octo_kernels::gemm::head_logits;
use octo_kernels::head_logprob::head_logprob;
use octo_kernels::head_loss::head_loss;
use octo_kernels::head_sample::head_sample;
use octo_kernels::tuning::{Capability, Tuning};
use octo_kernels::{Launch, LaunchError};
use octo_ops::{DType, HeadLogprob, HeadLoss, HeadSample, SamplingRow, View, cumulative_weights};
use octo_ptx::count::Counters;

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
    logprobs_with(&tuning(), first, labels, vocab).0
}

/// With what each launch did.
fn logprobs_with(
    tuning: &Tuning,
    first: u32,
    labels: &[u32],
    vocab: u32,
) -> (Vec<f32>, Vec<(String, Counters)>) {
    let mut device = Device::new();
    let rows = labels.len() as u32;
    let [hidden, weight] = operands(&mut device, first, rows, vocab);
    let labels = device.words(DType::I32, &[rows], labels);
    let op = HeadLogprob { hidden, weight, labels, logprob: empty(&mut device, DType::F32, rows) };
    let launches = head_logprob(&op, &device, tuning);
    let did = device.run(launches);
    (floats(&mut device, &op.logprob), did)
}

fn losses(labels: &[u32], vocab: u32) -> Vec<f32> {
    let mut device = Device::new();
    let rows = labels.len() as u32;
    let [hidden, weight] = operands(&mut device, 0, rows, vocab);
    let op = HeadLoss {
        hidden,
        weight,
        labels: device.words(DType::I32, &[rows], labels),
        step_block: device.tensor(DType::F32, &[6], 0, |_| 0.5),
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
type Samples = (Vec<u32>, Vec<f32>, Vec<f32>);

fn samples(policies: &[SamplingRow], vocab: u32) -> Samples {
    samples_with(&tuning(), policies, vocab).0
}

/// With what each launch after the product did.
fn samples_with(tuning: &Tuning, policies: &[SamplingRow], vocab: u32) -> (Samples, Vec<(String, Counters)>) {
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
    let launches = head_sample(&op, &device, tuning);
    let did = device.run(launches).split_off(1);
    let tokens = floats(&mut device, &op.tokens).into_iter().map(f32::to_bits).collect();
    let logprobs = [&op.logprob_raw, &op.logprob_sampled].map(|view| floats(&mut device, view));
    let [raw, sampled] = logprobs;
    ((tokens, raw, sampled), did)
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
            let (mut kept, mut sums) = (Vec::new(), Vec::new());
            policies[r].keep(logits, &mut kept);
            cumulative_weights(&kept, &mut sums);
            let token = policies[r].pick(&sums);
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

/// A table for a device of so many multiprocessors; with one a row has a block.
fn of_size(multiprocessors: u32) -> Tuning {
    Tuning::new(Capability { multiprocessors, ..Capability::A100 })
}

#[test]
fn how_many_blocks_share_a_row_changes_no_token_and_no_bit() {
    let policies = policies(6);
    // 71 parts, the last of two ids.
    let vocab = 70 * 128 + 2;
    let (expected, alone) = samples_with(&of_size(1), &policies, vocab);
    assert_eq!(alone.iter().map(|(entry, _)| entry.as_str()).collect::<Vec<_>>(), ["head_sample"]);
    for multiprocessors in [12, 108] {
        let (taken, did) = samples_with(&of_size(multiprocessors), &policies, vocab);
        let entries: Vec<&str> = did.iter().map(|(entry, _)| entry.as_str()).collect();
        assert_eq!(entries, ["head_sample_parts", "head_sample_slices"]);
        assert_eq!(taken, expected, "{multiprocessors}");
    }
    let alone = (vec![expected.0[0]], vec![expected.1[0]], vec![expected.2[0]]);
    assert_eq!(samples_with(&tuning(), &policies[..1], vocab).0, alone);
}

#[test]
fn a_row_with_no_distribution_has_a_token_and_a_log_probability_that_is_no_number() {
    let policy = SamplingRow { temperature: f32::MIN_POSITIVE / 4.0, ..policies(1)[0] };
    for multiprocessors in [1, 108] {
        let ((tokens, _, sampled), _) = samples_with(&of_size(multiprocessors), &[policy], 4500);
        assert!(tokens[0] == 0 && sampled[0].is_nan(), "{tokens:?} {sampled:?}");
    }
}

/// One row of 8,192 ids drawn at temperature 1, without cuts and with both: four slices of sixteen parts.
#[test]
fn slices_of_a_row_move_what_the_head_of_the_source_says() {
    let vocab = 1 << 13;
    let (parts, slices, logits) = (64, 4, u64::from(vocab) * 4);
    let of = |top_k, top_p| {
        let policy = SamplingRow { temperature: 1.0, top_k, top_p, min_p: 0.0, ..policies(1)[0] };
        let (_, did) = samples_with(&tuning(), &[policy], vocab);
        <[_; 2]>::try_from(did.into_iter().map(|(_, counters)| counters).collect::<Vec<_>>()).unwrap()
    };
    let [summed, plain] = of(0, 1.0);
    let [_, cut] = of(50, 0.9);
    // Parts: logits once, whole sectors, 16 bytes at a time; two numbers a part, zeros for the histograms, two counters.
    assert_eq!(32 * summed.global_reads.sectors, logits);
    assert_eq!(512 * summed.global_reads.requests, logits);
    assert_eq!(summed.unique_bytes_written, 8 * parts + 8 * 8 * 256 + 8);
    // Logits, two numbers a part, the policy, the sums of slices, the counter that blocks wait for; and the histograms
    // and what the cuts leave, two numbers a part. How
    // often a block asks for the counter is a matter of time, so sectors say nothing.
    let plainly = logits + 8 * parts + 32 + 8 * slices + 4;
    let kept = 8 * parts;
    assert_eq!([plain.unique_bytes_read, cut.unique_bytes_read], [plainly, plainly + 8 * 8 * 256 + kept]);
    // What a draw leaves for other blocks and for the caller; the histograms' bins that are not empty are few.
    assert_eq!(plain.unique_bytes_written, 8 * slices + 4 + 12);
    assert!(cut.unique_bytes_written <= plain.unique_bytes_written + 8 * 8 * 256 + kept);
    // Weights and parts are read along banks; so are digits.
    assert_eq!([summed.bank_conflicts(), plain.bank_conflicts()], [0, 0]);
    // A meeting is two barriers; three more come before the first and with it, five with each histogram.
    let barriers = |c: &Counters| c.barriers / slices;
    assert_eq!([barriers(&plain), barriers(&cut)], [4, 4 + 8 * 5]);
}

/// As the heads of the sources say: three ways through the logits, four more for each cut, and one after cuts.
#[test]
fn a_block_that_has_a_row_to_itself_reads_it_as_often_as_stated() {
    let vocab = 1 << 13;
    let logits = u64::from(vocab) * 4;
    for (top_k, top_p, ways) in [(0, 1.0, 3), (50, 1.0, 8), (50, 0.9, 12)] {
        let policy = SamplingRow { temperature: 1.0, top_k, top_p, min_p: 0.0, ..policies(1)[0] };
        let (_, did) = samples_with(&of_size(1), &[policy], vocab);
        let counters = &did[0].1;
        let read = 32 * counters.global_reads.sectors;
        // The policy by every thread's warp, and what is chosen. The last way ends with the warp that has the token.
        let few = 32 * 64;
        assert!(read <= ways * logits + few && read > (ways - 1) * logits, "{read}: {ways} times {logits}");
        // Each warp reads the eight words of the policy one by one.
        let useful = counters.global_reads.useful_bytes as f64;
        assert!(useful >= 0.95 * (read - 32 * 32 * 8) as f64, "{useful} of {read}");
        assert_eq!((counters.unique_bytes_read, counters.unique_bytes_written), (logits + 32, 12));
        // Equal digits of neighbours meet in a histogram's bin; nothing else conflicts.
        assert!(ways > 3 || counters.bank_conflicts() == 0, "{}", counters.bank_conflicts());
    }
}

/// The entries of the head's product that leave sums of parts, and of those that leave logits with the same tiles.
const PARTS: [[&str; 2]; 2] = [
    ["head_parts_sm80_nt_128x128x32_s4", "head_logits_sm80_nt_128x128x32_s4"],
    ["head_parts_sm80_nt_128x256x32_s4", "head_logits_sm80_nt_128x256x32_s4"],
];

fn fixed(entry: &str) -> Tuning {
    let mut tuning = tuning();
    tuning.fix("head_logits", entry).unwrap();
    tuning
}

#[test]
fn parts_summed_in_the_product_give_the_bits_of_logits_that_are_read_again() {
    for vocab in [13, 300, 1000] {
        let mut labels: Vec<u32> = (0..140).map(|t| t * 7 % vocab).collect();
        (labels[3], labels[131], labels[132]) = (u32::MAX, vocab, vocab - 1);
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let (expected, did) = logprobs_with(&fixed("head_logits_sm80_nt_64x64x64_s4"), 0, &labels, vocab);
        assert_eq!(did[1].0, "head_logprob");
        let expected = bits(expected);
        for [entry, tile] in PARTS {
            let (taken, did) = logprobs_with(&fixed(tile), 0, &labels, vocab);
            let entries = [did[0].0.as_str(), did[1].0.as_str()];
            assert_eq!(entries, [entry, "head_logprob_join"]);
            assert_eq!(bits(taken), expected, "{entry} {vocab}");
        }
    }
}

#[test]
fn no_logit_passes_through_memory_where_parts_are_summed_in_the_product() {
    let (rows, vocab) = (128, 512);
    let labels: Vec<u32> = (0..rows).collect();
    for [entry, tile] in PARTS {
        let (_, did) = logprobs_with(&fixed(tile), 0, &labels, vocab);
        let [product, join] = [&did[0].1, &did[1].1];
        // Two numbers a part and the label's logit.
        let left = u64::from(rows * (2 * vocab / 128 + 1) * 4);
        assert_eq!(product.unique_bytes_written, left, "{entry}");
        assert_eq!(join.unique_bytes_read, left + u64::from(rows) * 4);
        assert_eq!([product.bank_conflicts(), join.bank_conflicts()], [0, 0], "{entry}");
        // Of each output about ten instructions of a thread, beside those of the product that stores it.
        let more = 32.0 * (product.warp_total() as f64 - product_of(tile, rows, vocab) as f64)
            / f64::from(rows * vocab);
        assert!((6.0..12.0).contains(&more), "{entry}: {more}");
    }
}

/// Warp instructions of a product that stores its logits.
fn product_of(tile: &str, rows: u32, vocab: u32) -> u64 {
    let mut device = Device::new();
    let [hidden, weight] = operands(&mut device, 0, rows, vocab);
    let out = device.tensor(DType::F32, &[rows, vocab], 0, |_| 0.0);
    let product = head_logits("head_logprob", [&hidden, &weight], &out, &device, &fixed(tile));
    let done = device.run(product.map_err(LaunchError::Product));
    assert_eq!(done[0].0, tile);
    done[0].1.warp_total()
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
    // Sixteen bytes a lane, but for the label that every thread reads.
    let lanes = scored.global_reads.lanes_by_width;
    assert_eq!((lanes[4], lanes[2]), (logits / 16, u64::from(rows) * 257));

    let op = HeadLoss {
        hidden,
        weight,
        labels,
        step_block: device.tensor(DType::F32, &[6], 0, |_| 0.5),
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

//! The ops of policy losses beside the others of the head: one log-sum-exp, supports as the host has them, draws near the
//! edges of tokens, and what rows move.

use crate::device::{Device, rough};
use bytemuck::Zeroable;
use octo_kernels::head_logprob::head_logprob;
use octo_kernels::head_policy::head_policy;
use octo_kernels::head_policy_backward::head_policy_backward;
use octo_kernels::head_sample::HeadSampleArguments;
use octo_kernels::tuning::{Capability, Tuning};
use octo_kernels::{Addresses, Launch};
use octo_ops::{
    DType, HeadLogprob, HeadPolicy, HeadPolicyBackward, SamplingRow, View, cumulative_weights, support,
};

const HIDDEN: u32 = 64;

fn tuning() -> Tuning {
    Tuning::new(Capability::A100)
}

fn words(device: &mut Device, view: &View) -> Vec<u32> {
    let bytes = device.bytes(view);
    bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect()
}

fn floats(device: &mut Device, view: &View) -> Vec<f32> {
    words(device, view).into_iter().map(f32::from_bits).collect()
}

fn empty(device: &mut Device, rows: u32, dtype: DType) -> View {
    device.words(dtype, &[rows], &vec![0; rows as usize])
}

/// An op over `labels.len()` rows.
fn policy(device: &mut Device, labels: &[u32], vocab: u32, kept: Option<&[u32]>, inverse: f32) -> HeadPolicy {
    let rows = labels.len() as u32;
    HeadPolicy {
        hidden: device.tensor(DType::Bf16, &[rows, HIDDEN], 0, rough(1)),
        weight: device.tensor(DType::Bf16, &[vocab, HIDDEN], 0, rough(2)),
        labels: device.words(DType::I32, &[rows], labels),
        inv_temperature: device.tensor(DType::F32, &[rows], 0, |_| inverse),
        support: kept.map(|kept| device.words(DType::U32, &[rows, support::words(vocab)], kept)),
        logprob: empty(device, rows, DType::F32),
        lse: empty(device, rows, DType::F32),
        entropy: empty(device, rows, DType::F32),
    }
}

#[test]
fn at_temperature_1_a_policy_scores_as_the_model_and_a_full_support_is_none() {
    for vocab in [13u32, 300, 4500] {
        let labels: Vec<u32> = (0..12).map(|t| t * 7 % vocab).collect();
        let mut device = Device::new();
        let op = policy(&mut device, &labels, vocab, None, 1.0);
        let launches = head_policy(&op, &device, &tuning());
        device.run(launches);
        let logprob = empty(&mut device, 12, DType::F32);
        let model = HeadLogprob { hidden: op.hidden, weight: op.weight, labels: op.labels, logprob };
        let launches = head_logprob(&model, &device, &tuning());
        device.run(launches);
        let all = [op.logprob, op.lse, op.entropy].map(|view| words(&mut device, &view));
        assert_eq!(all[0], words(&mut device, &logprob));

        let count = support::words(vocab) as usize;
        let mut full = vec![u32::MAX; count];
        full[count - 1] = u32::MAX >> (32 * count as u32 - vocab);
        let mut device = Device::new();
        let op = policy(&mut device, &labels, vocab, Some(&full.repeat(12)), 1.0);
        let launches = head_policy(&op, &device, &tuning());
        device.run(launches);
        assert_eq!(all, [op.logprob, op.lse, op.entropy].map(|view| words(&mut device, &view)));
    }
}

#[test]
fn labels_that_cannot_be_scored() {
    let (none, outside) = (u32::MAX, 300);
    let mut device = Device::new();
    let mut kept = vec![0u32; 40];
    kept[30] = 0b1000;
    let op = policy(&mut device, &[none, outside, 5, 3], 300, Some(&kept), 2.0);
    let launches = head_policy(&op, &device, &tuning());
    device.run(launches);
    let [logprob, lse, entropy] = [op.logprob, op.lse, op.entropy].map(|view| floats(&mut device, &view));
    assert_eq!([logprob[0], lse[0], entropy[0]], [0.0; 3]);
    assert!(logprob[1].is_nan());
    // Alone in the support: certain. Outside of it: impossible.
    assert_eq!((logprob[3], entropy[3]), (0.0, 0.0));
    let mut device = Device::new();
    kept[20] = 0b1000;
    let op = policy(&mut device, &[none, outside, 5, 3], 300, Some(&kept), 2.0);
    let launches = head_policy(&op, &device, &tuning());
    device.run(launches);
    assert_eq!(floats(&mut device, &op.logprob)[2], f32::NEG_INFINITY);
}

/// Logits that lie in memory, a row for each policy, drawn without a product: tokens, log-probabilities, supports.
fn drawn(policies: &[SamplingRow], logits: &[Vec<f32>]) -> (Vec<u32>, Vec<f32>, Vec<u32>) {
    let (rows, vocab) = (policies.len() as u32, logits[0].len() as u32);
    let stride = vocab.next_multiple_of(4);
    let mut device = Device::new();
    let at = |e: u32| logits[(e / stride) as usize].get((e % stride) as usize).copied().unwrap_or(0.0);
    let matrix = device.tensor(DType::F32, &[rows, stride], 0, at);
    let sampling = device.words(DType::U32, &[rows, SamplingRow::WORDS], bytemuck::cast_slice(policies));
    let [tokens, raw, sampled] =
        [DType::U32, DType::F32, DType::F32].map(|dtype| empty(&mut device, rows, dtype));
    let count = support::words(vocab);
    let set = device.words(DType::U32, &[rows, count], &vec![7; (rows * count) as usize]);
    let arguments = HeadSampleArguments {
        logits: device.address(&matrix),
        sampling: device.address(&sampling),
        tokens: device.address(&tokens),
        logprob_raw: device.address(&raw),
        logprob_sampled: device.address(&sampled),
        support: device.address(&set),
        stride: stride.into(),
        vocab,
        unused: 0,
    };
    let launch = Launch {
        entry: "head_sample".into(),
        grid: [rows, 1, 1],
        block: [1024, 1, 1],
        shared_bytes: 8 * vocab.div_ceil(128),
        cooperative: false,
        arguments: bytemuck::bytes_of(&arguments).to_vec(),
    };
    device.run(Ok(vec![launch]));
    (words(&mut device, &tokens), floats(&mut device, &sampled), words(&mut device, &set))
}

/// What is left of a row, and the sums of its weights.
fn kept(row: &SamplingRow, logits: &[f32]) -> (Vec<f32>, Vec<f64>) {
    let (mut kept, mut sums) = (Vec::new(), Vec::new());
    row.keep(logits, &mut kept);
    cumulative_weights(&kept, &mut sums);
    (kept, sums)
}

/// The distance, as a share of the whole, from a row's random number to the nearest edge of the token drawn by it.
fn gap(row: &SamplingRow, sums: &[f64]) -> f64 {
    let token = row.pick(sums) as usize;
    let total = sums[sums.len() - 1];
    let before = if token > 0 { sums[token - 1] / total } else { 0.0 };
    (row.uniform() - before).min(sums[token] / total - row.uniform())
}

/// Policies of every kind whose draws come as near to an edge as `nearest` picks among so many positions.
fn near_edges(vocab: u32, rows: u32, positions: u32, logits: &[Vec<f32>]) -> Vec<SamplingRow> {
    let row = |r: u32| SamplingRow {
        temperature: [1.0, 0.7, 1.9][r as usize % 3],
        top_k: [0, 7, 40, 0][r as usize % 4],
        top_p: [1.0, 0.9, 0.97, 1.0, 0.6][r as usize % 5],
        min_p: [0.0, 0.0, 0.01][r as usize / 2 % 3],
        seed_low: vocab,
        seed_high: 3,
        position: 0,
        sample: r,
    };
    let nearest = |r: u32| {
        let (_, sums) = kept(&row(r), &logits[r as usize]);
        let at = |position| SamplingRow { position, ..row(r) };
        let gaps = (0..positions).map(|p| (gap(&at(p), &sums), p));
        // The exact rule binds from a millionth upwards.
        gaps.filter(|(gap, _)| *gap >= 1e-6).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(row(r), |(_, p)| at(p))
    };
    (0..rows).map(nearest).collect()
}

/// Draws rows whose random numbers lie near edges on the simulated GPU and on the host; says what it came to.
fn draws_are_the_hosts(vocab: u32, rows: u32, positions: u32) {
    let bell = |e: u32| (0..4).map(|i| rough(40 + i)(e)).sum::<f32>();
    let logits: Vec<Vec<f32>> =
        (0..rows).map(|r| (0..vocab).map(|id| bell(r * vocab + id)).collect()).collect();
    let policies = near_edges(vocab, rows, positions, &logits);
    let (tokens, sampled, sets) = drawn(&policies, &logits);
    let (mut others, mut sets_off, mut least) = (0, 0, f64::INFINITY);
    for (r, (row, logits)) in policies.iter().zip(&logits).enumerate() {
        let (kept, sums) = kept(row, logits);
        let token = row.pick(&sums);
        least = least.min(gap(row, &sums));
        others += u32::from(tokens[r] != token);
        let count = support::words(vocab) as usize;
        let mut set = vec![0; count];
        support::of_finite(&kept, &mut set);
        sets_off += u32::from(sets[r * count..][..count] != set);
        let total: f64 = kept.iter().map(|&x| f64::from(x - kept[token as usize]).exp()).sum();
        let error = (f64::from(sampled[r]) + total.ln()).abs();
        assert!(error <= 3e-7 * total.ln().abs() + 1e-7, "{} {}", sampled[r], -total.ln());
    }
    println!(
        "{{\"on\":\"sim\",\"vocab\":{vocab},\"rows\":{rows},\"nearest_of\":{positions},\"least_gap\":{least:e},\
         \"other_tokens\":{others},\"other_supports\":{sets_off}}}"
    );
    assert!(least >= 1e-6);
    assert_eq!((others, sets_off), (0, 0), "{vocab}");
}

#[test]
fn draws_are_the_hosts_wherever_a_millionth_parts_them_from_an_edge() {
    draws_are_the_hosts(111, 120, 20_000);
    draws_are_the_hosts(4500, 12, 20_000);
    draws_are_the_hosts(32_000, 3, 20_000);
}

#[test]
#[ignore = "takes minutes; `cargo xtask long sampler` runs it"]
fn so_are_thousands_of_draws_and_those_of_large_vocabularies() {
    draws_are_the_hosts(111, 3000, 4000);
    draws_are_the_hosts(32_000, 60, 20_000);
    draws_are_the_hosts(128_256, 30, 20_000);
}

#[test]
fn a_greedy_row_keeps_its_token_alone() {
    let greedy = SamplingRow { temperature: 0.0, ..SamplingRow::zeroed() };
    let logits: Vec<Vec<f32>> =
        (0..3).map(|r| (0..111).map(|id| ((id * 7 + r * 50) % 111) as f32).collect()).collect();
    let (tokens, sampled, sets) = drawn(&[greedy; 3], &logits);
    for (r, set) in sets.chunks(4).enumerate() {
        assert_eq!(logits[r][tokens[r] as usize], 110.0);
        assert!((0..128).all(|id| support::has(set, id) == (id == tokens[r] as usize)));
        assert_eq!(sampled[r], 0.0);
    }
}

#[test]
fn rows_are_moved_as_the_heads_of_the_sources_say() {
    let (rows, vocab) = (4u32, 4096u32);
    let (logits, set) = (u64::from(rows * vocab) * 4, u64::from(rows * vocab) / 8);
    // A label, its logit and each scalar are a sector each.
    let slack = u64::from(rows) * 8 * 32 * 8;
    for kept in [None, Some(vec![0x0f0f_f00f; (rows * vocab / 32) as usize])] {
        let mut device = Device::new();
        let op = policy(&mut device, &[0, 1, 2, 3], vocab, kept.as_deref(), 0.5);
        let set = if kept.is_some() { set } else { 0 };
        let launches = head_policy(&op, &device, &tuning());
        let done = device.run(launches)[1].1.clone();
        let read = 32 * done.global_reads.sectors;
        assert!(read <= 2 * (logits + set) + slack, "{read}");
        assert_eq!(done.bank_conflicts(), 0);

        let column = |device: &mut Device| device.tensor(DType::F32, &[rows], 0, |_| 0.5);
        let HeadPolicy { hidden, weight, labels, inv_temperature, support, lse, entropy, .. } = op;
        let op = HeadPolicyBackward {
            hidden,
            weight,
            labels,
            inv_temperature,
            support,
            lse,
            entropy,
            coefficient: column(&mut device),
            entropy_coefficient: column(&mut device),
            dhidden: device.tensor(DType::Bf16, &[rows, HIDDEN], 0, |_| 0.0),
            dweight: device.tensor(DType::F32, &[vocab, HIDDEN], 0, |_| 0.0),
            accumulate: false,
        };
        let launches = head_policy_backward(&op, &device, &tuning());
        let done = device.run(launches)[1].1.clone();
        let (read, written) = (32 * done.global_reads.sectors, 32 * done.global_writes.sectors);
        assert!(read <= logits + set + slack, "{read}");
        assert!(written <= logits / 2 + slack, "{written}");
        assert_eq!(done.bank_conflicts(), 0);
    }
}

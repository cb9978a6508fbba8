//! What a policy loss reads of a token has the bits that came with it when it was drawn, on every device: same row,
//! temperature and support, alone or among others.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use octo_ops::*;
use octo_queue::{DeviceKind, Queue, open};

const HIDDEN: u32 = 40;

/// Two numbers of a rough bell shape a word, as a device's activations or weights.
fn noise(seed: u64, elements: u32, scale: f32) -> Vec<f32> {
    let words =
        (0..elements.div_ceil(4)).flat_map(|block| philox::draw(seed, philox::Purpose::Fill, 0, block));
    words
        .take(elements as usize)
        .map(|w| (f32::from(w as u16) + f32::from((w >> 16) as u16) - 65535.0) / 32768.0 * scale)
        .collect()
}

struct Device {
    queue: Queue,
    activation: DType,
}

impl Device {
    fn open(kind: DeviceKind) -> Device {
        let activation = if kind == DeviceKind::Cpu { DType::F32 } else { DType::Bf16 };
        Device { queue: open(kind, Some(2)).expect("a device"), activation }
    }

    fn floats(&mut self, view: View) -> Vec<f32> {
        let mut values = vec![0.0; view.elements()];
        self.queue.begin_readback(Slot(0), view).unwrap();
        self.queue.finish_readback(Slot(0), bytemuck::cast_slice_mut(&mut values)).unwrap();
        values
    }

    fn fill(&mut self, view: View, values: &[f32]) {
        let bytes: Vec<u8> = match view.dtype {
            DType::Bf16 => values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
            _ => bytemuck::cast_slice(values).to_vec(),
        };
        self.queue.upload(view, &bytes).unwrap();
    }
}

/// Every cut alone and together, at several temperatures.
fn policies(rows: u32) -> Vec<SamplingRow> {
    let row = |r: u32| SamplingRow {
        temperature: [1.0, 0.7, 1.9][r as usize % 3],
        top_k: [0, 1, 7, 40][r as usize % 4],
        top_p: [1.0, 0.9, 0.3, 0.999, 0.6][r as usize / 2 % 5],
        min_p: [0.0, 0.05, 0.0][r as usize / 3 % 3],
        seed_low: 11,
        seed_high: 3,
        position: r,
        sample: r % 3,
    };
    (0..rows).map(row).collect()
}

#[test]
fn a_token_scores_to_the_bit_as_it_was_drawn() {
    for (kind, rows, vocab) in CASES {
        let mut device = Device::open(kind);
        let words = support::words(vocab);
        let tensor = |device: &mut Device, name: &str, dtype, shape: &[u32]| {
            device.queue.tensor(name, dtype, shape).unwrap()
        };
        let activation = device.activation;
        let hidden = tensor(&mut device, "hidden", activation, &[rows, HIDDEN]);
        let weight = tensor(&mut device, "weight", DType::Bf16, &[vocab, HIDDEN]);
        let sampling = tensor(&mut device, "sampling", DType::U32, &[rows, SamplingRow::WORDS]);
        let tokens = tensor(&mut device, "tokens", DType::U32, &[rows]);
        let support = tensor(&mut device, "support", DType::U32, &[rows, words]);
        let [inverse, raw, sampled, logprob, lse, entropy] =
            ["inverse", "raw", "sampled", "logprob", "lse", "entropy"]
                .map(|name| tensor(&mut device, name, DType::F32, &[rows]));
        device.queue.seal();
        device.fill(hidden, &noise(1, rows * HIDDEN, 1.0));
        device.fill(weight, &noise(2, vocab * HIDDEN, 0.4));
        let policies = policies(rows);
        device.queue.upload(sampling, bytemuck::cast_slice(&policies)).unwrap();
        let inverses: Vec<f32> = policies.iter().map(|row| 1.0 / row.temperature).collect();
        device.fill(inverse, &inverses);
        let sample = HeadSample {
            hidden,
            weight,
            sampling,
            tokens,
            logprob_raw: raw,
            logprob_sampled: sampled,
            support: Some(support),
        };
        device.queue.run(sample).unwrap();
        // A token's id has the bits of a label.
        let labels = View::new(tokens.buffer, tokens.offset, DType::I32, &[rows]);
        let policy = HeadPolicy {
            hidden,
            weight,
            labels,
            inv_temperature: inverse,
            support: Some(support),
            logprob,
            lse,
            entropy,
        };
        device.queue.run(policy).unwrap();
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let drawn = device.floats(sampled);
        assert_eq!(bits(device.floats(logprob)), bits(drawn.clone()), "{kind:?} {rows}x{vocab}");
        assert!(drawn.iter().filter(|&&x| x < 0.0).count() > rows as usize / 2, "{drawn:?}");
        let all = [device.floats(lse), device.floats(entropy)];

        // A row alone, and without a support where nothing was cut.
        for t in (0..rows).step_by(5) {
            let one = |view: View| view.slice_rows(t, 1);
            let free = SamplingRow { top_k: 0, top_p: 1.0, min_p: 0.0, ..policies[t as usize] };
            let kept = (policies[t as usize] != free).then(|| one(support));
            let alone = HeadPolicy {
                hidden: one(hidden),
                weight,
                labels: one(labels),
                inv_temperature: one(inverse),
                support: kept,
                logprob: one(logprob),
                lse: one(lse),
                entropy: one(entropy),
            };
            device.fill(one(logprob), &[f32::NAN]);
            device.queue.run(alone).unwrap();
            assert_eq!(bits(device.floats(one(logprob))), bits(vec![drawn[t as usize]]), "{kind:?} row {t}");
            let again = [device.floats(one(lse)), device.floats(one(entropy))].concat();
            assert_eq!(bits(again), bits(vec![all[0][t as usize], all[1][t as usize]]), "{kind:?} row {t}");
        }
    }
}

/// Vocabularies of less than a part, of ragged parts, of many; rows of more than one chunk.
const CASES: [(DeviceKind, u32, u32); 7] = [
    (DeviceKind::Cpu, 30, 13),
    (DeviceKind::Cpu, 60, 300),
    (DeviceKind::Cpu, 1030, 30),
    (DeviceKind::Cpu, 6, 4500),
    (DeviceKind::Sim, 30, 13),
    (DeviceKind::Sim, 40, 300),
    (DeviceKind::Sim, 6, 4500),
];

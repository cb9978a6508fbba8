//! What the backward pass computes again: the same bits as when it was kept, and the memory of it not taken.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_model::{
    AdamWConfig, MicroBatch, ModelConfig, Net, Recompute, Shape, StepReport, Trainer, TrainerOptions,
};
use octo_ops::{DType, Precision, View};
use octo_queue::{DeviceKind, Queue, open, record};
use serde_json::{Value, json};

const OPTIMIZER: AdamWConfig =
    AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };

/// Rows of a micro-batch: no power of two, more than a tile.
const TOKENS: u32 = 72;

/// Three heads over one of keys, a head of its own.
fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 3,
        "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 67,
        "max_position_embeddings": 128, "initializer_range": 0.2,
    })
}

/// Biases, a tied head, heads that are wider than the stream.
fn qwen() -> Value {
    json!({
        "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 72, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 90,
        "tie_word_embeddings": true, "max_position_embeddings": 128, "initializer_range": 0.2,
    })
}

fn trainer(queue: &mut Queue, model: fn() -> Value, dtype: DType, recompute: Recompute) -> Trainer {
    let config = ModelConfig::from_value(model(), "test").unwrap();
    let net = Net::allocate(queue, config, dtype, 128).unwrap();
    let shape = |tokens| Shape { tokens, documents: 4, sequences: 1, sources: 1 };
    let options = TrainerOptions { recompute, ..TrainerOptions::default() };
    let trainer = Trainer::with(queue, net, OPTIMIZER, &[shape(TOKENS), shape(24)], options).unwrap();
    queue.seal();
    trainer
}

/// Three documents of one micro-batch, a pure function of the arguments.
fn batch(vocab: u32, tokens: u32, salt: u32) -> (Vec<u32>, Vec<i32>, Vec<u32>, Vec<u32>) {
    let ids: Vec<u32> = (0..tokens).map(|t| (t * t * 7 + 13 * t + 31 * salt) % vocab).collect();
    let bounds = vec![0, tokens / 2 + 1, tokens / 2 + 2, tokens];
    let start = |t: u32| *bounds.iter().rfind(|&&bound| bound <= t).unwrap();
    let positions = (0..tokens).map(|t| t - start(t)).collect();
    let next = |t: u32| if bounds.contains(&(t + 1)) { -1 } else { ids[t as usize + 1] as i32 };
    let labels = (0..tokens).map(next).collect();
    (ids, labels, positions, bounds)
}

/// Everything that steps of these micro-batches leave: reports, gradients, weights, moments.
fn left(
    kind: DeviceKind,
    model: fn() -> Value,
    dtype: DType,
    recompute: Recompute,
    steps: &[u32],
) -> (Vec<StepReport>, Vec<Vec<u8>>) {
    let mut queue = open(kind, Some(2)).unwrap();
    let mut trainer = trainer(&mut queue, model, dtype, recompute);
    trainer.net().randomise(&mut queue, 5, trainer.remainder()).unwrap();
    let vocab = trainer.net().config.vocab_size;
    let mut reports = Vec::new();
    for &tokens in steps {
        let batches = [1, 2].map(|salt| batch(vocab, tokens, salt));
        let batches = batches.each_ref().map(|(ids, labels, positions, cu_seqlens)| MicroBatch {
            ids,
            labels,
            positions,
            cu_seqlens,
            sources: &[0],
        });
        assert_eq!(trainer.step(&mut queue, 1e-2, &batches).unwrap(), None);
        reports.push(trainer.finish(&mut queue).unwrap().unwrap());
    }
    let net = trainer.net();
    let arenas = [Some(trainer.gradients()), Some(net.weights), trainer.remainder()];
    let arenas: Vec<_> = arenas.into_iter().flatten().chain(trainer.moments()).collect();
    let bytes = |arena: &octo_model::Flat| {
        let view = View::new(arena.buffer, 0, arena.dtype, &[net.params.total_elements() as u32]);
        let mut bytes = vec![0; view.span_bytes() as usize];
        queue.snapshot(view, &mut bytes).unwrap();
        bytes
    };
    (reports, arenas.iter().map(bytes).collect())
}

fn all_policies_agree(kind: DeviceKind, model: fn() -> Value, dtype: DType, steps: &[u32]) {
    let [kept, rest @ ..] = Recompute::ALL;
    let expected = left(kind, model, dtype, kept, steps);
    assert!(expected.0.iter().all(|report| !report.halted && report.grad_norm > 0.0));
    for recompute in rest {
        let got = left(kind, model, dtype, recompute, steps);
        assert_eq!(got.0, expected.0, "{}", recompute.name());
        assert!(got.1 == expected.1, "{}: other bits than with everything kept", recompute.name());
    }
}

#[test]
fn what_is_computed_again_changes_no_bit_on_the_cpu() {
    for model in [llama, qwen] {
        for dtype in [DType::F32, DType::Bf16] {
            all_policies_agree(DeviceKind::Cpu, model, dtype, &[TOKENS, 24]);
        }
    }
}

#[test]
fn what_is_computed_again_changes_no_bit_in_the_kernels() {
    for model in [llama, qwen] {
        all_policies_agree(DeviceKind::Sim, model, DType::Bf16, &[24]);
    }
}

/// Bytes of all buffers, without the arenas.
fn bytes(precision: Precision, model: fn() -> Value, recompute: Recompute) -> u64 {
    let (mut queue, _) = record(precision);
    trainer(&mut queue, model, DType::Bf16, recompute);
    queue.memory().iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn each_policy_takes_less_memory_by_what_it_does_not_keep() {
    for (model, hidden, ffn, heads, kv, head_dim) in
        [(llama as fn() -> Value, 48, 40, 3, 1, 16), (qwen, 32, 72, 4, 2, 16)]
    {
        for (precision, width) in [(Precision::CPU, 4), (Precision::CUDA, 2)] {
            // Elements of a row in activations, and numbers of a row in f32, that one layer no longer keeps.
            let norms_and_product = width * (2 * hidden + ffn) + 4 * 2;
            let gate_up = width * 2 * ffn;
            let attention = width * ((2 * heads + 2 * kv) * head_dim + hidden) + 4 * heads;
            let less = [norms_and_product, gate_up, attention];
            // One layer's worth stays: the buffers that all share.
            let expected = less.map(|row| 2 * u64::from(TOKENS) * row);
            let all = Recompute::ALL.map(|recompute| bytes(precision, model, recompute));
            let saved: Vec<u64> = all.windows(2).map(|pair| pair[0] - pair[1]).collect();
            assert_eq!(saved, expected);
        }
    }
}

//! What a policy loss reads of drawn tokens has the bits with which they were drawn, so that before the first update
//! the ratio of the two policies is exactly 1.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_infer::{Limits, Request, Sampling, Session, generate};
use octo_model::{AdamWConfig, MicroBatch, ModelConfig, Net, PolicyShape, Trainer, TrainerOptions};
use octo_ops::DType;
use octo_queue::{DeviceKind, Queue, open};
use serde_json::json;
use std::ops::ControlFlow;

const OPTIMIZER: AdamWConfig =
    AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, clip: 1.0 };
const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
const CUTS: [Sampling; 5] = [
    Sampling { temperature: 0.6, ..PLAIN },
    Sampling { top_k: 5, ..PLAIN },
    Sampling { top_p: 0.8, ..PLAIN },
    Sampling { min_p: 0.1, temperature: 1.4, ..PLAIN },
    Sampling { temperature: 0.7, top_k: 90, top_p: 0.95, min_p: 0.001 },
];
/// Bytes of a region with room for either phase of these tests.
const REGION: u64 = 1 << 20;
/// Of a set of 300 tokens.
const WORDS: usize = 10;

/// What rollouts and updates leave lies in buffers of their own, or in a region that they use in turns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Apart,
    Shared,
}

/// Draws from prompts in a crowd, packs what was drawn, and reads it again with the same weights. Gives what was drawn over
/// two steps, and the bits of its log-probabilities.
fn drawn_and_read_again(
    kind: DeviceKind,
    dtype: DType,
    prompts: &[usize],
    new: usize,
    tokens: u32,
    sampling: Sampling,
    memory: Memory,
) -> Vec<(u32, u32)> {
    let config = json!({
        "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 72, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 300,
        "tie_word_embeddings": true, "max_position_embeddings": 512, "initializer_range": 0.3,
    });
    let mut queue = open(kind, Some(2)).unwrap();
    let net =
        Net::allocate(&mut queue, ModelConfig::from_value(config, "test").unwrap(), dtype, 512).unwrap();
    let limits = Limits { rows: 24, requests: 3, context: 320, cache_tokens: 640 };
    let is_cut = sampling.is_cut();
    let allocate = if is_cut { Session::allocate_with_support } else { Session::allocate };
    let region = (memory == Memory::Shared).then(|| queue.region("phases", REGION).unwrap());
    let mut session = match region {
        Some(region) => queue.within(region, |queue| allocate(queue, &net, limits)).unwrap(),
        None => allocate(&mut queue, &net, limits).unwrap(),
    };
    let shape = PolicyShape { tokens, documents: prompts.len() as u32, support: is_cut };
    let options = TrainerOptions { policy: Some(shape), region, ..TrainerOptions::default() };
    // No shape of training's own micro-batches: a run may be of policy losses alone.
    let mut trainer = Trainer::with(&mut queue, net, OPTIMIZER, &[], options).unwrap();
    // Of any format, all bits set are no number: it would show in whatever was read before it was written.
    let all = region.map(|region| {
        let words = REGION as u32 / 4;
        queue.within(region, |queue| queue.tensor("all", DType::U32, &[words])).unwrap()
    });
    let poison = |queue: &mut Queue| {
        if let Some(all) = all {
            queue.upload(all, &vec![0xff; REGION as usize]).unwrap();
        }
    };
    queue.seal();
    trainer.net().randomise(&mut queue, 8, trainer.remainder()).unwrap();

    let mut found = Vec::new();
    for step in 0..2u32 {
        poison(&mut queue);
        let request = |(i, &length): (usize, &usize)| Request {
            prompt: (0..length as u32).map(|t| (t * t + 7 * t + 31 * i as u32 + step) % 300).collect(),
            max_new_tokens: new,
            sampling,
            seed: 5,
            sample: i as u32,
            stop_tokens: vec![],
            support: is_cut,
        };
        let requests: Vec<Request> = prompts.iter().enumerate().map(request).collect();
        let go_on = |_, _| ControlFlow::Continue(());
        let completions = generate(&mut queue, trainer.net(), &mut session, &requests, go_on).unwrap();

        let (mut ids, mut labels, mut positions, mut cu_seqlens) = (vec![], vec![], vec![], vec![0]);
        let mut kept: Vec<u32> = Vec::new();
        for (request, completion) in requests.iter().zip(&completions) {
            let sequence: Vec<u32> = request.prompt.iter().chain(&completion.tokens).copied().collect();
            let first = request.prompt.len();
            let label = |t: usize| match sequence.get(t + 1) {
                Some(&next) if t + 1 >= first => next as i32,
                _ => -1,
            };
            labels.extend((0..sequence.len()).map(label));
            positions.extend(0..sequence.len() as u32);
            ids.extend(sequence);
            cu_seqlens.push(ids.len() as u32);
            if let Some(supports) = &completion.supports {
                let mut row = [u32::MAX; WORDS];
                kept.extend(vec![u32::MAX; (first - 1) * WORDS]);
                for draw in 0..new {
                    supports.write(draw, &mut row);
                    kept.extend(row);
                }
                kept.extend([u32::MAX; WORDS]);
            }
        }
        let batch = MicroBatch {
            ids: &ids,
            labels: &labels,
            positions: &positions,
            cu_seqlens: &cu_seqlens,
            sources: &[],
        };
        let inverse = vec![1.0 / sampling.temperature; ids.len()];
        let kept = is_cut.then_some(kept.as_slice());
        poison(&mut queue);
        let read = trainer.policy_forward(&mut queue, &batch, &inverse, kept).unwrap();
        let is_drawn = |(_, label): &(&f32, &i32)| **label >= 0;
        let again: Vec<f32> = read.logprobs.iter().zip(&labels).filter(is_drawn).map(|(&l, _)| l).collect();
        let drawn: Vec<f32> = completions.iter().flat_map(|c| &c.sampled_logprobs).copied().collect();
        let tokens = completions.iter().flat_map(|c| &c.tokens);
        found.extend(tokens.zip(&drawn).map(|(&token, logprob)| (token, logprob.to_bits())));
        assert_eq!(again.len(), prompts.len() * new);
        for (i, (again, drawn)) in again.iter().zip(&drawn).enumerate() {
            assert!(
                again.to_bits() == drawn.to_bits(),
                "step {step}, token {i}: {again:e}, drawn with {drawn:e}"
            );
        }
        // The next step draws from the weights that this one has moved.
        let coefficients: Vec<f32> = labels.iter().map(|&label| if label < 0 { 0.0 } else { -0.1 }).collect();
        let none = vec![0.0; ids.len()];
        trainer.begin(&mut queue, 1e-2, 1).unwrap();
        trainer.policy_backward(&mut queue, 0, &coefficients, &none).unwrap();
        trainer.update(&mut queue).unwrap();
        assert!(!trainer.finish(&mut queue).unwrap().unwrap().halted);
    }
    found
}

#[test]
fn cores_read_again_what_they_have_drawn() {
    for dtype in [DType::F32, DType::Bf16] {
        drawn_and_read_again(DeviceKind::Cpu, dtype, &[1, 62, 130, 40], 20, 400, PLAIN, Memory::Apart);
    }
}

#[test]
fn so_they_do_at_other_temperatures_and_where_the_distribution_was_cut() {
    for sampling in CUTS {
        drawn_and_read_again(DeviceKind::Cpu, DType::F32, &[1, 62, 40], 20, 200, sampling, Memory::Apart);
    }
}

#[test]
fn kernels_read_again_what_they_have_drawn() {
    for sampling in [PLAIN, CUTS[4]] {
        drawn_and_read_again(DeviceKind::Sim, DType::Bf16, &[5, 17], 4, 32, sampling, Memory::Shared);
    }
}

#[test]
fn phases_that_use_memory_in_turns_draw_and_learn_as_those_that_have_their_own() {
    let with = |kind, dtype, sampling, memory| {
        let (prompts, new, tokens) =
            if kind == DeviceKind::Cpu { ([3, 70], 20, 120) } else { ([5, 17], 4, 32) };
        drawn_and_read_again(kind, dtype, &prompts, new, tokens, sampling, memory)
    };
    for (kind, dtype, sampling) in [
        (DeviceKind::Cpu, DType::F32, CUTS[4]),
        (DeviceKind::Cpu, DType::Bf16, PLAIN),
        (DeviceKind::Sim, DType::Bf16, CUTS[4]),
    ] {
        let apart = with(kind, dtype, sampling, Memory::Apart);
        assert_eq!(with(kind, dtype, sampling, Memory::Shared), apart);
    }
}

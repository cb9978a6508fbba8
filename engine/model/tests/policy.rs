//! The policy-gradient step: its gradients are those of what the host minimises, and where that is the cross-entropy
//! those of training.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_model::{
    AdamWConfig, Flat, MicroBatch, ModelConfig, Net, Param, PolicyForward, PolicyShape, Recompute, Shape,
    Trainer, TrainerOptions,
};
use octo_ops::{DType, View, support};
use octo_queue::{DeviceKind, Queue, open};
use serde_json::{Value, json};

/// No clipping and no decay: what an update reads is the gradient.
const OPTIMIZER: AdamWConfig =
    AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, clip: f64::INFINITY };

/// Rows of a policy micro-batch.
const TOKENS: u32 = 48;

fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 67,
        "max_position_embeddings": 128, "initializer_range": 0.2,
    })
}

fn qwen() -> Value {
    json!({
        "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 72, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 90,
        "tie_word_embeddings": true, "max_position_embeddings": 128, "initializer_range": 0.2,
    })
}

/// Sequences of one micro-batch, with what a loss over them would upload.
struct Drawn {
    ids: Vec<u32>,
    labels: Vec<i32>,
    positions: Vec<u32>,
    cu_seqlens: Vec<u32>,
    inv_temperature: Vec<f32>,
    coefficients: Vec<f32>,
    entropy_coefficients: Vec<f32>,
}

/// A pure function of the arguments; the first tokens of each sequence are its prompt.
fn drawn(lengths: &[u32], vocab: u32, salt: u32) -> Drawn {
    let mut all = Drawn {
        ids: vec![],
        labels: vec![],
        positions: vec![],
        cu_seqlens: vec![0],
        inv_temperature: vec![],
        coefficients: vec![],
        entropy_coefficients: vec![],
    };
    let token = |at: u32| (at * at * 7 + 13 * at + 31 * salt) % vocab;
    for &length in lengths {
        let start = all.ids.len() as u32;
        for t in 0..length {
            let at = start + t;
            let drawn = t >= 3 && t + 1 < length;
            all.ids.push(token(at));
            all.labels.push(if drawn { token(at + 1) as i32 } else { -1 });
            all.positions.push(t);
            all.inv_temperature.push([1.0, 0.7, 1.4][at as usize % 3]);
            all.coefficients.push(if drawn { (f64::from(at * 37 % 11) - 5.0) as f32 * 0.05 } else { 0.0 });
            all.entropy_coefficients.push(if drawn { 0.01 * (at % 4) as f32 } else { 0.0 });
        }
        all.cu_seqlens.push(start + length);
    }
    all
}

impl Drawn {
    fn micro_batch(&self) -> MicroBatch<'_> {
        let Drawn { ids, labels, positions, cu_seqlens, .. } = self;
        MicroBatch { ids, labels, positions, cu_seqlens, sources: &[] }
    }

    /// Half of the vocabulary, with each row's label.
    fn support(&self, vocab: u32) -> Vec<u32> {
        let words = support::words(vocab);
        let row = |(t, &label): (usize, &i32)| {
            let keeps = move |id: u32| id as i32 == label || (id + t as u32).is_multiple_of(2);
            (0..words).map(move |word| {
                let ids = (32 * word..vocab.min(32 * word + 32)).filter(|&id| keeps(id));
                ids.fold(0u32, |bits, id| bits | 1 << (id % 32))
            })
        };
        self.labels.iter().enumerate().flat_map(row).collect()
    }

    /// What the host minimises.
    fn objective(&self, forward: &PolicyForward) -> f64 {
        let sum = |c: &[f32], v: &[f32]| -> f64 {
            c.iter().zip(v).map(|(&c, &v)| f64::from(c) * f64::from(v)).sum()
        };
        sum(&self.coefficients, &forward.logprobs) + sum(&self.entropy_coefficients, &forward.entropies)
    }
}

struct Run {
    queue: Queue,
    trainer: Trainer,
}

impl Run {
    fn new(kind: DeviceKind, model: fn() -> Value, dtype: DType) -> Run {
        Run::of(kind, model, dtype, TOKENS, Recompute::None)
    }

    fn of(kind: DeviceKind, model: fn() -> Value, dtype: DType, tokens: u32, recompute: Recompute) -> Run {
        let config = ModelConfig::from_value(model(), "test").unwrap();
        let mut queue = open(kind, Some(2)).unwrap();
        let net = Net::allocate(&mut queue, config, dtype, 128).unwrap();
        let policy = Some(PolicyShape { tokens, documents: 4, support: true });
        let shape = Shape { tokens: TOKENS, documents: 4, sequences: 1, sources: 1 };
        let options = TrainerOptions { recompute, policy, ..TrainerOptions::default() };
        let trainer = Trainer::with(&mut queue, net, OPTIMIZER, &[shape], options).unwrap();
        queue.seal();
        trainer.net().randomise(&mut queue, 3, trainer.remainder()).unwrap();
        Run { queue, trainer }
    }

    fn vocab(&self) -> u32 {
        self.trainer.net().config.vocab_size
    }

    fn forward(&mut self, batch: &Drawn, support: Option<&[u32]>) -> PolicyForward {
        let inverse = &batch.inv_temperature;
        self.trainer.policy_forward(&mut self.queue, &batch.micro_batch(), inverse, support).unwrap()
    }

    /// Gradients of a step over these micro-batches that moves no weight.
    fn gradients(&mut self, batches: &[Drawn], cut: bool) -> Vec<f32> {
        let vocab = self.vocab();
        self.trainer.begin(&mut self.queue, 0.0, 1).unwrap();
        for (index, batch) in batches.iter().enumerate() {
            let support = cut.then(|| batch.support(vocab));
            self.forward(batch, support.as_deref());
            let (c, e) = (&batch.coefficients, &batch.entropy_coefficients);
            self.trainer.policy_backward(&mut self.queue, index, c, e).unwrap();
        }
        self.trainer.update(&mut self.queue).unwrap();
        let report = self.trainer.finish(&mut self.queue).unwrap().unwrap();
        assert!(!report.halted && report.loss == 0.0, "{report:?}");
        let gradients = self.arena(self.trainer.gradients());
        let norm = gradients.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        assert!((report.grad_norm / norm - 1.0).abs() < 1e-5, "{report:?}, {norm}");
        gradients
    }

    fn arena(&mut self, arena: Flat) -> Vec<f32> {
        let elements = self.trainer.net().params.total_elements() as u32;
        let mut values = vec![0.0f32; elements as usize];
        let view = View::new(arena.buffer, 0, arena.dtype, &[elements]);
        self.queue.snapshot(view, bytemuck::cast_slice_mut(&mut values)).unwrap();
        values
    }

    /// Moves one parameter along a direction, from these f32 weights.
    fn moved(&mut self, param: Param, weights: &[f32], direction: &[f32], by: f64) {
        let net = self.trainer.net();
        let range = net.params.range(param);
        let range = range.start as usize..range.end as usize;
        let moved: Vec<f32> = weights[range.clone()]
            .iter()
            .zip(&direction[range.clone()])
            .map(|(&w, &d)| (f64::from(w) + by * f64::from(d)) as f32)
            .collect();
        let view = View::new(net.weights.buffer, 4 * range.start as u64, DType::F32, &[moved.len() as u32]);
        self.queue.upload(view, bytemuck::cast_slice(&moved)).unwrap();
    }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// |a − b| / |b|
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Along the gradient of each parameter the objective rises as fast as that gradient is long.
#[test]
fn gradients_are_those_of_the_objective() {
    for model in [llama, qwen] {
        for cut in [false, true] {
            let mut run = Run::new(DeviceKind::Cpu, model, DType::F32);
            let vocab = run.vocab();
            let batch = drawn(&[20, 1, 19], vocab, 4);
            let support = cut.then(|| batch.support(vocab));
            let gradients = run.gradients(std::slice::from_ref(&batch), cut);
            let weights = run.arena(run.trainer.net().weights);
            let params: Vec<Param> = run.trainer.net().params.params().collect();
            for param in params {
                let range = run.trainer.net().params.range(param);
                let length = norm(&gradients[range.start as usize..range.end as usize]);
                assert!(length > 0.0, "{param:?}");
                let step = 2e-3 / length;
                let mut at = |by: f64| {
                    run.moved(param, &weights, &gradients, by);
                    batch.objective(&run.forward(&batch, support.as_deref()))
                };
                let slope = (at(step) - at(-step)) / (2.0 * step * length);
                at(0.0);
                assert!((slope / length - 1.0).abs() < 0.02, "{param:?}: slope {slope}, gradient {length}");
            }
        }
    }
}

/// The loss of training is −Σ logprob / targets.
fn cross_entropy_is_one_of_them(kind: DeviceKind, dtype: DType, limit: f64) {
    for model in [llama, qwen] {
        let mut run = Run::new(kind, model, dtype);
        let vocab = run.vocab();
        let mut batches = [drawn(&[30, 18], vocab, 1), drawn(&[48], vocab, 2)];
        let targets = batches.iter().flat_map(|b| &b.labels).filter(|&&label| label >= 0).count();
        for batch in &mut batches {
            batch.inv_temperature.fill(1.0);
            batch.entropy_coefficients.fill(0.0);
            let inverse = 1.0 / targets as f32;
            let each = batch.coefficients.iter_mut().zip(&batch.labels);
            each.for_each(|(c, &label)| *c = if label >= 0 { -inverse } else { 0.0 });
        }
        let policy = run.gradients(&batches, false);
        let scored: f64 = batches.iter().map(|batch| batch.objective(&run.forward(batch, None))).sum();
        run.trainer.begin(&mut run.queue, 0.0, targets).unwrap();
        for (i, batch) in batches.iter().enumerate() {
            let batch = MicroBatch { sources: &[0], ..batch.micro_batch() };
            run.trainer.pass(&mut run.queue, i, &batch).unwrap();
        }
        run.trainer.update(&mut run.queue).unwrap();
        let report = run.trainer.finish(&mut run.queue).unwrap().unwrap();
        assert!((report.loss / scored - 1.0).abs() < 1e-5, "{} and {scored}", report.loss);
        let plain = run.arena(run.trainer.gradients());
        let far = distance(&policy, &plain);
        assert!(far < limit, "gradients differ by {far:e}");
    }
}

#[test]
fn cross_entropy_is_one_of_the_losses_on_the_cpu() {
    for dtype in [DType::F32, DType::Bf16] {
        cross_entropy_is_one_of_them(DeviceKind::Cpu, dtype, 1e-5);
    }
}

/// Both round the gradients of logits to bf16, which has eight bits; what differs is on which side a tie falls.
#[test]
fn cross_entropy_is_one_of_the_losses_in_the_kernels() {
    cross_entropy_is_one_of_them(DeviceKind::Sim, DType::Bf16, 1e-3);
}

#[test]
fn kernels_and_cores_agree_within_the_rounding_of_bf16() {
    let both = [DeviceKind::Sim, DeviceKind::Cpu].map(|kind| {
        let mut run = Run::new(kind, qwen, DType::Bf16);
        let batch = drawn(&[20, 16], run.vocab(), 6);
        run.gradients(&[batch], true)
    });
    let far = distance(&both[0], &both[1]);
    assert!(far < 0.05, "gradients differ by {far}");
}

#[test]
fn rows_that_fill_a_micro_batch_up_add_nothing() {
    for (kind, dtype, limit) in [(DeviceKind::Cpu, DType::F32, 1e-6), (DeviceKind::Sim, DType::Bf16, 1e-6)] {
        let run = |tokens| {
            let mut run = Run::of(kind, llama, dtype, tokens, Recompute::None);
            let batch = drawn(&[13, 11], run.vocab(), 2);
            let forward = run.forward(&batch, None);
            assert_eq!(forward.logprobs.len(), 24);
            (forward, run.gradients(&[batch], false))
        };
        let (alone, filled) = (run(24), run(45));
        assert_eq!(bits(&alone.0.logprobs), bits(&filled.0.logprobs));
        assert_eq!(bits(&alone.0.entropies), bits(&filled.0.entropies));
        let far = distance(&filled.1, &alone.1);
        assert!(far < limit, "gradients differ by {far:e}");
    }
}

#[test]
fn what_is_computed_again_changes_no_bit_of_a_policy_step() {
    let gradients = |recompute| {
        let mut run = Run::of(DeviceKind::Cpu, qwen, DType::F32, TOKENS, recompute);
        let batches = [1, 2].map(|salt| drawn(&[20, 9, 19], run.vocab(), salt));
        bits(&run.gradients(&batches, true))
    };
    let kept = gradients(Recompute::None);
    for recompute in Recompute::ALL {
        assert!(gradients(recompute) == kept, "{}", recompute.name());
    }
}

#[test]
fn a_backward_pass_belongs_to_the_forward_pass_just_before_it() {
    let mut run = Run::new(DeviceKind::Cpu, llama, DType::F32);
    let batch = drawn(&[30, 18], run.vocab(), 1);
    let (c, e) = (&batch.coefficients, &batch.entropy_coefficients);
    let plain = MicroBatch { sources: &[0], ..batch.micro_batch() };
    assert!(run.trainer.policy_backward(&mut run.queue, 0, c, e).is_err(), "nothing was forwarded");
    run.forward(&batch, None);
    run.trainer.score(&mut run.queue, &plain).unwrap();
    assert!(run.trainer.policy_backward(&mut run.queue, 0, c, e).is_err(), "other activations are there");
    run.forward(&batch, None);
    assert!(run.trainer.policy_backward(&mut run.queue, 0, &c[1..], e).is_err(), "one is missing");
    run.forward(&batch, None);
    run.trainer.policy_backward(&mut run.queue, 0, c, e).unwrap();
    assert!(run.trainer.policy_backward(&mut run.queue, 1, c, e).is_err(), "it is done already");
    let long = drawn(&[30, 19], run.vocab(), 1);
    let inverse = &long.inv_temperature;
    assert!(run.trainer.policy_forward(&mut run.queue, &long.micro_batch(), inverse, None).is_err());
    let many = drawn(&[4; 5], run.vocab(), 1);
    let inverse = &many.inv_temperature;
    assert!(run.trainer.policy_forward(&mut run.queue, &many.micro_batch(), inverse, None).is_err());
}

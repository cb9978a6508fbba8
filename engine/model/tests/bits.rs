//! Which bits a training step gives: the same for any number of threads and any packing, untouched weights
//! where a step is not finite, and masters that bf16 weights do not lose.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use half::bf16;
use octo_model::{AdamWConfig, Flat, MicroBatch, ModelConfig, Net, Param, Shape, StepReport, Trainer};
use octo_ops::{DType, Slot, View, master};
use octo_queue::{DeviceKind, Queue, open};
use serde_json::{Value, json};

const OPTIMIZER: AdamWConfig =
    AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };

fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 131,
        "max_position_embeddings": 512, "initializer_range": 0.1,
    })
}

fn qwen() -> Value {
    json!({
        "model_type": "qwen2", "hidden_size": 40, "intermediate_size": 72, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 300, "tie_word_embeddings": true,
        "max_position_embeddings": 512, "initializer_range": 0.1,
    })
}

const MODELS: [(fn() -> Value, DType); 4] =
    [(llama, DType::F32), (llama, DType::Bf16), (qwen, DType::F32), (qwen, DType::Bf16)];

/// Documents of one micro-batch, one after the other.
#[derive(Default)]
struct Packed {
    ids: Vec<u32>,
    labels: Vec<i32>,
    positions: Vec<u32>,
    cu_seqlens: Vec<u32>,
    sources: Vec<u32>,
}

impl Packed {
    fn new(documents: &[Vec<u32>]) -> Packed {
        let mut p = Packed { cu_seqlens: vec![0], sources: vec![0], ..Packed::default() };
        for document in documents {
            p.ids.extend(document);
            p.labels.extend(document[1..].iter().map(|&t| t as i32).chain([-1]));
            p.positions.extend(0..document.len() as u32);
            p.cu_seqlens.push(p.ids.len() as u32);
        }
        p
    }

    fn micro_batch(&self) -> MicroBatch<'_> {
        let Packed { ids, labels, positions, cu_seqlens, sources } = self;
        MicroBatch { ids, labels, positions, cu_seqlens, sources }
    }
}

/// A document without a pattern, a pure function of the arguments.
fn document(length: usize, salt: u32, vocab: u32) -> Vec<u32> {
    let mut state = salt.wrapping_mul(0x9e37_79b9).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % vocab
    };
    (0..length).map(|_| next()).collect()
}

fn documents(lengths: &[usize], salt: u32, vocab: u32) -> Vec<Vec<u32>> {
    lengths.iter().enumerate().map(|(i, &n)| document(n, 100 * salt + i as u32, vocab)).collect()
}

struct Run {
    queue: Queue,
    trainer: Trainer,
}

impl Run {
    fn new(model: fn() -> Value, dtype: DType, threads: usize, tokens: u32) -> Run {
        Run::of(model, dtype, threads, &[Shape { tokens, documents: 8, sequences: 1, sources: 1 }])
    }

    fn of(model: fn() -> Value, dtype: DType, threads: usize, shapes: &[Shape]) -> Run {
        Run::on(open(DeviceKind::Cpu, Some(threads)).unwrap(), model, dtype, shapes)
    }

    fn on(mut queue: Queue, model: fn() -> Value, dtype: DType, shapes: &[Shape]) -> Run {
        let config = ModelConfig::from_value(model(), "test").unwrap();
        let net = Net::allocate(&mut queue, config, dtype, 512).unwrap();
        let mut run =
            Trainer::new(&mut queue, net, OPTIMIZER, shapes).map(|trainer| Run { queue, trainer }).unwrap();
        run.queue.seal();
        let remainder = run.trainer.remainder();
        run.trainer.net().randomise(&mut run.queue, 7, remainder).unwrap();
        run
    }

    fn vocab(&self) -> u32 {
        self.trainer.net().config.vocab_size
    }

    fn step(&mut self, lr: f64, batches: &[Packed]) -> StepReport {
        let batches: Vec<MicroBatch<'_>> = batches.iter().map(Packed::micro_batch).collect();
        let before = self.trainer.step(&mut self.queue, lr, &batches).unwrap();
        assert_eq!(before, None, "the report of the step before was already taken");
        self.trainer.finish(&mut self.queue).unwrap().unwrap()
    }

    fn score(&mut self, batch: &Packed) -> Vec<f32> {
        self.trainer.score(&mut self.queue, &batch.micro_batch()).unwrap()
    }

    /// The bytes of a whole arena.
    fn bytes(&mut self, arena: Flat) -> Vec<u8> {
        let elements = self.trainer.net().params.total_elements() as u32;
        let view = View::new(arena.buffer, 0, arena.dtype, &[elements]);
        let mut bytes = vec![0; view.span_bytes() as usize];
        self.queue.begin_readback(Slot(6), view).unwrap();
        self.queue.finish_readback(Slot(6), &mut bytes).unwrap();
        bytes
    }

    fn gradients(&mut self) -> Vec<f32> {
        let gradients = self.trainer.gradients();
        floats(&self.bytes(gradients))
    }

    /// Weights, remainders and moments: everything that a step changes for good.
    fn state(&mut self) -> Vec<Vec<u8>> {
        let arenas = [Some(self.trainer.net().weights), self.trainer.remainder()];
        arenas.into_iter().flatten().chain(self.trainer.moments()).map(|arena| self.bytes(arena)).collect()
    }

    /// The f32 values that the optimizer works on.
    fn masters(&mut self) -> Vec<f32> {
        let weights = self.trainer.net().weights;
        let bytes = self.bytes(weights);
        let Some(remainder) = self.trainer.remainder() else { return floats(&bytes) };
        let rest = self.bytes(remainder);
        let pairs = bytes.as_chunks::<2>().0.iter().zip(rest.as_chunks::<2>().0);
        pairs.map(|(w, r)| master::join(bf16::from_le_bytes(*w), i16::from_le_bytes(*r))).collect()
    }

    /// Writes one element of a weight.
    fn plant(&mut self, param: Param, element: u64, value: f32) {
        let net = self.trainer.net();
        let at = (net.params.range(param).start + element) * net.weights.dtype.bytes();
        let view = View::new(net.weights.buffer, at, net.weights.dtype, &[1]);
        match net.weights.dtype {
            DType::Bf16 => self.queue.upload(view, &bf16::from_f32(value).to_le_bytes()).unwrap(),
            _ => self.queue.upload(view, &value.to_le_bytes()).unwrap(),
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// |a − b| / |b| over all elements.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut b.iter().map(|b| f64::from(*b)))
}

/// Unequal documents over the borders of blocks of 64 and 128.
const LENGTHS: [usize; 5] = [127, 3, 65, 1, 60];

#[test]
fn the_number_of_threads_changes_no_bit_of_a_run() {
    for (model, dtype) in MODELS {
        let run = |threads| {
            let mut run = Run::new(model, dtype, threads, 256);
            let mut reports = Vec::new();
            for step in 0..3 {
                let batches = [0, 1].map(|m| Packed::new(&documents(&LENGTHS, 2 * step + m, run.vocab())));
                let report = run.step(1e-2, &batches);
                assert!(!report.halted);
                reports.push((report.loss.to_bits(), report.grad_norm.to_bits(), bits(&run.gradients())));
            }
            (reports, run.state())
        };
        let one = run(1);
        for threads in [2, 3] {
            assert!(run(threads) == one, "{dtype}: {threads} threads give other bits than one");
        }
    }
}

/// A gradient is a sum over tokens; cutting it elsewhere rounds it elsewhere and does nothing more.
#[test]
fn the_size_of_micro_batches_changes_a_step_by_rounding_alone() {
    for (model, dtype) in MODELS {
        let mut whole = Run::new(model, dtype, 2, 256);
        let all = documents(&[64, 60, 4, 127, 1], 3, whole.vocab());
        let together = whole.step(1e-2, &[Packed::new(&all)]);
        let mut halves = Run::new(model, dtype, 2, 128);
        let apart = halves.step(1e-2, &[Packed::new(&all[..3]), Packed::new(&all[3..])]);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-5 * b;
        assert!(close(apart.loss, together.loss), "{dtype}: loss {} and {}", apart.loss, together.loss);
        assert!(close(apart.grad_norm, together.grad_norm), "{dtype}: norm");
        let far = distance(&halves.gradients(), &whole.gradients());
        assert!(far < 1e-5, "{dtype}: gradients differ by {far:e}");
    }
}

/// A run whose stages differ in the micro-batch has one trainer for all of them.
#[test]
fn programs_of_other_shapes_beside_it_change_no_bit_of_a_step() {
    for (model, dtype) in MODELS {
        let shape = |tokens, documents| Shape { tokens, documents, sequences: 1, sources: 1 };
        let one = |tokens| [shape(tokens, 8)];
        let batch =
            |run: &Run, lengths: &[usize], salt| [Packed::new(&documents(lengths, salt, run.vocab()))];
        let mut both = Run::of(model, dtype, 2, &[shape(256, 8), shape(128, 30)]);
        // Steps of the large shape, then of the small one from the same state.
        let mut large = Run::of(model, dtype, 2, &one(256));
        for salt in 0..2 {
            let [a, b] = [&mut both, &mut large].map(|run| run.step(1e-2, &batch(run, &LENGTHS, salt)));
            assert_eq!(a, b);
        }
        assert!(both.state() == large.state() && bits(&both.gradients()) == bits(&large.gradients()));
        for run in [&mut both, &mut large] {
            run.trainer.net().randomise(&mut run.queue, 7, run.trainer.remainder()).unwrap();
        }
        let mut small = Run::of(model, dtype, 2, &one(128));
        let halves = |run: &Run| [1, 2].map(|salt| Packed::new(&documents(&[65, 60, 3], salt, run.vocab())));
        let [a, b] = [&mut both, &mut small].map(|run| run.step(0.0, &halves(run)));
        assert_eq!(a, b);
        assert!(bits(&both.gradients()) == bits(&small.gradients()));
        let scored = batch(&small, &[65, 60, 3], 3);
        assert!(bits(&both.score(&scored[0])) == bits(&small.score(&scored[0])));
    }
}

#[test]
fn ten_changing_steps_have_the_same_bits_replayed_and_eager() {
    let shape = Shape { tokens: 48, documents: 8, sequences: 1, sources: 1 };
    let packings: [&[usize]; 5] = [&[48], &[1, 47], &[20, 3, 25], &[6; 8], &[31, 1, 1, 1, 14]];
    for device in [DeviceKind::Cpu, DeviceKind::Sim] {
        let queue = || open(device, Some(2)).unwrap();
        let mut replayed = Run::on(queue(), qwen, DType::Bf16, &[shape]);
        let mut eager = Run::on(queue().eager(), qwen, DType::Bf16, &[shape]);
        let start = replayed.state();
        for step in 0..10 {
            // Learning rate, packing, number of documents and of micro-batches change from step to step.
            let lr = 1e-3 * f64::from(1 + step * 7 % 5);
            let batches: Vec<Packed> = (0..1 + step % 2)
                .map(|micro| {
                    let packing = packings[(step + 2 * micro) as usize % packings.len()];
                    Packed::new(&documents(packing, 10 * step + micro, replayed.vocab()))
                })
                .collect();
            assert_eq!(replayed.step(lr, &batches), eager.step(lr, &batches), "{device:?}, step {step}");
        }
        let state = replayed.state();
        assert!(state == eager.state(), "{device:?}: weights, remainders or moments differ");
        assert!(state != start, "{device:?}: nothing was trained");
    }
}

#[test]
fn a_micro_batch_of_no_known_shape_is_refused() {
    let shape = Shape { tokens: 64, documents: 8, sequences: 2, sources: 2 };
    let mut run = Run::of(llama, DType::F32, 2, &[shape]);
    let mut batch = Packed::new(&documents(&[64], 1, run.vocab()));
    for sources in [vec![0], vec![0, 1, 0]] {
        batch.sources = sources;
        let error = run.trainer.pass(&mut run.queue, 0, &batch.micro_batch()).unwrap_err();
        assert!(error.to_string().contains("64 tokens"), "{error}");
    }
    batch.sources = vec![0, 2];
    assert!(run.trainer.pass(&mut run.queue, 0, &batch.micro_batch()).is_err(), "there is no third source");
    let mut queue = open(DeviceKind::Cpu, Some(1)).unwrap();
    let config = ModelConfig::from_value(llama(), "test").unwrap();
    let net = Net::allocate(&mut queue, config, DType::F32, 64).unwrap();
    assert!(Trainer::new(&mut queue, net, OPTIMIZER, &[shape, shape]).is_err(), "which one would be meant?");
}

#[test]
fn losses_by_source_are_those_of_its_sequences_and_change_no_bit_of_the_step() {
    for (model, dtype) in MODELS {
        let shape = Shape { tokens: 128, documents: 8, sequences: 4, sources: 3 };
        let mut told = Run::of(model, dtype, 2, &[shape]);
        let mut plain = Run::of(model, dtype, 2, &[Shape { sources: 1, ..shape }]);
        let mut batches = [0, 1].map(|salt| Packed::new(&documents(&[40, 24, 60, 4], salt, told.vocab())));
        batches[0].sources = vec![0, 2, 2, 0];
        batches[1].sources = vec![2, 2, 0, 2];
        let mut expected = [0.0; 3];
        for batch in &batches {
            let scores = told.score(batch);
            for (sequence, &source) in scores.chunks_exact(32).zip(&batch.sources) {
                expected[source as usize] -= sequence.iter().map(|&score| f64::from(score)).sum::<f64>();
            }
        }
        // Twice: nothing of the first step may be left in the second.
        for _ in 0..2 {
            let [report, other] = [&mut told, &mut plain].map(|run| run.step(0.0, &batches));
            assert_eq!(report.source_losses.len(), 3);
            for (got, expected) in report.source_losses.iter().zip(expected) {
                assert!((got - expected).abs() <= 1e-5 * expected, "{dtype}: {report:?}, {expected:?}");
            }
            assert_eq!(StepReport { source_losses: Vec::new(), ..report }, other);
            assert!(bits(&told.gradients()) == bits(&plain.gradients()));
        }
    }
}

#[test]
fn a_micro_batch_without_targets_adds_nothing() {
    let mut run = Run::new(llama, DType::F32, 2, 256);
    let with = Packed::new(&documents(&LENGTHS, 1, run.vocab()));
    let mut without = Packed::new(&documents(&LENGTHS, 2, run.vocab()));
    without.labels.fill(-1);
    let alone = run.step(0.0, &[Packed::new(&documents(&LENGTHS, 1, run.vocab()))]);
    let gradients = bits(&run.gradients());
    let mut again = Run::new(llama, DType::F32, 2, 256);
    let both = again.step(0.0, &[with, without]);
    assert_eq!((both.loss, both.grad_norm), (alone.loss, alone.grad_norm));
    assert!(bits(&again.gradients()) == gradients);
}

#[test]
fn a_step_that_is_not_finite_writes_nothing() {
    for (model, dtype) in MODELS {
        for value in [f32::NAN, f32::INFINITY] {
            let mut run = Run::new(model, dtype, 2, 256);
            let batch = |run: &Run, salt| [Packed::new(&documents(&LENGTHS, salt, run.vocab()))];
            let first = batch(&run, 1);
            assert!(!run.step(1e-2, &first).halted);
            let gate_up = run.trainer.net().params.layers()[1].gate_up;
            run.plant(gate_up, 5, value);
            let before = run.state();
            let report = run.step(1e-2, &batch(&run, 2));
            assert!(report.halted, "{dtype}, {value}: {report:?}");
            assert!(run.state() == before, "{dtype}, {value}: a halted step has written");
            // Mended, the run goes on.
            run.plant(gate_up, 5, 0.01);
            let report = run.step(1e-2, &batch(&run, 3));
            assert!(!report.halted && report.loss.is_finite());
            assert!(run.state() != before);
        }
    }
}

#[test]
fn a_document_packed_with_others_scores_as_it_does_alone() {
    for (model, dtype) in MODELS {
        let mut packed = Run::new(model, dtype, 2, 256);
        let documents = documents(&LENGTHS, 5, packed.vocab());
        let batch = Packed::new(&documents);
        let together = packed.score(&batch);
        for (document, &start) in documents.iter().zip(&batch.cu_seqlens) {
            let mut alone = Run::new(model, dtype, 2, document.len() as u32);
            let expected = alone.score(&Packed::new(std::slice::from_ref(document)));
            let got = &together[start as usize..][..document.len()];
            assert!(bits(got) == bits(&expected), "{dtype}: the document of {} tokens", document.len());
        }
    }
}

#[test]
fn no_document_sees_the_one_before_it() {
    let mut run = Run::new(llama, DType::F32, 2, 256);
    let first = documents(&LENGTHS, 5, run.vocab());
    let mut second = first.clone();
    second[0] = document(LENGTHS[0], 77, run.vocab());
    let rest = |scores: Vec<f32>| bits(&scores[LENGTHS[0]..]);
    let before = rest(run.score(&Packed::new(&first)));
    assert!(rest(run.score(&Packed::new(&second))) == before);
    // And without the border it would.
    let mut joined = Packed::new(&first);
    joined.cu_seqlens.remove(1);
    assert!(rest(run.score(&joined)) != before);
}

#[test]
fn scoring_between_steps_changes_no_bit_of_the_run() {
    let run = |scores: bool| {
        let mut run = Run::new(qwen, DType::Bf16, 2, 256);
        for step in 0..3 {
            let batch = Packed::new(&documents(&LENGTHS, step, run.vocab()));
            run.step(1e-2, &[batch]);
            if scores {
                run.score(&Packed::new(&documents(&[200, 56], step, run.vocab())));
            }
        }
        run.state()
    };
    assert!(run(true) == run(false));
}

/// With bf16 weights only the forward and backward passes see rounded values; the optimizer adds to the whole
/// f32 master.
///
/// At a learning rate of 1e-5 an AdamW step moves a weight of 0.1 by far less than half a bf16 unit in its last
/// place (2^-12 ≈ 2.4e-4), so that without a master the weights would stand still. Both runs start from equal
/// masters; their gradients differ by the rounding of the weights, 2^-9 a weight, so their paths stay together
/// to a few per cent of the way gone: 2.7 % here, more than 2^-9 because Adam's normalisation lets rounding turn
/// the sign of small gradients. Weights without masters would not move at all, a distance of 100 %.
#[test]
fn bf16_weights_lose_no_small_step() {
    for model in [llama, qwen] {
        let path = |dtype| {
            let mut run = Run::new(model, dtype, 2, 256);
            let start = run.masters();
            for step in 0..10 {
                let batch = Packed::new(&documents(&LENGTHS, step, run.vocab()));
                run.step(1e-5, &[batch]);
            }
            let end = run.masters();
            let moved: Vec<f32> = end.iter().zip(&start).map(|(e, s)| e - s).collect();
            (start, moved)
        };
        let (full_start, full) = path(DType::F32);
        let (half_start, half) = path(DType::Bf16);
        assert!(bits(&full_start) == bits(&half_start), "the masters begin as the f32 weights do");
        assert!(full.iter().map(|m| m.abs()).fold(0.0, f32::max) < 2e-4, "steps were meant to be small");
        let far = distance(&half, &full);
        assert!(far < 0.05, "the ways gone differ by {far}");
    }
}

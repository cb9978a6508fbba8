//! What a run asks of a device, written down by a queue that computes nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_model::{AdamWConfig, MicroBatch, ModelConfig, Net, Shape, Trainer};
use octo_ops::{DType, Precision, Program};
use octo_queue::{Event, Queue, Recording, record};
use serde_json::{Value, json};

const TOKENS: u32 = 32;

struct Planned {
    queue: Queue,
    recording: Recording,
    trainer: Trainer,
}

impl Planned {
    fn new(config: Value, dtype: DType) -> Planned {
        Planned::of(config, dtype, Shape { tokens: TOKENS, documents: 4, sequences: 1, sources: 1 })
    }

    fn of(config: Value, dtype: DType, shape: Shape) -> Planned {
        let (mut queue, recording) = record(Precision::CPU);
        let config = ModelConfig::from_value(config, "test").unwrap();
        let net = Net::allocate(&mut queue, config, dtype, TOKENS).unwrap();
        let optimizer = AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };
        let trainer = Trainer::new(&mut queue, net, optimizer, &[shape]).unwrap();
        queue.seal();
        Planned { queue, recording, trainer }
    }

    /// The captured programs in the order of their capture: update; of each shape first micro-batch, further ones, score.
    fn programs(&self) -> Vec<Program> {
        let capture = |event| match event {
            Event::Capture(program) => Some(program),
            _ => None,
        };
        self.recording.events().into_iter().filter_map(capture).collect()
    }

    /// What a call asks of the device.
    fn asked(&mut self, f: impl FnOnce(&mut Queue, &mut Trainer)) -> Vec<&'static str> {
        let before = self.recording.events().len();
        f(&mut self.queue, &mut self.trainer);
        self.recording.events()[before..].iter().map(name).collect()
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Allocate(..) => "allocate",
        Event::Run(_) => "run",
        Event::Upload(_) => "upload",
        Event::BeginReadback(_) => "begin readback",
        Event::FinishReadback => "finish readback",
        Event::Snapshot(_) => "snapshot",
        Event::Capture(_) => "capture",
        Event::Replay(_) => "replay",
        Event::Wait => "wait",
    }
}

fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 50,
    })
}

fn qwen_tied() -> Value {
    json!({
        "model_type": "qwen2", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 50, "tie_word_embeddings": true,
    })
}

/// A micro-batch of zeros.
struct Zeros {
    ids: Vec<u32>,
    labels: Vec<i32>,
}

impl Zeros {
    fn new() -> Zeros {
        Zeros { ids: vec![0; TOKENS as usize], labels: vec![0; TOKENS as usize] }
    }

    fn micro_batch(&self) -> MicroBatch<'_> {
        MicroBatch {
            ids: &self.ids,
            labels: &self.labels,
            positions: &self.ids,
            cu_seqlens: &[0, TOKENS],
            sources: &[0],
        }
    }
}

#[test]
fn the_ops_of_a_llama_step_are_these() {
    let planned = Planned::new(llama(), DType::F32);
    let [update, first, _, score] = planned.programs()[..] else { panic!("four programs") };
    insta::assert_snapshot!("llama_first_micro_batch", planned.recording.listing(first));
    insta::assert_snapshot!("llama_update", planned.recording.listing(update));
    insta::assert_snapshot!("llama_score", planned.recording.listing(score));
}

#[test]
fn the_ops_of_a_tied_qwen_step_with_bf16_weights_are_these() {
    let planned = Planned::new(qwen_tied(), DType::Bf16);
    let [update, first, _, _] = planned.programs()[..] else { panic!("four programs") };
    insta::assert_snapshot!("qwen_first_micro_batch", planned.recording.listing(first));
    insta::assert_snapshot!("qwen_update", planned.recording.listing(update));
}

#[test]
fn further_micro_batches_run_the_same_ops_on_the_same_operands() {
    for (config, dtype) in [(llama(), DType::F32), (qwen_tied(), DType::Bf16)] {
        let planned = Planned::new(config, dtype);
        let [_, first, further, _] = planned.programs()[..] else { panic!("four programs") };
        // Operands are the same; that the further one accumulates is all that differs.
        let operands = |p| {
            let ops = planned.recording.program(p);
            ops.iter()
                .map(|op| (op.name(), op.operands().iter().map(|o| o.view).collect::<Vec<_>>()))
                .collect::<Vec<_>>()
        };
        assert_eq!(operands(first), operands(further));
        assert_ne!(planned.recording.program(first), planned.recording.program(further));
    }
}

#[test]
fn a_step_uploads_and_replays_and_never_waits_for_itself() {
    let mut planned = Planned::new(llama(), DType::F32);
    let zeros = Zeros::new();
    let batches = [zeros.micro_batch(); 3];
    let step = |planned: &mut Planned| {
        planned.asked(|queue, trainer| {
            trainer.step(queue, 1e-3, &batches).unwrap();
        })
    };
    // The step block, then ids, positions, documents and labels of each micro-batch.
    let mut expected = vec!["upload"];
    for _ in &batches {
        expected.extend(["upload", "upload", "upload", "upload", "replay"]);
    }
    expected.push("replay");
    let first: Vec<&str> = expected.iter().copied().chain(["begin readback"]).collect();
    assert_eq!(step(&mut planned), first);
    // From then on the host collects the readback that the step before began.
    expected.extend(["finish readback", "begin readback"]);
    for _ in 0..3 {
        assert_eq!(step(&mut planned), expected);
    }
    let finish = |planned: &mut Planned| {
        planned.asked(|queue, trainer| {
            trainer.finish(queue).unwrap();
        })
    };
    assert_eq!(finish(&mut planned), ["finish readback"]);
    assert!(finish(&mut planned).is_empty());
    assert_eq!(step(&mut planned), first);
}

#[test]
fn losses_by_source_cost_an_upload_a_micro_batch_and_no_wait() {
    let shape = Shape { tokens: TOKENS, documents: 4, sequences: 2, sources: 2 };
    let mut planned = Planned::of(llama(), DType::F32, shape);
    let zeros = Zeros::new();
    let batches = [MicroBatch { sources: &[0, 1], ..zeros.micro_batch() }; 2];
    let mut step = || {
        planned.asked(|queue, trainer| {
            trainer.step(queue, 1e-3, &batches).unwrap();
        })
    };
    step();
    let mut expected = vec!["upload"];
    for _ in &batches {
        expected.extend(["upload", "upload", "upload", "upload", "upload", "replay"]);
    }
    // What is collected was begun by the step before; what this one begins is left to the next.
    expected.extend(["replay", "finish readback", "finish readback", "begin readback", "begin readback"]);
    assert_eq!(step(), expected);
    let listing = planned.recording.listing(planned.programs()[1]);
    assert_eq!(listing.matches("loss_sum").count(), 3, "{listing}");
}

#[test]
fn a_step_replays_its_micro_batches_in_order_then_the_update() {
    let mut planned = Planned::new(llama(), DType::F32);
    let [update, first, further, _] = planned.programs()[..] else { panic!("four programs") };
    let zeros = Zeros::new();
    for count in [1, 2, 4] {
        let before = planned.recording.events().len();
        let batches = vec![zeros.micro_batch(); count];
        planned.trainer.step(&mut planned.queue, 1e-3, &batches).unwrap();
        let events = planned.recording.events();
        let replayed: Vec<Program> = events[before..]
            .iter()
            .filter_map(|event| match event {
                Event::Replay(program) => Some(*program),
                _ => None,
            })
            .collect();
        let mut expected = vec![first];
        expected.resize(count, further);
        expected.push(update);
        assert_eq!(replayed, expected);
    }
}

#[test]
fn everything_is_allocated_before_the_first_step() {
    let mut planned = Planned::new(qwen_tied(), DType::Bf16);
    let zeros = Zeros::new();
    let Planned { queue, recording, trainer } = &mut planned;
    trainer.net().randomise(queue, 1, trainer.remainder()).unwrap();
    let start = recording.events().len();
    for _ in 0..2 {
        trainer.step(queue, 1e-3, &[zeros.micro_batch()]).unwrap();
        trainer.score(queue, &zeros.micro_batch()).unwrap();
    }
    let late = |event: &&Event| {
        matches!(event, Event::Allocate(..) | Event::Capture(_) | Event::Run(_) | Event::Wait)
    };
    assert_eq!(recording.events()[start..].iter().find(late), None);
}

#[test]
fn no_buffer_holds_all_logits_or_all_attention_scores() {
    let mut config = llama();
    config["vocab_size"] = json!(1000);
    let planned = Planned::new(config, DType::F32);
    let arenas = ["weights", "gradients", "moment 1", "moment 2"];
    let beside = |name: &&str| !arenas.contains(name);
    let memory = planned.queue.memory().iter().map(|(name, bytes)| (name.as_str(), *bytes));
    let (largest, bytes) = memory.filter(|(name, _)| beside(name)).max_by_key(|(_, bytes)| *bytes).unwrap();
    let widest = 2 * planned.trainer.net().config.intermediate_size;
    assert_eq!((largest, bytes), ("layer 1 gate_up", u64::from(TOKENS * widest) * 4));
}

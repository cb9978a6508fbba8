//! The whole model against transformers and PyTorch in float32: `golden/make.py` made the numbers.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_model::{AdamWConfig, MicroBatch, ModelDir, Net, Param, Shape, Trainer, WeightDType};
use octo_ops::DType;
use octo_queue::{DeviceKind, Queue, open};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::PathBuf;

const MODELS: [&str; 4] = ["llama2_f16", "llama3_gqa", "llama_tied", "qwen2_bias"];

fn golden(model: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model)
}

fn json(model: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(model).join("golden.json")).unwrap()).unwrap()
}

fn documents(value: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Documents one after the other in one micro-batch, filled up to `tokens` with a document without targets.
struct Packed {
    ids: Vec<u32>,
    labels: Vec<i32>,
    positions: Vec<u32>,
    cu_seqlens: Vec<u32>,
}

impl Packed {
    fn new(documents: &[Vec<u32>], tokens: usize) -> Packed {
        let mut p = Packed { ids: vec![], labels: vec![], positions: vec![], cu_seqlens: vec![0] };
        for document in documents {
            p.ids.extend(document);
            p.labels.extend(document[1..].iter().map(|&t| t as i32).chain([-1]));
            p.positions.extend(0..document.len() as u32);
            p.cu_seqlens.push(p.ids.len() as u32);
        }
        let rest = tokens - p.ids.len();
        if rest > 0 {
            p.positions.extend(0..rest as u32);
            p.cu_seqlens.push(tokens as u32);
        }
        p.ids.resize(tokens, 0);
        p.labels.resize(tokens, -1);
        p
    }

    fn micro_batch(&self) -> MicroBatch<'_> {
        MicroBatch {
            ids: &self.ids,
            labels: &self.labels,
            positions: &self.positions,
            cu_seqlens: &self.cu_seqlens,
            sources: &[0],
        }
    }
}

fn start(model: &str, weights: DType, optimizer: AdamWConfig, tokens: usize) -> (Queue, Trainer) {
    let dir = ModelDir::open(&golden(model)).unwrap();
    let mut queue = open(DeviceKind::Cpu, Some(2)).unwrap();
    let net = Net::allocate(&mut queue, dir.config().clone(), weights, 256).unwrap();
    let shape = Shape { tokens: tokens as u32, documents: 16, sequences: 1, sources: 1 };
    let trainer = Trainer::new(&mut queue, net, optimizer, &[shape]).unwrap();
    queue.seal();
    trainer.net().load(&mut queue, dir.weights(), trainer.remainder()).unwrap();
    (queue, trainer)
}

const PLAIN: AdamWConfig =
    AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, clip: f64::INFINITY };

#[test]
fn log_probabilities_are_within_1e_4() {
    for model in MODELS {
        let documents = documents(&json(model)["documents"]);
        let bytes = std::fs::read(golden(model).join("golden.safetensors")).unwrap();
        let expected = floats(&SafeTensors::deserialize(&bytes).unwrap(), "logprobs");
        let packed = Packed::new(&documents, documents.iter().map(Vec::len).sum());
        let (mut queue, mut trainer) = start(model, DType::F32, PLAIN, packed.ids.len());
        let scores = trainer.score(&mut queue, &packed.micro_batch()).unwrap();
        let got: Vec<f32> =
            scores.iter().zip(&packed.labels).filter(|(_, l)| **l >= 0).map(|(s, _)| *s).collect();
        assert_eq!(got.len(), expected.len(), "{model}");
        let worst = got.iter().zip(&expected).map(|(g, e)| (g - e).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{model}: {worst}");
    }
}

#[test]
fn every_gradient_tensor_is_within_1e_4() {
    for model in MODELS {
        let documents = documents(&json(model)["documents"]);
        let bytes = std::fs::read(golden(model).join("golden.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let packed = Packed::new(&documents, documents.iter().map(Vec::len).sum());
        let (mut queue, mut trainer) = start(model, DType::F32, PLAIN, packed.ids.len());
        trainer.step(&mut queue, 0.0, &[packed.micro_batch()]).unwrap();
        let report = trainer.finish(&mut queue).unwrap().unwrap();
        let loss = json(model)["loss"].as_f64().unwrap();
        assert!((report.loss - loss).abs() < 1e-4 * loss, "{model}: {} against {loss}", report.loss);
        let mut compared = 0;
        for param in trainer.net().params.params() {
            for (name, got) in by_name(&mut queue, &trainer, param) {
                let expected = floats(&file, &format!("grad.{name}"));
                assert_eq!(got.len(), expected.len(), "{model} {name}");
                let norm =
                    |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                let difference = norm(&mut got.iter().zip(&expected).map(|(g, e)| g - e));
                let size = norm(&mut expected.iter().copied());
                assert!(difference < 1e-4 * size, "{model} {name}: {difference:e} of {size:e}");
                compared += 1;
            }
        }
        let recorded = file.names().iter().filter(|name| name.starts_with("grad.")).count();
        assert_eq!(compared, recorded, "{model}");
    }
}

#[test]
fn twenty_steps_of_loss_are_within_1e_4() {
    for model in ["llama3_gqa", "qwen2_bias"] {
        let golden = json(model);
        let train = &golden["train"];
        let numbers = |key: &str| -> Vec<f64> { serde_json::from_value(train[key].clone()).unwrap() };
        let batches: Vec<Vec<Vec<u32>>> = serde_json::from_value(train["batches"].clone()).unwrap();
        let longest = batches.iter().map(|b| b.iter().map(Vec::len).sum::<usize>()).max().unwrap();
        let betas = numbers("betas");
        let constant = |key: &str| train[key].as_f64().unwrap();
        let optimizer = AdamWConfig {
            beta1: betas[0],
            beta2: betas[1],
            eps: constant("eps"),
            weight_decay: constant("weight_decay"),
            clip: constant("clip"),
        };
        let (mut queue, mut trainer) = start(model, DType::F32, optimizer, longest);
        let mut reports = Vec::new();
        for (batch, lr) in batches.iter().zip(numbers("lr")) {
            let packed = Packed::new(batch, longest);
            reports.extend(trainer.step(&mut queue, lr, &[packed.micro_batch()]).unwrap());
        }
        reports.extend(trainer.finish(&mut queue).unwrap());
        assert_eq!(reports.len(), 20);
        for (step, ((report, loss), norm)) in
            reports.iter().zip(numbers("loss")).zip(numbers("grad_norm")).enumerate()
        {
            let close = |got: f64, expected: f64| (got - expected).abs() < 1e-4 * expected;
            assert!(close(report.loss, loss), "{model} step {step}: loss {} against {loss}", report.loss);
            assert!(
                close(report.grad_norm, norm),
                "{model} step {step}: norm {} against {norm}",
                report.grad_norm
            );
        }
    }
}

/// The Hugging Face tensors of a parameter's gradient.
fn by_name(queue: &mut Queue, trainer: &Trainer, param: Param) -> Vec<(String, Vec<f32>)> {
    let params = &trainer.net().params;
    let range = params.range(param);
    let mut values = vec![0.0; (range.end - range.start) as usize];
    trainer.net().read(queue, trainer.gradients(), param, 0, &mut values).unwrap();
    let mut tensors = Vec::new();
    for source in params.sources(param) {
        let mut tensor = Vec::new();
        while (tensor.len() as u64) < source.elements() {
            let (from, length) = source.run(tensor.len() as u64);
            tensor.extend_from_slice(&values[from as usize..(from + length) as usize]);
        }
        tensors.push((source.name.clone(), tensor));
    }
    tensors
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap_or_else(|_| panic!("no tensor {name}"));
    tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn a_bf16_directory_is_recognised() {
    let dir = ModelDir::open(&golden("qwen2_bias")).unwrap();
    assert_eq!(dir.weights().narrowest_dtype(), WeightDType::Bf16);
}

//! `bench step` and `bench decode`: a whole training step, a whole decoding pass.
//!
//! The programs are those of training and generation, recorded for a prediction, run on a device that is there.

use super::Bench;
use crate::io::say;
use anyhow::{Result, bail};
use octo_infer::{Limits, Request, Sampling, Session, generate};
use octo_model::{AdamWConfig, MicroBatch, ModelConfig, Net, Shape, Trainer};
use octo_ops::{DType, Op, Precision, RandomFill};
use octo_proof::{BenchModel, Inputs, OpTime, Predictor, floor, roofline, seconds};
use octo_queue::{Event, Queue, QueueError, Recording, open_with, record};
use serde::Serialize;
use serde_json::json;
use std::ops::ControlFlow;
use std::time::Instant;

/// Micro-batches of a step.
const MICRO_BATCHES: usize = 8;
/// Tokens in the cache before each row that decodes.
const CONTEXT: u32 = 1023;
/// Passes that are timed on a device.
const PASSES: usize = 16;
const OPTIMIZER: AdamWConfig =
    AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };

/// One whole pass.
enum Whole {
    /// Sequences of so many tokens in each of [`MICRO_BATCHES`] micro-batches.
    Step { sequences: u32, length: u32 },
    /// Rows that decode.
    Decode { batch: u32 },
}

#[derive(Serialize)]
struct Line<'a> {
    device: &'a str,
    case: &'a str,
    /// Of the whole pass, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    microseconds: Vec<f64>,
    tokens: f64,
    /// Model operations (docs/performance.md), of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_flops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted: Option<Predicted>,
}

#[derive(Serialize)]
struct Predicted {
    chip: &'static str,
    microseconds: f64,
    floor_microseconds: f64,
    tokens_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mfu: Option<f64>,
    ops: Vec<OpLine>,
}

#[derive(Serialize)]
struct OpLine {
    op: String,
    times: usize,
    microseconds: f64,
    floor_microseconds: f64,
    limiter: &'static str,
}

/// Runs every whole pass of the models whose name begins with `filter`.
pub fn run(bench: &mut Bench, models: &[BenchModel], filter: &str) -> Result<()> {
    let mut some = false;
    for model in models {
        for (name, whole) in wholes(model.name) {
            if !(name.starts_with(filter) || name.starts_with(&format!("{filter}/"))) || bench.out_of_time() {
                continue;
            }
            some = true;
            one(bench, model.name, &name, &whole)?;
        }
    }
    if !some {
        bail!(
            "no whole pass is named so, or there is no time; they are step/MODEL/SEQUENCESxTOKENS and decode/MODEL/ROWS"
        );
    }
    Ok(())
}

fn wholes(model: &str) -> Vec<(String, Whole)> {
    let (sequences, length) = match model {
        "tiny" => (2, 32),
        "8b" => (1, 8192),
        _ => (2, 4096),
    };
    let step = (format!("step/{model}/{sequences}x{length}"), Whole::Step { sequences, length });
    let decode = |batch| (format!("decode/{model}/{batch}"), Whole::Decode { batch });
    std::iter::once(step).chain([1, 32, 256].map(decode)).collect()
}

/// Llama 3.2 1B and 3B, Llama 3.1 8B, and a small one.
fn config(model: &str) -> Result<ModelConfig> {
    let (hidden, layers, heads, kv_heads, head_dim, ffn, vocab, tied) = match model {
        "1b" => (2048, 16, 32, 8, 64, 8192, 128_256, true),
        "3b" => (3072, 28, 24, 8, 128, 8192, 128_256, true),
        "8b" => (4096, 32, 32, 8, 128, 14_336, 128_256, false),
        _ => (64, 2, 4, 2, 16, 192, 512, true),
    };
    let value = json!({
        "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": head_dim, "intermediate_size": ffn, "vocab_size": vocab,
        "tie_word_embeddings": tied, "max_position_embeddings": 8192,
    });
    Ok(ModelConfig::from_value(value, "bench")?)
}

fn one(bench: &mut Bench, model: &str, name: &str, whole: &Whole) -> Result<()> {
    let config = config(model)?;
    let tokens = match *whole {
        Whole::Step { sequences, length } => MICRO_BATCHES as f64 * f64::from(sequences * length),
        Whole::Decode { batch } => batch.into(),
    };
    let model_flops = model_flops(&config, whole);
    say(&format!("\n{name}: {tokens} tokens"))?;
    let predicted = match &mut bench.predictor {
        Some(predictor) => Some(predict(predictor, &config, whole, tokens, model_flops)?),
        None => None,
    };
    let mut microseconds = Vec::new();
    if bench.measured {
        let queue = open_with(bench.kind, bench.threads, &[])?;
        match measure(queue, config, whole) {
            Ok(samples) => microseconds = samples,
            Err(error) => say(&format!("not measured: {error:#}"))?,
        }
        microseconds.sort_by(f64::total_cmp);
        if let Some(&median) = microseconds.get(microseconds.len() / 2) {
            say(&format!("measured {:.3} ms, {:.0} tokens/s", median / 1e3, tokens / median * 1e6))?;
        }
    }
    let line = Line { device: &bench.device, case: name, microseconds, tokens, model_flops, predicted };
    bench.lines.write(&line)
}

/// 6 operations a token for each number of a matrix, the embedding's lookup aside, and causal attention's at half.
fn model_flops(config: &ModelConfig, whole: &Whole) -> Option<f64> {
    let Whole::Step { sequences, length } = *whole else { return None };
    let matrices = octo_model::ParamTable::new(config).matmul_parameter_count() as f64;
    let attention = f64::from(config.num_hidden_layers) * f64::from(config.q_width()) * f64::from(length);
    let tokens = MICRO_BATCHES as f64 * f64::from(sequences * length);
    Some(6.0 * (matrices + attention) * tokens)
}

fn predict(
    predictor: &mut Predictor,
    config: &ModelConfig,
    whole: &Whole,
    tokens: f64,
    model_flops: Option<f64>,
) -> Result<Predicted> {
    let (ops, inputs) = recorded(config, whole)?;
    let mut rows = roofline(predictor, &ops, inputs)?;
    rows.sort_by(|a, b| (b.times as f64 * b.seconds()).total_cmp(&(a.times as f64 * a.seconds())));
    let (all, least) = (seconds(&rows), floor(&rows, predictor.chip()));
    say(&format!(
        "{:40} {:>6} {:>12} {:>10} {:>7} {:>9}  limiter",
        "op", "times", "µs each", "ms", "share", "of floor"
    ))?;
    for row in &rows {
        let total = row.times as f64 * row.seconds();
        say(&format!(
            "{:40} {:6} {:12.1} {:10.3} {:6.1}% {:9.2}  {}",
            row.name,
            row.times,
            row.seconds() * 1e6,
            total * 1e3,
            100.0 * total / all,
            row.floor(predictor.chip()) / row.seconds(),
            row.limiter().name()
        ))?;
    }
    let mfu = model_flops.map(|flops| flops / all / predictor.chip().peak_flops);
    let of_peak = mfu.map_or(String::new(), |mfu| format!(", MFU {:.1} %", 100.0 * mfu));
    say(&format!(
        "predicted {:.3} ms on {}, {:.0} tokens/s{of_peak}; floors of its ops {:.3} ms ({:.2} of the prediction)",
        all * 1e3,
        predictor.chip().name,
        tokens / all,
        least * 1e3,
        least / all
    ))?;
    let line = |row: &OpTime| OpLine {
        op: row.name.clone(),
        times: row.times,
        microseconds: row.seconds() * 1e6,
        floor_microseconds: row.floor(predictor.chip()) * 1e6,
        limiter: row.limiter().name(),
    };
    Ok(Predicted {
        chip: predictor.chip().name,
        microseconds: all * 1e6,
        floor_microseconds: least * 1e6,
        tokens_per_second: tokens / all,
        mfu,
        ops: rows.iter().map(line).collect(),
    })
}

/// The ops of the whole pass, in order, as the recording backend sees them.
fn recorded(config: &ModelConfig, whole: &Whole) -> Result<(Vec<Op>, Inputs)> {
    let (mut queue, recording) = record(Precision::CUDA);
    match *whole {
        Whole::Step { sequences, length } => {
            let mut step = Step::new(&mut queue, config.clone(), sequences, length)?;
            let before = recording.events().len();
            step.run(&mut queue)?;
            let ops = events(&recording, before).into_iter().flatten().collect();
            Ok((ops, Inputs { document: length, context: 0 }))
        }
        Whole::Decode { batch } => {
            let mut decoding = Decoding::new(&mut queue, config.clone(), batch, 2)?;
            decoding.run(&mut queue)?;
            // A pass in which all decode is a program.
            let ops = events(&recording, 0).into_iter().rfind(|ops| ops.len() > 1).unwrap_or_default();
            Ok((ops, Inputs { document: 1, context: CONTEXT }))
        }
    }
}

/// Ops of each event from one on: a program's, or one's own.
fn events(recording: &Recording, from: usize) -> Vec<Vec<Op>> {
    let ops = |event: &Event| match event {
        Event::Replay(program) => recording.program(*program),
        Event::Run(op) => vec![*op],
        _ => Vec::new(),
    };
    recording.events()[from..].iter().map(ops).collect()
}

/// Microseconds of whole passes on a device.
fn measure(mut queue: Queue, config: ModelConfig, whole: &Whole) -> Result<Vec<f64>> {
    match *whole {
        Whole::Step { sequences, length } => {
            let mut step = Step::new(&mut queue, config, sequences, length)?;
            queue.seal();
            fill(&mut queue, step.trainer.net())?;
            let mut samples = Vec::new();
            for warm in [false, true, true, true] {
                let began = Instant::now();
                step.run(&mut queue)?;
                queue.wait()?;
                samples.extend(warm.then(|| began.elapsed().as_secs_f64() * 1e6));
            }
            Ok(samples)
        }
        Whole::Decode { batch } => {
            let mut decoding = Decoding::new(&mut queue, config, batch, 2 + PASSES)?;
            queue.seal();
            fill(&mut queue, &decoding.net)?;
            // The first token comes with the prompts' pass, the second from a pass that warms up.
            let times = decoding.run(&mut queue)?;
            let pairs = times.windows(2).skip(1);
            Ok(pairs.map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e6).collect())
        }
    }
}

/// Random weights at the scale of a random start's.
fn fill(queue: &mut Queue, net: &Net) -> Result<(), QueueError> {
    for (stream, param) in net.params.params().enumerate() {
        let out = net.params.view(net.weights, param);
        let scale = net.config.initializer_range as f32;
        queue.run(RandomFill { out, seed: 1, stream: stream as u64, scale })?;
    }
    queue.wait()
}

/// A trainer with a batch.
struct Step {
    trainer: Trainer,
    ids: Vec<u32>,
    labels: Vec<i32>,
    positions: Vec<u32>,
    cu_seqlens: Vec<u32>,
    sources: Vec<u32>,
}

impl Step {
    fn new(queue: &mut Queue, config: ModelConfig, sequences: u32, length: u32) -> Result<Step, QueueError> {
        let tokens = sequences * length;
        // All over the vocabulary, as text is.
        let ids: Vec<u32> =
            (0..tokens).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 8) % config.vocab_size).collect();
        let dtype = weights(queue);
        let net = Net::allocate(queue, config, dtype, length)?;
        let shape = Shape { tokens, documents: sequences, sequences, sources: 1 };
        Ok(Step {
            trainer: Trainer::new(queue, net, OPTIMIZER, &[shape])?,
            labels: ids.iter().map(|&id| id as i32).collect(),
            positions: (0..tokens).map(|i| i % length).collect(),
            cu_seqlens: (0..=sequences).map(|i| i * length).collect(),
            sources: vec![0; sequences as usize],
            ids,
        })
    }

    fn run(&mut self, queue: &mut Queue) -> Result<(), QueueError> {
        let batch = MicroBatch {
            ids: &self.ids,
            labels: &self.labels,
            positions: &self.positions,
            cu_seqlens: &self.cu_seqlens,
            sources: &self.sources,
        };
        self.trainer.step(queue, 1e-4, &[batch; MICRO_BATCHES]).map(drop)
    }
}

/// A session with prompts that all decode at once, after one pass over all of them.
struct Decoding {
    net: Net,
    session: Session,
    requests: Vec<Request>,
}

impl Decoding {
    fn new(queue: &mut Queue, config: ModelConfig, batch: u32, drawn: usize) -> Result<Decoding, QueueError> {
        let (dtype, context) = (weights(queue), CONTEXT + drawn as u32);
        let vocab = config.vocab_size;
        let net = Net::allocate(queue, config, dtype, context)?;
        let cache_tokens = batch * context.next_multiple_of(octo_ops::PAGE_TOKENS);
        let limits = Limits { rows: batch * CONTEXT, requests: batch, context, cache_tokens };
        // Each prompt is another: equal ones would share their pages.
        let token = move |i: u32| (i.wrapping_mul(0x9e37_79b1) >> 8) % vocab;
        let request = |sample: u32| Request {
            prompt: (0..CONTEXT).map(|i| token(sample * CONTEXT + i)).collect(),
            max_new_tokens: drawn,
            sampling: Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 },
            seed: 1,
            sample,
            stop_tokens: Vec::new(),
            support: false,
        };
        let session = Session::allocate(queue, &net, limits)?;
        Ok(Decoding { net, session, requests: (0..batch).map(request).collect() })
    }

    /// When each token of the first request was there.
    fn run(&mut self, queue: &mut Queue) -> Result<Vec<Instant>> {
        let mut times = Vec::new();
        generate(queue, &self.net, &mut self.session, &self.requests, |request, _| {
            times.extend((request == 0).then(Instant::now));
            ControlFlow::Continue(())
        })?;
        Ok(times)
    }
}

/// Weights have the activations' type.
fn weights(queue: &Queue) -> DType {
    queue.describe().precision.activations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_flops_are_those_of_the_published_convention() {
        let whole = Whole::Step { sequences: 1, length: 8192 };
        let tokens = 8192.0 * MICRO_BATCHES as f64;
        let giga = |model: &str| model_flops(&config(model).unwrap(), &whole).unwrap() / tokens / 1e9;
        // Llama 3.2 1B, 3B and 3.1 8B at 8,192 tokens: 9.03, 23.50 and 51.47 GFLOP a token.
        for (model, want) in [("1b", 9.03), ("3b", 23.50), ("8b", 51.47)] {
            assert!((giga(model) / want - 1.0).abs() < 0.002, "{model}: {}", giga(model));
        }
    }

    #[test]
    fn a_step_is_its_micro_batches_and_an_update_and_a_decoding_pass_one_of_each_block() {
        let of = |whole: Whole| recorded(&config("tiny").unwrap(), &whole).unwrap().0;
        let count = |ops: &[Op], name: &str| ops.iter().filter(|op| op.name() == name).count();
        let step = of(Whole::Step { sequences: 2, length: 32 });
        assert_eq!(count(&step, "attention"), 2 * MICRO_BATCHES);
        assert_eq!((count(&step, "head_loss"), count(&step, "grad_norm")), (MICRO_BATCHES, 1));
        let decode = of(Whole::Decode { batch: 4 });
        assert_eq!((count(&decode, "attention"), count(&decode, "head_sample")), (2, 1));
        let Some(Op::Attention(op)) = decode.iter().find(|op| op.name() == "attention") else { panic!() };
        assert_eq!(op.q.rows(), 4);
    }
}

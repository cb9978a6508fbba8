//! Our side of `benches/peers/run.sh`: one turn of work for each line of standard input.
//!
//! `peer matmul|step|decode|rollout [--threads N] [--tiny]` first says in one line of JSON what it will work on, so
//! that the peer does the same. Every further line is a request in JSON, answered by one line with the
//! seconds it took. The two sides thereby take turns in one sitting, and only one of them computes at a time.

#[path = "../benches/common/mod.rs"]
mod common;

use common::{Batch, LEARNING_RATE, Linear, Noise, OPTIMIZER, Outcome, Scale};
use octo_infer::{Limits, Request, Sampling, Session, generate};
use octo_model::{ModelDir, Net, ParamTable, Trainer};
use octo_ops::DType;
use octo_queue::{DeviceKind, Queue, open};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done when even this cannot be written.
            let _ = writeln!(std::io::stderr(), "peer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let (mut part, mut threads, mut scale) = (None, None, Scale::Full);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--threads" => threads = Some(args.next().ok_or("--threads needs a number")?.parse()?),
            "--tiny" => scale = Scale::Tiny,
            _ => part = Some(arg),
        }
    }
    let queue = open(DeviceKind::Cpu, threads)?;
    match part.as_deref() {
        Some("matmul") => matmul(queue, scale),
        Some("step") => step(queue, scale),
        Some("decode") => decode(queue, scale),
        Some("rollout") => rollout(queue, scale),
        _ => Err("usage: peer matmul|step|decode|rollout [--threads N] [--tiny]".into()),
    }
}

/// Writes one line.
fn say(value: &Value) -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

/// Answers each line of standard input.
fn serve(mut answer: impl FnMut(&Value) -> Outcome<Value>) -> Outcome {
    for line in std::io::stdin().lock().lines() {
        say(&answer(&serde_json::from_str(&line?)?)?)?;
    }
    Ok(())
}

/// A whole number of a request.
fn number(request: &Value, key: &str) -> Outcome<usize> {
    Ok(request[key].as_u64().ok_or_else(|| format!("`{key}` is not a number in {request}"))? as usize)
}

/// `{"shape": i, "product": "forward"|"input"|"weight", "repetitions": n}`: the ops of a linear layer.
fn matmul(mut queue: Queue, scale: Scale) -> Outcome {
    let shapes = common::product_shapes(scale);
    let layers = shapes.map(|shape| Linear::allocate(&mut queue, shape));
    queue.seal();
    let noise = Noise::new();
    let mut ready = Vec::new();
    for layer in layers {
        let layer = layer?;
        layer.fill(&mut queue, &noise)?;
        ready.push(layer);
    }
    let device = queue.describe().description;
    say(&json!({ "device": device, "shapes": shapes, "products": Linear::PRODUCTS }))?;
    serve(|request| {
        let layer = ready.get(number(request, "shape")?).ok_or("no such shape")?;
        let op = request["product"].as_str().and_then(|p| layer.op(p)).ok_or("no such product")?;
        // The first only warms the caches up.
        queue.run(op)?;
        let mut seconds = Vec::new();
        for _ in 0..number(request, "repetitions")? {
            let start = Instant::now();
            queue.run(op)?;
            queue.wait()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(json!({ "seconds": seconds }))
    })
}

/// `{"model": "DIR"}` loads weights; afterwards each `{}` is one training step on the batch.
fn step(mut queue: Queue, scale: Scale) -> Outcome {
    let config = common::trained_config(scale);
    let parsed = common::parse(&config)?;
    let batch = Batch::new(scale, parsed.vocab_size);
    let rows: Vec<&[u32]> = batch.ids.chunks(batch.length as usize).collect();
    let products = 2 * ParamTable::new(&parsed).matmul_parameter_count() * u64::from(batch.tokens());
    // Two products over the keys up to a row's own, a row of each document in turn.
    let attention =
        2 * u64::from(parsed.q_width() * parsed.num_hidden_layers * batch.tokens() * (batch.length + 1));
    say(&json!({
        "device": queue.describe().description,
        "config": config,
        "ids": rows,
        // Backward takes two products for each of forward.
        "flops": 3 * (products + attention),
        "optimizer": {
            "lr": LEARNING_RATE, "beta1": OPTIMIZER.beta1, "beta2": OPTIMIZER.beta2, "eps": OPTIMIZER.eps,
            "weight_decay": OPTIMIZER.weight_decay, "clip": OPTIMIZER.clip,
        },
    }))?;
    let net = Net::allocate(&mut queue, parsed, DType::F32, batch.length)?;
    let mut trainer = Trainer::new(&mut queue, net, OPTIMIZER, &[batch.shape()])?;
    queue.seal();
    serve(|request| {
        if let Some(folder) = request["model"].as_str() {
            let files = ModelDir::open(Path::new(folder))?;
            trainer.net().load(&mut queue, files.weights(), None)?;
            return Ok(json!({ "loaded": trainer.net().params.parameter_count() }));
        }
        let start = Instant::now();
        trainer.step(&mut queue, LEARNING_RATE, &[batch.micro_batch()])?;
        let report = trainer.finish(&mut queue)?.ok_or("the step left no report")?;
        Ok(json!({ "seconds": start.elapsed().as_secs_f64(), "loss": report.loss }))
    })
}

/// `{"prompt": [ids], "tokens": n}`: greedy decoding, the seconds of each token after the first, which is the
/// prefill's.
fn decode(mut queue: Queue, scale: Scale) -> Outcome {
    const CONTEXT: u32 = 256;
    let config = common::decoded_config(scale);
    let net = Net::allocate(&mut queue, common::parse(&config)?, DType::Bf16, CONTEXT)?;
    let limits = Limits { rows: 64, requests: 1, context: CONTEXT, cache_tokens: CONTEXT };
    let mut session = Session::allocate(&mut queue, &net, limits)?;
    queue.seal();
    Noise::new().fill_weights(&mut queue, &net)?;
    say(&json!({
        "device": queue.describe().description,
        "config": config,
        // Every weight that is multiplied is read once a token; the cache of so short a context is nothing.
        "bytes": net.params.matmul_parameter_count() * DType::Bf16.bytes(),
    }))?;
    serve(|request| {
        let request = Request {
            prompt: serde_json::from_value(request["prompt"].clone())?,
            max_new_tokens: number(request, "tokens")?,
            sampling: Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 },
            seed: 0,
            sample: 0,
            stop_tokens: Vec::new(),
            support: false,
        };
        let mut arrived = Vec::new();
        generate(&mut queue, &net, &mut session, &[request], |_, _| {
            arrived.push(Instant::now());
            ControlFlow::Continue(())
        })?;
        let seconds: Vec<f64> = arrived.windows(2).map(|t| (t[1] - t[0]).as_secs_f64()).collect();
        Ok(json!({ "seconds": seconds }))
    })
}

/// `{"model": "DIR"}` loads weights; `{"prompts": [[ids]], "lengths": [n]}` is a greedy rollout of all prompts at once,
/// each to its own length: its seconds and tokens.
fn rollout(mut queue: Queue, scale: Scale) -> Outcome {
    const CONTEXT: u32 = 512;
    const STREAMS: u32 = 64;
    let config = common::trained_config(scale);
    let net = Net::allocate(&mut queue, common::parse(&config)?, DType::F32, CONTEXT)?;
    let limits = Limits { rows: 512, requests: STREAMS, context: CONTEXT, cache_tokens: STREAMS * CONTEXT };
    let mut session = Session::allocate(&mut queue, &net, limits)?;
    queue.seal();
    say(&json!({ "device": queue.describe().description, "config": config }))?;
    serve(|request| {
        if let Some(folder) = request["model"].as_str() {
            let files = ModelDir::open(Path::new(folder))?;
            net.load(&mut queue, files.weights(), None)?;
            return Ok(json!({ "loaded": net.params.parameter_count() }));
        }
        let prompts: Vec<Vec<u32>> = serde_json::from_value(request["prompts"].clone())?;
        let lengths: Vec<usize> = serde_json::from_value(request["lengths"].clone())?;
        let each = |(prompt, max_new_tokens)| Request {
            prompt,
            max_new_tokens,
            sampling: Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 },
            seed: 0,
            sample: 0,
            stop_tokens: Vec::new(),
            support: false,
        };
        let requests: Vec<Request> = prompts.into_iter().zip(lengths).map(each).collect();
        let start = Instant::now();
        let done = generate(&mut queue, &net, &mut session, &requests, |_, _| ControlFlow::Continue(()))?;
        let seconds = start.elapsed().as_secs_f64();
        let tokens: Vec<Vec<u32>> = done.into_iter().map(|completion| completion.tokens).collect();
        Ok(json!({ "seconds": seconds, "tokens": tokens }))
    })
}

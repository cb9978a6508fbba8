//! Greedy decoding of one stream through a random Llama of 1B with bf16 weights: time a token.
//!
//! Bytes are those of the weights, each of which is read once a token: the floor is memory's bandwidth.

mod common;

use common::{Noise, Outcome, Scale};
use criterion::{Criterion, SamplingMode, Throughput};
use octo_infer::{InferError, Limits, Request, Sampling, Session, generate};
use octo_model::Net;
use octo_ops::DType;
use octo_queue::{DeviceKind, Queue, open};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

const PROMPT: u32 = 8;
const CONTEXT: u32 = 256;

fn main() -> Outcome {
    let mut criterion = Criterion::default().configure_from_args();
    let mut queue = open(DeviceKind::Cpu, None)?;
    let config = common::parse(&common::decoded_config(Scale::Full))?;
    let net = Net::allocate(&mut queue, config, DType::Bf16, CONTEXT)?;
    let limits = Limits { rows: 64, requests: 1, context: CONTEXT, cache_tokens: CONTEXT };
    let mut session = Session::allocate(&mut queue, &net, limits)?;
    queue.seal();
    Noise::new().fill_weights(&mut queue, &net)?;
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Bytes(net.params.matmul_parameter_count() * DType::Bf16.bytes()));
    let mut failed = None;
    group.bench_function("1B bf16, one stream", |b| {
        b.iter_custom(|tokens| {
            decode(&mut queue, &net, &mut session, tokens).unwrap_or_else(|error| {
                failed = Some(error);
                Duration::from_secs(1)
            })
        });
    });
    group.finish();
    criterion.final_summary();
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Time of so many tokens, the prefills and the tokens that come out of them left out.
fn decode(queue: &mut Queue, net: &Net, session: &mut Session, tokens: u64) -> Result<Duration, InferError> {
    let most = u64::from(CONTEXT - PROMPT) - 1;
    let (mut left, mut time) = (tokens, Duration::ZERO);
    while left > 0 {
        let now = left.min(most);
        let request = Request {
            prompt: (1..=PROMPT).collect(),
            max_new_tokens: now as usize + 1,
            sampling: Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 },
            seed: 0,
            sample: 0,
            stop_tokens: Vec::new(),
            support: false,
        };
        let mut start = None;
        generate(queue, net, session, &[request], |_, _| {
            start.get_or_insert_with(Instant::now);
            ControlFlow::Continue(())
        })?;
        time += start.map_or(Duration::ZERO, |start| start.elapsed());
        left -= now;
    }
    Ok(time)
}

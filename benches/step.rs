//! A training step of the 30M model on 8 × 512 tokens in f32, and its forward pass alone.
//!
//! Elements are tokens.

mod common;

use common::{Batch, LEARNING_RATE, Noise, OPTIMIZER, Outcome, Scale};
use criterion::{Criterion, SamplingMode, Throughput};
use octo_model::{Net, Trainer};
use octo_ops::DType;
use octo_queue::{DeviceKind, open};

fn main() -> Outcome {
    let mut criterion = Criterion::default().configure_from_args();
    let mut queue = open(DeviceKind::Cpu, None)?;
    let config = common::parse(&common::trained_config(Scale::Full))?;
    let batch = Batch::new(Scale::Full, config.vocab_size);
    let net = Net::allocate(&mut queue, config, DType::F32, batch.length)?;
    let mut trainer = Trainer::new(&mut queue, net, OPTIMIZER, &[batch.shape()])?;
    queue.seal();
    Noise::new().fill_weights(&mut queue, trainer.net())?;
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(batch.tokens().into()));
    trainer.score(&mut queue, &batch.micro_batch())?;
    group.bench_function("forward", |b| b.iter(|| trainer.score(&mut queue, &batch.micro_batch())));
    trainer.step(&mut queue, LEARNING_RATE, &[batch.micro_batch()])?;
    group.bench_function("train", |b| {
        b.iter(|| trainer.step(&mut queue, LEARNING_RATE, &[batch.micro_batch()]).and_then(|_| queue.wait()));
    });
    group.finish();
    criterion.final_summary();
    Ok(())
}

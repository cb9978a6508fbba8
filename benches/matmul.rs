//! The three products of each linear layer of the training step, in f32, through the queue.
//!
//! Elements a second are floating-point operations a second: 100 Gelem/s are 100 GFLOP/s.

mod common;

use common::{Linear, Noise, Outcome, Scale, product_shapes};
use criterion::{BenchmarkId, Criterion, Throughput};
use octo_queue::{DeviceKind, open};

fn main() -> Outcome {
    let mut criterion = Criterion::default().configure_from_args();
    let mut queue = open(DeviceKind::Cpu, None)?;
    let shapes = product_shapes(Scale::Full);
    let mut layers = Vec::new();
    for shape in shapes {
        layers.push((shape, Linear::allocate(&mut queue, shape)?));
    }
    queue.seal();
    let noise = Noise::new();
    let mut group = criterion.benchmark_group("matmul");
    group.sample_size(10);
    for ([m, n, k], layer) in layers {
        layer.fill(&mut queue, &noise)?;
        group.throughput(Throughput::Elements(2 * u64::from(m) * u64::from(n) * u64::from(k)));
        for product in Linear::PRODUCTS {
            let op = layer.op(product).ok_or("no such product")?;
            queue.run(op)?;
            group.bench_function(BenchmarkId::new(product, format!("{m}x{n}x{k}")), |b| {
                b.iter(|| queue.run(op).and_then(|()| queue.wait()));
            });
        }
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

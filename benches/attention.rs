//! Attention of the training step, forward and backward, and of decoding over pages, through the queue.
//!
//! In training, elements a second are floating-point operations a second, of which backward has 2.5 times
//! forward's (it computes the scores anew); in decoding, bytes are those of the keys and values read.

mod common;

use common::{Noise, Outcome};
use criterion::{BenchmarkId, Criterion, Throughput};
use octo_ops::philox::{self, Purpose};
use octo_ops::{Attention, AttentionBackward, DType, Op, PAGE_TOKENS, View};
use octo_queue::{DeviceKind, Queue, open};

/// Heads, key-value heads and elements a head.
type Heads = (u32, u32, u32);

const TRAINED: Heads = (8, 4, 64);
const DECODED: Heads = (32, 8, 64);
const DOCUMENTS: u32 = 8;
const LENGTH: u32 = 512;
const CONTEXTS: [u32; 2] = [1024, 4096];

fn main() -> Outcome {
    let mut criterion = Criterion::default().configure_from_args();
    let mut queue = open(DeviceKind::Cpu, None)?;
    let noise = Noise::new();
    let (forward, backward) = training(&mut queue, &noise)?;
    let mut decoding = Vec::new();
    for context in CONTEXTS {
        decoding.push((context, paged(&mut queue, &noise, context)?));
    }
    queue.seal();

    let mut group = criterion.benchmark_group("attention");
    group.sample_size(10);
    // A row meets LENGTH/2 keys in the mean, in two products of a multiply-add an element.
    let flops = u64::from(DOCUMENTS * LENGTH * (LENGTH + 1)) * 2 * u64::from(TRAINED.0 * TRAINED.2);
    for (name, op, flops) in [("forward", forward, flops), ("backward", backward, flops * 5 / 2)] {
        queue.run(op)?;
        group.throughput(Throughput::Elements(flops));
        group.bench_function(BenchmarkId::new(name, format!("{DOCUMENTS}x{LENGTH}")), |b| {
            b.iter(|| queue.run(op).and_then(|()| queue.wait()));
        });
    }
    for (context, op) in decoding {
        queue.run(op)?;
        let bytes = 2 * u64::from(context * DECODED.1 * DECODED.2) * DType::F32.bytes();
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(BenchmarkId::new("decode", context), |b| {
            b.iter(|| queue.run(op).and_then(|()| queue.wait()));
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

/// A tensor of random numbers.
fn normal(queue: &mut Queue, noise: &Noise, name: &str, shape: &[u32]) -> Outcome<View> {
    let view = queue.tensor(name, DType::F32, shape)?;
    // Somewhere else in the noise for every name.
    let first = name.bytes().fold(0, |sum, byte| 131 * sum + usize::from(byte)) % 1_000_003;
    noise.fill(queue, view, 1.0, first)?;
    Ok(view)
}

/// A tensor of indices.
fn indices(queue: &mut Queue, name: &str, shape: &[u32], values: &[u32]) -> Outcome<View> {
    let view = queue.tensor(name, DType::U32, shape)?;
    queue.upload(view, bytemuck::cast_slice(values))?;
    Ok(view)
}

/// Forward and backward over the documents of a batch.
fn training(queue: &mut Queue, noise: &Noise) -> Outcome<(Op, Op)> {
    let (heads, kv_heads, head_dim) = TRAINED;
    let tokens = DOCUMENTS * LENGTH;
    let (q_shape, kv_shape) = ([tokens, heads * head_dim], [tokens, kv_heads * head_dim]);
    let bounds: Vec<u32> = (0..=DOCUMENTS).map(|d| d * LENGTH).collect();
    let cu_seqlens = indices(queue, "cu_seqlens", &[DOCUMENTS + 1], &bounds)?;
    let [q, dout] = [normal(queue, noise, "q", &q_shape)?, normal(queue, noise, "dout", &q_shape)?];
    let [k, v] = [normal(queue, noise, "k", &kv_shape)?, normal(queue, noise, "v", &kv_shape)?];
    let out = queue.tensor("out", DType::F32, &q_shape)?;
    let lse = queue.tensor("lse", DType::F32, &[tokens, heads])?;
    // As in the step: the three gradients are columns of one matrix.
    let dqkv = queue.tensor("dqkv", DType::F32, &[tokens, (heads + 2 * kv_heads) * head_dim])?;
    let (q_width, kv_width) = (q_shape[1], kv_shape[1]);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let forward =
        Attention { q, k, v, cu_seqlens, positions: None, page_table: None, out, lse, head_dim, scale };
    let backward = AttentionBackward {
        q,
        k,
        v,
        out,
        lse,
        dout,
        cu_seqlens,
        dq: dqkv.slice_columns(0, q_width),
        dk: dqkv.slice_columns(q_width, kv_width),
        dv: dqkv.slice_columns(q_width + kv_width, kv_width),
        head_dim,
        scale,
    };
    Ok((forward.into(), backward.into()))
}

/// One row at the end of a context whose pages are scattered over the cache.
fn paged(queue: &mut Queue, noise: &Noise, context: u32) -> Outcome<Op> {
    let (heads, kv_heads, head_dim) = DECODED;
    let pages = context.div_ceil(PAGE_TOKENS);
    let half = kv_heads * PAGE_TOKENS * head_dim;
    let cache = normal(queue, noise, "cache", &[pages, 2 * half])?;
    let side = |first: u32| {
        let offset = cache.offset + u64::from(first) * DType::F32.bytes();
        View::new(cache.buffer, offset, DType::F32, &[pages, kv_heads, PAGE_TOKENS, head_dim])
            .with_row_stride(2 * half)
    };
    let mut order: Vec<u32> = (0..pages).collect();
    order.sort_by_key(|&page| philox::draw(1, Purpose::Sample, 1, page)[0]);
    let op = Attention {
        q: normal(queue, noise, "decoded q", &[1, heads * head_dim])?,
        k: side(0),
        v: side(half),
        cu_seqlens: indices(queue, "decoded cu_seqlens", &[2], &[0, 1])?,
        positions: Some(indices(queue, "position", &[1], &[context - 1])?),
        page_table: Some(indices(queue, "page table", &[1, pages], &order)?),
        out: queue.tensor("decoded out", DType::F32, &[1, heads * head_dim])?,
        lse: queue.tensor("decoded lse", DType::F32, &[1, heads])?,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    Ok(op.into())
}

//! Batches from tokenised files: bytes of ids a second on one core, and how soon a run finds its place again.
//!
//! The file has 64 million ids of four bytes in documents of 500 tokens, and lies in the system's cache.

use criterion::{BenchmarkId, Criterion, Throughput};
use octo_shards::{BatchOptions, Batches, MixturePart, Order, ShardSet, TokenSource};
use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

const TOKENS: u64 = 64_000_000;
const DOCUMENT: u64 = 500;
const VOCABULARY: u32 = 128_256;

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("00000.ds");
    put(&path)?;
    let path = path.to_str().ok_or("the path is not UTF-8")?;
    let set = ShardSet::open(path, VOCABULARY as usize, None)?;
    let mut group = criterion.benchmark_group("shards");
    group.throughput(Throughput::Bytes(4 * (1 << 20)));
    let mut ids = vec![0; 1 << 20];
    let mut at = 0;
    group.bench_function("a plain read", |b| {
        b.iter(|| {
            at = (at + ids.len() as u64) % (TOKENS - ids.len() as u64);
            set.read(at, &mut ids)
        });
    });
    let source = Arc::new(TokenSource::Shards(set));
    for order in [Order::Sequential, Order::Shuffled] {
        let batches = batches(&source, &[1.0], order)?;
        let micro_batch = batches.options().micro_batch_tokens;
        group.throughput(Throughput::Bytes(4 * micro_batch as u64));
        let mut step = 0;
        group.bench_function(BenchmarkId::new("micro-batch of 8 x 8192", format!("{order:?}")), |b| {
            b.iter(|| {
                step += 1;
                batches.batch(step, 0)
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("mixture");
    group.sample_size(10);
    // Shares with nothing in common: a round of them is as long as rounds get.
    for shares in
        [&[0.35, 0.25, 0.2, 0.1, 0.06, 0.04][..], &[0.351_234_567, 0.25, 0.2, 0.1, 0.06, 0.038_765_431]]
    {
        group.bench_function(BenchmarkId::new("first batch at window 25 million", shares[0]), |b| {
            b.iter(|| {
                let batches = batches(&source, shares, Order::Shuffled)?;
                let windows = batches.options().batch_tokens / batches.options().sequence_length;
                black_box(batches.batch(25_000_000 / windows as u64, 0)?);
                Ok::<(), Box<dyn Error>>(())
            });
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

fn batches(source: &Arc<TokenSource>, shares: &[f64], order: Order) -> Result<Batches, Box<dyn Error>> {
    let part = |&share: &f64| MixturePart {
        name: "source".into(),
        source: source.clone(),
        share,
        first_position: 0,
    };
    let options = BatchOptions {
        sequence_length: 8192,
        batch_tokens: 64 * 8192,
        micro_batch_tokens: 8 * 8192,
        order,
        seed: 1,
        document_mask: true,
    };
    Ok(Batches::new(shares.iter().map(part).collect(), options)?)
}

/// Writes ids that look random, and their index.
fn put(path: &Path) -> std::io::Result<()> {
    let mut ids = BufWriter::new(File::create(path)?);
    let mut state = 1u64;
    for _ in 0..TOKENS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ids.write_all(&((state >> 33) as u32 % VOCABULARY).to_le_bytes())?;
    }
    ids.flush()?;
    let mut index = BufWriter::new(File::create(path.with_extension("ds.index"))?);
    for end in (DOCUMENT..=TOKENS).step_by(DOCUMENT as usize) {
        index.write_all(&end.to_le_bytes())?;
    }
    index.flush()
}

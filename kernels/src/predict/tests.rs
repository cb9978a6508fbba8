//! Sampled counts against those of whole grids.

use super::*;
use crate::Addresses;
use octo_ops::*;
use octo_ptx::count::Counters;
use octo_ptx::parse;
use octo_ptx::sim::{Config, Grid};

const INPUTS: Inputs = Inputs { document: 512, context: 300 };

fn view(buffer: u32, dtype: DType, shape: &[u32]) -> View {
    View::new(BufferId(buffer), 0, dtype, shape)
}

fn h200() -> Predictor {
    Predictor::new(Chip::named("h200").unwrap(), 2)
}

/// Every block of an op's launches, run.
fn whole(op: &Op, chip: &Chip, tuning: &Tuning) -> Counters {
    let mut placed =
        Placed::on(Config { checks: false, threads: 2, ..Config::default() }, op, INPUTS).unwrap();
    let mut sum = Counters::default();
    assert!(chip.multiprocessors > 0);
    for launch in launches(op, &placed, tuning).unwrap() {
        let shipped = crate::backend::holder(&launch.entry).unwrap();
        let module = placed.gpu.load(parse(shipped.text).unwrap()).unwrap();
        let kernel = placed.gpu.kernel(module, &launch.entry).unwrap();
        let Launch { grid, block, shared_bytes, cooperative, .. } = launch;
        let shape = Grid { grid, block, shared_bytes, cooperative };
        sum += &placed.gpu.launch(kernel, &shape, &launch.arguments).unwrap().counters;
    }
    sum
}

/// Sampled and whole counts agree within a part of so much.
fn agrees(op: impl Into<Op>, within: f64) {
    let op = op.into();
    let mut predictor = h200();
    let whole = whole(&op, predictor.chip, &predictor.tuning);
    let predicted = predictor.ops(&[op], INPUTS).unwrap().remove(0);
    let sum = |of: fn(&Work) -> f64| predicted.iter().map(|launch| of(&launch.work)).sum::<f64>();
    let sectors = 32 * (whole.global_reads.sectors + whole.global_writes.sectors);
    for (what, sampled, counted) in [
        ("mma", sum(|work| work.mma_flops), whole.mma_flops),
        ("wavefronts", sum(|work| work.wavefronts), whole.shared_wavefronts),
        ("sectors", sum(|work| work.l2_bytes), sectors),
    ] {
        let counted = counted as f64;
        assert!(
            (sampled - counted).abs() <= within * counted,
            "{} {what}: {sampled} for {counted}",
            op.name()
        );
    }
    // Each operand once.
    let (bytes, least) = (sum(|work| work.dram_bytes), op.cost().bytes as f64);
    assert!(bytes <= 1.1 * least + 4096.0, "{}: {bytes} bytes of memory for {least}", op.name());
}

fn attention(tokens: u32, documents: u32) -> Attention {
    let (heads, kv_heads, head_dim) = (4, 2, 64);
    let rows = |buffer, heads: u32| view(buffer, DType::Bf16, &[tokens, heads * head_dim]);
    Attention {
        q: rows(1, heads),
        k: rows(2, kv_heads),
        v: rows(3, kv_heads),
        cu_seqlens: view(4, DType::U32, &[documents + 1]),
        positions: None,
        page_table: None,
        out: rows(5, heads),
        lse: view(6, DType::F32, &[tokens, heads]),
        head_dim,
        scale: 0.125,
    }
}

#[test]
fn blocks_that_wait_for_each_other_are_sampled_alone() {
    let (rows, vocab) = (2, 5000);
    let op = HeadSample {
        hidden: view(1, DType::Bf16, &[rows, 64]),
        weight: view(2, DType::Bf16, &[vocab, 64]),
        sampling: view(3, DType::U32, &[rows, SamplingRow::WORDS]),
        tokens: view(4, DType::U32, &[rows]),
        logprob_raw: view(5, DType::F32, &[rows]),
        logprob_sampled: view(6, DType::F32, &[rows]),
        support: None,
    };
    let predicted = h200().ops(&[op.into()], INPUTS).unwrap().remove(0);
    let [_, parts, draw] = predicted.as_slice() else { panic!("{predicted:?}") };
    assert_eq!([parts.entry.as_str(), &draw.entry], ["head_sample_parts", "head_sample_slices"]);
    // Each reads the logits once, the second also the sums of all parts for each of its blocks.
    let logits = f64::from(rows * vocab * 4);
    for LaunchTime { work, .. } in [parts, draw] {
        assert!(work.l2_bytes > logits && work.l2_bytes < 3.0 * logits, "{work:?}");
        assert!(work.round_trips > 0.5 && work.round_trips < 20.0, "{work:?}");
    }
}

#[test]
fn blocks_that_are_alike_stand_for_each_other() {
    let (m, n, k) = (512, 512, 128);
    agrees(
        LinearResidual {
            x: view(1, DType::Bf16, &[m, k]),
            weight: view(2, DType::Bf16, &[n, k]),
            residual: view(3, DType::Bf16, &[m, n]),
            out: view(4, DType::Bf16, &[m, n]),
        },
        0.0,
    );
    agrees(
        SwigluBackward {
            dproduct: view(1, DType::Bf16, &[64, 2048]),
            gate_up: view(2, DType::Bf16, &[64, 4096]),
        },
        0.01,
    );
}

#[test]
fn causal_attention_is_its_middles_within_a_twentieth() {
    // 512 tokens and a tile that no document needs.
    agrees(attention(1024, 1), 0.05);
}

#[test]
fn equal_ops_elsewhere_in_their_buffers_are_sampled_once() {
    let mut predictor = h200();
    let norm = |layer: u64| {
        let at = |buffer, shape: &[u32]| View::new(BufferId(buffer), layer << 20, DType::Bf16, shape);
        RmsNorm {
            x: at(1, &[8, 2048]),
            residual: None,
            weight: at(2, &[2048]),
            y: at(3, &[8, 2048]),
            sum: None,
            rstd: View::new(BufferId(4), layer << 20, DType::F32, &[8]),
            eps: 1e-5,
        }
        .into()
    };
    let predicted = predictor.ops(&[norm(0), norm(1), norm(7)], INPUTS).unwrap();
    assert_eq!(predictor.known.len(), 1);
    assert!(predicted.iter().all(|launches| *launches == predicted[0] && launches.len() == 1));
}

#[test]
fn chunks_of_the_head_are_sampled_once() {
    // Three chunks of 1,024 rows; the first overwrites the weight's gradient.
    let op = HeadLoss {
        hidden: view(1, DType::Bf16, &[3072, 64]),
        weight: view(2, DType::Bf16, &[256, 64]),
        labels: view(3, DType::I32, &[3072]),
        step_block: view(4, DType::F32, &[6]),
        loss: view(5, DType::F32, &[3072]),
        dhidden: view(6, DType::Bf16, &[3072, 64]),
        dweight: view(7, DType::F32, &[256, 64]),
        accumulate: false,
    };
    let mut predictor = h200();
    let launches = predictor.ops(&[op.into()], INPUTS).unwrap().remove(0);
    assert_eq!((launches.len(), predictor.known.len()), (12, 5));
    assert_eq!(launches[4..8], launches[8..]);
}

#[test]
fn predictions_do_not_depend_on_threads() {
    let ops: Vec<Op> = [64, 128, 256].map(|tokens| attention(tokens, 2).into()).to_vec();
    let on = |threads| Predictor::new(Chip::named("a100").unwrap(), threads).ops(&ops, INPUTS).unwrap();
    assert_eq!(on(1), on(3));
}

#[test]
fn decoding_reads_what_the_cache_holds_for_its_rows() {
    let (rows, heads, kv_heads, head_dim, pages) = (8, 4, 2, 64, 64);
    let cache = |offset| {
        View::new(BufferId(2), offset, DType::Bf16, &[pages, kv_heads, PAGE_TOKENS, head_dim])
            .with_row_stride(2 * kv_heads * PAGE_TOKENS * head_dim)
    };
    let op = Attention {
        k: cache(0),
        v: cache(u64::from(kv_heads * PAGE_TOKENS * head_dim) * 2),
        positions: Some(view(7, DType::U32, &[rows])),
        page_table: Some(view(8, DType::U32, &[rows, 8])),
        ..attention(rows, rows)
    };
    let op = Attention { q: view(1, DType::Bf16, &[rows, heads * head_dim]), ..op };
    let predicted = h200().ops(&[op.into()], INPUTS).unwrap().remove(0);
    let keys = f64::from(rows * 301 * kv_heads * head_dim * 2 * 2);
    let bytes: f64 = predicted.iter().map(|launch| launch.work.dram_bytes).sum();
    assert!(bytes > keys && bytes < 1.2 * keys, "{bytes} bytes for {keys} of keys and values");
}

#[test]
fn addresses_of_one_buffer_keep_their_distances() {
    let (a, b) = (view(1, DType::F32, &[64]), View::new(BufferId(1), 1024, DType::F32, &[64]));
    let norm = GradNorm { grad: a, step_block: b, result: view(2, DType::F32, &[4]) };
    let placed = Placed::new(&norm.into(), INPUTS).unwrap();
    assert_eq!(placed.address(&b) - placed.address(&a), 1024);
}

//! Drawn tokens against the exact distribution: chi-square a filter, and nothing outside of what the filter keeps.
//!
//! The oracle sorts and adds in f64 by the definitions of the cuts; it shares no code with `sampling.rs`. Seeds are
//! fixed, so a result is the same on every run. The small form runs with the other tests; `cargo xtask long sampler`
//! runs the large one and keeps its lines.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use octo_ops::{SamplingRow, philox};
use std::thread;

struct Filter {
    name: &'static str,
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
}

const NONE: Filter = Filter { name: "none", temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };

const FILTERS: [Filter; 9] = [
    NONE,
    Filter { name: "temperature 0.6", temperature: 0.6, ..NONE },
    Filter { name: "temperature 1.7", temperature: 1.7, ..NONE },
    Filter { name: "top_k 40", top_k: 40, ..NONE },
    Filter { name: "top_p 0.9", top_p: 0.9, ..NONE },
    Filter { name: "min_p 0.02", min_p: 0.02, ..NONE },
    Filter { name: "temperature 1.3, top_p 0.95", temperature: 1.3, top_p: 0.95, ..NONE },
    Filter { name: "top_k 50, top_p 0.8", top_k: 50, top_p: 0.8, ..NONE },
    Filter { name: "all", temperature: 0.8, top_k: 60, top_p: 0.97, min_p: 0.01 },
];

impl Filter {
    fn row(&self) -> SamplingRow {
        let Filter { temperature, top_k, top_p, min_p, .. } = *self;
        SamplingRow { temperature, top_k, top_p, min_p, seed_low: 20, seed_high: 26, position: 0, sample: 5 }
    }

    /// The probability of each token, by the definitions.
    fn exact(&self, logits: &[f32]) -> Vec<f64> {
        let x: Vec<f64> = logits.iter().map(|&x| f64::from(x) / f64::from(self.temperature)).collect();
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut p: Vec<f64> = x.iter().map(|x| (x - max).exp()).collect();
        let mut sorted = p.clone();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        if self.top_k > 0 && (self.top_k as usize) < sorted.len() {
            let least = sorted[self.top_k as usize - 1];
            sorted.retain(|&p| p >= least);
        }
        let total: f64 = sorted.iter().sum();
        let mut mass = 0.0;
        let mut least = sorted[sorted.len() - 1];
        if self.top_p < 1.0 {
            for &p in &sorted {
                mass += p / total;
                if mass >= f64::from(self.top_p) {
                    least = p;
                    break;
                }
            }
        }
        // The likeliest has 1.
        let least = least.max(f64::from(self.min_p));
        p.iter_mut().for_each(|p| *p = if *p >= least { *p } else { 0.0 });
        let total: f64 = p.iter().sum();
        p.iter().map(|p| p / total).collect()
    }
}

/// A bell with a few natural units of spread, in steps of 1/16: a small vocabulary has equal logits.
fn logits(vocab: u32) -> Vec<f32> {
    let blocks = (0..vocab.div_ceil(4))
        .flat_map(|at| philox::normal(philox::draw(vocab.into(), philox::Purpose::Fill, 0, at)));
    blocks.take(vocab as usize).map(|x| ((x * 2.5 * 16.0).round() / 16.0) as f32).collect()
}

/// How often each token is drawn at positions 0 to `draws`.
fn counts(row: SamplingRow, kept: &[f32], draws: u32) -> Vec<u32> {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u32;
    let part = |thread: u32| {
        let mut counts = vec![0u32; kept.len()];
        for position in (thread..draws).step_by(threads as usize) {
            counts[SamplingRow { position, ..row }.pick(kept) as usize] += 1;
        }
        counts
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        let mut sum = vec![0; kept.len()];
        for part in parts {
            sum.iter_mut().zip(part.join().unwrap()).for_each(|(sum, count)| *sum += count);
        }
        sum
    })
}

/// Pearson's statistic over bins of neighbouring tokens, each expected ten times or more, and how many standard deviations
/// it is from its mean (Wilson and Hilferty, 1931).
fn chi_square(counts: &[u32], exact: &[f64], draws: u32) -> (u32, f64, f64) {
    let (mut bins, mut sum, mut count, mut expected) = (0u32, 0.0, 0.0, 0.0);
    for (&own, &p) in counts.iter().zip(exact) {
        count += f64::from(own);
        expected += p * f64::from(draws);
        if expected >= 10.0 {
            bins += 1;
            sum += (count - expected) * (count - expected) / expected;
            (count, expected) = (0.0, 0.0);
        }
    }
    // What is over at the end is too little for a bin.
    let freedom = f64::from(bins) - 1.0;
    let spread = 2.0 / (9.0 * freedom);
    (bins, sum, ((sum / freedom).cbrt() - (1.0 - spread)) / spread.sqrt())
}

fn draws_follow_the_exact_distribution(vocab: u32, draws: u32) {
    let logits = logits(vocab);
    for filter in &FILTERS {
        let (row, exact) = (filter.row(), filter.exact(&logits));
        let mut kept = Vec::new();
        row.keep(&logits, &mut kept);
        for (id, (&x, &p)) in kept.iter().zip(&exact).enumerate() {
            assert_eq!(x > f32::NEG_INFINITY, p > 0.0, "{} of {vocab}: token {id}", filter.name);
        }
        let counts = counts(row, &kept, draws);
        let outside = counts.iter().zip(&exact).filter(|(count, p)| **count > 0 && **p == 0.0).count();
        let (bins, sum, z) = chi_square(&counts, &exact, draws);
        let support = exact.iter().filter(|&&p| p > 0.0).count();
        println!(
            "{{\"filter\":\"{}\",\"vocab\":{vocab},\"draws\":{draws},\"kept\":{support},\"outside\":{outside},\
             \"bins\":{bins},\"chi_square\":{sum:.2},\"deviations\":{z:.3}}}",
            filter.name
        );
        assert_eq!(outside, 0, "{} of {vocab}", filter.name);
        // One in two million either way.
        assert!(
            z.abs() < 5.0,
            "{} of {vocab}: {z} deviations, chi-square {sum} over {bins} bins",
            filter.name
        );
    }
}

#[test]
fn draws_follow_the_exact_distribution_small() {
    draws_follow_the_exact_distribution(111, 40_000);
    draws_follow_the_exact_distribution(32_000, 800);
}

#[test]
fn a_wrong_distribution_is_told_from_the_right_one() {
    let logits = logits(111);
    let exact = NONE.exact(&logits);
    let mut kept = Vec::new();
    SamplingRow { temperature: 1.02, ..NONE.row() }.keep(&logits, &mut kept);
    let counts = counts(NONE.row(), &kept, 100_000);
    assert!(chi_square(&counts, &exact, 100_000).2 > 5.0);
}

#[test]
#[ignore = "a quarter of an hour: `cargo xtask long sampler`"]
fn draws_follow_the_exact_distribution_large() {
    draws_follow_the_exact_distribution(111, 1_000_000);
    draws_follow_the_exact_distribution(32_000, 1_000_000);
    draws_follow_the_exact_distribution(128_256, 100_000);
}

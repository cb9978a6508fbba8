//! What the machine can do at most: multiply-adds in registers, and a plain read of memory.
//!
//! One file without dependencies, compiled for the very processor it runs on (`run.sh` does), so that the
//! floors owe nothing to the engine. `floor THREADS [--tiny]`; every line of standard input, `fma` or `read`,
//! is answered by a line of JSON with the work done and the seconds each repetition took.

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::sync::Barrier;
use std::time::Instant;

/// Repetitions a line: many short ones, of which some find the cores free.
const REPETITIONS: usize = 20;
/// Independent chains of multiply-adds: enough for two units of a latency of four or five cycles, few enough
/// for sixteen registers.
const CHAINS: usize = 12;

/// Vectors of f32 for the set this file is compiled for.
mod vector {
    #[cfg(target_feature = "avx512f")]
    mod set {
        use std::arch::x86_64::*;
        pub type V = __m512;
        pub const LANES: usize = 16;
        pub const NAME: &str = "AVX-512";
        #[inline(always)]
        pub fn splat(a: f32) -> V {
            // SAFETY: the whole file is compiled for processors that have the set.
            unsafe { _mm512_set1_ps(a) }
        }
        #[inline(always)]
        pub fn fma(a: V, b: V, c: V) -> V {
            // SAFETY: the whole file is compiled for processors that have the set.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
    }
    #[cfg(all(target_feature = "fma", not(target_feature = "avx512f")))]
    mod set {
        use std::arch::x86_64::*;
        pub type V = __m256;
        pub const LANES: usize = 8;
        pub const NAME: &str = "AVX2";
        #[inline(always)]
        pub fn splat(a: f32) -> V {
            // SAFETY: the whole file is compiled for processors that have the set.
            unsafe { _mm256_set1_ps(a) }
        }
        #[inline(always)]
        pub fn fma(a: V, b: V, c: V) -> V {
            // SAFETY: the whole file is compiled for processors that have the set.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
    }
    #[cfg(not(target_feature = "fma"))]
    mod set {
        pub type V = [f32; 4];
        pub const LANES: usize = 4;
        pub const NAME: &str = "what the compiler makes of arrays of four";
        #[inline(always)]
        pub fn splat(a: f32) -> V {
            [a; 4]
        }
        #[inline(always)]
        pub fn fma(a: V, b: V, c: V) -> V {
            std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
        }
    }
    pub use set::*;
}

/// `rounds` multiply-adds on each chain. The factor is a little under one and the values stay normal.
fn chains(rounds: u64) {
    let (factor, term) = (vector::splat(black_box(0.999)), vector::splat(black_box(1.0)));
    let mut sums = [vector::splat(black_box(1.0)); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = vector::fma(*sum, factor, term);
        }
    }
    black_box(sums);
}

/// Sums a piece in eight-byte words: memory is slower than this whatever the instruction set.
fn read(piece: &[u64]) -> u64 {
    piece.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// Seconds from the moment all threads stand ready until the last is done, of each repetition.
fn together(works: &[Box<dyn Fn() + Send + Sync + '_>]) -> Vec<f64> {
    (0..REPETITIONS)
        .map(|_| {
            let barrier = Barrier::new(works.len());
            let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
                let threads: Vec<_> = works
                    .iter()
                    .map(|work| {
                        let barrier = &barrier;
                        scope.spawn(move || {
                            barrier.wait();
                            let start = Instant::now();
                            work();
                            (start, Instant::now())
                        })
                    })
                    .collect();
                threads.into_iter().map(|t| t.join().expect("a thread of the floor panicked")).collect()
            });
            let start = spans.iter().map(|s| s.0).min().expect("at least one thread");
            let end = spans.iter().map(|s| s.1).max().expect("at least one thread");
            (end - start).as_secs_f64()
        })
        .collect()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let threads: usize = args.next().and_then(|a| a.parse().ok()).expect("usage: floor THREADS [--tiny]");
    let tiny = args.next().as_deref() == Some("--tiny");
    let (rounds, words) = if tiny { (1 << 16, 1 << 20) } else { (1 << 22, 1 << 26) };
    // Each thread reads pages that it touched first.
    let memory: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let fills: Vec<_> = (0..threads as u64)
            .map(|t| {
                let length = (words / threads) as u64;
                scope.spawn(move || (0..length).map(|i| (i ^ t).wrapping_mul(0x9e37_79b9)).collect())
            })
            .collect();
        fills.into_iter().map(|t| t.join().expect("a thread of the floor panicked")).collect()
    });
    println!("{{\"set\": \"{}\", \"threads\": {threads}}}", vector::NAME);
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input");
        let (work, seconds) = match line.as_str() {
            "fma" => {
                let works: Vec<Box<dyn Fn() + Send + Sync>> =
                    (0..threads).map(|_| Box::new(|| chains(rounds)) as _).collect();
                let flops = 2 * threads as u64 * rounds * (CHAINS * vector::LANES) as u64;
                (flops, together(&works))
            }
            "read" => {
                let works: Vec<Box<dyn Fn() + Send + Sync + '_>> = memory
                    .iter()
                    .map(|piece| {
                        Box::new(move || {
                            black_box(read(black_box(piece)));
                        }) as _
                    })
                    .collect();
                (memory.iter().map(|piece| 8 * piece.len() as u64).sum(), together(&works))
            }
            other => panic!("`{other}` is neither fma nor read"),
        };
        println!("{{\"work\": {work}, \"seconds\": {seconds:?}}}");
        std::io::stdout().flush().expect("standard output");
    }
}

//! Time of a verdict over generated pairs, half of them symbolic, sets, intervals or matrices.
//!
//!     cargo bench -p octo-verify --bench verifying
//!
//! First the spread over 50,000 pairs of seed 1 and over inputs that mean harm: time of the thread on its core, the best of
//! three, so that other work on the machine counts little. Then criterion's statistics of a pass over a thousand pairs, by
//! the clock on the wall.

#[path = "../examples/pairs/generator/mod.rs"]
mod generator;
#[path = "../tests/hostile/inputs.rs"]
mod inputs;

use criterion::{BatchSize, Criterion, Throughput};
use octo_verify::{Config, Verdict, verify};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::io::Write as _;

const PAIRS: u64 = 50_000;
const SEED: u64 = 1;

fn main() -> std::io::Result<()> {
    let config = Config::default();
    let generated: Vec<generator::Pair> = generator::pairs(PAIRS, SEED).collect();
    let wrong = generated
        .iter()
        .filter(|p| (verify(&p.gold, &p.answer, &config).verdict == Verdict::Equal) != p.equal);
    let wrong: Vec<&str> = wrong.map(|pair| pair.form).collect();
    writeln!(
        std::io::stdout(),
        "{PAIRS} pairs of seed {SEED}, {} of them judged wrongly {wrong:?}",
        wrong.len()
    )?;
    let pairs: Vec<(String, String)> = generated.into_iter().map(|pair| (pair.gold, pair.answer)).collect();
    spread("generated pairs", &pairs, &config)?;
    let hostile: Vec<(String, String)> = inputs::hostile()
        .into_iter()
        .flat_map(|text| [("1".into(), text.clone()), (text, "x+1".into())])
        .collect();
    spread("hostile inputs", &hostile, &config)?;
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("verifying");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("a thousand pairs", |bencher| {
        bencher.iter_batched(
            || &pairs[..1000],
            |pairs| {
                for (gold, answer) in pairs {
                    black_box(verify(gold, answer, &config));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
    criterion.final_summary();
    Ok(())
}

/// What this thread has spent on a core so far.
fn microseconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// Median, tail and worst of the time of a verdict, and the pair that took it.
fn spread(what: &str, pairs: &[(String, String)], config: &Config) -> std::io::Result<()> {
    let mut times: Vec<(f64, usize)> = pairs
        .iter()
        .enumerate()
        .map(|(index, (gold, answer))| {
            let best = (0..3)
                .map(|_| {
                    let began = microseconds();
                    black_box(verify(gold, answer, config));
                    microseconds() - began
                })
                .fold(f64::INFINITY, f64::min);
            (best, index)
        })
        .collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].0;
    let worst = &pairs[times[times.len() - 1].1];
    let show = |text: &str| text.chars().take(60).collect::<String>();
    writeln!(
        std::io::stdout(),
        "{} {what}: median {:.1} µs, 90 % {:.1}, 99 % {:.1}, 99.9 % {:.1}, worst {:.1} ({} / {})",
        pairs.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0),
        show(&worst.0),
        show(&worst.1),
    )
}

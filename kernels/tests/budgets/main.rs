//! Every kernel that ships has a budget, `budgets.tsv`: what one launch of it may ask of memory and of the processor. The
//! figures are measured, a limit against growth and no floor; floors that are worked out by hand are held in `counts`,
//! `gemm`, `attention` and `rows`. After a change that is meant:
//!
//! ```sh
//! UPDATE_BUDGETS=1 cargo test -p octo-kernels --test budgets      # then read the difference
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../support/apart.rs"]
mod apart;
#[path = "../support/device.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod device;
#[path = "../faults/on.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod on;
#[path = "../gemm/problem.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod problem;
mod table;

use apart::Apart;
use device::Device;
use octo_kernels::tuning::{Capability, Tuning, head_parts_rows, rows};
use octo_kernels::{Launch, launches};
use octo_ops::{Case, CaseBuilder, DType, HeadLogprob, Op};
use octo_ptx::count::Counters;
use octo_ptx::{parse, shipped::SM_80};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Values of a case at most: enough for several blocks, and little to simulate.
const ELEMENTS: usize = 150_000;

/// What is held, in this order.
const COLUMNS: [&str; 7] = [
    "sectors_read",
    "sectors_written",
    "unique_bytes_read",
    "unique_bytes_written",
    "bank_conflicts",
    "barriers",
    "warp_instructions",
];

fn figures(c: &Counters) -> [u64; COLUMNS.len()] {
    [
        c.global_reads.sectors,
        c.global_writes.sectors,
        c.unique_bytes_read,
        c.unique_bytes_written,
        c.bank_conflicts(),
        c.barriers,
        c.warp_total(),
    ]
}

/// An entry's budget: what was launched, and the figures.
type Budgets = BTreeMap<String, (String, [u64; COLUMNS.len()])>;

/// A case's launches with their counts, in order.
fn run(case: &Case, tuning: &Tuning) -> Vec<(Launch, Counters)> {
    let mut device = Device::new(0).and_workspace();
    for tensor in &case.tensors {
        let elements = tensor.values.len() as u32;
        let view = device.matrix("tensor", tensor.dtype, [1, elements], elements);
        device.write_bytes(&view, &tensor.to_le_bytes());
    }
    let launches = launches(&case.op, &device, tuning).unwrap();
    launches
        .into_iter()
        .map(|launch| {
            let report = device.launch(&launch).unwrap_or_else(|fault| panic!("{}: {fault}", case.name));
            (launch, report.counters)
        })
        .collect()
}

/// What every entry takes on its largest case of conformance that is not too large, or on one of its own.
fn measured() -> Budgets {
    let tuning = Tuning::new(Capability::A100);
    let mut chosen: BTreeMap<String, (usize, Case)> = BTreeMap::new();
    for case in Op::all_cases() {
        let elements = case.tensors.iter().map(|tensor| tensor.values.len()).sum();
        for launch in launches(&case.op, &Apart, &tuning).unwrap_or_default() {
            let best = chosen.get(&launch.entry).map_or(0, |(best, _)| *best);
            if elements > best && (elements <= ELEMENTS || best == 0) {
                chosen.insert(launch.entry, (elements, case.clone()));
            }
        }
    }
    let mut budgets = Budgets::new();
    for (entry, (_, case)) in chosen {
        // One launch of the entry, the first, speaks for it.
        let done = run(&case, &tuning);
        let (_, counters) = done.iter().find(|(launch, _)| launch.entry == entry).unwrap();
        budgets.insert(entry, (format!("{}/{}", case.op.name(), case.name), figures(counters)));
    }
    for row in rows() {
        let (m, n, k) = (row.tile.m + 3, (row.tile.n + 24).next_multiple_of(16), 4 * row.tile.k);
        budgets.entry(row.entry.clone()).or_insert_with(|| {
            let mut device = Device::new(0);
            let (launch, _) = on::product(&mut device, &row.entry, m, n, k);
            (format!("{m}x{n}x{k}"), figures(&device.launch(&launch).unwrap().counters))
        });
    }
    for row in head_parts_rows() {
        let mut tuning = Tuning::new(Capability::A100);
        tuning.fix("head_logits", &row.entry.replace("head_parts", "head_logits")).unwrap();
        let (m, n, k) = (row.tile.m + 3, row.tile.n + 24, 2 * row.tile.k);
        let mut c = CaseBuilder::new();
        let op = HeadLogprob {
            hidden: c.normal(DType::Bf16, &[m, k], 1.0),
            weight: c.normal(DType::Bf16, &[n, k], 0.3),
            labels: c.values(DType::I32, &[m], (0..m).map(|t| f64::from(t % n))),
            logprob: c.output(DType::F32, &[m]),
        };
        for (launch, counters) in run(&c.finish(format!("{m}x{n}x{k}"), op), &tuning) {
            let of = format!("head_logprob/{m}x{n}x{k}");
            budgets.entry(launch.entry).or_insert((of, figures(&counters)));
        }
    }
    budgets
}

fn text(budgets: &Budgets) -> String {
    let mut text = format!("entry\tlaunched\t{}\n", COLUMNS.join("\t"));
    for (entry, (of, figures)) in budgets {
        let figures = figures.map(|figure| figure.to_string()).join("\t");
        writeln!(text, "{entry}\t{of}\t{figures}").unwrap();
    }
    text
}

fn parsed(text: &str) -> Budgets {
    let row = |line: &str| {
        let mut fields = line.split('\t').map(str::to_owned);
        let (entry, of) = (fields.next().unwrap(), fields.next().unwrap());
        let figures: Vec<u64> = fields.map(|figure| figure.parse().unwrap()).collect();
        (entry, (of, figures.try_into().unwrap()))
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn every_shipped_kernel_stays_within_its_budget() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/budgets/budgets.tsv");
    let measured = measured();
    let shipped = SM_80.iter().flat_map(|module| parse(module.text).unwrap().kernels);
    for kernel in shipped {
        assert!(measured.contains_key(&kernel.name), "{}: no case of conformance launches it", kernel.name);
    }
    if std::env::var_os("UPDATE_BUDGETS").is_some() {
        #[allow(clippy::disallowed_methods, reason = "a file of the repository, by hand")]
        std::fs::write(&path, text(&measured)).unwrap();
    }
    let stated = parsed(&std::fs::read_to_string(&path).unwrap());
    let mut broken = String::new();
    for (entry, (of, figures)) in &measured {
        let Some((stated_of, budget)) = stated.get(entry) else {
            writeln!(broken, "{entry} has no budget").unwrap();
            continue;
        };
        if of != stated_of {
            writeln!(broken, "{entry}: the budget is of {stated_of}, launched was {of}").unwrap();
            continue;
        }
        for ((column, &figure), &budget) in COLUMNS.iter().zip(figures).zip(budget) {
            if figure > budget {
                writeln!(broken, "{entry} ({of}): {column} {figure}, budget {budget}").unwrap();
            }
        }
    }
    for entry in stated.keys().filter(|entry| !measured.contains_key(*entry)) {
        writeln!(broken, "{entry} has a budget and does not ship").unwrap();
    }
    assert!(broken.is_empty(), "{broken}with UPDATE_BUDGETS=1 this test writes them anew");
}

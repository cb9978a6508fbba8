//! The other side: kernels as they ship give no alarm. Conformance (`octo-proof`) runs its whole grid on the simulated
//! GPU; here stands that it does so with every check on, and which kernels that leaves out: they run here.

use crate::apart::Apart;
use crate::device::Device;
use crate::on::product_apart;
use octo_kernels::driver::SimConfig;
use octo_kernels::tuning::{Capability, Tuning, head_parts_rows, rows};
use octo_kernels::{head_logprob, launches};
use octo_ops::{Case, DType, HeadLogprob, Op, View};
use octo_ptx::{parse, shipped::SM_80};
use std::collections::BTreeSet;

#[test]
fn conformance_on_the_simulated_gpu_has_every_check_on() {
    // What `octo_queue::open` opens.
    assert!(SimConfig::new(Some(2)).gpu.checks);
}

#[test]
fn every_shipped_kernel_runs_without_alarm_in_conformance_or_here() {
    let tuning = Tuning::new(Capability::A100);
    // Of an op on other types there are none.
    let conformance = |case: &Case| launches(&case.op, &Apart, &tuning).unwrap_or_default();
    let mut run: BTreeSet<String> =
        Op::all_cases().iter().flat_map(conformance).map(|launch| launch.entry).collect();
    // Rows of the tuning table that no case of conformance is large enough for, on ragged shapes.
    for row in rows() {
        let (m, n, k) = (row.tile.m + 3, (row.tile.n + 24).next_multiple_of(16), 2 * row.tile.k + 8);
        let mut device = Device::new(1);
        let (launch, _) = product_apart(&mut device, &row.entry, [m, n, k], 8);
        device.launch(&launch).unwrap_or_else(|fault| panic!("{fault}"));
        run.insert(launch.entry);
    }
    // Log-probabilities of more rows than conformance has.
    for row in head_parts_rows() {
        let mut device = Device::new(1).and_workspace();
        let [hidden, weight] = [("hidden", 130), ("weight", 270)].map(|(name, rows)| {
            let view = device.matrix(name, DType::Bf16, [rows, 72], 72);
            device.write(&view, crate::on::some);
            view
        });
        let [labels, logprob] = [("labels", DType::I32), ("logprob", DType::F32)]
            .map(|(name, dtype)| device.matrix(name, dtype, [130, 1], 1));
        device.write(&labels, |_, _| 0.0);
        let flat = |view: View| View::new(view.buffer, 0, view.dtype, &[130]);
        let op = HeadLogprob { hidden, weight, labels: flat(labels), logprob: flat(logprob) };
        let mut tuning = Tuning::new(Capability::A100);
        tuning.fix("head_logits", &row.entry.replace("head_parts", "head_logits")).unwrap();
        for launch in head_logprob::head_logprob(&op, &device, &tuning).unwrap() {
            device.launch(&launch).unwrap_or_else(|fault| panic!("{fault}"));
            run.insert(launch.entry);
        }
        assert_eq!(device.read(&logprob).len(), 130);
    }
    let shipped: BTreeSet<String> = SM_80
        .iter()
        .flat_map(|module| parse(module.text).unwrap().kernels)
        .map(|kernel| kernel.name)
        .collect();
    assert_eq!(shipped.difference(&run).collect::<Vec<_>>(), Vec::<&String>::new());
}

//! How often does a warp wait for global memory?

use octo_ptx::{Kernel, Operation, Space};
use std::collections::{BTreeMap, BTreeSet};

/// Times that a warp of the launch waits for global memory, one after the other, on the mean: once for each run of a
/// straight piece of code that loads, however many loads it has, since these are under way together; and a part of once
/// for each wait for asynchronous copies: one that leaves n groups under way finds its own n + 1 waits old.
///
/// Loads whose address another load of the same straight piece gives are counted as one.
///
/// `executed` is warp instructions by PTX line, as [`octo_ptx::sim::Report::lines`] gives them.
pub(super) fn round_trips(kernel: &Kernel, executed: &[(u32, u64)], warps: u64) -> f64 {
    let executed: BTreeMap<u32, u64> = executed.iter().copied().collect();
    let mut targets = BTreeSet::new();
    for instruction in &kernel.body {
        match &instruction.operation {
            Operation::Branch { target, .. } => drop(targets.insert(*target)),
            Operation::BranchIndexed { targets: several, .. } => targets.extend(several),
            _ => {}
        }
    }
    let (mut trips, mut straight) = (0.0, 0u64);
    for (index, instruction) in kernel.body.iter().enumerate() {
        if targets.contains(&(index as u32)) {
            trips += std::mem::take(&mut straight) as f64;
        }
        let runs = || executed.get(&instruction.span.line).copied().unwrap_or(0);
        match &instruction.operation {
            Operation::Load { space: Space::Global | Space::Generic, .. }
            | Operation::Atomic { space: Space::Global | Space::Generic, d: Some(_), .. } => {
                straight = straight.max(runs());
            }
            Operation::CopyWait { pending } => {
                trips += std::mem::take(&mut straight) as f64;
                trips += runs() as f64 / (f64::from(pending.unwrap_or(0)) + 1.0);
            }
            Operation::Branch { .. }
            | Operation::BranchIndexed { .. }
            | Operation::Barrier { .. }
            | Operation::Exit => trips += std::mem::take(&mut straight) as f64,
            _ => {}
        }
    }
    (trips + straight as f64) / warps.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_ptx::parse;

    const TEXT: &str = ".version 8.4\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 in)\n{\n\
        .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .pred %p<2>;\n\
        ld.param.u64 %rd1, [in];\n\
        ld.global.u32 %r1, [%rd1];\n\
        ld.global.u32 %r2, [%rd1+4];\n\
        LOOP:\n\
        ld.global.u32 %r3, [%rd1+8];\n\
        cp.async.wait_group 2;\n\
        setp.lt.u32 %p1, %r3, %r2;\n\
        @%p1 bra LOOP;\n\
        bar.sync 0;\n\
        ret;\n}\n";

    #[test]
    fn straight_loads_wait_together_and_loops_wait_each_time() {
        let kernel = &parse(TEXT).unwrap().kernels[0];
        let line = |text: &str| 1 + TEXT.lines().position(|line| line.starts_with(text)).unwrap() as u32;
        // Two warps; the loop runs five times each.
        let executed = [
            (line("ld.global.u32 %r1"), 2),
            (line("ld.global.u32 %r2"), 2),
            (line("ld.global.u32 %r3"), 10),
            (line("cp.async.wait"), 10),
        ];
        let trips = round_trips(kernel, &executed, 2);
        assert!((trips - (1.0 + 5.0 + 5.0 / 3.0)).abs() < 1e-12, "{trips}");
        assert_eq!(round_trips(kernel, &[], 2), 0.0);
    }
}

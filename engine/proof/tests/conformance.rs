//! Every case of every op on the CPU, one named test each: `cargo test -p octo-proof -- rms_norm`.
#![allow(clippy::expect_used)]

use libtest_mimic::{Arguments, Trial};
use octo_ops::Op;
use octo_queue::{DeviceKind, open};

fn main() -> std::process::ExitCode {
    let mut trials = Vec::new();
    for case in Op::all_cases() {
        let name = format!("{}/{}/cpu", case.op.name(), case.name);
        trials.push(Trial::test(name, move || {
            Ok(octo_proof::check(&case, || open(DeviceKind::Cpu, Some(2)).expect("a CPU"))?)
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

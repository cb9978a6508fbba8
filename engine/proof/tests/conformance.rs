//! Every case of every op on every device that computes it, one named test each:
//! `cargo test -p octo-proof -- rms_norm/bf16/7x129/sim`.
#![allow(clippy::expect_used)]

use libtest_mimic::{Arguments, Trial};
use octo_ops::Op;
use octo_queue::{DeviceKind, open};

const DEVICES: [(&str, DeviceKind); 2] = [("cpu", DeviceKind::Cpu), ("sim", DeviceKind::Sim)];

fn main() -> std::process::ExitCode {
    let mut trials = Vec::new();
    for (device, kind) in DEVICES {
        let queue = move || open(kind, Some(2));
        let asked = queue().expect("a device");
        for case in Op::all_cases().into_iter().filter(|case| asked.supports(&case.op)) {
            let name = format!("{}/{}/{device}", case.op.name(), case.name);
            trials.push(Trial::test(name, move || Ok(octo_proof::check(&case, queue)?)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

//! The other side: kernels as they ship give no alarm. Conformance (`octo-proof`) runs its whole grid on the simulated
//! GPU; here stands that it does so with every check on, and which kernels that leaves out: they run here.

use crate::device::Device;
use crate::on::product_apart;
use octo_kernels::driver::SimConfig;
use octo_kernels::tuning::{Capability, Tuning, head_parts_rows, rows};
use octo_kernels::{
    Addresses, Launch, adamw, attention, attention_backward, bias_backward, copy_pages, embed,
    embed_backward, feed_tokens, gemm, grad_norm, head_logprob, head_loss, head_policy, head_policy_backward,
    head_sample,
};
use octo_kernels::{loss_sum, qkv_rope, random_fill, rms_norm, rms_norm_backward, rope_backward, swiglu};
use octo_ops::{DType, HeadLogprob, Op, View};
use octo_ptx::{parse, shipped::SM_80};
use std::collections::BTreeSet;

#[test]
fn conformance_on_the_simulated_gpu_has_every_check_on() {
    // What `octo_queue::open` opens.
    assert!(SimConfig::new(Some(2)).gpu.checks);
}

/// Buffers far apart, as aligned as a driver's.
struct Apart;

impl Addresses for Apart {
    fn address(&self, view: &View) -> u64 {
        ((u64::from(view.buffer.0) + 1) << 40) + view.offset
    }

    fn workspace(&self) -> u64 {
        1 << 39
    }
}

/// What the backend launches for an op; nothing where it has no kernel for it or its types.
fn launches(op: &Op) -> Vec<Launch> {
    let tuning = Tuning::new(Capability::A100);
    match op {
        Op::LinearResidual(op) => gemm::linear_residual(op, &Apart, &tuning).unwrap_or_default(),
        Op::GateUpSwiglu(op) => gemm::gate_up_swiglu(op, &Apart, &tuning).unwrap_or_default(),
        Op::LinearBackwardInput(op) => gemm::linear_backward_input(op, &Apart, &tuning).unwrap_or_default(),
        Op::LinearBackwardWeight(op) => gemm::linear_backward_weight(op, &Apart, &tuning).unwrap_or_default(),
        Op::QkvRope(op) => qkv_rope::qkv_rope(op, &Apart, &tuning).unwrap_or_default(),
        Op::RmsNorm(op) => rms_norm::rms_norm(op, &Apart).unwrap_or_default(),
        Op::Swiglu(op) => swiglu::swiglu(op, &Apart).unwrap_or_default(),
        Op::SwigluBackward(op) => swiglu::swiglu_backward(op, &Apart).unwrap_or_default(),
        Op::AdamW(op) => adamw::adamw(op, &Apart).unwrap_or_default(),
        Op::RandomFill(op) => random_fill::random_fill(op, &Apart).unwrap_or_default(),
        Op::Attention(op) => attention::attention(op, &Apart, &tuning).unwrap_or_default(),
        Op::AttentionBackward(op) => {
            attention_backward::attention_backward(op, &Apart, &tuning).unwrap_or_default()
        }
        Op::CopyPages(op) => copy_pages::copy_pages(op, &Apart).unwrap_or_default(),
        Op::FeedTokens(op) => feed_tokens::feed_tokens(op, &Apart).unwrap_or_default(),
        Op::Embed(op) => embed::embed(op, &Apart).unwrap_or_default(),
        Op::EmbedBackward(op) => embed_backward::embed_backward(op, &Apart).unwrap_or_default(),
        Op::RmsNormBackward(op) => rms_norm_backward::rms_norm_backward(op, &Apart).unwrap_or_default(),
        Op::BiasBackward(op) => bias_backward::bias_backward(op, &Apart).unwrap_or_default(),
        Op::RopeBackward(op) => rope_backward::rope_backward(op, &Apart).unwrap_or_default(),
        Op::LossSum(op) => loss_sum::loss_sum(op, &Apart).unwrap_or_default(),
        Op::GradNorm(op) => grad_norm::grad_norm(op, &Apart).unwrap_or_default(),
        Op::HeadLogprob(op) => head_logprob::head_logprob(op, &Apart, &tuning).unwrap_or_default(),
        Op::HeadLoss(op) => head_loss::head_loss(op, &Apart, &tuning).unwrap_or_default(),
        Op::HeadSample(op) => head_sample::head_sample(op, &Apart, &tuning).unwrap_or_default(),
        Op::HeadPolicy(op) => head_policy::head_policy(op, &Apart, &tuning).unwrap_or_default(),
        Op::HeadPolicyBackward(op) => {
            head_policy_backward::head_policy_backward(op, &Apart, &tuning).unwrap_or_default()
        }
    }
}

#[test]
fn every_shipped_kernel_runs_without_alarm_in_conformance_or_here() {
    let mut run: BTreeSet<String> =
        Op::all_cases().iter().flat_map(|case| launches(&case.op)).map(|launch| launch.entry).collect();
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

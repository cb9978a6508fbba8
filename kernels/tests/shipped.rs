//! The PTX that is committed is what its sources give, and reads its parameters as the launchers lay them out.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_kernels::adamw::AdamWArguments;
use octo_kernels::attention::AttentionArguments;
use octo_kernels::attention_backward::AttentionBackwardArguments;
use octo_kernels::bias_backward::BiasBackwardArguments;
use octo_kernels::columns::ColumnSumsArguments;
use octo_kernels::copy_pages::CopyPagesArguments;
use octo_kernels::embed::EmbedArguments;
use octo_kernels::embed_backward::{
    EmbedBackwardAddArguments, EmbedBackwardOrderArguments, EmbedBackwardZeroArguments,
};
use octo_kernels::feed_tokens::FeedTokensArguments;
use octo_kernels::gemm::GemmArguments;
use octo_kernels::grad_norm::{GradNormFinishArguments, GradNormPartsArguments};
use octo_kernels::head_logprob::{HeadLogprobArguments, HeadLogprobJoinArguments};
use octo_kernels::head_loss::HeadLossArguments;
use octo_kernels::head_policy::HeadPolicyArguments;
use octo_kernels::head_policy_backward::HeadPolicyBackwardArguments;
use octo_kernels::head_sample::{HeadSampleArguments, HeadSampleSlicesArguments};
use octo_kernels::loss_sum::LossSumArguments;
use octo_kernels::qkv_rope::QkvRopeArguments;
use octo_kernels::random_fill::RandomFillArguments;
use octo_kernels::rms_norm::RmsNormArguments;
use octo_kernels::rms_norm_backward::RmsNormBackwardArguments;
use octo_kernels::rope_backward::RopeBackwardArguments;
use octo_kernels::swiglu::{SwigluArguments, SwigluBackwardArguments};
use octo_kernels::{Arguments, Field, source};
use octo_ptx::shipped::SM_80;
use octo_ptx::{Binary, Kernel, Operand, Operation, Register, Space, Symbol, parse};
use std::collections::BTreeMap;
use std::path::Path;

struct Layout {
    bytes: u32,
    align: u32,
    fields: &'static [Field],
}

fn layout<A: Arguments>() -> Layout {
    Layout { bytes: size_of::<A>() as u32, align: align_of::<A>() as u32, fields: A::FIELDS }
}

/// The struct that an entry of a source takes.
fn taken(source: &str, entry: &str) -> Layout {
    match source {
        "adamw" => layout::<AdamWArguments>(),
        "attention" | "attention_segments" | "attention_merge" => layout::<AttentionArguments>(),
        "attention_backward" => layout::<AttentionBackwardArguments>(),
        "bias_backward" | "rms_norm_backward" if entry.ends_with("_finish") => {
            layout::<ColumnSumsArguments>()
        }
        "bias_backward" => layout::<BiasBackwardArguments>(),
        "copy_pages" => layout::<CopyPagesArguments>(),
        "embed" => layout::<EmbedArguments>(),
        "embed_backward" if entry.ends_with("_zero") => layout::<EmbedBackwardZeroArguments>(),
        "embed_backward" if entry.ends_with("_order") => layout::<EmbedBackwardOrderArguments>(),
        "embed_backward" => layout::<EmbedBackwardAddArguments>(),
        "feed_tokens" => layout::<FeedTokensArguments>(),
        "gemm" => layout::<GemmArguments>(),
        "grad_norm" if entry.ends_with("_finish") => layout::<GradNormFinishArguments>(),
        "grad_norm" => layout::<GradNormPartsArguments>(),
        "head_logprob" if entry.ends_with("_join") => layout::<HeadLogprobJoinArguments>(),
        "head_parts" => layout::<GemmArguments>(),
        "head_logprob" => layout::<HeadLogprobArguments>(),
        "head_loss" => layout::<HeadLossArguments>(),
        "head_policy" => layout::<HeadPolicyArguments>(),
        "head_policy_backward" => layout::<HeadPolicyBackwardArguments>(),
        "head_sample" => layout::<HeadSampleArguments>(),
        "head_sample_slices" => layout::<HeadSampleSlicesArguments>(),
        "loss_sum" => layout::<LossSumArguments>(),
        "qkv_rope" => layout::<QkvRopeArguments>(),
        "random_fill" => layout::<RandomFillArguments>(),
        "rms_norm" => layout::<RmsNormArguments>(),
        "rms_norm_backward" => layout::<RmsNormBackwardArguments>(),
        "rope_backward" => layout::<RopeBackwardArguments>(),
        "swiglu" if entry.starts_with("swiglu_backward") => layout::<SwigluBackwardArguments>(),
        "swiglu" => layout::<SwigluArguments>(),
        other => panic!("{other}.cu is new: say here which struct its entries take"),
    }
}

/// Offset and bytes of every load from a kernel's one parameter. Its address may go through registers, each of which may
/// hold several fields' addresses in turn.
fn loads(kernel: &Kernel) -> Vec<(u32, u32)> {
    let mut pointers: BTreeMap<Register, Vec<i64>> = BTreeMap::new();
    let mut reads = Vec::new();
    let resolve = |pointers: &BTreeMap<Register, Vec<i64>>, operand: &Operand| match operand {
        Operand::Address(Symbol::Param(0), offset) => vec![*offset],
        Operand::Register(register) => pointers.get(register).cloned().unwrap_or_default(),
        _ => Vec::new(),
    };
    for line in &kernel.body {
        match &line.operation {
            Operation::Move { d, a, .. } => {
                if let ([Some(d)], [a]) = (d.as_slice(), a.as_slice()) {
                    let offsets = resolve(&pointers, a);
                    pointers.entry(*d).or_default().extend(offsets);
                }
            }
            Operation::Arithmetic { op: Binary::Add, d, a, b: Operand::Immediate(more), .. } => {
                let offsets = resolve(&pointers, a).into_iter().map(|offset| offset + *more as i64);
                pointers.entry(*d).or_default().extend(offsets);
            }
            Operation::Load { space: Space::Param, ty, d, address, .. } => {
                let bases = resolve(&pointers, &address.base);
                assert!(!bases.is_empty(), "{}: {address:?}", kernel.name);
                let bytes = ty.bits() / 8 * d.len() as u32;
                reads.extend(bases.into_iter().map(|base| ((base + address.offset) as u32, bytes)));
            }
            _ => {}
        }
    }
    reads
}

#[test]
fn every_module_is_what_its_source_gives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    let units = source::units(&folder).unwrap();
    let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, SM_80.iter().map(|shipped| shipped.name).collect::<Vec<_>>());
    for (unit, shipped) in units.iter().zip(SM_80) {
        let first = shipped.text.lines().next().unwrap();
        assert_eq!(first, source::first_line(&folder, unit).unwrap(), "{}: run `cargo xtask ptx`", unit.name);
    }
}

#[test]
fn entries_read_whole_fields_of_the_struct_that_is_passed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    for (unit, shipped) in source::units(&folder).unwrap().iter().zip(SM_80) {
        for kernel in &parse(shipped.text).unwrap().kernels {
            let layout = taken(&unit.source, &kernel.name);
            let [param] = kernel.params.as_slice() else { panic!("{}: {:?}", kernel.name, kernel.params) };
            assert_eq!((param.bytes, param.align), (layout.bytes, layout.align), "{}", kernel.name);
            let reads = loads(kernel);
            assert!(!reads.is_empty(), "{} reads no parameter", kernel.name);
            for (offset, bytes) in reads {
                // One field, or neighbours read as a vector.
                let begins = layout.fields.iter().any(|field| field.offset == offset);
                let ends = layout.fields.iter().any(|field| field.offset + field.bytes == offset + bytes);
                assert!(begins && ends, "{} reads {bytes} bytes at {offset}", kernel.name);
            }
        }
    }
}

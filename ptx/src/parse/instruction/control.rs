//! Branches, the end of a thread, and barriers of a block. PTX ISA, sections 9.7.11, 9.7.12.1 and 9.7.17.

use super::super::error::{Fault, Mistake, Result};
use super::super::form::Form;
use crate::{BarrierKind, BarrierReduction, Operand, Operation, Type};
use Type::*;

/// Most targets of all indexed branches of a kernel: each branch has a copy of its list.
const MOST_TARGETS: u64 = 1 << 16;

/// `bra`
pub(super) fn branch(form: &mut Form<'_, '_>) -> Result<Operation> {
    let uniform = form.take("uni");
    form.end(1, 1)?;
    let (label, span) = form.label(0)?;
    let body = &mut form.body;
    body.branches.push((body.kernel.body.len(), 0, body.names.scope(), label, span));
    Ok(Operation::Branch { uniform, target: 0 })
}

/// `brx.idx`
pub(super) fn branch_indexed(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.need_one("idx")?;
    let uniform = form.take("uni");
    form.end(2, 2)?;
    let index = form.value(0, U32)?;
    let (name, span) = form.label(1)?;
    let body = &mut form.body;
    let Some(table) = body.names.table(name) else {
        return Err(Fault::new(span, Mistake::Label(name.to_owned())));
    };
    let value = (body.branches.len() + table.len()) as u64;
    let most = MOST_TARGETS + body.kernel.body.len() as u64;
    if value > most {
        let what = "the number of targets of a kernel's indexed branches";
        return Err(Fault::new(span, Mistake::Limit { what, value, most }));
    }
    let (at, scope) = (body.kernel.body.len(), body.names.scope());
    let places = table.iter().enumerate().map(|(place, &(label, span))| (at, place, scope, label, span));
    let targets = vec![0; table.len()];
    body.branches.extend(places);
    Ok(Operation::BranchIndexed { uniform, index, targets })
}

/// `ret` of an entry, and `exit`.
pub(super) fn exit(form: &mut Form<'_, '_>) -> Result<Operation> {
    if form.name == "ret" {
        form.take("uni");
    }
    form.end(0, 0)?;
    Ok(Operation::Exit)
}

/// `trap`
pub(super) fn trap(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.end(0, 0)?;
    Ok(Operation::Trap)
}

/// What changes no value and orders nothing.
pub(super) fn nothing(form: &mut Form<'_, '_>) -> Result<Operation> {
    match form.name {
        "nanosleep" => {
            form.ty(&[U32])?;
            form.end(1, 1)?;
            form.value(0, U32)?;
        }
        "pmevent" => {
            let most = if form.take("mask") { 0xFFFF } else { 15 };
            form.end(1, 1)?;
            form.literal(0, "an event or a mask of events", |event| event <= most)?;
        }
        "griddepcontrol" => {
            form.need(&[("launch_dependents", ()), ("wait", ())])?;
            form.needs(90)?;
            form.end(0, 0)?;
        }
        _ => form.end(0, 0)?,
    }
    Ok(Operation::Nothing)
}

/// `bar` and `barrier`; the former is the latter with `.aligned`.
pub(super) fn barrier(form: &mut Form<'_, '_>) -> Result<Operation> {
    let long = form.name == "barrier";
    if !long && form.take("warp") {
        form.need_one("sync")?;
        form.end(1, 1)?;
        return Ok(Operation::WarpBarrier { mask: form.value(0, U32)? });
    }
    if long && form.peek() == Some("cluster") {
        return Err(form.unsupported("a barrier of a cluster", "clusters are not simulated yet"));
    }
    form.take("cta");
    let reductions =
        [("popc", BarrierReduction::Popc), ("and", BarrierReduction::And), ("or", BarrierReduction::Or)];
    let kind = match form.need(&[("sync", 0), ("arrive", 1), ("red", 2)])? {
        0 => BarrierKind::Sync,
        1 => BarrierKind::Arrive,
        _ => BarrierKind::Reduce(form.need(&reductions)?),
    };
    let aligned = !long || form.take("aligned");
    let ty = match kind {
        BarrierKind::Reduce(BarrierReduction::Popc) => Some(form.ty(&[U32])?),
        BarrierKind::Reduce(_) => Some(form.ty(&[Pred])?),
        _ => None,
    };
    let (first, last) = if ty.is_some() { (1, 1) } else { (0, 0) };
    let counted = kind == BarrierKind::Arrive;
    form.end(first + 1 + usize::from(counted) + last, first + 2 + last)?;
    let d = match ty {
        Some(ty) => Some(form.register(0, ty)?),
        None => None,
    };
    let barrier = form.value(first, U32)?;
    if matches!(barrier, Operand::Immediate(_)) {
        form.literal(first, "a barrier, 0 to 15", |barrier| barrier < 16)?;
    }
    let mut threads = None;
    if form.operands.len() == first + 2 + last {
        let count = form.value(first + 1, U32)?;
        if matches!(count, Operand::Immediate(_)) {
            let warps = |count: u64| count > 0 && count <= 1024 && count.is_multiple_of(32);
            form.literal(first + 1, "a number of threads, a multiple of 32 up to 1024", warps)?;
        }
        threads = Some(count);
    }
    let p = if ty.is_some() { Some(form.predicate(form.operands.len() - 1)?) } else { None };
    Ok(Operation::Barrier { kind, aligned, barrier, threads, d, p })
}

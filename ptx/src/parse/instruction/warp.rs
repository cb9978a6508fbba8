//! What the lanes of a warp do together. PTX ISA, section 9.7.8.6 and 9.7.12.

use super::super::error::Result;
use super::super::form::Form;
use crate::{Operation, Redux, Shuffle, Type, Vote};
use Type::*;

/// `shfl.sync`
pub(super) fn shuffle(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.need_one("sync")?;
    let mode = form.need(&[
        ("up", Shuffle::Up),
        ("down", Shuffle::Down),
        ("bfly", Shuffle::Bfly),
        ("idx", Shuffle::Idx),
    ])?;
    form.ty(&[B32])?;
    form.end(5, 5)?;
    let (d, p) = form.register_and_predicate(0, B32)?;
    let d = form.present(0, d)?;
    let (a, b) = (form.value(1, B32)?, form.value(2, U32)?);
    Ok(Operation::Shuffle { mode, d, p, a, b, c: form.value(3, U32)?, mask: form.value(4, U32)? })
}

/// `vote.sync`
pub(super) fn vote(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.need_one("sync")?;
    let mode =
        form.need(&[("all", Vote::All), ("any", Vote::Any), ("uni", Vote::Uni), ("ballot", Vote::Ballot)])?;
    let ty = form.ty(if mode == Vote::Ballot { &[B32] } else { &[Pred] })?;
    form.end(3, 3)?;
    let d = form.register(0, ty)?;
    let (p, negated) = form.predicate(1)?;
    Ok(Operation::Vote { mode, d, p, negated, mask: form.value(2, U32)? })
}

/// `match.sync`
pub(super) fn matching(form: &mut Form<'_, '_>) -> Result<Operation> {
    let all = form.need(&[("any", false), ("all", true)])?;
    form.need_one("sync")?;
    let ty = form.ty(&[B32, B64])?;
    form.end(3, 3)?;
    let (d, p) =
        if all { form.register_and_predicate(0, B32)? } else { (Some(form.register(0, B32)?), None) };
    let d = form.present(0, d)?;
    Ok(Operation::Match { all, ty, d, p, a: form.value(1, ty)?, mask: form.value(2, U32)? })
}

/// `redux.sync`
pub(super) fn redux(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.need_one("sync")?;
    let op = form.need(&[
        ("add", Redux::Add),
        ("min", Redux::Min),
        ("max", Redux::Max),
        ("and", Redux::And),
        ("or", Redux::Or),
        ("xor", Redux::Xor),
    ])?;
    let numbers = matches!(op, Redux::Add | Redux::Min | Redux::Max);
    let ty = form.ty(if numbers { &[U32, S32] } else { &[B32] })?;
    form.end(3, 3)?;
    Ok(Operation::Redux {
        op,
        ty,
        d: form.register(0, ty)?,
        a: form.value(1, ty)?,
        mask: form.value(2, U32)?,
    })
}

/// `activemask`
pub(super) fn active_mask(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.ty(&[B32])?;
    form.end(1, 1)?;
    Ok(Operation::ActiveMask { d: form.register(0, B32)? })
}

/// `elect.sync`
pub(super) fn elect(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.need_one("sync")?;
    form.needs(90)?;
    form.end(2, 2)?;
    let (d, p) = form.register_and_predicate(0, B32)?;
    Ok(Operation::Elect { d, p: form.present(0, p)?, mask: form.value(1, U32)? })
}

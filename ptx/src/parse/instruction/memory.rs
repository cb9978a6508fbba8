//! Loads, stores, atomics, fences and asynchronous copies. PTX ISA, sections 9.7.9 and 9.7.12.
//!
//! Hints to caches change no value and are dropped once they are recognised: cache operators, `.nc`,
//! eviction priorities, prefetch sizes, and cache policies with the operand that holds them.

use super::super::error::Result;
use super::super::form::Form;
use crate::{Atomic, Operand, Operation, Scope, Semantics, Space, Type};
use Type::*;

const SCOPES: [(&str, Scope); 4] =
    [("cta", Scope::Block), ("cluster", Scope::Cluster), ("gpu", Scope::Gpu), ("sys", Scope::System)];

const SPACES: [(&str, Space); 7] = [
    ("global", Space::Global),
    ("shared", Space::Shared),
    ("shared::cta", Space::Shared),
    ("local", Space::Local),
    ("param", Space::Param),
    ("param::entry", Space::Param),
    ("const", Space::Const),
];

/// Eviction priorities of the first level.
const EVICTIONS: [(&str, ()); 5] = [
    ("L1::evict_normal", ()),
    ("L1::evict_unchanged", ()),
    ("L1::evict_first", ()),
    ("L1::evict_last", ()),
    ("L1::no_allocate", ()),
];

const PREFETCHES: [(&str, ()); 3] = [("L2::64B", ()), ("L2::128B", ()), ("L2::256B", ())];

/// Types of memory.
const STORED: [Type; 15] = [B8, B16, B32, B64, B128, U8, U16, U32, U64, S8, S16, S32, S64, F32, F64];

/// Takes a scope; clusters came with sm_90.
fn scope(form: &mut Form<'_, '_>) -> Result<Scope> {
    let scope = form.need(&SCOPES)?;
    if scope == Scope::Cluster {
        form.needs(90)?;
    }
    Ok(scope)
}

/// Takes semantics and, where they need one, a scope. Weak accesses have none and get the narrowest;
/// volatile ones are relaxed ones of the system (section 8.4).
fn ordering(form: &mut Form<'_, '_>, strong: &[(&str, Semantics)]) -> Result<(Semantics, Scope)> {
    if form.take("weak") {
        return Ok((Semantics::Weak, Scope::Block));
    }
    if form.take("volatile") {
        return Ok((Semantics::Volatile, Scope::System));
    }
    match form.one_of(strong) {
        Some(semantics) => Ok((semantics, scope(form)?)),
        None => Ok((Semantics::Weak, Scope::Block)),
    }
}

/// Constants, parameters and a thread's own memory have no ordering.
fn check_ordered(form: &Form<'_, '_>, semantics: Semantics, space: Space) -> Result<()> {
    if semantics != Semantics::Weak && matches!(space, Space::Const | Space::Param | Space::Local) {
        return Err(form.combination("only .global, .shared and generic memory have an ordering"));
    }
    Ok(())
}

/// Takes the hints between the space and the vector; whether a policy is among the operands.
fn hints(form: &mut Form<'_, '_>, space: Space, prefetch: bool) -> Result<bool> {
    let eviction = form.one_of(&EVICTIONS).is_some();
    let policy = form.take("L2::cache_hint");
    let prefetch = prefetch && form.one_of(&PREFETCHES).is_some();
    if (eviction || policy || prefetch) && !matches!(space, Space::Global | Space::Generic) {
        return Err(form.combination("only .global and generic memory have cache hints"));
    }
    Ok(policy)
}

/// Takes the vector and the type, with the number of elements.
fn vector(form: &mut Form<'_, '_>) -> Result<(usize, Type)> {
    let length = form.one_of(&[("v2", 2), ("v4", 4)]).unwrap_or(1);
    let ty = form.ty(&STORED)?;
    if length as u32 * ty.bits() > 128 {
        return Err(form.combination("one access is at most 16 bytes"));
    }
    Ok((length, ty))
}

/// Checks the cache policy that is the last operand where there is one, and drops it.
fn drop_policy(form: &mut Form<'_, '_>, policy: bool) -> Result<()> {
    if policy {
        form.register(form.operands.len() - 1, B64)?;
        form.operands.pop();
    }
    Ok(())
}

/// `ld`
pub(super) fn load(form: &mut Form<'_, '_>) -> Result<Operation> {
    let strong = [("relaxed", Semantics::Relaxed), ("acquire", Semantics::Acquire)];
    let (semantics, scope) = ordering(form, &strong)?;
    let space = form.one_of(&SPACES).unwrap_or(Space::Generic);
    check_ordered(form, semantics, space)?;
    let weak = semantics == Semantics::Weak;
    let operator = form.one_of(&[("ca", ()), ("cg", ()), ("cs", ()), ("lu", ()), ("cv", ())]).is_some();
    let read_only = form.take("nc");
    if (operator || read_only) && !weak {
        return Err(form.combination("an ordered access has no cache operator"));
    }
    if read_only && space != Space::Global {
        return Err(form.combination(".nc is for .global"));
    }
    let policy = hints(form, space, true)?;
    let (length, ty) = vector(form)?;
    form.end(2 + usize::from(policy), 2 + usize::from(policy))?;
    drop_policy(form, policy)?;
    let d = form.registers(0, &[length], ty, length == 1, true)?;
    let (space, address) = form.address(1, space)?;
    Ok(Operation::Load { space, semantics, scope, ty, d, address })
}

/// `ldu`: a load whose address is the same in all lanes, which is a hint.
pub(super) fn load_uniform(form: &mut Form<'_, '_>) -> Result<Operation> {
    let space = form.one_of(&[("global", Space::Global)]).unwrap_or(Space::Generic);
    let (length, ty) = vector(form)?;
    form.end(2, 2)?;
    let d = form.registers(0, &[length], ty, length == 1, true)?;
    let (space, address) = form.address(1, space)?;
    Ok(Operation::Load { space, semantics: Semantics::Weak, scope: Scope::Block, ty, d, address })
}

/// `st`
pub(super) fn store(form: &mut Form<'_, '_>) -> Result<Operation> {
    let strong = [("relaxed", Semantics::Relaxed), ("release", Semantics::Release)];
    let (semantics, scope) = ordering(form, &strong)?;
    let space = form.one_of(&SPACES[..4]).unwrap_or(Space::Generic);
    check_ordered(form, semantics, space)?;
    let operator = form.one_of(&[("wb", ()), ("cg", ()), ("cs", ()), ("wt", ())]).is_some();
    if operator && semantics != Semantics::Weak {
        return Err(form.combination("an ordered access has no cache operator"));
    }
    let policy = hints(form, space, false)?;
    let (length, ty) = vector(form)?;
    form.end(2 + usize::from(policy), 2 + usize::from(policy))?;
    drop_policy(form, policy)?;
    let (space, address) = form.address(0, space)?;
    let a = form.values(1, &[length], ty, length == 1, true)?;
    Ok(Operation::Store { space, semantics, scope, ty, address, a })
}

const ATOMICS: [(&str, Atomic); 10] = [
    ("and", Atomic::And),
    ("or", Atomic::Or),
    ("xor", Atomic::Xor),
    ("cas", Atomic::Cas),
    ("exch", Atomic::Exch),
    ("add", Atomic::Add),
    ("inc", Atomic::Inc),
    ("dec", Atomic::Dec),
    ("min", Atomic::Min),
    ("max", Atomic::Max),
];

/// `atom`
pub(super) fn atomic(form: &mut Form<'_, '_>) -> Result<Operation> {
    read_modify_write(form, true)
}

/// `red`
pub(super) fn reduction(form: &mut Form<'_, '_>) -> Result<Operation> {
    read_modify_write(form, false)
}

fn read_modify_write(form: &mut Form<'_, '_>, returns: bool) -> Result<Operation> {
    let strong = [
        ("relaxed", Semantics::Relaxed),
        ("release", Semantics::Release),
        ("acquire", Semantics::Acquire),
        ("acq_rel", Semantics::AcquireRelease),
    ];
    let semantics = form.one_of(&strong[..if returns { 4 } else { 2 }]).unwrap_or(Semantics::Relaxed);
    let named = form.peek().is_some_and(|next| SCOPES.iter().any(|(name, _)| *name == next));
    let scope = if named { scope(form)? } else { Scope::Gpu };
    let space = form.one_of(&SPACES[..3]).unwrap_or(Space::Generic);
    let op = form.need(&ATOMICS)?;
    if !returns && matches!(op, Atomic::Cas | Atomic::Exch) {
        return Err(form.combination("`red` returns nothing, so it neither compares nor exchanges"));
    }
    let unflushed = op == Atomic::Add && form.take("noftz");
    let policy = form.take("L2::cache_hint");
    let ty = match op {
        Atomic::And | Atomic::Or | Atomic::Xor | Atomic::Exch => form.ty(&[B32, B64])?,
        Atomic::Cas => form.ty(&[B16, B32, B64])?,
        Atomic::Add if unflushed => form.ty(&[F16, F16x2, Bf16, Bf16x2])?,
        Atomic::Add => form.ty(&[U32, U64, S32, F32, F64])?,
        Atomic::Inc | Atomic::Dec => form.ty(&[U32])?,
        Atomic::Min | Atomic::Max => form.ty(&[U32, U64, S32, S64])?,
    };
    if matches!(ty, Bf16 | Bf16x2) {
        form.needs(90)?;
    }
    let (first, values) = (usize::from(returns), if op == Atomic::Cas { 2 } else { 1 });
    let count = first + 1 + values + usize::from(policy);
    form.end(count, count)?;
    drop_policy(form, policy)?;
    let d = if returns { form.register_or_sink(0, ty)? } else { None };
    let (space, address) = form.address(first, space)?;
    if !matches!(space, Space::Global | Space::Shared | Space::Generic) {
        return Err(form.combination("atomics are for .global and .shared"));
    }
    let b = form.value(first + 1, ty)?;
    let c = if values == 2 { Some(form.value(first + 2, ty)?) } else { None };
    Ok(Operation::Atomic { op, space, semantics, scope, ty, d, address, b, c })
}

/// `prefetch`, `prefetchu` and `applypriority`.
pub(super) fn prefetch(form: &mut Form<'_, '_>) -> Result<Operation> {
    let mut space = Space::Generic;
    let mut count = 1;
    match form.name {
        "prefetchu" => form.need_one("L1")?,
        "applypriority" => {
            space = form.one_of(&SPACES[..1]).unwrap_or(space);
            form.need_one("L2::evict_normal")?;
            count = 2;
        }
        _ => {
            space = form.one_of(&[SPACES[0], SPACES[3]]).unwrap_or(space);
            let levels = [("L1", ()), ("L2", ()), ("L2::evict_last", ()), ("L2::evict_normal", ())];
            form.need(&levels[..if space == Space::Global { 4 } else { 2 }])?;
        }
    }
    form.end(count, count)?;
    if count == 2 {
        form.literal(1, "the size 128", |bytes| bytes == 128)?;
    }
    let (space, address) = form.address(0, space)?;
    Ok(Operation::Prefetch { space, address })
}

/// `createpolicy`: a cache policy is opaque and read by nothing but the cache, so its register is given 0.
pub(super) fn policy(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.need_one("fractional")?;
    let first = [
        ("L2::evict_last", ()),
        ("L2::evict_normal", ()),
        ("L2::evict_first", ()),
        ("L2::evict_unchanged", ()),
    ];
    form.need(&first)?;
    form.one_of(&[("L2::evict_first", ()), ("L2::evict_unchanged", ())]);
    let ty = form.ty(&[B64])?;
    form.end(1, 2)?;
    if form.operands.len() == 2 {
        form.value(1, F32)?;
    }
    Ok(Operation::Move { ty, d: vec![Some(form.register(0, ty)?)], a: vec![Operand::Immediate(0)] })
}

/// `membar` and `fence`. Section 9.7.12.4: the former are the latter's `.sc`.
pub(super) fn fence(form: &mut Form<'_, '_>) -> Result<Operation> {
    if form.peek() == Some("proxy") {
        return Err(form.unsupported("a proxy fence", "nothing here uses the asynchronous proxy"));
    }
    let (semantics, scope) = if form.name == "membar" {
        let levels = [("cta", Scope::Block), ("gl", Scope::Gpu), ("sys", Scope::System)];
        (Semantics::SequentiallyConsistent, form.need(&levels)?)
    } else {
        let kinds = [("sc", Semantics::SequentiallyConsistent), ("acq_rel", Semantics::AcquireRelease)];
        (form.one_of(&kinds).unwrap_or(Semantics::AcquireRelease), scope(form)?)
    };
    form.end(0, 0)?;
    Ok(Operation::Fence { semantics, scope })
}

/// `cp.async` and its groups. Section 9.7.9.25.
pub(super) fn copy_async(form: &mut Form<'_, '_>) -> Result<Operation> {
    form.need_one("async")?;
    if form.take("commit_group") {
        form.end(0, 0)?;
        return Ok(Operation::CopyCommit);
    }
    if form.take("wait_all") {
        form.end(0, 0)?;
        return Ok(Operation::CopyWait { pending: None });
    }
    if form.take("wait_group") {
        form.end(1, 1)?;
        let most = form.literal(0, "a number of groups", |groups| groups <= u64::from(u32::MAX))?;
        return Ok(Operation::CopyWait { pending: Some(most as u32) });
    }
    let all = form.need(&[("ca", false), ("cg", true)])?;
    form.need(&[("shared", ()), ("shared::cta", ())])?;
    form.need_one("global")?;
    let policy = form.take("L2::cache_hint");
    form.one_of(&PREFETCHES);
    let extra = usize::from(policy);
    form.end(3 + extra, 4 + extra)?;
    drop_policy(form, policy)?;
    let bytes = match all {
        true => form.literal(2, "16 bytes", |bytes| bytes == 16)?,
        false => form.literal(2, "4, 8 or 16 bytes", |bytes| [4, 8, 16].contains(&bytes))?,
    };
    let (mut source_bytes, mut ignore) = (None, None);
    if form.operands.len() == 4 {
        if form.is_predicate(3) {
            // A negated predicate has no place in the instruction's meaning: `value` refuses it.
            ignore = Some(form.value(3, Pred)?);
        } else {
            source_bytes = Some(form.value(3, U32)?);
            if matches!(source_bytes, Some(Operand::Immediate(source)) if source > bytes) {
                form.literal(3, "at most as many bytes as are copied", |source| source <= bytes)?;
            }
        }
    }
    let (_, to) = form.address(0, Space::Shared)?;
    let (_, from) = form.address(1, Space::Global)?;
    Ok(Operation::CopyAsync { bytes: bytes as u32, to, from, source_bytes, ignore })
}

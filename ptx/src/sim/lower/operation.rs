//! Instructions, one by one.

use super::Lowering;
use super::operand::Source;
use crate::numerics::{self, Architecture, Conversion};
use crate::sim::memory::window;
use crate::sim::program::{Alu, Barrier, Mma, NONE, Op, Outcome, Predicate, Rmw, Slot, Vector, Width};
use crate::{Atomic, BarrierKind, BarrierReduction, Operand, Operation, Register, Space, Type, Vote};

pub(super) type Lowered<T> = Result<T, String>;

impl Lowering<'_> {
    pub(super) fn operation(&mut self, operation: &Operation) -> Lowered<Op> {
        let alu = match operation {
            Operation::Move { ty, d, a } => return self.move_(*ty, d, a),
            Operation::Unary { op, ty, rounding, flush, d, a } => {
                self.unary(*op, *ty, *rounding, *flush, *d, *a)?
            }
            Operation::Arithmetic { op, ty, rounding, flush, saturate, contractible: _, d, a, b } => {
                self.arithmetic(*op, *ty, *rounding, *flush, *saturate, *d, *a, *b)?
            }
            Operation::Ternary { op, ty, rounding, flush, saturate, d, a, b, c } => {
                self.ternary(*op, *ty, *rounding, *flush, *saturate, *d, [*a, *b, *c])?
            }
            Operation::Bfi { ty, d, a, b, start, length } => {
                let width = width(*ty)?;
                Alu::Insert {
                    width,
                    d: self.typed_destination(*d, *ty)?,
                    a: self.typed(*a, *ty)?,
                    b: self.typed(*b, *ty)?,
                    start: self.narrow(*start, 32)?,
                    length: self.narrow(*length, 32)?,
                }
            }
            Operation::Carry { subtract, ty, carry_in, carry_out, d, a, b } => Alu::Carry {
                subtract: *subtract,
                carry_in: *carry_in,
                carry_out: *carry_out,
                width: wide_enough(*ty)?,
                d: self.typed_destination(*d, *ty)?,
                a: self.typed(*a, *ty)?,
                b: self.typed(*b, *ty)?,
            },
            Operation::SetPredicate { compare, ty, flush, combine, p, q, a, b } => {
                let combine = match combine {
                    None => None,
                    Some((op, c, negated)) => {
                        let c = self.predicate(*c)?;
                        Some((*op, negate(c, *negated)))
                    }
                };
                let outcome = Outcome::Predicates {
                    p: self.files.predicate(*p)?,
                    q: q.map_or(Ok(NONE), |q| self.files.predicate(q))?,
                    combine,
                };
                self.compare(*compare, *ty, *flush, *a, *b, outcome)?
            }
            Operation::Set { compare, to, ty, flush, d, a, b } => {
                let ones = match to {
                    Type::U32 | Type::S32 => !0,
                    Type::F32 => 1f32.to_bits(),
                    _ => return Err(format!("set to {to:?} is not simulated: use setp and selp")),
                };
                let outcome = Outcome::Value { d: self.narrow_destination(*d, 32)?, ones };
                self.compare(*compare, *ty, *flush, *a, *b, outcome)?
            }
            Operation::Select { ty, d, a, b, p } => Alu::Select {
                wide: ty.bits() == 64,
                d: self.typed_destination(*d, *ty)?,
                a: self.typed(*a, *ty)?,
                b: self.typed(*b, *ty)?,
                p: self.predicate(*p)?,
            },
            Operation::Convert { to, from, rounding, integer, flush, saturate, relu, d, a } => {
                let conversion = Conversion {
                    to: *to,
                    from: *from,
                    rounding: *rounding,
                    integer: *integer,
                    flush: *flush,
                    saturate: *saturate,
                    relu: *relu,
                };
                self.convert(conversion, *d, *a)?
            }
            Operation::ConvertPair { to, rounding, relu, d, high, low } => {
                numerics::convert_pair(*to, *rounding, *relu, 0, 0).ok_or("PTX has no such conversion")?;
                Alu::ConvertPair {
                    to: *to,
                    rounding: *rounding,
                    relu: *relu,
                    d: self.narrow_destination(*d, 32)?,
                    high: self.narrow(*high, 32)?,
                    low: self.narrow(*low, 32)?,
                }
            }
            Operation::ConvertAddress { to_generic, space, ty, d, a } => {
                if ty.bits() != 64 {
                    return Err(String::from("32-bit generic addresses do not exist: use cvta.u64"));
                }
                let (d, a) = (self.wide_destination(*d)?, self.wide(*a)?);
                if !to_generic {
                    return Ok(Op::FromGeneric { space: *space, d, a });
                }
                Alu::ToGeneric { window: window(*space), d, a }
            }
            Operation::ActiveMask { d } => Alu::ActiveMask { d: self.narrow_destination(*d, 32)? },
            _ => return self.effect(operation),
        };
        Ok(Op::Alu(alu))
    }

    /// Everything that is more than arithmetic on registers.
    fn effect(&mut self, operation: &Operation) -> Lowered<Op> {
        Ok(match operation {
            Operation::Load { space, semantics, scope, ty, d, address } => Op::Load {
                space: *space,
                semantics: *semantics,
                scope: *scope,
                address: self.address(*address)?,
                vector: self.loaded(*ty, d)?,
            },
            Operation::Store { space, semantics, scope, ty, address, a } => {
                if matches!(space, Space::Param | Space::Const) {
                    return Err(String::from("kernels cannot write to this space"));
                }
                Op::Store {
                    space: *space,
                    semantics: *semantics,
                    scope: *scope,
                    address: self.address(*address)?,
                    vector: self.stored(*ty, a)?,
                }
            }
            Operation::Atomic { op, space, semantics, scope, ty, d, address, b, c } => {
                atomic_exists(*op, *ty, *space)?;
                let c = match (op, c) {
                    (Atomic::Cas, Some(c)) => self.typed(*c, *ty)?,
                    (Atomic::Cas, None) | (_, Some(_)) => {
                        return Err(String::from("only cas has two operands"));
                    }
                    (_, None) => NONE,
                };
                Op::Atomic(Box::new(Rmw {
                    op: *op,
                    space: *space,
                    semantics: *semantics,
                    scope: *scope,
                    ty: *ty,
                    wide: ty.bits() == 64,
                    d: d.map_or(Ok(NONE), |d| self.typed_destination(d, *ty))?,
                    address: self.address(*address)?,
                    b: self.typed(*b, *ty)?,
                    c,
                }))
            }
            Operation::Prefetch { .. } => Op::Prefetch,
            Operation::Fence { semantics: _, scope } => Op::Fence { scope: *scope },
            Operation::Branch { uniform, target } => Op::Branch { uniform: *uniform, target: *target },
            Operation::BranchIndexed { uniform, index, targets } => Op::BranchIndexed {
                uniform: *uniform,
                index: self.narrow(*index, 32)?,
                targets: targets.clone().into_boxed_slice(),
            },
            Operation::Exit => Op::Exit,
            Operation::Trap => Op::Trap,
            Operation::Nothing => Op::Nothing,
            Operation::Barrier { kind, aligned, barrier, threads, d, p } => {
                let d = match (kind, d) {
                    (BarrierKind::Reduce(BarrierReduction::Popc), Some(d)) => {
                        self.narrow_destination(*d, 32)?
                    }
                    (BarrierKind::Reduce(_), Some(d)) => self.files.predicate(*d)?,
                    (BarrierKind::Reduce(_), None) => {
                        return Err(String::from("bar.red needs a destination"));
                    }
                    _ => NONE,
                };
                if *kind == BarrierKind::Arrive && threads.is_none() {
                    return Err(String::from("bar.arrive needs a number of threads"));
                }
                let p = match p {
                    Some((p, negated)) => negate(self.predicate(*p)?, *negated),
                    None => self.files.always(),
                };
                Op::Barrier(Box::new(Barrier {
                    kind: *kind,
                    aligned: *aligned,
                    barrier: self.narrow(*barrier, 32)?,
                    threads: threads.map_or(Ok(NONE), |threads| self.narrow(threads, 32))?,
                    d,
                    p,
                }))
            }
            Operation::WarpBarrier { mask } => Op::WarpBarrier { mask: self.narrow(*mask, 32)? },
            Operation::Shuffle { mode, d, p, a, b, c, mask } => Op::Shuffle {
                mode: *mode,
                d: self.narrow_destination(*d, 32)?,
                p: self.optional_predicate(*p)?,
                a: self.narrow(*a, 32)?,
                b: self.narrow(*b, 32)?,
                c: self.narrow(*c, 32)?,
                mask: self.narrow(*mask, 32)?,
            },
            Operation::Vote { mode, d, p, negated, mask } => Op::Vote {
                mode: *mode,
                d: match mode {
                    Vote::Ballot => self.narrow_destination(*d, 32)?,
                    Vote::All | Vote::Any | Vote::Uni => self.files.predicate(*d)?,
                },
                p: negate(self.predicate(*p)?, *negated),
                mask: self.narrow(*mask, 32)?,
            },
            Operation::Match { all, ty, d, p, a, mask } => Op::Match {
                all: *all,
                wide: ty.bits() == 64,
                d: self.narrow_destination(*d, 32)?,
                p: self.optional_predicate(*p)?,
                a: self.typed(*a, *ty)?,
                mask: self.narrow(*mask, 32)?,
            },
            Operation::Redux { op, ty, d, a, mask } => Op::Redux {
                op: *op,
                signed: ty.signed(),
                d: self.narrow_destination(*d, 32)?,
                a: self.narrow(*a, 32)?,
                mask: self.narrow(*mask, 32)?,
            },
            Operation::Elect { d, p, mask } => Op::Elect {
                d: d.map_or(Ok(NONE), |d| self.narrow_destination(d, 32))?,
                p: self.files.predicate(*p)?,
                mask: self.narrow(*mask, 32)?,
            },
            Operation::CopyAsync { bytes, to, from, source_bytes, ignore } => {
                if !matches!(bytes, 4 | 8 | 16) {
                    return Err(format!("cp.async copies 4, 8 or 16 bytes, not {bytes}"));
                }
                Op::CopyAsync {
                    bytes: *bytes,
                    to: self.address(*to)?,
                    from: self.address(*from)?,
                    source_bytes: source_bytes.map_or(Ok(NONE), |bytes| self.narrow(bytes, 32))?,
                    ignore: ignore.map(|p| self.predicate(p)).transpose()?,
                }
            }
            Operation::CopyCommit => Op::CopyCommit,
            Operation::CopyWait { pending } => Op::CopyWait { pending: *pending },
            Operation::LoadMatrix { transpose, d, address } => {
                let d = d.iter().map(|d| self.narrow_destination(*d, 32)).collect::<Lowered<Vec<_>>>()?;
                let (d, count) = matrices(&d)?;
                Op::LoadMatrix { transpose: *transpose, count, d, address: self.address(*address)? }
            }
            Operation::StoreMatrix { transpose, address, a } => {
                let a = self.narrow_all(a)?;
                let (a, count) = matrices(&a)?;
                Op::StoreMatrix { transpose: *transpose, count, a, address: self.address(*address)? }
            }
            Operation::MoveMatrix { d, a } => {
                Op::MoveMatrix { d: self.narrow_destination(*d, 32)?, a: self.narrow(*a, 32)? }
            }
            Operation::Mma { shape, types, d, a, b, c } => {
                let mma = Mma {
                    shape: *shape,
                    types: *types,
                    d: d.iter().map(|d| self.narrow_destination(*d, 32)).collect::<Lowered<_>>()?,
                    a: self.narrow_all(a)?.into(),
                    b: self.narrow_all(b)?.into(),
                    c: self.narrow_all(c)?.into(),
                };
                let zeros = |slots: &[Slot]| vec![[0; 32]; slots.len()];
                let (a, b, c, mut d) = (zeros(&mma.a), zeros(&mma.b), zeros(&mma.c), zeros(&mma.d));
                if !numerics::mma(*shape, *types, Architecture::Ampere, &a, &b, &c, &mut d) {
                    return Err(String::from("this shape or these types of mma are not simulated"));
                }
                Op::Mma(Box::new(mma))
            }
            _ => return Err(String::from("the instruction is not simulated")),
        })
    }

    fn optional_predicate(&self, register: Option<Register>) -> Lowered<Slot> {
        register.map_or(Ok(NONE), |register| self.files.predicate(register))
    }

    fn narrow_all(&mut self, operands: &[Operand]) -> Lowered<Vec<Slot>> {
        operands.iter().map(|operand| self.narrow(*operand, 32)).collect()
    }

    fn loaded(&self, ty: Type, d: &[Option<Register>]) -> Lowered<Vector> {
        let size = element(ty)?;
        let mut vector = vector(size, d.len())?;
        for (slot, register) in vector.slots.iter_mut().zip(d) {
            let Some(register) = register else { continue };
            let (place, into) = self.destination(*register, ty.bits())?;
            let wide;
            (*slot, wide) = match place {
                Source::Narrow(slot) => (slot, false),
                Source::Wide(slot) => (slot, true),
            };
            vector.wide |= wide;
            if ty.signed() && into > ty.bits() {
                vector.extend = into as u8;
            }
        }
        self.one_file(&vector, d.iter().flatten().map(|register| self.destination(*register, ty.bits())))?;
        Ok(vector)
    }

    fn stored(&mut self, ty: Type, a: &[Operand]) -> Lowered<Vector> {
        let size = element(ty)?;
        let mut vector = vector(size, a.len())?;
        let mut sources = Vec::new();
        for operand in a {
            sources.push(self.source(*operand, ty.bits())?);
        }
        for (slot, source) in vector.slots.iter_mut().zip(&sources) {
            let wide;
            (*slot, wide) = match *source {
                Source::Narrow(slot) => (slot, false),
                Source::Wide(slot) => (slot, true),
            };
            vector.wide |= wide;
        }
        self.one_file(&vector, sources.into_iter().map(|source| Ok((source, 0))))?;
        Ok(vector)
    }

    fn one_file(&self, vector: &Vector, places: impl Iterator<Item = Lowered<(Source, u32)>>) -> Lowered<()> {
        for place in places {
            if matches!(place?.0, Source::Wide(_)) != vector.wide {
                return Err(String::from("the elements of a vector lie in registers of different widths"));
            }
        }
        Ok(())
    }
}

pub(super) fn negate(p: Predicate, negated: bool) -> Predicate {
    Predicate { flip: if negated { !p.flip } else { p.flip }, ..p }
}

pub(super) fn width(ty: Type) -> Lowered<Width> {
    match ty.bits() {
        16 => Ok(Width::W16),
        32 => Ok(Width::W32),
        64 => Ok(Width::W64),
        _ => Err(format!("no integer arithmetic on {ty:?}")),
    }
}

/// 32 or 64 bits.
pub(super) fn wide_enough(ty: Type) -> Lowered<Width> {
    match width(ty)? {
        Width::W16 => Err(format!("the instruction takes 32 or 64 bits, not {ty:?}")),
        width => Ok(width),
    }
}

/// Bytes of a memory element.
fn element(ty: Type) -> Lowered<u8> {
    match ty.bits() {
        8 => Ok(1),
        16 => Ok(2),
        32 => Ok(4),
        64 => Ok(8),
        _ => Err(format!("{ty:?} has no place in memory here")),
    }
}

fn vector(size: u8, count: usize) -> Lowered<Vector> {
    if !matches!(count, 1 | 2 | 4) || count * usize::from(size) > 16 {
        return Err(String::from("vectors have 1, 2 or 4 elements and at most 16 bytes"));
    }
    Ok(Vector { slots: [NONE; 4], count: count as u8, size, wide: false, extend: 0 })
}

fn matrices(slots: &[Slot]) -> Lowered<([Slot; 4], u8)> {
    let mut all = [NONE; 4];
    match slots.len() {
        1 | 2 | 4 => all[..slots.len()].copy_from_slice(slots),
        n => return Err(format!("ldmatrix and stmatrix move 1, 2 or 4 matrices, not {n}")),
    }
    Ok((all, slots.len() as u8))
}

/// Whether sm_80 or sm_90 has that read-modify-write. PTX ISA 8.4, sections 9.7.12.4 and 9.7.12.5.
fn atomic_exists(op: Atomic, ty: Type, space: Space) -> Lowered<()> {
    use Atomic::{Add, And, Cas, Dec, Exch, Inc, Max, Min, Or, Xor};
    let exists = match op {
        And | Or | Xor | Exch => matches!(ty, Type::B32 | Type::B64 | Type::U32 | Type::U64 | Type::S32),
        Cas => matches!(ty, Type::B16 | Type::B32 | Type::B64 | Type::U32 | Type::U64 | Type::S32),
        Inc | Dec => ty == Type::U32,
        Add => {
            let floats =
                matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::F32 | Type::F64);
            floats || matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64)
        }
        Min | Max => matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64),
    };
    if !exists {
        return Err(format!("atomic {op:?} of {ty:?} does not exist"));
    }
    if !matches!(space, Space::Global | Space::Shared | Space::Generic) {
        return Err(String::from("atomics work on global and shared memory"));
    }
    Ok(())
}

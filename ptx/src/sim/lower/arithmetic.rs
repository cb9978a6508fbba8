//! Instructions from registers to registers.

use super::Lowering;
use super::operand::Source;
use super::operation::{Lowered, negate, wide_enough, width};
use crate::numerics::{self, Conversion};
use crate::sim::program::{
    Alu, Compared, Count, Integer, IntegerUnary, NONE, Op, Outcome, Quick, Shift, Slot, Width,
};
use crate::{Binary, Combine, Compare, Operand, Register, Rounding, Special, Ternary, Type, Unary};

impl Lowering<'_> {
    pub(super) fn move_(&mut self, ty: Type, d: &[Option<Register>], a: &[Operand]) -> Lowered<Op> {
        let alu = match (d, a) {
            ([Some(d)], [a]) if ty == Type::Pred => {
                Alu::MovePredicate { d: self.files.predicate(*d)?, a: self.predicate(*a)? }
            }
            ([Some(d)], [Operand::Special(Special::Clock | Special::Clock64 | Special::Globaltimer)]) => {
                let (d, wide) = match self.destination(*d, 32)?.0 {
                    Source::Narrow(d) => (d, false),
                    Source::Wide(d) => (d, true),
                };
                return Ok(Op::Clock { d, wide });
            }
            ([Some(d)], [a]) if ty.bits() == 64 => {
                let d = self.wide_destination(*d)?;
                if let Operand::Special(_) = a {
                    // %gridid and the like: 64 bits by name, small in fact.
                    let a = self.narrow(*a, 32)?;
                    let high = self.files.narrow_constant(0);
                    Alu::Join64 { d, low: a, high }
                } else {
                    Alu::Move64 { d, a: self.wide(*a)? }
                }
            }
            ([Some(d)], [a]) => Alu::Move32 { d: self.typed_destination(*d, ty)?, a: self.typed(*a, ty)? },
            (parts, [a]) => self.split(ty, parts, *a)?,
            ([Some(d)], parts) => self.join(ty, *d, parts)?,
            _ => return Err(String::from("a mov either packs, unpacks or copies")),
        };
        Ok(Op::Alu(alu))
    }

    pub(super) fn split(&mut self, ty: Type, parts: &[Option<Register>], a: Operand) -> Lowered<Alu> {
        let bits = ty.bits() / parts.len() as u32;
        let parts: Vec<Slot> = parts
            .iter()
            .map(|part| part.map_or(Ok(NONE), |part| self.narrow_destination(part, bits)))
            .collect::<Lowered<_>>()?;
        let a = self.typed(a, ty)?;
        Ok(match *parts {
            [low, high] if ty.bits() == 64 => Alu::Split64 { low, high, a },
            _ => Alu::Split { parts: parts.into(), bits, a, wide: ty.bits() == 64 },
        })
    }

    pub(super) fn join(&mut self, ty: Type, d: Register, parts: &[Operand]) -> Lowered<Alu> {
        if !matches!(parts.len(), 2 | 4) {
            return Err(String::from("vectors have 2 or 4 elements"));
        }
        let bits = ty.bits() / parts.len() as u32;
        let parts: Vec<Slot> = parts.iter().map(|part| self.narrow(*part, bits)).collect::<Lowered<_>>()?;
        let d = self.typed_destination(d, ty)?;
        Ok(match *parts {
            [low, high] if ty.bits() == 64 => Alu::Join64 { d, low, high },
            _ => Alu::Join { d, parts: parts.into(), bits, wide: ty.bits() == 64 },
        })
    }

    pub(super) fn unary(
        &mut self,
        op: Unary,
        ty: Type,
        rounding: Rounding,
        flush: bool,
        d: Register,
        a: Operand,
    ) -> Lowered<Alu> {
        if ty == Type::Pred {
            return match op {
                Unary::Not => Ok(Alu::MovePredicate {
                    d: self.files.predicate(d)?,
                    a: negate(self.predicate(a)?, true),
                }),
                _ => Err(String::from("not is the only operation on one predicate")),
            };
        }
        if ty.float() {
            numerics::unary(op, ty, rounding, flush, 0).ok_or("PTX has no such instruction")?;
            let (d, a) = (self.typed_destination(d, ty)?, self.typed(a, ty)?);
            return Ok(Alu::FloatUnary { op, ty, rounding, flush, d, a });
        }
        let width = width(ty)?;
        let op = match op {
            Unary::Abs => IntegerUnary::Abs,
            Unary::Neg => IntegerUnary::Neg,
            Unary::Not => IntegerUnary::Not,
            Unary::Cnot => IntegerUnary::Cnot,
            Unary::Brev => IntegerUnary::Reverse,
            Unary::Popc | Unary::Clz | Unary::Bfind { .. } => {
                let op = match op {
                    Unary::Popc => Count::Ones,
                    Unary::Clz => Count::LeadingZeros,
                    Unary::Bfind { shift } => Count::Find { signed: ty.signed(), shift },
                    _ => return Err(String::from("no such count")),
                };
                let (d, a) = (self.narrow_destination(d, 32)?, self.typed(a, ty)?);
                return Ok(Alu::Count { op, width: wide_enough(ty)?, d, a });
            }
            _ => return Err(format!("{op:?} of an integer does not exist")),
        };
        Ok(Alu::IntegerUnary { op, width, d: self.typed_destination(d, ty)?, a: self.typed(a, ty)? })
    }

    #[allow(clippy::too_many_arguments, reason = "an instruction's modifiers and operands")]
    pub(super) fn arithmetic(
        &mut self,
        op: Binary,
        ty: Type,
        rounding: Rounding,
        flush: bool,
        saturate: bool,
        d: Register,
        a: Operand,
        b: Operand,
    ) -> Lowered<Alu> {
        if ty == Type::Pred {
            let op = match op {
                Binary::And => Combine::And,
                Binary::Or => Combine::Or,
                Binary::Xor => Combine::Xor,
                _ => return Err(String::from("predicates know and, or, xor and not")),
            };
            return Ok(Alu::Logic {
                op,
                d: self.files.predicate(d)?,
                a: self.predicate(a)?,
                b: self.predicate(b)?,
            });
        }
        if ty.float() && !matches!(op, Binary::And | Binary::Or | Binary::Xor) {
            numerics::arithmetic(op, ty, rounding, flush, saturate, 0, 0)
                .ok_or("PTX has no such instruction")?;
            let (d, a, b) = (self.typed_destination(d, ty)?, self.typed(a, ty)?, self.typed(b, ty)?);
            if ty == Type::F32 && rounding == Rounding::Nearest && !flush && !saturate {
                let quick = match op {
                    Binary::Add => Some(Quick::Add),
                    Binary::Sub => Some(Quick::Sub),
                    Binary::Mul => Some(Quick::Mul),
                    Binary::Min { nan: false } => Some(Quick::Min),
                    Binary::Max { nan: false } => Some(Quick::Max),
                    _ => None,
                };
                if let Some(op) = quick {
                    return Ok(Alu::Quick { op, d, a, b });
                }
            }
            return Ok(Alu::FloatBinary { op, ty, rounding, flush, saturate, d, a, b });
        }
        let signed = ty.signed();
        match op {
            Binary::Shl | Binary::Shr => {
                let op = match (op, signed) {
                    (Binary::Shl, _) => Shift::Left,
                    (_, false) => Shift::Right,
                    (_, true) => Shift::RightSigned,
                };
                Ok(Alu::Shift {
                    op,
                    width: width(ty)?,
                    d: self.typed_destination(d, ty)?,
                    a: self.typed(a, ty)?,
                    amount: self.narrow(b, 32)?,
                })
            }
            Binary::MulWide => self.mul_wide(ty, d, a, b, None),
            _ => {
                if saturate && ty != Type::S32 {
                    return Err(String::from("integers saturate as s32 alone"));
                }
                let op = match (op, signed) {
                    (Binary::Add, _) if saturate => Integer::AddSaturating,
                    (Binary::Sub, _) if saturate => Integer::SubSaturating,
                    (Binary::Add, _) => Integer::Add,
                    (Binary::Sub, _) => Integer::Sub,
                    (Binary::MulLo, _) => Integer::MulLow,
                    (Binary::MulHi, true) => Integer::MulHighSigned,
                    (Binary::MulHi, false) => Integer::MulHighUnsigned,
                    (Binary::Div, true) => Integer::DivSigned,
                    (Binary::Div, false) => Integer::DivUnsigned,
                    (Binary::Rem, true) => Integer::RemSigned,
                    (Binary::Rem, false) => Integer::RemUnsigned,
                    (Binary::Min { .. }, true) => Integer::MinSigned,
                    (Binary::Min { .. }, false) => Integer::MinUnsigned,
                    (Binary::Max { .. }, true) => Integer::MaxSigned,
                    (Binary::Max { .. }, false) => Integer::MaxUnsigned,
                    (Binary::And, _) => Integer::And,
                    (Binary::Or, _) => Integer::Or,
                    (Binary::Xor, _) => Integer::Xor,
                    _ => return Err(format!("{op:?} of {ty:?} does not exist")),
                };
                Ok(Alu::Integer {
                    op,
                    width: width(ty)?,
                    d: self.typed_destination(d, ty)?,
                    a: self.typed(a, ty)?,
                    b: self.typed(b, ty)?,
                })
            }
        }
    }

    pub(super) fn mul_wide(
        &mut self,
        ty: Type,
        d: Register,
        a: Operand,
        b: Operand,
        c: Option<Operand>,
    ) -> Lowered<Alu> {
        let (width, twice) = match width(ty)? {
            Width::W16 => (Width::W16, Type::B32),
            Width::W32 => (Width::W32, Type::B64),
            Width::W64 => return Err(String::from("mul.wide takes 16 or 32 bits")),
        };
        Ok(Alu::MulWide {
            signed: ty.signed(),
            width,
            d: self.typed_destination(d, twice)?,
            a: self.typed(a, ty)?,
            b: self.typed(b, ty)?,
            c: c.map_or(Ok(NONE), |c| self.typed(c, twice))?,
        })
    }

    #[allow(clippy::too_many_arguments, reason = "an instruction's modifiers and operands")]
    pub(super) fn ternary(
        &mut self,
        op: Ternary,
        ty: Type,
        rounding: Rounding,
        flush: bool,
        saturate: bool,
        d: Register,
        [a, b, c]: [Operand; 3],
    ) -> Lowered<Alu> {
        match op {
            Ternary::Fma => {
                numerics::fma(ty, rounding, flush, saturate, false, 0, 0, 0)
                    .ok_or("PTX has no such instruction")?;
                let d = self.typed_destination(d, ty)?;
                let (a, b, c) = (self.typed(a, ty)?, self.typed(b, ty)?, self.typed(c, ty)?);
                if ty == Type::F32 && rounding == Rounding::Nearest && !flush && !saturate {
                    return Ok(Alu::QuickFma { d, a, b, c });
                }
                Ok(Alu::FloatFma { ty, rounding, flush, saturate, d, a, b, c })
            }
            Ternary::MadWide => self.mul_wide(ty, d, a, b, Some(c)),
            Ternary::MadLo | Ternary::MadHi => {
                let op = match (op, ty.signed()) {
                    (Ternary::MadLo, _) => Integer::MulLow,
                    (_, true) => Integer::MulHighSigned,
                    (_, false) => Integer::MulHighUnsigned,
                };
                if saturate && (ty != Type::S32 || op != Integer::MulHighSigned) {
                    return Err(String::from("only mad.hi.sat.s32 saturates"));
                }
                let d = self.typed_destination(d, ty)?;
                let (a, b, c) = (self.typed(a, ty)?, self.typed(b, ty)?, self.typed(c, ty)?);
                Ok(Alu::Mad { op, saturate, width: width(ty)?, d, a, b, c })
            }
            Ternary::Sad => {
                let d = self.typed_destination(d, ty)?;
                let (a, b, c) = (self.typed(a, ty)?, self.typed(b, ty)?, self.typed(c, ty)?);
                Ok(Alu::Sad { signed: ty.signed(), width: width(ty)?, d, a, b, c })
            }
            Ternary::Bfe => Ok(Alu::Extract {
                signed: ty.signed(),
                width: wide_enough(ty)?,
                d: self.typed_destination(d, ty)?,
                a: self.typed(a, ty)?,
                start: self.narrow(b, 32)?,
                length: self.narrow(c, 32)?,
            }),
            Ternary::Lop3(table) => {
                let d = self.narrow_destination(d, 32)?;
                Ok(Alu::Lop3 {
                    table,
                    d,
                    a: self.narrow(a, 32)?,
                    b: self.narrow(b, 32)?,
                    c: self.narrow(c, 32)?,
                })
            }
            Ternary::Shf { left, wrap } => {
                let d = self.narrow_destination(d, 32)?;
                let (a, b, c) = (self.narrow(a, 32)?, self.narrow(b, 32)?, self.narrow(c, 32)?);
                Ok(Alu::Funnel { left, wrap, d, a, b, c })
            }
            Ternary::Prmt => {
                let d = self.narrow_destination(d, 32)?;
                Ok(Alu::Permute { d, a: self.narrow(a, 32)?, b: self.narrow(b, 32)?, c: self.narrow(c, 32)? })
            }
        }
    }

    pub(super) fn compare(
        &mut self,
        compare: Compare,
        ty: Type,
        flush: bool,
        a: Operand,
        b: Operand,
        outcome: Outcome,
    ) -> Lowered<Alu> {
        let what = if ty == Type::F32 && !flush {
            Compared::F32 { compare }
        } else if ty.float() {
            Compared::Float { compare, ty, flush }
        } else {
            use Compare::{Eq, Ge, Gt, Le, Lt, Ne};
            if !matches!(compare, Eq | Ne | Lt | Le | Gt | Ge) {
                return Err(format!("integers are not compared with {compare:?}"));
            }
            Compared::Integer { compare, signed: ty.signed(), width: width(ty)? }
        };
        Ok(Alu::Compare { what, a: self.typed(a, ty)?, b: self.typed(b, ty)?, outcome })
    }

    pub(super) fn convert(&mut self, conversion: Conversion, d: Register, a: Operand) -> Lowered<Alu> {
        let (to, from) = (conversion.to, conversion.from);
        let (d, into) = self.destination(d, to.bits())?;
        let (a, from_wide) = match self.source(a, from.bits())? {
            Source::Narrow(a) => (a, false),
            Source::Wide(a) => (a, true),
        };
        let (d, to_wide) = match d {
            Source::Narrow(d) => (d, false),
            Source::Wide(d) => (d, true),
        };
        if !to.float() && !from.float() && !conversion.saturate {
            return Ok(Alu::Resize {
                from: from.bits(),
                signed: from.signed(),
                to: to.bits(),
                to_signed: to.signed(),
                into,
                d,
                a,
                from_wide,
            });
        }
        numerics::convert(&conversion, 0)
            .ok_or("PTX has no such conversion, or it needs a rounding modifier")?;
        Ok(Alu::Convert { conversion: Box::new(conversion), into, d, a, from_wide, to_wide })
    }
}

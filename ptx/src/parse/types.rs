//! Which registers an instruction of a type takes, as the assembler checks it. PTX ISA, section 9.2 and 9.4.

use crate::Type::{self, *};

/// Every type by the modifier that names it.
pub(super) const TYPES: [(&str, Type); 20] = [
    ("pred", Pred),
    ("b8", B8),
    ("b16", B16),
    ("b32", B32),
    ("b64", B64),
    ("b128", B128),
    ("u8", U8),
    ("u16", U16),
    ("u32", U32),
    ("u64", U64),
    ("s8", S8),
    ("s16", S16),
    ("s32", S32),
    ("s64", S64),
    ("f16", F16),
    ("f16x2", F16x2),
    ("bf16", Bf16),
    ("bf16x2", Bf16x2),
    ("f32", F32),
    ("f64", F64),
];

impl Type {
    /// The modifier that names it, without its dot.
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|(_, ty)| *ty == self).map_or("", |(name, _)| name)
    }
}

/// Whether it is a type without interpretation.
fn bits_alone(ty: Type) -> bool {
    matches!(ty, B8 | B16 | B32 | B64 | B128)
}

/// Whether it is a signed or unsigned integer.
pub(super) fn integer(ty: Type) -> bool {
    matches!(ty, U8 | U16 | U32 | U64 | S8 | S16 | S32 | S64)
}

/// Whether the kinds agree: bits go with everything of any kind but predicates, integers with integers.
fn kinds_agree(ty: Type, register: Type) -> bool {
    match ty {
        Pred => register == Pred,
        _ if register == Pred => false,
        Bf16 | Bf16x2 => bits_alone(register),
        _ if bits_alone(ty) || bits_alone(register) => true,
        _ if integer(ty) => integer(register),
        _ => ty == register,
    }
}

/// Whether an operand of type `ty` may be the register: same width, agreeing kinds.
pub(super) fn fits(ty: Type, register: Type) -> bool {
    ty.bits() == register.bits() && kinds_agree(ty, register)
}

/// As [`fits`], where the register may be wider: `ld`, `st` and `cvt` (section 9.4.1).
pub(super) fn fits_wider(ty: Type, register: Type) -> bool {
    let width = match (ty, register) {
        (Bf16 | Bf16x2 | F16x2, _) => ty.bits() == register.bits(),
        _ => ty.bits() <= register.bits(),
    };
    width && kinds_agree(ty, register)
}

/// Whether an integer constant, negative or not, is a value of the type's width.
pub(super) fn holds(ty: Type, value: u64, negative: bool) -> bool {
    match ty.bits() {
        64.. => !negative || value <= 1 << 63,
        1 => value <= 1,
        bits if negative => value <= 1 << (bits - 1),
        bits => value < 1 << bits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_widths_agree_as_the_assembler_has_it() {
        for (ty, register, exact, wider) in [
            (U32, B32, true, true),
            (U32, S32, true, true),
            (U32, F32, false, false),
            (F32, B32, true, true),
            (F32, U32, false, false),
            (F32, B64, false, true),
            (F32, F64, false, false),
            (B32, F32, true, true),
            (B8, F32, false, true),
            (U8, B64, false, true),
            (U64, B32, false, false),
            (F16, B16, true, true),
            (F16, B32, false, true),
            (Bf16, B16, true, true),
            (Bf16, F16, false, false),
            (Bf16, B32, false, false),
            (Bf16x2, F16x2, false, false),
            (F16x2, F16x2, true, true),
            (F16x2, F32, false, false),
            (Pred, Pred, true, true),
            (Pred, B8, false, false),
            (B8, Pred, false, false),
        ] {
            assert_eq!((fits(ty, register), fits_wider(ty, register)), (exact, wider), "{ty:?} {register:?}");
        }
    }

    #[test]
    fn a_constant_fits_where_signed_or_unsigned_would_hold_it() {
        assert!(holds(U16, 0xFFFF, false) && !holds(U16, 0x1_0000, false));
        assert!(holds(U16, 0x8000, true) && !holds(U16, 0x8001, true));
        assert!(holds(B64, u64::MAX, false) && !holds(B64, u64::MAX, true));
    }
}

//! Read-modify-write of one value in memory. PTX ISA 8.4, sections 9.7.12.4 and 9.7.12.5.

use super::memory::bank::Bank;
use crate::numerics;
use crate::{Atomic, Binary, Rounding, Space, Type};

/// Replaces the value at a byte offset of a bank and answers the old one; `None` if nothing wrote it before.
pub(super) fn modify<B: Bank>(
    bank: &mut B,
    offset: u32,
    op: Atomic,
    ty: Type,
    space: Space,
    b: u64,
    c: u64,
) -> Option<u64> {
    let bytes = ty.bits() / 8;
    let want = ((1u64 << bytes) - 1) as u32;
    if bank.written(offset as usize / 32) >> (offset % 32) & want != want {
        return None;
    }
    let word = offset as usize / 4;
    let shift = 8 * (offset % 4);
    let old = match bytes {
        8 => u64::from(bank.word(word + 1)) << 32 | u64::from(bank.word(word)),
        4 => u64::from(bank.word(word)),
        _ => u64::from(bank.word(word) >> shift & 0xffff),
    };
    let new = changed(op, ty, space, old, b, c);
    match bytes {
        8 => {
            bank.put_word(word, new as u32);
            bank.put_word(word + 1, (new >> 32) as u32);
        }
        4 => bank.put_word(word, new as u32),
        _ => bank.put(word, (new as u32) << shift, 0xffff << shift),
    }
    Some(old)
}

fn changed(op: Atomic, ty: Type, space: Space, old: u64, b: u64, c: u64) -> u64 {
    let signed = |value: u64| if ty.bits() == 64 { value as i64 } else { i64::from(value as i32) };
    match op {
        Atomic::And => old & b,
        Atomic::Or => old | b,
        Atomic::Xor => old ^ b,
        Atomic::Exch => b,
        Atomic::Cas => {
            if old == b {
                c
            } else {
                old
            }
        }
        Atomic::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        Atomic::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        Atomic::Add if ty.float() => {
            // f32 sums in global memory flush subnormals, those in shared memory do not.
            let flush = ty == Type::F32 && space == Space::Global;
            numerics::arithmetic(Binary::Add, ty, Rounding::Nearest, flush, false, old, b).unwrap_or(old)
        }
        Atomic::Add => old.wrapping_add(b),
        Atomic::Min if ty.signed() => signed(old).min(signed(b)) as u64,
        Atomic::Min => old.min(b),
        Atomic::Max if ty.signed() => signed(old).max(signed(b)) as u64,
        Atomic::Max => old.max(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::memory::bank::Private;

    fn apply(op: Atomic, ty: Type, space: Space, old: u64, b: u64, c: u64) -> u64 {
        let mut bank = Private::new(32);
        bank.set(&old.to_le_bytes());
        assert_eq!(modify(&mut bank, 0, op, ty, space, b, c), Some(old));
        let bits = u64::from(bank.word(1)) << 32 | u64::from(bank.word(0));
        if ty.bits() == 64 { bits } else { bits & ((1 << ty.bits()) - 1) }
    }

    #[test]
    fn integers_wrap_and_compare_with_their_sign() {
        let g = Space::Global;
        assert_eq!(apply(Atomic::Add, Type::U32, g, 0xffff_ffff, 2, 0), 1);
        assert_eq!(apply(Atomic::Add, Type::U64, g, u64::MAX, 2, 0), 1);
        assert_eq!(apply(Atomic::Min, Type::S32, g, 5, 0xffff_fffe, 0), 0xffff_fffe);
        assert_eq!(apply(Atomic::Min, Type::U32, g, 5, 0xffff_fffe, 0), 5);
        assert_eq!(apply(Atomic::Max, Type::S64, g, 5, u64::MAX, 0), 5);
        assert_eq!(apply(Atomic::Inc, Type::U32, g, 7, 7, 0), 0);
        assert_eq!(apply(Atomic::Inc, Type::U32, g, 6, 7, 0), 7);
        assert_eq!(apply(Atomic::Dec, Type::U32, g, 0, 7, 0), 7);
        assert_eq!(apply(Atomic::Dec, Type::U32, g, 9, 7, 0), 7);
        assert_eq!(apply(Atomic::Cas, Type::B64, g, 1 << 40, 1 << 40, 3), 3);
        assert_eq!(apply(Atomic::Cas, Type::B32, g, 4, 5, 3), 4);
    }

    #[test]
    fn halves_change_alone_and_pairs_add_by_halves() {
        let mut bank = Private::new(32);
        bank.set(&[1, 2, 3, 4]);
        assert_eq!(modify(&mut bank, 2, Atomic::Cas, Type::B16, Space::Shared, 0x0403, 0xbeef), Some(0x0403));
        assert_eq!(bank.word(0), 0xbeef_0201);
        // 1 + 2 = 3 below, 2 + 2 = 4 above.
        assert_eq!(apply(Atomic::Add, Type::F16x2, Space::Shared, 0x4000_3c00, 0x4000_4000, 0), 0x4400_4200);
    }

    #[test]
    fn f32_sums_flush_subnormals_in_global_memory_alone() {
        assert_eq!(apply(Atomic::Add, Type::F32, Space::Shared, 1, 1, 0), 2);
        assert_eq!(apply(Atomic::Add, Type::F32, Space::Global, 1, 1, 0), 0);
    }

    #[test]
    fn unwritten_memory_is_no_number() {
        assert_eq!(modify(&mut Private::new(32), 4, Atomic::Add, Type::U32, Space::Shared, 1, 0), None);
    }
}

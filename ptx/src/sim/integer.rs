//! Integer arithmetic on 32 lanes. PTX ISA 8.4, sections 9.7.1, 9.7.2 and 9.7.7.
//!
//! Functions are inlined into the two builds of `alu.rs`, whose loops the compiler turns into vectors. Everything wraps.
//! Division by zero, which PTX leaves open, gives all ones and leaves the dividend as remainder, as the hardware's
//! instruction sequence does.

use super::memory::bank::Lanes;
use super::program::{Count, Integer, IntegerUnary, Shift};

/// `r[i] = expression` over all lanes.
macro_rules! lanes {
    ($i:ident => $e:expr) => {{
        let mut r = [Default::default(); 32];
        for $i in 0..32 {
            r[$i] = $e;
        }
        r
    }};
}
pub(super) use lanes;

macro_rules! arithmetic {
    ($name:ident, $unary:ident, $u:ty, $s:ty, $uu:ty, $ss:ty) => {
        #[inline(always)]
        pub(super) fn $name(op: Integer, a: &Lanes<$u>, b: &Lanes<$u>) -> Lanes<$u> {
            match op {
                Integer::Add => lanes!(i => a[i].wrapping_add(b[i])),
                Integer::Sub => lanes!(i => a[i].wrapping_sub(b[i])),
                Integer::AddSaturating => lanes!(i => (a[i] as $s).saturating_add(b[i] as $s) as $u),
                Integer::SubSaturating => lanes!(i => (a[i] as $s).saturating_sub(b[i] as $s) as $u),
                Integer::MulLow => lanes!(i => a[i].wrapping_mul(b[i])),
                Integer::MulHighSigned => {
                    lanes!(i => ((a[i] as $s as $ss).wrapping_mul(b[i] as $s as $ss) >> <$u>::BITS) as $u)
                }
                Integer::MulHighUnsigned => lanes!(i => ((a[i] as $uu).wrapping_mul(b[i] as $uu) >> <$u>::BITS) as $u),
                Integer::DivSigned => {
                    lanes!(i => if b[i] == 0 { <$u>::MAX } else { (a[i] as $s).wrapping_div(b[i] as $s) as $u })
                }
                Integer::DivUnsigned => lanes!(i => a[i].checked_div(b[i]).unwrap_or(<$u>::MAX)),
                Integer::RemSigned => {
                    lanes!(i => if b[i] == 0 { a[i] } else { (a[i] as $s).wrapping_rem(b[i] as $s) as $u })
                }
                Integer::RemUnsigned => lanes!(i => a[i].checked_rem(b[i]).unwrap_or(a[i])),
                Integer::MinSigned => lanes!(i => (a[i] as $s).min(b[i] as $s) as $u),
                Integer::MinUnsigned => lanes!(i => a[i].min(b[i])),
                Integer::MaxSigned => lanes!(i => (a[i] as $s).max(b[i] as $s) as $u),
                Integer::MaxUnsigned => lanes!(i => a[i].max(b[i])),
                Integer::And => lanes!(i => a[i] & b[i]),
                Integer::Or => lanes!(i => a[i] | b[i]),
                Integer::Xor => lanes!(i => a[i] ^ b[i]),
            }
        }

        #[inline(always)]
        pub(super) fn $unary(op: IntegerUnary, a: &Lanes<$u>) -> Lanes<$u> {
            match op {
                IntegerUnary::Abs => lanes!(i => (a[i] as $s).wrapping_abs() as $u),
                IntegerUnary::Neg => lanes!(i => a[i].wrapping_neg()),
                IntegerUnary::Not => lanes!(i => !a[i]),
                IntegerUnary::Cnot => lanes!(i => <$u>::from(a[i] == 0)),
                IntegerUnary::Reverse => lanes!(i => a[i].reverse_bits()),
            }
        }
    };
}

arithmetic!(binary16, unary16, u16, i16, u32, i32);
arithmetic!(binary32, unary32, u32, i32, u64, i64);
arithmetic!(binary64, unary64, u64, i64, u128, i128);

/// 16 bits of each lane.
#[inline(always)]
pub(super) fn cut16(a: &Lanes<u32>) -> Lanes<u16> {
    lanes!(i => a[i] as u16)
}

/// Zero-extends.
#[inline(always)]
pub(super) fn extend16(a: &Lanes<u16>) -> Lanes<u32> {
    lanes!(i => u32::from(a[i]))
}

#[inline(always)]
pub(super) fn shift16(op: Shift, a: &Lanes<u32>, amount: &Lanes<u32>) -> Lanes<u32> {
    match op {
        Shift::Left => lanes!(i => if amount[i] > 15 { 0 } else { (a[i] << amount[i]) & 0xffff }),
        Shift::Right => lanes!(i => if amount[i] > 15 { 0 } else { (a[i] & 0xffff) >> amount[i] }),
        Shift::RightSigned => lanes!(i => ((a[i] as i16) >> amount[i].min(15)) as u16 as u32),
    }
}

#[inline(always)]
pub(super) fn shift32(op: Shift, a: &Lanes<u32>, amount: &Lanes<u32>) -> Lanes<u32> {
    match op {
        Shift::Left => lanes!(i => if amount[i] > 31 { 0 } else { a[i] << (amount[i] & 31) }),
        Shift::Right => lanes!(i => if amount[i] > 31 { 0 } else { a[i] >> (amount[i] & 31) }),
        Shift::RightSigned => lanes!(i => ((a[i] as i32) >> amount[i].min(31)) as u32),
    }
}

#[inline(always)]
pub(super) fn shift64(op: Shift, a: &Lanes<u64>, amount: &Lanes<u32>) -> Lanes<u64> {
    match op {
        Shift::Left => lanes!(i => if amount[i] > 63 { 0 } else { a[i] << (amount[i] & 63) }),
        Shift::Right => lanes!(i => if amount[i] > 63 { 0 } else { a[i] >> (amount[i] & 63) }),
        Shift::RightSigned => lanes!(i => ((a[i] as i64) >> amount[i].min(63)) as u64),
    }
}

#[inline(always)]
pub(super) fn count32(op: Count, a: &Lanes<u32>) -> Lanes<u32> {
    match op {
        Count::Ones => lanes!(i => a[i].count_ones()),
        Count::LeadingZeros => lanes!(i => a[i].leading_zeros()),
        Count::Find { signed, shift } => lanes!(i => {
            let value = if signed && (a[i] as i32) < 0 { !a[i] } else { a[i] };
            find(value.leading_zeros(), 32, shift)
        }),
    }
}

#[inline(always)]
pub(super) fn count64(op: Count, a: &Lanes<u64>) -> Lanes<u32> {
    match op {
        Count::Ones => lanes!(i => a[i].count_ones()),
        Count::LeadingZeros => lanes!(i => a[i].leading_zeros()),
        Count::Find { signed, shift } => lanes!(i => {
            let value = if signed && (a[i] as i64) < 0 { !a[i] } else { a[i] };
            find(value.leading_zeros(), 64, shift)
        }),
    }
}

/// `bfind` from the number of leading zeros.
#[inline(always)]
fn find(zeros: u32, bits: u32, shift: bool) -> u32 {
    if zeros == bits {
        !0
    } else if shift {
        zeros
    } else {
        bits - 1 - zeros
    }
}

/// `bfe`. PTX ISA 8.4, section 9.7.1.19: start and length are the low 8 bits; beyond the top the sign (or 0) fills.
#[inline(always)]
pub(super) fn extract(bits: u32, signed: bool, a: u64, start: u32, length: u32) -> u64 {
    let (start, length) = (start & 0xff, length & 0xff);
    let mut value = if start >= bits { 0 } else { a >> start };
    if length < 64 {
        value &= (1 << length) - 1;
    }
    if signed && length != 0 {
        let sign_at = (start + length - 1).min(bits - 1);
        let kept = length.min(bits.saturating_sub(start));
        if a >> sign_at & 1 == 1 && kept < 64 {
            value |= !0 << kept;
        }
    }
    value
}

/// `bfi`. PTX ISA 8.4, section 9.7.1.20.
#[inline(always)]
pub(super) fn insert(bits: u32, a: u64, b: u64, start: u32, length: u32) -> u64 {
    let (start, length) = (start & 0xff, length & 0xff);
    if start >= bits || length == 0 {
        return b;
    }
    let field = if length >= 64 { !0 } else { (1u64 << length) - 1 };
    let field = field << start;
    (b & !field) | (a << start & field)
}

/// `prmt` in its default mode. PTX ISA 8.4, section 9.7.9.7.
#[inline(always)]
pub(super) fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let mut result = 0;
    for index in 0..4 {
        let select = selector >> (4 * index);
        let byte = (bytes >> (8 * (select & 7))) as u8;
        let byte = if select & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 };
        result |= u32::from(byte) << (8 * index);
    }
    result
}

/// `shf`. PTX ISA 8.4, section 9.7.7.6: `a` holds the low half, `b` the high one.
#[inline(always)]
pub(super) fn funnel(left: bool, wrap: bool, a: u32, b: u32, amount: u32) -> u32 {
    let amount = if wrap { amount & 31 } else { amount.min(32) };
    let both = u64::from(b) << 32 | u64::from(a);
    if left { (both << amount >> 32) as u32 } else { (both >> amount) as u32 }
}

/// `lop3`: each result bit is the table's bit at (a, b, c).
#[inline(always)]
pub(super) fn lop3(table: u8, a: u32, b: u32, c: u32) -> u32 {
    let mut result = 0;
    for row in 0..8 {
        if table >> row & 1 == 1 {
            let pick = |value: u32, bit: u32| if row >> bit & 1 == 1 { value } else { !value };
            result |= pick(a, 2) & pick(b, 1) & pick(c, 0);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shifts_beyond_the_width_give_zero_or_the_sign() {
        let a = [0x8000_0001; 32];
        for amount in [32, 33, 64, 256, u32::MAX] {
            assert_eq!(shift32(Shift::Left, &a, &[amount; 32])[5], 0);
            assert_eq!(shift32(Shift::Right, &a, &[amount; 32])[5], 0);
            assert_eq!(shift32(Shift::RightSigned, &a, &[amount; 32])[5], !0);
            assert_eq!(shift16(Shift::Left, &a, &[amount; 32])[5], 0);
            assert_eq!(shift16(Shift::RightSigned, &[0x8000; 32], &[amount; 32])[5], 0xffff);
        }
        assert_eq!(shift64(Shift::Left, &[1; 32], &[63; 32])[0], 1 << 63);
        assert_eq!(shift64(Shift::Left, &[1; 32], &[64; 32])[0], 0);
        assert_eq!(shift64(Shift::RightSigned, &[1 << 63; 32], &[200; 32])[0], !0);
    }

    #[test]
    fn the_lowest_number_survives_division_and_absolute_value() {
        let low = [i32::MIN as u32; 32];
        assert_eq!(binary32(Integer::DivSigned, &low, &[!0; 32])[0], low[0]);
        assert_eq!(binary32(Integer::RemSigned, &low, &[!0; 32])[0], 0);
        assert_eq!(unary32(IntegerUnary::Abs, &low)[0], low[0]);
        assert_eq!(binary32(Integer::DivUnsigned, &low, &[0; 32])[0], !0);
        assert_eq!(binary32(Integer::RemUnsigned, &low, &[0; 32])[0], low[0]);
        assert_eq!(binary32(Integer::AddSaturating, &low, &[!0; 32])[0], low[0]);
        assert_eq!(binary64(Integer::MulHighSigned, &[1 << 63; 32], &[1 << 63; 32])[0], 1 << 62);
        assert_eq!(binary64(Integer::MulHighUnsigned, &[!0; 32], &[!0; 32])[0], !0 - 1);
    }

    #[test]
    fn find_answers_all_ones_where_nothing_is_found() {
        let find = |signed, shift, value: u32| count32(Count::Find { signed, shift }, &[value; 32])[0];
        assert_eq!(find(false, false, 0), !0);
        assert_eq!(find(true, false, !0), !0);
        assert_eq!(find(false, false, 0x10), 4);
        assert_eq!(find(false, true, 0x10), 27);
        assert_eq!(find(true, false, 0xffff_ff0f), 7);
        assert_eq!(count64(Count::Find { signed: false, shift: false }, &[1 << 40; 32])[0], 40);
    }

    #[test]
    fn prmt_takes_bytes_or_their_sign() {
        assert_eq!(permute(0x8283_0405, 0xc6c7_0809, 0x7531), 0xc608_8204);
        assert_eq!(permute(0x8283_0405, 0, 0x000b), 0x0505_05ff);
        assert_eq!(permute(0x8283_0405, 0, 0x3218), 0x8283_0400);
    }

    #[test]
    fn funnels_clamp_or_wrap() {
        let (low, high) = (0x1122_3344, 0xaabb_ccdd);
        assert_eq!(funnel(true, true, low, high, 8), 0xbbcc_dd11);
        assert_eq!(funnel(false, true, low, high, 8), 0xdd11_2233);
        assert_eq!(funnel(true, false, low, high, 40), low);
        assert_eq!(funnel(false, false, low, high, 40), high);
        assert_eq!(funnel(true, true, low, high, 32), high);
        assert_eq!(funnel(false, true, low, high, 32), low);
    }

    proptest! {
        // The pseudocode of PTX ISA 8.4, bit by bit.
        #[test]
        fn bfe_is_the_manuals_loop(wide: bool, signed: bool, a: u64, start in 0u32..300, length in 0u32..300) {
            let bits = if wide { 64 } else { 32 };
            let a = if wide { a } else { a & 0xffff_ffff };
            let msb = bits - 1;
            let (pos, len) = (start & 0xff, length & 0xff);
            let sign = if !signed || len == 0 { 0 } else { a >> (pos + len - 1).min(msb) & 1 };
            let mut expected = 0u64;
            for i in 0..=msb {
                let bit = if i < len && pos + i <= msb { a >> (pos + i) & 1 } else { sign };
                expected |= bit << i;
            }
            let found = extract(bits, signed, a, start, length) & (!0 >> (64 - bits));
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn bfi_is_the_manuals_loop(wide: bool, a: u64, b: u64, start in 0u32..300, length in 0u32..300) {
            let bits = if wide { 64 } else { 32 };
            let (a, b) = if wide { (a, b) } else { (a & 0xffff_ffff, b & 0xffff_ffff) };
            let (pos, len) = (start & 0xff, length & 0xff);
            let mut expected = b;
            for i in (0..len).take_while(|i| pos + i < bits) {
                expected = (expected & !(1 << (pos + i))) | ((a >> i & 1) << (pos + i));
            }
            prop_assert_eq!(insert(bits, a, b, start, length) & (!0 >> (64 - bits)), expected);
        }

        #[test]
        fn lop3_looks_each_bit_up(table: u8, a: u32, b: u32, c: u32) {
            for bit in 0..32 {
                let row = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | (c >> bit & 1);
                prop_assert_eq!(lop3(table, a, b, c) >> bit & 1, u32::from(table) >> row & 1);
            }
        }
    }
}

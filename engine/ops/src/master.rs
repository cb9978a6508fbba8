//! Master weights: a bf16 weight and the sixteen bits that it lacks.
//!
//! master = (bf16 << 16) + remainder in wrapping integer arithmetic, with bf16 = (bits + 0x8000) >> 16, so
//! ties round away from zero. Rounding to nearest even would collide: 0x3F808000 and 0x3F7F8000 would both
//! become 0x3F80 with remainder −0x8000.

use half::bf16;

/// The weight and remainder of an f32 master value. Every bit pattern comes back from [`join`].
pub fn split(master: f32) -> (bf16, i16) {
    let bits = master.to_bits();
    let upper = (bits.wrapping_add(0x8000) >> 16) as u16;
    (bf16::from_bits(upper), bits.wrapping_sub(u32::from(upper) << 16) as u16 as i16)
}

/// The f32 master value of a weight and remainder.
pub fn join(weight: bf16, remainder: i16) -> f32 {
    f32::from_bits((u32::from(weight.to_bits()) << 16).wrapping_add(i32::from(remainder) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_tie_and_its_neighbours_come_back() {
        for upper in 0..=u16::MAX {
            for lower in [0x7fff, 0x8000, 0x8001, 0, 0xffff] {
                let bits = u32::from(upper) << 16 | lower;
                let (w, r) = split(f32::from_bits(bits));
                assert_eq!(join(w, r).to_bits(), bits, "{bits:#010x}");
            }
        }
    }

    #[test]
    fn bf16_values_have_no_remainder() {
        for upper in 0..=u16::MAX {
            let (weight, remainder) = split(f32::from_bits(u32::from(upper) << 16));
            assert_eq!((weight.to_bits(), remainder), (upper, 0));
        }
    }

    proptest! {
        #[test]
        fn any_pattern_comes_back(bits: u32) {
            let (w, r) = split(f32::from_bits(bits));
            prop_assert_eq!(join(w, r).to_bits(), bits);
        }
    }
}

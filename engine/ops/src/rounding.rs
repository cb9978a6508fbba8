//! Stochastic rounding: an f32 becomes one of the two bf16 around it, the nearer the likelier, so that it stays as it is on
//! average. What is added to a sum in bf16 and smaller than half its last place would be lost at every step otherwise:
//! AdamW's second moment moves by a thousandth of itself.
//!
//! The rule and its analysis: Croci, Fasi, Higham, Mary and Mikaitis, "Stochastic rounding: implementation, error analysis
//! and applications", Royal Society Open Science 9 (2022), section 2. The random numbers are [`crate::philox`]'s, named by
//! what is rounded and never by who rounds it.

use crate::philox::{Purpose, draw};
use half::bf16;

/// Rounds away from zero with the probability of what is lost, in units of the last place, and towards zero otherwise: with
/// 65,536 equally likely `random` exactly. Sign and order are kept: no value becomes negative, none leaves the finite
/// numbers (beyond the largest all go towards zero), 0 and infinity stay, and so does the NaN that arithmetic makes.
pub const fn stochastic(value: f32, random: u16) -> bf16 {
    let bits = value.to_bits();
    // Exponent and mantissa together: a carry out of the mantissa goes to the next binade, as it should.
    let moved = (bits & 0x7fff_ffff) + random as u32;
    let bits = if moved < 0x7f80_0000 { bits + random as u32 } else { bits };
    bf16::from_bits((bits >> 16) as u16)
}

/// Which random numbers round the moments of a range: those of its elements' places in the arena, so that no cut of the
/// arena into ranges changes a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Key of the generator.
    pub seed: u64,
    /// The place in the arena of the range's first element.
    pub first: u64,
}

impl Rounding {
    /// The numbers of the range's elements from its element `at` on, in the optimizer's update of this number
    /// ([`crate::StepBlock::update`]).
    pub fn draws(self, update: u32, at: u64) -> Draws {
        let element = self.first.wrapping_add(at);
        Draws { seed: self.seed, update, element, block: block(self.seed, update, element / 4) }
    }
}

/// The sixteen bits by which each element's first moment is rounded, and those by which its second is. Element e has word
/// e mod 4 of block e / 4: the lower half is the first moment's. The stream is the update's number, and above its 32 bits
/// those of the block that an index has no room for.
#[derive(Clone, Debug)]
pub struct Draws {
    seed: u64,
    update: u32,
    element: u64,
    block: [u32; 4],
}

const fn block(seed: u64, update: u32, number: u64) -> [u32; 4] {
    let stream = update as u64 | number >> 32 << 32;
    draw(seed, Purpose::Moments, stream, number as u32)
}

impl Iterator for Draws {
    type Item = [u16; 2];

    #[inline]
    fn next(&mut self) -> Option<[u16; 2]> {
        let word = self.block[(self.element % 4) as usize];
        self.element = self.element.wrapping_add(1);
        if self.element.is_multiple_of(4) {
            self.block = block(self.seed, self.update, self.element / 4);
        }
        Some([word as u16, (word >> 16) as u16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn over_all_random_numbers_the_mean_is_the_value_itself() {
        for value in [1.0f32, -1.0 - 1e-3, 0.1, 3.9e-3, -7.77e20, 1e-40, 1.1e-44, -0.0, 0.0] {
            // Every sum of f64 here is exact but the last few of a denormal's.
            let sum: f64 = (0..=u16::MAX).map(|random| stochastic(value, random).to_f64()).sum();
            assert_eq!(sum / 65536.0, f64::from(value), "{value:e}");
        }
    }

    #[test]
    fn a_mean_of_many_draws_is_within_its_standard_error() {
        let value = 1.0f32 + 0.3 / 128.0;
        let rounding = Rounding { seed: 9, first: 3 };
        let n = 200_000;
        let mut sums = [0.0; 2];
        let mut products = 0.0;
        for random in rounding.draws(5, 0).take(n) {
            let errors = random.map(|random| stochastic(value, random).to_f64() - f64::from(value));
            sums = [sums[0] + errors[0], sums[1] + errors[1]];
            products += errors[0] * errors[1];
        }
        // p = 0.3 of a step of 1/128.
        let deviation = (0.3f64 * 0.7).sqrt() / 128.0;
        for sum in sums {
            assert!(sum.abs() < 5.0 * deviation * (n as f64).sqrt(), "{sum}");
        }
        // The two moments of an element do not go together.
        assert!(products.abs() < 5.0 * deviation * deviation * (n as f64).sqrt(), "{products}");
    }

    #[test]
    fn additions_too_small_for_the_nearest_are_kept_on_average() {
        // 0.999 · v + 0.001 · g² from v = 1 towards 1.5, as a second moment goes; to the nearest it stays at 1.
        let rounding = Rounding { seed: 1, first: 0 };
        let (mut nearest, mut mean, mut exact) = (bf16::ONE, 0.0, 1.0f64);
        let mut all = vec![bf16::ONE; 1000];
        for update in 0..500 {
            let next = |v: bf16| 0.999 * v.to_f32() + 0.001 * 1.5;
            nearest = bf16::from_f32(next(nearest));
            exact = 0.999 * exact + 0.001 * 1.5;
            for (v, [_, random]) in all.iter_mut().zip(rounding.draws(update, 0)) {
                *v = stochastic(next(*v), random);
            }
            mean = all.iter().map(|v| v.to_f64()).sum::<f64>() / all.len() as f64;
        }
        assert_eq!(nearest, bf16::ONE);
        assert!((mean - exact).abs() < 0.01 && exact > 1.19, "{mean} {exact}");
    }

    #[test]
    fn the_edges_stay_where_they_are() {
        for random in [0, 1, 0x7fff, 0x8000, u16::MAX] {
            for edge in [f32::INFINITY, f32::NEG_INFINITY, 0.0, 1.0, -2.5] {
                assert_eq!(stochastic(edge, random).to_f32().to_bits(), edge.to_bits());
            }
            assert_eq!(stochastic(f32::MAX, random), bf16::MAX);
            assert_eq!(stochastic(f32::MIN, random), bf16::MIN);
            assert!(stochastic(f32::NAN, random).is_nan());
            assert!(stochastic(f32::from_bits(0x7fff_ffff), random).is_nan());
        }
    }

    proptest! {
        #[test]
        fn one_of_the_two_around_and_of_the_same_sign(bits: u32, random: u16) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite());
            let rounded = stochastic(value, random);
            let below = bf16::from_bits((bits >> 16) as u16);
            prop_assert!(rounded.is_finite());
            prop_assert_eq!(rounded.is_sign_negative(), value.is_sign_negative());
            prop_assert!(rounded == below || rounded.to_bits() == below.to_bits() + 1);
            prop_assert!(rounded.to_f32().abs() >= below.to_f32().abs());
        }

        #[test]
        fn an_element_has_its_numbers_wherever_a_range_begins(first in 0u64..1 << 40, at in 0u64..5000, seed: u64) {
            let whole = Rounding { seed, first };
            let part = Rounding { seed, first: first + at };
            let expected: Vec<_> = whole.draws(7, 0).skip(at as usize).take(9).collect();
            prop_assert_eq!(part.draws(7, 0).take(9).collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(whole.draws(7, at).take(9).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn blocks_beyond_an_index_and_updates_have_numbers_of_their_own() {
        let first = |update, element| Rounding { seed: 1, first: element }.draws(update, 0).next();
        let far = 1u64 << 34;
        let all = [first(1, 0), first(2, 0), first(1, far), first(2, far), first(1, 4)];
        for (i, one) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other != one), "{all:?}");
        }
        assert_eq!(Rounding { seed: 1, first: far - 1 }.draws(1, 0).nth(1), first(1, far));
    }
}

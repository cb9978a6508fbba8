//! A shuffled order without a table.
//!
//! A Feistel network (Luby and Rackoff 1988) over the smallest square of a power of two that holds the
//! indices, applied again where it leaves them (cycle walking, Black and Rogaway 2002): a bijection whose
//! every value is computed from (seed, epoch, index) alone, so that resuming needs no state.

/// Rounds: four make a strong pseudo-random permutation of a good round function; six leave room.
const ROUNDS: usize = 6;

/// A permutation of `0..len`.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Permutation {
    /// The permutation of a seed and an epoch.
    pub fn new(len: u64, seed: u64, epoch: u64) -> Permutation {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let mut state = mix(mix(seed ^ 0x6F63_746F_5F73_6872).wrapping_add(epoch));
        let keys = std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mix(state)
        });
        Permutation { len, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// Where `index`, which is below `len`, goes.
    pub fn at(&self, index: u64) -> u64 {
        debug_assert!(index < self.len);
        let mask = (1u64 << self.half_bits) - 1;
        let mut value = index;
        // The square is less than four times `len` (plus a few), so this takes four turns on average at most.
        loop {
            let (mut left, mut right) = (value >> self.half_bits, value & mask);
            for key in self.keys {
                (left, right) = (right, left ^ (mix(right ^ key) & mask));
            }
            value = left << self.half_bits | right;
            if value < self.len {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(len: u64, seed: u64, epoch: u64) -> Vec<u64> {
        let permutation = Permutation::new(len, seed, epoch);
        (0..len).map(|i| permutation.at(i)).collect()
    }

    proptest! {
        #[test]
        fn every_index_comes_once(len in 1u64..3000, seed: u64, epoch: u64) {
            let mut seen = all(len, seed, epoch);
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..len));
        }

        #[test]
        fn far_indices_stay_inside(len in 1u64..1 << 62, seed: u64, at in any::<prop::sample::Index>()) {
            let index = at.index(len.min(1 << 31) as usize) as u64;
            prop_assert!(Permutation::new(len, seed, 0).at(index) < len);
        }

        #[test]
        fn epochs_and_seeds_differ(seed: u64, epoch in 0u64..1 << 40) {
            prop_assert_ne!(all(100, seed, epoch), all(100, seed, epoch + 1));
            prop_assert_ne!(all(100, seed, epoch), all(100, seed.wrapping_add(1), epoch));
        }
    }

    #[test]
    fn neighbours_are_torn_apart_and_no_place_is_favoured() {
        let len = 1000;
        let (mut still_neighbours, mut first_half) = (0, 0);
        for epoch in 0..100 {
            let order = all(len, 3, epoch);
            still_neighbours += order.windows(2).filter(|w| w[0].abs_diff(w[1]) == 1).count();
            first_half += order[..500].iter().filter(|&&i| i < 500).count();
        }
        // A fair shuffle keeps two pairs an epoch, and half of the first half in the first half.
        assert!(still_neighbours < 300, "{still_neighbours}");
        assert!((24_500..25_500).contains(&first_half), "{first_half}");
    }

    #[test]
    fn the_order_is_the_same_on_every_machine() {
        assert_eq!(all(10, 1, 0), [8, 2, 1, 6, 9, 0, 3, 5, 4, 7]);
    }
}

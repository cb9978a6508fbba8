//! Choices from a counter-free generator.

/// SplitMix64 (Steele, Lea, Flood 2014): a stream of choices from a key.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    state: u64,
}

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Draw {
    /// The stream of a key.
    pub fn new(key: &[u64]) -> Draw {
        Draw { state: key.iter().fold(0, |state, &part| mix(state.wrapping_add(GAMMA) ^ mix(part))) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number below `n`, which is not 0; the bias of the remainder is below 2⁻⁵⁰ for the n in use.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number from `low` to `high`, both included.
    pub fn number(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    /// Two different ones of a list.
    pub fn pick_two<T: Copy>(&mut self, list: &[T]) -> (T, T) {
        let first = self.below(list.len() as u64);
        let second = (first + 1 + self.below(list.len() as u64 - 1)) % list.len() as u64;
        (list[first as usize], list[second as usize])
    }
}

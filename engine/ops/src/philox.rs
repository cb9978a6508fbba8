//! Philox4x32-10: random numbers as a pure function of a key and a counter.
//!
//! Nothing here has a state. Every number the engine draws is addressed by what it is for, so that no
//! thread count, batch or restart can change it. Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3", SC 2011, sections 3.3 and 4.

/// What numbers are drawn for; streams of different purposes never meet.
///
/// The discriminants are part of every result and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Random starts of weights: stream = tensor, index = element / 4.
    Init = 1,
    /// Sampling of tokens: stream = sample, index = position.
    Sample = 2,
    /// Test and bench data: stream = the caller's, index = element / 2.
    Fill = 3,
    /// Rounding of AdamW's moments ([`crate::rounding`]): stream = update, index = element / 4.
    Moments = 4,
}

/// Ten rounds of Philox4x32 over one counter.
pub const fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    let mut round = 0;
    while round < 10 {
        let a = c0 as u64 * 0xD251_1F53;
        let b = c2 as u64 * 0xCD9E_8D57;
        (c0, c1, c2, c3) = ((b >> 32) as u32 ^ c1 ^ k0, b as u32, (a >> 32) as u32 ^ c3 ^ k1, a as u32);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
        round += 1;
    }
    [c0, c1, c2, c3]
}

/// Block `index` of a stream: four words that depend on nothing but the arguments.
///
/// The key is the seed; the counter is (index, stream low, stream high, purpose).
pub const fn draw(seed: u64, purpose: Purpose, stream: u64, index: u32) -> [u32; 4] {
    philox4x32_10(
        [index, stream as u32, (stream >> 32) as u32, purpose as u32],
        [seed as u32, (seed >> 32) as u32],
    )
}

/// A word as a number in (0, 1): the middle of its interval, so that its logarithm exists.
pub const fn uniform(word: u32) -> f64 {
    (word as f64 + 0.5) * (1.0 / 4_294_967_296.0)
}

/// A block as four independent standard normal numbers (Box and Muller, 1958), computed in f64.
///
/// With 32 bits a word the largest magnitude is √(66·ln 2) ≈ 6.76.
pub fn normal(block: [u32; 4]) -> [f64; 4] {
    let pair = |u: u32, v: u32| {
        let radius = (-2.0 * uniform(u).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * uniform(v)).sin_cos();
        (radius * cos, radius * sin)
    };
    let (a, b) = pair(block[0], block[1]);
    let (c, d) = pair(block[2], block[3]);
    [a, b, c, d]
}

/// Two words as an integer from −131,070 to 131,070 whose distribution is a bell: the sum of their four
/// 16-bit halves about its mean. Its standard deviation is 65536/√3 (to 9 digits), and it needs no
/// transcendental function, so that every device gives the same bits.
pub const fn bell(words: [u32; 2]) -> i32 {
    const fn halves(word: u32) -> i32 {
        (word & 0xffff) as i32 + (word >> 16) as i32
    }
    halves(words[0]) + halves(words[1]) - 131_070
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_known_answers_come_out() {
        // kat_vectors of the Random123 distribution, "philox4x32 10".
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        for (counter, key, answer) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ] {
            assert_eq!(philox4x32_10(counter, key), answer);
        }
    }

    #[test]
    fn every_argument_changes_the_block() {
        let base = draw(7, Purpose::Init, 1 << 40, 3);
        assert_ne!(base, draw(7 + (1 << 32), Purpose::Init, 1 << 40, 3));
        assert_ne!(base, draw(7, Purpose::Sample, 1 << 40, 3));
        assert_ne!(base, draw(7, Purpose::Init, 1 << 41, 3));
        assert_ne!(base, draw(7, Purpose::Init, 1 << 40, 4));
        assert_eq!(base, draw(7, Purpose::Init, 1 << 40, 3));
    }

    #[test]
    fn uniform_stays_strictly_between_zero_and_one() {
        assert!(uniform(0) > 0.0 && uniform(u32::MAX) < 1.0);
    }

    #[test]
    fn bell_is_symmetric_and_of_the_spread_it_states() {
        assert_eq!((bell([0; 2]), bell([u32::MAX; 2])), (-131_070, 131_070));
        assert_eq!(bell([0x0001_7fff, 0x8000_fffd]), 0x1 + 0x7fff + 0x8000 + 0xfffd - 131_070);
        let n = 100_000u32;
        let values = (0..n / 2).flat_map(|index| {
            let block = draw(3, Purpose::Fill, 0, index);
            [bell([block[0], block[1]]), bell([block[2], block[3]])]
        });
        let (mut sum, mut squares) = (0.0, 0.0);
        for value in values.map(f64::from) {
            sum += value;
            squares += value * value;
        }
        let unit = 65536.0 / 3f64.sqrt();
        // Five standard errors of each estimate.
        assert!((sum / f64::from(n) / unit).abs() < 5.0 / f64::from(n).sqrt());
        assert!((squares / f64::from(n) / unit / unit - 1.0).abs() < 5.0 * (2.0 / f64::from(n)).sqrt());
    }

    #[test]
    fn normal_has_the_moments_of_a_standard_normal() {
        let n = 100_000u32;
        let mut sums = [0.0f64; 4];
        let mut inside = 0;
        for index in 0..n / 4 {
            for x in normal(draw(1, Purpose::Init, 0, index)) {
                for (power, sum) in sums.iter_mut().enumerate() {
                    *sum += x.powi(power as i32 + 1);
                }
                inside += u32::from(x.abs() < 1.0);
            }
        }
        let moments = sums.map(|s| s / n as f64);
        // Five standard errors of each estimate.
        for (moment, expected, spread) in
            [(moments[0], 0.0, 1.0), (moments[1], 1.0, 2.0), (moments[2], 0.0, 15.0), (moments[3], 3.0, 96.0)]
        {
            let limit = 5.0 * f64::sqrt(spread / n as f64);
            assert!((moment - expected).abs() < limit, "{moment} against {expected}");
        }
        assert!((inside as f64 / n as f64 - 0.6827).abs() < 0.008);
    }
}

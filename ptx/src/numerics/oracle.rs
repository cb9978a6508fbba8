//! The correctly rounded result by another route than `format.rs`: a binary search among a format's numbers, each
//! compared with the exact value in fixed-point integers of 4,608 bits. Slow, and without any rounding logic but
//! "which neighbour".

use std::cmp::Ordering;

use proptest::prelude::*;

use crate::Rounding;

pub const ROUNDINGS: [Rounding; 5] =
    [Rounding::Nearest, Rounding::NearestAway, Rounding::Zero, Rounding::Down, Rounding::Up];

/// The roundings of arithmetic.
pub const DIRECTED: [Rounding; 4] = [Rounding::Nearest, Rounding::Zero, Rounding::Down, Rounding::Up];

/// Exponent and fraction bits of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape(pub u32, pub u32);

pub const F16: Shape = Shape(5, 10);
pub const BF16: Shape = Shape(8, 7);
pub const TF32: Shape = Shape(8, 10);
pub const F32: Shape = Shape(8, 23);
pub const F64: Shape = Shape(11, 52);

impl Shape {
    pub fn sign(self) -> u64 {
        1 << (self.0 + self.1)
    }

    pub fn infinity(self) -> u64 {
        ((1 << self.0) - 1) << self.1
    }

    pub fn magnitude(self, bits: u64) -> u64 {
        bits & (self.sign() - 1)
    }

    pub fn finite(self, bits: u64) -> bool {
        self.magnitude(bits) < self.infinity()
    }

    /// Integer and exponent of a magnitude; the pattern of infinity counts as the next power of two.
    pub fn value(self, magnitude: u64) -> (u128, i32) {
        let bias = (1 << (self.0 - 1)) - 1;
        let (exponent, fraction) = (magnitude >> self.1, magnitude & ((1 << self.1) - 1));
        if exponent == 0 {
            (u128::from(fraction), 1 - bias - self.1 as i32)
        } else {
            (u128::from(fraction | 1 << self.1), exponent as i32 - bias - self.1 as i32)
        }
    }
}

/// A non-negative multiple of 2^-2304.
#[derive(Clone, PartialEq, Eq)]
pub struct Fixed([u64; 72]);

impl Fixed {
    pub fn new(integer: u128, exponent: i32) -> Self {
        let mut limbs = [0; 72];
        let at = (exponent + 2304) as usize;
        let (low, high) = (u128::from(integer as u64) << (at % 64), integer >> 64 << (at % 64));
        limbs[at / 64] = low as u64;
        limbs[at / 64 + 1] = (low >> 64) as u64 | high as u64;
        limbs[at / 64 + 2] = (high >> 64) as u64;
        Self(limbs)
    }

    pub fn add(&self, other: &Self) -> Self {
        let mut carry = 0;
        let mut limbs = [0; 72];
        for (i, limb) in limbs.iter_mut().enumerate() {
            let sum = u128::from(self.0[i]) + u128::from(other.0[i]) + carry;
            (*limb, carry) = (sum as u64, sum >> 64);
        }
        Self(limbs)
    }

    /// |self − other|.
    pub fn apart(&self, other: &Self) -> Self {
        let (large, small) = if self.order(other).is_lt() { (other, self) } else { (self, other) };
        let mut borrow = 0;
        let mut limbs = [0; 72];
        for (i, limb) in limbs.iter_mut().enumerate() {
            let rest = i128::from(large.0[i]) - i128::from(small.0[i]) - borrow;
            (*limb, borrow) = (rest as u64, i128::from(rest < 0));
        }
        Self(limbs)
    }

    pub fn order(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }

    pub fn is_zero(&self) -> bool {
        self.0 == [0; 72]
    }
}

/// The number of `shape` that a positive exact magnitude rounds to, with its sign. `order` compares the candidate
/// integer × 2^exponent with the exact magnitude.
pub fn round(shape: Shape, negative: bool, rounding: Rounding, order: impl Fn(u128, i32) -> Ordering) -> u64 {
    let compare = |magnitude| {
        let (integer, exponent) = shape.value(magnitude);
        order(integer, exponent)
    };
    // The largest pattern that is not above the exact value.
    let (mut below, mut above) = (0, shape.infinity() + 1);
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if compare(middle).is_gt() { above = middle } else { below = middle }
    }
    let overflow = below == shape.infinity();
    let exact = !overflow && compare(below).is_eq();
    let outward = match rounding {
        Rounding::Zero => false,
        Rounding::Down => negative,
        Rounding::Up => !negative,
        Rounding::Nearest | Rounding::NearestAway => {
            let (integer, exponent) = shape.value(below);
            match order(2 * integer + 1, exponent - 1) {
                Ordering::Less => true,
                Ordering::Greater => false,
                Ordering::Equal => rounding == Rounding::NearestAway || below % 2 == 1,
            }
        }
    };
    let magnitude = match (overflow, exact) {
        (true, _) if outward || matches!(rounding, Rounding::Nearest | Rounding::NearestAway) => below,
        (true, _) => below - 1,
        (_, true) => below,
        _ => below + u64::from(outward),
    };
    if negative { shape.sign() | magnitude } else { magnitude }
}

/// [`round`] of a fixed-point magnitude.
pub fn round_fixed(shape: Shape, negative: bool, rounding: Rounding, exact: &Fixed) -> u64 {
    round(shape, negative, rounding, |integer, exponent| Fixed::new(integer, exponent).order(exact))
}

/// Patterns of a format: any bits, numbers of like size, and the ends of every range.
pub fn patterns(shape: Shape) -> impl Strategy<Value = u64> {
    let Shape(exponent_bits, fraction_bits) = shape;
    let middle = 1u64 << (exponent_bits - 1);
    let signed = move |(negative, magnitude): (bool, u64)| {
        if negative { magnitude | shape.sign() } else { magnitude }
    };
    let near =
        (any::<bool>(), middle - 4..middle + 4, any::<u64>()).prop_map(move |(negative, exponent, bits)| {
            // Runs of zeros and ones make ties and carries.
            let fraction = if bits & 3 == 0 { u64::MAX << (bits >> 8 & 63) } else { bits >> 2 };
            signed((negative, exponent << fraction_bits | fraction & ((1 << fraction_bits) - 1)))
        });
    let least_normal = 1 << fraction_bits;
    let ends = prop::sample::select(vec![
        0,
        1,
        2,
        least_normal - 1,
        least_normal,
        least_normal + 1,
        (middle - 1) << fraction_bits,
        shape.infinity() - 1,
        shape.infinity(),
        shape.infinity() + 1,
        shape.sign() - 1,
    ]);
    prop_oneof![
        4 => any::<u64>().prop_map(move |bits| bits & (shape.sign() | (shape.sign() - 1))),
        4 => near,
        2 => (any::<bool>(), ends).prop_map(signed),
    ]
}

//! Residues: the value of a rational function at a random point modulo a prime, exact and quick.
//!
//! Two rational functions that agree at random points modulo 61-bit primes are equal, but for a chance of about
//! degree / 2⁶¹ a point (Schwartz 1980, Zippel 1979). Numbers too long to write down are compared in the same way.

use crate::fuel::{Fuel, Stop};
use crate::node::{Constant, Function, Node};
use dashu_int::{IBig, Sign, UBig};
use dashu_ratio::RBig;

/// Three primes below 2⁶¹.
pub(crate) const PRIMES: [u64; 3] =
    [2_305_843_009_213_693_951, 2_305_843_009_213_693_921, 2_305_843_009_213_693_907];

/// Longest factorial that is multiplied out.
const FACTORIAL: u64 = 20_000;

/// A point: the prime, and a seed from which each symbol draws its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub prime: u64,
    pub seed: u64,
}

/// The residue at a point; `None` where the node is no rational function or has a pole there.
pub(crate) fn residue(node: &Node, point: Point, fuel: &Fuel) -> Result<Option<u64>, Stop> {
    match value(node, point, fuel) {
        Ok(value) => Ok(Some(value)),
        Err(None) => Ok(None),
        Err(Some(stop)) => Err(stop),
    }
}

type Residue = Result<u64, Option<Stop>>;

fn value(node: &Node, point: Point, fuel: &Fuel) -> Residue {
    fuel.spend(2).map_err(Some)?;
    let p = point.prime;
    Ok(match node {
        Node::Number(n) | Node::Decimal(n, _) => rational(n, p)?,
        Node::Symbol(name) => draw(name, point),
        // As if they were letters: what is equal then is equal; what is not may be.
        Node::Constant(Constant::Pi) => draw("\\pi", point),
        Node::Constant(Constant::Euler) => draw("\\e", point),
        Node::Add(list) => {
            let mut sum = 0;
            for term in list {
                sum = (sum + value(term, point, fuel)?) % p;
            }
            sum
        }
        Node::Mul(list) => {
            let mut product = 1;
            for factor in list {
                product = multiply(product, value(factor, point, fuel)?, p);
            }
            product
        }
        Node::Negate(a) => (p - value(a, point, fuel)?) % p,
        Node::Degrees(a) => value(a, point, fuel)?,
        Node::Percent(a) => multiply(value(a, point, fuel)?, inverse(100, p)?, p),
        Node::Divide(a, b) => multiply(value(a, point, fuel)?, inverse(value(b, point, fuel)?, p)?, p),
        Node::Power(a, b) => {
            let base = value(a, point, fuel)?;
            let (negative, exponent) = exponent(b, p - 1, fuel)?;
            fuel.spend(100).map_err(Some)?;
            let power = pow(base, exponent, p);
            if negative { inverse(power, p)? } else { power }
        }
        Node::Apply(Function::Factorial, list) => {
            let n = list.first().map(|n| small(n, fuel)).ok_or(None)??;
            if n > FACTORIAL {
                return Err(None);
            }
            fuel.spend(n).map_err(Some)?;
            (1..=n).fold(1, |product, i| multiply(product, i, p))
        }
        Node::Apply(Function::Binomial, list) => {
            let [n, k] = &list[..] else { return Err(None) };
            let (n, k) = (value(n, point, fuel)?, small(k, fuel)?);
            if k > FACTORIAL {
                return Err(None);
            }
            fuel.spend(k * 20).map_err(Some)?;
            let mut product = 1;
            for i in 0..k {
                product = multiply(product, (n + p - i % p) % p, p);
                product = multiply(product, inverse(i + 1, p)?, p);
            }
            product
        }
        _ => return Err(None),
    })
}

/// An exponent that is an integer: its sign, and its magnitude modulo p − 1 (Fermat). A base of 0 would need more,
/// but 0 to a positive power is 0 whatever the exponent's residue, and exponents that are 0 modulo p − 1 without
/// being 0 do not fit into an answer.
fn exponent(node: &Node, order: u64, fuel: &Fuel) -> Result<(bool, u64), Option<Stop>> {
    let Some(value) = crate::exact::exact(node, fuel)? else { return Err(None) };
    if !value.is_int() {
        return Err(None);
    }
    let (sign, magnitude) = value.numerator().clone().into_parts();
    Ok((sign == Sign::Negative, reduce(&magnitude, order)))
}

fn small(node: &Node, fuel: &Fuel) -> Residue {
    let value = crate::exact::exact(node, fuel)?.ok_or(None)?;
    if value.is_int() { u64::try_from(value.numerator().clone()).map_err(|_| None) } else { Err(None) }
}

fn reduce(value: &UBig, modulus: u64) -> u64 {
    u64::try_from(value % UBig::from(modulus)).unwrap_or(0)
}

fn rational(value: &RBig, p: u64) -> Residue {
    let (sign, numerator) = IBig::into_parts(value.numerator().clone());
    let quotient = multiply(reduce(&numerator, p), inverse(reduce(value.denominator(), p), p)?, p);
    Ok(if sign == Sign::Negative { (p - quotient) % p } else { quotient })
}

fn multiply(a: u64, b: u64, p: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(p)) as u64
}

fn pow(mut base: u64, mut exponent: u64, p: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = multiply(result, base, p);
        }
        base = multiply(base, base, p);
        exponent >>= 1;
    }
    result
}

fn inverse(value: u64, p: u64) -> Residue {
    if value == 0 { Err(None) } else { Ok(pow(value, p - 2, p)) }
}

/// The value of a symbol at a point: a hash of its name and the seed (FNV-1a, then SplitMix64's finish).
fn draw(name: &str, point: Point) -> u64 {
    1 + mix(name, point.seed) % (point.prime - 1)
}

/// A number that depends on a name and a seed.
pub(crate) fn mix(name: &str, seed: u64) -> u64 {
    let mut z = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes() {
        z = (z ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

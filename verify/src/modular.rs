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
        Node::Divide(a, b) => {
            fuel.spend(200).map_err(Some)?;
            multiply(value(a, point, fuel)?, inverse(value(b, point, fuel)?, p)?, p)
        }
        Node::Power(a, b) => {
            if !b.symbols().is_empty() {
                return power_of_letters(a, b, point, fuel);
            }
            let base = value(a, point, fuel)?;
            let (negative, exponent) = exponent(b, p - 1, fuel)?;
            fuel.spend(300).map_err(Some)?;
            let power = pow(base, exponent, p);
            if negative { inverse(power, p)? } else { power }
        }
        Node::Apply(Function::Factorial, list) => {
            let n = list.first().map(|n| small(n, fuel)).ok_or(None)??;
            if n > FACTORIAL {
                return Err(None);
            }
            fuel.spend(4 * n).map_err(Some)?;
            (1..=n).fold(1, |product, i| multiply(product, i, p))
        }
        Node::Apply(Function::Binomial, list) => {
            let [n, k] = &list[..] else { return Err(None) };
            let (n, k) = (value(n, point, fuel)?, small(k, fuel)?);
            if k > FACTORIAL {
                return Err(None);
            }
            fuel.spend(200 + 8 * k).map_err(Some)?;
            let (mut above, mut below) = (1, 1);
            for i in 0..k {
                above = multiply(above, (n + p - i % p) % p, p);
                below = multiply(below, i + 1, p);
            }
            multiply(above, inverse(below, p)?, p)
        }
        _ => return Err(None),
    })
}

/// Whether residues of a node tell that it is the same as another, but not that it is not: π, e and powers with letters in
/// the exponent stand for letters of their own.
pub(crate) fn one_sided(node: &Node) -> bool {
    node.any(&|n| match n {
        Node::Constant(_) => true,
        Node::Power(_, exponent) => !exponent.symbols().is_empty(),
        _ => false,
    })
}

/// b^(k + cm + …) as b^k · (b^m)^c · …, where b^m is a letter of its own for each prime factor of b and each product m of
/// letters. What follows from these laws of powers is true of all positive b, and of any b where c is an integer.
fn power_of_letters(base: &Node, exponent: &Node, point: Point, fuel: &Fuel) -> Residue {
    let p = point.prime;
    let mut terms = Vec::new();
    summands(exponent, &RBig::ONE, &mut terms, fuel)?;
    let factors: Vec<(String, u64, i64)> = match base {
        Node::Symbol(name) => vec![(name.clone(), draw(name, point), 1)],
        Node::Constant(Constant::Euler) => vec![("\\e".into(), draw("\\e", point), 1)],
        Node::Number(n) if n.is_int() => {
            let n = u64::try_from(n.numerator().clone()).map_err(|_| None)?;
            primes(n)?.into_iter().map(|(prime, times)| (prime.to_string(), prime, times)).collect()
        }
        _ => return Err(None),
    };
    let mut product = 1;
    for (letters, coefficient) in &terms {
        let denominator = coefficient.denominator().to_string();
        let numerator = i64::try_from(coefficient.numerator().clone()).map_err(|_| None)?;
        if letters.is_empty() && denominator != "1" {
            return Err(None);
        }
        for (name, value, times) in &factors {
            fuel.spend(500).map_err(Some)?;
            let of = if letters.is_empty() {
                *value
            } else {
                draw(&format!("{name}^{letters}/{denominator}"), point)
            };
            let times = numerator.checked_mul(*times).ok_or(None)?;
            let power = pow(of, times.unsigned_abs(), p);
            product = multiply(product, if times < 0 { inverse(power, p)? } else { power }, p);
        }
    }
    Ok(product)
}

/// The summands of an exponent: products of letters with their coefficients; the constant one has no letters.
fn summands(
    node: &Node,
    scale: &RBig,
    terms: &mut Vec<(String, RBig)>,
    fuel: &Fuel,
) -> Result<(), Option<Stop>> {
    fuel.spend(20).map_err(Some)?;
    if node.symbols().is_empty() {
        let value = crate::exact::exact(node, fuel)?.ok_or(None)?;
        terms.push((String::new(), value * scale));
        return Ok(());
    }
    match node {
        Node::Add(list) => list.iter().try_for_each(|term| summands(term, scale, terms, fuel)),
        Node::Negate(a) => summands(a, &-scale.clone(), terms, fuel),
        Node::Divide(a, b) if b.symbols().is_empty() => {
            let divisor = crate::exact::exact(b, fuel)?.filter(|b| !b.is_zero()).ok_or(None)?;
            summands(a, &(scale / divisor), terms, fuel)
        }
        Node::Symbol(name) => {
            terms.push((name.clone(), scale.clone()));
            Ok(())
        }
        Node::Mul(list) => {
            let (mut scale, mut letters) = (scale.clone(), Vec::new());
            for factor in list {
                match factor {
                    Node::Symbol(name) => letters.push(name.as_str()),
                    factor => scale *= crate::exact::exact(factor, fuel)?.ok_or(None)?,
                }
            }
            letters.sort_unstable();
            terms.push((letters.join(" "), scale));
            Ok(())
        }
        _ => Err(None),
    }
}

/// The prime factors of a small number above 0, and how often each occurs.
fn primes(mut n: u64) -> Result<Vec<(u64, i64)>, Option<Stop>> {
    if n == 0 || n > 1_000_000 {
        return Err(None);
    }
    let mut factors: Vec<(u64, i64)> = Vec::new();
    let mut prime = 2;
    while n > 1 {
        if prime * prime > n {
            prime = n;
        }
        if n.is_multiple_of(prime) {
            n /= prime;
            match factors.last_mut() {
                Some((last, times)) if *last == prime => *times += 1,
                _ => factors.push((prime, 1)),
            }
        } else {
            prime += 1;
        }
    }
    Ok(factors)
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

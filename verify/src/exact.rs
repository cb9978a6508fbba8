//! The exact value of a node, where it is a rational number that is not too long.

use crate::fuel::{Fuel, Stop};
use crate::node::{Function, Node};
use dashu_int::ops::{BitTest, Gcd};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// Longest numerator or denominator, in bits. What is longer is compared by residues.
const LONGEST: usize = 4096;

/// The value of a node, or `None` where it is not rational or too long.
pub(crate) fn exact(node: &Node, fuel: &Fuel) -> Result<Option<RBig>, Stop> {
    Ok(match value(node, fuel) {
        Ok(value) => Some(value),
        Err(Some(stop)) => return Err(stop),
        Err(None) => None,
    })
}

/// `Err(None)`: not rational, undefined or too long.
type Value = Result<RBig, Option<Stop>>;

fn short(value: RBig, fuel: &Fuel) -> Value {
    let bits = value.numerator().bit_len() + value.denominator().bit_len();
    fuel.spend(4 + bits as u64 / 16).map_err(Some)?;
    if bits > LONGEST { Err(None) } else { Ok(value) }
}

fn value(node: &Node, fuel: &Fuel) -> Value {
    let all = |list: &[Node]| list.iter().map(|n| value(n, fuel)).collect::<Result<Vec<_>, _>>();
    let result = match node {
        Node::Number(n) | Node::Decimal(n, _) => n.clone(),
        Node::Add(list) => {
            let mut sum = RBig::ZERO;
            for term in list {
                sum = short(sum + value(term, fuel)?, fuel)?;
            }
            sum
        }
        Node::Mul(list) => {
            let mut product = RBig::ONE;
            for factor in list {
                product = short(product * value(factor, fuel)?, fuel)?;
            }
            product
        }
        Node::Negate(a) => -value(a, fuel)?,
        Node::Degrees(a) => value(a, fuel)?,
        Node::Percent(a) => value(a, fuel)? / RBig::from(100),
        Node::Divide(a, b) => {
            let (a, b) = (value(a, fuel)?, value(b, fuel)?);
            if b.is_zero() {
                return Err(None);
            }
            a / b
        }
        Node::Power(a, b) => power(value(a, fuel)?, value(b, fuel)?)?,
        Node::Apply(function, list) => apply(*function, all(list)?, fuel)?,
        _ => return Err(None),
    };
    short(result, fuel)
}

fn integer(value: &RBig) -> Option<IBig> {
    value.is_int().then(|| value.numerator().clone())
}

/// A small integer.
fn small(value: &RBig) -> Result<i64, Option<Stop>> {
    integer(value).and_then(|n| i64::try_from(n).ok()).ok_or(None)
}

fn power(base: RBig, exponent: RBig) -> Value {
    if exponent.is_int() {
        if base.is_zero() {
            return if exponent > RBig::ZERO { Ok(RBig::ZERO) } else { Err(None) };
        }
        if base == RBig::ONE {
            return Ok(base);
        }
        let exponent = small(&exponent)?;
        let bits = base.numerator().bit_len().max(base.denominator().bit_len()) as u64;
        if exponent.unsigned_abs().saturating_mul(bits) > LONGEST as u64 {
            return Err(None);
        }
        return Ok(base.pow(exponent as isize));
    }
    // A root that comes out even: 8^(2/3).
    let index = i64::try_from(exponent.denominator().clone()).map_err(|_| None)?;
    let whole = RBig::from(exponent.numerator().clone());
    power(root(base, index)?, whole)
}

/// The real root, where it is rational.
fn root(radicand: RBig, index: i64) -> Value {
    if !(2..=64).contains(&index) {
        return if index == 1 { Ok(radicand) } else { Err(None) };
    }
    let negative = radicand < RBig::ZERO;
    if negative && index % 2 == 0 {
        return Err(None);
    }
    let (numerator, denominator) = radicand.into_parts();
    let exact = |n: UBig| -> Result<UBig, Option<Stop>> {
        let root = n.nth_root(index as usize);
        if root.pow(index as usize) == n { Ok(root) } else { Err(None) }
    };
    let (_, magnitude) = numerator.into_parts();
    let (numerator, denominator) = (IBig::from(exact(magnitude)?), exact(denominator)?);
    Ok(RBig::from_parts(if negative { -numerator } else { numerator }, denominator))
}

fn apply(function: Function, list: Vec<RBig>, fuel: &Fuel) -> Value {
    let first = list.first().ok_or(None)?.clone();
    let second = || list.get(1).ok_or(None);
    Ok(match function {
        Function::Abs => {
            if first < RBig::ZERO {
                -first
            } else {
                first
            }
        }
        Function::Root => root(first, small(second()?)?)?,
        Function::Floor => RBig::from(first.floor()),
        Function::Ceil => RBig::from(first.ceil()),
        Function::Factorial => {
            let n = small(&first)?;
            if !(0..=600).contains(&n) {
                return Err(None);
            }
            fuel.spend(n as u64 * 10).map_err(Some)?;
            RBig::from((1..=n as u64).map(UBig::from).product::<UBig>())
        }
        Function::Binomial => {
            let (n, k) = (small(&first)?, small(second()?)?);
            if !(0..=600).contains(&n) || k < 0 {
                return Err(None);
            }
            if k > n {
                return Ok(RBig::ZERO);
            }
            let k = k.min(n - k) as u64;
            fuel.spend(k * 20).map_err(Some)?;
            let mut value = UBig::ONE;
            for i in 0..k {
                value = value * UBig::from(n as u64 - i) / UBig::from(i + 1);
            }
            RBig::from(value)
        }
        Function::Min => list.into_iter().min().ok_or(None)?,
        Function::Max => list.into_iter().max().ok_or(None)?,
        Function::Gcd | Function::Lcm => {
            let mut whole = list.iter().map(|v| integer(v).map(|n| n.into_parts().1).ok_or(None));
            let first = whole.next().ok_or(None)??;
            let combine = |a: UBig, b: UBig| match function {
                _ if a.is_zero() && b.is_zero() => a,
                Function::Gcd => a.gcd(b),
                _ => {
                    let common = (&a).gcd(&b);
                    a / common * b
                }
            };
            RBig::from(whole.try_fold(first, |a, b| b.map(|b| combine(a, b)))?)
        }
        // A logarithm of a power: log_2 8.
        Function::Log => {
            let base = second()?;
            if first <= RBig::ZERO || *base <= RBig::ONE {
                return Err(None);
            }
            let inverse = first < RBig::ONE;
            let (target, mut power) = (if inverse { RBig::ONE / first } else { first }, RBig::ONE);
            let mut exponent = 0i64;
            while power < target {
                power = short(power * base.clone(), fuel)?;
                exponent += 1;
            }
            if power != target {
                return Err(None);
            }
            RBig::from(if inverse { -exponent } else { exponent })
        }
        Function::Exp if first.is_zero() => RBig::ONE,
        Function::Ln if first.is_one() => RBig::ZERO,
        _ => return Err(None),
    })
}

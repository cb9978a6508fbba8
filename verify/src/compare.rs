//! Are two parsed answers the same? The gold answer decides what is compared.

use crate::exact::exact;
use crate::fuel::{Fuel, Stop};
use crate::mode::habits::magnitude;
use crate::modular::{PRIMES, Point, one_sided, residue};
use crate::node::{Constant, Node, Relation};
use crate::parser::{Parsed, plain};
use crate::{numeric, solutions};
use dashu_ratio::RBig;

type Same = Result<bool, Stop>;

/// Elements of a set or list at most: more are not matched with one another.
const MATCHED: usize = 64;

/// What a comparison may spend, and where its rules leave a choice.
pub(crate) struct Judge<'a> {
    pub fuel: &'a Fuel,
    /// A matrix of one row or column is the tuple of its elements.
    pub vectors: bool,
    /// Numbers are compared as the package Math-Verify compares them.
    pub package: bool,
}

impl<'a> Judge<'a> {
    /// Our own rules, and no more than these.
    pub fn exact(fuel: &'a Fuel) -> Judge<'a> {
        Judge { fuel, vectors: false, package: false }
    }
}

/// Whether an answer is the gold answer.
pub(crate) fn same(gold: &Parsed, answer: &Parsed, judge: &Judge) -> Same {
    // The package drops units unread.
    if let (Some(a), Some(b)) = (gold.unit, answer.unit)
        && a != b
        && !judge.package
    {
        return Ok(false);
    }
    nodes(&gold.node, &answer.node, judge)
}

fn nodes(gold: &Node, answer: &Node, judge: &Judge) -> Same {
    judge.fuel.spend(20)?;
    if gold == answer {
        return Ok(true);
    }
    if let Some(expanded) = both_signs(gold) {
        return nodes(&expanded, answer, judge);
    }
    if let Some(expanded) = both_signs(answer) {
        return nodes(gold, &expanded, judge);
    }
    // `x = 5` says 5 where the other side names nothing.
    match (named(gold), named(answer)) {
        (Some(value), None) if !matches!(answer, Node::Chain(..)) => return nodes(value, answer, judge),
        (None, Some(value)) if !matches!(gold, Node::Chain(..)) => return nodes(gold, value, judge),
        // Of `S = a = b` the last counts.
        (Some(a), Some(b)) if gold.children().len().max(answer.children().len()) > 2 => {
            return Ok(gold.children()[0] == answer.children()[0] && nodes(a, b, judge)?);
        }
        _ => {}
    }
    if judge.package
        && let Some(verdict) = as_the_package(gold, answer, judge)?
    {
        return Ok(verdict);
    }
    if solutions::sets(gold, answer)
        && let Some(verdict) = solutions::same(gold, answer, judge)?
    {
        return Ok(verdict);
    }
    match (gold, answer) {
        (Node::Text(a), Node::Text(b)) => Ok(a == b),
        (Node::Text(text), Node::Symbol(name)) | (Node::Symbol(name), Node::Text(text)) => {
            Ok(*text == plain(name))
        }
        (Node::Set(a) | Node::List(a, _), Node::Set(b) | Node::List(b, _)) => unordered(a, b, judge),
        (Node::Set(a) | Node::List(a, _), b) if a.len() == 1 => nodes(&a[0], b, judge),
        (a, Node::Set(b) | Node::List(b, _)) if b.len() == 1 => nodes(a, &b[0], judge),
        (Node::Tuple(a), Node::Tuple(b)) => ordered(a, b, judge),
        (Node::Tuple(pair), Node::Interval { low, high, open_low: true, open_high: true })
        | (Node::Interval { low, high, open_low: true, open_high: true }, Node::Tuple(pair)) => {
            Ok(pair.len() == 2 && ends(&pair[0], low, judge)? && ends(&pair[1], high, judge)?)
        }
        (
            Node::Interval { low: a, high: b, open_low: c, open_high: d },
            Node::Interval { low: e, high: f, open_low: g, open_high: h },
        ) => Ok(c == g && d == h && ends(a, e, judge)? && ends(b, f, judge)?),
        (Node::Matrix(a), Node::Matrix(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b) {
                if !ordered(a, b, judge)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Node::Matrix(rows), Node::Tuple(list)) | (Node::Tuple(list), Node::Matrix(rows))
            if judge.vectors && (rows.len() == 1 || rows[0].len() == 1) =>
        {
            ordered(&rows.concat(), list, judge)
        }
        (Node::Ratio(a), Node::Ratio(b)) => ratios(a, b, judge),
        (Node::Chain(a, signs), Node::Chain(b, others)) => chains(a, signs, b, others, judge),
        (Node::Opaque(a, x), Node::Opaque(b, y)) => Ok(a == b && ordered(x, y, judge)?),
        // `1011_2` where the base goes without saying.
        (Node::Opaque(name, parts), Node::Number(_)) if name == "base" => Ok(parts.first() == Some(answer)),
        _ if gold.scalar() && answer.scalar() => scalars(gold, answer, judge),
        _ => Ok(false),
    }
}

/// What is named: the value of `x = …`, the last of `x = … = …`, the set of `x ∈ …`.
fn named(node: &Node) -> Option<&Node> {
    let Node::Chain(sides, signs) = node else { return None };
    let name = match sides.first()? {
        Node::Symbol(_) => true,
        Node::Tuple(list) => list.iter().all(|n| matches!(n, Node::Symbol(_))),
        // f(x) reads as a product of two letters.
        Node::Mul(list) => list.len() == 2 && list.iter().all(|n| matches!(n, Node::Symbol(_))),
        _ => false,
    };
    let equalities = signs.iter().all(|s| *s == Relation::Equal);
    let numbers = equalities && sides.iter().all(|s| s.scalar() && s.symbols().is_empty());
    let member = signs.len() == 1 && signs[0] == Relation::In;
    (name && (equalities || member) || numbers).then(|| sides.last()).flatten()
}

/// The two answers of a plus-minus, as a list.
fn both_signs(node: &Node) -> Option<Node> {
    let with = |negative: bool| {
        fn replace(node: &Node, negative: bool) -> Option<Node> {
            Some(match node {
                Node::PlusMinus(a, b) => {
                    let b = if negative { Node::Negate(b.clone()) } else { (**b).clone() };
                    Node::Add(vec![(**a).clone(), b])
                }
                Node::Mul(list) => {
                    let place = list.iter().position(|n| replace(n, negative).is_some())?;
                    let mut list = list.clone();
                    list[place] = replace(&list[place], negative)?;
                    Node::Mul(list)
                }
                Node::Divide(a, b) => Node::Divide(Box::new(replace(a, negative)?), b.clone()),
                Node::Negate(a) => Node::Negate(Box::new(replace(a, negative)?)),
                Node::Chain(sides, signs) => {
                    let mut sides = sides.clone();
                    let last = sides.last_mut()?;
                    *last = replace(last, negative)?;
                    Node::Chain(sides, signs.clone())
                }
                _ => return None,
            })
        }
        replace(node, negative)
    };
    Some(Node::List(vec![with(false)?, with(true)?], true))
}

/// Where Math-Verify goes its own ways: an inequality becomes an interval on the gold side alone, and two of them must
/// have the same difference of their sides, or its negative; numbers need fifteen digits or, with a decimal, six places.
fn as_the_package(gold: &Node, answer: &Node, judge: &Judge) -> Result<Option<bool>, Stop> {
    let inequality = |node: &Node| matches!(node, Node::Chain(_, signs) if signs.iter().any(|s| s.orders() || *s == Relation::NotEqual));
    let several = |node: &Node| matches!(node, Node::List(list, _) if list.iter().all(inequality));
    match (gold, answer) {
        (Node::Chain(a, signs), Node::Chain(b, others)) if inequality(gold) && inequality(answer) => {
            if signs == others && ordered(a, b, judge)? {
                return Ok(Some(true));
            }
            let ([left, right], [left2, right2]) = (&a[..], &b[..]) else { return Ok(Some(false)) };
            let difference =
                |l: &Node, r: &Node| Node::Add(vec![l.clone(), Node::Negate(Box::new(r.clone()))]);
            let exact = Judge::exact(judge.fuel);
            let gold = difference(left, right);
            let same = signs == others && scalars(&gold, &difference(left2, right2), &exact)?;
            let turned =
                signs[0].flipped() == others[0] && scalars(&gold, &difference(right2, left2), &exact)?;
            Ok(Some(same || turned))
        }
        (Node::List(a, _), Node::List(b, _)) if several(gold) && several(answer) => {
            unordered(a, b, judge).map(Some)
        }
        _ if several(gold) || several(answer) || inequality(answer) => Ok(Some(false)),
        (Node::Text(a), Node::Text(b)) => Ok(Some(a == b)),
        (Node::Text(text), Node::Symbol(name)) | (Node::Symbol(name), Node::Text(text)) => {
            Ok(Some(*text == name.to_lowercase()))
        }
        (Node::Text(text), number) | (number, Node::Text(text)) => Ok(Some(match number {
            Node::Number(number) => *text == number.to_string(),
            Node::Negate(number) => matches!(&**number, Node::Number(n) if *text == format!("-{n}")),
            _ => false,
        })),
        _ if gold.scalar() && answer.scalar() && gold.symbols().is_empty() && answer.symbols().is_empty() => {
            let decimals = |node: &Node| node.any(&|n| matches!(n, Node::Decimal(..)));
            let sum = |node: &Node| matches!(node, Node::Add(_));
            let sums = sum(gold) || sum(answer);
            match (numeric::double(gold, judge.fuel)?, numeric::double(answer, judge.fuel)?) {
                (Some(a), Some(b)) if decimals(gold) || decimals(answer) => {
                    Ok(Some((a * 1e6).round_ties_even() == (b * 1e6).round_ties_even()))
                }
                // What is closer is chopped, unless a sum is worked out before.
                (Some(a), Some(b)) => Ok((!sums && (a - b).abs() < 1e-15).then_some(true)),
                _ => match (magnitude(gold, judge.fuel)?, magnitude(answer, judge.fuel)?) {
                    (Some(a), Some(b)) => {
                        Ok((!sums && (a.max(b) < -50.0 || (a - b).abs() < 1e-9)).then_some(true))
                    }
                    _ => Ok(None),
                },
            }
        }
        _ => Ok(None),
    }
}

fn ordered(a: &[Node], b: &[Node], judge: &Judge) -> Same {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b) {
        if !nodes(a, b, judge)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A perfect matching of the elements (Kuhn's algorithm over the pairs that are equal).
fn unordered(a: &[Node], b: &[Node], judge: &Judge) -> Same {
    let distinct = |list: Vec<Node>| {
        let mut kept: Vec<Node> = Vec::new();
        for node in list {
            if !kept.contains(&node) {
                kept.push(node);
            }
        }
        kept
    };
    if a.len().max(b.len()) > MATCHED {
        return Ok(false);
    }
    let (a, b) = (distinct(unnamed(a, b)), distinct(unnamed(b, a)));
    if a.len() != b.len() {
        return Ok(false);
    }
    let mut equal = vec![vec![false; b.len()]; a.len()];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            equal[i][j] = nodes(x, y, judge)?;
        }
    }
    let mut partner = vec![usize::MAX; b.len()];
    for i in 0..a.len() {
        if !augment(i, &equal, &mut partner, &mut vec![false; b.len()]) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `x = 1 or x = 2` as `1 or 2` where the other list names nothing.
fn unnamed(list: &[Node], other: &[Node]) -> Vec<Node> {
    let strip = list.iter().all(|n| named(n).is_some()) && other.iter().all(|n| named(n).is_none());
    list.iter().map(|n| if strip { named(n).unwrap_or(n).clone() } else { n.clone() }).collect()
}

fn augment(i: usize, equal: &[Vec<bool>], partner: &mut [usize], seen: &mut [bool]) -> bool {
    for j in 0..partner.len() {
        if equal[i][j] && !seen[j] {
            seen[j] = true;
            if partner[j] == usize::MAX || augment(partner[j], equal, partner, seen) {
                partner[j] = i;
                return true;
            }
        }
    }
    false
}

/// Ratios are the same up to a factor; with a zero, or with something that is no number, part by part.
fn ratios(a: &[Node], b: &[Node], judge: &Judge) -> Same {
    let values = |list: &[Node]| -> Result<Option<Vec<RBig>>, Stop> {
        list.iter().map(|n| exact(n, judge.fuel)).collect::<Result<Option<Vec<_>>, Stop>>()
    };
    if let (Some(x), Some(y)) = (values(a)?, values(b)?)
        && x.len() == y.len()
        && x.iter().chain(&y).all(|v| !v.is_zero())
    {
        return Ok(x.iter().zip(&y).all(|(p, q)| p * &y[0] == q * &x[0]));
    }
    ordered(a, b, judge)
}

/// Two relations: the same one, up to a factor of the difference of its sides.
fn chains(a: &[Node], signs: &[Relation], b: &[Node], others: &[Relation], judge: &Judge) -> Same {
    if signs == others && ordered(a, b, judge)? {
        return Ok(true);
    }
    let ([left, right], [sign], [left2, right2], [sign2]) = (a, signs, b, others) else { return Ok(false) };
    let scalar = [left, right, left2, right2].iter().all(|n| n.scalar());
    if !scalar {
        return Ok(sign == sign2
            && *sign == Relation::Equal
            && nodes(left, right2, judge)?
            && nodes(right, left2, judge)?);
    }
    let difference = |l: &Node, r: &Node| Node::Add(vec![l.clone(), Node::Negate(Box::new(r.clone()))]);
    match solutions::factor(&difference(left, right), &difference(left2, right2), judge.fuel)? {
        None | Some(0) => Ok(false),
        Some(1) => Ok(sign == sign2),
        Some(_) => Ok(sign.flipped() == *sign2),
    }
}

/// The ends of an interval, which may be infinite.
pub(crate) fn ends(a: &Node, b: &Node, judge: &Judge) -> Same {
    nodes(a, b, judge)
}

/// 1 or −1 for an infinity.
pub(crate) fn infinite(node: &Node) -> Option<i32> {
    match node {
        Node::Constant(Constant::Infinity) => Some(1),
        Node::Negate(inner) => infinite(inner).map(|sign| -sign),
        _ => None,
    }
}

/// Numbers and expressions.
pub(crate) fn scalars(gold: &Node, answer: &Node, judge: &Judge) -> Same {
    if let (Some(a), Some(b)) = (infinite(gold), infinite(answer)) {
        return Ok(a == b);
    }
    let infinity = |node: &Node| node.any(&|n| *n == Node::Constant(Constant::Infinity));
    if infinity(gold) || infinity(answer) {
        return Ok(false);
    }
    let symbols = !gold.symbols().is_empty() || !answer.symbols().is_empty();
    if !symbols && let (Some(a), Some(b)) = (exact(gold, judge.fuel)?, exact(answer, judge.fuel)?) {
        return Ok(a == b || rounded(gold, answer, &a, &b));
    }
    if let Some(verdict) = residues(gold, answer, judge.fuel)? {
        return Ok(verdict);
    }
    if !symbols && decimal(answer) | decimal(gold) && closed_form_rounded(gold, answer, judge.fuel)? {
        return Ok(true);
    }
    Ok(numeric::same(gold, answer, judge.fuel)?.unwrap_or(false))
}

/// Rational functions and numbers too long to write down, by their residues. With π, e or letters in
/// exponents only that they are the same can be told.
fn residues(a: &Node, b: &Node, fuel: &Fuel) -> Result<Option<bool>, Stop> {
    let mut agreed = 0;
    for (seed, &prime) in PRIMES.iter().cycle().take(12).enumerate() {
        let point = Point { prime, seed: seed as u64 };
        let (Some(x), Some(y)) = (residue(a, point, fuel)?, residue(b, point, fuel)?) else {
            // No rational function, or a pole: two chances for the latter.
            if seed > agreed + 1 {
                return Ok(None);
            }
            continue;
        };
        if x != y {
            return Ok(if one_sided(a) || one_sided(b) { None } else { Some(false) });
        }
        agreed += 1;
        if agreed == 8 {
            return Ok(Some(true));
        }
    }
    Ok(None)
}

/// Whether a node is a decimal literal.
pub(crate) fn decimal(node: &Node) -> bool {
    matches!(node, Node::Decimal(..)) || matches!(node, Node::Negate(inner) if decimal(inner))
}

fn places(node: &Node) -> Option<u32> {
    match node {
        Node::Decimal(_, places) => Some(*places),
        Node::Negate(inner) => places(inner),
        _ => None,
    }
}

/// A gold decimal of at least two places and three digits is taken for a rounded value; a decimal answer must come
/// within a millionth of an exact gold and be right in all the digits it shows.
fn rounded(gold: &Node, answer: &Node, a: &RBig, b: &RBig) -> bool {
    let distance = if a > b { a - b } else { b - a };
    let size = if *a < RBig::ZERO { -a.clone() } else { a.clone() };
    if let Some(places) = places(gold) {
        let unit = RBig::ONE / RBig::from(10).pow(places as isize);
        let digits = size.clone() / &unit >= RBig::from(100);
        // More digits than gold shows: what is shown must be their rounding. Fewer digits are too few.
        let finer = self::places(answer).is_none_or(|p| p >= places);
        return places >= 2 && digits && finer && distance * RBig::from(2) <= unit;
    }
    self::places(answer).is_some_and(|places| {
        let unit = RBig::ONE / RBig::from(10).pow(places as isize);
        distance < unit && distance * RBig::from(1_000_000) <= size
    })
}

/// A decimal beside a closed form: √2 and 1.41421356.
fn closed_form_rounded(gold: &Node, answer: &Node, fuel: &Fuel) -> Same {
    let (Some(a), Some(b)) = (numeric::double(gold, fuel)?, numeric::double(answer, fuel)?) else {
        return Ok(false);
    };
    if let Some(places) = places(gold) {
        let unit = 10f64.powi(-(places.min(300) as i32));
        return Ok(places >= 2 && a.abs() >= 100.0 * unit && (a - b).abs() <= 0.5 * unit * (1.0 + 1e-9));
    }
    let unit = 10f64.powi(-(places(answer).unwrap_or(0).min(300) as i32));
    Ok((a - b).abs() <= unit && (a - b).abs() <= 1e-6 * a.abs())
}

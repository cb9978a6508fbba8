//! Sets of real numbers: intervals, unions, and the solutions of inequalities in one variable.

use crate::compare::{Judge, infinite, scalars};
use crate::exact::exact;
use crate::fuel::{Fuel, Stop};
use crate::modular::{PRIMES, Point, residue};
use crate::node::{Node, Relation};
use crate::numeric::{self, Place};
use dashu_ratio::RBig;
use std::cmp::Ordering;

/// One end of a piece; `None` is infinite.
#[derive(Clone, Debug)]
struct End {
    value: Option<Node>,
    /// Where it lies, for sorting: rounded, so that two ways to write one number lie at one place.
    at: f64,
    open: bool,
}

/// A piece of the real line.
#[derive(Clone, Debug)]
struct Piece {
    low: End,
    high: End,
}

/// Whether two answers are to be compared as sets of real numbers: neither is a plain number, list or tuple, and at
/// least one is a set or an inequality.
pub(crate) fn sets(gold: &Node, answer: &Node) -> bool {
    let set = |node: &Node| match node {
        Node::Interval { .. }
        | Node::Union(_)
        | Node::Intersection(_)
        | Node::Difference(..)
        | Node::NamedSet(_) => true,
        Node::Chain(_, signs) => signs.iter().any(|s| s.orders() || *s == Relation::NotEqual),
        Node::List(list, _) => {
            list.iter().all(|n| matches!(n, Node::Chain(_, s) if s.iter().any(|s| s.orders())))
        }
        _ => false,
    };
    let pair = |node: &Node| matches!(node, Node::Tuple(list) if list.len() == 2);
    let points = |node: &Node| matches!(node, Node::Set(_));
    (set(gold) && (set(answer) || pair(answer) || points(answer)))
        || (set(answer) && (pair(gold) || points(gold)))
}

/// Whether they are the same set; `None` where one of them is beyond this module.
pub(crate) fn same(gold: &Node, answer: &Node, judge: &Judge) -> Result<Option<bool>, Stop> {
    let (Some(a), Some(b)) = (pieces(gold, judge.fuel)?, pieces(answer, judge.fuel)?) else {
        return Ok(None);
    };
    let (a, b) = (merged(a), merged(b));
    if a.len() != b.len() {
        return Ok(Some(false));
    }
    for (a, b) in a.iter().zip(&b) {
        if !(end(&a.low, &b.low, judge)? && end(&a.high, &b.high, judge)?) {
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}

fn end(a: &End, b: &End, judge: &Judge) -> Result<bool, Stop> {
    match (&a.value, &b.value) {
        (None, None) => Ok(a.at == b.at),
        (Some(x), Some(y)) => Ok(a.open == b.open && scalars(x, y, judge)?),
        _ => Ok(false),
    }
}

fn everything() -> Piece {
    Piece { low: far(f64::NEG_INFINITY), high: far(f64::INFINITY) }
}

fn far(at: f64) -> End {
    End { value: None, at, open: true }
}

type Pieces = Result<Option<Vec<Piece>>, Stop>;

fn pieces(node: &Node, fuel: &Fuel) -> Pieces {
    fuel.spend(30)?;
    match node {
        Node::Interval { low, high, open_low, open_high } => {
            let (Some(low), Some(high)) = (limit(low, *open_low, fuel)?, limit(high, *open_high, fuel)?)
            else {
                return Ok(None);
            };
            Ok(Some(vec![Piece { low, high }]))
        }
        Node::Tuple(pair) if pair.len() == 2 => {
            let (Some(low), Some(high)) = (limit(&pair[0], true, fuel)?, limit(&pair[1], true, fuel)?) else {
                return Ok(None);
            };
            Ok(Some(vec![Piece { low, high }]))
        }
        Node::Set(points) => {
            let mut list = Vec::new();
            for point in points {
                let Some(end) = limit(point, false, fuel)? else { return Ok(None) };
                list.push(Piece { low: end.clone(), high: end });
            }
            Ok(Some(list))
        }
        Node::NamedSet('R') => Ok(Some(vec![everything()])),
        Node::NamedSet('∅') => Ok(Some(Vec::new())),
        Node::Union(list) => {
            let mut all = Vec::new();
            for part in list {
                let Some(pieces) = pieces(part, fuel)? else { return Ok(None) };
                all.extend(pieces);
            }
            Ok(Some(all))
        }
        Node::Intersection(list) => {
            let mut all = vec![everything()];
            for part in list {
                let Some(pieces) = pieces(part, fuel)? else { return Ok(None) };
                all = intersection(&all, &pieces);
            }
            Ok(Some(all))
        }
        Node::Difference(a, b) => {
            let (Some(a), Some(b)) = (pieces(a, fuel)?, pieces(b, fuel)?) else { return Ok(None) };
            Ok(Some(intersection(&a, &complement(b))))
        }
        Node::Chain(sides, signs) => chain(sides, signs, fuel),
        Node::List(list, or) => {
            let mut all = if *or { Vec::new() } else { vec![everything()] };
            for part in list {
                let Some(pieces) = pieces(part, fuel)? else { return Ok(None) };
                all = if *or { [all, pieces].concat() } else { intersection(&all, &pieces) };
            }
            Ok(Some(all))
        }
        _ => Ok(None),
    }
}

fn limit(node: &Node, open: bool, fuel: &Fuel) -> Result<Option<End>, Stop> {
    if let Some(sign) = infinite(node) {
        return Ok(Some(far(f64::from(sign) * f64::INFINITY)));
    }
    if !node.scalar() || !node.symbols().is_empty() {
        return Ok(None);
    }
    let at = numeric::double(node, fuel)?;
    Ok(at.map(|at| End { value: Some(node.clone()), at: rounded(at), open }))
}

/// To 34 bits behind the first.
fn rounded(at: f64) -> f64 {
    const DROPPED: u32 = 18;
    f64::from_bits((at.to_bits() + (1 << (DROPPED - 1))) & !((1 << DROPPED) - 1))
}

/// Pieces in ascending order, those that meet joined, empty ones dropped.
fn merged(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.retain(|p| p.low.at < p.high.at || (p.low.at == p.high.at && !p.low.open && !p.high.open));
    pieces.sort_by(|a, b| order(&a.low, &b.low, false));
    let mut result: Vec<Piece> = Vec::new();
    for piece in pieces {
        match result.last_mut() {
            Some(last)
                if piece.low.at < last.high.at
                    || (piece.low.at == last.high.at && !(piece.low.open && last.high.open)) =>
            {
                if order(&last.high, &piece.high, true).is_lt() {
                    last.high = piece.high;
                }
            }
            _ => result.push(piece),
        }
    }
    result
}

/// Order of two lower ends, or of two upper ones.
fn order(a: &End, b: &End, upper: bool) -> Ordering {
    a.at.total_cmp(&b.at).then(if upper { b.open.cmp(&a.open) } else { a.open.cmp(&b.open) })
}

fn intersection(a: &[Piece], b: &[Piece]) -> Vec<Piece> {
    let mut all = Vec::new();
    for x in a {
        for y in b {
            let low = if order(&x.low, &y.low, false).is_ge() { &x.low } else { &y.low };
            let high = if order(&x.high, &y.high, true).is_le() { &x.high } else { &y.high };
            all.push(Piece { low: low.clone(), high: high.clone() });
        }
    }
    merged(all)
}

fn complement(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut low = far(f64::NEG_INFINITY);
    for piece in merged(pieces) {
        let high = End { open: !piece.low.open, ..piece.low.clone() };
        if piece.low.value.is_some() {
            all.push(Piece { low: low.clone(), high });
        }
        low = End { open: !piece.high.open, ..piece.high };
    }
    if low.value.is_some() || low.at < 0.0 {
        all.push(Piece { low, high: far(f64::INFINITY) });
    }
    all
}

/// The solutions of a chain of inequalities in one variable, each of them linear.
fn chain(sides: &[Node], signs: &[Relation], fuel: &Fuel) -> Pieces {
    if let ([_, set], [Relation::In]) = (sides, signs) {
        return pieces(set, fuel);
    }
    let mut names: Vec<&str> = sides.iter().flat_map(Node::symbols).collect();
    names.sort_unstable();
    names.dedup();
    let [name] = names[..] else { return Ok(None) };
    let mut all = vec![everything()];
    for (pair, sign) in sides.windows(2).zip(signs) {
        let difference = Node::Add(vec![pair[0].clone(), Node::Negate(Box::new(pair[1].clone()))]);
        if infinite(&pair[0]).is_some() || infinite(&pair[1]).is_some() {
            continue;
        }
        let Some(solutions) = linear(&difference, name, *sign, fuel)? else { return Ok(None) };
        all = intersection(&all, &solutions);
    }
    Ok(Some(all))
}

/// The solutions of `difference sign 0`, where the difference is a·x + b: from its values at 0, 1 and 2, or, where
/// these are not rational, where the variable stands alone.
fn linear(difference: &Node, name: &str, sign: Relation, fuel: &Fuel) -> Pieces {
    let at = |x: i64| exact(&substitute(difference, name, &Node::integer(x)), fuel);
    let (bound, rising) = match (at(0)?, at(1)?, at(2)?) {
        (Some(zero), Some(one), Some(two)) => {
            let slope = &one - &zero;
            if slope.is_zero() || &two - &one != slope {
                return Ok(None);
            }
            let rising = slope > RBig::ZERO;
            (Node::Number(-zero / slope), rising)
        }
        _ => match alone(difference, name) {
            Some(bound) => bound,
            None => return Ok(None),
        },
    };
    let sign = if rising { sign } else { sign.flipped() };
    let Some(open) = limit(&bound, true, fuel)? else { return Ok(None) };
    let closed = End { open: false, ..open.clone() };
    let (below, above) = (far(f64::NEG_INFINITY), far(f64::INFINITY));
    Ok(Some(match sign {
        Relation::Less => vec![Piece { low: below, high: open }],
        Relation::LessEqual => vec![Piece { low: below, high: closed }],
        Relation::Greater => vec![Piece { low: open, high: above }],
        Relation::GreaterEqual => vec![Piece { low: closed, high: above }],
        Relation::Equal => vec![Piece { low: closed.clone(), high: closed }],
        Relation::NotEqual => {
            vec![Piece { low: below, high: open.clone() }, Piece { low: open, high: above }]
        }
        Relation::In => return Ok(None),
    }))
}

/// x − b or b − x, b without x: the bound, and whether the difference rises.
fn alone(difference: &Node, name: &str) -> Option<(Node, bool)> {
    let Node::Add(terms) = difference else { return None };
    let [left, Node::Negate(right)] = &terms[..] else { return None };
    let variable = |node: &Node| *node == Node::Symbol(name.to_owned());
    match (variable(left), variable(right)) {
        (true, false) if right.symbols().is_empty() => Some(((**right).clone(), true)),
        (false, true) if left.symbols().is_empty() => Some((left.clone(), false)),
        _ => None,
    }
}

fn substitute(node: &Node, name: &str, value: &Node) -> Node {
    let each = |list: &[Node]| list.iter().map(|n| substitute(n, name, value)).collect();
    let boxed = |n: &Node| Box::new(substitute(n, name, value));
    match node {
        Node::Symbol(symbol) if symbol == name => value.clone(),
        Node::Add(list) => Node::Add(each(list)),
        Node::Mul(list) => Node::Mul(each(list)),
        Node::Negate(a) => Node::Negate(boxed(a)),
        Node::Divide(a, b) => Node::Divide(boxed(a), boxed(b)),
        Node::Power(a, b) => Node::Power(boxed(a), boxed(b)),
        Node::Apply(function, list) => Node::Apply(*function, each(list)),
        other => other.clone(),
    }
}

/// The sign of c where a = c·b for a constant c: 1, −1, or 0 where there is none; `None` where it cannot be told.
pub(crate) fn factor(a: &Node, b: &Node, fuel: &Fuel) -> Result<Option<i32>, Stop> {
    // The constant is real; a double tells its sign, residues tell that it is one.
    let mut ratio: Option<f64> = None;
    let mut points = 0;
    for (seed, range) in
        [(4, 48), (48, 192), (-48, -4), (16, 80), (-192, -48), (192, 1600)].into_iter().enumerate()
    {
        let place = Place { seed: seed as u64 + 100, range };
        let (Some(x), Some(y)) = (numeric::double_at(a, place, fuel)?, numeric::double_at(b, place, fuel)?)
        else {
            continue;
        };
        if x.may_be_zero() || y.may_be_zero() {
            continue;
        }
        let here = x.middle / y.middle;
        points += 1;
        match ratio {
            Some(before) if (here - before).abs() > 1e-9 * before.abs() => return Ok(Some(0)),
            _ => ratio = Some(here),
        }
    }
    let Some(ratio) = ratio.filter(|_| points >= 3) else { return Ok(None) };
    let mut constants = Vec::new();
    for seed in 0..4 {
        let point = Point { prime: PRIMES[0], seed: seed + 100 };
        if let (Some(x), Some(y)) = (residue(a, point, fuel)?, residue(b, point, fuel)?)
            && y != 0
        {
            constants.push((x, y));
        }
    }
    let cross = |(a, b): (u64, u64), (c, d): (u64, u64)| {
        let p = u128::from(PRIMES[0]);
        u128::from(a) * u128::from(d) % p == u128::from(b) * u128::from(c) % p
    };
    if constants.windows(2).any(|w| !cross(w[0], w[1])) {
        return Ok(Some(0));
    }
    Ok(Some(if ratio > 0.0 { 1 } else { -1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complement_of_two_points_is_three_pieces() {
        let fuel = Fuel::new(1_000_000);
        let set = Node::Set(vec![Node::integer(1), Node::integer(2)]);
        let pieces = complement(pieces(&set, &fuel).unwrap().unwrap());
        assert_eq!(pieces.len(), 3);
        assert!(pieces[0].high.open && pieces[1].low.open && pieces[2].low.open);
        assert_eq!(complement(vec![everything()]).len(), 0);
        assert_eq!(complement(Vec::new()).len(), 1);
        assert!(infinite(&Node::Constant(crate::node::Constant::Infinity)).is_some());
    }
}

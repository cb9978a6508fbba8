//! Forms built of several numbers: intervals, sets, tuples, matrices, and the inequalities that say the same.

use super::value::{Value, coefficient};
use super::{Draft, Random, Surface, either};
use Surface::{Math, Plain};

/// Values that differ.
fn distinct(random: &mut Random, count: usize) -> Vec<Value> {
    let mut list: Vec<Value> = Vec::new();
    while list.len() < count {
        let value = Value::draw(random);
        if list.iter().all(|v| (v.approximate() - value.approximate()).abs() > 1e-6) {
            list.push(value);
        }
    }
    list
}

/// One of the values replaced by one that is near it and not among them.
fn one_replaced(random: &mut Random, list: &[Value]) -> Vec<Value> {
    let mut list = list.to_vec();
    let place = random.below(list.len() as u64) as usize;
    loop {
        let other = Value::near(random, &list[place]);
        if list.iter().all(|v| (v.approximate() - other.approximate()).abs() > 1e-6) {
            list[place] = other;
            return list;
        }
    }
}

fn written(random: &mut Random, list: &[Value], separator: &str) -> String {
    list.iter().map(|v| v.math(random)).collect::<Vec<_>>().join(separator)
}

// ---- intervals -------------------------------------------------------------------------------------------------

/// A piece of the real line; an end that is missing is infinite.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    low: Option<Value>,
    high: Option<Value>,
    open_low: bool,
    open_high: bool,
}

fn piece(random: &mut Random) -> Piece {
    let mut ends = distinct(random, 2);
    ends.sort_by(|a, b| a.approximate().total_cmp(&b.approximate()));
    let (low, high) = match random.below(5) {
        0 => (None, Some(ends[1])),
        1 => (Some(ends[0]), None),
        _ => (Some(ends[0]), Some(ends[1])),
    };
    let open_low = low.is_none() || random.coin();
    let open_high = high.is_none() || random.coin();
    Piece { low, high, open_low, open_high }
}

/// An end turned from open to closed or back, or moved.
fn near_piece(random: &mut Random, piece: &Piece) -> Piece {
    let mut near = piece.clone();
    let low = piece.low.is_some() && (piece.high.is_none() || random.coin());
    if random.coin() {
        let open = if low { &mut near.open_low } else { &mut near.open_high };
        *open = !*open;
    } else {
        let outward = |value: Option<Value>, by: i64| {
            value.map(|v| match v {
                Value::Fraction(n, d) => Value::fraction(n + by * d, d),
                Value::Surd(a, b, c, d) => Value::surd(a + by * d, b, c, d),
                Value::Pi(n, d) => Value::pi(if n + by * d == 0 { n + 2 * by * d } else { n + by * d }, d),
            })
        };
        if low {
            near.low = outward(piece.low, -1);
        } else {
            near.high = outward(piece.high, 1);
        }
    }
    near
}

fn interval(random: &mut Random, piece: &Piece) -> String {
    let low = piece.low.map_or("-\\infty".into(), |v| v.math(random));
    let high = piece.high.map_or((*random.pick(&["\\infty", "+\\infty"])).into(), |v| v.math(random));
    let (open, close) = (if piece.open_low { '(' } else { '[' }, if piece.open_high { ')' } else { ']' });
    match random.below(3) {
        0 => format!("\\left{open}{low}, {high}\\right{close}"),
        1 => format!("{open}{low},{high}{close}"),
        _ => format!("{open}{low}, {high}{close}"),
    }
}

pub fn intervals(random: &mut Random) -> Draft {
    let value = piece(random);
    either(random, &value, near_piece, |random, piece| {
        let text = interval(random, piece);
        Math(if random.below(6) == 0 { format!("x \\in {text}") } else { text })
    })
}

/// An inequality that says the same as a piece; scaled by a factor that may be negative.
fn inequality(random: &mut Random, piece: &Piece) -> String {
    let sign = |open: bool, less: bool| match (open, less) {
        (true, true) => "<",
        (false, true) => "\\le",
        (true, false) => ">",
        (false, false) => "\\ge",
    };
    match (piece.low, piece.high) {
        (Some(low), Some(high)) => format!(
            "{} {} x {} {}",
            low.math(random),
            sign(piece.open_low, true),
            sign(piece.open_high, true),
            high.math(random)
        ),
        (end, other) => {
            let (end, less) = (end.or(other).unwrap_or(Value::Fraction(0, 1)), other.is_some());
            let open = if less { piece.open_high } else { piece.open_low };
            match (end, random.below(4)) {
                (Value::Fraction(n, d), 0) => {
                    let k = random.between(2, 5);
                    format!("{}x {} {}", k * d, sign(open, less), k * n)
                }
                (Value::Fraction(n, d), 1) => format!("{}x {} {}", coefficient(-d), sign(open, !less), -n),
                (_, 2) => format!("{} {} x", end.math(random), sign(open, !less)),
                _ => format!("x {} {}", sign(open, less), end.math(random)),
            }
        }
    }
}

pub fn inequalities(random: &mut Random) -> Draft {
    let value = piece(random);
    let intervals = random.below(3) == 0;
    let mut draft = either(random, &value, near_piece, |random, piece| Math(inequality(random, piece)));
    if intervals && draft.equal {
        draft.answer = Math(interval(random, &value));
    }
    draft
}

pub fn unions(random: &mut Random) -> Draft {
    // Two rays, or all but a point.
    let mut ends = distinct(random, 2);
    ends.sort_by(|a, b| a.approximate().total_cmp(&b.approximate()));
    if random.below(4) == 0 {
        return either(random, &ends[0], Value::near, |random, hole| {
            let at = hole.math(random);
            Math(match random.below(3) {
                0 => format!("\\mathbb{{R}} \\setminus \\{{{at}\\}}"),
                1 => format!("x \\neq {at}"),
                _ => format!("(-\\infty, {at}) \\cup ({}, \\infty)", hole.math(random)),
            })
        });
    }
    let (a, b) = (random.coin(), random.coin());
    let rays = [
        Piece { low: None, high: Some(ends[0]), open_low: true, open_high: a },
        Piece { low: Some(ends[1]), high: None, open_low: b, open_high: true },
    ];
    let near = |random: &mut Random, rays: &[Piece; 2]| {
        let mut near = rays.clone();
        let place = random.below(2) as usize;
        // Inwards the gap may close; a bound that opens or closes never does.
        let open = if place == 0 { &mut near[0].open_high } else { &mut near[1].open_low };
        *open = !*open;
        near
    };
    either(random, &rays, near, |random, rays| {
        let order = random.shuffled(&[0usize, 1]);
        let style = random.below(4);
        let part = |random: &mut Random, i: usize| {
            if style == 0 { inequality(random, &rays[i]) } else { interval(random, &rays[i]) }
        };
        let (first, second) = (part(random, order[0]), part(random, order[1]));
        Math(match style {
            0 => format!("{first} \\text{{ or }} {second}"),
            1 => format!("x \\in {first} \\cup {second}"),
            _ => format!("{first} \\cup {second}"),
        })
    })
}

// ---- sets and tuples -------------------------------------------------------------------------------------------

pub fn sets(random: &mut Random) -> Draft {
    if random.below(6) == 0 {
        return points(random);
    }
    let count = random.between(2, 4) as usize;
    let list = distinct(random, count);
    let near = |random: &mut Random, list: &Vec<Value>| match random.below(3) {
        0 if list.len() > 2 => list[1..].to_vec(),
        1 => {
            let mut more = list.clone();
            while more.len() == list.len() {
                let value = Value::integer(random);
                if list.iter().all(|v| (v.approximate() - value.approximate()).abs() > 1e-6) {
                    more.push(value);
                }
            }
            more
        }
        _ => one_replaced(random, list),
    };
    either(random, &list, near, |random, list| {
        let list = random.shuffled(list);
        match random.below(7) {
            0 => Math(format!("\\left\\{{{}\\right\\}}", written(random, &list, ", "))),
            1 => Math(written(random, &list, ", ")),
            2 => Math(written(random, &list, " \\text{ and } ")),
            3 => Math(written(random, &list, " \\text{ or } ")),
            4 if list.iter().all(|v| matches!(v, Value::Fraction(_, 1))) => {
                Plain(list.iter().map(Value::plain).collect::<Vec<_>>().join(" and "))
            }
            5 => Math(list.iter().map(|v| format!("x = {}", v.math(random))).collect::<Vec<_>>().join(", ")),
            _ => Math(format!("\\{{{}\\}}", written(random, &list, ", "))),
        }
    })
}

/// A set of points in the plane.
fn points(random: &mut Random) -> Draft {
    let list = distinct(random, 4);
    let pairs = [(list[0], list[1]), (list[2], list[3])];
    let near = |random: &mut Random, pairs: &[(Value, Value); 2]| {
        let mut near = *pairs;
        match random.below(2) {
            0 => near[0] = (pairs[0].1, pairs[0].0),
            _ => near[1].0 = Value::near(random, &pairs[1].0),
        }
        near
    };
    either(random, &pairs, near, |random, pairs| {
        let text: Vec<String> = random
            .shuffled(pairs)
            .iter()
            .map(|(a, b)| format!("({}, {})", a.math(random), b.math(random)))
            .collect();
        match random.below(2) {
            0 => Math(text.join(", ")),
            _ => Math(format!("\\{{{}\\}}", text.join(", "))),
        }
    })
}

fn near_tuple(random: &mut Random, list: &[Value]) -> Vec<Value> {
    match random.below(3) {
        0 => list.iter().rev().copied().collect(),
        1 if list.len() > 2 => list[..list.len() - 1].to_vec(),
        _ => one_replaced(random, list),
    }
}

pub fn tuples(random: &mut Random) -> Draft {
    let count = random.between(2, 4) as usize;
    let list = distinct(random, count);
    let named = random.below(5) == 0 && count == 2;
    either(
        random,
        &list,
        |random, list| near_tuple(random, list),
        |random, list| {
            let comma = *random.pick(&[", ", ","]);
            let inside = written(random, list, comma);
            match random.below(3) {
                0 => Math(format!("\\left({inside}\\right)")),
                1 if named => Math(format!("(x, y) = ({inside})")),
                _ => Math(format!("({inside})")),
            }
        },
    )
}

pub fn vectors(random: &mut Random) -> Draft {
    let count = random.between(2, 4) as usize;
    let list = distinct(random, count);
    either(
        random,
        &list,
        |random, list| near_tuple(random, list),
        |random, list| {
            let kind = *random.pick(&["pmatrix", "bmatrix"]);
            match random.below(5) {
                0 => Math(format!("({})", written(random, list, ", "))),
                1 => Math(format!("\\langle {} \\rangle", written(random, list, ", "))),
                _ => Math(format!("\\begin{{{kind}}} {} \\end{{{kind}}}", written(random, list, " \\\\ "))),
            }
        },
    )
}

pub fn matrices(random: &mut Random) -> Draft {
    let (rows, columns) = *random.pick(&[(2usize, 2usize), (2, 3), (3, 2), (3, 3)]);
    let cells: Vec<Value> = distinct(random, rows * columns);
    let near =
        |random: &mut Random, (cells, rows, columns): &(Vec<Value>, usize, usize)| match random.below(3) {
            // Transposed.
            0 => {
                let turned = (0..*columns).flat_map(|j| (0..*rows).map(move |i| cells[i * columns + j]));
                (turned.collect(), *columns, *rows)
            }
            _ => (one_replaced(random, cells), *rows, *columns),
        };
    either(random, &(cells, rows, columns), near, |random, (cells, _, columns)| {
        let rows: Vec<String> = cells.chunks(*columns).map(|row| written(random, row, " & ")).collect();
        let body = rows.join(*random.pick(&[" \\\\ ", "\\\\"]));
        Math(match random.below(4) {
            0 => format!("\\begin{{bmatrix}}{body}\\end{{bmatrix}}"),
            1 => format!("\\left[\\begin{{array}}{{{}}}{body}\\end{{array}}\\right]", "c".repeat(*columns)),
            _ => format!("\\begin{{pmatrix}} {body} \\end{{pmatrix}}"),
        })
    })
}

pub fn plus_minus(random: &mut Random) -> Draft {
    // a ± b√c over d; a = 0 for ±b√c alone.
    let a = if random.coin() { 0 } else { random.nonzero(-12, 12) };
    let (b, c, d) = (random.between(1, 9), *random.pick(&[1, 2, 3, 5, 7]), random.between(1, 4));
    let value = (a, b, c, d);
    let one = |sign: i64, &(a, b, c, d): &(i64, i64, i64, i64)| match c {
        1 => Value::fraction(a + sign * b, d),
        _ => Value::surd(a, sign * b, c, d),
    };
    let short = |&(a, b, c, d): &(i64, i64, i64, i64)| {
        let root = if c == 1 { b.to_string() } else { format!("{}\\sqrt{{{c}}}", coefficient(b)) };
        let top = if a == 0 { format!("\\pm {root}") } else { format!("{a} \\pm {root}") };
        match (a, d) {
            (_, 1) => top,
            (0, _) => format!("\\pm \\frac{{{root}}}{{{d}}}"),
            _ => format!("\\frac{{{top}}}{{{d}}}"),
        }
    };
    let equal = random.coin();
    let other = if equal { value } else { (a, b + 1, c, d) };
    let gold = Math(short(&value));
    let answer = match random.below(4) {
        0 => Math(format!("x = {}", short(&other))),
        // Half of the answer is not the answer.
        1 if !equal => Math(one(random.sign(), &value).math(random)),
        _ => {
            let both = random.shuffled(&[one(1, &other), one(-1, &other)]);
            let between = *random.pick(&[", ", " \\text{ or } ", " \\text{ and } "]);
            Math(written(random, &both, between))
        }
    };
    if random.coin() { Draft { gold, answer, equal } } else { Draft { gold: answer, answer: gold, equal } }
}

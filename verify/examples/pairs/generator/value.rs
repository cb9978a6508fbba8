//! Real numbers with many ways to write them: fractions, (a + b√c)/d, multiples of π.

use super::Random;

/// In lowest terms, so that two values are the same exactly where they are equal as Rust values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// n/d, d > 0.
    Fraction(i64, i64),
    /// (a + b√c)/d: b ≠ 0, c square-free, d > 0.
    Surd(i64, i64, i64, i64),
    /// nπ/d, n ≠ 0.
    Pi(i64, i64),
}

pub fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

const SQUARE_FREE: [i64; 10] = [2, 3, 5, 6, 7, 10, 11, 13, 14, 15];

impl Value {
    pub fn fraction(n: i64, d: i64) -> Value {
        let common = gcd(n, d).max(1) * d.signum();
        Value::Fraction(n / common, d / common)
    }

    pub fn surd(a: i64, b: i64, c: i64, d: i64) -> Value {
        let common = gcd(gcd(a, b), d).max(1) * d.signum();
        Value::Surd(a / common, b / common, c, d / common)
    }

    pub fn pi(n: i64, d: i64) -> Value {
        let common = gcd(n, d).max(1) * d.signum();
        Value::Pi(n / common, d / common)
    }

    pub fn integer(random: &mut Random) -> Value {
        Value::Fraction(random.between(-20, 20), 1)
    }

    /// Mostly integers and fractions.
    pub fn draw(random: &mut Random) -> Value {
        match random.below(8) {
            0..4 => Value::integer(random),
            4..6 => Value::fraction(random.between(-30, 30), random.between(2, 12)),
            6 => {
                let a = if random.coin() { 0 } else { random.between(-9, 9) };
                Value::surd(a, random.nonzero(-6, 6), *random.pick(&SQUARE_FREE), random.between(1, 5))
            }
            _ => Value::pi(random.nonzero(-9, 9), random.between(1, 6)),
        }
    }

    /// Another value that looks like it.
    pub fn near(random: &mut Random, value: &Value) -> Value {
        let other = match *value {
            Value::Fraction(n, d) => match random.below(4) {
                0 => Value::fraction(n + random.sign(), d),
                1 if n != 0 => Value::fraction(-n, d),
                2 if n != 0 && d != 1 => Value::fraction(d * n.signum(), n.abs()),
                _ => Value::fraction(n + d * random.sign(), d),
            },
            Value::Surd(a, b, c, d) => match random.below(4) {
                0 => Value::surd(a + random.sign(), b, c, d),
                1 => Value::surd(a, -b, c, d),
                2 => Value::surd(a, b, if c == 2 { 3 } else { 2 }, d),
                _ => Value::surd(a, b, c, d + 1),
            },
            Value::Pi(n, d) => match random.below(3) {
                0 => Value::pi(n, d + 1),
                1 => Value::pi(-n, d),
                _ => Value::fraction(n, d),
            },
        };
        if other == *value { Value::Fraction(1009, 7) } else { other }
    }

    pub fn approximate(&self) -> f64 {
        match *self {
            Value::Fraction(n, d) => n as f64 / d as f64,
            Value::Surd(a, b, c, d) => (a as f64 + b as f64 * (c as f64).sqrt()) / d as f64,
            Value::Pi(n, d) => n as f64 * std::f64::consts::PI / d as f64,
        }
    }

    /// One of its ways in LaTeX.
    pub fn math(&self, random: &mut Random) -> String {
        match *self {
            Value::Fraction(n, d) => fraction(random, n, d),
            Value::Surd(a, b, c, d) => surd(random, a, b, c, d),
            Value::Pi(n, d) => pi(random, n, d),
        }
    }

    /// The plainest of them.
    pub fn plain(&self) -> String {
        match *self {
            Value::Fraction(n, 1) => n.to_string(),
            Value::Fraction(n, d) => format!("{}\\frac{{{}}}{{{d}}}", minus(n), n.abs()),
            Value::Surd(a, b, c, d) => {
                let root = format!("{}\\sqrt{{{c}}}", coefficient(b));
                let top = if a == 0 { root } else { format!("{a}{}{root}", if b > 0 { "+" } else { "" }) };
                if d == 1 { top } else { format!("\\frac{{{top}}}{{{d}}}") }
            }
            Value::Pi(n, 1) => format!("{}\\pi", coefficient(n)),
            Value::Pi(n, d) => format!("{}\\frac{{{}\\pi}}{{{d}}}", minus(n), coefficient(n.abs())),
        }
    }
}

fn minus(n: i64) -> &'static str {
    if n < 0 { "-" } else { "" }
}

/// A factor before a letter: 1 and −1 leave nothing but the sign.
pub fn coefficient(n: i64) -> String {
    match n {
        1 => String::new(),
        -1 => "-".into(),
        n => n.to_string(),
    }
}

/// n/d as a decimal, where it ends after a few places.
pub fn decimal(n: i64, d: i64) -> Option<String> {
    for places in 0..=4u32 {
        let scale = 10i64.pow(places);
        if (n * scale) % d == 0 {
            return Some(shift(n * scale / d, places));
        }
    }
    None
}

/// digits · 10^−places.
pub fn shift(digits: i64, places: u32) -> String {
    let scale = 10i64.pow(places);
    let whole = digits.abs() / scale;
    if places == 0 {
        return format!("{}{whole}", minus(digits));
    }
    format!("{}{whole}.{:0width$}", minus(digits), digits.abs() % scale, width = places as usize)
}

fn fraction(random: &mut Random, n: i64, d: i64) -> String {
    if d == 1 {
        let k = random.between(2, 9);
        return match random.below(12) {
            0 => format!("\\frac{{{}}}{{{k}}}", n * k),
            1 => format!("{n}.0"),
            _ => n.to_string(),
        };
    }
    let (sign, m) = (minus(n), n.abs());
    let k = random.between(2, 6);
    match random.below(8) {
        0 => format!("{sign}\\dfrac{{{m}}}{{{d}}}"),
        1 => format!("\\frac{{{n}}}{{{d}}}"),
        2 => format!("{n}/{d}"),
        3 => format!("{sign}\\frac{{{}}}{{{}}}", m * k, d * k),
        4 if m < 10 && d < 10 => format!("{sign}\\frac{m}{d}"),
        5 => decimal(n, d).unwrap_or_else(|| format!("{sign}\\tfrac{{{m}}}{{{d}}}")),
        6 => format!("{sign}\\frac {{{m}}} {{{d}}}"),
        _ => format!("{sign}\\frac{{{m}}}{{{d}}}"),
    }
}

fn surd(random: &mut Random, a: i64, b: i64, c: i64, d: i64) -> String {
    let root = match random.below(4) {
        0 => format!("{}\\sqrt{{{}}}", minus(b), b * b * c),
        1 if b.abs() > 1 => format!("{b} \\cdot \\sqrt{{{c}}}"),
        2 if c < 10 => format!("{}\\sqrt{c}", coefficient(b)),
        _ => format!("{}\\sqrt{{{c}}}", coefficient(b)),
    };
    let plus = |first: &str, second: &str| {
        if second.starts_with('-') { format!("{first}{second}") } else { format!("{first}+{second}") }
    };
    if a == 0 && random.below(3) == 0 {
        // (b/d)√c = bc/(d√c)
        return format!("{}\\frac{{{}}}{{{}\\sqrt{{{c}}}}}", minus(b), (b * c).abs(), coefficient(d));
    }
    if a != 0 && d != 1 && random.coin() {
        let left = Value::fraction(a, d).plain();
        return plus(&left, &format!("{}\\frac{{{}\\sqrt{{{c}}}}}{{{d}}}", minus(b), coefficient(b.abs())));
    }
    let top = match a {
        0 => root,
        _ if random.coin() => plus(&root, &a.to_string()),
        _ => plus(&a.to_string(), &root),
    };
    match d {
        1 => top,
        _ => format!("\\frac{{{top}}}{{{d}}}"),
    }
}

fn pi(random: &mut Random, n: i64, d: i64) -> String {
    let (sign, m) = (minus(n), n.abs());
    match (d, random.below(3)) {
        (1, 0) => format!("{n}\\pi"),
        (1, 1) => format!("{n} \\cdot \\pi"),
        (1, _) => format!("{}\\pi", coefficient(n)),
        (_, 0) => format!("{sign}\\frac{{{m}}}{{{d}}}\\pi"),
        (_, 1) => format!("{}\\pi/{d}", coefficient(n)),
        _ => format!("{sign}\\frac{{{}\\pi}}{{{d}}}", coefficient(m)),
    }
}

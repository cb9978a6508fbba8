//! Forms with letters, roots and functions: expressions, equations, identities, closed forms.

use super::value::{Value, coefficient};
use super::{Draft, Random, Surface, either};
use Surface::{Math, Plain};

/// A sum of signed terms as it is written.
fn sum(terms: &[String]) -> String {
    let mut text = String::new();
    for term in terms.iter().filter(|t| !t.is_empty()) {
        if !text.is_empty() && !term.starts_with('-') {
            text.push('+');
        }
        text += term;
    }
    if text.is_empty() { "0".into() } else { text }
}

/// c·letters, nothing where c is 0.
fn term(c: i64, letters: &str) -> String {
    match (c, letters) {
        (0, _) => String::new(),
        (_, "") => c.to_string(),
        _ => format!("{}{letters}", coefficient(c)),
    }
}

fn power(letter: &str, n: usize) -> String {
    match n {
        0 => String::new(),
        1 => letter.into(),
        _ => format!("{letter}^{n}"),
    }
}

/// Coefficients of a polynomial, constant first.
type Polynomial = Vec<i64>;

fn product(a: &[i64], b: &[i64]) -> Polynomial {
    let mut result = vec![0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            result[i + j] += x * y;
        }
    }
    result
}

/// Written out, from the highest power or in any order.
fn expanded(random: &mut Random, polynomial: &[i64], letter: &str) -> String {
    let mut terms: Vec<String> =
        polynomial.iter().enumerate().rev().map(|(n, &c)| term(c, &power(letter, n))).collect();
    if random.below(3) == 0 {
        terms = random.shuffled(&terms);
    }
    sum(&terms)
}

fn horner(polynomial: &[i64], letter: &str) -> String {
    let mut rest = polynomial.iter().rev();
    let mut text = rest.next().map_or(String::new(), i64::to_string);
    for c in rest {
        text = if text.contains('+') || text.contains('-') {
            format!("{letter}({text})")
        } else {
            format!("{text}{letter}")
        };
        text = sum(&[text, term(*c, "")]);
    }
    text
}

// ---- expressions -----------------------------------------------------------------------------------------------

pub fn expressions(random: &mut Random) -> Draft {
    match random.below(5) {
        0 | 1 => factored(random),
        2 => quotients(random),
        3 => two_letters(random),
        _ => powers(random),
    }
}

/// c(x + p)(x + q)… beside its expansion.
fn factored(random: &mut Random) -> Draft {
    let letter = *random.pick(&["x", "n", "t", "a", "y"]);
    let factors: Vec<[i64; 2]> =
        (0..random.between(2, 3)).map(|_| [random.nonzero(-7, 7), random.between(1, 3)]).collect();
    let c = random.nonzero(-4, 4);
    let near = |random: &mut Random, (c, factors): &(i64, Vec<[i64; 2]>)| {
        let (mut c, mut factors) = (*c, factors.clone());
        match random.below(3) {
            0 => c = -c,
            // A constant term of another size, so that the value at 0 differs.
            _ => factors[0][0] += if factors[0][0] > 0 { 1 } else { -1 },
        }
        (c, factors)
    };
    either(random, &(c, factors), near, |random, (c, factors)| {
        let whole = factors.iter().fold(vec![*c], |all, factor| product(&all, factor));
        Math(match random.below(4) {
            0 => {
                let parts: Vec<String> =
                    factors.iter().map(|f| format!("({})", expanded(random, f, letter))).collect();
                format!("{}{}", coefficient(*c), random.shuffled(&parts).concat())
            }
            1 => horner(&whole, letter),
            _ => expanded(random, &whole, letter),
        })
    })
}

/// A/(x + p) + B/(x + q) beside one fraction, and (x² − a²)/(x − a).
fn quotients(random: &mut Random) -> Draft {
    let letter = *random.pick(&["x", "n", "k"]);
    if random.below(3) == 0 {
        let a = random.nonzero(-9, 9);
        let near = |random: &mut Random, a: &i64| if random.coin() { -a } else { a + a.signum() };
        return either(random, &a, near, |random, &a| {
            let (plus, minus) = (sum(&[letter.into(), term(a, "")]), sum(&[letter.into(), term(-a, "")]));
            Math(match random.below(3) {
                0 => format!("\\frac{{{letter}^2-{}}}{{{minus}}}", a * a),
                1 => format!("({letter}^2-{})/({minus})", a * a),
                _ => plus,
            })
        });
    }
    let p = random.nonzero(-6, 6);
    let value = (random.nonzero(-5, 5), p, random.nonzero(-5, 5), p + random.between(1, 5));
    let near = |random: &mut Random, &(a, p, b, q): &(i64, i64, i64, i64)| match random.below(3) {
        0 => (a + a.signum(), p, b, q),
        1 => (a, p, -b, q),
        _ => (a, p, b, q + 1),
    };
    either(random, &value, near, |random, &(a, p, b, q)| {
        let (left, right) = (sum(&[letter.into(), term(p, "")]), sum(&[letter.into(), term(q, "")]));
        let top = sum(&[term(a + b, letter), term(a * q + b * p, "")]);
        Math(match random.below(3) {
            0 => format!("\\frac{{{a}}}{{{left}}} + \\frac{{{b}}}{{{right}}}"),
            1 => format!("\\frac{{{top}}}{{({right})({left})}}"),
            _ => {
                let bottom = product(&[p, 1], &[q, 1]);
                format!("\\dfrac{{{top}}}{{{}}}", expanded(random, &bottom, letter))
            }
        })
    })
}

/// (ax + by)² and its relatives in two letters.
fn two_letters(random: &mut Random) -> Draft {
    let (x, y) = *random.pick(&[("x", "y"), ("a", "b"), ("m", "n")]);
    let (a, b) = (random.between(1, 6), random.nonzero(-6, 6));
    let value = (a, b, random.below(3));
    let near = |random: &mut Random, &(a, b, kind): &(i64, i64, u64)| match kind {
        2 => (a + 1, b, kind),
        _ if random.coin() => (a, -b, kind),
        _ => (a, b + b.signum(), kind),
    };
    either(random, &value, near, |random, &(a, b, kind)| {
        let linear = |b: i64| sum(&[term(a, x), term(b, y)]);
        let (square_x, square_y) = (format!("{x}^2"), format!("{y}^2"));
        let xy = format!("{x}{y}");
        let written_out = |terms: Vec<String>, random: &mut Random| sum(&random.shuffled(&terms));
        let short = random.coin();
        Math(match kind {
            0 if short => format!("({})^2", linear(b)),
            0 => written_out(
                vec![term(a * a, &square_x), term(2 * a * b, &xy), term(b * b, &square_y)],
                random,
            ),
            1 if short => format!("({})^3", linear(b)),
            1 => written_out(
                vec![
                    term(a * a * a, &format!("{x}^3")),
                    term(3 * a * a * b, &format!("{square_x}{y}")),
                    term(3 * a * b * b, &format!("{x}{square_y}")),
                    term(b * b * b, &format!("{y}^3")),
                ],
                random,
            ),
            _ if short => format!("({})({})", linear(b), linear(-b)),
            _ => sum(&[term(a * a, &square_x), term(-b * b, &square_y)]),
        })
    })
}

/// Powers with letters in the exponent, and roots of letters.
fn powers(random: &mut Random) -> Draft {
    let (base, k) = (random.between(2, 5), random.between(1, 4));
    match random.below(3) {
        0 => {
            let near = |_: &mut Random, &(base, k): &(i64, i64)| (base, k + 1);
            either(random, &(base, k), near, |random, &(base, k)| {
                Math(match random.below(3) {
                    0 => format!("{base}^{{n+{k}}}"),
                    1 => format!("{} \\cdot {base}^n", base.pow(k as u32)),
                    _ => format!("{base}^{k} \\cdot {base}^{{n}}"),
                })
            })
        }
        1 => either(
            random,
            &k,
            |_, k| k + 1,
            |random, &k| {
                Math(match random.below(3) {
                    0 => format!("\\sqrt{{\\frac{{{}}}{{n}}}}", k * k),
                    1 => format!("\\frac{{{k}}}{{\\sqrt{{n}}}}"),
                    _ => format!("{k} n^{{-1/2}}"),
                })
            },
        ),
        _ => either(
            random,
            &(k + 1),
            |_, k| k + 1,
            |random, &k| {
                Math(match random.below(3) {
                    0 => format!("\\frac{{n(n+{k})}}{{2}}"),
                    1 => format!("\\frac{{n^2+{k}n}}{{2}}"),
                    _ => format!("\\frac12 n^2 + \\frac{{{k}}}{{2}} n"),
                })
            },
        ),
    }
}

// ---- identities ------------------------------------------------------------------------------------------------

pub fn identities(random: &mut Random) -> Draft {
    let (a, b) = (random.nonzero(-6, 6), random.nonzero(-9, 9));
    let x = *random.pick(&["x", "\\theta", "t", "\\alpha"]);
    let near = |random: &mut Random, &(a, b): &(i64, i64)| {
        if random.coin() { (-a, b) } else { (a, b + random.sign() * 20) }
    };
    let family = random.below(6);
    either(random, &(a, b), near, |random, &(a, b)| {
        let surfaces: [String; 3] = match family {
            0 => [
                sum(&[term(a, &format!("\\sec^2 {x}")), term(b, "")]),
                sum(&[term(a, &format!("\\tan^2 {x}")), term(a + b, "")]),
                sum(&[
                    term(a + b, ""),
                    format!(
                        "{}\\frac{{{}\\sin^2 {x}}}{{\\cos^2 {x}}}",
                        if a < 0 { "-" } else { "" },
                        coefficient(a.abs())
                    ),
                ]),
            ],
            1 => [
                sum(&[term(a, &format!("\\sin 2{x}")), term(b, "")]),
                sum(&[term(2 * a, &format!("\\sin {x} \\cos {x}")), term(b, "")]),
                sum(&[term(b, ""), term(a, &format!("\\sin(2{x})"))]),
            ],
            2 => [
                sum(&[term(a, &format!("\\cos 2{x}")), term(b, "")]),
                sum(&[term(a + b, ""), term(-2 * a, &format!("\\sin^2 {x}"))]),
                sum(&[term(2 * a, &format!("\\cos^2 {x}")), term(b - a, "")]),
            ],
            3 => [
                sum(&[term(a, &format!("\\sin({x}+y)")), term(b, "")]),
                sum(&[
                    term(a, &format!("\\sin {x} \\cos y")),
                    term(a, &format!("\\cos {x} \\sin y")),
                    term(b, ""),
                ]),
                sum(&[term(b, ""), term(a, &format!("\\sin(y+{x})"))]),
            ],
            4 => [
                sum(&[term(2 * a, "\\ln x"), term(b, "")]),
                sum(&[term(b, ""), term(a, "\\ln(x^2)")]),
                sum(&[term(-2 * a, "\\ln \\frac{1}{x}"), term(b, "")]),
            ],
            _ => [
                sum(&[term(a, "e^{2x}"), term(b, "")]),
                sum(&[term(a, "(e^x)^2"), term(b, "")]),
                sum(&[term(b, ""), term(a, "e^x \\cdot e^x")]),
            ],
        };
        Math(random.pick(&surfaces).clone())
    })
}

// ---- equations -------------------------------------------------------------------------------------------------

pub fn equations(random: &mut Random) -> Draft {
    match random.below(4) {
        0 => {
            let value = Value::draw(random);
            let name = *random.pick(&["x", "y", "n", "k"]);
            return either(random, &value, Value::near, |random, value| {
                let text = value.math(random);
                Math(if random.coin() { format!("{name} = {text}") } else { text })
            });
        }
        1 => {
            let polynomial: Polynomial = (0..3).map(|_| random.nonzero(-9, 9)).collect();
            return either(
                random,
                &polynomial,
                |random, list| near_coefficient(random, list),
                |random, polynomial| {
                    let text = expanded(random, polynomial, "x");
                    Math(match random.below(3) {
                        0 => format!("f(x) = {text}"),
                        1 => format!("y = {text}"),
                        _ => text,
                    })
                },
            )
            .whole_name();
        }
        2 => {
            // A conic a x² + b y² = c.
            let value: Polynomial = vec![random.between(1, 6), random.between(1, 6), random.between(1, 40)];
            return either(
                random,
                &value,
                |random, list| near_coefficient(random, list),
                |random, list| {
                    let (a, b, c) = (list[0], list[1], list[2]);
                    let k = random.between(2, 4);
                    Math(match random.below(3) {
                        0 => format!("{}={}", sum(&[term(a, "x^2"), term(b, "y^2")]), c),
                        1 => {
                            format!("{}=0", sum(&[term(k * a, "x^2"), term(-k * c, ""), term(k * b, "y^2")]))
                        }
                        _ => format!("{}={}", term(b, "y^2"), sum(&[c.to_string(), term(-a, "x^2")])),
                    })
                },
            );
        }
        _ => {}
    }
    // A line a x + b y = c.
    let line: Polynomial = vec![random.nonzero(-7, 7), random.nonzero(-7, 7), random.nonzero(-20, 20)];
    either(
        random,
        &line,
        |random, list| near_coefficient(random, list),
        |random, list| {
            let (a, b, c) = (list[0], list[1], list[2]);
            let k = random.nonzero(-3, 3);
            Math(match random.below(4) {
                0 => format!("{}=0", sum(&[term(a, "x"), term(b, "y"), term(-c, "")])),
                1 => {
                    let (slope, shift) = (Value::fraction(-a, b), Value::fraction(c, b));
                    let slope = match slope {
                        Value::Fraction(n, 1) => coefficient(n),
                        other => other.plain(),
                    };
                    format!("y = {}", sum(&[format!("{slope}x"), shift.plain()]))
                }
                2 => format!("{}={}", sum(&[term(k * b, "y"), term(k * a, "x")]), k * c),
                _ => format!("{}={}", term(a, "x"), sum(&[term(-b, "y"), c.to_string()])),
            })
        },
    )
}

impl Draft {
    /// A name on one side says nothing; two different ones would. `y = …` and `f(x) = …` are not mixed.
    fn whole_name(mut self) -> Draft {
        if let (Math(gold), Math(answer)) = (&self.gold, &mut self.answer)
            && let (Some((left, _)), Some((other, value))) = (gold.split_once('='), answer.split_once('='))
            && left != other
        {
            *answer = value.trim().to_owned();
        }
        self
    }
}

/// One coefficient changed, so that no factor makes up for it.
fn near_coefficient(random: &mut Random, list: &[i64]) -> Polynomial {
    let mut list = list.to_vec();
    let place = random.below(list.len() as u64) as usize;
    list[place] += list[place].signum() * random.between(1, 3);
    list
}

pub fn chains(random: &mut Random) -> Draft {
    let value = Value::draw(random);
    let name = *random.pick(&["x", "S", "A", "\\theta"]);
    let mut draft = either(random, &value, Value::near, |random, value| {
        let (first, last) = (value.math(random), value.math(random));
        Math(match random.below(3) {
            0 => format!("{name} = {first} = {last}"),
            1 => format!("{name} = {last}"),
            _ => format!("{name} = {first} = {} = {last}", value.plain()),
        })
    });
    if draft.equal && random.coin() {
        draft.answer = Math(value.math(random));
    }
    draft
}

// ---- closed forms ----------------------------------------------------------------------------------------------

pub fn closed_forms(random: &mut Random) -> Draft {
    match random.below(4) {
        0 => {
            // k ln p
            let value = (random.between(2, 5), *random.pick(&[2i64, 3, 5, 7]));
            let near = |random: &mut Random, &(k, p): &(i64, i64)| {
                if random.coin() { (k + 1, p) } else { (k, p + 1) }
            };
            either(random, &value, near, |random, &(k, p)| {
                Math(match random.below(4) {
                    0 => format!("\\ln {}", p.pow(k as u32)),
                    1 => format!("\\ln({p}^{k})"),
                    2 => format!("-{k}\\ln\\frac{{1}}{{{p}}}"),
                    _ => format!("{k}\\ln {p}"),
                })
            })
        }
        1 => {
            // log_b b^(n/d)
            let (b, n) = (random.between(2, 7), random.between(1, 5));
            either(
                random,
                &(b, n),
                |_, &(b, n)| (b, n + 1),
                |random, &(b, n)| {
                    Math(match random.below(3) {
                        0 => format!("\\log_{{{b}}} {}", b.pow(n as u32)),
                        1 => format!("\\log_{b}({b}^{{{n}}})"),
                        _ => n.to_string(),
                    })
                },
            )
        }
        2 => {
            // a e^n + b
            let value = (random.nonzero(-5, 5), random.between(1, 4), random.nonzero(-9, 9));
            let near = |random: &mut Random, &(a, n, b): &(i64, i64, i64)| match random.below(3) {
                0 => (-a, n, b),
                1 => (a, n + 1, b),
                _ => (a, n, -b),
            };
            either(random, &value, near, |random, &(a, n, b)| {
                let letter = *random.pick(&["e", "\\mathrm{e}"]);
                let power = if n == 1 { letter.to_owned() } else { format!("{letter}^{n}") };
                Math(match random.below(3) {
                    0 => sum(&[term(b, ""), term(a, &power)]),
                    1 => format!(
                        "\\frac{{{}}}{{{letter}}}",
                        sum(&[term(a, &format!("{letter}^{{{}}}", n + 1)), term(b, letter)])
                    ),
                    _ => sum(&[term(a, &power), term(b, "")]),
                })
            })
        }
        _ => {
            let value = loop {
                let value = Value::draw(random);
                if !matches!(value, Value::Fraction(..)) {
                    break value;
                }
            };
            either(random, &value, Value::near, |random, value| {
                if let (Value::Pi(n, d), 0) = (value, random.below(4)) {
                    let pi = format!("{}pi", coefficient(*n));
                    return Plain(if *d == 1 { pi } else { format!("{pi}/{d}") });
                }
                Math(value.math(random))
            })
        }
    }
}

pub fn nested_radicals(random: &mut Random) -> Draft {
    // √(a + b ± 2√(ab)) = √a ± √b
    const PRIMES: [i64; 6] = [2, 3, 5, 7, 11, 13];
    let low = random.below(5) as usize;
    let b = PRIMES[low];
    let a = PRIMES[low + 1 + random.below(5 - low as u64) as usize];
    let near = |random: &mut Random, &(a, b, sign): &(i64, i64, i64)| match random.below(2) {
        0 => (a, b, -sign),
        _ => (a + 4, b, sign),
    };
    let sign = random.sign();
    either(random, &(a, b, sign), near, |random, &(a, b, sign)| {
        let between = if sign > 0 { '+' } else { '-' };
        Math(match random.below(4) {
            0 => format!("\\sqrt{{{}{between}2\\sqrt{{{}}}}}", a + b, a * b),
            1 => format!("\\sqrt{{{}{between}\\sqrt{{{}}}}}", a + b, 4 * a * b),
            2 if sign > 0 => format!("\\sqrt{{{b}}}+\\sqrt{{{a}}}"),
            2 => format!("-\\sqrt{{{b}}}+\\sqrt{{{a}}}"),
            _ => format!("\\sqrt{{{a}}}{between}\\sqrt{{{b}}}"),
        })
    })
}

pub fn cube_roots(random: &mut Random) -> Draft {
    if random.coin() {
        // ∛−a = −∛a; cubes come out even.
        let a = if random.coin() { random.between(1, 6).pow(3) } else { random.between(2, 60) };
        return either(
            random,
            &a,
            |random, a| a + random.between(1, 3),
            |random, &a| {
                let cube = (1..=9).find(|k| k * k * k == a);
                Math(match (random.below(3), cube) {
                    (0, Some(k)) => format!("-{k}"),
                    (1, _) => format!("-\\sqrt[3]{{{a}}}"),
                    (2, _) => format!("(-{a})^{{1/3}}"),
                    _ => format!("\\sqrt[3]{{-{a}}}"),
                })
            },
        );
    }
    // t solves x³ + 3mx = q, so Cardano's formula with radicands of both signs is t.
    let value = (random.between(1, 4), random.between(1, 5));
    either(
        random,
        &value,
        |_, &(t, m)| (t + 1, m),
        |random, &(t, m)| {
            let q = t.pow(3) + 3 * m * t;
            let discriminant = q * q + 4 * m.pow(3);
            let part = |sign: char| format!("\\sqrt[3]{{\\frac{{{q}{sign}\\sqrt{{{discriminant}}}}}{{2}}}}");
            Math(if random.coin() { t.to_string() } else { format!("{}+{}", part('+'), part('-')) })
        },
    )
}

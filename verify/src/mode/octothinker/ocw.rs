//! OCW courses: the gold answer's type decides between numbers, equations and strings.

use crate::compare::{Judge, scalars};
use crate::fuel::{Fuel, Stop};
use crate::lexer::Reading;
use crate::node::{Node, Relation};
use crate::{numeric, parser};

/// Units that are deleted from numbers, in this order.
const UNITS: [&str; 20] = [
    "eV",
    " \\mathrm{~kg} \\cdot \\mathrm{m} / \\mathrm{s}",
    " kg m/s",
    "kg*m/s",
    "kg",
    "m/s",
    "m / s",
    "m s^{-1}",
    "\\text{ m/s}",
    " \\mathrm{m/s}",
    " \\text{ m/s}",
    "g/mole",
    "g/mol",
    "\\mathrm{~g}",
    "\\mathrm{~g} / \\mathrm{mol}",
    "W",
    "erg/s",
    "years",
    "year",
    "cm",
];

/// Replacements in strings, in this order (Lewkowycz et al. 2022, appendix D).
const REPLACED: [(&str, &str); 10] = [
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    ("\\$", ""),
    ("\\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (",\\text{and}", ","),
    ("\\text{and}", ","),
    ("\\text{m}", "\\text{}"),
];

/// What is deleted from strings, in this order (the same source).
const DELETED: [&str; 40] = [
    "square",
    "ways",
    "integers",
    "dollars",
    "mph",
    "inches",
    "ft",
    "hours",
    "km",
    "units",
    "\\ldots",
    "sue",
    "points",
    "feet",
    "minutes",
    "digits",
    "cents",
    "degrees",
    "cm",
    "gm",
    "pounds",
    "meters",
    "meals",
    "edges",
    "students",
    "childrentickets",
    "multiples",
    "\\text{s}",
    "\\text{.}",
    "\\text{\ns}",
    "\\text{}^2",
    "\\text{}^3",
    "\\text{\n}",
    "\\text{}",
    "\\mathrm{th}",
    "^\\circ",
    "^{\\circ}",
    "\\;",
    ",\\!",
    "{,}",
];

pub(super) fn same(found: &str, gold: &str, fuel: &Fuel) -> Result<bool, Stop> {
    fuel.spend((found.len() + gold.len()) as u64)?;
    if gold.trim().parse::<f64>().is_ok() {
        let (Some(a), Some(b)) = (number(found, fuel)?, number(gold, fuel)?) else { return Ok(false) };
        return Ok(close_numbers(a, b));
    }
    if gold.contains('=') {
        let (Some((a, b)), Some((c, d))) = (equation(found, fuel)?, equation(gold, fuel)?) else {
            return Ok(false);
        };
        let judge = Judge::exact(fuel);
        return Ok(scalars(&c, &a, &judge)? && scalars(&d, &b, &judge)?);
    }
    Ok(string(found) == string(gold))
}

fn number(text: &str, fuel: &Fuel) -> Result<Option<f64>, Stop> {
    let mut text = text.to_owned();
    for unit in UNITS {
        text = text.replace(unit, "").trim().to_owned();
    }
    for unit in ["m", "s", "cm"] {
        text = text.replace(&format!("\\mathrm{{{unit}}}"), "").replace(&format!("\\mathrm{{~{unit}}}"), "");
        text = text.trim().to_owned();
    }
    let text = text.trim_matches('$');
    if let Ok(number) = text.parse() {
        return Ok(Some(number));
    }
    match parser::parse(text, Reading { comma: false, exponent: true }, fuel) {
        Ok(parsed) if parsed.node.scalar() && parsed.node.symbols().is_empty() => {
            numeric::double(&parsed.node, fuel)
        }
        Ok(_) | Err(Stop::Unparsed(_)) => Ok(None),
        Err(stop) => Err(stop),
    }
}

/// Close numbers are the same; the branch for numbers near zero, or near each other, compares their distance with their
/// mean, sign and all, so that it never holds for zero or below.
fn close_numbers(a: f64, b: f64) -> bool {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-8 + 1e-5 * b.abs();
    if close(a, 0.0) || close(b, 0.0) || close(a - b, 0.0) {
        (a - b).abs() < 0.01 * (a + b) / 2.0
    } else {
        close(a, b)
    }
}

fn equation(text: &str, fuel: &Fuel) -> Result<Option<(Node, Node)>, Stop> {
    let text = text.strip_prefix("\\[").unwrap_or(text);
    let text = text.strip_suffix("\\]").unwrap_or(text).trim_matches('$');
    match parser::parse(text, Reading::default(), fuel) {
        Ok(parsed) => match parsed.node {
            Node::Chain(sides, signs) if signs == [Relation::Equal] && sides.iter().all(Node::scalar) => {
                Ok(<[Node; 2]>::try_from(sides).ok().map(|[left, right]| (left, right)))
            }
            _ => Ok(None),
        },
        Err(Stop::Unparsed(_)) => Ok(None),
        Err(stop) => Err(stop),
    }
}

/// A string in Minerva's normal form.
fn string(text: &str) -> String {
    let mut s = text.rsplit('=').next().unwrap_or("").to_owned();
    for (from, to) in REPLACED {
        s = s.replace(from, to);
    }
    for deleted in DELETED.iter().chain(&["\"", "\\dots"]) {
        s = s.replace(deleted, "");
    }
    if let Some(inside) = s.split('$').nth(1)
        && s.matches('$').count() > 1
    {
        s = inside.to_owned();
    }
    for command in ["\\text{", "\\textbf{", "\\overline{"] {
        s = unwrapped(&s, command);
    }
    if let Some(at) = s.find("\\boxed{")
        && let Some(end) = s.rfind('}').filter(|end| *end > at)
    {
        s = format!("{}{}{}", &s[..at], &s[at + "\\boxed{".len()..end], &s[end + 1..]);
    }
    s = shorthand(&shorthand(&s, "frac", 2), "sqrt", 1).replace('$', "");
    let digits = s.replace(',', "");
    if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) { digits } else { s }
}

/// Without a command and the first brace behind it that closes.
fn unwrapped(s: &str, command: &str) -> String {
    let mut kept = String::new();
    let mut rest = s;
    while let Some((head, tail)) = rest.split_once(command)
        && let Some((inside, behind)) = tail.split_once('}')
    {
        kept += head;
        kept += inside;
        rest = behind;
    }
    kept + rest
}

/// `fracab` is `frac{a}{b}`, `sqrta` is `sqrt{a}`.
fn shorthand(s: &str, command: &str, arguments: usize) -> String {
    let mut kept = String::new();
    let mut rest = s;
    while let Some((head, tail)) = rest.split_once(command) {
        kept += head;
        kept += command;
        rest = tail;
        if !tail.starts_with('{') && tail.chars().count() >= arguments {
            for _ in 0..arguments {
                let mut chars = rest.chars();
                if let Some(argument) = chars.next() {
                    kept += &format!("{{{argument}}}");
                }
                rest = chars.as_str();
            }
        }
    }
    kept + rest
}

//! What the paper's scorer calls the same.

use crate::compare::{Judge, scalars};
use crate::fuel::{Fuel, Stop};
use crate::lexer::Reading;
use crate::numeric;
use crate::parser;

type Same = Result<bool, Stop>;

/// The scorer's absolute tolerance.
const TOLERANCE: f64 = 1e-3;

/// Brackets in brackets at most.
const DEPTH: usize = 16;

/// Lists of answers: each side's duplicates dropped, as many predictions as gold has, the last ones; every one of either
/// side must have a partner.
pub(super) fn lists(found: &[String], gold: &[String], fuel: &Fuel) -> Same {
    let distinct = |list: &[String]| {
        let mut kept: Vec<String> = Vec::new();
        for text in list {
            if !kept.contains(text) {
                kept.push(text.clone());
            }
        }
        kept
    };
    let (mut found, gold) = (distinct(found), distinct(gold));
    found = found.split_off(found.len().saturating_sub(gold.len()));
    partners(&found, &gold, fuel)
}

fn partners<T: AsRef<str>>(found: &[T], gold: &[T], fuel: &Fuel) -> Same {
    let (mut seen, mut matched) = (vec![false; found.len()], vec![false; gold.len()]);
    for (i, a) in found.iter().enumerate() {
        for (j, b) in gold.iter().enumerate() {
            if single(a.as_ref(), b.as_ref(), fuel)? {
                (seen[i], matched[j]) = (true, true);
            }
        }
    }
    Ok(seen.iter().chain(&matched).all(|hit| *hit))
}

/// Two answers: unions part by part; else close numbers, the same string, or the same mathematics.
pub(super) fn single(found: &str, gold: &str, fuel: &Fuel) -> Same {
    fuel.spend(20)?;
    if found.contains("\\cup") && gold.contains("\\cup") {
        let parts = |text: &str| text.split("\\cup").map(str::to_owned).collect::<Vec<_>>();
        let (a, b) = (parts(found), parts(gold));
        fuel.spend(20 * a.len() as u64 * b.len() as u64)?;
        return partners(&a, &b, fuel);
    }
    Ok(numbers(found, gold) || (!gold.is_empty() && found == gold) || mathematics(found, gold, DEPTH, fuel)?)
}

/// Two numbers closer than the tolerance.
pub(super) fn numbers(a: &str, b: &str) -> bool {
    let number = |text: &str| text.replace(',', "").trim().parse::<f64>().ok();
    matches!((number(a), number(b)), (Some(a), Some(b)) if (a - b).abs() < TOLERANCE)
}

/// A number, with commas, or a percentage.
fn digits(text: &str) -> Option<f64> {
    let plain = text.replace(',', "");
    let plain = plain.trim();
    plain.parse().ok().or_else(|| {
        let percent = plain.strip_suffix('%')?;
        percent.strip_suffix('\\').unwrap_or(percent).parse::<f64>().ok().map(|n| n / 100.0)
    })
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= TOLERANCE.max(1e-9 * a.abs().max(b.abs()))
}

fn mathematics(found: &str, gold: &str, depth: usize, fuel: &Fuel) -> Same {
    fuel.spend(20 + (found.len() + gold.len()) as u64)?;
    if found == gold {
        return Ok(true);
    }
    if let (Some(a), Some(b)) = (digits(found), digits(gold)) {
        // A percentage may have been left as it stands, or taken for one.
        return Ok([b / 100.0, b, b * 100.0].iter().any(|b| close(*b, a)));
    }
    if found.is_empty() || depth == 0 {
        return Ok(false);
    }
    let (found, gold) = (found.trim(), gold.trim());
    if let (Some(a), Some(b)) = (enclosed(found), enclosed(gold))
        && elements(a, b, ',', depth, fuel)?
    {
        return Ok(true);
    }
    if let (Some(a), Some(b)) = (matrix(found), matrix(gold))
        && a.len() == b.len()
    {
        let mut all = true;
        for (a, b) in a.iter().zip(&b) {
            all = all && elements(a, b, '&', depth, fuel)?;
        }
        if all {
            return Ok(true);
        }
    }
    let sides = |text: &str| match text.split('=').collect::<Vec<_>>()[..] {
        [left, right] => Some((left.trim().to_owned(), right.trim().to_owned())),
        _ => None,
    };
    match (sides(found), sides(gold)) {
        (Some((a, b)), Some((c, d))) => {
            let (x, y) = (format!("{a} - ({b})"), format!("{c} - ({d})"));
            if symbolic(&x, &y, fuel)? || symbolic(&format!("-({x})"), &y, fuel)? {
                return Ok(true);
            }
        }
        (Some((name, value)), None) if name.len() <= 2 && !gold.contains('=') => {
            return mathematics(&value, gold, depth - 1, fuel);
        }
        (None, Some((name, value))) if name.len() <= 2 && !found.contains('=') => {
            return mathematics(found, &value, depth - 1, fuel);
        }
        _ => {}
    }
    symbolic(found, gold, fuel)
}

/// What stands in brackets, of whatever kind on either side.
fn enclosed(text: &str) -> Option<&str> {
    let inner = text.strip_prefix(['(', '['])?;
    let close = inner.rfind([')', ']'])?;
    let last = inner.chars().next_back()?;
    (close > 0).then(|| &inner[..inner.len() - last.len_utf8()])
}

/// The rows of a matrix.
fn matrix(text: &str) -> Option<Vec<&str>> {
    let open =
        ["\\begin{pmatrix}", "\\begin{bmatrix}"].into_iter().find_map(|open| text.strip_prefix(open))?;
    let body = ["\\end{pmatrix}", "\\end{bmatrix}"].into_iter().find_map(|close| open.strip_suffix(close))?;
    Some(body.split("\\\\").map(str::trim).filter(|row| !row.is_empty()).collect())
}

fn elements(a: &str, b: &str, separator: char, depth: usize, fuel: &Fuel) -> Same {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split(separator).collect(), b.split(separator).collect());
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b) {
        if !mathematics(a, b, depth - 1, fuel)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same expression, or numbers within the tolerance. What cannot be parsed is never the same.
fn symbolic(a: &str, b: &str, fuel: &Fuel) -> Same {
    let parse = |text: &str| match parser::parse(text, Reading::default(), fuel) {
        Ok(parsed) if parsed.node.scalar() => Ok(Some(parsed.node)),
        Ok(_) | Err(Stop::Unparsed(_)) => Ok(None),
        Err(stop) => Err(stop),
    };
    let (Some(a), Some(b)) = (parse(a)?, parse(b)?) else { return Ok(false) };
    if a.symbols().is_empty()
        && b.symbols().is_empty()
        && let (Some(x), Some(y)) = (numeric::double(&a, fuel)?, numeric::double(&b, fuel)?)
    {
        return Ok(close(x, y));
    }
    scalars(&a, &b, &Judge::exact(fuel))
}
